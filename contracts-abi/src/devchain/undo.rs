//! Taking back the newest blocks, for chains in memory: what each block changed is kept with what was
//! there before, so a rewind costs what the blocks cost, not what the state does.

use std::collections::VecDeque;

use alloy::primitives::{Address, B256, U256};
use revm::database::{AccountState, CacheDB, DbAccount, EmptyDB};
use revm::state::{Account, AccountInfo};

use super::DevChain;

/// What was there before a change of an account.
#[derive(Debug, Clone)]
enum Before {
    /// The whole account: it was made or removed by the change, so there is little.
    Whole(Option<DbAccount>),
    /// What else may change: balance, nonce, code, and the slots that did.
    Parts(AccountInfo, AccountState, Vec<(U256, Option<U256>)>),
}

/// The changes since the newest block, the last one last.
#[derive(Debug, Clone, Default)]
pub(crate) struct Undo(Vec<(Address, Before)>);

impl Undo {
    /// Remembers what a change of an account replaces; to be called before it is made.
    pub(super) fn remember(&mut self, db: &CacheDB<EmptyDB>, address: Address, after: &Account) {
        if !after.is_touched() {
            return;
        }
        let known = db.cache.accounts.get(&address);
        let before = match known.filter(|_| !after.is_created() && !after.is_selfdestructed()) {
            None => Before::Whole(known.cloned()),
            Some(known) => {
                let slots = after.changed_storage_slots();
                let slots = slots.map(|(key, _)| (*key, known.storage.get(key).copied()));
                Before::Parts(known.info.clone(), known.account_state.clone(), slots.collect())
            }
        };
        self.0.push((address, before));
    }

    /// Remembers an account whose balance is about to be set.
    pub(super) fn remember_whole(&mut self, db: &CacheDB<EmptyDB>, address: Address) {
        self.0.push((address, Before::Whole(db.cache.accounts.get(&address).cloned())));
    }

    /// Puts everything back.
    pub(super) fn apply(self, db: &mut CacheDB<EmptyDB>) {
        let accounts = &mut db.cache.accounts;
        for (address, before) in self.0.into_iter().rev() {
            match before {
                Before::Whole(Some(account)) => {
                    accounts.insert(address, account);
                }
                Before::Whole(None) => {
                    accounts.remove(&address);
                }
                Before::Parts(info, state, slots) => {
                    let Some(account) = accounts.get_mut(&address) else { continue };
                    (account.info, account.account_state) = (info, state);
                    for (key, value) in slots {
                        match value {
                            Some(value) => account.storage.insert(key, value),
                            None => account.storage.remove(&key),
                        };
                    }
                }
            }
        }
    }
}

/// What it takes to take back the newest blocks.
#[derive(Debug)]
pub(super) struct Past {
    depth: usize,
    /// For each block what it changed, and the block hash that it pushed out of sight.
    blocks: VecDeque<(Undo, Option<(u64, B256)>)>,
}

impl Past {
    /// Keeps a block's changes.
    pub(super) fn keep(&mut self, undo: Undo, forgotten: Option<(u64, B256)>) {
        self.blocks.push_back((undo, forgotten));
        if self.blocks.len() > self.depth {
            self.blocks.pop_front();
        }
    }

    /// What the newest blocks changed, the newest first; none if so many are not kept.
    pub(super) fn newest(
        &self,
        blocks: usize,
    ) -> Option<impl Iterator<Item = &(Undo, Option<(u64, B256)>)>> {
        let first = self.blocks.len().checked_sub(blocks)?;
        Some(self.blocks.range(first..).rev())
    }
}

/// More blocks than are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{asked} blocks cannot be taken back; the newest {kept} can")]
pub struct RewindError {
    /// How many were asked for.
    pub asked: usize,
    /// How many are kept.
    pub kept: usize,
}

impl DevChain {
    /// From now on the states of the newest `depth` blocks can be asked for, and the blocks be taken back;
    /// the latter on chains in memory only, since a journal on disk would repeat what was taken back.
    pub fn keep_past(&mut self, depth: usize) {
        self.keep = self.keep.map(|keep| keep.max(depth.saturating_add(1)));
        self.past = Some(Past { depth, blocks: VecDeque::new() });
        self.executor.record(depth > 0);
    }

    /// Takes back the newest blocks, as if they had never been.
    ///
    /// # Errors
    /// [`RewindError`] for more than are kept; nothing is taken back then.
    pub(crate) fn rewind(&mut self, blocks: usize) -> Result<(), RewindError> {
        let past = self.past.as_ref().filter(|_| self.journal.is_none());
        let kept = past.map_or(0, |past| past.blocks.len());
        let error = RewindError { asked: blocks, kept };
        let past = self.past.as_mut().filter(|_| blocks <= kept).ok_or(error)?;
        // What was set by hand since the newest block belongs to the next one, which is not made.
        self.manual.clear();
        self.executor.take_back(None, None);
        for _ in 0..blocks {
            let (undo, forgotten) = past.blocks.pop_back().expect("so many are kept");
            let block = self.blocks.pop_back().expect("as many blocks as changes are kept");
            self.by_hash.remove(&block.hash);
            self.transactions.retain(|_, at| at.block != block.number());
            self.executor.take_back(Some(undo), Some((block.number(), forgotten)));
        }
        Ok(())
    }
}
