//! Integer scores on the CPU, against a naive oracle.

use compute::attribute::{Query, Rows, ScoreError, SketchSet};
use proptest::prelude::*;

use crate::fixture;

/// A score by its definition: the sum of all products, each shifted by its exponents, rounded down
/// to 16 fractional bits. Exponents of the fixture keep it exact in 128 bits.
fn naive_scores(set: &SketchSet, query: &Query) -> Vec<i64> {
    let size = set.spec().block();
    let score = |sketch: &compute::attribute::Sketch| {
        let sum: i128 = (0..set.spec().dims())
            .map(|i| {
                let exponent = sketch.exponents[i / size] + query.exponents[i / size];
                (i128::from(sketch.values[i]) * i128::from(query.values[i])) << (exponent + 48)
            })
            .sum();
        (sum >> 32) as i64
    };
    set.sketches().iter().map(score).collect()
}

#[test]
fn products_and_rows_of_another_shape_are_refused() {
    let (set, other) = (fixture::sketch_set(1, 5, 4), fixture::sketch_set(1, 5, 3));
    let query = fixture::query(1, set.spec());
    let mut products = Rows::units(&set).products(&query).unwrap();
    assert_eq!(set.scores_of(&query, &products), set.scores(&query));
    products.pop();
    assert_eq!(set.scores_of(&query, &products), Err(ScoreError::Shape));
    assert_eq!(Rows::units(&other).products(&query), Err(ScoreError::Shape));
    let foreign = [other.aggregate(&[0])];
    assert_eq!(Rows::contributors(&set, &foreign).err(), Some(ScoreError::Shape));
    assert_eq!(set.score_contributors(&foreign, &query), Err(ScoreError::Shape));
    let own = [set.aggregate(&[0])];
    assert_eq!(set.contributor_scores_of(&own, &query, &[0; 3]), Err(ScoreError::Shape));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn scores_are_those_of_the_definition(seed: u64, count in 1u32..20, side in 1u16..20) {
        let set = fixture::sketch_set(seed, count, side);
        let query = fixture::query(seed, set.spec());
        prop_assert_eq!(set.scores(&query).unwrap(), naive_scores(&set, &query));
    }

    #[test]
    fn an_aggregate_is_the_sum_to_one_part_in_32639(seed: u64, count in 1u32..40, side in 1u16..6) {
        let set = fixture::sketch_set(seed, count, side);
        let (size, ranks) = (set.spec().block(), (0..count).collect::<Vec<_>>());
        let sum = set.aggregate(&ranks);
        let mut expected = vec![0.0f64; set.spec().dims()];
        for sketch in set.sketches() {
            expected.iter_mut().zip(sketch.dequantised(size)).for_each(|(e, v)| *e += f64::from(v));
        }
        let query = fixture::query(seed, set.spec());
        let mut score = 0.0;
        for (block, (exponent, values)) in sum.blocks().enumerate() {
            let expected = &expected[block * size..][..size];
            let step = f64::powi(2.0, exponent.into());
            let largest = expected.iter().fold(0.0f64, |max, value| max.max(value.abs()));
            prop_assert!(step <= largest / 32_639.0 * 2.0 || values.iter().all(|v| v.abs() <= 32_639));
            let scale = step * f64::powi(2.0, query.exponents[block].into());
            for (i, (value, expected)) in values.iter().zip(expected).enumerate() {
                let off = (f64::from(*value) * step - expected).abs();
                prop_assert!(off <= largest / 32_639.0 + f64::EPSILON, "{value} {expected}");
                score += f64::from(*value) * scale * f64::from(query.values[block * size + i]);
            }
        }
        let scored = set.score_contributors(&[sum], &query).unwrap()[0];
        prop_assert_eq!(scored, (score * 65_536.0).floor() as i64);
    }
}
