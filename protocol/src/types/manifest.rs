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
/// The least that a network's limit on units may be, in bytes: room for any two characters.
const MIN_UNIT_BYTES: u32 = 8;
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
    /// Units do not follow one another, overlap, or are longer than the network's.
    #[error("unit {0} is not where the one before it ends, or not of the network's size")]
    Unit(usize),
    /// Units leave a part of a pack out, or reach beyond it.
    #[error("the units of pack {0} are not all of it")]
    NotWhole(usize),
}

impl Manifest {
    /// Checks the manifest against the contribution it belongs to: its units are all of its packs, one
    /// after the other, each of the network's size. Where exactly they are cut follows from the packs
    /// ([`cut_units`]); what is trained on and paid is cut from them again.
    ///
    /// # Errors
    /// [`ManifestError`] naming the contradiction.
    pub fn check(
        &self,
        packs: &[BlobRef],
        units: u32,
        unit_bytes: u32,
    ) -> Result<(), ManifestError> {
        if self.packs != packs {
            return Err(ManifestError::Packs);
        }
        if u32::try_from(self.units.len()) != Ok(units) {
            return Err(ManifestError::Units);
        }
        let mut all = self.units.iter().enumerate().peekable();
        for (place, pack) in self.packs.iter().enumerate() {
            let mut end = 0u64;
            while let Some((index, unit)) =
                all.next_if(|(_, unit)| usize::try_from(unit.pack) == Ok(place))
            {
                let is_next = u64::from(unit.offset) == end;
                if !is_next || !(1..=unit_bytes.max(MIN_UNIT_BYTES)).contains(&unit.length) {
                    return Err(ManifestError::Unit(index));
                }
                end = end.saturating_add(u64::from(unit.length));
            }
            if end != pack.length {
                return Err(ManifestError::NotWhole(place));
            }
        }
        all.next().map_or(Ok(()), |(index, _)| Err(ManifestError::Unit(index)))
    }
}

/// Cuts one pack of text into units: at most `unit_bytes` each, at the last white space before the
/// limit, else at the last character boundary. The network's rule, so that no contributor can gain
/// by cutting its text at favourable places.
pub fn cut_units(pack: u32, text: &[u8], unit_bytes: u32) -> Vec<Unit> {
    let limit = usize::try_from(unit_bytes.max(MIN_UNIT_BYTES)).unwrap_or(usize::MAX);
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
        let packs = vec![BlobRef::new(Hash([1; 32]), 10), BlobRef::new(Hash([2; 32]), 3)];
        let unit = |pack, offset, length| Unit { pack, offset, length };
        let of = |units: &[Unit]| Manifest {
            documents: vec![],
            packs: packs.clone(),
            units: units.to_vec(),
        };
        let judge = |manifest: &Manifest| manifest.check(&packs, manifest.units.len() as u32, 8);
        let good = [unit(0, 0, 5), unit(0, 5, 5), unit(1, 0, 3)];
        assert_eq!(judge(&of(&good)), Ok(()));
        assert_eq!(of(&good).check(&packs[..1], 3, 8), Err(ManifestError::Packs));
        assert_eq!(of(&good).check(&packs, 4, 8), Err(ManifestError::Units));
        for (units, error) in [
            (vec![unit(0, 0, 5), unit(0, 4, 6), unit(1, 0, 3)], ManifestError::Unit(1)),
            (vec![unit(0, 0, 10), unit(1, 0, 3)], ManifestError::Unit(0)),
            (vec![unit(0, 0, 5), unit(0, 5, 0), unit(0, 5, 5)], ManifestError::Unit(1)),
            (vec![unit(0, 0, 5), unit(0, 5, 6), unit(1, 0, 3)], ManifestError::NotWhole(0)),
            (vec![unit(1, 0, 3), unit(0, 0, 5), unit(0, 5, 5)], ManifestError::NotWhole(0)),
            (good[..2].to_vec(), ManifestError::NotWhole(1)),
            ([&good[..], &[unit(2, 0, 1)]].concat(), ManifestError::Unit(3)),
            (vec![unit(0, u32::MAX, u32::MAX)], ManifestError::Unit(0)),
        ] {
            assert_eq!(judge(&of(&units)), Err(error), "{units:?}");
        }
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
