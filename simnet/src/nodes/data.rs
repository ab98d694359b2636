//! Generated data: packs of deterministic bytes, divided among contributors.

use protocol::{
    BlobRef, EvmAddress, Hash,
    codec::Wire as _,
    manifest::{Document, Manifest, cut_units},
};
use storage::StoreError;

use super::{SharedBlobs, text};
use crate::{
    Scenario,
    adversary::{Coalitions, Facts},
    chain::named_address,
    kernel::{Chance, Purpose, Stream, Streams},
};

/// What a contributor brings: its manifest, packs and units. A contract takes 256 packs at once.
#[derive(Debug, Clone)]
pub struct Contributor {
    /// The address of its account.
    pub owner: EvmAddress,
    /// The coalition, by its place in the scenario, that contributes this.
    pub coalition: Option<usize>,
    /// One entry per transaction.
    pub parts: Vec<Part>,
}

/// What one transaction contributes.
#[derive(Debug, Clone)]
pub struct Part {
    /// The manifest's address.
    pub manifest: Hash,
    /// The packs that it lists, in its order.
    pub packs: Vec<BlobRef>,
    /// Number of training units in the packs.
    pub units: u32,
}

const PACKS_PER_PART: usize = 256;
/// Accounts among which data is split at most.
const SPLITS: usize = 256;
/// Length of the pack of whoever declares a unit for each of its bytes.
const EMPTY_BYTES: usize = 1024;
/// Bytes of a word that a copy changes.
const WORD: usize = 8;

/// Generates and publishes all packs.
pub fn contributors(
    scenario: &Scenario,
    coalitions: &Coalitions,
    streams: &Streams,
    blobs: &mut SharedBlobs,
) -> Result<Vec<Contributor>, StoreError> {
    let is_text = scenario.training.real_compute;
    let words = if is_text { text::words(streams) } else { Vec::new() };
    let plain = |number| pack(scenario, streams, &words, number);
    let mut all = Vec::new();
    let mut order = Vec::new();
    for index in 0..scenario.workload.contributors {
        // Pack p belongs to contributor p mod n.
        let own = (index..scenario.workload.packs).step_by(scenario.workload.contributors as usize);
        let own: Vec<u32> = own.collect();
        order.extend_from_slice(&own);
        let splits = first(coalitions, |facts| facts.splits_data.then_some(()));
        let splits = splits.filter(|_| index == 0).map(|(number, ())| number);
        let accounts = if splits.is_some() { own.len().min(SPLITS) } else { 1 };
        let accounts = own.chunks(own.len().div_ceil(accounts));
        for (account, packs) in (0u32..).zip(accounts) {
            let owner = match account {
                0 => named_address(b"contributor", index),
                _ => named_address(b"splitter", account),
            };
            let packs = packs.chunks(PACKS_PER_PART).map(|some| part(scenario, blobs, some, plain));
            let parts = packs.collect::<Result<_, _>>()?;
            all.push(Contributor { owner, coalition: splits, parts });
        }
    }
    if let Some((coalition, copies)) = first(coalitions, |facts| facts.copies) {
        // In the order of the snapshot, so that a copy's units are in the order of the first ones.
        let packs = order[..copied(copies.share, order.len())].chunks(PACKS_PER_PART);
        let copy = |number| {
            let mut draws = streams.stream(1 << 31 | number, Purpose::Data);
            changed(plain(number), copies.changed, &mut draws)
        };
        let packs = packs.map(|some| part(scenario, blobs, some, copy));
        let parts = packs.collect::<Result<_, _>>()?;
        let (owner, coalition) = (named_address(b"copier", 0), Some(coalition));
        all.push(Contributor { owner, coalition, parts });
    }
    if let Some((coalition, ())) = first(coalitions, |facts| facts.empty_units.then_some(())) {
        let bytes = |_| b"words ".iter().copied().cycle().take(EMPTY_BYTES).collect();
        let mut part = part(scenario, blobs, &[0], bytes)?;
        part.units = EMPTY_BYTES as u32;
        let (owner, coalition) = (named_address(b"declarer", 0), Some(coalition));
        all.push(Contributor { owner, coalition, parts: vec![part] });
    }
    Ok(all)
}

/// How many of the packs are copied.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::cast_precision_loss,
    reason = "a part of the packs"
)]
fn copied(share: f64, packs: usize) -> usize {
    (packs as f64 * share.min(1.0)).ceil() as usize
}

/// The first coalition of which something is known, and what.
fn first<T>(coalitions: &Coalitions, of: impl Fn(Facts) -> Option<T>) -> Option<(usize, T)> {
    coalitions.facts().enumerate().find_map(|(number, facts)| Some((number, of(facts)?)))
}

/// A copy in which a share of the words, and always the first, is made of other letters: another
/// address, of the same length.
fn changed(mut bytes: Vec<u8>, share: f64, draws: &mut Stream) -> Vec<u8> {
    let chance = Chance::new(share);
    for (place, word) in bytes.chunks_mut(WORD).enumerate() {
        if place == 0 || draws.happens(chance) {
            for letter in word {
                *letter = b"abcdefghijklmnopqrstuvwxyz"[usize::from(draws.word() as u8 % 26)];
            }
        }
    }
    bytes
}

fn part(
    scenario: &Scenario,
    blobs: &mut SharedBlobs,
    numbers: &[u32],
    bytes_of: impl Fn(u32) -> Vec<u8>,
) -> Result<Part, StoreError> {
    let mut manifest = Manifest { documents: Vec::new(), packs: Vec::new(), units: Vec::new() };
    for (place, number) in (0u32..).zip(numbers) {
        let bytes = bytes_of(*number);
        let length = bytes.len() as u64;
        manifest.units.extend(cut_units(place, &bytes, scenario.params().unit_bytes));
        let hash = blobs.publish(bytes)?;
        let name = format!("pack-{number}");
        manifest.documents.push(Document { name, length, hash });
        manifest.packs.push(BlobRef { hash, length });
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
