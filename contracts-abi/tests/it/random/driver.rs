//! Plays random calls on the contracts and on a naive model of them, and compares after each.

use std::collections::{BTreeMap, HashMap};
use std::fmt::Debug;

use alloy::primitives::{Address, Bytes, U256, keccak256};
use alloy::sol_types::SolCall;
use contracts_abi::embedded::{events, header};
use contracts_abi::{DataDeposit, Deployment};
use protocol::chain::ChainView;
use protocol::params::{Params, Schedule};
use protocol::{AccountId, Amount, BlockNumber, Blocks, EvmAddress};

use crate::contracts::chain::{EmbeddedChain, Mined};
use crate::contracts::world::{self, World, who};

/// Calls over all models, or as many as the variable `OPENLEDGER_MODEL_CALLS` says.
const CALLS: u64 = 20_000;
/// Models that share them.
pub(super) const MODELS: usize = 11;
/// Calls on one deployment; more of them go on with another.
const SEQUENCE: u64 = 250;
/// Bytes of a storage cell.
const CELL_BYTES: u64 = 2_048;
/// After so many calls everything is compared, and not only what the last one touched.
const ALL: u64 = 16;

/// What a call did, or the name of the error with which it is refused.
pub(super) type Done = Result<(), &'static str>;

/// The caller has not the role.
pub(super) const NO_ROLE: &str = "AccessControlUnauthorizedAccount";
/// It did something.
const DONE: &str = "done";
/// A sum that is out of range.
pub(super) const PANIC: &str = "Panic";

/// Refuses what is not so.
pub(super) fn need(is: bool, error: &'static str) -> Done {
    if is { Ok(()) } else { Err(error) }
}

/// A call by somebody, after so many empty blocks.
#[derive(Clone, Debug)]
pub(super) struct Step<C> {
    pub(super) wait: u64,
    /// The development account that sends it.
    pub(super) from: usize,
    pub(super) call: C,
}

/// A call as a contract reads it.
pub(super) struct Encoded {
    /// `Contract.function`.
    name: &'static str,
    to: Address,
    data: Bytes,
}

impl Encoded {
    pub(super) fn new<C: SolCall>(name: &'static str, to: Address, call: &C) -> Self {
        Self { name, to, data: call.abi_encode().into() }
    }
}

/// What the text of some contracts says, in plain sums and maps, without their code.
pub(super) trait Model: Clone {
    type Call: Clone + Debug;
    /// The functions that it calls, as `Contract.function`; each has to succeed and to be refused.
    const CALLS: &'static [&'static str];
    /// Those of them that nothing is wrong with.
    const ALWAYS: &'static [&'static str] = &[];
    /// And those that nobody may.
    const NEVER: &'static [&'static str] = &[];

    /// Prepares a deployment, and is the model of it.
    fn start(world: &mut World<'_>) -> Self;
    /// What somebody does in this block or later.
    fn draw(&self, draw: &mut Draw, block: u64) -> Step<Self::Call>;
    fn encode(&self, world: &mut World<'_>, call: &Self::Call) -> Encoded;
    /// What the call does in a block. Where it is refused the model is forgotten that it changed.
    fn apply(&mut self, from: usize, call: &Self::Call, block: u64) -> Done;
    /// Requires that the contracts say the same of what the call may have changed.
    fn compare(&self, world: &mut World<'_>, from: usize, call: &Self::Call);
    /// The same of everything, and of where the money is.
    fn compare_all(&self, world: &mut World<'_>);
    /// Requires that a node which follows the chain says the same.
    fn compare_view(&self, _world: &mut World<'_>, _view: &ChainView) {}
}

/// How often each call was done, and refused with each error.
type Tally = BTreeMap<&'static str, BTreeMap<String, u64>>;

/// Plays a model's part of all calls.
pub(super) fn play_all<M: Model>() {
    let number = |name, otherwise| match std::env::var(name) {
        Ok(text) => text.parse().expect("a number"),
        Err(_) => otherwise,
    };
    let part = number("OPENLEDGER_MODEL_CALLS", CALLS).div_ceil(MODELS as u64);
    let first = number("OPENLEDGER_MODEL_SEED", 0);
    let errors = error_names();
    let mut tally = Tally::new();
    for sequence in 0..part.div_ceil(SEQUENCE) {
        let calls = SEQUENCE.min(part - sequence * SEQUENCE);
        play::<M>(first + sequence, calls, &errors, &mut tally);
    }
    eprintln!("{tally:#?}");
    let is_tried = |name: &&&str| {
        let Some(outcomes) = tally.get(**name) else { return false };
        let is_done = outcomes.contains_key(DONE);
        let is_refused = outcomes.len() > usize::from(is_done);
        (is_done || M::NEVER.contains(*name)) && (is_refused || M::ALWAYS.contains(*name))
    };
    let untried: Vec<_> = M::CALLS.iter().filter(|name| !is_tried(name)).collect();
    let is_short = part < CALLS.div_ceil(MODELS as u64);
    assert!(is_short || untried.is_empty(), "not refused or not done: {untried:?}");
}

/// What was done in a sequence, which is printed where it fails.
struct Trace<C: Debug> {
    seed: u64,
    done: Vec<(u64, usize, C)>,
}

impl<C: Debug> Drop for Trace<C> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            for (block, from, call) in &self.done {
                eprintln!("block {block}, by {from}: {call:?}");
            }
            eprintln!("again with OPENLEDGER_MODEL_SEED={}", self.seed);
        }
    }
}

fn play<M: Model>(seed: u64, calls: u64, errors: &HashMap<[u8; 4], String>, tally: &mut Tally) {
    let mut chain = EmbeddedChain::followed();
    let mut world = World::with_cells(&mut chain, CELL_BYTES);
    let mut model = M::start(&mut world);
    let mut follower = Follower::new(&world);
    let mut draw = Draw(seed);
    let mut trace = Trace { seed, done: Vec::new() };
    for turn in 0..calls {
        let head = world.chain.head();
        let Step { wait, from, call } = model.draw(&mut draw, head + 1);
        world.chain.advance_to(head + wait);
        let block = head + wait + 1;
        let Encoded { name, to, data } = model.encode(&mut world, &call);
        let mut after = model.clone();
        let expected = after.apply(from, &call, block);
        let mined = world.chain.send(who(from), Some(to), data);
        let found = outcome(&mined, errors);
        let expected_name = expected.map_err(str::to_owned);
        trace.done.push((block, from, call.clone()));
        assert_eq!(found, expected_name, "call {turn} of seed {seed}: {name}");
        let outcome = found.err().unwrap_or_else(|| DONE.to_owned());
        *tally.entry(name).or_default().entry(outcome).or_default() += 1;
        if mined.is_success {
            model = after;
        } else {
            // The trace has what had an effect, and the last call.
            trace.done.pop();
        }
        follower.follow(&mut world);
        model.compare(&mut world, from, &call);
        model.compare_view(&mut world, &follower.view);
        if turn % ALL == 0 || turn + 1 == calls {
            model.compare_all(&mut world);
        }
    }
}

fn outcome(mined: &Mined, errors: &HashMap<[u8; 4], String>) -> Result<(), String> {
    if mined.is_success {
        return Ok(());
    }
    let data = mined.reverted.as_ref().expect("it was refused, and did not run out of gas");
    let selector = data.first_chunk().expect("every refusal has a name");
    Err(errors.get(selector).unwrap_or_else(|| panic!("no error of ours: {data}")).clone())
}

/// Errors of all contracts by their selectors.
fn error_names() -> HashMap<[u8; 4], String> {
    let mut names = HashMap::from([(U256::from(0x4e48_7b71).to_be_bytes::<32>(), PANIC)])
        .into_iter()
        .map(|(word, name)| (std::array::from_fn(|i| word[28 + i]), name.to_owned()))
        .collect::<HashMap<_, _>>();
    for (_, abi) in super::artifacts() {
        for error in abi.iter().filter(|item| item["type"] == "error") {
            let inputs = error["inputs"].as_array().unwrap().iter();
            let kinds: Vec<_> = inputs.map(|input| input["type"].as_str().unwrap()).collect();
            let name = error["name"].as_str().unwrap();
            let hash = keccak256(format!("{name}({})", kinds.join(",")));
            names.insert(std::array::from_fn(|i| hash[i]), name.to_owned());
        }
    }
    names
}

/// A node's view of the chain, from what the contracts log.
struct Follower {
    at: Deployment,
    view: ChainView,
}

impl Follower {
    fn new(world: &World<'_>) -> Self {
        let at = deployment(world);
        let mut params = Params::minimal();
        params.economics.min_stake = Amount(world::LEAST_STAKE);
        let view = at.view(params);
        Self { at, view }
    }

    fn follow(&mut self, world: &mut World<'_>) {
        for block in world.chain.take_mined() {
            self.view.apply(header(&block), &events(&block, &self.at));
        }
    }
}

fn deployment(world: &World<'_>) -> Deployment {
    let evm = |address: Address| EvmAddress(address.into());
    let schedule = Schedule {
        genesis_block: BlockNumber(world.genesis),
        epoch_blocks: Blocks(world::EPOCH_BLOCKS),
        commit_blocks: Blocks(world::COMMIT_BLOCKS),
        settle_blocks: Blocks(world::SETTLE_BLOCKS),
        challenge_blocks: Blocks(world::CHALLENGE_BLOCKS),
    };
    Deployment {
        chain_id: 31_337,
        genesis_block: BlockNumber(0),
        schedule,
        cell_bytes: world.cell_bytes,
        data_deposit: DataDeposit {
            per_byte: Amount(world::DEPOSIT_PER_BYTE),
            blocks: world::DEPOSIT_BLOCKS,
        },
        budget: Amount(world::BUDGET),
        treasury: AccountId(1),
        open: evm(world.open),
        registry: evm(world.registry),
        datanets: evm(world.datanets),
        models: evm(world.models),
        coordinator: evm(world.coordinator),
        settlements: evm(world.settlements),
        disputes: evm(world.disputes),
        verifier: evm(world.verifier),
        escrow: evm(world.escrow),
        vault: evm(world.vault),
        timelock: EvmAddress([0; 20]),
        replaced: contracts_abi::Replaced::default(),
    }
}

/// Numbers that look drawn (SplitMix64).
pub(crate) struct Draw(pub(crate) u64);

impl Draw {
    pub(crate) fn below(&mut self, limit: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) % limit as u64) as usize
    }

    /// Whether something happens that does in one of so many cases.
    pub(super) fn one_in(&mut self, cases: usize) -> bool {
        self.below(cases) == 0
    }

    pub(super) fn of<T: Clone>(&mut self, choices: &[T]) -> T {
        choices[self.below(choices.len())].clone()
    }
}
