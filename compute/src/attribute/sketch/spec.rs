//! What a sketch is a sketch of: checkpoint, projection and layers.

use protocol::Hash;

use crate::model::{ModelConfig, layout};

/// Largest side of a projected gradient.
const MAX_SIDE: u16 = 64;
/// Largest number of values of one sketch.
const MAX_DIMS: usize = 1 << 20;

/// Names a family of comparable sketches: two sketches mean the same only under equal specs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SketchSpec {
    /// The checkpoint at which gradients are taken.
    pub checkpoint: Hash,
    /// Seed of the random projections.
    pub seed: u64,
    /// Rows and columns to which each linear map's gradient is projected.
    pub side: u16,
    /// The linear maps, as indices into [`layout::linears`], ascending.
    pub linears: Vec<u16>,
}

/// Why a spec is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SpecError {
    /// The side is zero or too large.
    #[error("a projection to {0} rows is not between 1 and {MAX_SIDE}")]
    Side(u16),
    /// The list of linear maps is empty, out of order, or names one that the model lacks.
    #[error("the list of linear maps is empty, not ascending, or reaches beyond the model's {0}")]
    Linears(usize),
    /// The sketch would be too large.
    #[error("a sketch of {0} values is too large")]
    TooLarge(usize),
}

impl SketchSpec {
    /// The default for a model: the linear maps of its last layer, 16 × 16 each. On the demo's texts
    /// that names the right contributor as often as all layers do, at a third of the bytes and, since a
    /// generator's trace spares the layers below, of the time; all layers predict retraining better.
    pub fn standard(checkpoint: Hash, seed: u64, config: &ModelConfig) -> Self {
        let count = layout::linears(config).len();
        let linears = (count.saturating_sub(layout::LINEARS_PER_LAYER)..count).map(|l| l as u16);
        Self { checkpoint, seed, side: 16, linears: linears.collect() }
    }

    /// Accepts the spec for a model or says what is wrong with it.
    pub fn validate(&self, config: &ModelConfig) -> Result<(), SpecError> {
        self.check(layout::linears(config).len())
    }

    /// As [`validate`](Self::validate), where `known` blocks exist.
    pub(in crate::attribute) fn check(&self, known: usize) -> Result<(), SpecError> {
        if self.side == 0 || self.side > MAX_SIDE {
            return Err(SpecError::Side(self.side));
        }
        let is_ascending = self.linears.windows(2).all(|pair| pair[0] < pair[1]);
        if !is_ascending || self.linears.last().is_none_or(|&last| usize::from(last) >= known) {
            return Err(SpecError::Linears(known));
        }
        if self.dims() > MAX_DIMS {
            return Err(SpecError::TooLarge(self.dims()));
        }
        Ok(())
    }

    /// Number of blocks: one per linear map.
    pub fn blocks(&self) -> usize {
        self.linears.len()
    }

    /// Values of one block.
    pub fn block(&self) -> usize {
        usize::from(self.side) * usize::from(self.side)
    }

    /// Values of one sketch.
    pub fn dims(&self) -> usize {
        self.blocks() * self.block()
    }

    /// The name of the family.
    pub fn id(&self) -> Hash {
        let mut hasher = blake3::Hasher::new_derive_key("openledger sketch spec v1");
        hasher.update(&self.checkpoint.0).update(&self.seed.to_be_bytes());
        hasher.update(&self.side.to_be_bytes());
        for linear in &self.linears {
            hasher.update(&linear.to_be_bytes());
        }
        Hash(*hasher.finalize().as_bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec() -> SketchSpec {
        SketchSpec::standard(Hash([1; 32]), 7, &ModelConfig::nano())
    }

    #[test]
    fn the_standard_sketch_of_nano_is_below_two_kilobytes() {
        assert_eq!(spec().dims(), 7 * 256);
        assert_eq!(spec().linears[..], [14, 15, 16, 17, 18, 19, 20]);
        assert_eq!(spec().validate(&ModelConfig::nano()), Ok(()));
    }

    #[test]
    fn each_bad_spec_has_its_error() {
        let check = |spec: SketchSpec| spec.validate(&ModelConfig::nano()).unwrap_err();
        assert_eq!(check(SketchSpec { side: 0, ..spec() }), SpecError::Side(0));
        assert_eq!(check(SketchSpec { side: 65, ..spec() }), SpecError::Side(65));
        for linears in [vec![], vec![1, 0], vec![2, 2], vec![21]] {
            assert_eq!(check(SketchSpec { linears, ..spec() }), SpecError::Linears(21));
        }
        let deep = ModelConfig { layers: 40, ..ModelConfig::smol_135m() };
        let large = SketchSpec { side: 64, linears: (0..280).collect(), ..spec() };
        assert_eq!(large.validate(&deep), Err(SpecError::TooLarge(280 * 4096)));
    }

    #[test]
    fn every_field_names_another_family() {
        let base = spec();
        let others = [
            SketchSpec { checkpoint: Hash([2; 32]), ..spec() },
            SketchSpec { seed: 8, ..spec() },
            SketchSpec { side: 8, ..spec() },
            SketchSpec { linears: vec![0], ..spec() },
        ];
        assert!(others.iter().all(|other| other.id() != base.id()));
    }
}
