//! The scores of a snapshot: equal integers on every node.

use super::aggregate::{Aggregate, DIGIT};
use super::fixed_point::fixed_point;
use super::kernel::Rows;
use super::query::{Query, ScoreError};
use crate::attribute::sketch::{Sketch, SketchSet};

impl SketchSet {
    /// The influence of every unit on the output of `query`, in the order of commitment, in units
    /// of 2⁻¹⁶. Exact integers: equal on every node.
    pub fn scores(&self, query: &Query) -> Result<Vec<i64>, ScoreError> {
        query.check(self.spec())?;
        self.scores_of(query, &Rows::units(self).products(query)?)
    }

    /// The same from products that a kernel or shards have computed for [`Rows::units`].
    pub fn scores_of(&self, query: &Query, products: &[i64]) -> Result<Vec<i64>, ScoreError> {
        query.check(self.spec())?;
        let blocks = self.spec().blocks();
        if products.len() != self.sketches().len() * blocks {
            return Err(ScoreError::Shape);
        }
        let score = |(sketch, products): (&Sketch, &[i64])| {
            let exponents = sketch.exponents.iter().zip(&query.exponents);
            let exponents = exponents.map(|(&left, &right)| i32::from(left) + i32::from(right));
            fixed_point(exponents.zip(products.iter().copied()))
        };
        Ok(self.sketches().iter().zip(products.chunks_exact(blocks)).map(score).collect())
    }

    /// The influence of each contributor's aggregate on the output of `query`, on the scale of
    /// [`scores`](Self::scores): the sum over its units, up to rounding, at the cost of two units.
    pub fn score_contributors(
        &self,
        contributors: &[Aggregate],
        query: &Query,
    ) -> Result<Vec<i64>, ScoreError> {
        query.check(self.spec())?;
        let products = Rows::contributors(self, contributors)?.products(query)?;
        self.contributor_scores_of(contributors, query, &products)
    }

    /// The same from products that a kernel has computed for [`Rows::contributors`].
    pub fn contributor_scores_of(
        &self,
        contributors: &[Aggregate],
        query: &Query,
        products: &[i64],
    ) -> Result<Vec<i64>, ScoreError> {
        query.check(self.spec())?;
        let (blocks, dims) = (self.spec().blocks(), self.spec().dims());
        let has_shape = contributors.iter().all(|sum| sum.has_shape(blocks, dims));
        if !has_shape || products.len() != 2 * contributors.len() * blocks {
            return Err(ScoreError::Shape);
        }
        let score = |(sum, products): (&Aggregate, &[i64])| {
            let (upper, lower) = products.split_at(blocks);
            let products = upper.iter().zip(lower).map(|(&upper, &lower)| upper * DIGIT + lower);
            let exponents = sum.exponents.iter().zip(&query.exponents);
            let exponents = exponents.map(|(&left, &right)| i32::from(left) + i32::from(right));
            fixed_point(exponents.zip(products))
        };
        Ok(contributors.iter().zip(products.chunks_exact(2 * blocks)).map(score).collect())
    }
}
