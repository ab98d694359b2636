//! Who takes part: kinds of nodes, their keys, and when they leave.

use protocol::{EvmAddress, NodeId, eip712::EvmKey, identity::Binding};

use super::Kind;
use crate::{
    Scenario,
    chain::{CHAIN_ID, named_address},
    kernel::{Purpose, Stream, Streams, Time},
};

/// The keys of a node or a contributor, and the binding between them.
#[derive(Debug, Clone)]
pub struct Identity {
    /// The cold key's address.
    pub owner: EvmAddress,
    /// Where claims pay.
    pub payout: EvmAddress,
    /// The hot key.
    pub operator: EvmKey,
    /// The transport identity.
    pub node: NodeId,
    /// The node's signature over owner and operator.
    pub binding: [u8; 64],
}

/// The identities of all nodes.
pub fn identities(streams: &Streams, nodes: u32, registry: EvmAddress) -> Vec<Identity> {
    (0..nodes).map(|index| identity(streams, index, registry)).collect()
}

fn identity(streams: &Streams, index: u32, registry: EvmAddress) -> Identity {
    let mut draws = streams.stream(index, Purpose::Identity);
    let operator = secret(&mut draws);
    let owner = named_address(b"owner", index);
    let binding = Binding { chain_id: CHAIN_ID, registry, owner, operator: operator.address() };
    let mut transport = [0u8; 32];
    draws.fill(&mut transport);
    let (node, binding) = binding.sign(&transport);
    Identity { owner, payout: named_address(b"payout", index), operator, node, binding }
}

/// A secp256k1 key; all but some 2¹²⁸ of 2²⁵⁶ draws are one.
fn secret(draws: &mut Stream) -> EvmKey {
    loop {
        let mut bytes = [0u8; 32];
        draws.fill(&mut bytes);
        if let Some(key) = EvmKey::from_bytes(&bytes) {
            return key;
        }
    }
}

/// The kind of each node, and when it leaves. Kinds go to the lowest of one draw per node, so a
/// further node changes at most one other's.
pub fn kinds(scenario: &Scenario, streams: &Streams, end: Time) -> Vec<(Kind, Option<Time>)> {
    let mut sessions: Vec<_> = (0..scenario.population.nodes)
        .map(|index| streams.stream(index, Purpose::Session))
        .collect();
    let mut ranked: Vec<_> =
        sessions.iter_mut().zip(0usize..).map(|(draws, index)| (draws.word(), index)).collect();
    ranked.sort_unstable();
    let offline = part(scenario.population.nodes, scenario.population.offline);
    let adverse: Vec<_> = scenario
        .adversaries
        .iter()
        .flat_map(|plan| {
            let count = part(scenario.population.nodes, plan.share);
            std::iter::repeat_n(Kind::Adversary(plan.kind.name()), count)
        })
        .collect();
    let mut kinds = vec![(Kind::Honest, None); sessions.len()];
    for (place, (_, index)) in ranked.into_iter().enumerate() {
        let draws = &mut sessions[index];
        kinds[index] = match place {
            place if place < adverse.len() => (adverse[place], None),
            place if place < adverse.len() + offline => (Kind::Offline, Some(leaving(draws, end))),
            _ => (Kind::Honest, None),
        };
    }
    kinds
}

/// Half of those who leave were never there.
fn leaving(draws: &mut Stream, end: Time) -> Time {
    if draws.below(2) == 0 { Time(0) } else { Time(draws.below(end.0)) }
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
    use crate::scenario::{AdversaryKind, Population};

    #[test]
    fn kinds_have_the_shares_asked_for_and_survive_growth() {
        let lazy = Kind::Adversary(AdversaryKind::LazyStorage.name());
        let streams = Streams::new(3);
        let kinds_of = |nodes| {
            let mut scenario = Scenario::default();
            scenario.population = Population { nodes, offline: 0.2 };
            kinds(&scenario, &streams, Time(9))
        };
        let before = kinds_of(200);
        let count = |kind| before.iter().filter(|(k, _)| *k == kind).count();
        assert_eq!((count(Kind::Honest), count(Kind::Offline), count(lazy)), (140, 40, 20));
        let changed =
            kinds_of(201).iter().zip(&before).filter(|(after, old)| after.0 != old.0).count();
        assert!(changed <= 2, "{changed}");
    }
}
