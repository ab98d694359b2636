//! Bases: models that no run made, registered and offered as they are.

use alloc::{string::String, vec::Vec};

use crate::{
    blob::BlobRef,
    codec::{DecodeError, Reader, Wire, encode_bytes},
    ids::{AccountId, BlockNumber},
    model::Shape,
};

/// The longest name, licence or origin, in bytes: that of a card.
const MAX_WORDS: usize = 256;
/// The longest tokenizer, in bytes.
const MAX_TOKENIZER: u64 = 32 << 20;

/// What the chain says of a base; the configuration of its registration is the encoding of it.
///
/// Nobody contributed to it, as far as the network can tell. So of what is paid for its answers the
/// contributors' part is the platform's: whoever trained a model on a Datanet and registered its weights
/// as a base would gain nothing by it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BaseModel {
    /// The canonical checkpoint, by whose hash it is known.
    pub checkpoint: BlobRef,
    /// What its texts become tokens with.
    pub tokenizer: BlobRef,
    /// Its card: how texts and conversations are written for it, and what ends an answer.
    pub card: BlobRef,
    /// From which follows what its answers cost; who serves it holds it against the checkpoint.
    pub shape: Shape,
    /// What people call it.
    pub name: String,
    /// The licence that its file states, mostly an SPDX name; empty where it states none.
    pub licence: String,
    /// Who made it or where it was published, as its file says; empty where it does not.
    pub origin: String,
}

/// A base with who registered it, and earns the developer's part.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Registered {
    /// The block that took it in.
    pub block: BlockNumber,
    /// Who registered it.
    pub developer: AccountId,
    /// What it is.
    pub base: BaseModel,
}

impl BaseModel {
    /// Whether its numbers are within the network's bounds.
    pub fn is_sane(&self) -> bool {
        let words = [&self.name, &self.licence, &self.origin];
        self.shape.is_of(&self.checkpoint, &self.card)
            && (1..=MAX_TOKENIZER).contains(&self.tokenizer.length)
            && words.iter().all(|text| text.len() <= MAX_WORDS)
            && !self.name.is_empty()
    }
}

fn words(input: &mut Reader<'_>) -> Result<String, DecodeError> {
    String::from_utf8(input.bytes(MAX_WORDS)?).map_err(|_| DecodeError::Utf8)
}

impl Wire for BaseModel {
    fn encode(&self, out: &mut Vec<u8>) {
        for file in [&self.checkpoint, &self.tokenizer, &self.card] {
            file.encode(out);
        }
        self.shape.encode(out);
        for text in [&self.name, &self.licence, &self.origin] {
            encode_bytes(text.as_bytes(), out);
        }
    }
    fn decode(input: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok(Self {
            checkpoint: Wire::decode(input)?,
            tokenizer: Wire::decode(input)?,
            card: Wire::decode(input)?,
            shape: Wire::decode(input)?,
            name: words(input)?,
            licence: words(input)?,
            origin: words(input)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use std::string::ToString;

    use super::*;
    use crate::ids::Hash;

    fn base() -> BaseModel {
        let file = |byte, length| BlobRef::new(Hash([byte; 32]), length);
        BaseModel {
            checkpoint: file(1, 2_000_000),
            tokenizer: file(2, 20_000),
            card: file(3, 400),
            shape: Shape::of(0).unwrap(),
            name: "Tales".to_string(),
            licence: "CC0-1.0".to_string(),
            origin: "a library".to_string(),
        }
    }

    #[test]
    fn a_base_is_read_as_it_was_written_and_nothing_else_is() {
        let bytes = base().to_bytes();
        assert_eq!(BaseModel::from_bytes(&bytes), Ok(base()));
        for end in 0..bytes.len() {
            assert!(BaseModel::from_bytes(&bytes[..end]).is_err());
        }
        let long = BaseModel { origin: "x".repeat(MAX_WORDS + 1), ..base() };
        let too_long = DecodeError::TooLong { limit: MAX_WORDS, found: MAX_WORDS + 1 };
        assert_eq!(BaseModel::from_bytes(&long.to_bytes()), Err(too_long));
    }

    #[test]
    fn numbers_beyond_the_bounds_are_no_base() {
        assert!(base().is_sane());
        let huge = |length| BlobRef { length, ..base().checkpoint };
        assert!(!BaseModel { checkpoint: huge(u64::MAX), ..base() }.is_sane());
        assert!(!BaseModel { tokenizer: huge(0), ..base() }.is_sane());
        assert!(!BaseModel { card: huge(u64::MAX), ..base() }.is_sane());
        assert!(!BaseModel { name: String::new(), ..base() }.is_sane());
        let shape = Shape { vocab: 0, ..base().shape };
        assert!(!BaseModel { shape, ..base() }.is_sane());
    }
}
