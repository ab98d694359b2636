//! All sketches of a snapshot, and the commitment to them.

use protocol::hash::keccak;
use protocol::merkle::{self, Tree};
use protocol::{Digest, Hash};

use super::cover::{CoverError, cover};
use super::part::SketchPart;
use super::quantise::Sketch;
use super::spec::SketchSpec;

/// The sketches of every unit of a snapshot, in the order of commitment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SketchSet {
    spec: SketchSpec,
    sketches: Vec<Sketch>,
}

/// Why parts don't make up the sketches of a snapshot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum AssembleError {
    /// The parts don't cover the snapshot, or belong to something else.
    #[error(transparent)]
    Cover(#[from] CoverError),
    /// A sketch is of another unit, length or shape than its rank asks for.
    #[error("sketch {rank} is not of unit {unit}")]
    WrongUnit {
        /// Rank of the unit.
        rank: u32,
        /// The unit that belongs there.
        unit: Hash,
    },
    /// The sketches are not those that were committed to.
    #[error("the sketches commit to {found}, not to {expected}: some leaf is wrong")]
    Commitment {
        /// The commitment asked for.
        expected: Digest,
        /// The commitment of these sketches.
        found: Digest,
    },
}

impl SketchSet {
    /// Puts parts, in any order, together to the sketches of `units`: hash and number of tokens of
    /// each, in the order of commitment.
    pub fn assemble(
        spec: SketchSpec,
        units: &[(Hash, u32)],
        mut parts: Vec<SketchPart>,
    ) -> Result<Self, AssembleError> {
        let expected = spec.id();
        if let Some(part) = parts.iter().find(|part| part.spec != expected) {
            return Err(CoverError::Spec { expected, found: part.spec }.into());
        }
        parts.iter().try_for_each(|part| check_units(&spec, units, part))?;
        parts.sort_by_key(|part| (part.first, part.sketches.len()));
        let ranges = parts.iter().map(|part| (part.first, part.sketches.len() as u32));
        cover(units.len() as u32, ranges)?;
        let sketches = parts.into_iter().flat_map(|part| part.sketches).collect();
        Ok(Self { spec, sketches })
    }

    /// Checks that these are the committed sketches.
    pub fn check(&self, commitment: &Digest) -> Result<(), AssembleError> {
        match self.commitment() {
            found if found == *commitment => Ok(()),
            found => Err(AssembleError::Commitment { expected: *commitment, found }),
        }
    }

    /// The spec of all sketches.
    pub fn spec(&self) -> &SketchSpec {
        &self.spec
    }

    /// The sketches, in the order of commitment.
    pub fn sketches(&self) -> &[Sketch] {
        &self.sketches
    }

    /// What binds checkpoint, projection, layers and every leaf.
    pub fn commitment(&self) -> Digest {
        commit(&self.spec, &self.root())
    }

    /// The Merkle root over the leaves, which the commitment binds.
    pub fn root(&self) -> Digest {
        self.tree().root()
    }

    /// The Merkle siblings of one leaf, bottom-up.
    pub fn prove(&self, rank: u32) -> Option<Vec<Digest>> {
        self.tree().prove(rank.into())
    }

    fn tree(&self) -> Tree {
        let leaves: Vec<Vec<u8>> = self.sketches.iter().map(Sketch::leaf).collect();
        Tree::new(&leaves)
    }
}

/// Whether `sketch` is leaf `rank` of `count` under a commitment whose Merkle root is `root`.
pub fn verify_leaf(
    commitment: &Digest,
    spec: &SketchSpec,
    root: &Digest,
    (rank, count): (u32, u32),
    sketch: &Sketch,
    path: &[Digest],
) -> bool {
    commit(spec, root) == *commitment
        && merkle::verify(root, count.into(), rank.into(), &sketch.leaf(), path)
}

fn commit(spec: &SketchSpec, root: &Digest) -> Digest {
    keccak(&[b"openledger/sketches/v1", &spec.id().0, &root.0])
}

/// Checks that a part's sketches are of the units of its ranks, as far as there are such units.
fn check_units(
    spec: &SketchSpec,
    units: &[(Hash, u32)],
    part: &SketchPart,
) -> Result<(), AssembleError> {
    let ranked = (0u32..).zip(units).skip(part.first as usize);
    for ((rank, (unit, tokens)), sketch) in ranked.zip(&part.sketches) {
        let is_right = sketch.unit == *unit
            && sketch.tokens == *tokens
            && sketch.exponents.len() == spec.blocks()
            && sketch.values.len() == spec.dims();
        if !is_right {
            return Err(AssembleError::WrongUnit { rank, unit: *unit });
        }
    }
    Ok(())
}
