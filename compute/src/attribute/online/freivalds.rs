//! Gram matrices and scores checked by a secret random vector, at the cost of reading them.
//!
//! For sketches `S` (one row per unit) and products `s = S v` a verifier who keeps a random `r` secret
//! compares `rᵀ s` with `(rᵀ S) v`; for a Gram matrix `F = Sᵀ S` it compares `F r` with `Sᵀ (S r)`. Both
//! sides are computed modulo 2⁶¹ − 1. Claims outside the range of honest values are refused first, so
//! that a false entry differs from the true one modulo the prime too; it then passes for one secret
//! in 2⁶¹ (Freivalds 1977).
//!
//! **The seed of a check is the verifier's secret**: whoever knows it makes false results that pass.

use protocol::Hash;

use super::query::Query;
use super::score_part::{ScorePart, bound};
use crate::attribute::sketch::gram::{BlockGram, GramPart};
use crate::attribute::sketch::{Sketch, SketchPart, SketchSpec};
use crate::math::Stream;
use crate::math::field::Element;

/// Why a shard's result is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum CheckError {
    /// The verifier's own sketches don't have the shape of the spec.
    #[error("the verifier's sketches are not of this spec")]
    Sketches,
    /// The result is of other sketches, or of another range of units.
    #[error("the result is of other sketches than those checked")]
    Source,
    /// The result answers another query.
    #[error("the result answers query {found}, not {expected}")]
    Query {
        /// The query checked.
        expected: Hash,
        /// The query that the result names.
        found: Hash,
    },
    /// The result has too few or too many values.
    #[error("the result has another shape than its spec")]
    Shape,
    /// A value is larger than any honest one.
    #[error("a value of block {0} is larger than the sketches can make it")]
    Bound(usize),
    /// The result is false.
    #[error("block {0} of the result is false")]
    False(usize),
}

/// A verifier's state for the scores of one sketch part: made once, good for every query.
#[derive(Clone, Debug)]
pub struct ScoreCheck {
    spec: SketchSpec,
    sketches: Hash,
    first: u32,
    /// One secret element per unit.
    secret: Vec<Element>,
    /// The secret times the sketches, one element per value of a sketch.
    folded: Vec<Element>,
}

impl ScoreCheck {
    /// Folds a part's sketches by a secret, in time proportional to their bytes.
    pub fn new(seed: &[u8; 32], part: &SketchPart, spec: &SketchSpec) -> Result<Self, CheckError> {
        if !part.fits(spec) {
            return Err(CheckError::Sketches);
        }
        let mut stream = Stream::new("score check", seed);
        let secret: Vec<_> = part.sketches.iter().map(|_| Element::draw(&mut stream)).collect();
        let mut sums = vec![0i128; spec.dims()];
        for (sketch, weight) in part.sketches.iter().zip(&secret) {
            let weight = weight.wide();
            let values = sums.iter_mut().zip(&sketch.values);
            values.for_each(|(sum, &value)| *sum += weight * i128::from(value));
        }
        let folded = sums.into_iter().map(Element::of).collect();
        let (spec, sketches) = (spec.clone(), part.hash());
        Ok(Self { spec, sketches, first: part.first, secret, folded })
    }

    /// Checks a claim in time proportional to its values and the query's.
    pub fn check(&self, query: &Query, claimed: &ScorePart) -> Result<(), CheckError> {
        let (expected, found) = (query.id(), claimed.query);
        if query.spec != self.spec.id() || expected != found {
            return Err(CheckError::Query { expected, found });
        }
        let source = (self.spec.id(), self.sketches, self.first);
        if (claimed.spec, claimed.sketches, claimed.first) != source {
            return Err(CheckError::Source);
        }
        let (blocks, block) = (self.spec.blocks(), self.spec.block());
        let is_shaped = claimed.products.len() == self.secret.len() * blocks;
        if !is_shaped || query.values.len() != self.spec.dims() {
            return Err(CheckError::Shape);
        }
        // Within this bound no two integers are equal modulo the prime.
        let limit = bound(block);
        let is_out = |product: &i64| !(-limit..=limit).contains(product);
        if let Some(at) = claimed.products.iter().position(is_out) {
            return Err(CheckError::Bound(at % blocks));
        }
        let is_false = |index: &usize| {
            let column = claimed.products.iter().skip(*index).step_by(blocks);
            let left: Element =
                column.zip(&self.secret).map(|(&s, &r)| Element::of(s.into()) * r).sum();
            let range = index * block..(index + 1) * block;
            let pairs = self.folded[range.clone()].iter().zip(&query.values[range]);
            let right: i128 = pairs.map(|(folded, &value)| folded.wide() * i128::from(value)).sum();
            left != Element::of(right)
        };
        (0..blocks).find(is_false).map_or(Ok(()), |block| Err(CheckError::False(block)))
    }
}

/// A verifier's check of the Gram matrices of one sketch part.
#[derive(Clone, Copy, Debug)]
pub struct GramCheck<'a> {
    /// The verifier's secret.
    pub seed: &'a [u8; 32],
    /// The spec of the sketches.
    pub spec: &'a SketchSpec,
}

impl GramCheck<'_> {
    /// Checks a claim in time proportional to its entries and the part's bytes.
    pub fn check(&self, part: &SketchPart, claimed: &GramPart) -> Result<(), CheckError> {
        if !part.fits(self.spec) {
            return Err(CheckError::Sketches);
        }
        let source = (part.spec, part.hash(), part.first, part.sketches.len());
        let named = (claimed.spec, claimed.sketches, claimed.first, claimed.units as usize);
        if named != source {
            return Err(CheckError::Source);
        }
        if claimed.blocks.len() != self.spec.blocks() {
            return Err(CheckError::Shape);
        }
        if let Some(block) = claimed.out_of_bounds() {
            return Err(CheckError::Bound(block));
        }
        let mut stream = Stream::new("gram check", self.seed);
        for (index, block) in claimed.blocks.iter().enumerate() {
            self.check_block(&mut stream, &part.sketches, index, block)?;
        }
        Ok(())
    }

    fn check_block(
        &self,
        stream: &mut Stream,
        sketches: &[Sketch],
        index: usize,
        claimed: &BlockGram,
    ) -> Result<(), CheckError> {
        let size = self.spec.block();
        let is_unknown = |sketch: &Sketch| !claimed.contains_key(&sketch.exponents[index]);
        if sketches.iter().any(is_unknown) {
            return Err(CheckError::False(index));
        }
        for (&exponent, entries) in claimed {
            if entries.len() != size * (size + 1) / 2 {
                return Err(CheckError::Shape);
            }
            let secret: Vec<_> = (0..size).map(|_| Element::draw(stream)).collect();
            let rows: Vec<&[i8]> = sketches
                .iter()
                .map(|sketch| sketch.block(index, size))
                .filter_map(|(e, values)| (e == exponent).then_some(values))
                .collect();
            // An exponent without units has no place in the canonical result.
            if rows.is_empty()
                || symmetric_product(entries, &secret) != gram_product(&rows, &secret)
            {
                return Err(CheckError::False(index));
            }
        }
        Ok(())
    }
}

/// `F r` of a symmetric matrix given by its upper triangle.
fn symmetric_product(entries: &[i64], vector: &[Element]) -> Vec<Element> {
    let size = vector.len();
    let mut sums = vec![Element::default(); size];
    let mut entries = entries.iter();
    for row in 0..size {
        for (column, &entry) in (row..size).zip(&mut entries) {
            let entry = Element::of(entry.into());
            sums[row] = sums[row] + entry * vector[column];
            if column > row {
                sums[column] = sums[column] + entry * vector[row];
            }
        }
    }
    sums
}

/// `Sᵀ (S r)`.
fn gram_product(rows: &[&[i8]], vector: &[Element]) -> Vec<Element> {
    let mut sums = vec![0i128; vector.len()];
    for row in rows {
        let products = row.iter().zip(vector).map(|(&value, r)| i128::from(value) * r.wide());
        let weight = Element::of(products.sum()).wide();
        let values = sums.iter_mut().zip(*row);
        values.for_each(|(sum, &value)| *sum += weight * i128::from(value));
    }
    sums.into_iter().map(Element::of).collect()
}
