//! Shards of attribution: split anywhere they give the same, and a false one is caught.

use compute::attribute::{
    CaptureError, CaptureUnit, Capturer, CheckError, CombineError, CoverError, Difference, Gram,
    GramCheck, GramError, GramPart, IndexMismatch, LeafAuditError, LeafRule, OutputSketch,
    Preconditioner, Query, ScoreCheck, ScoreError, ScorePart, ScorePartError, SketchPart,
    SketchSpec, SumError, check_index,
};
use compute::device::Engine;
use compute::spans::{SpanIndex, SpanUnit};
use proptest::prelude::*;
use protocol::{Digest, Hash};

use crate::fixture;

/// Bytes before the first block of an encoded Gram part, and before the first product.
const GRAM_HEADER: usize = 82;
const SCORE_HEADER: usize = 112;

/// The part cut at those places, last piece first.
fn cut(part: &SketchPart, places: &[u32]) -> Vec<SketchPart> {
    let count = part.sketches.len() as u32;
    let mut ends: Vec<u32> = places.iter().map(|place| place % (count + 1)).collect();
    ends.extend([0, count]);
    ends.sort_unstable();
    ends.windows(2).rev().map(|pair| fixture::slice(part, pair[0], pair[1])).collect()
}

fn seed(byte: u8) -> [u8; 32] {
    [byte; 32]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    #[test]
    fn gram_shards_add_up_to_the_whole_wherever_they_are_cut(
        number: u64, count in 1u32..40, places in proptest::collection::vec(any::<u32>(), 0..5),
    ) {
        let set = fixture::sketch_set(number, count, 3);
        let (spec, part) = fixture::sketches(number, count, 3);
        let shards: Vec<GramPart> = cut(&part, &places)
            .iter()
            .map(|part| {
                let bytes = GramPart::of(part, &spec).unwrap().encode(&spec);
                GramPart::decode(&bytes, &spec).unwrap()
            })
            .collect();
        let total = Gram::sum(spec.clone(), count, shards).unwrap();
        prop_assert_eq!(&total, &Gram::of(&set).unwrap());
        let values = (0..spec.dims()).map(|i| i as f32 - 7.5).collect();
        let output = OutputSketch { spec: spec.id(), values };
        let sharded = Preconditioner::fit_gram(&total, 50_000).unwrap().query(&output).unwrap();
        let whole = Preconditioner::fit(&set, 50_000).unwrap().query(&output).unwrap();
        prop_assert_eq!(sharded, whole);
    }

    #[test]
    fn score_shards_combine_to_the_whole_wherever_they_are_cut(
        number: u64, count in 1u32..40, places in proptest::collection::vec(any::<u32>(), 0..5),
    ) {
        let set = fixture::sketch_set(number, count, 3);
        let (spec, part) = fixture::sketches(number, count, 3);
        let query = fixture::query(number, &spec);
        let shards = cut(&part, &places)
            .iter()
            .map(|part| {
                let bytes = ScorePart::of(part, &spec, &query).unwrap().encode(&spec);
                ScorePart::decode(&bytes, &spec).unwrap()
            })
            .collect();
        prop_assert_eq!(set.combine(&query, shards).unwrap(), set.scores(&query).unwrap());
    }

    #[test]
    fn any_changed_product_is_refused(
        number: u64, secret: [u8; 32], at: prop::sample::Index, change in 1i64..1 << 20, up: bool,
    ) {
        let (spec, part) = fixture::sketches(number, 9, 4);
        let query = fixture::query(number, &spec);
        let check = ScoreCheck::new(&secret, &part, &spec).unwrap();
        let honest = ScorePart::of(&part, &spec, &query).unwrap();
        prop_assert_eq!(check.check(&query, &honest), Ok(()));
        let mut cheat = honest;
        let at = at.index(cheat.products.len());
        cheat.products[at] += if up { change } else { -change };
        prop_assert_eq!(check.check(&query, &cheat), Err(CheckError::False(at % 2)));
    }

    #[test]
    fn any_changed_byte_of_a_gram_shard_is_refused(
        number: u64, secret: [u8; 32], at: prop::sample::Index, flip in 1u8..=255,
    ) {
        let (spec, part) = fixture::sketches(number, 9, 3);
        let check = GramCheck { seed: &secret, spec: &spec };
        let honest = GramPart::of(&part, &spec).unwrap();
        prop_assert_eq!(check.check(&part, &honest), Ok(()));
        let mut bytes = honest.encode(&spec);
        let at = at.index(bytes.len());
        bytes[at] ^= flip;
        if let Ok(cheat) = GramPart::decode(&bytes, &spec) {
            prop_assert!(check.check(&part, &cheat).is_err(), "byte {}", at);
        }
    }

    #[test]
    fn arbitrary_bytes_are_no_result_of_a_shard(
        bytes in proptest::collection::vec(any::<u8>(), 0..400),
    ) {
        let (spec, _) = fixture::sketches(1, 1, 2);
        prop_assert!(GramPart::decode(&bytes, &spec).is_err());
        prop_assert!(ScorePart::decode(&bytes, &spec).is_err());
    }
}

#[test]
fn a_claim_that_equals_the_truth_modulo_the_prime_is_out_of_bounds() {
    let (spec, part) = fixture::sketches(3, 9, 4);
    let query = fixture::query(3, &spec);
    let mut cheat = ScorePart::of(&part, &spec, &query).unwrap();
    cheat.products[5] += (1 << 61) - 1;
    let check = ScoreCheck::new(&seed(1), &part, &spec).unwrap();
    assert_eq!(check.check(&query, &cheat), Err(CheckError::Bound(1)));
    let decoded = ScorePart::decode(&cheat.encode(&spec), &spec);
    assert_eq!(decoded, Err(ScorePartError::Bound(2)));
}

#[test]
fn results_of_other_sketches_queries_or_ranges_are_refused() {
    let (spec, part) = fixture::sketches(3, 9, 4);
    let (_, foreign) = fixture::sketches(4, 9, 4);
    let (query, other) = (fixture::query(1, &spec), fixture::query(2, &spec));
    let check = ScoreCheck::new(&seed(1), &part, &spec).unwrap();
    let honest = ScorePart::of(&part, &spec, &query).unwrap();
    let refused = CheckError::Query { expected: other.id(), found: query.id() };
    assert_eq!(check.check(&other, &honest), Err(refused));
    let of_foreign = ScorePart::of(&foreign, &spec, &query).unwrap();
    assert_eq!(check.check(&query, &of_foreign), Err(CheckError::Source));
    let shifted = ScorePart { first: 1, ..honest.clone() };
    assert_eq!(check.check(&query, &shifted), Err(CheckError::Source));
    let mut short = honest.clone();
    short.products.pop();
    assert_eq!(check.check(&query, &short), Err(CheckError::Shape));
    // Right values in another order are false.
    let mut swapped = honest;
    swapped.products.swap(0, 2);
    assert_eq!(check.check(&query, &swapped), Err(CheckError::False(0)));

    let check = GramCheck { seed: &seed(2), spec: &spec };
    let gram = GramPart::of(&foreign, &spec).unwrap();
    assert_eq!(check.check(&part, &gram), Err(CheckError::Source));
    let mut lie = gram;
    lie.sketches = part.hash();
    assert_eq!(check.check(&part, &lie), Err(CheckError::False(0)));
    let misshapen = SketchPart { spec: Hash::ZERO, ..part };
    assert_eq!(check.check(&misshapen, &lie), Err(CheckError::Sketches));
    assert!(ScoreCheck::new(&seed(1), &misshapen, &spec).is_err());
    assert_eq!(GramPart::of(&misshapen, &spec), Err(SumError::Shape));
    assert_eq!(ScorePart::of(&misshapen, &spec, &query), Err(ScoreError::Shape));
}

#[test]
fn shards_must_cover_the_snapshot_exactly() {
    let set = fixture::sketch_set(5, 6, 3);
    let (spec, part) = fixture::sketches(5, 6, 3);
    let query = fixture::query(5, &spec);
    let gram = |from, to| GramPart::of(&fixture::slice(&part, from, to), &spec).unwrap();
    let sum = |parts| Gram::sum(spec.clone(), 6, parts).unwrap_err();
    assert_eq!(sum(vec![gram(0, 2), gram(3, 6)]), CoverError::Missing(2));
    assert_eq!(sum(vec![gram(0, 4), gram(3, 6)]), CoverError::Surplus(3));
    let mut foreign = gram(0, 6);
    foreign.spec = Hash::ZERO;
    let refused = CoverError::Spec { expected: spec.id(), found: Hash::ZERO };
    assert_eq!(sum(vec![foreign]), refused);
    assert_eq!(Gram::sum(spec.clone(), 0, vec![]).unwrap_err(), CoverError::NoUnits);

    let score = |from, to| ScorePart::of(&fixture::slice(&part, from, to), &spec, &query).unwrap();
    let combine = |parts| set.combine(&query, parts).unwrap_err();
    let cover = |error: CoverError| CombineError::Cover(error);
    assert_eq!(combine(vec![score(0, 5)]), cover(CoverError::Missing(5)));
    assert_eq!(combine(vec![score(0, 6), score(0, 6)]), cover(CoverError::Surplus(0)));
    let other = ScorePart { query: Hash::ZERO, ..score(0, 6) };
    let refused = CoverError::Query { expected: query.id(), found: Hash::ZERO };
    assert_eq!(combine(vec![other]), cover(refused));
    let foreign = ScorePart { spec: Hash::ZERO, ..score(0, 6) };
    let refused = CoverError::Spec { expected: spec.id(), found: Hash::ZERO };
    assert_eq!(combine(vec![foreign]), cover(refused));
    let mut ragged = score(0, 6);
    ragged.products.pop();
    assert_eq!(combine(vec![ragged]), cover(CoverError::Shape(0)));
    let short = Query { values: vec![], ..query.clone() };
    assert_eq!(set.combine(&short, vec![]), Err(CombineError::Score(ScoreError::Shape)));
}

#[test]
fn each_kind_of_wrong_bytes_of_a_shard_has_its_error() {
    let (spec, part) = fixture::sketches(6, 4, 3);
    let query = fixture::query(6, &spec);
    let changed = |bytes: &[u8], at: usize, value: u8| {
        let mut bytes = bytes.to_vec();
        bytes[at] = value;
        bytes
    };
    let gram = GramPart::of(&part, &spec).unwrap().encode(&spec);
    let decode = |bytes: &[u8]| GramPart::decode(bytes, &spec).unwrap_err();
    assert_eq!(decode(&gram[..GRAM_HEADER - 1]), GramError::Length);
    assert_eq!(decode(&gram[..gram.len() - 1]), GramError::Length);
    assert_eq!(decode(&[&gram[..], &[0]].concat()), GramError::Length);
    assert_eq!(decode(&changed(&gram, 0, b'X')), GramError::Magic);
    assert!(matches!(decode(&changed(&gram, 6, !gram[6])), GramError::Spec { .. }));
    assert_eq!(decode(&changed(&gram, 79, 9)), GramError::Shape);
    assert_eq!(decode(&changed(&gram, GRAM_HEADER + 1, 100)), GramError::Exponents(0));
    assert_eq!(decode(&changed(&gram, GRAM_HEADER + 2, 127)), GramError::Bound(0));

    let score = ScorePart::of(&part, &spec, &query).unwrap().encode(&spec);
    let decode = |bytes: &[u8]| ScorePart::decode(bytes, &spec).unwrap_err();
    assert!(matches!(decode(&score[..SCORE_HEADER - 1]), ScorePartError::Length { .. }));
    assert!(matches!(decode(&score[..score.len() - 1]), ScorePartError::Length { .. }));
    assert_eq!(decode(&changed(&score, 5, 9)), ScorePartError::Magic);
    assert!(matches!(decode(&changed(&score, 6, !score[6])), ScorePartError::Spec { .. }));
    assert_eq!(decode(&changed(&score, 111, 9)), ScorePartError::Shape);
    assert_eq!(decode(&changed(&score, SCORE_HEADER + 8 * 3, 127)), ScorePartError::Bound(1));
}

/// Two units of the tiny model's text, their spec and what an honest worker claims of them.
struct Claim {
    capturer: Capturer,
    texts: Vec<Vec<u32>>,
    part: SketchPart,
}

impl Claim {
    fn new() -> Self {
        let checkpoint = fixture::checkpoint();
        let standard = SketchSpec::standard(checkpoint.hash(), 7, checkpoint.config());
        let spec = SketchSpec { side: 4, ..standard };
        let capturer = Capturer::new(&Engine::cpu(), &checkpoint, &spec).unwrap();
        let mut claim = Self {
            capturer,
            texts: fixture::units(3, 4),
            part: SketchPart { spec: spec.id(), first: 5, sketches: vec![] },
        };
        claim.part = claim.capturer.units(5, &claim.units()).unwrap();
        claim
    }

    fn units(&self) -> Vec<CaptureUnit<'_>> {
        let hash = |i: usize| protocol::hash::blake3(&i.to_be_bytes());
        let unit = |(i, tokens)| CaptureUnit { hash: hash(i), tokens };
        self.texts.iter().map(|t| &t[..]).enumerate().map(unit).collect()
    }

    fn audit(&self, part: &SketchPart) -> Result<(Option<u32>, Difference), LeafAuditError> {
        let rule = LeafRule::DEFAULT;
        let report = rule.audit(&self.capturer, 5, &self.units(), part, &Digest([9; 32]))?;
        assert_eq!(report.ranks.len(), 4, "eight leaves are more than all four");
        Ok((report.refuted, report.worst))
    }
}

#[test]
fn honest_leaves_pass_and_false_ones_are_found() {
    let claim = Claim::new();
    let (refuted, worst) = claim.audit(&claim.part).unwrap();
    assert_eq!(refuted, None);
    assert!(worst.cosine_ppm >= 999_900 && worst.steps <= 1, "{worst:?}");

    // One value three steps off hardly turns the sketch, and is found by its steps.
    let mut nudged = claim.part.clone();
    let value = &mut nudged.sketches[2].values[3];
    *value = if *value > 0 { *value - 4 } else { *value + 4 };
    assert_eq!(claim.audit(&nudged).unwrap().0, Some(7));
    // The sketch of another unit, a scale too large, another length, no work at all.
    let mut copied = claim.part.clone();
    copied.sketches[1].values = copied.sketches[0].values.clone();
    assert_eq!(claim.audit(&copied).unwrap().0, Some(6));
    let mut scaled = claim.part.clone();
    scaled.sketches[3].exponents.iter_mut().for_each(|e| *e += 1);
    let (refuted, worst) = claim.audit(&scaled).unwrap();
    assert_eq!((refuted, worst.cosine_ppm > 999_000), (Some(8), true));
    let mut longer = claim.part.clone();
    longer.sketches[0].tokens += 1;
    assert_eq!(claim.audit(&longer).unwrap(), (Some(5), Difference::TOTAL));
    let mut idle = claim.part.clone();
    idle.sketches.iter_mut().for_each(|s| s.values.fill(0));
    assert!(claim.audit(&idle).unwrap().0.is_some());
}

#[test]
fn claims_of_other_units_or_specs_are_no_claims() {
    let claim = Claim::new();
    let shifted = SketchPart { first: 6, ..claim.part.clone() };
    let range = LeafAuditError::Range { first: 5, expected: 4, from: 6, found: 4 };
    assert_eq!(claim.audit(&shifted), Err(range));
    let short = SketchPart { sketches: claim.part.sketches[..3].to_vec(), ..claim.part.clone() };
    assert!(matches!(claim.audit(&short), Err(LeafAuditError::Range { found: 3, .. })));
    let foreign = SketchPart { spec: Hash::ZERO, ..claim.part.clone() };
    assert!(matches!(claim.audit(&foreign), Err(LeafAuditError::Spec { .. })));
    let mut unknown = Claim::new();
    unknown.texts[0] = vec![];
    let audit = unknown.audit(&claim.part);
    assert!(matches!(audit, Err(LeafAuditError::Capture(CaptureError::EmptyUnit(_)))));
}

#[test]
fn a_unit_longer_than_the_context_is_the_sum_of_its_windows() {
    let claim = Claim::new();
    let context = fixture::checkpoint().config().context as usize;
    let text: Vec<u32> = claim.texts.concat()[..2 * context + 1].to_vec();
    let capture = |tokens: &[u32]| {
        let unit = CaptureUnit { hash: Hash::ZERO, tokens };
        let part = claim.capturer.units(0, &[unit]).unwrap();
        part.sketches[0].dequantised(16).collect::<Vec<f32>>()
    };
    let whole = capture(&text);
    let windows = [capture(&text[..=context]), capture(&text[context..])];
    let peak = whole.iter().fold(0.0f32, |max, value| max.max(value.abs()));
    for (i, value) in whole.iter().enumerate() {
        assert!((value - windows[0][i] - windows[1][i]).abs() < peak / 20.0);
    }
}

#[test]
fn an_index_is_checked_by_its_hash() {
    let units = fixture::units(1, 4);
    let build = |units: &[Vec<u32>]| {
        let unit = |(i, tokens)| SpanUnit { hash: Hash([i as u8; 32]), tokens };
        let spans: Vec<_> = units.iter().map(|t| &t[..]).enumerate().map(unit).collect();
        let tokenizer = fixture::tokenizer();
        SpanIndex::build(tokenizer.hash(), tokenizer.vocab(), &spans).unwrap().bytes().to_vec()
    };
    let built = build(&units);
    let hash = protocol::hash::blake3(&built);
    assert_eq!(check_index(hash, &build(&units)), Ok(()));
    let mut cheat = built;
    let last = cheat.len() - 40;
    cheat[last] ^= 1;
    let found = hash;
    let claimed = protocol::hash::blake3(&cheat);
    assert_eq!(check_index(claimed, &build(&units)), Err(IndexMismatch { claimed, found }));
}
