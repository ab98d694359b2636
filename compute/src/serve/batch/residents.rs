//! Which adapters are in memory: as many as its bytes allow, those that were used last.

use std::collections::BTreeMap;
use std::sync::Arc;

use protocol::Hash;

use super::adapted::PackedAdapter;

/// Adapters in memory, within some bytes. One that a sequence uses is never dropped.
pub struct Residents {
    limit: u64,
    bytes: u64,
    /// Counts uses, so that the longest unused is known.
    clock: u64,
    adapters: BTreeMap<Hash, Resident>,
    /// The same by their last use.
    by_use: BTreeMap<u64, Hash>,
}

struct Resident {
    adapter: Arc<PackedAdapter>,
    used: u64,
}

/// Why there is no room for an adapter.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NoRoom {
    /// It is larger than all memory for adapters.
    #[error("the adapter takes {needed} bytes, and all adapters together have {limit}")]
    Ever {
        /// Bytes that it takes.
        needed: u64,
        /// Bytes for all adapters.
        limit: u64,
    },
    /// All others are in use.
    #[error("the adapters that are being answered with leave no room for another; ask again later")]
    Now,
}

impl Residents {
    /// None yet; together they never take more than so many bytes.
    pub fn new(limit: u64) -> Self {
        let (adapters, by_use) = (BTreeMap::new(), BTreeMap::new());
        Self { limit, bytes: 0, clock: 0, adapters, by_use }
    }

    /// The adapter, if it is in memory.
    pub fn get(&mut self, hash: &Hash) -> Option<Arc<PackedAdapter>> {
        self.clock += 1;
        let resident = self.adapters.get_mut(hash)?;
        self.by_use.remove(&resident.used);
        resident.used = self.clock;
        self.by_use.insert(self.clock, *hash);
        Some(Arc::clone(&resident.adapter))
    }

    /// Takes an adapter in; those that were not used for longest, and that no sequence uses, make room.
    ///
    /// # Errors
    /// [`NoRoom`], and nothing was dropped.
    pub fn put(&mut self, adapter: PackedAdapter) -> Result<Arc<PackedAdapter>, NoRoom> {
        let (hash, needed, limit) = (adapter.hash(), adapter.bytes(), self.limit);
        if needed > limit {
            return Err(NoRoom::Ever { needed, limit });
        }
        if let Some(known) = self.get(&hash) {
            return Ok(known);
        }
        let (mut free, mut dropped) = (limit - self.bytes, Vec::new());
        for (used, hash) in &self.by_use {
            if free >= needed {
                break;
            }
            let resident = &self.adapters[hash];
            if Arc::strong_count(&resident.adapter) == 1 {
                free += resident.adapter.bytes();
                dropped.push((*used, *hash));
            }
        }
        if free < needed {
            return Err(NoRoom::Now);
        }
        for (used, hash) in dropped {
            self.by_use.remove(&used);
            let resident = self.adapters.remove(&hash);
            self.bytes -= resident.map_or(0, |resident| resident.adapter.bytes());
        }
        self.clock += 1;
        let (adapter, used) = (Arc::new(adapter), self.clock);
        self.bytes += needed;
        self.by_use.insert(used, hash);
        self.adapters.insert(hash, Resident { adapter: Arc::clone(&adapter), used });
        Ok(adapter)
    }

    /// Bytes that the adapters take.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.adapters.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.adapters.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lora::{Adapter, BaseId, LoraConfig};
    use crate::model::ModelConfig;

    fn adapter(seed: u64) -> PackedAdapter {
        let (checkpoint, tokenizer) = (Hash([1; 32]), Hash([2; 32]));
        let base = BaseId { checkpoint, tokenizer, model: ModelConfig::tiny() };
        let config = LoraConfig::standard(4, &base.model);
        PackedAdapter::new(&Adapter::init(&base, &config, seed).unwrap()).unwrap()
    }

    #[test]
    fn the_longest_unused_makes_room_and_never_one_in_use() {
        let one = adapter(1).bytes();
        let mut residents = Residents::new(3 * one);
        let hashes: Vec<Hash> = (1..=3).map(|seed| adapter(seed).hash()).collect();
        let held = residents.put(adapter(1)).unwrap();
        residents.put(adapter(2)).unwrap();
        residents.put(adapter(3)).unwrap();
        assert_eq!((residents.len(), residents.bytes()), (3, 3 * one));
        assert!(residents.get(&hashes[1]).is_some());
        // The first is in use, the second was used last.
        residents.put(adapter(4)).unwrap();
        assert!(residents.get(&hashes[2]).is_none());
        let all = [&hashes[0], &hashes[1], &adapter(4).hash()].map(|hash| residents.get(hash));
        assert!(all.iter().all(Option::is_some));
        let refused = residents.put(adapter(5)).map(|_| ()).unwrap_err();
        assert_eq!((refused, residents.len()), (NoRoom::Now, 3));
        drop((all, held));
        residents.put(adapter(5)).unwrap();
        assert_eq!(residents.bytes(), 3 * one);
        let small = Residents::new(one - 1).put(adapter(1)).map(|_| ()).unwrap_err();
        assert_eq!(small, NoRoom::Ever { needed: one, limit: one - 1 });
    }

    #[test]
    fn the_same_adapter_is_there_once() {
        let mut residents = Residents::new(u64::MAX);
        let first = residents.put(adapter(1)).unwrap();
        let second = residents.put(adapter(1)).unwrap();
        assert!(Arc::ptr_eq(&first, &second) && residents.len() == 1);
    }
}
