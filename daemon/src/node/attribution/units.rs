//! The evidence unit by unit: shares, marked text, documents.

use std::collections::{BTreeMap, BTreeSet};

use protocol::attribution::{UnitEvidence, WeighParams, Weights};
use protocol::codec::Wire;
use protocol::limits::MAX_MANIFEST_BYTES;
use protocol::manifest::Manifest;
use protocol::math::{PPM, split};
use protocol::{AccountId, Hash};

use super::record::{EvidenceKind, Place, UnitLine};
use super::{AttributeRequest, part};
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
    let shares = unit_shares(&evidence.units, &evidence.weights);
    let line = |(rank, (unit, (share_ppm, kind))): (usize, (&UnitEvidence, _))| UnitLine {
        unit: unit.unit,
        rank: u32::try_from(rank).unwrap_or(u32::MAX),
        owner: unit.owner,
        tokens: unit.tokens,
        cluster: unit.cluster,
        score: unit.score,
        span_millibits: unit.span_millibits,
        kind,
        share_ppm,
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

/// What of its owner's share each unit earned, and by what: every owner's share is divided among
/// its clusters as the rule weighed them, to the last part per million.
fn unit_shares(units: &[UnitEvidence], weights: &Weights) -> Vec<(u32, EvidenceKind)> {
    let mut first = BTreeMap::<u64, usize>::new();
    let mut bits = vec![0u128; units.len()];
    for (rank, unit) in units.iter().enumerate() {
        // The earliest of a cluster stands for all of it.
        let canonical = *first.entry(unit.cluster).or_insert(rank);
        bits[canonical] = bits[canonical].saturating_add(u128::from(unit.span_millibits));
    }
    let mut owned = BTreeMap::<AccountId, Vec<usize>>::new();
    for rank in first.into_values() {
        owned.entry(units[rank].owner).or_default().push(rank);
    }
    let floor = u128::from(WeighParams::DEFAULT.floor_per_token);
    let gain = |rank: usize| {
        let noise = floor.saturating_mul(u128::from(units[rank].tokens));
        u128::try_from(units[rank].score).unwrap_or(0).saturating_sub(noise)
    };
    let mut shares = vec![(0u32, EvidenceKind::None); units.len()];
    for (owner, ranks) in owned {
        let share = u128::from(part(&weights.shares, owner));
        let of = |ppm: u32, weight: u32| u128::from(ppm) * u128::from(weight);
        let gradient = of(part(&weights.gradient, owner), PPM - weights.lambda_ppm.min(PPM));
        let spans = of(part(&weights.spans, owner), weights.lambda_ppm);
        let halves = split(share, &[gradient, spans]).unwrap_or_else(|| vec![0, 0]);
        let divide = |total: u128, weight: &dyn Fn(usize) -> u128| {
            let weights: Vec<u128> = ranks.iter().map(|rank| weight(*rank)).collect();
            split(total, &weights).unwrap_or_else(|| vec![0; ranks.len()])
        };
        let parts = match weights.pool {
            true => [divide(share, &|rank| u128::from(units[rank].tokens)), vec![0; ranks.len()]],
            false => [divide(halves[0], &gain), divide(halves[1], &|rank| bits[rank])],
        };
        for ((rank, a), b) in ranks.iter().zip(&parts[0]).zip(&parts[1]) {
            let kind = match (weights.pool, gain(*rank) > 0, bits[*rank] > 0) {
                (true, ..) => EvidenceKind::Pool,
                (_, true, true) => EvidenceKind::Both,
                (_, true, false) => EvidenceKind::Gradient,
                (_, false, true) => EvidenceKind::Span,
                (_, false, false) => EvidenceKind::None,
            };
            shares[*rank] = (u32::try_from(a + b).unwrap_or(PPM), kind);
        }
    }
    shares
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
    let start: u64 = packs.iter().map(|(_, length)| length).sum::<u64>() + u64::from(unit.offset);
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
    use protocol::attribution::weigh;

    use super::*;

    fn unit(rank: u16, owner: u64, score: i64, span_millibits: u64) -> UnitEvidence {
        let mut hash = [0; 32];
        hash[..2].copy_from_slice(&rank.to_be_bytes());
        UnitEvidence {
            unit: Hash(hash),
            owner: AccountId(owner),
            cluster: u64::from(rank),
            tokens: 100 + u32::from(rank),
            score,
            span_millibits,
        }
    }

    fn shares(units: &[UnitEvidence]) -> (Weights, Vec<(u32, EvidenceKind)>) {
        let weights = weigh(units, 100_000, WeighParams::DEFAULT).unwrap();
        let shares = unit_shares(units, &weights);
        (weights, shares)
    }

    #[test]
    fn units_divide_their_owners_shares_to_the_last_part() {
        let mut copy = unit(5, 2, 900, 7_000);
        copy.cluster = 1;
        let units = [
            unit(0, 1, 301, 0),
            unit(1, 1, 77, 20_000),
            unit(2, 2, 130, 33_000),
            unit(3, 3, -50, 17_000),
            unit(4, 3, -9, 0),
            copy,
        ];
        let (weights, shares) = shares(&units);
        for share in &weights.shares {
            let own = units.iter().zip(&shares).filter(|(unit, _)| unit.owner == share.account);
            assert_eq!(own.map(|(_, (ppm, _))| ppm).sum::<u32>(), share.ppm);
        }
        let kinds: Vec<_> = shares.iter().map(|(_, kind)| *kind).collect();
        use EvidenceKind::{Both, Gradient, None, Span};
        assert_eq!(kinds, [Gradient, Both, Both, Span, None, None]);
        assert_eq!(shares[5].0, 0, "a copy is paid through the first of its cluster");
        assert!(shares[0].0 > shares[1].0 / 2 && shares[4].0 == 0);
    }

    #[test]
    fn a_pool_pays_units_for_their_length() {
        let (weights, shares) = shares(&[unit(0, 1, -1, 0), unit(1, 1, 0, 0), unit(2, 2, -5, 0)]);
        assert!(weights.pool);
        assert!(shares.iter().all(|(ppm, kind)| *ppm > 0 && *kind == EvidenceKind::Pool));
        assert_eq!(shares.iter().map(|(ppm, _)| ppm).sum::<u32>(), PPM);
    }

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
            packs: vec![(Hash::ZERO, 20), (Hash::ZERO, 20)],
            units: vec![unit(0, 0), unit(0, 10), unit(1, 0), unit(1, 10)],
        };
        let names: Vec<_> = (0..5).map(|unit| document_of(&manifest, unit)).collect();
        let name = |name: &str| Some(name.to_owned());
        assert_eq!(names, [name("a"), name("a"), name("b"), name("b"), None]);
    }
}
