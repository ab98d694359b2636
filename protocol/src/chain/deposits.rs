//! What consumers have locked for those who serve them.

use alloc::collections::{BTreeMap, BTreeSet};

use crate::{
    ids::{AccountId, Amount, BlockNumber, EvmAddress},
    limits::MAX_DEPOSITS,
};

/// A consumer's deposit for a serving account.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Deposit {
    /// What is left of it.
    pub balance: Amount,
    /// All that receipts between the two have ever paid.
    pub redeemed: Amount,
    /// The first and the last block in which it may be withdrawn, where that was asked for.
    pub withdrawal: Option<(BlockNumber, BlockNumber)>,
}

impl Deposit {
    /// The block until which it may be gone at any time, or soon: its withdrawal was requested, and the
    /// request has not expired at the head `now`.
    pub(crate) fn leaves_until(&self, now: BlockNumber) -> Option<BlockNumber> {
        self.withdrawal.map(|(_, last)| last).filter(|last| now <= *last)
    }

    /// What is left for further uses where so much was promised in all.
    pub const fn available(&self, promised: Amount) -> Amount {
        self.balance.saturating_sub(promised.saturating_sub(self.redeemed))
    }
}

/// In which escrow, by whom and for whom something is locked.
type Key = (EvmAddress, EvmAddress, AccountId);

/// The deposits of a network. Each costs a transaction, and so does keeping one of them in mind: beyond
/// a number the smallest is forgotten, which is then as good as empty until more is put in.
#[derive(Debug, Clone)]
pub(super) struct Deposits {
    all: BTreeMap<Key, Deposit>,
    by_balance: BTreeSet<(Amount, Key)>,
}

impl Deposits {
    pub(super) const fn new() -> Self {
        Self { all: BTreeMap::new(), by_balance: BTreeSet::new() }
    }

    pub(super) fn get(&self, key: Key) -> Deposit {
        self.all.get(&key).copied().unwrap_or_default()
    }

    /// All of one consumer in one escrow.
    pub(super) fn of(
        &self,
        escrow: EvmAddress,
        payer: EvmAddress,
    ) -> impl Iterator<Item = (AccountId, Deposit)> {
        let all = (escrow, payer, AccountId(0))..=(escrow, payer, AccountId(u64::MAX));
        self.all.range(all).map(|((.., payee), deposit)| (*payee, *deposit))
    }

    pub(super) fn change(&mut self, key: Key, change: impl FnOnce(&mut Deposit)) {
        let mut deposit = self.get(key);
        self.by_balance.remove(&(deposit.balance, key));
        change(&mut deposit);
        if deposit == Deposit::default() {
            self.all.remove(&key);
            return;
        }
        self.by_balance.insert((deposit.balance, key));
        self.all.insert(key, deposit);
        if self.all.len() > MAX_DEPOSITS
            && let Some((_, smallest)) = self.by_balance.pop_first()
        {
            self.all.remove(&smallest);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn payer(number: u32) -> EvmAddress {
        let mut address = EvmAddress([0; 20]);
        address.0[..4].copy_from_slice(&number.to_be_bytes());
        address
    }

    #[test]
    fn a_crowd_of_dust_is_forgotten_before_a_deposit_and_fills_no_more_than_its_place() {
        let mut deposits = Deposits::new();
        let escrow = EvmAddress([1; 20]);
        let honest = (escrow, payer(u32::MAX), AccountId(1));
        deposits.change(honest, |deposit| deposit.balance = Amount(1_000));
        let crowd = u32::try_from(MAX_DEPOSITS).unwrap() + 50;
        for number in 0..crowd {
            let one = (escrow, payer(number), AccountId(1));
            deposits.change(one, |deposit| deposit.balance = Amount(1));
        }
        assert_eq!((deposits.all.len(), deposits.by_balance.len()), (MAX_DEPOSITS, MAX_DEPOSITS));
        assert_eq!(deposits.get(honest).balance, Amount(1_000));
        assert_eq!(deposits.get((escrow, payer(0), AccountId(1))), Deposit::default());
        deposits.change(honest, |deposit| deposit.balance = Amount::ZERO);
        assert_eq!(deposits.of(escrow, honest.1).count(), 0, "of an empty one nothing is left");
        assert_eq!(deposits.all.len(), deposits.by_balance.len());
    }

    #[test]
    fn what_was_promised_and_not_paid_yet_is_not_available() {
        let deposit = Deposit { balance: Amount(100), redeemed: Amount(30), withdrawal: None };
        let available = |promised| deposit.available(Amount(promised)).0;
        assert_eq!([available(0), available(30), available(50), available(500)], [100, 100, 80, 0]);
    }
}
