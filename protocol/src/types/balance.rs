//! What an account has earned in all final settlements, and when it is paid.

use alloc::vec::Vec;
use core::fmt;

use crate::{
    codec::{DecodeError, Reader, Wire},
    ids::Amount,
};

/// Everything that an account has earned so far, or was paid of it; neither part ever shrinks, and both
/// together are an amount.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Balance {
    /// What is paid as soon as it is final, in the smallest units of OPEN.
    pub free: Amount,
    /// What was earned in the newcomers' lane: it is held until it and the account's stake together are
    /// the least stake that counts, and becomes stake then.
    pub lane: Amount,
}

impl Balance {
    /// Before anything is earned.
    pub const ZERO: Self = Self { free: Amount::ZERO, lane: Amount::ZERO };

    /// Both parts together.
    pub const fn total(self) -> Amount {
        self.free.saturating_add(self.lane)
    }

    /// Each part with more of it; `None` beyond what an amount can hold.
    #[must_use]
    pub const fn checked_add(self, more: Self) -> Option<Self> {
        let (free, lane) =
            match (self.free.checked_add(more.free), self.lane.checked_add(more.lane)) {
                (Some(free), Some(lane)) => (free, lane),
                _ => return None,
            };
        if free.checked_add(lane).is_some() { Some(Self { free, lane }) } else { None }
    }

    /// What a claim pays an account whose stake, without what is leaving, is `stake`, and which was
    /// paid `paid` before; `least` is the least stake that counts.
    pub const fn due(self, paid: Self, stake: Amount, least: Amount) -> Due {
        let lane = self.lane.saturating_sub(paid.lane);
        let missing = least.saturating_sub(stake.saturating_add(lane));
        let is_held = missing.0 > 0 || lane.0 == 0;
        Due {
            pays: self.free.saturating_sub(paid.free),
            stakes: if is_held { Amount::ZERO } else { lane },
            held: if is_held { lane } else { Amount::ZERO },
            missing: if lane.0 > 0 { missing } else { Amount::ZERO },
        }
    }
}

/// What a claim does now, as the vault has it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Due {
    /// What goes to the account's payout address.
    pub pays: Amount,
    /// What becomes the account's stake.
    pub stakes: Amount,
    /// What stays in the vault for it.
    pub held: Amount,
    /// The stake, own or earned in the lane, that would free what is held.
    pub missing: Amount,
}

impl Due {
    /// Whether a claim does nothing, which the vault refuses.
    pub const fn is_nothing(&self) -> bool {
        self.pays.0 == 0 && self.stakes.0 == 0
    }
}

impl fmt::Display for Balance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} and {} in the lane", self.free, self.lane)
    }
}

impl Wire for Balance {
    fn encode(&self, out: &mut Vec<u8>) {
        self.free.encode(out);
        self.lane.encode(out);
    }
    fn decode(input: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let (free, lane) = (Amount::decode(input)?, Amount::decode(input)?);
        // Nor does the contract take a leaf of which there cannot be so much.
        match free.checked_add(lane) {
            Some(_) => Ok(Self { free, lane }),
            None => Err(DecodeError::Invalid("a balance is beyond what an amount can hold")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn of(free: u128, lane: u128) -> Balance {
        Balance { free: Amount(free), lane: Amount(lane) }
    }

    /// What a claim pays, stakes, holds and lacks.
    fn due(earned: Balance, paid: Balance, stake: u128, least: u128) -> (u128, u128, u128, u128) {
        let due = earned.due(paid, Amount(stake), Amount(least));
        assert_eq!(due.is_nothing(), (due.pays.0, due.stakes.0) == (0, 0));
        (due.pays.0, due.stakes.0, due.held.0, due.missing.0)
    }

    #[test]
    fn what_is_earned_in_the_lane_is_held_until_it_is_the_least_stake() {
        assert_eq!(due(of(7, 0), of(3, 0), 0, 100), (4, 0, 0, 0), "what is free is paid");
        assert_eq!(due(of(7, 99), of(7, 0), 0, 100), (0, 0, 99, 1));
        assert_eq!(due(of(9, 99), of(7, 0), 0, 100), (2, 0, 99, 1), "and holds nothing else up");
        assert_eq!(due(of(7, 100), of(7, 0), 0, 100), (0, 100, 0, 0), "earned without money");
        assert_eq!(due(of(7, 40), of(7, 0), 60, 100), (0, 40, 0, 0), "with some of one's own");
        assert_eq!(due(of(7, 40), of(7, 39), 99, 100), (0, 1, 0, 0));
        assert_eq!(due(of(7, 140), of(7, 100), 0, 100), (0, 0, 40, 60), "what left counts no more");
        assert_eq!(due(of(7, 40), of(9, 60), 0, 100), (0, 0, 0, 0), "of an older root nothing");
        let most = u128::MAX;
        assert_eq!(due(of(most, most), of(0, 0), most, most), (most, most, 0, 0));
    }

    #[test]
    fn a_leaf_is_written_as_the_contract_packs_it() {
        let bytes = of(0x0102, 0x03).to_bytes();
        assert_eq!((bytes.len(), &bytes[14..16], bytes[31]), (32, &[1, 2][..], 3));
        assert_eq!(Balance::from_bytes(&bytes), Ok(of(0x0102, 0x03)));
        assert!(Balance::from_bytes(&of(u128::MAX, 1).to_bytes()).is_err());
        assert_eq!(of(1, u128::MAX - 1).checked_add(of(0, 1)), None);
        assert_eq!(of(1, u128::MAX - 2).checked_add(of(0, 1)), Some(of(1, u128::MAX - 1)));
    }
}
