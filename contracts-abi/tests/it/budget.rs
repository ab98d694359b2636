//! A budget that changes is the same to nodes and to the contract, in every epoch.

use contracts_abi::embedded::EmbeddedChain;
use protocol::chain::{ChainEvent, ChainView, ProposalAct, Settlement, Transaction};
use protocol::params::Params;
use protocol::{AccountId, Amount, Digest, Epoch, EvmAddress, Hash, NodeId, Timestamp};

use alloy::sol_types::SolCall;

use crate::contracts::world::RewardVault;
use crate::genesis::{GOVERNOR, genesis};
use crate::roles::{execute, schedule};

const ALICE: EvmAddress = EvmAddress([0xa1; 20]);
const ACCOUNT: AccountId = AccountId(2);

struct Network {
    chain: EmbeddedChain,
    view: ChainView,
    last: Settlement,
}

impl Network {
    /// A network without a delay, in which one account can propose.
    fn new() -> Self {
        let genesis = contracts_abi::GenesisConfig { delay: 0, ..genesis(&[ALICE]) };
        let chain = EmbeddedChain::new(&genesis, 7).unwrap();
        let at = chain.deployment();
        let view = at.view(Params::minimal());
        let last = Settlement {
            epoch: Epoch(0),
            parent: Digest::ZERO,
            records: Digest::ZERO,
            payout_root: Digest([2; 32]),
            total: Amount::ZERO,
            balances: Hash([3; 32]),
            balances_length: 5,
            uses: Settlement::hash_uses(&[]),
            replicas_proven: 0,
            storage_faults: 0,
            shards_verified: 0,
            shards_rejected: 0,
        };
        let mut network = Self { chain, view, last };
        let (owner, node, binding) = (ALICE, NodeId([3; 32]), [9; 64]);
        let register =
            Transaction::Register { owner, operator: owner, payout: owner, node, binding };
        let stake = Transaction::StakeFor { account: ACCOUNT, amount: Amount(500 * OPEN) };
        network.submit(&register).unwrap();
        network.submit(&stake).unwrap();
        network
    }

    fn mine(&mut self) -> Vec<ChainEvent> {
        let block = self.chain.mine(Timestamp(0));
        self.view.apply(block.header, &block.events);
        for result in block.results {
            result.unwrap();
        }
        block.events
    }

    /// Sends a transaction; the name of why it fails.
    fn submit(&mut self, transaction: &Transaction) -> Result<(), String> {
        self.chain.submit(ALICE, transaction);
        let mut block = self.chain.mine(Timestamp(0));
        self.view.apply(block.header, &block.events);
        let result = block.results.remove(0).map(drop);
        result.map_err(|reason| reason.name().expect("our contracts say why").to_owned())
    }

    /// The governor changes the budget, at once.
    fn change(&mut self, budget: Amount) {
        let at = self.chain.deployment().clone();
        let call = RewardVault::setBudgetCall { budgetPerEpoch: budget.0 };
        self.chain.send(GOVERNOR, at.timelock, schedule(at.vault, &call, 0).abi_encode());
        self.chain.send(ALICE, at.timelock, execute(at.vault, &call).abi_encode());
        let from = Epoch(self.view.epoch().0 + 2);
        assert_eq!(self.mine(), [ChainEvent::BudgetChanged { from, budget }]);
    }

    /// Settles an epoch with all that the view says it may emit, of which the contract takes no unit more.
    fn settle(&mut self, epoch: Epoch) {
        while self.view.now() < self.view.schedule.cutoff(epoch) {
            self.mine();
        }
        let before = self.last.total;
        let parent = if epoch.0 == 0 { Digest::ZERO } else { self.last.id() };
        let budget = self.view.budget_of(epoch);
        let total = before.saturating_add(budget);
        let settlement = Settlement { epoch, parent, total, ..self.last };
        let more = Settlement { total: Amount(total.0 + 1), ..settlement };
        let propose = |settlement| Transaction::Propose { proposer: ACCOUNT, settlement };
        assert_eq!(self.submit(&propose(more)), Err("TotalTooLarge".to_owned()), "{epoch}");
        assert_eq!(self.submit(&propose(settlement)), Ok(()), "{epoch}");
        for _ in 0..self.view.schedule.challenge_blocks.0 {
            self.mine();
        }
        let act = ProposalAct::Finalise { uses: vec![] };
        assert_eq!(self.submit(&Transaction::AboutProposal { settlement, act }), Ok(()), "{epoch}");
        self.last = settlement;
    }
}

const OPEN: u128 = Amount::ONE_OPEN.0;

#[test]
fn nodes_and_the_contract_agree_on_the_budget_of_each_epoch() {
    let mut network = Network::new();
    let start = network.view.schedule.start(Epoch(0));
    while network.view.now() < start {
        network.mine();
    }
    network.change(Amount(30 * OPEN));
    network.settle(Epoch(0));
    // In epoch 1, twice: the last counts.
    network.change(Amount(7 * OPEN));
    network.change(Amount(500 * OPEN));
    (1..5).for_each(|epoch| network.settle(Epoch(epoch)));
    let expected = [100, 100, 30, 500, 500].map(|open| Amount(open * OPEN));
    assert_eq!([0, 1, 2, 3, 4].map(|epoch| network.view.budget_of(Epoch(epoch))), expected);
    assert_eq!(network.last.total, Amount(1_230 * OPEN));
}
