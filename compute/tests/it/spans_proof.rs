//! Provable lookup against a naive oracle; every changed proof is refused; golden vectors.

use std::fmt::Write;

use compute::spans::proof::{
    Commitment, Fraud, Lookup, ProofError, Prover, Side, Window, verify_count, verify_lookup,
    verify_occurrence, verify_unit,
};
use compute::spans::{SpanIndex, Width};
use proptest::prelude::*;
use protocol::Digest;
use protocol::codec::Wire;

use crate::spans::{build, name, occurrences};

/// Symbols of text that a fraud proof may show.
const REACH: usize = 64;

fn texts() -> impl Strategy<Value = Vec<Vec<u32>>> {
    // More than one leaf of 64 symbols, often an odd number of them.
    proptest::collection::vec(proptest::collection::vec(0u32..4, 1..60), 1..12)
}

fn query() -> impl Strategy<Value = Vec<u32>> {
    proptest::collection::vec(0u32..4, 1..12)
}

/// The longest beginning of `query` that some text holds.
fn naive_longest(texts: &[Vec<u32>], query: &[u32]) -> usize {
    (0..=query.len())
        .rev()
        .find(|&len| len == 0 || !occurrences(texts, &query[..len]).is_empty())
        .unwrap()
}

/// Where in the whole text a unit starts.
fn start(texts: &[Vec<u32>], unit: usize) -> u64 {
    texts[..unit].iter().map(|text| text.len() as u64 + 1).sum()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn a_lookup_proves_what_exhaustive_search_finds(texts in texts(), query in query()) {
        let index = build(4, &texts);
        let prover = Prover::new(&index);
        let commitment = prover.commitment();
        let lower = prover.lookup(&query, Side::Lower).unwrap();
        let upper = prover.lookup(&query, Side::Upper).unwrap();
        let all = occurrences(&texts, &query);
        let longest = naive_longest(&texts, &query);
        for (side, lookup) in [(Side::Lower, &lower), (Side::Upper, &upper)] {
            let copy = Lookup::from_bytes(&lookup.to_bytes()).unwrap();
            let found = verify_lookup(commitment, &query, side, &copy).unwrap().longest();
            prop_assert_eq!(found.shared, longest);
            let window = prover.occurrence(found.position, longest.max(1)).unwrap();
            if longest > 0 {
                let part = &query[..longest];
                prop_assert_eq!(
                    verify_occurrence(commitment, part, found.position, &window),
                    Ok(())
                );
            }
        }
        let count = verify_count(commitment, &query, &lower, &upper);
        prop_assert_eq!(count, Ok(all.len() as u64));
        for (unit, position) in all {
            let at = start(&texts, unit as usize) + u64::from(position);
            let owner = verify_unit(commitment, at, &prover.unit(at).unwrap()).unwrap();
            prop_assert_eq!(owner.unit, u64::from(unit));
            prop_assert_eq!(owner.hash, name(unit as usize));
            prop_assert_eq!(owner.offset, u64::from(position));
        }
    }

    #[test]
    fn a_lookup_answers_its_own_question_only(texts in texts(), asked in query(), other in query()) {
        let index = build(4, &texts);
        let prover = Prover::new(&index);
        let lookup = prover.lookup(&asked, Side::Lower).unwrap();
        let honest = prover.lookup(&other, Side::Lower).unwrap();
        // Where both belong in the same place, one proof may serve both, with a right answer.
        if let Ok(place) = verify_lookup(prover.commitment(), &other, Side::Lower, &lookup) {
            prop_assert_eq!(place.rank, honest.rank);
            prop_assert_eq!(place.longest().shared, naive_longest(&texts, &other));
        }
    }

    #[test]
    fn a_sorted_array_has_no_fraud(texts in texts()) {
        prop_assert_eq!(Prover::new(&build(4, &texts)).find_fraud(REACH), None);
    }

    #[test]
    fn a_sorted_array_cannot_be_accused(
        texts in proptest::collection::vec(proptest::collection::vec(0u32..3, 1..7), 1..5),
        ranks in proptest::collection::vec(any::<[prop::sample::Index; 4]>(), 40),
    ) {
        // One leaf, so that one window shows everything.
        let index = build(3, &texts);
        let prover = Prover::new(&index);
        let symbols = index.tokens() + index.units();
        let array = prover.lookup(&[0], Side::Lower).unwrap().entries;
        let text = prover.occurrence(0, symbols).unwrap();
        for ranks in ranks.iter().map(|ranks| ranks.map(|rank| rank.index(symbols) as u64)) {
            let pair = [ranks[0], ranks[1]];
            let (entries, texts) = ([array.clone(), array.clone()], [text.clone(), text.clone()]);
            let four = [array.clone(), array.clone(), array.clone(), array.clone()];
            for fraud in [
                Fraud::OutOfRange { rank: ranks[0], entry: array.clone() },
                Fraud::Duplicate { ranks: pair, entries: entries.clone() },
                Fraud::Order { ranks: pair, entries, texts: texts.clone() },
                Fraud::Successors { ranks, entries: four, symbols: texts },
            ] {
                let verdict = fraud.verify(prover.commitment());
                let is_refused = matches!(
                    verdict,
                    Err(ProofError::InOrder | ProofError::Uncovered)
                );
                prop_assert!(is_refused, "{fraud:?}: {verdict:?}");
            }
        }
    }

    #[test]
    fn every_wrong_array_has_a_fraud_proof(
        texts in texts(),
        writes in proptest::collection::vec((any::<prop::sample::Index>(), 0u32..800), 1..4),
        swap in any::<bool>(),
        reach in 0usize..20,
        changes in proptest::collection::vec((any::<prop::sample::Index>(), 1u8..), 24),
    ) {
        let honest = build(4, &texts);
        let wrong = tamper(&honest, &writes, swap);
        let prover = Prover::new(&wrong);
        let is_wrong = wrong.bytes() != honest.bytes();
        let fraud = prover.find_fraud(reach);
        prop_assert_eq!(fraud.is_some(), is_wrong);
        let Some(fraud) = fraud else { return Ok(()) };
        let mut bytes = fraud.to_bytes();
        prop_assert_eq!(Fraud::from_bytes(&bytes).unwrap().verify(prover.commitment()), Ok(()));
        let right = Prover::new(&honest);
        prop_assert!(fraud.verify(right.commitment()).is_err());
        // Ranks are open to choice, what stands there is not.
        let ranks = 1 + 8 * match &fraud {
            Fraud::OutOfRange { .. } => 1,
            Fraud::Duplicate { .. } | Fraud::Order { .. } => 2,
            Fraud::Successors { .. } => 4,
        };
        for (at, flip) in changes {
            let at = ranks + at.index(bytes.len() - ranks);
            bytes[at] ^= flip;
            let changed = Fraud::from_bytes(&bytes);
            prop_assert!(!changed.is_ok_and(|f| f.verify(prover.commitment()).is_ok()));
            bytes[at] ^= flip;
        }
    }

    #[test]
    fn hostile_proofs_never_panic(
        bytes in proptest::collection::vec(any::<u8>(), 0..600),
        window in window(),
        numbers in any::<[u64; 4]>(),
        pick in 0u8..4,
    ) {
        let index = build(4, &[vec![1, 2, 3, 1, 2]]);
        let commitment = *Prover::new(&index).commitment();
        let _ = Lookup::from_bytes(&bytes);
        let _ = Fraud::from_bytes(&bytes);
        let _ = Commitment::from_bytes(&bytes);
        let side = Some(window.clone()).filter(|_| pick & 1 == 1);
        let entries = window.clone();
        let lookup = Lookup { rank: numbers[0], entries, left: side.clone(), right: side };
        prop_assert!(verify_lookup(&commitment, &[1], Side::Lower, &lookup).is_err());
        prop_assert!(verify_unit(&commitment, numbers[0], &window).is_err());
        prop_assert!(verify_occurrence(&commitment, &[1], numbers[0], &window).is_err());
        let windows = || [window.clone(), window.clone()];
        let frauds = [
            Fraud::OutOfRange { rank: numbers[0], entry: window.clone() },
            Fraud::Duplicate { ranks: [numbers[0], numbers[1]], entries: windows() },
            Fraud::Order { ranks: [numbers[0], numbers[1]], entries: windows(), texts: windows() },
            Fraud::Successors {
                ranks: numbers,
                entries: [window.clone(), window.clone(), window.clone(), window.clone()],
                symbols: windows(),
            },
        ];
        for fraud in frauds {
            prop_assert!(fraud.verify(&commitment).is_err());
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4))]

    #[test]
    fn a_lookup_with_any_byte_changed_is_refused(
        texts in texts(), query in query(), flip in 1u8..
    ) {
        let index = build(4, &texts);
        let prover = Prover::new(&index);
        for side in [Side::Lower, Side::Upper] {
            let mut bytes = prover.lookup(&query, side).unwrap().to_bytes();
            for at in 0..bytes.len() {
                bytes[at] ^= flip;
                let changed = Lookup::from_bytes(&bytes);
                let is_taken = changed
                    .is_ok_and(|l| verify_lookup(prover.commitment(), &query, side, &l).is_ok());
                prop_assert!(!is_taken, "byte {at}");
                bytes[at] ^= flip;
            }
        }
    }
}

fn window() -> impl Strategy<Value = Window> {
    let first = prop_oneof![0u64..3, any::<u64>()];
    let payload = proptest::collection::vec(any::<u8>(), 0..300);
    let siblings = proptest::collection::vec(any::<[u8; 32]>().prop_map(Digest), 0..4);
    (first, payload, siblings).prop_map(|(first, payload, siblings)| Window {
        first,
        payload,
        siblings,
    })
}

/// The same index with some entries of its array written over, or swapped with the first.
fn tamper(index: &SpanIndex, writes: &[(prop::sample::Index, u32)], swap: bool) -> SpanIndex {
    assert_eq!(index.layout().position, Width::Four);
    let mut bytes = index.bytes().to_vec();
    let symbols = index.tokens() + index.units();
    let array = bytes.len() - 32 - 4 * symbols;
    for (at, value) in writes {
        let place = array + 4 * at.index(symbols);
        if swap {
            let other = array + 4 * (*value as usize % symbols);
            (0..4).for_each(|i| bytes.swap(place + i, other + i));
        } else {
            bytes[place..place + 4].copy_from_slice(&value.to_be_bytes());
        }
    }
    SpanIndex::attach(bytes, &index.snapshot()).unwrap()
}

#[test]
fn suffixes_that_agree_for_long_are_disputed_by_their_successors() {
    let shared: Vec<u32> = (0..5000).map(|i| i * 7919 % 4001).collect();
    let index = build(4001, &[[&shared[..], &[1]].concat(), [&shared[..], &[2]].concat()]);
    assert_eq!(Prover::new(&index).find_fraud(REACH), None);
    let mut bytes = index.bytes().to_vec();
    let array = bytes.len() - 32 - 4 * 10_004;
    // The two units as wholes: equal for five thousand tokens, so neighbours.
    let second = 5002u32.to_be_bytes();
    let entry = |rank: usize| array + 4 * rank..array + 4 * rank + 4;
    let rank = (1..10_004).find(|&rank| bytes[entry(rank)] == second).unwrap();
    assert_eq!(bytes[entry(rank - 1)], 0u32.to_be_bytes());
    (0..4).for_each(|i| bytes.swap(entry(rank - 1).start + i, entry(rank).start + i));
    let wrong = SpanIndex::attach(bytes, &index.snapshot()).unwrap();
    let prover = Prover::new(&wrong);
    let fraud = prover.find_fraud(usize::MAX).unwrap();
    assert!(matches!(fraud, Fraud::Successors { .. }));
    assert_eq!(fraud.verify(prover.commitment()), Ok(()));
    assert!(fraud.verify(Prover::new(&index).commitment()).is_err());
    // A proof of bounded size, for a run of the longest that is proved.
    assert!(fraud.to_bytes().len() < 4500, "{}", fraud.to_bytes().len());
    let lookup = prover.lookup(&shared[..4096], Side::Lower).unwrap();
    assert!(lookup.to_bytes().len() < 22_000, "{}", lookup.to_bytes().len());
}

#[test]
fn what_cannot_be_asked_is_refused() {
    let index = build(4, &[vec![1, 2, 3]]);
    let prover = Prover::new(&index);
    let commitment = prover.commitment();
    let lookup = prover.lookup(&[1], Side::Lower).unwrap();
    for query in [&[][..], &[4], &vec![1; 4097]] {
        assert_eq!(prover.lookup(query, Side::Lower), Err(ProofError::Query));
        let verified = verify_lookup(commitment, query, Side::Lower, &lookup);
        assert_eq!(verified, Err(ProofError::Query));
    }
    assert_eq!(prover.unit(4), Err(ProofError::Uncovered));
    assert_eq!(prover.occurrence(3, 2), Err(ProofError::Uncovered));
    let both = verify_lookup(commitment, &[1], Side::Upper, &lookup);
    assert_eq!(both, Err(ProofError::Side));
    let without = Lookup { left: None, ..lookup.clone() };
    let found = verify_lookup(commitment, &[1], Side::Lower, &without);
    assert_eq!(found, Err(ProofError::Neighbours));
    let swapped = Lookup { left: lookup.right.clone(), right: lookup.left.clone(), ..lookup };
    assert!(verify_lookup(commitment, &[2], Side::Lower, &swapped).is_err());
}

#[test]
fn a_commitment_binds_each_of_its_bytes() {
    let index = build(4, &[vec![1, 2, 3], vec![3, 2, 1]]);
    let prover = Prover::new(&index);
    let commitment = *prover.commitment();
    let lookup = prover.lookup(&[3, 2], Side::Lower).unwrap();
    let mut bytes = commitment.to_bytes();
    assert_eq!(Commitment::from_bytes(&bytes), Ok(commitment));
    for at in 0..bytes.len() {
        bytes[at] ^= 1;
        if let Ok(other) = Commitment::from_bytes(&bytes) {
            assert_ne!(other.digest(), commitment.digest());
            // Snapshot, vocabulary and unit table decide nothing in a lookup; all else does.
            let is_bound = !(0..36).contains(&at) && !(36..44).contains(&at) && at < 118;
            let verified = verify_lookup(&other, &[3, 2], Side::Lower, &lookup);
            assert!(!is_bound || verified.is_err(), "byte {at}");
        }
        bytes[at] ^= 1;
    }
}

/// The checked-in vectors: what a contract must accept and refuse.
#[derive(serde::Deserialize)]
struct Golden {
    units: Vec<Vec<u32>>,
    vocab: u32,
    commitment: String,
    digest: String,
    lookups: Vec<GoldenLookup>,
    occurrence: String,
    unit: String,
    frauds: Vec<GoldenFraud>,
}

#[derive(serde::Deserialize)]
struct GoldenLookup {
    query: Vec<u32>,
    upper: bool,
    proof: String,
    rank: u64,
    longest: usize,
    position: u64,
}

/// A fraud in the same index with its array's entries written over.
#[derive(serde::Deserialize)]
struct GoldenFraud {
    writes: Vec<(usize, u32)>,
    reach: usize,
    commitment: String,
    proof: String,
}

fn to_hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut out, byte| {
        write!(out, "{byte:02x}").unwrap();
        out
    })
}

fn from_hex(text: &str) -> Vec<u8> {
    let byte = |at: usize| u8::from_str_radix(&text[at..at + 2], 16).unwrap();
    (0..text.len()).step_by(2).map(byte).collect()
}

fn golden() -> Golden {
    serde_json::from_str(include_str!("spans_golden.json")).unwrap()
}

#[test]
fn golden_lookups_are_made_and_taken_as_before() {
    let golden = golden();
    let index = build(golden.vocab, &golden.units);
    let prover = Prover::new(&index);
    assert_eq!(to_hex(&prover.commitment().to_bytes()), golden.commitment);
    assert_eq!(to_hex(&prover.commitment().digest().0), golden.digest);
    let commitment = Commitment::from_bytes(&from_hex(&golden.commitment)).unwrap();
    for vector in &golden.lookups {
        let side = if vector.upper { Side::Upper } else { Side::Lower };
        let proof = prover.lookup(&vector.query, side).unwrap();
        assert_eq!(to_hex(&proof.to_bytes()), vector.proof);
        let read = Lookup::from_bytes(&from_hex(&vector.proof)).unwrap();
        let place = verify_lookup(&commitment, &vector.query, side, &read).unwrap();
        let longest = place.longest();
        assert_eq!((place.rank, longest.shared), (vector.rank, vector.longest));
        assert_eq!(longest.position, vector.position);
    }
    let vector = &golden.lookups[0];
    let window = Window::from_bytes(&from_hex(&golden.occurrence)).unwrap();
    assert_eq!(prover.occurrence(vector.position, vector.longest).as_ref(), Ok(&window));
    let run = &vector.query[..vector.longest];
    assert_eq!(verify_occurrence(&commitment, run, vector.position, &window), Ok(()));
    let window = Window::from_bytes(&from_hex(&golden.unit)).unwrap();
    assert_eq!(prover.unit(vector.position).as_ref(), Ok(&window));
    assert_eq!(verify_unit(&commitment, vector.position, &window).unwrap().unit, 0);
}

#[test]
fn golden_frauds_are_found_and_taken_as_before() {
    let golden = golden();
    let index = build(golden.vocab, &golden.units);
    for vector in &golden.frauds {
        let wrong = overwrite(&index, &vector.writes);
        let prover = Prover::new(&wrong);
        assert_eq!(to_hex(&prover.commitment().to_bytes()), vector.commitment);
        assert_eq!(to_hex(&prover.find_fraud(vector.reach).unwrap().to_bytes()), vector.proof);
        let commitment = Commitment::from_bytes(&from_hex(&vector.commitment)).unwrap();
        let fraud = Fraud::from_bytes(&from_hex(&vector.proof)).unwrap();
        assert_eq!(fraud.verify(&commitment), Ok(()));
    }
}

/// The same index with entries of its array written over by others.
fn overwrite(index: &SpanIndex, writes: &[(usize, u32)]) -> SpanIndex {
    let mut bytes = index.bytes().to_vec();
    let array = bytes.len() - 32 - 4 * (index.tokens() + index.units());
    for (rank, value) in writes {
        bytes[array + 4 * rank..array + 4 * rank + 4].copy_from_slice(&value.to_be_bytes());
    }
    SpanIndex::attach(bytes, &index.snapshot()).unwrap()
}
