//! Provable lookup: what an index says, shown to somebody who has only its commitment.
//!
//! A [`Commitment`] binds text, array and unit table of one index by three keccak trees (those of
//! [`protocol::merkle`]; a leaf is [`LEAF`] stored symbols or positions, or one unit). From it
//!
//! * [`Lookup`] proves where a run of tokens belongs in the array, by the two neighbours of that
//!   place; so it proves the longest match ([`Place::longest`]), and two of them prove the number of
//!   occurrences ([`verify_count`]);
//! * [`verify_occurrence`] proves that a run stands at a position, which refutes a later owner;
//! * [`verify_unit`] proves in which unit a position lies.
//!
//! That conclusion needs the array to be sorted. Nobody proves that it is; whoever finds that it is
//! not proves that ([`Fraud`]): each wrong array has a fraud proof of bounded size.
//!
//! Verifiers need no index, only integers and keccak, and take hostile proofs: every length is
//! bounded before it is used, and nothing panics. That the text is the units' is not proved here:
//! it follows from the snapshot, and everybody builds the same bytes.

mod fraud;
mod lookup;
mod prover;
mod window;

pub use fraud::Fraud;
pub use lookup::{
    Lookup, Neighbour, Owner, Place, Side, verify_count, verify_lookup, verify_occurrence,
    verify_unit,
};
pub use prover::Prover;
pub use window::Window;

use protocol::codec::{DecodeError, Reader, Wire};
use protocol::hash::keccak;
use protocol::{Digest, Hash};

use super::ints::Width;
use super::layout::Layout;

/// Symbols of the text, or positions of the array, in one leaf.
///
/// Small leaves make small proofs until the path outweighs the leaf: over 20 M tokens (2 + 4 bytes
/// each) the median lookup of 20 tokens takes 2,234 bytes with 32 symbols a leaf, 2,394 with 64,
/// 3,738 with 256. The prover's trees take 2 bytes per token with 64, 4 with 32.
pub const LEAF: u64 = 64;

/// Most tokens of a run whose lookup is proved; more than one answer ever has.
pub(crate) const MAX_PROVED_TOKENS: usize = 4096;

/// What stands for an index: whoever has it can check answers of whoever has the index.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Commitment {
    /// The indexed snapshot.
    pub snapshot: Hash,
    /// Ids of the vocabulary.
    pub vocab: u32,
    /// Number of indexed units.
    pub units: u64,
    /// Tokens and one separator per unit.
    pub symbols: u64,
    /// Widths of what is stored.
    pub layout: Layout,
    /// Root over the text.
    pub text: Digest,
    /// Root over the array.
    pub array: Digest,
    /// Root over the unit table.
    pub table: Digest,
}

impl Commitment {
    /// The digest that a record or a contract keeps: keccak-256 of the encoding.
    pub fn digest(&self) -> Digest {
        keccak(&[&self.to_bytes()])
    }
}

impl Wire for Commitment {
    fn encode(&self, out: &mut Vec<u8>) {
        self.snapshot.encode(out);
        self.vocab.encode(out);
        self.units.encode(out);
        self.symbols.encode(out);
        (self.layout.symbol.bytes() as u8).encode(out);
        (self.layout.position.bytes() as u8).encode(out);
        self.text.encode(out);
        self.array.encode(out);
        self.table.encode(out);
    }

    fn decode(input: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let (snapshot, vocab) = (Wire::decode(input)?, u32::decode(input)?);
        let (units, symbols) = (u64::decode(input)?, u64::decode(input)?);
        let widths = (Width::of(u8::decode(input)?), Width::of(u8::decode(input)?));
        let layout = match widths {
            (Some(symbol), Some(position)) => Layout { symbol, position },
            _ => return Err(DecodeError::Invalid("a width is none that is written")),
        };
        if units >= symbols || !layout.holds(Layout::smallest(vocab, symbols)) {
            return Err(DecodeError::Invalid("a size is out of bounds"));
        }
        let (text, array) = (Wire::decode(input)?, Wire::decode(input)?);
        let table = Wire::decode(input)?;
        Ok(Self { snapshot, vocab, units, symbols, layout, text, array, table })
    }
}

/// Why a proof proves nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ProofError {
    /// The run is empty, too long, or not of the vocabulary.
    #[error("a run of 1 to {MAX_PROVED_TOKENS} tokens of the vocabulary can be proved")]
    Query,
    /// A window does not lie under its root, or is larger than any honest one.
    #[error("a window does not open its root")]
    Opening,
    /// A place that the proof is about lies outside the windows it brings.
    #[error("a place is not covered by its window")]
    Uncovered,
    /// A neighbour is missing, or there is one too many.
    #[error("a neighbour is missing or there is one too many")]
    Neighbours,
    /// A neighbour lies on the wrong side of the run.
    #[error("a neighbour lies on the wrong side")]
    Side,
    /// The windows are right, but show nothing wrong.
    #[error("what is shown is in order")]
    InOrder,
}
