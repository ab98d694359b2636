//! Turns: of those who do something with one key, one at a time.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use protocol::Hash;
use tokio::sync::OwnedMutexGuard;

/// Who has the turn of each key.
#[derive(Debug, Default)]
pub(crate) struct Turns(Mutex<HashMap<Hash, Arc<tokio::sync::Mutex<()>>>>);

impl Turns {
    /// Waits for the turn of a key, which ends when what is given is dropped.
    pub(crate) async fn of(&self, key: Hash) -> OwnedMutexGuard<()> {
        let turn = {
            let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            // Keys that nobody uses any more are forgotten.
            all.retain(|other, turn| *other == key || Arc::strong_count(turn) > 1);
            Arc::clone(all.entry(key).or_default())
        };
        turn.lock_owned().await
    }
}
