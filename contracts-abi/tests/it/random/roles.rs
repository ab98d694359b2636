//! The roles of every contract that has any: only an admin gives and takes them, and anybody gives up its own.

use std::collections::BTreeSet;

use alloy::primitives::{Address, B256, keccak256};

use super::driver::{Done, Draw, Encoded, Model, NO_ROLE, Step, need};
use crate::contracts::world::{Registry, World, who};

const PEOPLE: usize = 5;
/// With the names of their functions.
const CONTRACTS: [[&str; 3]; 4] = [
    ["Registry.grantRole", "Registry.revokeRole", "Registry.renounceRole"],
    ["DatanetRegistry.grantRole", "DatanetRegistry.revokeRole", "DatanetRegistry.renounceRole"],
    ["RewardVault.grantRole", "RewardVault.revokeRole", "RewardVault.renounceRole"],
    ["Settlements.grantRole", "Settlements.revokeRole", "Settlements.renounceRole"],
];
/// The first is the admin's.
const ROLES: [&str; 5] = ["", "SLASHER_ROLE", "COUNTER_ROLE", "FEES_ROLE", "ARBITER_ROLE"];

fn role(role: usize) -> B256 {
    if role == 0 { B256::ZERO } else { keccak256(ROLES[role]) }
}

fn addresses(world: &World<'_>) -> [Address; 4] {
    [world.registry, world.datanets, world.vault, world.settlements]
}

#[derive(Clone, Copy, Debug)]
pub(super) enum What {
    Grant,
    Revoke,
    Renounce,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Call {
    contract: usize,
    role: usize,
    whose: usize,
    what: What,
}

#[derive(Clone)]
pub(super) struct Roles(BTreeSet<(usize, usize, usize)>);

impl Model for Roles {
    type Call = Call;
    const CALLS: &'static [&'static str] = &[
        "Registry.grantRole",
        "Registry.revokeRole",
        "Registry.renounceRole",
        "DatanetRegistry.grantRole",
        "DatanetRegistry.revokeRole",
        "DatanetRegistry.renounceRole",
        "RewardVault.grantRole",
        "RewardVault.revokeRole",
        "RewardVault.renounceRole",
        "Settlements.grantRole",
        "Settlements.revokeRole",
        "Settlements.renounceRole",
    ];

    fn start(_world: &mut World<'_>) -> Self {
        let mut roles: BTreeSet<_> =
            (0..CONTRACTS.len()).map(|contract| (contract, 0, 0)).collect();
        // It rules on objections as well.
        roles.insert((3, 4, 0));
        Self(roles)
    }

    fn draw(&self, draw: &mut Draw, _block: u64) -> Step<Call> {
        let what = draw.of(&[What::Grant, What::Grant, What::Revoke, What::Renounce]);
        let (contract, whose) = (draw.below(CONTRACTS.len()), draw.below(PEOPLE));
        // Admins come and go seldom, or there would soon be none.
        let role = if draw.one_in(12) { 0 } else { 1 + draw.below(ROLES.len() - 1) };
        let admins: Vec<_> = (0..PEOPLE).filter(|p| self.0.contains(&(contract, 0, *p))).collect();
        let from = match what {
            _ if draw.one_in(5) => draw.below(PEOPLE),
            What::Renounce => whose,
            _ if admins.is_empty() => draw.below(PEOPLE),
            _ => draw.of(&admins),
        };
        Step { wait: 0, from, call: Call { contract, role, whose, what } }
    }

    fn encode(&self, world: &mut World<'_>, call: &Call) -> Encoded {
        let Call { contract, role: of, whose, what } = *call;
        let (to, role, account) = (addresses(world)[contract], role(of), who(whose));
        let [grant, revoke, renounce] = CONTRACTS[contract];
        match what {
            What::Grant => Encoded::new(grant, to, &Registry::grantRoleCall { role, account }),
            What::Revoke => Encoded::new(revoke, to, &Registry::revokeRoleCall { role, account }),
            What::Renounce => {
                let call = Registry::renounceRoleCall { role, callerConfirmation: account };
                Encoded::new(renounce, to, &call)
            }
        }
    }

    fn apply(&mut self, from: usize, call: &Call, _block: u64) -> Done {
        let Call { contract, role, whose, what } = *call;
        let is_admin = self.0.contains(&(contract, 0, from));
        match what {
            What::Grant => {
                need(is_admin, NO_ROLE)?;
                self.0.insert((contract, role, whose));
            }
            What::Revoke => {
                need(is_admin, NO_ROLE)?;
                self.0.remove(&(contract, role, whose));
            }
            What::Renounce => {
                need(from == whose, "AccessControlBadConfirmation")?;
                self.0.remove(&(contract, role, whose));
            }
        }
        Ok(())
    }

    fn compare(&self, world: &mut World<'_>, from: usize, call: &Call) {
        for whose in [from, call.whose] {
            self.compare_one(world, (call.contract, call.role, whose));
        }
    }

    fn compare_all(&self, world: &mut World<'_>) {
        for contract in 0..CONTRACTS.len() {
            for role in 0..ROLES.len() {
                (0..PEOPLE).for_each(|whose| self.compare_one(world, (contract, role, whose)));
            }
        }
    }
}

impl Roles {
    fn compare_one(&self, world: &mut World<'_>, (contract, of, whose): (usize, usize, usize)) {
        let at = addresses(world)[contract];
        let call = Registry::hasRoleCall { role: role(of), account: who(whose) };
        assert_eq!(world.read(at, &call), self.0.contains(&(contract, of, whose)));
    }
}
