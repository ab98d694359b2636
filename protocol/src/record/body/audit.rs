//! What an auditor says about the work of another: one variant per kind of work, so that nobody can
//! say of a proof what can only be said of a shard.

use alloc::vec::Vec;

use super::super::{Kind, Record};
use crate::{
    codec::{DecodeError, Reader, Wire},
    ids::{AccountId, Digest},
    params::Training,
};

/// An auditor's verdict on the work of another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AuditBody {
    /// Whose work it is.
    pub of: AccountId,
    /// The subject of that work.
    pub work: Digest,
    /// What was judged, and what came out.
    pub finding: Finding,
}

/// What an audit found, by the kind of work that it judged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Finding {
    /// A storage proof was judged by its openings.
    Storage {
        /// Id of the proof.
        record: Digest,
        /// Whether its openings are right.
        verdict: Verdict,
    },
    /// No storage proof came before the auditors' deadline, so there is no record to name.
    StorageMissing,
    /// A shard was computed again and compared with what was claimed.
    Shard {
        /// Id of the shard's record.
        record: Digest,
        /// Whether they are the same up to the arithmetic of other hardware.
        verdict: Verdict,
        /// How alike they are; [`ReplayReport::NOTHING`] where there was nothing to compare.
        report: ReplayReport,
    },
    /// An attribution was computed again from its transcript.
    Attribution {
        /// Id of the attribution.
        record: Digest,
        /// Whether its shares follow from the transcript.
        verdict: Verdict,
    },
}

/// What a replay found, in ppm. An update transmits the largest values alone, as in SparseLoCo (Sarfi
/// and others 2025), and other hardware rounds otherwise: at the cut some values change sides.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReplayReport {
    /// Overlap of the transmitted index sets.
    pub overlap: u32,
    /// Cosine of the decoded updates.
    pub cosine: u32,
    /// Norm of the claimed update over that of the replayed one.
    pub norm: u32,
}

impl ReplayReport {
    /// Nothing in common, or nothing to compare.
    pub const NOTHING: Self = Self { overlap: 0, cosine: 0, norm: 0 };

    /// Whether claimed and replayed work are the same up to the arithmetic of other hardware.
    pub const fn accepts(&self, limits: &Training) -> bool {
        self.overlap >= limits.min_overlap_ppm
            && self.cosine >= limits.min_cosine_ppm
            && self.norm >= limits.min_norm_ratio_ppm
            && self.norm <= limits.max_norm_ratio_ppm
    }
}

/// Whether work that was shown is as claimed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// The work is as claimed.
    Pass,
    /// The work is not as claimed.
    Fail,
}

/// The verdict on the wire where no work was shown; 0 is a pass and 1 a failure.
const MISSING: u8 = 2;

impl Finding {
    /// The kind of record that was judged.
    pub const fn judged(&self) -> Kind {
        match self {
            Self::Storage { .. } | Self::StorageMissing => Kind::StorageProof,
            Self::Shard { .. } => Kind::ShardResult,
            Self::Attribution { .. } => Kind::Attribution,
        }
    }

    /// The judged record with the verdict on it; `None` where none came.
    pub const fn verdict(&self) -> Option<(Digest, Verdict)> {
        match *self {
            Self::StorageMissing => None,
            Self::Storage { record, verdict }
            | Self::Shard { record, verdict, .. }
            | Self::Attribution { record, verdict } => Some((record, verdict)),
        }
    }
}

impl AuditBody {
    /// Whether this judges that record: an audit of other work that names its id is none of it.
    pub fn is_about(&self, record: &Record) -> bool {
        self.finding.judged() == record.body.kind()
            && self.of == record.account
            && self.work == record.subject
    }
}

impl Wire for AuditBody {
    /// Kind judged ‖ account ‖ its subject ‖ record id ‖ verdict ‖ overlap ‖ cosine ‖ norm; what a
    /// finding does not have is zero.
    fn encode(&self, out: &mut Vec<u8>) {
        let report = match self.finding {
            Finding::Shard { report, .. } => report,
            _ => ReplayReport::NOTHING,
        };
        let (record, verdict) = match self.finding.verdict() {
            Some((record, Verdict::Pass)) => (record, 0),
            Some((record, Verdict::Fail)) => (record, 1),
            None => (Digest::ZERO, MISSING),
        };
        self.finding.judged().encode(out);
        self.of.encode(out);
        self.work.encode(out);
        record.encode(out);
        verdict.encode(out);
        report.overlap.encode(out);
        report.cosine.encode(out);
        report.norm.encode(out);
    }

    fn decode(input: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let judged = Kind::decode(input)?;
        let (of, work) = (Wire::decode(input)?, Wire::decode(input)?);
        let record = Digest::decode(input)?;
        let verdict = match u8::decode(input)? {
            0 => Some(Verdict::Pass),
            1 => Some(Verdict::Fail),
            MISSING => None,
            tag => return Err(DecodeError::Tag(tag)),
        };
        let report = ReplayReport {
            overlap: Wire::decode(input)?,
            cosine: Wire::decode(input)?,
            norm: Wire::decode(input)?,
        };
        if verdict.is_some() == (record == Digest::ZERO) {
            return Err(DecodeError::Invalid("an audit names a record just if it judges one"));
        }
        if judged != Kind::ShardResult && report != ReplayReport::NOTHING {
            return Err(DecodeError::Invalid("only the audit of a shard compares updates"));
        }
        let finding = match (judged, verdict) {
            (Kind::StorageProof, Some(verdict)) => Finding::Storage { record, verdict },
            (Kind::StorageProof, None) => Finding::StorageMissing,
            (Kind::ShardResult, Some(verdict)) => Finding::Shard { record, verdict, report },
            (Kind::Attribution, Some(verdict)) => Finding::Attribution { record, verdict },
            _ => return Err(DecodeError::Invalid("an audit of what nobody audits")),
        };
        Ok(Self { of, work, finding })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes(judged: u8, record: u8, verdict: u8, overlap: u8) -> Vec<u8> {
        let mut bytes = alloc::vec![judged];
        bytes.extend([7; 40]);
        bytes.extend([record; 32]);
        bytes.push(verdict);
        bytes.extend([overlap; 4]);
        bytes.extend([0; 8]);
        bytes
    }

    #[test]
    fn audits_that_nobody_can_make_are_refused() {
        for (judged, record, verdict, overlap) in
            [(2, 1, 0, 0), (2, 0, 2, 0), (3, 1, 1, 0), (3, 1, 0, 9), (6, 1, 1, 0)]
        {
            let possible = bytes(judged, record, verdict, overlap);
            let read = AuditBody::from_bytes(&possible).unwrap();
            assert_eq!(read.to_bytes(), possible);
            assert_eq!(read.finding.judged().tag(), judged);
        }
        let invalid = |judged, record, verdict, overlap| {
            let read = AuditBody::from_bytes(&bytes(judged, record, verdict, overlap));
            matches!(read, Err(DecodeError::Invalid(_)))
        };
        assert!(
            invalid(1, 1, 0, 0) && invalid(4, 1, 0, 0) && invalid(5, 1, 0, 0),
            "no such audits"
        );
        assert!(invalid(3, 0, 2, 0) && invalid(6, 0, 2, 0), "only a proof can be missing");
        assert!(invalid(2, 1, 2, 0) && invalid(2, 0, 0, 0), "a record just with a verdict");
        assert!(invalid(2, 1, 0, 9) && invalid(6, 1, 0, 9), "only shards are compared");
        let unknown = AuditBody::from_bytes(&bytes(2, 1, 3, 0));
        assert_eq!(unknown, Err(DecodeError::Tag(3)));
    }
}
