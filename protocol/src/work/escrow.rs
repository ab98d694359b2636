//! What a run is paid: whoever orders it pays all of it before anybody works on it.
//!
//! A *part* of a run is a slot of a round. Its price is as much of the escrow as its work is of the work
//! of the whole run, by numbers that are on chain: so who has two small parts verified earns what another
//! earns with one that is twice as large, and all parts together cost what was paid.

use crate::{
    draw::Part,
    ids::Amount,
    limits::MAX_SHARDS_PER_ROUND,
    math::mul_div,
    params::Training,
    training::{RunConfig, sketch_units},
};

/// What was paid for a run, and how it is divided among its parts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Escrow {
    amount: Amount,
    rounds: u32,
    units: u32,
    /// Multiplications of a training part, and of one that captures no unit; both with what every part
    /// counts for.
    train: u128,
    part: u128,
    /// Multiplications of the sketch of a unit.
    unit: u128,
    /// Smallest units of OPEN for a multiplication, at least.
    price: u128,
}

impl Escrow {
    /// Of a run over so many units, by the multiplications of a training shard and of a unit's sketch.
    pub(crate) fn new(
        amount: Amount,
        config: &RunConfig,
        units: u32,
        (shard, sketch): (u64, u64),
        bounds: &Training,
    ) -> Self {
        let part = u128::from(bounds.part_work);
        Self {
            amount,
            rounds: config.rounds,
            units,
            train: part.saturating_add(shard.into()),
            part,
            unit: sketch.into(),
            price: bounds.work_price.0,
        }
    }

    /// What was paid for the run, in all.
    pub const fn amount(&self) -> Amount {
        self.amount
    }

    /// The work of a slot in all rounds, without the sketches of units, and of these.
    fn work(&self) -> (Option<u128>, Option<u128>) {
        let trained = self.train.checked_mul(self.rounds.into());
        let slot = trained.and_then(|trained| trained.checked_add(self.part));
        (slot, self.unit.checked_mul(self.units.into()))
    }

    /// The work of the run if its rounds have so many slots.
    fn work_of(&self, slots: u32) -> Option<u128> {
        let (slot, sketches) = self.work();
        slot?.checked_mul(slots.into())?.checked_add(sketches?)
    }

    /// What a run whose rounds have so many slots costs at least.
    pub fn least(&self, slots: u32) -> Option<Amount> {
        self.work_of(slots)?.checked_mul(self.price).map(Amount)
    }

    /// How many slots were paid for, at the network's price: rounds have no more, however many nodes
    /// there are. 0 where not even the sketches were.
    pub fn slots(&self) -> u32 {
        const MOST: u32 = MAX_SHARDS_PER_ROUND as u32;
        // What costs nothing is paid for.
        let Some(paid) = self.amount.0.checked_div(self.price) else { return MOST };
        let (Some(slot), Some(sketches)) = self.work() else { return 0 };
        let rest = paid.checked_sub(sketches);
        let slots = rest.and_then(|rest| rest.checked_div(slot));
        slots.map_or(0, |slots| u32::try_from(slots).map_or(MOST, |slots| slots.min(MOST)))
    }

    /// What a part is paid where the rounds have so many slots; `None` where there is no such part.
    pub fn price_of(&self, part: Part, slots: u32) -> Option<Amount> {
        if part.round.0 > self.rounds || part.slot >= slots {
            return None;
        }
        let work = if part.round.0 < self.rounds {
            self.train
        } else {
            let captured = sketch_units(part.slot, slots, self.units).len();
            let captured = u128::try_from(captured).ok()?.checked_mul(self.unit)?;
            captured.checked_add(self.part)?
        };
        mul_div(self.amount.0, work, self.work_of(slots)?).map(Amount)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::{ModelId, Round};

    fn escrow(amount: u128, rounds: u32, units: u32, works: [u64; 3]) -> Escrow {
        let [train, part, unit] = works.map(u128::from);
        let amount = Amount(amount);
        Escrow { amount, rounds, units, train: part + train, part, unit, price: 7 }
    }

    fn prices(escrow: &Escrow, slots: u32) -> impl Iterator<Item = u128> {
        let parts = (0..=escrow.rounds).flat_map(move |round| {
            (0..slots).map(move |slot| Part { model: ModelId(1), round: Round(round), slot })
        });
        parts.map(move |part| escrow.price_of(part, slots).unwrap().0)
    }

    proptest! {
        /// All parts of a run cost what was paid for it, less a unit of each at most, and as their work.
        #[test]
        fn the_parts_of_a_run_cost_what_was_paid(
            amount in 0u128..1 << 110,
            rounds in 1u32..6,
            slots in 1u32..40,
            units in 0u32..5_000,
            works in [1u64..1 << 50, 1u64..1 << 40, 0u64..1 << 30],
        ) {
            let escrow = escrow(amount, rounds, units, works);
            let all: u128 = prices(&escrow, slots).sum();
            let parts = u128::from((rounds + 1) * slots);
            prop_assert!(all <= amount && amount - all < parts, "{} of {}", all, amount);
        }

        /// Against adding up the work of every part alone.
        #[test]
        fn as_many_slots_are_paid_for_as_their_parts_cost(
            amount in 0u128..1 << 70,
            rounds in 1u32..6,
            units in 0u32..500,
            works in [1u64..1 << 40, 1u64..1 << 40, 0u64..1 << 30],
        ) {
            let escrow = escrow(amount, rounds, units, works);
            let cost = |slots: u32| {
                let [train, part, unit] = works.map(u128::from);
                let trained = u128::from(rounds * slots) * (train + part);
                let captured = (0..slots).map(|slot| {
                    part + unit * sketch_units(slot, slots, units).len() as u128
                });
                (trained + captured.sum::<u128>()) * 7
            };
            let slots = escrow.slots();
            prop_assert!(slots == 0 || cost(slots) <= amount);
            prop_assert!(slots == 256 || cost(slots + 1) > amount);
            prop_assert_eq!(escrow.least(slots.max(1)), Some(Amount(cost(slots.max(1)))));
        }
    }

    #[test]
    fn a_part_twice_as_large_earns_twice_as_much_and_none_beyond_the_run() {
        let run = escrow(1_000_000, 2, 10, [3, 1, 2]);
        let of =
            |round, slot| run.price_of(Part { model: ModelId(1), round: Round(round), slot }, 5);
        // 5 slots: 10 parts of 4, 5 of 1 + 2 · 2.
        assert_eq!(of(0, 0), Some(Amount(1_000_000 * 4 / 65)));
        assert_eq!(of(2, 4), Some(Amount(1_000_000 * 5 / 65)));
        assert_eq!((of(3, 0), of(0, 5), of(2, u32::MAX)), (None, None, None));
        let longest = Escrow { rounds: u32::MAX, train: u128::MAX, ..run };
        assert_eq!((longest.slots(), longest.least(1)), (0, None), "and nothing overflows");
    }
}
