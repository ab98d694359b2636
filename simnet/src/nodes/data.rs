//! Generated data: packs of deterministic bytes, divided among contributors.

use protocol::{
    Hash,
    codec::Wire as _,
    manifest::{Document, Manifest, cut_units},
};
use storage::StoreError;

use super::{SharedBlobs, text};
use crate::{
    Scenario,
    kernel::{Purpose, Streams},
};

/// What a contributor brings: its manifest, packs and units. A contract takes 256 packs at once.
#[derive(Debug, Clone)]
pub struct Contributor {
    /// One entry per transaction.
    pub parts: Vec<Part>,
}

/// One contribution.
#[derive(Debug, Clone)]
pub struct Part {
    /// The manifest's address.
    pub manifest: Hash,
    /// Packs with their lengths.
    pub packs: Vec<(Hash, u64)>,
    /// Units.
    pub units: u32,
}

const PACKS_PER_PART: u32 = 256;

/// Generates and publishes all packs.
pub fn contributors(
    scenario: &Scenario,
    streams: &Streams,
    blobs: &mut SharedBlobs,
) -> Result<Vec<Contributor>, StoreError> {
    let words = scenario.training.real_compute.then(|| text::words(streams)).unwrap_or_default();
    let mut all = Vec::new();
    for index in 0..scenario.workload.contributors {
        // Pack p belongs to contributor p mod n.
        let own = (index..scenario.workload.packs).step_by(scenario.workload.contributors as usize);
        let own: Vec<u32> = own.collect();
        let parts = own
            .chunks(PACKS_PER_PART as usize)
            .map(|packs| part(scenario, (streams, &words), blobs, packs))
            .collect::<Result<_, _>>()?;
        all.push(Contributor { parts });
    }
    Ok(all)
}

fn part(
    scenario: &Scenario,
    (streams, words): (&Streams, &[String]),
    blobs: &mut SharedBlobs,
    numbers: &[u32],
) -> Result<Part, StoreError> {
    let mut manifest = Manifest { documents: Vec::new(), packs: Vec::new(), units: Vec::new() };
    for (place, number) in (0u32..).zip(numbers) {
        let bytes = pack(scenario, streams, words, *number);
        let length = bytes.len() as u64;
        manifest.units.extend(cut_units(place, &bytes, scenario.params().unit_bytes));
        let hash = blobs.publish(bytes)?;
        let name = format!("pack-{number}");
        manifest.documents.push(Document { name, length, hash });
        manifest.packs.push((hash, length));
    }
    let units = u32::try_from(manifest.units.len()).expect("256 packs have few units");
    let packs = manifest.packs.clone();
    Ok(Part { manifest: blobs.publish(manifest.to_bytes())?, packs, units })
}

/// Random bytes; text, where there are words.
fn pack(scenario: &Scenario, streams: &Streams, words: &[String], number: u32) -> Vec<u8> {
    let mut draws = streams.stream(number, Purpose::Data);
    let (min, max) = (scenario.workload.pack_min.0, scenario.workload.pack_max.0);
    let length = min + draws.below(max - min + 1);
    let length = usize::try_from(length).expect("a pack fits into memory");
    if !words.is_empty() {
        return text::text(words, &mut draws, length);
    }
    let mut bytes = vec![0; length];
    draws.fill(&mut bytes);
    bytes
}
