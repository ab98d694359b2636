//! The records that a node keeps before the chain has them.
//!
//! They save their receivers a block of waiting and nothing else: what counts comes with the chain. So
//! they stay in memory, of those alone whose part it is to make them, and whoever signs many has places
//! of its own to fill and nobody else's.

use alloc::{collections::BTreeMap, sync::Arc, vec::Vec};

use crate::{
    chain::ChainView,
    codec::Wire as _,
    ids::{AccountId, Digest, Epoch, NodeId},
    limits::{MAX_AWAITED_BYTES, MAX_AWAITED_BYTES_PER_ACCOUNT},
    record::{AuditBody, Body, Kind, VerifiedRecord},
    rules::{attribution_auditors, is_by_operator, of_use_until},
};

/// Records that the chain has not taken in, within fixed memory.
#[derive(Debug, Default)]
pub struct Awaited {
    by_id: BTreeMap<Digest, Arc<VerifiedRecord>>,
    /// Of each key the first that was heard of; should another come first on the chain, it comes with it.
    by_key: BTreeMap<(Epoch, Kind, AccountId, Digest), Digest>,
    bytes_of: BTreeMap<AccountId, usize>,
    bytes: usize,
}

impl Awaited {
    /// Keeps a record, unless it can no longer count, is not its maker's to make, or there is no room
    /// for more of its maker's. Only what is kept is worth passing on.
    pub fn take(&mut self, chain: &ChainView, record: &Arc<VerifiedRecord>) -> bool {
        let (key, account) = (key_of(record), record.record().account);
        let size = record.signed().to_bytes().len();
        let of_account = self.bytes_of.get(&account).map_or(0, |bytes| *bytes).saturating_add(size);
        let bytes = self.bytes.saturating_add(size);
        let has_room = of_account <= MAX_AWAITED_BYTES_PER_ACCOUNT && bytes <= MAX_AWAITED_BYTES;
        if !has_room || self.by_key.contains_key(&key) || !is_awaited(chain, record) {
            return false;
        }
        self.by_id.insert(record.id(), Arc::clone(record));
        self.by_key.insert(key, record.id());
        self.bytes_of.insert(account, of_account);
        self.bytes = bytes;
        true
    }

    /// A record, by its id.
    pub fn get(&self, id: &Digest) -> Option<&Arc<VerifiedRecord>> {
        self.by_id.get(id)
    }

    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<VerifiedRecord>> {
        self.by_id.values()
    }

    /// Lets go of a record that is kept elsewhere from now on.
    pub fn remove(&mut self, record: &VerifiedRecord) -> bool {
        let Some(removed) = self.by_id.remove(&record.id()) else { return false };
        self.by_key.remove(&key_of(record));
        let size = removed.signed().to_bytes().len();
        self.bytes = self.bytes.saturating_sub(size);
        if let Some(bytes) = self.bytes_of.get_mut(&record.record().account) {
            *bytes = bytes.saturating_sub(size);
        }
        self.bytes_of.retain(|_, bytes| *bytes > 0);
        true
    }

    /// Forgets what the chain can take in no more, and gives it; to be called at every block.
    pub fn forget_late(&mut self, chain: &ChainView) -> Vec<Arc<VerifiedRecord>> {
        let late: Vec<_> =
            self.by_id.values().filter(|record| !is_open(chain, record)).cloned().collect();
        for record in &late {
            self.remove(record);
        }
        late
    }
}

fn key_of(record: &VerifiedRecord) -> (Epoch, Kind, AccountId, Digest) {
    let (kind, account, subject) = record.record().key();
    (record.record().epoch, kind, account, subject)
}

/// Whether the chain could still take a record in, and it would be of use. Another node may be a block
/// ahead, and work is labelled with the epoch after this one at most.
fn is_open(chain: &ChainView, record: &VerifiedRecord) -> bool {
    record.record().epoch <= chain.epoch().next() && chain.now() < of_use_until(chain, record)
}

/// Whether a record that the chain has not taken in may count when it does: of an open epoch, signed by
/// its account's operator, and made by whoever was drawn or chosen to make it.
fn is_awaited(chain: &ChainView, record: &VerifiedRecord) -> bool {
    let made = record.record();
    let is_valid = || {
        record.is_well_formed()
            && chain.head().is_some_and(|head| is_by_operator(chain, record, head.number))
    };
    is_open(chain, record)
        && match &made.body {
            Body::StorageCommit(_) | Body::StorageProof(_) => {
                let account = chain.account(made.account);
                account.is_some_and(|account| account.node != NodeId::ZERO)
            }
            Body::Shard(_) => chain.is_shard_due(made),
            Body::RoundClose(body) => is_member(chain, body.model, made.account),
            Body::Audit(body) => is_auditor(chain, made.epoch, made.account, body),
            Body::Attribution(body) => {
                let offer = chain.publication(body.model);
                offer.is_some_and(|offer| offer.server == made.account)
            }
        }
        && is_valid()
}

fn is_member(chain: &ChainView, model: crate::ModelId, account: AccountId) -> bool {
    chain.run_slots(model).is_some_and(|slots| slots.contains(&account))
}

/// Whether an account is among those who are drawn to judge the work. Of work that the chain has not
/// taken in nobody is.
fn is_auditor(chain: &ChainView, epoch: Epoch, account: AccountId, body: &AuditBody) -> bool {
    if body.finding.judged() == Kind::StorageProof {
        let duties = chain.audit_duties(epoch);
        return duties.get(&account).is_some_and(|holders| holders.contains(&body.of));
    }
    let judged = body.finding.verdict().and_then(|(id, _)| chain.record(epoch, &id));
    let Some(judged) = judged.filter(|judged| body.is_about(judged.record())) else { return false };
    match &judged.record().body {
        Body::Shard(_) => chain.shard_auditors(judged).is_ok_and(|seats| seats.has(account)),
        _ => attribution_auditors(chain, judged).is_some_and(|seats| seats.has(account)),
    }
}
