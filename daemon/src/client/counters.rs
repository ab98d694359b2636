//! What was signed for each payee, counted durably.

use std::collections::BTreeMap;
use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use protocol::purchase::is_promised;
use protocol::{AccountId, Amount, EvmAddress};
use serde::{Deserialize, Serialize};
use storage::durable::{FileLock, write_atomic};

use crate::words::amount_in_open;

/// The file that counts the receipts of a payer, and the one that whoever changes it holds.
const FILE: &str = "receipts.json";
const LOCK: &str = "receipts.lock";

/// What was signed for one payee.
#[derive(Debug, Clone, Copy, Default, Serialize, Deserialize)]
struct Counter {
    nonce: u64,
    cumulative: Amount,
}

type All = BTreeMap<EvmAddress, BTreeMap<u64, Counter>>;
/// Cumulative promises by escrow and number of the payee.
type Promised = BTreeMap<EvmAddress, BTreeMap<u64, Amount>>;

/// What a payee says was promised to it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Claim {
    pub(crate) payee: AccountId,
    pub(crate) promised: Amount,
}

/// Why a payee is not paid.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CountError {
    /// It was never promised that much.
    #[error(
        "account {payee} says that {promised} was promised to it, but only {signed} was signed here or paid on \
         chain; if you paid it from another machine, go on paying from there, or ask again when it has \
         redeemed that"
    )]
    Overclaimed { payee: AccountId, promised: String, signed: String },
    /// The count is no count.
    #[error("{} is damaged ({reason}); remove it", path.display())]
    Damaged { path: PathBuf, reason: serde_json::Error },
    /// The file cannot be read.
    #[error("the receipts cannot be counted: {0}")]
    Read(#[from] std::io::Error),
    /// The file cannot be written.
    #[error("the receipts cannot be counted: {0}")]
    Write(#[from] storage::DiskError),
}

/// Counts what was signed for each payee, durably: no payee is believed about it. Each escrow has its own
/// count, since what was promised in one is nothing to another. Several processes may count in one directory.
#[derive(Debug, Clone)]
pub(crate) struct Counters {
    dir: PathBuf,
    escrow: EvmAddress,
}

impl Counters {
    /// Those of a directory, which can be read.
    pub(crate) fn open(dir: &Path, escrow: EvmAddress) -> Result<Self, CountError> {
        let counters = Self { dir: dir.to_owned(), escrow };
        counters.read()?;
        Ok(counters)
    }

    /// All that was ever promised, by escrow and payee, as counted in a directory.
    pub(crate) fn promised(dir: &Path) -> Result<Promised, CountError> {
        let of_escrow = |(escrow, counters): (EvmAddress, BTreeMap<u64, Counter>)| {
            let sums = counters.into_iter().map(|(payee, counter)| (payee, counter.cumulative));
            (escrow, sums.collect())
        };
        Ok(read(dir)?.into_iter().map(of_escrow).collect())
    }

    fn read(&self) -> Result<All, CountError> {
        read(&self.dir)
    }

    /// Refuses a payee that claims to have been promised more than was ever signed here, or paid on
    /// chain: what the chain has paid was signed, wherever the count of it is.
    pub(crate) fn check(&self, claim: Claim, redeemed: Amount) -> Result<(), CountError> {
        let Claim { payee, promised } = claim;
        let all = self.read()?;
        let last = all.get(&self.escrow).and_then(|last| last.get(&payee.0));
        let signed = last.copied().unwrap_or_default().cumulative;
        if is_promised(promised, signed, redeemed) {
            return Ok(());
        }
        let [promised, signed] = [promised, signed.max(redeemed)].map(amount_in_open);
        Err(CountError::Overclaimed { payee, promised, signed })
    }

    /// Counts another use, before its receipt is signed; its number.
    pub(crate) fn advance(&self, payee: AccountId, cumulative: Amount) -> Result<u64, CountError> {
        self.change(payee, |counter| {
            counter.nonce += 1;
            counter.cumulative = counter.cumulative.max(cumulative);
        })
    }

    /// Counts that a use is paid for further, before that is signed.
    pub(crate) fn raise(&self, payee: AccountId, cumulative: Amount) -> Result<u64, CountError> {
        self.change(payee, |counter| counter.cumulative = counter.cumulative.max(cumulative))
    }

    fn change(
        &self,
        payee: AccountId,
        change: impl FnOnce(&mut Counter),
    ) -> Result<u64, CountError> {
        let _lock = FileLock::wait(&self.dir.join(LOCK))?;
        let mut all = self.read()?;
        let counter = all.entry(self.escrow).or_default().entry(payee.0).or_default();
        change(counter);
        let nonce = counter.nonce;
        let text = serde_json::to_vec(&all).expect("numbers under numbers have a JSON form");
        write_atomic(&self.dir.join(FILE), &text)?;
        Ok(nonce)
    }
}

fn read(dir: &Path) -> Result<All, CountError> {
    let path = dir.join(FILE);
    match fs::read(&path) {
        Ok(text) => {
            serde_json::from_slice(&text).map_err(|reason| CountError::Damaged { path, reason })
        }
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(All::new()),
        Err(error) => Err(error.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn claim(promised: u128) -> Claim {
        Claim { payee: AccountId(1), promised: Amount(promised) }
    }

    #[test]
    fn what_was_signed_here_or_paid_on_chain_is_gone_on_from_and_nothing_above_it() {
        let dir = tempfile::tempdir().unwrap();
        let escrow = EvmAddress([1; 20]);
        let counters = Counters::open(dir.path(), escrow).unwrap();
        assert_eq!(counters.advance(AccountId(1), Amount(10)).unwrap(), 1);
        assert_eq!(counters.raise(AccountId(1), Amount(30)).unwrap(), 1);
        assert!(counters.check(claim(30), Amount(20)).is_ok());
        assert!(counters.check(claim(10), Amount(10)).is_ok(), "a use that failed is not paid");
        assert!(counters.check(claim(31), Amount(20)).is_err());
        // The file is lost, and the chain has paid more than it said.
        let lost = Counters { dir: dir.path().join("lost"), escrow };
        assert!(lost.check(claim(20), Amount(20)).is_ok());
        assert!(lost.check(claim(30), Amount(20)).is_err());
        // What was promised in an escrow before it is nobody's due in another.
        let other = Counters::open(dir.path(), EvmAddress([2; 20])).unwrap();
        assert!(other.check(claim(30), Amount(0)).is_err());
        assert_eq!(other.advance(AccountId(1), Amount(5)).unwrap(), 1);
        let counters = Counters::open(dir.path(), escrow).unwrap();
        assert!(counters.check(claim(30), Amount(20)).is_ok());
    }

    #[test]
    fn uses_that_are_counted_at_once_have_numbers_of_their_own() {
        let dir = tempfile::tempdir().unwrap();
        let counters = Counters::open(dir.path(), EvmAddress([1; 20])).unwrap();
        let threads: Vec<_> = (0..8)
            .map(|_| {
                let counters = counters.clone();
                std::thread::spawn(move || counters.advance(AccountId(1), Amount(1)).unwrap())
            })
            .collect();
        let mut numbers: Vec<_> = threads.into_iter().map(|one| one.join().unwrap()).collect();
        numbers.sort_unstable();
        assert_eq!(numbers, (1..=8).collect::<Vec<_>>());
    }
}
