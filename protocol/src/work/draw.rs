//! Who is drawn for what. Each lot is one function here, pure in a public seed, a subject and the
//! weights of those that may be drawn, so that everybody draws the same and a rule about chances
//! changes one place.
//!
//! **A lot falls on stake, not on names.** All stake lies side by side, account by account, and each
//! seat and each turn is a point on it, drawn on its own. One account can so have several seats. In
//! return stake that is divided among any number of accounts has the same chances together as in one
//! of them: not only as many seats on average, but the same probability of any number of them. Of
//! seats that must be of different accounts, whoever is one would have fewer than whoever is many.
//!
//! **The subject says what the work is about, and nothing that whoever did it could choose**: no
//! record's id, no payload, no checkpoint that the work claims to start from.
//!
//! **Who is judged has no seat**: its own stake is left out, and the lot is over the rest. Whoever
//! divides its stake can come to judge its own work so, but never with more of the seats than its part
//! of all stake: a name of weight `a` among names of weight `w` that are one party, of `t` in all, is
//! judged by its own party with `(w - a) / (t - a)` of the seats, which is at most `w / t`.
//!
//! Which seed and which weights is the question of [`crate::rules`] and of [`crate::chain`]; how packs
//! find their holders is [`crate::placement`].

use alloc::{collections::BTreeMap, vec::Vec};

use crate::{
    hash::keccak,
    ids::{AccountId, Digest, Epoch, ModelId, Round},
    limits::MAX_SHARDS_PER_ROUND,
    math::mul_div,
};

/// Turns that are drawn by weight; whoever has none among them has its turn after them.
const DRAWN_TURNS: u32 = 64;
/// Seats of those who recompute a proposed settlement. All of them are of liars that have three tenths
/// of the stake once in 2³⁴ proposals.
pub(crate) const WATCHERS: u32 = 20;

/// What accounts weigh, laid side by side in order of their ids.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Weights {
    /// Each account with the end of its stretch, which begins where the one before it ends.
    ends: Vec<(AccountId, u128)>,
}

impl Weights {
    /// Of accounts with what each weighs; those that weigh nothing are in no lot.
    pub fn new(weights: impl IntoIterator<Item = (AccountId, u128)>) -> Self {
        let mut sums = BTreeMap::<AccountId, u128>::new();
        for (account, weight) in weights.into_iter().filter(|(_, weight)| *weight > 0) {
            let sum = sums.entry(account).or_default();
            *sum = sum.saturating_add(weight);
        }
        let mut end = 0u128;
        let stretch = |(account, weight): (AccountId, u128)| {
            end = end.saturating_add(weight);
            (account, end)
        };
        Self { ends: sums.into_iter().map(stretch).collect() }
    }

    /// All of it.
    pub fn total(&self) -> u128 {
        self.ends.last().map_or(0, |(_, end)| *end)
    }

    /// Number of accounts that weigh something.
    pub const fn len(&self) -> usize {
        self.ends.len()
    }

    /// Whether nobody weighs anything.
    pub const fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// What an account weighs; 0 where it is in no lot.
    pub fn of(&self, account: AccountId) -> u128 {
        self.stretch(account).map_or(0, |(start, end)| end.saturating_sub(start))
    }

    /// Accounts by id with what they weigh.
    pub fn iter(&self) -> impl Iterator<Item = (AccountId, u128)> {
        let starts = core::iter::once(0).chain(self.ends.iter().map(|(_, end)| *end));
        self.ends.iter().zip(starts).map(|((id, end), start)| (*id, end.saturating_sub(start)))
    }

    fn stretch(&self, account: AccountId) -> Option<(u128, u128)> {
        let place = self.ends.binary_search_by_key(&account, |(id, _)| *id).ok()?;
        let before = place.checked_sub(1).and_then(|before| self.ends.get(before));
        Some((before.map_or(0, |(_, end)| *end), self.ends.get(place)?.1))
    }

    /// Whose a point is.
    fn at(&self, point: u128) -> Option<AccountId> {
        let place = self.ends.partition_point(|(_, end)| *end <= point);
        self.ends.get(place).map(|(account, _)| *account)
    }

    /// How many accounts of equal weight would be as unequal as these: the reciprocal of the
    /// Herfindahl–Hirschman index, the square of the sum over the sum of squares, rounded.
    ///
    /// It is the number of accounts where all weigh alike. Whoever divides its stake raises it, but by a
    /// bound: accounts of equal weight that have more than half of all together are on average fewer
    /// than two each of it, whatever the others do.
    fn effective_number(&self) -> usize {
        // Of 60 bits, so that the squares of all add up within 128.
        let shift = 128u32.saturating_sub(self.total().leading_zeros()).saturating_sub(60);
        let (mut sum, mut squares) = (0u128, 0u128);
        for (_, weight) in self.iter() {
            let weight = weight >> shift;
            sum = sum.saturating_add(weight);
            squares = squares.saturating_add(weight.saturating_mul(weight));
        }
        let doubled = sum.saturating_mul(sum).saturating_mul(2);
        let number = doubled.checked_div(squares).unwrap_or(0).div_ceil(2);
        usize::try_from(number).unwrap_or(usize::MAX).clamp(1, self.len().max(1))
    }
}

/// Seats that were drawn, each with whom it fell on; one account may have several.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Seats(Vec<AccountId>);

impl Seats {
    /// Number of seats.
    pub const fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is none: nobody but who is judged weighs anything.
    pub const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// How many of them are an account's.
    pub fn of(&self, account: AccountId) -> usize {
        self.0.iter().filter(|holder| **holder == account).count()
    }

    /// Whether an account has any.
    pub fn has(&self, account: AccountId) -> bool {
        self.0.contains(&account)
    }

    /// The place of an account's first seat among them.
    pub fn first_of(&self, account: AccountId) -> Option<usize> {
        self.0.iter().position(|holder| *holder == account)
    }

    /// Whether some accounts, each named once, have more than half of them.
    pub(crate) fn have_majority(&self, accounts: impl IntoIterator<Item = AccountId>) -> bool {
        let seats = accounts.into_iter().map(|account| self.of(account));
        let seats = seats.fold(0, usize::saturating_add);
        is_majority(seats, self.len())
    }

    /// Who has any, each once, by id.
    pub fn holders(&self) -> Vec<AccountId> {
        let mut holders = self.0.clone();
        holders.sort_unstable();
        holders.dedup();
        holders
    }
}

/// Turns to do what one of many has to do, from 0.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Turns {
    /// Whose each drawn turn is; an account may have several.
    drawn: Vec<AccountId>,
    /// The first turn of everybody.
    first: BTreeMap<AccountId, usize>,
}

impl Turns {
    fn draw(seed: &Digest, purpose: &[u8], weights: &Weights) -> Self {
        let drawn = seats(&keccak(&[&seed.0, purpose]), weights, None, DRAWN_TURNS).0;
        let mut first = BTreeMap::new();
        for (turn, account) in drawn.iter().enumerate() {
            first.entry(*account).or_insert(turn);
        }
        // Should all of these be away, somebody must do it all the same.
        let rest: Vec<_> =
            weights.iter().map(|(id, _)| id).filter(|id| !first.contains_key(id)).collect();
        first.extend(rest.into_iter().zip(drawn.len()..));
        Self { drawn, first }
    }

    /// An account's first turn, those of some others passed over: their own come after all.
    pub fn first_of(&self, account: AccountId, fallen: &[AccountId]) -> Option<usize> {
        let turn = *self.first.get(&account)?;
        if fallen.contains(&account) {
            return Some(self.drawn.len().saturating_add(self.first.len()).saturating_add(turn));
        }
        let is_over = |of: &&AccountId| fallen.contains(of);
        let drawn = self.drawn.iter().take(turn).filter(is_over).count();
        let rest = fallen.iter().filter_map(|of| self.first.get(of));
        let rest = rest.filter(|of| **of >= self.drawn.len() && **of < turn).count();
        let over = drawn.saturating_add(rest);
        assert!(over <= turn, "no more turns are passed over than there are before one");
        Some(turn.saturating_sub(over))
    }

    /// Whether nobody has one.
    pub fn is_empty(&self) -> bool {
        self.first.is_empty()
    }
}

/// The auditors of one holder's storage in an epoch, from its second seed.
pub fn storage_auditors(
    opened: &Digest,
    holder: AccountId,
    weights: &Weights,
    count: u32,
) -> Seats {
    let seed = keccak(&[&opened.0, b"storage auditor", &holder.0.to_be_bytes()]);
    seats(&seed, weights, Some(holder), count)
}

/// The part of a run that a shard is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Part {
    /// Of which training run.
    pub model: ModelId,
    /// Of which of its rounds.
    pub round: Round,
    /// Which slot of the round.
    pub slot: u32,
}

/// The auditors of a worker's shard, from randomness that did not exist when the shard was fixed.
/// `slots` are those of the run.
pub fn shard_auditors(
    beacon: &Digest,
    part: Part,
    worker: AccountId,
    slots: &Weights,
    count: u32,
) -> Seats {
    let (model, round) = (part.model.0.to_be_bytes(), part.round.0.to_be_bytes());
    let (slot, worker_id) = (part.slot.to_be_bytes(), worker.0.to_be_bytes());
    let seed = keccak(&[&beacon.0, b"shard auditor", &model, &round, &slot, &worker_id]);
    seats(&seed, slots, Some(worker), count)
}

/// The auditors of an attribution, from randomness that did not exist when it was fixed. An output
/// is named by the digest of the receipt that pays for it.
pub fn attribution_auditors(
    beacon: &Digest,
    receipt: &Digest,
    server: AccountId,
    weights: &Weights,
    count: u32,
) -> Seats {
    let seed = keccak(&[&beacon.0, b"attribution auditor", &server.0.to_be_bytes(), &receipt.0]);
    seats(&seed, weights, Some(server), count)
}

/// Who recomputes a proposed settlement, from the block after the proposal.
pub fn watchers(beacon: &Digest, epoch: Epoch, proposer: AccountId, weights: &Weights) -> Seats {
    let seed = keccak(&[&beacon.0, b"watcher", &epoch.0.to_be_bytes()]);
    seats(&seed, weights, Some(proposer), WATCHERS)
}

/// The slots of a training run, each with the account that works on it, by account.
///
/// There are as many as there would be accounts if all weighed alike, at most what a round can close
/// over. All stake is cut into as many equal stretches, and a point is drawn in each: accounts of equal
/// weight get one slot each, and any account or party on average its part of all slots.
///
/// No more than `paid`, which the order paid for.
pub fn run_slots(beacon: &Digest, model: ModelId, weights: &Weights, paid: u32) -> Vec<AccountId> {
    let count = usize::try_from(slot_count(weights).min(paid)).unwrap_or(MAX_SHARDS_PER_ROUND);
    let total = weights.total();
    let bound = |slot: usize| mul_div(total, slot as u128, count as u128);
    let slot = |slot: usize| {
        let (from, until) = (bound(slot)?, bound(slot.saturating_add(1))?);
        let draw =
            keccak(&[&beacon.0, b"run slot", &model.0.to_be_bytes(), &(slot as u64).to_be_bytes()]);
        weights.at(from.saturating_add(below(&draw, until.saturating_sub(from))?))
    };
    (0..count).filter_map(slot).collect()
}

/// Whether so many seats are more than half of those that were drawn.
pub(crate) const fn is_majority(seats: usize, drawn: usize) -> bool {
    seats > drawn.saturating_sub(seats)
}

/// How many slots a run has that pays for all of them.
pub(crate) fn slot_count(weights: &Weights) -> u32 {
    let count = weights.effective_number().min(MAX_SHARDS_PER_ROUND);
    u32::try_from(count).unwrap_or(u32::MAX)
}

/// The leaders of a training round, one after the other.
pub fn round_leaders(round_seed: &Digest, slots: &Weights) -> Turns {
    Turns::draw(round_seed, b"leader", slots)
}

/// The proposers of a settlement, one after the other.
pub(crate) fn proposers(seed: &Digest, weights: &Weights) -> Turns {
    Turns::draw(seed, b"proposer", weights)
}

/// Draws seats over everything but what one account weighs.
fn seats(seed: &Digest, weights: &Weights, without: Option<AccountId>, count: u32) -> Seats {
    let (start, end) = without.and_then(|id| weights.stretch(id)).unwrap_or_default();
    let left_out = end.saturating_sub(start);
    let rest = weights.total().saturating_sub(left_out);
    let seat = |seat: u32| {
        let point = below(&keccak(&[&seed.0, &seat.to_be_bytes()]), rest)?;
        let is_after = point >= start;
        weights.at(if is_after { point.saturating_add(left_out) } else { point })
    };
    Seats((0..count).map_while(seat).collect())
}

/// A number below another; `None` below zero. All stake is below 2⁹⁰, so of 128 bits the bias is below
/// 2⁻³⁸.
fn below(draw: &Digest, bound: u128) -> Option<u128> {
    draw.0.first_chunk::<16>().and_then(|bytes| u128::from_be_bytes(*bytes).checked_rem(bound))
}

#[cfg(test)]
mod tests {
    use proptest::{collection::vec, prelude::*};

    use super::*;

    const PARTY: AccountId = AccountId(500);

    /// Everybody's weight unit by unit, so that a lot is a place in a list.
    fn units(weights: &[(AccountId, u128)], without: Option<AccountId>) -> Vec<AccountId> {
        let rest = weights.iter().filter(|(id, _)| Some(*id) != without);
        rest.flat_map(|(id, weight)| core::iter::repeat_n(*id, *weight as usize)).collect()
    }

    /// Others at 10, 20, … and one party at 500, in one name or in several next to one another.
    fn split(others: &[u128], party: &[u128]) -> (Weights, Weights) {
        let ids = (1..).map(|place| AccountId(place * 10));
        let others: Vec<_> = ids.zip(others.iter().copied()).collect();
        let names = (500..).map(AccountId).zip(party.iter().copied());
        let whole = [(PARTY, party.iter().sum())];
        let with = |party: Vec<_>| Weights::new(others.iter().copied().chain(party));
        (with(whole.to_vec()), with(names.collect()))
    }

    fn is_party(account: &AccountId) -> bool {
        (500..700).contains(&account.0)
    }

    fn of_party(seats: &Seats) -> usize {
        seats.0.iter().filter(|account| is_party(account)).count()
    }

    proptest! {
        /// The lot by stretches is the lot from a list that has everybody once for each unit.
        #[test]
        fn a_seat_is_a_unit_of_stake(weights in vec(0u128..9, 1..12), without in 1u64..14, seed: u8) {
            let weights: Vec<_> = (1..).map(AccountId).zip(weights).collect();
            let (all, seed) = (Weights::new(weights.iter().copied()), Digest([seed; 32]));
            let without = Some(AccountId(without));
            let drawn = seats(&seed, &all, without, 7);
            let list = units(&weights, without);
            let naive = |seat: u32| {
                let draw = keccak(&[&seed.0, &seat.to_be_bytes()]);
                let high = u128::from_be_bytes(draw.0[..16].try_into().unwrap());
                list[(high % list.len() as u128) as usize]
            };
            let expected = if list.is_empty() { Vec::new() } else { (0..7).map(naive).collect() };
            prop_assert_eq!(drawn.0, expected);
        }

        /// Over however many names a party divides its stake: for every seed it has the seats and turns
        /// that it has under one.
        #[test]
        fn stake_that_is_divided_over_names_has_the_same_seats_and_turns(
            others in vec(1u128..1 << 90, 1..12),
            party in vec(1u128..1 << 80, 2..100),
            seed: [u8; 32],
            places in vec(1u64..6, 1..20),
        ) {
            let (one, many) = split(&others, &party);
            let (seed, judged) = (Digest(seed), AccountId(10));
            let lots: [&dyn Fn(&Weights) -> Seats; 3] = [
                &|weights| storage_auditors(&seed, judged, weights, 5),
                &|weights| attribution_auditors(&seed, &Digest([7; 32]), judged, weights, 5),
                &|weights| watchers(&seed, Epoch(3), judged, weights),
            ];
            for lot in lots {
                prop_assert_eq!(of_party(&lot(&one)), of_party(&lot(&many)));
            }
            let turns = |weights: &Weights| {
                let drawn = proposers(&seed, weights).drawn;
                drawn.iter().map(is_party).collect::<Vec<_>>()
            };
            prop_assert_eq!(turns(&one), turns(&many));
            // Inside a run by slots: whose they are, in one name or in as many as there are slots.
            let slots = |party: &dyn Fn(u64) -> u64| {
                let slot = |(place, of): (u64, &u64)| match of {
                    1 => party(place),
                    other => other * 10,
                };
                let ids = (0..).zip(&places).map(slot).map(|id| (AccountId(id), 1));
                Weights::new(ids)
            };
            let (one, many) = (slots(&|_| 500), slots(&|place| 500 + place));
            let part = Part { model: ModelId(1), round: Round(2), slot: 3 };
            let auditors = |slots: &Weights| of_party(&shard_auditors(&seed, part, judged, slots, 5));
            prop_assert_eq!(auditors(&one), auditors(&many));
            let leaders = |slots: &Weights| {
                let drawn = round_leaders(&seed, slots).drawn;
                drawn.iter().map(is_party).collect::<Vec<_>>()
            };
            prop_assert_eq!(leaders(&one), leaders(&many));
        }

        #[test]
        fn an_account_of_the_whole_stake_judges_nobody_and_has_every_turn(weight in 1u128..1 << 90) {
            let alone = Weights::new([(PARTY, weight)]);
            prop_assert!(storage_auditors(&Digest([1; 32]), PARTY, &alone, 5).is_empty());
            let turns = proposers(&Digest([1; 32]), &alone);
            prop_assert_eq!(turns.first_of(PARTY, &[]), Some(0));
            prop_assert_eq!(turns.first_of(AccountId(1), &[]), None);
            let slots = run_slots(&Digest([1; 32]), ModelId(1), &alone, 256);
            prop_assert_eq!(slots, [PARTY]);
        }
    }

    /// Names that come in between others, over many seeds: a fifth of the stake has a fifth of all seats,
    /// turns and slots, and no more of the seats over its own work.
    #[test]
    fn on_average_a_party_has_its_part_of_every_draw() {
        for names in [1u64, 2, 10, 100] {
            // Honest accounts have the even ids, eight of a tenth each.
            let honest = (1..=8).map(|place| (AccountId(place * 26), 1000));
            let mine = (0..names).map(|name| (AccountId(name * 2 + 1), 2000 / u128::from(names)));
            let weights = Weights::new(honest.chain(mine));
            let is_mine = |account: &AccountId| account.0 % 2 == 1;
            let mut hits = [(0usize, 0usize); 6];
            let mut count = |place: usize, drawn: &[AccountId]| {
                hits[place].0 += drawn.iter().filter(|account| is_mine(account)).count();
                hits[place].1 += drawn.len();
            };
            for seed in 0..3_000u32 {
                let seed = keccak(&[&seed.to_be_bytes()]);
                // Without the honest account that is judged it is two of nine tenths.
                count(0, &storage_auditors(&seed, AccountId(26), &weights, 5).0);
                count(1, &storage_auditors(&seed, AccountId(1), &weights, 5).0);
                count(2, &attribution_auditors(&seed, &seed, AccountId(999), &weights, 5).0);
                count(3, &watchers(&seed, Epoch(1), AccountId(999), &weights).0);
                count(4, &proposers(&seed, &weights).drawn);
                count(5, &run_slots(&seed, ModelId(1), &weights, 256));
            }
            let part = hits.map(|(mine, all)| mine as f64 / all as f64);
            let near = |place: usize, expected: f64| (part[place] - expected).abs() < 0.02;
            assert!(near(0, 2.0 / 9.0), "{names}: {part:?}");
            assert!(part[1] < 0.22, "{names}: its own judges: {part:?}");
            assert!((2..6).all(|place| near(place, 0.2)), "{names}: {part:?}");
        }
    }

    #[test]
    fn accounts_of_equal_weight_have_one_slot_each_and_names_do_not_crowd_them_out() {
        let equal: Vec<_> = (1..=20).map(|id| (AccountId(id), 7u128 << 80)).collect();
        let slots = run_slots(&Digest([3; 32]), ModelId(1), &Weights::new(equal.clone()), 256);
        assert_eq!(slots, equal.iter().map(|(id, _)| *id).collect::<Vec<_>>());
        let paid = run_slots(&Digest([3; 32]), ModelId(1), &Weights::new(equal.clone()), 4);
        assert_eq!(
            paid.len(),
            4,
            "of four that are paid for one falls on each quarter of the stake"
        );
        assert!(paid.iter().zip(0u64..).all(|(id, quarter)| (id.0 - 1) / 5 == quarter));
        // A party with a third of all in 100 names: each of the others still has fewer than two.
        let names = (100..200).map(|id| (AccountId(id), (70u128 << 80) / 100));
        let slots = run_slots(
            &Digest([3; 32]),
            ModelId(1),
            &Weights::new(equal.into_iter().chain(names)),
            256,
        );
        assert!((28..=46).contains(&slots.len()), "{}", slots.len());
    }

    #[test]
    fn a_turn_that_is_passed_over_moves_the_others_up() {
        let weights = Weights::new((1..=5).map(|id| (AccountId(id), 10)));
        let turns = proposers(&Digest([9; 32]), &weights);
        let first = |fallen: &[AccountId]| {
            let turn = |id: &AccountId| turns.first_of(*id, fallen).unwrap();
            (1..=5).map(AccountId).min_by_key(turn).unwrap()
        };
        let one = first(&[]);
        assert_eq!(turns.first_of(one, &[]), Some(0));
        let two = first(&[one]);
        assert_ne!(one, two);
        assert_eq!(turns.first_of(two, &[one]), Some(0));
        assert!(turns.first_of(one, &[one]) > turns.first_of(two, &[one]));
        assert_eq!(turns.first_of(AccountId(6), &[]), None);
    }
}
