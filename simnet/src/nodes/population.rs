//! Who takes part: kinds of nodes, their keys, and when they leave.

use std::ops::Range;

use protocol::{EvmAddress, NodeId, chain::Transaction, identity::Binding};

use super::{Kind, Signer, signer::secret};
use crate::{
    Scenario,
    chain::{CHAIN_ID, named_address},
    kernel::{Draws, Purpose, Streams, Time},
};

/// How a node behaves, in which coalition, and when it leaves for good.
pub type Role = (Kind, Option<u8>, Option<Time>);

/// What a node registers with.
#[derive(Debug, Clone, Copy)]
pub struct Identity {
    /// The cold key's address.
    pub owner: EvmAddress,
    /// Where claims pay.
    pub payout: EvmAddress,
    /// The hot key's address.
    pub operator: EvmAddress,
    /// The transport identity.
    pub node: NodeId,
    /// The node's signature over owner, operator and payout.
    pub binding: [u8; 64],
}

impl Identity {
    /// The transaction that registers it.
    pub const fn registration(&self) -> Transaction {
        let Self { owner, payout, operator, node, binding } = *self;
        Transaction::Register { owner, operator, payout, node, binding }
    }
}

/// The identities of a range of numbers, made on all cores: each depends on its number alone.
///
/// # Panics
/// When a thread panicked, which none does.
pub(crate) fn identities(
    streams: &Streams,
    numbers: Range<u32>,
    registry: EvmAddress,
) -> Vec<Identity> {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let numbers: Vec<u32> = numbers.collect();
    let part = numbers.len().div_ceil(cores).max(1);
    let make = |numbers: &[u32]| -> Vec<Identity> {
        let signer = Signer::new(*streams);
        numbers.iter().map(|number| identity(streams, &signer, *number, registry)).collect()
    };
    std::thread::scope(|scope| {
        let threads: Vec<_> =
            numbers.chunks(part).map(|chunk| scope.spawn(|| make(chunk))).collect();
        threads.into_iter().flat_map(|t| t.join().expect("no identity panics")).collect()
    })
}

/// The identity of a number.
pub fn identity(streams: &Streams, signer: &Signer, number: u32, registry: EvmAddress) -> Identity {
    let mut draws = streams.stream(number, Purpose::Identity);
    // The first draws are the operator's, whose address the signer knows.
    secret(&mut draws);
    let operator = signer.address(number);
    let owner = named_address(b"owner", number);
    let payout = named_address(b"payout", number);
    let binding = Binding { chain_id: CHAIN_ID, registry, owner, operator, payout };
    let mut transport = [0u8; 32];
    draws.fill(&mut transport);
    let (node, binding) = binding.sign(&transport);
    Identity { owner, payout, operator, node, binding }
}

/// The kind of each node, with the number of its coalition, and when it leaves. Kinds go to the
/// lowest of one draw per node, so a further node changes at most one other's.
pub fn kinds(scenario: &Scenario, draws: Draws, end: Time) -> Vec<Role> {
    let word = |index: u32| draws.word(Purpose::Role, index.into(), 0);
    let nodes = scenario.population.nodes;
    let mut ranked: Vec<_> = (0..nodes).map(|index| (word(index), index)).collect();
    ranked.sort_unstable();
    let offline = part(nodes, scenario.population.offline);
    let adverse: Vec<_> = scenario
        .adversaries
        .iter()
        .zip(0u8..)
        .flat_map(|(plan, coalition)| {
            let role = (Kind::Adversary(plan.kind.name()), Some(coalition), None);
            std::iter::repeat_n(role, part(nodes, plan.share))
        })
        .collect();
    let mut kinds = vec![(Kind::Honest, None, None); ranked.len()];
    for (place, (_, index)) in ranked.into_iter().enumerate() {
        kinds[index as usize] = match place {
            place if place < adverse.len() => adverse[place],
            place if place < adverse.len() + offline => {
                (Kind::Offline, None, Some(leaving(draws, index, end)))
            }
            _ => (Kind::Honest, None, None),
        };
    }
    kinds
}

/// Half of those who leave were never there.
fn leaving(draws: Draws, index: u32, end: Time) -> Time {
    let is_never = draws.below(Purpose::Role, index.into(), 1, 2) == 0;
    if is_never { Time(0) } else { Time(draws.below(Purpose::Role, index.into(), 2, end.0)) }
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a share of a number of nodes is not negative and not more than it"
)]
fn part(nodes: u32, share: f64) -> usize {
    (f64::from(nodes) * share).round() as usize
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{adversary, scenario::Population};

    #[test]
    fn kinds_have_the_shares_asked_for_and_survive_growth() {
        let lazy = Kind::Adversary(adversary::LAZY_STORAGE.name());
        let draws = Draws::new(3);
        let kinds_of = |nodes| {
            let population = Population { nodes, offline: 0.2, ..Population::default() };
            let scenario = Scenario { population, ..Scenario::default() };
            kinds(&scenario, draws, Time(9))
        };
        let before = kinds_of(200);
        let count = |kind| before.iter().filter(|(k, ..)| *k == kind).count();
        assert_eq!((count(Kind::Honest), count(Kind::Offline), count(lazy)), (140, 40, 20));
        let changed =
            kinds_of(201).iter().zip(&before).filter(|(after, old)| after.0 != old.0).count();
        assert!(changed <= 2, "{changed}");
    }
}
