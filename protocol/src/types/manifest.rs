//! What a contribution consists of: packs, documents, and the units that are trained on and paid.

use alloc::{string::String, vec::Vec};

use crate::{
    blob::BlobRef,
    codec::{DecodeError, Reader, Wire, encode_bytes, encode_list},
    ids::Hash,
    limits::{MAX_PACKS_PER_CONTRIBUTION, MAX_UNITS_PER_CONTRIBUTION},
};

/// Longest name of a document, in bytes.
const MAX_NAME_BYTES: usize = 255;
/// Most documents of one contribution.
const MAX_DOCUMENTS: usize = 1 << 16;

/// One file of a contribution, for people to recognise.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Document {
    /// Its name, without a path.
    pub name: String,
    /// Bytes after cleaning.
    pub length: u64,
    /// BLAKE3 of those bytes.
    pub hash: Hash,
}

/// The network-fixed piece of text that is trained on, attributed and paid. Never straddles packs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Unit {
    /// Index of the pack in the manifest.
    pub pack: u32,
    /// First byte in the pack.
    pub offset: u32,
    /// Its length in bytes, all of them in one pack.
    pub length: u32,
}

/// The ordered list that rebuilds a contribution.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Manifest {
    /// The documents, in the order in which they were packed.
    pub documents: Vec<Document>,
    /// The packs, in the order in which units name them.
    pub packs: Vec<BlobRef>,
    /// The units, in order.
    pub units: Vec<Unit>,
}

/// A manifest that contradicts itself or the chain.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ManifestError {
    /// The packs are not those of the contribution on chain.
    #[error("the manifest lists other packs than the contribution on chain")]
    Packs,
    /// The number of units is not that of the contribution on chain.
    #[error("the manifest lists other units than the contribution on chain")]
    Units,
    /// A unit reaches beyond its pack.
    #[error("unit {0} reaches beyond its pack")]
    OutOfPack(usize),
}

impl Manifest {
    /// Checks the manifest against the contribution it belongs to.
    ///
    /// # Errors
    /// [`ManifestError`] naming the contradiction.
    pub fn check(&self, packs: &[BlobRef], units: u32) -> Result<(), ManifestError> {
        if self.packs != packs {
            return Err(ManifestError::Packs);
        }
        if u32::try_from(self.units.len()) != Ok(units) {
            return Err(ManifestError::Units);
        }
        for (index, unit) in self.units.iter().enumerate() {
            let pack = usize::try_from(unit.pack).ok().and_then(|i| self.packs.get(i));
            let end = u64::from(unit.offset).saturating_add(u64::from(unit.length));
            if pack.is_none_or(|pack| end > pack.length) {
                return Err(ManifestError::OutOfPack(index));
            }
        }
        Ok(())
    }
}

/// Cuts one pack of text into units: at most `unit_bytes` each, at the last white space before the
/// limit, else at the last character boundary. The network's rule, so that no contributor can gain
/// by cutting its text at favourable places.
pub fn cut_units(pack: u32, text: &[u8], unit_bytes: u32) -> Vec<Unit> {
    let limit = usize::try_from(unit_bytes.max(8)).unwrap_or(usize::MAX);
    let mut units = Vec::new();
    let mut offset = 0usize;
    let mut rest = text;
    while !rest.is_empty() {
        let length = unit_length(rest, limit);
        let (Ok(start), Ok(size)) = (u32::try_from(offset), u32::try_from(length)) else { break };
        units.push(Unit { pack, offset: start, length: size });
        offset = offset.saturating_add(length);
        rest = rest.get(length..).unwrap_or_default();
    }
    units
}

fn unit_length(rest: &[u8], limit: usize) -> usize {
    let Some(window) = rest.get(..limit) else { return rest.len() };
    let half = limit >> 1;
    let after_space = window.iter().rposition(u8::is_ascii_whitespace);
    if let Some(position) = after_space.filter(|position| *position >= half) {
        return position.saturating_add(1);
    }
    // Back to the start of the character that the limit would cut.
    let next_is_continuation = |at: usize| rest.get(at).is_some_and(|b| b & 0xC0 == 0x80);
    (half..=limit).rev().find(|at| !next_is_continuation(*at)).unwrap_or(limit)
}

impl Wire for Unit {
    fn encode(&self, out: &mut Vec<u8>) {
        self.pack.encode(out);
        self.offset.encode(out);
        self.length.encode(out);
    }
    fn decode(input: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok(Self {
            pack: Wire::decode(input)?,
            offset: Wire::decode(input)?,
            length: Wire::decode(input)?,
        })
    }
}

impl Wire for Document {
    fn encode(&self, out: &mut Vec<u8>) {
        encode_bytes(self.name.as_bytes(), out);
        self.length.encode(out);
        self.hash.encode(out);
    }
    fn decode(input: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let name =
            String::from_utf8(input.bytes(MAX_NAME_BYTES)?).map_err(|_| DecodeError::Utf8)?;
        Ok(Self { name, length: Wire::decode(input)?, hash: Wire::decode(input)? })
    }
}

impl Wire for Manifest {
    fn encode(&self, out: &mut Vec<u8>) {
        1u8.encode(out);
        encode_list(&self.documents, out);
        encode_list(&self.packs, out);
        encode_list(&self.units, out);
    }
    fn decode(input: &mut Reader<'_>) -> Result<Self, DecodeError> {
        match u8::decode(input)? {
            1 => Ok(Self {
                documents: input.list(MAX_DOCUMENTS)?,
                packs: input.list(MAX_PACKS_PER_CONTRIBUTION)?,
                units: input.list(MAX_UNITS_PER_CONTRIBUTION)?,
            }),
            version => Err(DecodeError::Tag(version)),
        }
    }
}

#[cfg(test)]
mod tests {
    use alloc::vec;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_manifest_that_contradicts_the_chain_is_refused() {
        let packs = vec![BlobRef::new(Hash([1; 32]), 10)];
        let unit = Unit { pack: 0, offset: 5, length: 5 };
        let good = Manifest { documents: vec![], packs: packs.clone(), units: vec![unit] };
        assert_eq!(good.check(&packs, 1), Ok(()));
        assert_eq!(good.check(&[], 1), Err(ManifestError::Packs));
        assert_eq!(good.check(&packs, 2), Err(ManifestError::Units));
        let mut long = good;
        long.units[0].length = 6;
        assert_eq!(long.check(&packs, 1), Err(ManifestError::OutOfPack(0)));
    }

    proptest! {
        #[test]
        fn units_cover_the_text_and_cut_no_character(text in "[a-zé漢 \n]{0,400}", size in 8u32..64) {
            let units = cut_units(3, text.as_bytes(), size);
            let mut rebuilt = Vec::new();
            for unit in &units {
                prop_assert!(unit.length > 0 && unit.length <= size && unit.pack == 3);
                let (from, to) = (unit.offset as usize, (unit.offset + unit.length) as usize);
                let piece = &text.as_bytes()[from..to];
                prop_assert!(core::str::from_utf8(piece).is_ok());
                rebuilt.extend_from_slice(piece);
            }
            prop_assert_eq!(rebuilt, text.as_bytes());
        }
    }
}
