//! Which units of a snapshot repeat earlier ones.
//!
//! Only the earliest copy of a text is trained on, indexed and paid; what repeats it joins its
//! **cluster**. [`Clusters::find`] reads the texts in the order of commitment and asks of each, against
//! the **canonical** units before it:
//! 1. *exact*: is it the same, but for letter case, spaces and punctuation?
//! 2. *contained*: do canonical units, taken together, hold enough of its shingles? This sees what is
//!    cut elsewhere, moved or pieced together from many units.
//! 3. *near*: does enough of it stand in short runs of symbols that one or two canonical units hold in
//!    the same order? This sees copies in which every few words were changed. Candidates come from
//!    MinHash buckets.
//!
//! Invariants:
//! - A unit joins **one** canonical unit, the one that holds most of it, and merges nothing: a unit that
//!   resembles two others leaves them apart.
//! - Similarity is not passed on: that B resembles A, and C resembles B, does not put C into the
//!   cluster of A. Only what repeats nearly all of a unit that itself joined by resemblance follows it
//!   there, or else a copy of a unit that is not paid would be; and what so followed leads no further.
//! - The cluster's number is the rank of its canonical unit, which is the earliest of the cluster.
//! - Integers throughout: the same texts and parameters give the same clusters on every node.
//! - The cost of a unit does not grow with the snapshot: buckets and lists of candidates are bounded.
//!
//! It works on the symbols of the text, not on token ids: clusters don't depend on a model. A paraphrase
//! that keeps no runs of symbols is not a copy here; nor is a text in look-alike letters, which
//! a model does not read as the same text either.

mod shingles;

use std::collections::{BTreeMap, HashMap};

use protocol::Hash;
use protocol::hash::blake3;
use protocol::math::PPM;

use self::shingles::{MinHash, Runs, normalise, windows};

/// The thresholds. Lengths are in symbols: letters and digits of the text in lower case.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClusterParams {
    /// Key of all hashes, so that a copy can't be tailored to them in advance.
    pub key: [u8; 32],
    /// Symbols of an indexed shingle.
    pub shingle: usize,
    /// One in this many shingles, chosen by hash, is indexed.
    pub sample: u64,
    /// Part of a unit's sampled shingles that canonical units hold when it is contained in them.
    pub contained_ppm: u32,
    /// Least number of sampled shingles on which that is judged.
    pub min_sampled: usize,
    /// Symbols of a run that counts when two units are compared.
    pub run: usize,
    /// Symbols by which runs of a copy may be displaced against each other.
    pub drift: usize,
    /// Part of a unit's symbols that stand in such runs of one or two canonical units when it is
    /// a near copy.
    pub near_ppm: u32,
    /// The same part, when a unit repeats one that is itself no canonical unit.
    pub follow_ppm: u32,
    /// Symbols of the shingles that candidates share.
    pub lookup: usize,
    /// MinHash functions, each a band of its own.
    pub hashes: usize,
    /// Most units that a bucket remembers: the earliest.
    pub bucket: usize,
    /// Most candidates that are compared in full: those that share most buckets.
    pub candidates: usize,
}

impl ClusterParams {
    /// Set on the texts of the demo: copies with a fifth of their tokens changed are found, and what
    /// is found without a copy having been made are formulae and repeated passages.
    pub const DEFAULT: Self = Self {
        key: [0; 32],
        shingle: 16,
        sample: 8,
        contained_ppm: 450_000,
        min_sampled: 16,
        run: 6,
        drift: 64,
        near_ppm: 400_000,
        follow_ppm: 700_000,
        lookup: 10,
        hashes: 64,
        bucket: 8,
        candidates: 8,
    };

    /// The defaults under the key of a snapshot: its units, in their order.
    pub fn of_snapshot(units: impl Iterator<Item = Hash>) -> Self {
        let mut hasher = blake3_key();
        units.for_each(|unit| {
            hasher.update(&unit.0);
        });
        Self { key: *hasher.finalize().as_bytes(), ..Self::DEFAULT }
    }
}

fn blake3_key() -> ::blake3::Hasher {
    ::blake3::Hasher::new_derive_key("openledger duplicate clusters v1")
}

/// What a unit is to its cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The canonical unit.
    Canonical,
    /// The same text but for case, spaces and punctuation.
    Exact,
    /// Canonical units together hold this part of it, in ppm of its sampled shingles.
    Contained(u32),
    /// This part of it, in ppm of its symbols, stands in runs of one or two canonical units.
    Near(u32),
    /// This part of it, in ppm of its symbols, stands in runs of a unit that joined by resemblance.
    Follows(u32),
}

/// The cluster of every unit of a snapshot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Clusters {
    members: Vec<(u32, Kind)>,
}

impl Clusters {
    /// Reads `texts`, **in the order of commitment**.
    pub fn find(texts: &[&str], params: &ClusterParams) -> Self {
        let mut index = Index::new(texts, params);
        (0..texts.len() as u32).for_each(|rank| index.admit(rank));
        Self { members: index.members }
    }

    /// Number of units.
    pub fn len(&self) -> usize {
        self.members.len()
    }

    /// Whether the snapshot has no units.
    pub fn is_empty(&self) -> bool {
        self.members.is_empty()
    }

    /// The cluster of a unit: the rank of its canonical unit, at most its own. A unit beyond the
    /// snapshot stands for itself.
    pub fn of(&self, rank: u32) -> u32 {
        self.members.get(rank as usize).map_or(rank, |(canonical, _)| *canonical)
    }

    /// What a unit is to its cluster; none beyond the snapshot.
    pub fn kind(&self, rank: u32) -> Option<Kind> {
        self.members.get(rank as usize).map(|(_, kind)| *kind)
    }

    /// Whether a unit stands for its cluster.
    pub fn is_canonical(&self, rank: u32) -> bool {
        self.of(rank) == rank
    }

    /// The ranks of all canonical units, ascending.
    pub fn canonical(&self) -> impl Iterator<Item = u32> {
        (0..self.members.len() as u32).filter(|&rank| self.is_canonical(rank))
    }
}

/// The units read so far.
struct Index<'a> {
    texts: &'a [&'a str],
    params: &'a ClusterParams,
    minhash: MinHash,
    members: Vec<(u32, Kind)>,
    /// Canonical unit by the hash of a normal form.
    exact: HashMap<Hash, u32>,
    /// First canonical unit by sampled shingle.
    shingles: HashMap<u64, u32>,
    /// Earliest units by MinHash band: canonical ones and those that joined one by resemblance.
    buckets: HashMap<u64, Vec<u32>>,
}

impl<'a> Index<'a> {
    fn new(texts: &'a [&'a str], params: &'a ClusterParams) -> Self {
        Self {
            texts,
            params,
            minhash: MinHash::new(&params.key, params.hashes),
            members: Vec::with_capacity(texts.len()),
            exact: HashMap::new(),
            shingles: HashMap::new(),
            buckets: HashMap::new(),
        }
    }

    /// Finds the cluster of the next unit, and remembers the unit if others may join it.
    fn admit(&mut self, rank: u32) {
        let text = self.texts[rank as usize];
        let symbols = normalise(text);
        // What has neither letters nor digits is compared as it stands.
        let name = match symbols.is_empty() {
            true => blake3(text.as_bytes()),
            false => blake3(symbols.iter().collect::<String>().as_bytes()),
        };
        if let Some(&canonical) = self.exact.get(&name) {
            self.members.push((canonical, Kind::Exact));
            return;
        }
        // Both looks are taken before the unit itself is remembered: it must not find itself.
        let sampled = self.sampled(&symbols);
        let bands = self.bands(&symbols);
        let found = self.contained(&sampled).or_else(|| self.near(&symbols, &bands));
        let (canonical, kind) = found.unwrap_or((rank, Kind::Canonical));
        self.exact.insert(name, canonical);
        self.members.push((canonical, kind));
        if kind == Kind::Canonical {
            for shingle in sampled {
                self.shingles.entry(shingle).or_insert(rank);
            }
        }
        // What followed leads no further, or chains of likeness would join what is not alike.
        if !matches!(kind, Kind::Follows(_)) {
            self.remember(rank, bands);
        }
    }

    fn remember(&mut self, rank: u32, bands: Vec<u64>) {
        for band in bands {
            let bucket = self.buckets.entry(band).or_default();
            if bucket.len() < self.params.bucket {
                bucket.push(rank);
            }
        }
    }

    fn sampled(&self, symbols: &[char]) -> Vec<u64> {
        let mut all = windows(symbols, self.params.shingle, self.minhash.key());
        all.retain(|shingle| shingle.is_multiple_of(self.params.sample.max(1)));
        all
    }

    fn bands(&self, symbols: &[char]) -> Vec<u64> {
        self.minhash.bands(&windows(symbols, self.params.lookup, self.minhash.key()))
    }

    /// Whether canonical units together hold the unit, and which of them most of it.
    fn contained(&self, sampled: &[u64]) -> Option<(u32, Kind)> {
        if sampled.len() < self.params.min_sampled.max(1) {
            return None;
        }
        let mut holders: BTreeMap<u32, u32> = BTreeMap::new();
        for holder in sampled.iter().filter_map(|shingle| self.shingles.get(shingle)) {
            *holders.entry(*holder).or_default() += 1;
        }
        let held = part_ppm(holders.values().map(|&n| n as usize).sum(), sampled.len());
        let most = holders.iter().max_by_key(|(rank, count)| (**count, std::cmp::Reverse(**rank)));
        let (canonical, _) = most.filter(|_| held >= self.params.contained_ppm)?;
        Some((*canonical, Kind::Contained(held)))
    }

    /// Whether the unit stands in runs that one or two canonical units hold, or nearly all of it in
    /// runs of another unit.
    fn near(&self, symbols: &[char], bands: &[u64]) -> Option<(u32, Kind)> {
        let own = Runs::new(symbols, self.params.run, self.params.drift, self.minhash.key());
        let covered = |rank| (rank, own.covered_by(&normalise(self.texts[rank as usize])));
        let all: Vec<(u32, Vec<bool>)> = self.candidates(bands).into_iter().map(covered).collect();
        let is_canonical =
            |rank: &u32| self.members.get(*rank as usize).map(|m| m.0) == Some(*rank);
        let (mut canonical, others): (Vec<_>, Vec<_>) =
            all.into_iter().partition(|(rank, _)| is_canonical(rank));
        // A copy that is cut elsewhere goes on in the unit beside the one that it shares most with.
        if let Some((most, _)) = best(&canonical, symbols.len()) {
            let beside = [most.checked_sub(1), most.checked_add(1)].into_iter().flatten();
            let beside = beside.filter(is_canonical).map(covered);
            let known = |rank: u32| canonical.iter().any(|(known, _)| *known == rank);
            let beside: Vec<_> = beside.filter(|(rank, _)| !known(*rank)).collect();
            canonical.extend(beside);
            canonical.sort_unstable_by_key(|(rank, _)| *rank);
        }
        near_canonical(&canonical, symbols.len())
            .filter(|(_, near)| *near >= self.params.near_ppm)
            .map(|(rank, near)| (rank, Kind::Near(near)))
            .or_else(|| {
                let (rank, part) = best(&others, symbols.len())?;
                let canonical = self.members[rank as usize].0;
                (part >= self.params.follow_ppm).then_some((canonical, Kind::Follows(part)))
            })
    }

    /// The units that share most buckets, ascending.
    fn candidates(&self, bands: &[u64]) -> Vec<u32> {
        let mut shared: BTreeMap<u32, u32> = BTreeMap::new();
        for rank in bands.iter().filter_map(|band| self.buckets.get(band)).flatten() {
            *shared.entry(*rank).or_default() += 1;
        }
        let mut ranked: Vec<(u32, u32)> = shared.into_iter().collect();
        ranked.sort_by_key(|(rank, count)| (std::cmp::Reverse(*count), *rank));
        ranked.truncate(self.params.candidates);
        let mut ranks: Vec<u32> = ranked.into_iter().map(|(rank, _)| rank).collect();
        ranks.sort_unstable();
        ranks
    }
}

/// The unit that covers most, and which part; the earliest of equals. `candidates` are ascending.
fn best(candidates: &[(u32, Vec<bool>)], symbols: usize) -> Option<(u32, u32)> {
    let size = |covered: &[bool]| covered.iter().filter(|covered| **covered).count();
    let (rank, covered) = candidates.iter().rev().max_by_key(|(_, covered)| size(covered))?;
    Some((*rank, part_ppm(size(covered), symbols)))
}

/// The unit that covers most, and which part it covers together with one other.
fn near_canonical(candidates: &[(u32, Vec<bool>)], symbols: usize) -> Option<(u32, u32)> {
    let (rank, _) = best(candidates, symbols)?;
    let (_, first) = candidates.iter().find(|(other, _)| *other == rank)?;
    let both = |second: &[bool]| first.iter().zip(second).filter(|(a, b)| **a || **b).count();
    let widest = candidates.iter().map(|(_, second)| both(second)).max()?;
    Some((rank, part_ppm(widest, symbols)))
}

fn part_ppm(part: usize, whole: usize) -> u32 {
    let ppm = (part as u64 * u64::from(PPM)).checked_div(whole as u64).unwrap_or(0);
    ppm.min(u64::from(PPM)) as u32
}
