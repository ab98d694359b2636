//! A contract is replaced: whoever has the network's new file goes on with what carries over, and whoever has
//! not is told so.

use alloy::network::{EthereumWallet, TransactionBuilder};
use alloy::primitives::{Address, B256, Bytes, U256, keccak256};
use alloy::providers::{DynProvider, Provider, ProviderBuilder};
use alloy::rpc::types::{TransactionReceipt, TransactionRequest};
use alloy::sol_types::{SolCall, SolConstructor};
use contracts_abi::devchain::{DEV_KEYS, dev_accounts};
use contracts_abi::rpc::{DevChainServer, ServerConfig};
use contracts_abi::{ChainClient, Deployment, GenesisConfig, Replaced, TxError, deploy};
use protocol::chain::{ChainView, ProposalAct, Settlement, Transaction};
use protocol::eip712::EvmKey;
use protocol::params::Params;
use protocol::receipt::Receipt;
use protocol::{AccountId, Amount, BlockNumber, Digest, Epoch, EvmAddress, Hash, ModelId, NodeId};

use crate::contracts::world::abi::escrow::UsageEscrow;
use crate::contracts::world::abi::timelock::Timelock;
use crate::contracts::world::{Registry, RewardVault, Settlements};
use crate::genesis::{ARBITER, genesis};
use crate::roles::evm;

const ACCOUNT: AccountId = AccountId(2);

fn key(index: usize) -> EvmKey {
    EvmKey::from_bytes(&DEV_KEYS[index].0).unwrap()
}

/// Sends a transaction of the first development account.
async fn send(provider: &DynProvider, tx: TransactionRequest) -> TransactionReceipt {
    let receipt = provider.send_transaction(tx).await.unwrap().get_receipt().await.unwrap();
    assert!(receipt.status());
    receipt
}

async fn create(provider: &DynProvider, code: &Bytes, arguments: &[u8]) -> EvmAddress {
    let code = [code, arguments].concat();
    let receipt = send(provider, TransactionRequest::default().with_deploy_code(code)).await;
    EvmAddress(receipt.contract_address.unwrap().into())
}

/// One change that the governor asks for; the block in which it took place.
async fn govern(
    provider: &DynProvider,
    at: &Deployment,
    calls: Vec<(EvmAddress, Vec<u8>)>,
) -> BlockNumber {
    let (targets, payloads): (Vec<Address>, Vec<Bytes>) =
        calls.into_iter().map(|(to, data)| (evm(to), data.into())).unzip();
    let (values, nothing) = (vec![U256::ZERO; targets.len()], B256::ZERO);
    let ask = Timelock::scheduleBatchCall {
        targets: targets.clone(),
        values: values.clone(),
        payloads: payloads.clone(),
        predecessor: nothing,
        salt: nothing,
        delay: U256::ZERO,
    };
    let act = Timelock::executeBatchCall {
        targets,
        values,
        payloads,
        predecessor: nothing,
        salt: nothing,
    };
    let to = TransactionRequest::default().to(evm(at.timelock));
    send(provider, to.clone().input(ask.abi_encode().into())).await;
    let receipt = send(provider, to.input(act.abi_encode().into())).await;
    BlockNumber(receipt.block_number.unwrap())
}

fn grant(role: &str, to: EvmAddress) -> Vec<u8> {
    Registry::grantRoleCall { role: keccak256(role), account: evm(to) }.abi_encode()
}

/// Deploys another contract, and lets it decide; its address and the block from which on it does.
async fn replace_settlements(provider: &DynProvider, at: &Deployment) -> (EvmAddress, BlockNumber) {
    let bond = 10 * Amount::ONE_OPEN.0;
    let [coordinator, datanets, vault, admin, arbiter] =
        [at.coordinator, at.datanets, at.vault, at.timelock, ARBITER].map(evm);
    let arguments = Settlements::constructorCall {
        coordinator,
        datanets,
        vault,
        proposalBond: bond,
        objectionBond: bond,
        admin,
        arbiter,
    };
    let new = create(provider, &Settlements::BYTECODE, &arguments.abi_encode()).await;
    let name = RewardVault::setSettlementsCall { newSettlements: evm(new) }.abi_encode();
    let calls = vec![
        (at.registry, grant("SLASHER_ROLE", new)),
        (at.datanets, grant("COUNTER_ROLE", new)),
        (at.vault, name),
    ];
    (new, govern(provider, at, calls).await)
}

/// Deploys another contract for deposits, and lets it book fees.
async fn replace_escrow(provider: &DynProvider, at: &Deployment) -> EvmAddress {
    let (coordinator, vault) = (evm(at.coordinator), evm(at.vault));
    let arguments = UsageEscrow::constructorCall { coordinator, vault, withdrawalDelay: 16 };
    let new = create(provider, &UsageEscrow::BYTECODE, &arguments.abi_encode()).await;
    govern(provider, at, vec![(at.vault, grant("FEES_ROLE", new))]).await;
    new
}

async fn advance(client: &ChainClient, to: BlockNumber) {
    while client.head().await.unwrap() < to {
        client.transfer(EvmAddress([8; 20]), Amount(1)).await.unwrap();
    }
}

/// What a node knows that has a network's file.
async fn view(client: &ChainClient) -> ChainView {
    let at = client.deployment();
    let mut view = at.view(Params::minimal());
    let (mut from, head) = (at.genesis_block, client.head().await.unwrap());
    while from <= head {
        for (header, events) in client.poll_blocks(from, head).await.unwrap() {
            view.apply(header, &events);
            from = header.number.next();
        }
    }
    view
}

fn settlement(epoch: u64, parent: Digest) -> Settlement {
    Settlement {
        epoch: Epoch(epoch),
        parent,
        records: Digest::ZERO,
        payout_root: Digest([2; 32]),
        total: Amount(5),
        balances: Hash([3; 32]),
        balances_length: 5,
        uses: Settlement::hash_uses(&[]),
        replicas_proven: 0,
        storage_faults: 0,
        shards_verified: 0,
        shards_rejected: 0,
    }
}

/// Makes a proposal and, after its window, final.
async fn settle(client: &ChainClient, settlement: Settlement) {
    advance(client, client.deployment().schedule.cutoff(settlement.epoch)).await;
    client.submit(&Transaction::Propose { proposer: ACCOUNT, settlement }).await.unwrap();
    let window = client.deployment().schedule.challenge_blocks;
    advance(client, client.head().await.unwrap().after(window)).await;
    let act = ProposalAct::Finalise { uses: vec![] };
    client.submit(&Transaction::AboutProposal { settlement, act }).await.unwrap();
}

/// A network with one account, and who governs it.
async fn network(url: &str) -> (Deployment, DynProvider) {
    let (governor, alice) = (key(0).address(), key(1).address());
    let genesis = GenesisConfig {
        governors: vec![governor],
        delay: 0,
        // What is open when the contract is replaced still is when somebody objects to it.
        challenge_blocks: 8,
        ..genesis(&[alice])
    };
    let deployment = deploy(url, &key(0), &genesis).await.unwrap();
    let wallet = EthereumWallet::from(dev_accounts()[0].clone());
    let provider =
        ProviderBuilder::new().wallet(wallet).connect_http(url.parse().unwrap()).erased();
    let client = ChainClient::connect(url, deployment.clone(), &key(1)).await.unwrap();
    let (owner, node, binding) = (alice, NodeId([3; 32]), [9; 64]);
    let register = Transaction::Register { owner, operator: owner, payout: owner, node, binding };
    client.submit(&register).await.unwrap();
    (deployment, provider)
}

#[tokio::test]
async fn a_node_with_the_new_file_follows_the_contract_that_decides() {
    contracts_abi::install_crypto_provider();
    let server = DevChainServer::start(ServerConfig::default()).await.unwrap();
    let (old, provider) = network(&server.url()).await;
    let before = ChainClient::connect(&server.url(), old.clone(), &key(1)).await.unwrap();
    let open = |amount: u128| Amount(amount * Amount::ONE_OPEN.0);
    // Enough for a bond in each of two contracts, and an objection.
    let amount = open(300);
    before.submit(&Transaction::StakeFor { account: ACCOUNT, amount }).await.unwrap();
    let zero = settlement(0, Digest::ZERO);
    settle(&before, zero).await;

    // One that is open when the contract is replaced.
    let one = settlement(1, zero.id());
    advance(&before, old.schedule.cutoff(Epoch(1))).await;
    let propose = Transaction::Propose { proposer: ACCOUNT, settlement: one };
    before.submit(&propose).await.unwrap();
    assert!(view(&before).await.settlement(Epoch(1)).is_some());
    let (settlements, from) = replace_settlements(&provider, &old).await;
    let replaced = Replaced { settlements: vec![(old.settlements, from)], ..old.replaced.clone() };
    let new = Deployment { settlements, replaced, ..old.clone() };
    let after = ChainClient::connect(&server.url(), new, &key(1)).await.unwrap();
    let known = view(&after).await;
    assert!(known.settlement(Epoch(0)).is_some_and(|state| state.is_final), "it is the vault's");
    assert_eq!(known.proposals(Epoch(1)).count(), 0, "nobody can make it final any more");

    assert_eq!(known.unknown_contract(), None);
    let outdated = view(&before).await;
    assert_eq!(outdated.unknown_contract(), Some(settlements), "and who has not is told so");

    // What happens in the old contract from now on is void.
    let refused = before.submit(&propose).await.unwrap_err();
    assert!(
        matches!(&refused, TxError::Revert { reason } if reason.name() == Some("NotSettlements"))
    );
    after.submit(&propose).await.unwrap();
    let act = ProposalAct::Object { account: ACCOUNT, reason: Digest([1; 32]) };
    before.submit(&Transaction::AboutProposal { settlement: one, act }).await.unwrap();
    let known = view(&after).await;
    let state = known.settlement(Epoch(1)).expect("the new contract took it");
    assert_eq!((state.id, state.objector), (one.id(), None));
    let window = old.schedule.challenge_blocks;
    advance(&after, after.head().await.unwrap().after(window)).await;
    let act = ProposalAct::Finalise { uses: vec![] };
    after.submit(&Transaction::AboutProposal { settlement: one, act }).await.unwrap();
    assert!(view(&after).await.settlement(Epoch(1)).is_some_and(|state| state.is_final));
    // The bonds in the old contract are freed there, by what is final: it had objected to what is right.
    let act = ProposalAct::Close;
    before.submit(&Transaction::AboutProposal { settlement: one, act }).await.unwrap();
    assert_eq!(after.stake(ACCOUNT).await.unwrap(), open(290), "stake is the Registry's");
    server.shutdown().await;
}

#[tokio::test]
async fn a_node_with_the_new_file_knows_what_each_escrow_owes_and_paid() {
    contracts_abi::install_crypto_provider();
    let server = DevChainServer::start(ServerConfig::default()).await.unwrap();
    let (old, provider) = network(&server.url()).await;
    let before = ChainClient::connect(&server.url(), old.clone(), &key(1)).await.unwrap();
    let deposit = |amount| Transaction::Deposit { payee: ACCOUNT, amount: Amount(amount) };
    let receipt = |escrow, cumulative| {
        let receipt = Receipt {
            escrow,
            payer: key(1).address(),
            payee: ACCOUNT,
            model: ModelId(1),
            cumulative: Amount(cumulative),
            price: Amount(1),
            nonce: 1,
            request: Digest::ZERO,
        };
        Transaction::Redeem(receipt.sign(&old.domain(), &key(1)).unwrap())
    };
    before.submit(&deposit(100)).await.unwrap();
    before.submit(&receipt(old.escrow, 30)).await.unwrap();
    let escrow = replace_escrow(&provider, &old).await;
    assert_eq!(view(&before).await.unknown_contract(), Some(escrow));
    let replaced = Replaced { escrows: vec![old.escrow], ..Replaced::default() };
    let new = Deployment { escrow, replaced, ..old.clone() };
    let after = ChainClient::connect(&server.url(), new, &key(1)).await.unwrap();
    after.submit(&deposit(50)).await.unwrap();
    after.submit(&receipt(old.escrow, 40)).await.unwrap();
    after.submit(&receipt(escrow, 35)).await.unwrap();
    let again = after.submit(&receipt(escrow, 35)).await.unwrap_err();
    assert!(
        matches!(&again, TxError::Revert { reason } if reason.name() == Some("NothingToRedeem"))
    );
    let ask = Transaction::RequestWithdrawal { escrow: old.escrow, payee: ACCOUNT };
    after.submit(&ask).await.unwrap();

    let (known, payer) = (view(&after).await, key(1).address());
    assert_eq!(known.unknown_contract(), None);
    let [left, now] = [old.escrow, escrow].map(|of| known.deposit_in(of, payer, ACCOUNT));
    assert_eq!((left.balance, left.redeemed), (Amount(60), Amount(40)));
    assert!(left.withdrawal.is_some());
    assert_eq!((now.balance, now.redeemed), (Amount(15), Amount(35)));
    assert_eq!(known.deposit(payer, ACCOUNT), now, "it is served on the new one");
    let paid: Vec<_> = (0..=known.epoch().0)
        .flat_map(|epoch| known.redemptions(Epoch(epoch)))
        .map(|paid| (paid.escrow, paid.from.0, paid.to.0))
        .collect();
    assert_eq!(paid, [(old.escrow, 0, 30), (old.escrow, 30, 40), (escrow, 0, 35)]);
    assert_eq!(after.vault().await.unwrap().redeemed, Amount(75), "all of it is in the vault");
    server.shutdown().await;
}
