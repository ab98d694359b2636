//! Two records where there is to be one.

use protocol::{
    chain::Transaction,
    hash::keccak,
    record::{AuditBody, Body, Finding, Record, Verdict},
};

use super::{Adversary, AdversaryKind, Profile, World};
use crate::{kernel::Purpose, units::Span};

/// Signs two of everything.
pub const EQUIVOCATION: AdversaryKind = AdversaryKind(&Profile::new(
    "equivocation",
    "Signs a second record of everything, with the same key and another body, and has both\nincluded.",
    |_| Box::new(Equivocation),
));

/// Signs everything twice, shows both to everybody, and has both included, now one first and now the
/// other: nobody is to be able to tell which of them counts but from the chain.
struct Equivocation;

impl Adversary for Equivocation {
    fn passes_unseen(&self) -> bool {
        true
    }

    fn fails_the_right(&self) -> bool {
        true
    }

    fn sign(&mut self, world: &mut dyn World, node: usize, record: Record) -> Vec<(Span, Record)> {
        let other = Record { body: contrary(&record.body), ..record.clone() };
        let which = u64::from_be_bytes(record.subject.0[..8].try_into().expect("eight of 32"));
        let is_other_first = world.draws().share(Purpose::Adversary, node as u64, which) < 0.5;
        let mut pair = [&record, &other].map(|one| world.signed(node, one.clone()));
        if is_other_first {
            pair.reverse();
        }
        let epoch = record.epoch;
        world.submit(node, Transaction::Include { epoch, records: pair.to_vec() });
        vec![(Span::ZERO, record), (Span::ZERO, other)]
    }
}

/// Another body of the same subject.
fn contrary(body: &Body) -> Body {
    let another = |bytes: &[u8; 32]| keccak(&[b"another", bytes]);
    let mut body = body.clone();
    match &mut body {
        Body::StorageCommit(commit) => commit.rows = another(&commit.rows.0),
        Body::StorageProof(proof) => proof.openings.0 = another(&proof.openings.0).0,
        Body::Shard(shard) => shard.payload.0 = another(&shard.payload.0).0,
        Body::RoundClose(close) => close.next.0 = another(&close.next.0).0,
        Body::Audit(audit) => *audit = AuditBody { finding: opposite(audit.finding), ..*audit },
        Body::Attribution(output) => output.lambda ^= 1,
    }
    body
}

/// The other verdict; of what never came there is none.
const fn opposite(finding: Finding) -> Finding {
    match finding {
        Finding::StorageMissing => Finding::StorageMissing,
        Finding::Storage { record, verdict } => {
            Finding::Storage { record, verdict: other(verdict) }
        }
        Finding::Shard { record, verdict, report } => {
            Finding::Shard { record, verdict: other(verdict), report }
        }
        Finding::Attribution { record, verdict } => {
            Finding::Attribution { record, verdict: other(verdict) }
        }
    }
}

const fn other(verdict: Verdict) -> Verdict {
    match verdict {
        Verdict::Pass => Verdict::Fail,
        Verdict::Fail => Verdict::Pass,
    }
}
