//! Who gets a place when there are few: pure, and the same on both planes.
//!
//! Names are free, so what a place costs is stake, an address, or usefulness:
//!
//! - half of the places are for whoever comes, a quarter more for members with stake, and the last
//!   quarter for those who judge what this node did: it must reach them to be paid;
//! - a stranger's address and its subnet have so many places and no more;
//! - where there is none left, the worst guest leaves for a better one: first by standing, then who
//!   shares a subnet with most others, then by score. Who brought nothing in a minute counts as worse
//!   than somebody new, so an honest newcomer finds a place however many idle names sit there.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv6Addr};
use std::time::{Duration, Instant};

use protocol::NodeId;
use protocol::rules::Standing;

use super::reputation::Reputation;

/// How long a guest may be of no use before somebody new is preferred.
const TRIAL: Duration = Duration::from_secs(60);

/// How many places there are.
#[derive(Debug, Clone, Copy)]
pub(crate) struct PlaceLimits {
    /// Connections of all peers together.
    pub(crate) total: usize,
    /// Of one peer.
    pub(crate) per_peer: usize,
    /// Strangers at one address.
    pub(crate) per_address: usize,
    /// Strangers in one subnet: /24 of IPv4, /48 of IPv6.
    pub(crate) per_subnet: usize,
}

/// Who asks for a place, or has one.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Guest {
    pub(crate) peer: NodeId,
    /// Where it is; `None` behind a relay.
    pub(crate) address: Option<IpAddr>,
    pub(crate) standing: Standing,
    pub(crate) since: Instant,
}

/// Why there is no place.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum NoPlace {
    #[error("the peer has as many connections as one may have")]
    Peer,
    #[error("there are as many peers of its address as there may be")]
    Address,
    #[error("there are as many peers of its subnet as there may be")]
    Subnet,
    #[error("the peer did too much harm")]
    Refused,
    #[error("all places are taken by better peers")]
    All,
}

/// The places and who has them, by the key of a connection.
#[derive(Debug)]
pub(crate) struct Places<K> {
    limits: PlaceLimits,
    guests: BTreeMap<K, Guest>,
}

impl<K: Ord + Copy> Places<K> {
    pub(crate) const fn new(limits: PlaceLimits) -> Self {
        Self { limits, guests: BTreeMap::new() }
    }

    /// Gives a place, at the cost of the connection that is returned: it has none any more and is to
    /// be closed.
    pub(crate) fn enter(
        &mut self,
        key: K,
        guest: Guest,
        reputation: &Reputation,
    ) -> Result<Option<K>, NoPlace> {
        let leaves = self.admit(&guest, reputation)?;
        if let Some(key) = leaves {
            self.guests.remove(&key);
        }
        self.guests.insert(key, guest);
        Ok(leaves)
    }

    /// Frees a place.
    pub(crate) fn leave(&mut self, key: &K) {
        self.guests.remove(key);
    }

    /// Places that are taken.
    pub(crate) fn len(&self) -> usize {
        self.guests.len()
    }

    fn admit(&self, guest: &Guest, reputation: &Reputation) -> Result<Option<K>, NoPlace> {
        let of_peer = self.guests.values().filter(|other| other.peer == guest.peer).count();
        if of_peer >= self.limits.per_peer {
            return Err(NoPlace::Peer);
        }
        if guest.standing == Standing::Stranger {
            if reputation.is_refused(&guest.peer, guest.since) {
                return Err(NoPlace::Refused);
            }
            let is_new = of_peer == 0;
            let at = |other: &Guest| other.address == guest.address;
            if is_new && self.peers(at) >= self.limits.per_address {
                return Err(NoPlace::Address);
            }
            let near = |other: &Guest| subnet(other.address) == subnet(guest.address);
            if is_new && self.peers(near) >= self.limits.per_subnet {
                return Err(NoPlace::Subnet);
            }
        }
        let is_peer = |other: &Guest| other.standing <= guest.standing;
        let taken = self.guests.values().filter(|other| is_peer(other)).count();
        let is_room = self.guests.len() < self.limits.total;
        if is_room && taken < self.share(guest.standing) {
            return Ok(None);
        }
        self.worse_than(guest, reputation).map(Some).ok_or(NoPlace::All)
    }

    /// Places for those of a standing and of lower ones.
    const fn share(&self, standing: Standing) -> usize {
        let quarter = self.limits.total / 4;
        match standing {
            Standing::Stranger => self.limits.total - 2 * quarter,
            Standing::Member => self.limits.total - quarter,
            Standing::Judge => self.limits.total,
        }
    }

    /// Strangers, by name, of whom something holds.
    fn peers(&self, holds: impl Fn(&Guest) -> bool) -> usize {
        let strangers = self.guests.values().filter(|other| other.standing == Standing::Stranger);
        strangers
            .filter(|other| holds(other))
            .map(|other| other.peer)
            .collect::<BTreeSet<_>>()
            .len()
    }

    /// The worst guest, if it is worse than another.
    fn worse_than(&self, guest: &Guest, reputation: &Reputation) -> Option<K> {
        let now = guest.since;
        let crowd = |of: &Guest| {
            let near = |other: &&Guest| subnet(other.address) == subnet(of.address);
            self.guests.values().filter(near).count()
        };
        let merit = |of: &Guest| {
            let score = reputation.score(&of.peer, now);
            let is_idle = score <= 0 && now.saturating_duration_since(of.since) >= TRIAL;
            if is_idle { score - 1 } else { score }
        };
        // Worst first; among equals whoever came last.
        let rank = |of: &Guest, crowd: usize| (of.standing, std::cmp::Reverse(crowd), merit(of));
        let candidates = self.guests.iter().filter(|(_, other)| other.standing <= guest.standing);
        let ranked = candidates.map(|(key, other)| (rank(other, crowd(other)), other.since, *key));
        let (worst, _, key) =
            ranked.min_by(|one, other| one.0.cmp(&other.0).then_with(|| other.1.cmp(&one.1)))?;
        // With the newcomer its own subnet is one larger, but for a place that it takes over there.
        let joined = crowd(guest) + 1;
        let is_neighbour = self
            .guests
            .get(&key)
            .is_some_and(|other| subnet(other.address) == subnet(guest.address));
        let joined = if is_neighbour { joined - 1 } else { joined };
        (worst < rank(guest, joined)).then_some(key)
    }
}

/// What addresses are likely to belong to one owner.
pub(crate) fn subnet(address: Option<IpAddr>) -> Option<IpAddr> {
    Some(match address?.to_canonical() {
        IpAddr::V4(ip) => {
            let [a, b, c, _] = ip.octets();
            IpAddr::from([a, b, c, 0])
        }
        IpAddr::V6(ip) => {
            let [a, b, c, ..] = ip.segments();
            IpAddr::V6(Ipv6Addr::new(a, b, c, 0, 0, 0, 0, 0))
        }
    })
}

#[cfg(test)]
mod tests {
    use super::super::reputation::Deed;
    use super::*;

    const LIMITS: PlaceLimits =
        PlaceLimits { total: 64, per_peer: 3, per_address: 8, per_subnet: 16 };

    struct House {
        places: Places<u32>,
        reputation: Reputation,
        start: Instant,
        keys: u32,
    }

    fn node(name: u32) -> NodeId {
        let mut id = NodeId([7; 32]);
        id.0[..4].copy_from_slice(&name.to_be_bytes());
        id
    }

    impl House {
        fn new() -> Self {
            let (places, reputation) = (Places::new(LIMITS), Reputation::default());
            Self { places, reputation, start: Instant::now(), keys: 0 }
        }

        fn arrive(
            &mut self,
            name: u32,
            address: [u8; 4],
            standing: Standing,
            second: u64,
        ) -> Result<Option<u32>, NoPlace> {
            self.keys += 1;
            let since = self.start + Duration::from_secs(second);
            let guest = Guest { peer: node(name), address: Some(address.into()), standing, since };
            self.places.enter(self.keys, guest, &self.reputation)
        }

        fn has(&self, name: u32) -> bool {
            self.places.guests.values().any(|guest| guest.peer == node(name))
        }
    }

    #[test]
    fn many_names_of_one_host_have_few_places_and_a_newcomer_finds_one() {
        let mut house = House::new();
        for name in 0..80 {
            let entered = house.arrive(name, [10, 0, 0, 1], Standing::Stranger, 0);
            assert_eq!(entered.is_ok(), name < 8, "{name}");
        }
        for name in 80..160 {
            let last = u8::try_from(name).unwrap();
            let _ = house.arrive(name, [10, 0, 0, last], Standing::Stranger, 0);
        }
        assert_eq!(house.places.len(), 16, "a subnet has no more places");
        assert_eq!(house.arrive(999, [10, 9, 9, 9], Standing::Stranger, 0), Ok(None));
    }

    #[test]
    fn names_in_many_subnets_leave_room_for_members_and_judges() {
        let mut house = House::new();
        for name in 0..200_u32 {
            let [.., a, b] = name.to_be_bytes();
            let _ = house.arrive(name, [11, a, b, 1], Standing::Stranger, 0);
        }
        assert_eq!(house.places.len(), 32, "half is what strangers may have");
        for name in 200..300_u32 {
            let _ = house.arrive(name, [11, 0, 0, 1], Standing::Member, 0);
        }
        let members = (200..300).filter(|name| house.has(*name)).count();
        assert_eq!(members, 48, "members push strangers out of what all may have");
        for name in 300..316 {
            assert_eq!(house.arrive(name, [11, 0, 0, 1], Standing::Judge, 0), Ok(None), "{name}");
        }
        assert_eq!(house.places.len(), 64);
        assert!(house.arrive(316, [11, 0, 0, 1], Standing::Judge, 0).unwrap().is_some());
        assert_eq!(house.places.len(), 64);
    }

    #[test]
    fn who_is_of_no_use_leaves_for_somebody_new_and_the_useful_stay() {
        let mut house = House::new();
        for name in 0..32_u32 {
            let last = u8::try_from(name).unwrap();
            house.arrive(name, [12, last, 0, 1], Standing::Stranger, 0).unwrap();
        }
        for name in 0..31 {
            house.reputation.note(node(name), Deed::Useful, house.start);
        }
        let early = house.arrive(100, [13, 0, 0, 1], Standing::Stranger, 30);
        assert_eq!(early, Err(NoPlace::All), "everybody has a minute");
        let late = house.arrive(101, [13, 0, 0, 1], Standing::Stranger, 61);
        assert!(late.unwrap().is_some());
        assert!(house.has(101) && !house.has(31) && (0..31).all(|name| house.has(name)));
        // A crowd goes before somebody from elsewhere, whatever its merit.
        let mut house = House::new();
        for name in 0..32_u32 {
            let last = u8::try_from(name / 16).unwrap();
            let host = u8::try_from(name).unwrap();
            house.arrive(name, [12, 0, last, host], Standing::Stranger, 0).unwrap();
            house.reputation.note(node(name), Deed::Useful, house.start);
        }
        assert!(house.arrive(100, [13, 0, 0, 1], Standing::Stranger, 1).unwrap().is_some());
    }

    #[test]
    fn who_did_harm_is_refused_after_a_reconnect_and_one_peer_has_three_places() {
        let mut house = House::new();
        for _ in 0..3 {
            assert_eq!(house.arrive(1, [10, 0, 0, 1], Standing::Stranger, 0), Ok(None));
        }
        assert_eq!(house.arrive(1, [10, 0, 0, 1], Standing::Stranger, 0), Err(NoPlace::Peer));
        for _ in 0..16 {
            house.reputation.note(node(2), Deed::Violation, house.start);
        }
        assert_eq!(house.arrive(2, [10, 0, 1, 1], Standing::Stranger, 0), Err(NoPlace::Refused));
        assert_eq!(house.arrive(2, [10, 0, 1, 1], Standing::Judge, 0), Ok(None));
    }
}
