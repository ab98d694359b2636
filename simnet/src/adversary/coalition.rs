//! Nodes that cheat together.

use super::{Adversary, AdversaryKind, AdversaryPlan, Copies, Stakes};
use crate::kernel::Time;

/// The nodes of one `[[adversary]]` of a scenario, which know each other.
pub struct Coalition {
    /// What they do, in this order.
    pub behaviours: Vec<Box<dyn Adversary>>,
    /// From when they cheat; honest before.
    pub from: Time,
    /// The numbers of their nodes.
    pub members: Vec<u32>,
    /// What is known of them before the run.
    pub facts: Facts,
}

/// What the behaviours of a coalition say of themselves, together.
#[derive(Debug, Clone, Copy)]
pub struct Facts {
    /// What is at stake behind each of its nodes.
    pub stakes: Stakes,
    /// The packs of others that it contributes once more.
    pub copies: Option<Copies>,
    /// Whether it contributes under many accounts.
    pub splits_data: bool,
    /// Whether it contributes a pack of more units than text.
    pub empty_units: bool,
    /// Whether it orders the last run and is its only customer.
    pub owns_last_run: bool,
    /// Whether it orders runs to work on them itself.
    pub orders_for_itself: bool,
    /// Whether its nodes say that they serve models faster than all others, and are believed.
    pub wants_to_serve: bool,
    /// Whether it proposes settlements that do not follow from the chain.
    pub settles_falsely: bool,
    /// Whether its nodes pass storage proofs that they have not seen.
    pub passes_unseen: bool,
    /// Whether its nodes say of right proofs that they are wrong.
    pub fails_the_right: bool,
    /// Whether its nodes prove with bytes that are not theirs.
    pub borrows_bytes: bool,
}

impl Facts {
    fn of(behaviours: &[Box<dyn Adversary>]) -> Self {
        let any = |of: fn(&dyn Adversary) -> bool| behaviours.iter().any(|one| of(&**one));
        Self {
            stakes: behaviours.iter().map(|one| one.stakes()).min().unwrap_or(Stakes::Whole),
            copies: behaviours.iter().find_map(|one| one.copies()),
            splits_data: any(|one| one.splits_data()),
            empty_units: any(|one| one.declares_empty_units()),
            owns_last_run: any(|one| one.owns_last_run()),
            orders_for_itself: any(|one| one.orders_for_itself()),
            wants_to_serve: any(|one| one.wants_to_serve()),
            settles_falsely: any(|one| one.settles_falsely()),
            passes_unseen: any(|one| one.passes_unseen()),
            fails_the_right: any(|one| one.fails_the_right()),
            borrows_bytes: any(|one| one.borrows_bytes()),
        }
    }
}

impl Coalition {
    /// The coalition of a plan; its members come when the network is set up.
    pub fn new(plan: &AdversaryPlan) -> Self {
        let kinds = std::iter::once(plan.kind).chain(plan.also.iter().copied());
        let behaviours: Vec<_> =
            kinds.map(|AdversaryKind(profile)| (profile.build)(plan)).collect();
        let (from, facts) = (Time(plan.from.0), Facts::of(&behaviours));
        Self { behaviours, from, members: Vec::new(), facts }
    }
}

/// All coalitions of a run, by their places in the scenario.
pub struct Coalitions(Vec<Coalition>);

impl Coalitions {
    /// Those of the plans of a scenario.
    pub fn new(plans: &[AdversaryPlan]) -> Self {
        Self(plans.iter().map(Coalition::new).collect())
    }

    /// One of them; `None` where there is none under that number.
    pub fn get(&self, number: usize) -> Option<&Coalition> {
        self.0.get(number)
    }

    /// How many there are.
    pub const fn count(&self) -> usize {
        self.0.len()
    }

    /// What is known of each, in the order of the scenario.
    pub fn facts(&self) -> impl Iterator<Item = Facts> {
        self.0.iter().map(|coalition| coalition.facts)
    }

    /// Makes a node one of a coalition's.
    pub fn join(&mut self, number: usize, node: u32) {
        self.0[number].members.push(node);
    }

    /// Takes a coalition out that cheats by now, so that it may change the world; while it is out its
    /// nodes are honest. [`Self::put`] puts it back.
    pub fn take(&mut self, number: usize, now: Time) -> Option<Coalition> {
        let coalition = self.0.get_mut(number).filter(|coalition| now >= coalition.from)?;
        let (behaviours, members) = (Vec::new(), Vec::new());
        let (from, facts) = (coalition.from, coalition.facts);
        Some(std::mem::replace(coalition, Coalition { behaviours, from, members, facts }))
    }

    /// Puts a coalition back that was taken.
    pub fn put(&mut self, number: usize, coalition: Coalition) {
        self.0[number] = coalition;
    }
}
