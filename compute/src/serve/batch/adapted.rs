//! Adapters beside shared weights: what each sequence's own adapter adds to the linear maps.
//!
//! Every row is first shrunk by its adapter's `A` and then expanded by its `B`, whatever adapters the other
//! rows have; the weights of the base are read once for all of them. (Punica's and S-LoRA's gathered products,
//! arXiv 2310.18547 and 2311.03285, on a CPU.)
#![expect(
    clippy::needless_range_loop,
    reason = "what takes closures is not inlined where instructions differ"
)]

use half::f16;
use protocol::Hash;

use super::kernel::lanes::{Halves, LANES, Lanes, Numbers, Task};
use crate::lora::Adapter;
use crate::model::{ModelConfig, layout};

/// Sums of a product that go on side by side, so that none waits for the one before.
const SUMS: usize = 4;

/// An adapter laid out for serving, in half precision: 0.92 MB for rank 8 on queries and values of
/// SmolLM2-135M.
pub struct PackedAdapter {
    hash: Hash,
    model: ModelConfig,
    rank: usize,
    /// What it adds to each linear map of the model, if anything.
    maps: Vec<Option<Map>>,
    bytes: u64,
}

/// The factors of one linear map.
pub(super) struct Map {
    /// `A`, row by row: `[rank][inputs / 16]`.
    a: Vec<Halves>,
    /// `s · B`: `[outputs / 16][rank]`, the last outputs filled up with zeros.
    b: Vec<Halves>,
    rank: usize,
}

/// Why an adapter can't be served.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PackError {
    /// A weight has no half-precision form.
    #[error("weight {0} of the adapter is beyond half precision")]
    TooLarge(usize),
    /// A linear map reads rows that sixteens don't fill.
    #[error(
        "a linear map with {0} inputs is served without adapters: they are no multiple of {LANES}"
    )]
    Width(usize),
}

impl PackedAdapter {
    /// Lays out an adapter. That it is one of the very base that it is served with is for its reader to check
    /// ([`Adapter::expect_base`]).
    pub fn new(adapter: &Adapter) -> Result<Self, PackError> {
        let model = &adapter.base().model;
        let (scale, rank) = (adapter.config().scale(), adapter.config().rank as usize);
        let mut maps: Vec<Option<Map>> = layout::linears(model).iter().map(|_| None).collect();
        let tensors = adapter.config().tensors(model);
        let (mut bytes, mut read) = (0, 0);
        for (pair, &linear) in tensors.chunks_exact(2).zip(&adapter.config().linears) {
            let (inputs, outputs) = (pair[0].cols, pair[1].rows);
            if !inputs.is_multiple_of(LANES) {
                return Err(PackError::Width(inputs));
            }
            let values = &adapter.values()[read..][..rank * (inputs + outputs)];
            let (a, b) = values.split_at(rank * inputs);
            let short = |at: usize, value: f32| {
                let half = f16::from_f32(value);
                half.is_finite().then(|| half.to_bits()).ok_or(PackError::TooLarge(at))
            };
            let mut map = Map {
                a: vec![[0; LANES]; rank * inputs / LANES],
                b: vec![[0; LANES]; outputs.div_ceil(LANES) * rank],
                rank,
            };
            for (at, value) in a.iter().enumerate() {
                map.a[at / LANES][at % LANES] = short(read + at, *value)?;
            }
            for (at, value) in b.iter().enumerate() {
                let (output, r) = (at / rank, at % rank);
                let place = &mut map.b[output / LANES * rank + r][output % LANES];
                *place = short(read + a.len() + at, scale * *value)?;
            }
            bytes += size_of::<Halves>() * (map.a.len() + map.b.len());
            read += values.len();
            maps[usize::from(linear)] = Some(map);
        }
        let (hash, model) = (adapter.hash(), model.clone());
        Ok(Self { hash, model, rank, maps, bytes: bytes as u64 })
    }

    /// The adapter's hash.
    pub fn hash(&self) -> Hash {
        self.hash
    }

    /// The shape of the base that it adds to.
    pub fn model(&self) -> &ModelConfig {
        &self.model
    }

    /// Bytes of memory that it takes.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    pub(super) fn rank(&self) -> usize {
        self.rank
    }

    /// What it adds to a linear map.
    pub(super) fn map(&self, linear: usize) -> Option<&Map> {
        self.maps.get(linear)?.as_ref()
    }
}

/// `A x` of one row.
pub(super) struct Shrink<'a> {
    pub(super) map: &'a Map,
    pub(super) input: &'a [f32],
    /// The rank's numbers, from the first on.
    pub(super) out: &'a mut [f32],
}

impl Task for Shrink<'_> {
    type Output = ();

    #[inline(always)]
    fn run<V: Lanes>(self) {
        let input = self.input.as_chunks::<LANES>().0;
        let rows = self.map.a.chunks_exact(input.len());
        for (out, row) in self.out.iter_mut().zip(rows) {
            let mut sums = [V::splat(0.0); SUMS];
            for at in 0..input.len() {
                let sum = &mut sums[at % SUMS];
                *sum = V::from_halves(&row[at]).fma(V::load(&input[at]), *sum);
            }
            *out = sums[0].add(sums[1]).add(sums[2].add(sums[3])).total();
        }
    }
}

/// Adds `s B u` to sixteen outputs of one row.
pub(super) struct Expand<'a> {
    pub(super) map: &'a Map,
    /// Which sixteen outputs.
    pub(super) panel: usize,
    /// What [`Shrink`] gave.
    pub(super) inner: &'a [f32],
    pub(super) out: &'a mut Numbers,
}

impl Task for Expand<'_> {
    type Output = ();

    #[inline(always)]
    fn run<V: Lanes>(self) {
        let rank = self.map.rank;
        let b = &self.map.b[self.panel * rank..][..rank];
        let mut sum = V::splat(0.0);
        for r in 0..rank {
            sum = V::from_halves(&b[r]).fma(V::splat(self.inner[r]), sum);
        }
        V::load(self.out).add(sum).store(self.out);
    }
}
