//! From files to packs and units.
//!
//! Files are read as UTF-8 text with bounded memory, cleaned by published rules (byte-order marks and
//! control characters go, line ends become `\n`), and cut by the network's own rules: packs by
//! [`storage::packs`], units by [`protocol::manifest::cut_units`]. What cannot be read as text is
//! refused with the reason; nothing is guessed.

mod read;

use bytes::Bytes;
use protocol::BlobRef;
use protocol::limits::{MAX_PACKS_PER_CONTRIBUTION, MAX_UNITS_PER_CONTRIBUTION};
use protocol::manifest::{self, Manifest, cut_units};
use protocol::params::Params;
use storage::packs::{PackError, PackRule, pack_all};

pub use self::read::{IngestError, Skipped, clean, read};

/// Bytes of text of one contribution at most; `datanet add` makes several of a larger folder.
pub const MAX_CONTRIBUTION_BYTES: usize = 8 << 20;
/// Longest name of a document, in bytes.
const MAX_NAME_BYTES: usize = 255;

/// One text to be published.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Document {
    /// Its name, without a path.
    pub name: String,
    /// Its text, clean.
    pub text: String,
}

/// A contribution before it is published.
#[derive(Debug, Clone)]
pub struct Packed {
    /// Which documents, packs and units it has.
    pub manifest: Manifest,
    /// The packs in the manifest's order.
    pub packs: Vec<Bytes>,
}

/// Groups documents so that no group is beyond [`MAX_CONTRIBUTION_BYTES`], unless one alone is.
pub fn batches(documents: Vec<Document>) -> Vec<Vec<Document>> {
    let mut batches: Vec<Vec<Document>> = Vec::new();
    let mut size = 0;
    for document in documents {
        let is_full = size + document.text.len() > MAX_CONTRIBUTION_BYTES;
        if is_full || batches.is_empty() {
            batches.push(Vec::new());
            size = 0;
        }
        size += document.text.len();
        batches.last_mut().expect("one was pushed").push(document);
    }
    batches
}

/// Cuts documents into packs and units.
///
/// # Errors
/// [`IngestError`] when there is nothing to publish, or more than one contribution can list.
pub fn pack(documents: &[Document], params: &Params) -> Result<Packed, IngestError> {
    let texts: Vec<_> = documents.iter().map(|d| (&d.name, clean(&d.text))).collect();
    let texts: Vec<_> = texts.into_iter().filter(|(_, text)| !text.is_empty()).collect();
    if texts.is_empty() {
        return Err(IngestError::NothingToPublish);
    }
    let stream: Vec<u8> = texts.iter().flat_map(|(_, text)| text.bytes()).collect();
    let packs = pack_all(stream.as_slice(), rule(params)).map_err(|error| match error {
        PackError::Rule(source) => IngestError::Rule(source),
        PackError::Read(source) => IngestError::Read { path: "memory".into(), source },
    })?;
    let mut units = Vec::new();
    for (index, pack) in packs.iter().enumerate() {
        let index = u32::try_from(index).map_err(|_| IngestError::TooMuch)?;
        units.extend(cut_units(index, &pack.bytes, params.unit_bytes));
    }
    if packs.len() > MAX_PACKS_PER_CONTRIBUTION || units.len() > MAX_UNITS_PER_CONTRIBUTION {
        return Err(IngestError::TooMuch);
    }
    let documents = texts
        .iter()
        .map(|(name, text)| manifest::Document {
            name: short_name(name),
            length: text.len() as u64,
            hash: storage::hash_of(text.as_bytes()),
        })
        .collect();
    let listed =
        packs.iter().map(|pack| BlobRef::new(pack.hash, pack.bytes.len() as u64)).collect();
    let manifest = Manifest { documents, packs: listed, units };
    Ok(Packed { manifest, packs: packs.into_iter().map(|pack| pack.bytes).collect() })
}

/// The cutting rule that belongs to a network's parameters.
fn rule(params: &Params) -> PackRule {
    let max = params.holding.max_pack;
    let rule = if max < u64::from(PackRule::MAINNET.max_pack) {
        PackRule::MINIMAL
    } else {
        PackRule::MAINNET
    };
    let max_pack = u32::try_from(max).unwrap_or(u32::MAX).min(rule.max_pack);
    PackRule { max_pack, ..rule }.text()
}

fn short_name(name: &str) -> String {
    let mut end = name.len().min(MAX_NAME_BYTES);
    while !name.is_char_boundary(end) {
        end -= 1;
    }
    name[..end].to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn document(name: &str, text: &str) -> Document {
        Document { name: name.to_owned(), text: text.to_owned() }
    }

    #[test]
    fn packs_rebuild_the_documents_and_units_cover_them() {
        let params = Params::minimal();
        let text = "Alle Menschen sind frei und gleich an Würde geboren.\n".repeat(4_000);
        let packed = pack(&[document("a", &text), document("b", "kurz")], &params).unwrap();
        let joined: Vec<u8> = packed.packs.iter().flatten().copied().collect();
        assert_eq!(joined, format!("{text}kurz\n").into_bytes());
        let manifest = &packed.manifest;
        assert!(packed.packs.len() > 2);
        let total: u64 = manifest.units.iter().map(|unit| u64::from(unit.length)).sum();
        assert_eq!(total, joined.len() as u64);
        let units = u32::try_from(manifest.units.len()).unwrap();
        assert_eq!(manifest.check(&manifest.packs, units, params.unit_bytes), Ok(()));
        for (pack, listed) in packed.packs.iter().zip(&manifest.packs) {
            assert_eq!(BlobRef::new(storage::hash_of(pack), pack.len() as u64), *listed);
            assert!(listed.length <= params.holding.max_pack);
        }
    }

    #[test]
    fn nothing_makes_no_contribution() {
        let packed = pack(&[document("blank", "\u{feff} \n\t\n")], &Params::minimal());
        assert!(matches!(packed, Err(IngestError::NothingToPublish)));
    }

    #[test]
    fn batches_stay_below_the_limit() {
        let half = "x".repeat(MAX_CONTRIBUTION_BYTES / 2 + 1);
        let parts = batches(vec![document("a", &half), document("b", &half), document("c", "x")]);
        let sizes: Vec<_> = parts.iter().map(Vec::len).collect();
        assert_eq!(sizes, [1, 2]);
        assert!(batches(Vec::new()).is_empty());
    }

    #[test]
    fn long_names_are_cut_between_characters() {
        assert_eq!(short_name(&"é".repeat(200)).len(), 254);
    }
}
