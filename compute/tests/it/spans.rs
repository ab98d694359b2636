//! The span index against a naive oracle, and every way in which its input can be wrong.

use std::io::Write;

use compute::spans::{
    Attributed, BuildError, FileBytes, FormatError, Layout, QueryError, SetError, SpanIndex,
    SpanParams, SpanSet, SpanUnit, Spans, Width,
};
use proptest::prelude::*;
use protocol::Hash;

const TOKENIZER: Hash = Hash([7; 32]);
const LOOSE: SpanParams =
    SpanParams { min_millibits: 1, max_count: 1000, echo_millibits: u64::MAX };

pub(crate) fn name(rank: usize) -> Hash {
    let mut hash = [0; 32];
    hash[..8].copy_from_slice(&(rank as u64).to_be_bytes());
    Hash(hash)
}

pub(crate) fn build(vocab: u32, texts: &[Vec<u32>]) -> SpanIndex {
    build_from(vocab, 0, texts)
}

/// An index of units that are named from a rank on.
fn build_from(vocab: u32, first: usize, texts: &[Vec<u32>]) -> SpanIndex {
    SpanIndex::build(TOKENIZER, vocab, &units(first, texts)).unwrap()
}

fn units(first: usize, texts: &[Vec<u32>]) -> Vec<SpanUnit<'_>> {
    (first..).zip(texts).map(|(rank, tokens)| SpanUnit { hash: name(rank), tokens }).collect()
}

fn attribute(index: &SpanIndex, prompt: &[u32], output: &[u32], params: SpanParams) -> Attributed {
    index.attribute(TOKENIZER, prompt, output, params).unwrap()
}

/// All `(unit, position)` at which `needle` occurs, by exhaustive search.
pub(crate) fn occurrences(texts: &[Vec<u32>], needle: &[u32]) -> Vec<(u32, u32)> {
    let mut found = Vec::new();
    for (unit, text) in texts.iter().enumerate() {
        for (position, window) in text.windows(needle.len()).enumerate() {
            if window == needle {
                found.push((unit as u32, position as u32));
            }
        }
    }
    found
}

/// All maximal spans by exhaustive search: start, length, count.
fn naive_maximal(texts: &[Vec<u32>], output: &[u32], max_count: u32) -> Vec<(u32, u32, u32)> {
    let held = |start: usize, end: usize| occurrences(texts, &output[start..end]).len() as u32;
    let mut found = Vec::new();
    for start in 0..output.len() {
        for end in start + 1..=output.len() {
            let is_maximal = (start == 0 || held(start - 1, end) == 0)
                && (end == output.len() || held(start, end + 1) == 0);
            if is_maximal && (1..=max_count).contains(&held(start, end)) {
                found.push((start as u32, (end - start) as u32, held(start, end)));
            }
        }
    }
    found
}

/// The best span of `output` by trying every sub-run: what the index must find first.
fn naive_best(texts: &[Vec<u32>], index: &SpanIndex, output: &[u32]) -> Option<u64> {
    let mut best = None;
    for start in 0..output.len() {
        for end in start + 1..=output.len() {
            let needle = &output[start..end];
            if occurrences(texts, needle).is_empty() {
                continue;
            }
            // Asking for the run alone gives its evidence: a sub-run never has more.
            let alone = attribute(index, &[], needle, LOOSE);
            best = best.max(alone.spans.iter().map(|s| s.millibits).max());
        }
    }
    best
}

fn texts_and_output() -> impl Strategy<Value = (Vec<Vec<u32>>, Vec<u32>)> {
    let text = proptest::collection::vec(0u32..4, 1..30);
    (proptest::collection::vec(text, 1..6), proptest::collection::vec(0u32..4, 1..20))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn spans_are_verbatim_disjoint_and_owned_by_the_earliest((texts, output) in texts_and_output()) {
        let index = build(4, &texts);
        let found = attribute(&index, &[], &output, LOOSE);
        let mut reached = 0;
        for span in &found.spans {
            prop_assert!(span.start >= reached && span.len > 0);
            reached = span.start + span.len;
            let all = occurrences(&texts, &output[span.start as usize..reached as usize]);
            prop_assert_eq!(all.first(), Some(&(span.unit, span.position)));
            prop_assert_eq!(all.len(), span.count as usize);
        }
        prop_assert!(reached as usize <= output.len());
    }

    #[test]
    fn the_best_span_is_the_best_of_all_runs((texts, output) in texts_and_output()) {
        let index = build(4, &texts);
        let found = attribute(&index, &[], &output, LOOSE);
        let best = found.spans.iter().map(|s| s.millibits).max();
        prop_assert_eq!(best, naive_best(&texts, &index, &output));
    }

    #[test]
    fn an_index_survives_its_bytes((texts, output) in texts_and_output()) {
        let index = build(4, &texts);
        let copy = SpanIndex::decode(index.bytes().to_vec(), &index.snapshot()).unwrap();
        prop_assert_eq!(&copy, &index);
        prop_assert_eq!(
            attribute(&copy, &[], &output, LOOSE),
            attribute(&index, &[], &output, LOOSE)
        );
    }

    #[test]
    fn damaged_bytes_are_refused(at in any::<prop::sample::Index>(), flip in 1u8..) {
        let index = build(300, &[vec![1, 2, 299, 4], vec![1, 2, 3]]);
        let mut bytes = index.bytes().to_vec();
        let at = at.index(bytes.len());
        bytes[at] ^= flip;
        prop_assert!(SpanIndex::decode(&bytes, &index.snapshot()).is_err());
        bytes[at] ^= flip;
        prop_assert!(SpanIndex::decode(&bytes[..at], &index.snapshot()).is_err());
    }

    #[test]
    fn parts_answer_as_one((texts, output) in texts_and_output(), cuts in any::<[u8; 2]>()) {
        let (whole, set) = whole_and_parts(4, &texts, cuts);
        prop_assert_eq!((set.units(), set.tokens()), (whole.units(), whole.tokens()));
        for params in [LOOSE, SpanParams { max_count: 2, ..LOOSE }, SpanParams::DEFAULT] {
            for prompt in [&[][..], &output[output.len() / 2..]] {
                let params = SpanParams { echo_millibits: 3000, ..params };
                let found = set.attribute(TOKENIZER, prompt, &output, params).unwrap();
                prop_assert_eq!(found, attribute(&whole, prompt, &output, params));
                let novel = set.without_echo(prompt, &output, params);
                prop_assert_eq!(novel, whole.without_echo(prompt, &output, params));
            }
        }
        let spans = whole.maximal(TOKENIZER, &output, 3).unwrap();
        prop_assert_eq!(&set.maximal(TOKENIZER, &output, 3).unwrap(), &spans);
        let found: Vec<_> = spans.iter().map(|s| (s.start, s.len, s.count)).collect();
        prop_assert_eq!(found, naive_maximal(&texts, &output, 3));
    }

    #[test]
    fn every_layout_answers_alike((texts, output) in texts_and_output()) {
        let expected = attribute(&build(4, &texts), &[], &output, LOOSE);
        for symbol in [Width::Two, Width::Four] {
            for position in [Width::Four, Width::Eight] {
                let layout = Layout { symbol, position };
                let units = units(0, &texts);
                let index = SpanIndex::build_as(layout, TOKENIZER, 4, &units).unwrap();
                let copy = SpanIndex::decode(index.bytes(), &index.snapshot()).unwrap();
                let found = copy.attribute(TOKENIZER, &[], &output, LOOSE).unwrap();
                prop_assert_eq!(&found, &expected);
            }
        }
    }

    #[test]
    fn unchecked_bytes_never_panic(
        (texts, output) in texts_and_output(),
        flips in proptest::collection::vec((any::<prop::sample::Index>(), 1u8..), 1..20),
    ) {
        let index = build(4, &texts);
        let mut bytes = index.bytes().to_vec();
        for (at, flip) in flips {
            let at = 92 + at.index(bytes.len() - 92);
            bytes[at] ^= flip;
        }
        let damaged = SpanIndex::attach(bytes, &index.snapshot()).unwrap();
        let _ = damaged.attribute(TOKENIZER, &[], &output, LOOSE);
    }
}

/// One index of all units, and a set of up to three of consecutive ones.
fn whole_and_parts(vocab: u32, texts: &[Vec<u32>], cuts: [u8; 2]) -> (SpanIndex, SpanSet) {
    let whole = build(vocab, texts);
    let mut bounds = vec![0, texts.len()];
    bounds.extend(cuts.map(|cut| usize::from(cut) % (texts.len() + 1)));
    bounds.sort_unstable();
    bounds.dedup();
    let part = |bound: &[usize]| build_from(vocab, bound[0], &texts[bound[0]..bound[1]]);
    let set = SpanSet::assemble(bounds.windows(2).map(part).collect(), &whole.snapshot()).unwrap();
    (whole, set)
}

/// Two units of pseudo-random tokens; the second repeats a stretch of the first.
fn corpus() -> Vec<Vec<u32>> {
    let noise = |seed: u32| (0..400u32).map(move |i| (i * 7919 + seed * 104_729) % 509);
    let first: Vec<u32> = noise(1).collect();
    let mut second: Vec<u32> = noise(2).collect();
    second[100..140].copy_from_slice(&first[50..90]);
    vec![first, second]
}

#[test]
fn a_copied_stretch_belongs_to_the_earlier_unit() {
    let texts = corpus();
    let index = build(512, &texts);
    let span = attribute(&index, &[], &texts[1][100..140], SpanParams::DEFAULT).spans[0];
    assert_eq!((span.start, span.len, span.unit, span.position, span.count), (0, 40, 0, 50, 2));
    // Forty tokens of about nine bits, less the choice among 800 positions and two copies.
    assert!((300_000..360_000).contains(&span.millibits), "{}", span.millibits);
}

#[test]
fn an_echo_of_the_prompt_earns_nothing_but_its_continuation_does() {
    let texts = corpus();
    let index = build(512, &texts);
    let output = &texts[0][200..240];
    let all = attribute(&index, &[], output, SpanParams::DEFAULT);
    let none = attribute(&index, &texts[0][190..250], output, SpanParams::DEFAULT);
    assert!(none.spans.is_empty());
    let half = attribute(&index, &texts[0][190..220], output, SpanParams::DEFAULT);
    assert!(half.spans[0].millibits < all.spans[0].millibits * 6 / 10);
    assert!(half.spans[0].millibits > all.spans[0].millibits * 4 / 10);
    assert_eq!(none.output_millibits, 0, "nothing of it is the output's own");
    assert!((4..=6).contains(&(half.output_millibits * 10 / all.output_millibits)));
}

#[test]
fn repeating_the_prompt_first_changes_no_evidence() {
    let texts = corpus();
    let index = build(512, &texts);
    let (passage, own) = (&texts[1][10..34], &texts[0][200..240]);
    let before = attribute(&index, passage, own, SpanParams::DEFAULT);
    let after = attribute(&index, passage, &[passage, own].concat(), SpanParams::DEFAULT);
    assert!(!before.spans.is_empty());
    assert_eq!(after.by_unit(texts.len()), before.by_unit(texts.len()));
    assert_eq!(after.output_millibits, before.output_millibits);
}

#[test]
fn boilerplate_belongs_to_nobody() {
    let header: Vec<u32> = (0..30).collect();
    let texts: Vec<Vec<u32>> =
        (0..5).map(|i| [header.clone(), vec![100 + i; 5]].concat()).collect();
    let index = build(512, &texts);
    let strict = SpanParams { max_count: 4, ..SpanParams::DEFAULT };
    assert!(attribute(&index, &[], &header, strict).spans.is_empty());
    assert_eq!(attribute(&index, &[], &header, SpanParams::DEFAULT).spans.len(), 1);
}

#[test]
fn a_span_never_crosses_units() {
    let index = build(512, &[(0..40).collect(), (40..80).collect()]);
    let output: Vec<u32> = (20..60).collect();
    let found = attribute(&index, &[], &output, SpanParams::DEFAULT);
    let ends: Vec<_> = found.spans.iter().map(|s| (s.start, s.len, s.unit)).collect();
    assert_eq!(ends, [(0, 20, 0), (20, 20, 1)]);
    assert_eq!(found.by_unit(2), [found.spans[0].millibits, found.spans[1].millibits]);
}

#[test]
fn malformed_snapshots_are_refused() {
    let unit = |tokens| SpanUnit { hash: name(1), tokens };
    let built = |vocab, units: &[_]| SpanIndex::build(TOKENIZER, vocab, units).unwrap_err();
    assert_eq!(built(4, &[]), BuildError::NoUnits);
    assert_eq!(built(4, &[unit(&[])]), BuildError::EmptyUnit(name(1)));
    assert_eq!(built(4, &[unit(&[1]), unit(&[2])]), BuildError::DuplicateUnit(name(1)));
    let outside = BuildError::Token { unit: name(1), token: 4, vocab: 4 };
    assert_eq!(built(4, &[unit(&[3, 4])]), outside);
    assert_eq!(built(0, &[unit(&[3])]), BuildError::Vocabulary(0));
    assert_eq!(built(u32::MAX, &[unit(&[3])]), BuildError::Vocabulary(u32::MAX));
}

#[test]
fn parts_of_something_else_are_refused() {
    let texts = [vec![1, 2, 3], vec![3, 2], vec![1]];
    let whole = build(4, &texts).snapshot();
    let parts = || vec![build(4, &texts[..1]), build_from(4, 1, &texts[1..])];
    assert!(SpanSet::assemble(parts(), &whole).is_ok());
    assert_eq!(SpanSet::<Vec<u8>>::assemble(vec![], &whole).unwrap_err(), SetError::Empty);
    let [first, second] = <[_; 2]>::try_from(parts()).unwrap();
    let swapped = SpanSet::assemble(vec![second, first.clone()], &whole).unwrap_err();
    assert!(matches!(swapped, SetError::Snapshot { expected, .. } if expected == whole));
    let missing = SpanSet::assemble(vec![first.clone()], &whole).unwrap_err();
    assert_eq!(missing, SetError::Snapshot { expected: whole, found: first.snapshot() });
    let foreign = SpanSet::assemble(vec![first.clone(), build(5, &texts)], &whole).unwrap_err();
    assert!(matches!(foreign, SetError::Tokenizer { part: 1, .. }));
    // A snapshot that lists a unit twice can be named, but not used.
    let SetError::Snapshot { found, .. } =
        SpanSet::assemble(vec![first.clone(), first.clone()], &whole).unwrap_err()
    else {
        panic!("the snapshot was another");
    };
    let twice = SpanSet::assemble(vec![first.clone(), first], &found).unwrap_err();
    assert_eq!(twice, SetError::DuplicateUnit(name(0)));
}

#[test]
fn a_mapped_file_answers_as_memory_does() {
    let texts = corpus();
    let index = build(512, &texts);
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(index.bytes()).unwrap();
    let mapped = SpanIndex::attach(FileBytes::map(&file).unwrap(), &index.snapshot()).unwrap();
    let output = &texts[1][80..180];
    let found = mapped.attribute(TOKENIZER, &[], output, SpanParams::DEFAULT).unwrap();
    assert_eq!(found, attribute(&index, &[], output, SpanParams::DEFAULT));
    assert_eq!(mapped.address(), protocol::hash::blake3(index.bytes()));
}

#[test]
fn a_layout_is_as_small_as_it_can_be() {
    let of = |vocab, symbols| {
        let layout = Layout::smallest(vocab, symbols);
        (layout.symbol.bytes(), layout.position.bytes())
    };
    assert_eq!(of(49_152, 100_000_000), (2, 4));
    assert_eq!(of(65_535, 100_000_000), (2, 4));
    assert_eq!(of(65_536, 1 << 40), (4, 8));
    let wide = build(70_000, &[vec![69_999, 1, 69_999, 1]]);
    assert_eq!(attribute(&wide, &[], &[69_999, 1], LOOSE).spans[0].count, 2);
    let narrow = Layout { symbol: Width::Two, position: Width::Four };
    let texts = [vec![1]];
    let refused = SpanIndex::build_as(narrow, TOKENIZER, 70_000, &units(0, &texts)).unwrap_err();
    assert_eq!(refused, BuildError::Layout(narrow));
}

#[test]
fn outputs_of_another_tokenizer_are_refused() {
    let index = build(4, &[vec![1, 2, 3]]);
    let other = Hash([8; 32]);
    let asked = |tokenizer, prompt: &[u32], output: &[u32]| {
        index.attribute(tokenizer, prompt, output, SpanParams::DEFAULT).unwrap_err()
    };
    assert_eq!(
        asked(other, &[], &[1]),
        QueryError::Tokenizer { expected: TOKENIZER, found: other }
    );
    assert_eq!(asked(TOKENIZER, &[], &[4]), QueryError::Token { token: 4, vocab: 4 });
    assert_eq!(
        asked(TOKENIZER, &[u32::MAX], &[1]),
        QueryError::Token { token: u32::MAX, vocab: 4 }
    );
    let long = vec![0; (1 << 16) + 1];
    assert_eq!(asked(TOKENIZER, &long, &[1]), QueryError::TooLong { found: long.len() });
    assert!(attribute(&index, &[], &[], SpanParams::DEFAULT).spans.is_empty());
}

#[test]
fn each_kind_of_wrong_bytes_has_its_error() {
    let index = build(4, &[vec![1, 2, 3], vec![3, 3]]);
    let (bytes, snapshot) = (index.bytes().to_vec(), index.snapshot());
    let decode = |bytes: &[u8]| SpanIndex::decode(bytes, &snapshot).unwrap_err();
    assert_eq!(decode(b"PK\x03\x04"), FormatError::Magic);
    assert_eq!(decode(&bytes[..20]), FormatError::Length { expected: 124, found: 20 });
    let mut version = bytes.clone();
    version[5] = 9;
    assert_eq!(decode(&version), FormatError::Version { found: 9 });
    assert!(matches!(decode(&bytes[..bytes.len() - 1]), FormatError::Length { .. }));
    let mut changed = bytes.clone();
    let last = changed.len() - 33;
    changed[last] ^= 1;
    assert_eq!(decode(&changed), FormatError::Checksum);
    let resealed = blake3_of(&changed);
    assert!(matches!(decode(&resealed), FormatError::Inconsistent(_)));
    let other = build(4, &[vec![1, 2]]).snapshot();
    assert_eq!(
        SpanIndex::decode(&bytes, &other),
        Err(FormatError::Snapshot { expected: other, found: snapshot })
    );
}

/// The same body with a checksum that fits it, as an attacker would write it.
fn blake3_of(bytes: &[u8]) -> Vec<u8> {
    let body = &bytes[..bytes.len() - 32];
    let mut out = body.to_vec();
    out.extend(protocol::hash::blake3(body).0);
    out
}
