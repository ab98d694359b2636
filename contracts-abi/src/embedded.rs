//! The contracts on an embedded chain, in terms of the protocol: for simulation, without sockets.
//!
//! Transactions are queued by [`EmbeddedChain::submit`] and executed in that order by
//! [`EmbeddedChain::mine`]; senders need neither keys nor ether. The bytecode is the deployed one.

use std::collections::{BTreeSet, VecDeque};

use alloy::primitives::{Address, TxKind, U256};
use alloy::sol_types::{SolCall, SolEvent as _};
use protocol::chain::{BlockHeader, ChainEvent, Transaction};
use protocol::{AccountId, Amount, Balance, BlockNumber, Digest, Epoch, EvmAddress, Timestamp};

use crate::bindings::Open;
use crate::convert::{Call, RevertReason, address, decode_log, encode};
use crate::deployment::{Deployment, plan};
use crate::devchain::{
    Block, CallError, DevChain, DevConfig, Message, MineError, Outcome, RewindError, Status,
};
use crate::genesis::{GenesisConfig, GenesisError};
use crate::reads::{self, ProposalState, Read, ReadError, VaultState};

/// Who deploys the contracts in a simulation.
const DEPLOYER: Address = Address::repeat_byte(0xde);
/// Whose balance tells a block from the one that it replaces.
const REPLACER: Address = Address::repeat_byte(0xfe);

/// Why an embedded network could not start.
#[expect(missing_docs, reason = "a message names its fields")]
#[derive(Debug, thiserror::Error)]
pub enum EmbeddedError {
    /// The genesis list is wrong.
    #[error(transparent)]
    Genesis(#[from] GenesisError),
    /// The chain made no block.
    #[error(transparent)]
    Mine(#[from] MineError),
    /// A step of the deployment failed.
    #[error("step {step} of the deployment failed: {reason}")]
    Step { step: usize, reason: RevertReason },
}

/// What became of a transaction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Executed {
    /// Gas that it used.
    pub gas: u64,
}

/// A block of an embedded network.
#[derive(Debug, Clone)]
pub struct MinedBlock {
    /// Number, hash and time, as the view of the chain takes them.
    pub header: BlockHeader,
    /// What the contracts said.
    pub events: Vec<ChainEvent>,
    /// Whose balance of OPEN changed.
    pub moved: BTreeSet<EvmAddress>,
    /// For each submitted transaction, in order, what became of it.
    pub results: Vec<Result<Executed, RevertReason>>,
}

/// A network whose chain is a value.
pub struct EmbeddedChain {
    chain: DevChain,
    deployment: Deployment,
    arbiter: EvmAddress,
    queue: Vec<Message>,
    /// Indices in the queue of the calls that are the transactions themselves, not approvals.
    submitted: Vec<usize>,
    /// The newest blocks that can be replaced, the last one last.
    past: VecDeque<Sent>,
    depth: usize,
    /// How often blocks were replaced.
    replaced: u64,
}

/// What was sent for a block.
#[derive(Debug)]
struct Sent {
    queue: Vec<Message>,
    submitted: Vec<usize>,
}

impl EmbeddedChain {
    /// Starts a chain and deploys the contracts, all in block 1.
    pub fn new(genesis: &GenesisConfig, chain_id: u64) -> Result<Self, EmbeddedError> {
        let mut chain = DevChain::light(DevConfig::simulation(chain_id));
        let plan = plan(genesis, chain_id, DEPLOYER, 0, BlockNumber(0))?;
        let messages: Vec<_> = plan
            .steps
            .into_iter()
            .map(|step| Message {
                from: DEPLOYER,
                to: step.to,
                value: U256::ZERO,
                data: step.data,
                gas: None,
            })
            .collect();
        let mined = chain.mine_messages(1, &messages)?;
        for (step, result) in mined.results.iter().enumerate() {
            executed(&mined.block, result)
                .map_err(|reason| EmbeddedError::Step { step, reason })?;
        }
        Ok(Self {
            chain,
            deployment: plan.deployment,
            arbiter: genesis.arbiter,
            queue: Vec::new(),
            submitted: Vec::new(),
            past: VecDeque::new(),
            depth: 0,
            replaced: 0,
        })
    }

    /// From now on the newest `depth` blocks can be replaced.
    pub fn keep_past(&mut self, depth: usize) {
        self.depth = depth;
        self.chain.keep_past(depth);
    }

    /// Where the contracts are.
    pub const fn deployment(&self) -> &Deployment {
        &self.deployment
    }

    /// Who rules on objections.
    pub const fn arbiter(&self) -> EvmAddress {
        self.arbiter
    }

    /// The newest block.
    pub fn head(&self) -> BlockHeader {
        header(self.chain.head())
    }

    /// Queues a transaction for the next block; its place in that block's results.
    pub fn submit(&mut self, from: EvmAddress, tx: &Transaction) -> usize {
        let encoded = encode(tx, &self.deployment);
        if encoded.spends.is_some() {
            let approve = Open::approveCall { spender: encoded.call.to, value: U256::MAX };
            let open = address(self.deployment.open);
            self.queue.push(Message::call(address(from), open, approve.abi_encode().into()));
        }
        self.push(from, encoded.call)
    }

    /// Queues any call of any contract, as anybody may send it; its place in the next block's results.
    pub fn send(&mut self, from: EvmAddress, to: EvmAddress, data: Vec<u8>) -> usize {
        self.push(from, Call { to: address(to), data: data.into() })
    }

    /// Queues a transfer of OPEN; its place in the next block's results.
    pub fn transfer(&mut self, from: EvmAddress, to: EvmAddress, amount: Amount) -> usize {
        let call = Open::transferCall { to: address(to), value: U256::from(amount.0) };
        let to = address(self.deployment.open);
        self.push(from, Call { to, data: call.abi_encode().into() })
    }

    /// Executes what was submitted, as the next block. Times have the grain of seconds on chain and
    /// only move forward.
    ///
    /// # Panics
    /// Never on a chain in memory.
    pub fn mine(&mut self, timestamp: Timestamp) -> MinedBlock {
        let queue = std::mem::take(&mut self.queue);
        let submitted = std::mem::take(&mut self.submitted);
        let mined = self
            .chain
            .mine_messages(timestamp.0 / 1_000, &queue)
            .expect("a chain in memory has no disk that could fail");
        let results =
            submitted.iter().map(|index| executed(&mined.block, &mined.results[*index])).collect();
        let events = events(&mined.block, &self.deployment);
        if self.depth > 0 {
            self.past.push_back(Sent { queue, submitted });
            self.past.drain(..self.past.len().saturating_sub(self.depth));
        }
        let moved = moved(&mined.block, &self.deployment);
        MinedBlock { header: header(&mined.block), events, moved, results }
    }

    /// Replaces the newest blocks by as many empty ones, at the given times: what was sent for them
    /// waits for the next block again, before what came later.
    ///
    /// # Errors
    /// [`RewindError`] for more blocks than are kept; nothing is replaced then.
    pub fn replace(&mut self, times: &[Timestamp]) -> Result<Vec<MinedBlock>, RewindError> {
        self.chain.rewind(times.len())?;
        let (mut queue, mut submitted) = (Vec::new(), Vec::new());
        // Calls keep their places among each other; only the number of those before them changes.
        for sent in self.past.split_off(self.past.len() - times.len()) {
            submitted.extend(sent.submitted.iter().map(|index| index + queue.len()));
            queue.extend(sent.queue);
        }
        submitted.extend(self.submitted.drain(..).map(|index| index + queue.len()));
        queue.append(&mut self.queue);
        // Blocks that were empty before as well have to be others: their maker is another.
        self.replaced += 1;
        let changed = self.chain.set_balance(REPLACER, U256::from(self.replaced));
        changed.expect("a chain in memory has no disk that could fail");
        let blocks = times.iter().map(|time| self.mine(*time)).collect();
        (self.queue, self.submitted) = (queue, submitted);
        Ok(blocks)
    }

    // --- reads

    /// OPEN of an address.
    pub fn balance(&mut self, of: EvmAddress) -> Result<Amount, ReadError> {
        self.read(&reads::balance(&self.deployment, of))
    }

    /// Stake of an account.
    pub fn stake(&mut self, account: AccountId) -> Result<Amount, ReadError> {
        self.read(&reads::stake(&self.deployment, account))
    }

    /// What an account was paid so far.
    pub fn claimed(&mut self, account: AccountId) -> Result<Balance, ReadError> {
        self.read(&reads::claimed(&self.deployment, account))
    }

    /// A live proposal.
    pub fn proposal(&mut self, id: Digest) -> Result<Option<ProposalState>, ReadError> {
        self.read(&reads::proposal(&self.deployment, id))
    }

    /// The id of an epoch's final settlement.
    pub fn final_of(&mut self, epoch: Epoch) -> Result<Option<Digest>, ReadError> {
        self.read(&reads::final_of(&self.deployment, epoch))
    }

    /// The RewardVault's books.
    pub fn vault(&mut self) -> Result<VaultState, ReadError> {
        let [funded, redeemed, paid] = reads::vault(&self.deployment);
        Ok(VaultState {
            funded: self.read(&funded)?,
            redeemed: self.read(&redeemed)?,
            paid: self.read(&paid)?,
        })
    }

    fn read<T>(&mut self, read: &Read<T>) -> Result<T, ReadError> {
        let call = &read.call;
        let message = Message::call(Address::ZERO, call.to, call.data.clone());
        let output = self.chain.call(&message, false).map_err(|error| {
            ReadError::Reverted(match error {
                CallError::Revert(data) => RevertReason::decode(&data),
                other => RevertReason::Halted(other.to_string()),
            })
        })?;
        (read.decode)(&output)
    }

    fn push(&mut self, from: EvmAddress, call: Call) -> usize {
        self.submitted.push(self.queue.len());
        let message = Message {
            from: address(from),
            to: TxKind::Call(call.to),
            value: U256::ZERO,
            data: call.data,
            gas: None,
        };
        self.queue.push(message);
        self.submitted.len() - 1
    }
}

fn executed<E: std::fmt::Display>(
    block: &Block,
    result: &Result<usize, E>,
) -> Result<Executed, RevertReason> {
    let index = result.as_ref().map_err(|error| RevertReason::Halted(error.to_string()))?;
    let Outcome { status, gas_used, .. } = &block.outcomes[*index];
    match status {
        Status::Success(_) => Ok(Executed { gas: *gas_used }),
        Status::Revert(data) => Err(RevertReason::decode(data)),
        Status::Halt(reason) => Err(RevertReason::Halted(reason.to_string())),
    }
}

/// Number, hash and time of a block.
pub fn header(block: &Block) -> BlockHeader {
    BlockHeader {
        number: BlockNumber(block.number()),
        hash: Digest(block.hash.0),
        timestamp: Timestamp(block.header.timestamp.saturating_mul(1_000)),
    }
}

/// What the contracts of a deployment said in a block, as nodes read it.
pub fn events(block: &Block, at: &Deployment) -> Vec<ChainEvent> {
    let number = BlockNumber(block.number());
    block.logs().filter_map(|log| decode_log(log, at, number)).collect()
}

/// Both sides of every transfer: a balance changes by nothing else (ERC-20).
fn moved(block: &Block, at: &Deployment) -> BTreeSet<EvmAddress> {
    let open = address(at.open);
    let transfers = block.logs().filter(|log| {
        log.address == open && log.topics().first() == Some(&Open::Transfer::SIGNATURE_HASH)
    });
    let sides = transfers.flat_map(|log| log.topics().iter().skip(1));
    sides.map(|side| EvmAddress(Address::from_word(*side).into())).collect()
}
