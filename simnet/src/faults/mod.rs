//! What goes wrong, and when: spells of trouble that the network, the disks and the chain ask about.

mod sessions;

pub use sessions::{Rhythm, Sessions};

use crate::{
    kernel::{Draws, Purpose, Time},
    scenario::{FaultEvent, FaultKind},
};

/// A fault with its time and whom it strikes.
#[derive(Debug, Clone)]
pub struct Spell {
    /// The fault, of those that scenarios can name.
    pub fault: FaultKind,
    /// When it begins, in virtual time.
    pub start: Time,
    /// Until when; the end of time for a fault without an end.
    pub end: Time,
    /// Its share, as the scenario gives it.
    pub share: f64,
    /// How many times slower.
    pub factor: f64,
    one_way: bool,
    /// Indices of regions; all where there are none.
    regions: Vec<usize>,
    number: u64,
    draws: Draws,
}

impl Spell {
    const fn is_on(&self, at: Time) -> bool {
        self.start.0 <= at.0 && at.0 < self.end.0
    }

    /// Whether it strikes a node of a region.
    pub(crate) fn strikes(&self, node: u32, region: usize) -> bool {
        let is_here = self.regions.is_empty() || self.regions.contains(&region);
        let draw = || self.draws.share(Purpose::Fault, node.into(), self.number);
        is_here && (self.share >= 1.0 || draw() < self.share)
    }
}

/// All faults of a run.
#[derive(Debug, Default)]
pub struct Faults {
    spells: Vec<Spell>,
}

/// A fault names a region that the underlay does not have.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("there is no region {name}; the underlay has {}", if known.is_empty() { "none".to_owned() } else { known.join(", ") })]
pub struct UnknownRegion {
    /// What was named.
    pub name: String,
    /// What there is.
    pub known: Vec<String>,
}

impl Faults {
    /// The faults of a scenario. A partition of all nodes without regions cuts them in halves.
    ///
    /// # Errors
    /// [`UnknownRegion`].
    pub fn new(
        events: &[FaultEvent],
        regions: &[String],
        draws: Draws,
    ) -> Result<Self, UnknownRegion> {
        let mut spells = Vec::new();
        for (number, event) in (0u64..).zip(events) {
            let index = |name: &String| {
                regions
                    .iter()
                    .position(|known| known == name)
                    .ok_or_else(|| UnknownRegion { name: name.clone(), known: regions.to_vec() })
            };
            let is_cut = event.fault == FaultKind::Partition
                && event.regions.is_empty()
                && event.share >= 1.0;
            let start = Time(event.at.0);
            spells.push(Spell {
                fault: event.fault,
                start,
                end: if event.lasts.0 == 0 { Time(u64::MAX) } else { start.after(event.lasts.0) },
                share: if is_cut { 0.5 } else { event.share },
                factor: event.factor,
                one_way: event.one_way,
                regions: event.regions.iter().map(index).collect::<Result<_, _>>()?,
                number,
                draws,
            });
        }
        Ok(Self { spells })
    }

    /// The faults, in the order of the scenario.
    pub(crate) fn spells(&self) -> &[Spell] {
        &self.spells
    }

    fn on(&self, fault: FaultKind, at: Time) -> impl Iterator<Item = &Spell> {
        self.spells.iter().filter(move |spell| spell.fault == fault && spell.is_on(at))
    }

    /// Until when a message from one node does not reach another; `None` when it does.
    pub(crate) fn separated(
        &self,
        at: Time,
        (from, from_region): (u32, usize),
        (to, to_region): (u32, usize),
    ) -> Option<Time> {
        let parts = self.on(FaultKind::Partition, at).filter(|spell| {
            let (inner, outer) = (spell.strikes(from, from_region), spell.strikes(to, to_region));
            // One way: what comes from outside does not get in.
            if spell.one_way { !inner && outer } else { inner != outer }
        });
        parts.map(|spell| spell.end).max()
    }

    /// The share of messages that is lost beside the usual one.
    pub fn loss(&self, at: Time) -> f64 {
        self.on(FaultKind::Loss, at).map(|spell| spell.share).fold(0.0, f64::max)
    }

    /// How many times slower a disk is.
    pub fn disk(&self, at: Time, node: u32, region: usize) -> f64 {
        let struck = self.on(FaultKind::SlowDisk, at).filter(|s| s.strikes(node, region));
        struck.map(|spell| spell.factor).fold(1.0, f64::max)
    }

    /// Until when a fault lasts for a node; `None` when it is not struck.
    pub fn until(&self, fault: FaultKind, at: Time, node: u32, region: usize) -> Option<Time> {
        let struck = self.on(fault, at).filter(|spell| spell.strikes(node, region));
        struck.map(|spell| spell.end).max()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::units::Span;

    fn faults(events: &[FaultEvent]) -> Faults {
        Faults::new(events, &["eu".to_owned(), "na".to_owned()], Draws::new(1)).unwrap()
    }

    #[test]
    fn a_partition_of_a_region_cuts_it_off_until_it_ends() {
        let mut event = FaultEvent::new(Span::seconds(10), FaultKind::Partition, Span::seconds(5));
        event.regions = vec!["eu".to_owned()];
        let cut = faults(std::slice::from_ref(&event));
        let at = |seconds: u64| Time(seconds * 1_000_000);
        assert_eq!(cut.separated(at(12), (0, 0), (1, 1)), Some(at(15)));
        assert_eq!(cut.separated(at(12), (0, 0), (1, 0)), None);
        assert_eq!(cut.separated(at(9), (0, 0), (1, 1)), None);
        assert_eq!(cut.separated(at(15), (0, 0), (1, 1)), None);
        event.one_way = true;
        let cut = faults(&[event]);
        assert_eq!(cut.separated(at(12), (0, 0), (1, 1)), None, "messages get out");
        assert_eq!(cut.separated(at(12), (1, 1), (0, 0)), Some(at(15)), "and none in");
    }

    #[test]
    fn a_cut_through_everybody_makes_halves_and_an_unknown_region_is_named() {
        let event = FaultEvent::new(Span::ZERO, FaultKind::Partition, Span::ZERO);
        let cut = faults(std::slice::from_ref(&event));
        let inner = (0..1000).filter(|node| cut.spells()[0].strikes(*node, 0)).count();
        assert!((420..=580).contains(&inner), "{inner}");
        let event = FaultEvent { regions: vec!["mars".to_owned()], ..event };
        let error = Faults::new(&[event], &["eu".to_owned()], Draws::new(1)).unwrap_err();
        assert_eq!(error.to_string(), "there is no region mars; the underlay has eu");
    }
}
