//! All records once, and which node has which.

use std::{collections::BTreeMap, sync::Arc};

use protocol::{Digest, Epoch, record::VerifiedRecord};

/// Every record of the run, by index.
#[derive(Debug, Default)]
pub struct RecordTable {
    all: Vec<Arc<VerifiedRecord>>,
    by_epoch: BTreeMap<Epoch, Vec<u32>>,
    by_id: BTreeMap<Digest, u32>,
}

impl RecordTable {
    /// Adds a record; its index.
    pub fn add(&mut self, record: VerifiedRecord) -> u32 {
        let index = u32::try_from(self.all.len()).expect("fewer than four billion records");
        self.by_epoch.entry(record.record().epoch).or_default().push(index);
        self.by_id.insert(record.id(), index);
        self.all.push(Arc::new(record));
        index
    }

    /// A record.
    pub fn get(&self, index: u32) -> &Arc<VerifiedRecord> {
        &self.all[index as usize]
    }

    /// The index of a record.
    pub fn find(&self, id: &Digest) -> Option<u32> {
        self.by_id.get(id).copied()
    }

    /// How many there are.
    pub const fn len(&self) -> usize {
        self.all.len()
    }

    /// Whether there are none.
    pub const fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    /// Of the records of an epoch and its neighbours, those that a pool has, by id.
    pub fn around(&self, epoch: Epoch, pool: &Pool) -> BTreeMap<Digest, Arc<VerifiedRecord>> {
        let first = Epoch(epoch.0.saturating_sub(1));
        self.by_epoch
            .range(first..=epoch.next())
            .flat_map(|(_, indices)| indices)
            .filter(|index| pool.has(**index))
            .map(|index| (self.get(*index).id(), Arc::clone(self.get(*index))))
            .collect()
    }
}

/// A set of indices into the table: one bit a record.
#[derive(Debug, Clone, Default)]
pub struct Pool(Vec<u64>);

impl Pool {
    /// Adds a record; whether it was not there.
    pub fn add(&mut self, index: u32) -> bool {
        let (word, bit) = (index as usize / 64, 1u64 << (index % 64));
        if self.0.len() <= word {
            self.0.resize(word + 1, 0);
        }
        let is_new = self.0[word] & bit == 0;
        self.0[word] |= bit;
        is_new
    }

    /// Whether a record is there.
    pub fn has(&self, index: u32) -> bool {
        self.0.get(index as usize / 64).is_some_and(|word| word >> (index % 64) & 1 == 1)
    }

    /// What `other` has and this has not, in order.
    pub fn lacks_of(&self, other: &Self) -> Vec<u32> {
        let mut lacking = Vec::new();
        for (place, theirs) in (0u32..).zip(&other.0) {
            let mine = self.0.get(place as usize).copied().unwrap_or(0);
            let mut rest = theirs & !mine;
            while rest != 0 {
                lacking.push(place * 64 + rest.trailing_zeros());
                rest &= rest - 1;
            }
        }
        lacking
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pool_knows_what_it_lacks() {
        let (mut mine, mut theirs) = (Pool::default(), Pool::default());
        for index in [0, 5, 64, 200] {
            assert!(theirs.add(index) && !theirs.add(index));
        }
        mine.add(5);
        assert_eq!(mine.lacks_of(&theirs), [0, 64, 200]);
        assert!(theirs.lacks_of(&mine).is_empty());
        assert!(mine.has(5) && !mine.has(200));
    }
}
