//! The evidence unit by unit: shares, marked text, documents.

use std::collections::{BTreeMap, BTreeSet};

use protocol::attribution::{UnitEvidence, UnitShare, WeighParams, unit_shares};
use protocol::codec::Wire;
use protocol::limits::MAX_MANIFEST_BYTES;
use protocol::manifest::Manifest;
use protocol::{BlobRef, Hash};

use super::AttributeRequest;
use super::record::{EvidenceKind, Place, UnitLine};
use crate::node::attributor::Evidence;
use crate::node::blobs::Blobs;
use crate::node::run_data::RunData;

/// Most units of one record: what comes after them weighs less than all of these.
const MAX_UNITS: usize = 100_000;

/// The evidence of the units by falling share, those that are shown with their text.
pub(super) fn unit_lines(
    run: &RunData,
    request: &AttributeRequest,
    evidence: &Evidence,
) -> Vec<UnitLine> {
    let shares = unit_shares(&evidence.units, &evidence.weights, WeighParams::DEFAULT);
    let line = |(rank, (unit, share)): (usize, (&UnitEvidence, UnitShare))| UnitLine {
        unit: unit.unit,
        rank: u32::try_from(rank).unwrap_or(u32::MAX),
        owner: unit.owner,
        tokens: unit.tokens,
        cluster: unit.cluster,
        score: unit.score,
        span_millibits: unit.span_millibits,
        kind: kind_of(&share),
        share_ppm: share.ppm(),
        document: None,
        text: None,
        places: Vec::new(),
    };
    let mut lines: Vec<_> = evidence.units.iter().zip(shares).enumerate().map(line).collect();
    lines.sort_by_key(|line| (std::cmp::Reverse(line.share_ppm), line.rank));
    let top = (request.units as usize).min(MAX_UNITS);
    let shown: BTreeSet<u32> = lines.iter().take(top).map(|line| line.rank).collect();
    let is_shown = |line: &UnitLine| line.span_millibits > 0 || shown.contains(&line.rank);
    if request.is_full {
        lines.truncate(MAX_UNITS);
    } else {
        lines.retain(is_shown);
    }
    for line in lines.iter_mut().filter(|line| is_shown(line)) {
        let Some(unit) = run.units.get(line.rank as usize) else { continue };
        let spans = evidence.spans.spans.iter().enumerate();
        let here = spans.filter(|(_, span)| span.unit == line.rank);
        let place = |(span, found): (usize, &compute::spans::Span)| {
            let (from, to) = bytes_of(run, &unit.tokens, &unit.text, (found.position, found.len));
            Place { span, from, to }
        };
        line.places = here.map(place).collect();
        line.text = Some(unit.text.clone());
    }
    lines
}

/// What speaks for a unit.
fn kind_of(share: &UnitShare) -> EvidenceKind {
    match (share.pool_ppm > 0, share.gradient_ppm > 0, share.span_ppm > 0) {
        (true, ..) => EvidenceKind::Pool,
        (_, true, true) => EvidenceKind::Both,
        (_, true, false) => EvidenceKind::Gradient,
        (_, false, true) => EvidenceKind::Span,
        (_, false, false) => EvidenceKind::None,
    }
}

/// Says of each unit that is shown which document it begins in.
pub(super) async fn name_documents(
    blobs: &Blobs,
    contributions: &[(u32, Hash)],
    units: &mut [UnitLine],
) {
    let mut manifests = BTreeMap::<Hash, Option<Manifest>>::new();
    for line in units.iter_mut().filter(|line| line.text.is_some()) {
        let mut before = 0u32;
        for (count, hash) in contributions {
            let index = line.rank.wrapping_sub(before);
            before = before.saturating_add(*count);
            if line.rank >= before {
                continue;
            }
            if !manifests.contains_key(hash) {
                let bytes = blobs.obtain(*hash, MAX_MANIFEST_BYTES as u64, &[]).await;
                let manifest = bytes.ok().and_then(|bytes| Manifest::from_bytes(&bytes).ok());
                manifests.insert(*hash, manifest);
            }
            let manifest = manifests.get(hash).and_then(Option::as_ref);
            line.document = manifest.and_then(|manifest| document_of(manifest, index as usize));
            break;
        }
    }
}

/// The document that a unit begins in: packs are cut from the documents, one after the other.
fn document_of(manifest: &Manifest, unit: usize) -> Option<String> {
    let unit = manifest.units.get(unit)?;
    let packs = manifest.packs.get(..unit.pack as usize)?;
    let start: u64 = BlobRef::total(packs) + u64::from(unit.offset);
    let mut end = 0u64;
    let holds = |document: &&protocol::manifest::Document| {
        end = end.saturating_add(document.length);
        start < end
    };
    manifest.documents.iter().find(holds).map(|document| document.name.clone())
}

/// Where some tokens stand in the text that all of them make.
pub(super) fn bytes_of(
    run: &RunData,
    tokens: &[u32],
    text: &str,
    (start, len): (u32, u32),
) -> (usize, usize) {
    let at = |token: u32| {
        let head = tokens.get(..token as usize).unwrap_or(tokens);
        // Every id was made by this tokenizer.
        let head = run.tokenizer.decode(head).unwrap_or_default();
        common(&head, text)
    };
    (at(start), at(start.saturating_add(len)))
}

/// Length of the common beginning: a character that a cut went through belongs to what follows.
fn common(head: &str, text: &str) -> usize {
    let same = head.bytes().zip(text.bytes()).take_while(|(a, b)| a == b).count();
    text.floor_char_boundary(same)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cut_through_a_character_falls_before_it() {
        assert_eq!(common("Gr\u{fffd}", "Größe"), 2);
        assert_eq!(common("Größe", "Größe"), 7);
        assert_eq!(common("", "x"), 0);
    }

    #[test]
    fn units_are_named_after_the_document_that_they_begin_in() {
        let document = |name: &str, length| protocol::manifest::Document {
            name: name.to_owned(),
            length,
            hash: Hash::ZERO,
        };
        let unit = |pack, offset| protocol::manifest::Unit { pack, offset, length: 10 };
        let manifest = Manifest {
            documents: vec![document("a", 15), document("b", 25)],
            packs: vec![BlobRef::new(Hash::ZERO, 20); 2],
            units: vec![unit(0, 0), unit(0, 10), unit(1, 0), unit(1, 10)],
        };
        let names: Vec<_> = (0..5).map(|unit| document_of(&manifest, unit)).collect();
        let name = |name: &str| Some(name.to_owned());
        assert_eq!(names, [name("a"), name("a"), name("b"), name("b"), None]);
    }
}
