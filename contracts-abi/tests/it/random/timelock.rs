//! The Timelock: only what governors asked for takes place, after its delay, once, and not before what it
//! waits for; any governor calls it off.

use std::collections::{BTreeMap, BTreeSet};

use alloy::primitives::{Address, B256, Bytes, U256, keccak256};
use alloy::sol_types::{SolCall, SolValue};

use super::driver::{Done, Draw, Encoded, Model, NO_ROLE, Step, need};
use crate::contracts::world::abi::timelock::Timelock;
use crate::contracts::world::{BUDGET, OPEN, Registry, RewardVault, World, deploy, who};

/// Development accounts that send, of which the second and third govern.
const PEOPLE: usize = 5;
const GOVERNORS: [usize; 2] = [1, 2];
/// Seconds, of which each block has one.
const DELAY: u64 = 5;
/// So many operations are thought of.
const OPERATIONS: usize = 60;
const STATE: &str = "TimelockUnexpectedOperationState";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Call {
    /// With a delay.
    Schedule(usize, u64),
    Cancel(usize),
    Execute(usize),
    /// Not by the Timelock itself.
    Delay(u64),
    /// A governor gives up that it may call off.
    Renounce {
        whose: usize,
    },
    Grant {
        whose: usize,
    },
    Revoke {
        whose: usize,
    },
}

/// What an operation changes.
enum Change {
    Delay(u64),
    Budget(u128),
}

fn change(operation: usize) -> Change {
    match operation % 3 {
        0 => Change::Delay(operation as u64 % 7),
        _ => Change::Budget(operation as u128 * OPEN),
    }
}

/// Some are batches of one call, which are other functions.
const fn is_batch(operation: usize) -> bool {
    operation % 2 == 1
}

/// Some wait for the one before.
const fn predecessor(operation: usize) -> Option<usize> {
    if operation % 5 == 4 { Some(operation - 1) } else { None }
}

#[derive(Clone)]
pub(super) struct Governors {
    at: Address,
    vault: Address,
    delay: u64,
    budget: u128,
    /// From which block on each may be executed.
    waiting: BTreeMap<usize, u64>,
    done: BTreeSet<usize>,
    /// Who may call off.
    cancellers: BTreeSet<usize>,
}

impl Governors {
    fn target(&self, operation: usize) -> (Address, Bytes) {
        match change(operation) {
            Change::Delay(new) => {
                let call = Timelock::updateDelayCall { newDelay: U256::from(new) };
                (self.at, call.abi_encode().into())
            }
            Change::Budget(new) => {
                let call = RewardVault::setBudgetCall { budgetPerEpoch: new };
                (self.vault, call.abi_encode().into())
            }
        }
    }

    fn id(&self, operation: usize) -> B256 {
        let (target, data) = self.target(operation);
        let before = predecessor(operation).map_or(B256::ZERO, |before| self.id(before));
        let salt = B256::repeat_byte(operation as u8);
        keccak256(if is_batch(operation) {
            (vec![target], vec![U256::ZERO], vec![data], before, salt).abi_encode_params()
        } else {
            (target, U256::ZERO, data, before, salt).abi_encode_params()
        })
    }

    fn schedule(&self, operation: usize, delay: u64) -> Encoded {
        let (target, data) = self.target(operation);
        let predecessor = predecessor(operation).map_or(B256::ZERO, |before| self.id(before));
        let (salt, delay) = (B256::repeat_byte(operation as u8), U256::from(delay));
        let value = U256::ZERO;
        if is_batch(operation) {
            let (targets, values, payloads) = (vec![target], vec![value], vec![data]);
            let call =
                Timelock::scheduleBatchCall { targets, values, payloads, predecessor, salt, delay };
            return Encoded::new("Timelock.scheduleBatch", self.at, &call);
        }
        let call = Timelock::scheduleCall { target, value, data, predecessor, salt, delay };
        Encoded::new("Timelock.schedule", self.at, &call)
    }

    fn execute(&self, operation: usize) -> Encoded {
        let (target, payload) = self.target(operation);
        let predecessor = predecessor(operation).map_or(B256::ZERO, |before| self.id(before));
        let (salt, value) = (B256::repeat_byte(operation as u8), U256::ZERO);
        if is_batch(operation) {
            let (targets, values, payloads) = (vec![target], vec![value], vec![payload]);
            let call = Timelock::executeBatchCall { targets, values, payloads, predecessor, salt };
            return Encoded::new("Timelock.executeBatch", self.at, &call);
        }
        let call = Timelock::executeCall { target, value, payload, predecessor, salt };
        Encoded::new("Timelock.execute", self.at, &call)
    }
}

impl Model for Governors {
    type Call = Call;
    const CALLS: &'static [&'static str] = &[
        "Timelock.schedule",
        "Timelock.scheduleBatch",
        "Timelock.cancel",
        "Timelock.execute",
        "Timelock.executeBatch",
        "Timelock.updateDelay",
        "Timelock.grantRole",
        "Timelock.revokeRole",
        "Timelock.renounceRole",
    ];
    /// It rules itself, so nobody else gives its roles.
    const NEVER: &'static [&'static str] =
        &["Timelock.updateDelay", "Timelock.grantRole", "Timelock.revokeRole"];

    fn start(world: &mut World<'_>) -> Self {
        let arguments = (U256::from(DELAY), GOVERNORS.map(who).to_vec()).abi_encode_params();
        let at = deploy(world.chain, "Timelock", &arguments);
        let grant = Registry::grantRoleCall { role: B256::ZERO, account: at };
        world.send(0, world.vault, &grant);
        Self {
            at,
            vault: world.vault,
            delay: DELAY,
            budget: BUDGET,
            waiting: BTreeMap::new(),
            done: BTreeSet::new(),
            cancellers: BTreeSet::from(GOVERNORS),
        }
    }

    fn draw(&self, draw: &mut Draw, _block: u64) -> Step<Call> {
        let waiting: Vec<_> = self.waiting.keys().copied().collect();
        let some = |draw: &mut Draw| match waiting.is_empty() || draw.one_in(6) {
            true => draw.below(OPERATIONS),
            false => draw.of(&waiting),
        };
        let whose = draw.below(PEOPLE);
        let call = match draw.below(24) {
            0..=8 => {
                let operation = draw.below(OPERATIONS);
                let delay = draw.of(&[self.delay, self.delay + 3, 3, self.delay.max(1) - 1]);
                Call::Schedule(operation, delay)
            }
            9 | 10 => Call::Cancel(some(draw)),
            11..=20 => Call::Execute(some(draw)),
            21 => Call::Delay(0),
            22 if draw.one_in(8) => Call::Renounce { whose },
            22 => Call::Renounce { whose: 4 },
            _ if draw.one_in(2) => Call::Grant { whose },
            _ => Call::Revoke { whose },
        };
        let from = match call {
            Call::Schedule(..) | Call::Cancel(_) if !draw.one_in(8) => draw.of(&GOVERNORS),
            _ => draw.below(PEOPLE),
        };
        Step { wait: if draw.one_in(8) { draw.below(8) as u64 } else { 0 }, from, call }
    }

    fn encode(&self, _world: &mut World<'_>, call: &Call) -> Encoded {
        let (at, role) = (self.at, keccak256("CANCELLER_ROLE"));
        match *call {
            Call::Schedule(operation, delay) => self.schedule(operation, delay),
            Call::Cancel(operation) => {
                let call = Timelock::cancelCall { id: self.id(operation) };
                Encoded::new("Timelock.cancel", at, &call)
            }
            Call::Execute(operation) => self.execute(operation),
            Call::Delay(new) => {
                let call = Timelock::updateDelayCall { newDelay: U256::from(new) };
                Encoded::new("Timelock.updateDelay", at, &call)
            }
            Call::Renounce { whose } => {
                let call = Timelock::renounceRoleCall { role, callerConfirmation: who(whose) };
                Encoded::new("Timelock.renounceRole", at, &call)
            }
            Call::Grant { whose } => {
                let call = Timelock::grantRoleCall { role, account: who(whose) };
                Encoded::new("Timelock.grantRole", at, &call)
            }
            Call::Revoke { whose } => {
                let call = Timelock::revokeRoleCall { role, account: who(whose) };
                Encoded::new("Timelock.revokeRole", at, &call)
            }
        }
    }

    fn apply(&mut self, from: usize, call: &Call, block: u64) -> Done {
        match *call {
            Call::Schedule(operation, delay) => {
                need(GOVERNORS.contains(&from), NO_ROLE)?;
                let is_new =
                    !self.waiting.contains_key(&operation) && !self.done.contains(&operation);
                need(is_new, STATE)?;
                need(delay >= self.delay, "TimelockInsufficientDelay")?;
                self.waiting.insert(operation, block + delay);
                Ok(())
            }
            Call::Cancel(operation) => {
                need(self.cancellers.contains(&from), NO_ROLE)?;
                self.waiting.remove(&operation).map(drop).ok_or(STATE)
            }
            Call::Execute(operation) => {
                let since = self.waiting.get(&operation).copied().ok_or(STATE)?;
                need(block >= since, STATE)?;
                let before = predecessor(operation);
                let is_done = before.is_none_or(|before| self.done.contains(&before));
                need(is_done, "TimelockUnexecutedPredecessor")?;
                match change(operation) {
                    Change::Delay(new) => self.delay = new,
                    Change::Budget(new) => self.budget = new,
                }
                self.waiting.remove(&operation);
                self.done.insert(operation);
                Ok(())
            }
            Call::Delay(_) => Err("TimelockUnauthorizedCaller"),
            Call::Grant { .. } | Call::Revoke { .. } => Err(NO_ROLE),
            Call::Renounce { whose } => {
                need(from == whose, "AccessControlBadConfirmation")?;
                self.cancellers.remove(&whose);
                Ok(())
            }
        }
    }

    fn compare(&self, world: &mut World<'_>, _from: usize, call: &Call) {
        if let Call::Schedule(operation, _) | Call::Cancel(operation) | Call::Execute(operation) =
            *call
        {
            let id = self.id(operation);
            let is_pending = world.read(self.at, &Timelock::isOperationPendingCall { id });
            assert_eq!(is_pending, self.waiting.contains_key(&operation));
            let is_done = world.read(self.at, &Timelock::isOperationDoneCall { id });
            assert_eq!(is_done, self.done.contains(&operation));
        }
        let delay = world.read(self.at, &Timelock::getMinDelayCall {});
        assert_eq!(delay, U256::from(self.delay));
        let last = RewardVault::budgetOfCall { epoch: u64::MAX };
        assert_eq!(world.read(self.vault, &last), self.budget);
    }

    fn compare_all(&self, world: &mut World<'_>) {
        let role = keccak256("CANCELLER_ROLE");
        for person in 0..PEOPLE {
            let call = Registry::hasRoleCall { role, account: who(person) };
            assert_eq!(world.read(self.at, &call), self.cancellers.contains(&person));
        }
    }
}
