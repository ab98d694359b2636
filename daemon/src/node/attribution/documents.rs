//! The documents that units come from, which only manifests name.

use std::collections::{BTreeMap, BTreeSet};

use protocol::chain::{ChainView, Contribution};
use protocol::codec::Wire;
use protocol::limits::MAX_MANIFEST_BYTES;
use protocol::manifest::Manifest;
use protocol::{BlobRef, ModelId};

use crate::node::blobs::Blobs;

/// The document that each of some units of a run begins in, by rank of the unit; those whose manifest
/// cannot be had now, or is not that of its contribution, are left out.
pub(super) async fn name_documents(
    blobs: &Blobs,
    chain: &ChainView,
    model: ModelId,
    ranks: &BTreeSet<u32>,
) -> BTreeMap<u32, String> {
    let unit_bytes = chain.params().unit_bytes;
    let mut names = BTreeMap::new();
    let mut first = 0u32;
    for Contribution { manifest, packs, units, .. } in chain.run_data(model) {
        let after = first.saturating_add(*units);
        let mut wanted = ranks.range(first..after).peekable();
        if wanted.peek().is_some()
            && let Ok(bytes) = blobs.obtain(*manifest, MAX_MANIFEST_BYTES as u64, &[]).await
            && let Ok(manifest) = Manifest::from_bytes(&bytes)
            && manifest.check(packs, *units, unit_bytes).is_ok()
        {
            let named =
                |rank: &u32| Some((*rank, document_of(&manifest, (rank - first) as usize)?));
            names.extend(wanted.filter_map(named));
        }
        first = after;
    }
    names
}

/// The document that a unit begins in: packs are cut from the documents, one after the other.
fn document_of(manifest: &Manifest, unit: usize) -> Option<String> {
    let unit = manifest.units.get(unit)?;
    let packs = manifest.packs.get(..unit.pack as usize)?;
    let start: u64 = BlobRef::total(packs) + u64::from(unit.offset);
    let mut end = 0u64;
    let holds = |document: &&protocol::manifest::Document| {
        end = end.saturating_add(document.length);
        start < end
    };
    manifest.documents.iter().find(holds).map(|document| document.name.clone())
}

#[cfg(test)]
mod tests {
    use protocol::Hash;

    use super::*;

    #[test]
    fn units_are_named_after_the_document_that_they_begin_in() {
        let document = |name: &str, length| protocol::manifest::Document {
            name: name.to_owned(),
            length,
            hash: Hash::ZERO,
        };
        let unit = |pack, offset| protocol::manifest::Unit { pack, offset, length: 10 };
        let manifest = Manifest {
            documents: vec![document("a", 15), document("b", 25)],
            packs: vec![BlobRef::new(Hash::ZERO, 20); 2],
            units: vec![unit(0, 0), unit(0, 10), unit(1, 0), unit(1, 10)],
        };
        let names: Vec<_> = (0..5).map(|unit| document_of(&manifest, unit)).collect();
        let name = |name: &str| Some(name.to_owned());
        assert_eq!(names, [name("a"), name("a"), name("b"), name("b"), None]);
    }
}
