//! The tables in memory.

use std::collections::BTreeMap;
use std::sync::{PoisonError, RwLock};

use super::tables::{Entry, IndexError, Table, Tables, Write};

type Key = (Table, Vec<u8>);

/// Ordered tables in memory.
#[derive(Debug, Default)]
pub struct MemTables {
    entries: RwLock<BTreeMap<Key, Vec<u8>>>,
}

impl Tables for MemTables {
    fn get(&self, table: Table, key: &[u8]) -> Result<Option<Vec<u8>>, IndexError> {
        let entries = self.entries.read().unwrap_or_else(PoisonError::into_inner);
        Ok(entries.get(&(table, key.to_vec())).cloned())
    }

    fn scan(&self, table: Table, prefix: &[u8]) -> Result<Vec<Entry>, IndexError> {
        let entries = self.entries.read().unwrap_or_else(PoisonError::into_inner);
        let found = entries
            .range((table, prefix.to_vec())..)
            .take_while(|((t, key), _)| *t == table && key.starts_with(prefix))
            .map(|((_, key), value)| (key.clone(), value.clone()));
        Ok(found.collect())
    }

    fn commit(&self, writes: &[Write]) -> Result<(), IndexError> {
        let mut entries = self.entries.write().unwrap_or_else(PoisonError::into_inner);
        for Write { table, key, value } in writes {
            match value {
                Some(value) => entries.insert((*table, key.clone()), value.clone()),
                None => entries.remove(&(*table, key.clone())),
            };
        }
        Ok(())
    }
}
