//! The decoder over eight-bit weights: one pass over some tokens of each of several sequences.
//!
//! What [`model`](crate::model) does with tensors is done here with plain numbers. Each linear map is
//! computed for all rows of the batch at once, so its weights are read once a pass; everything else is
//! done row by row. Every row is computed as if it were alone, bit for bit.

use std::num::NonZeroUsize;

use protocol::Hash;

use super::adapted::{Expand, PackedAdapter, Shrink};
use super::attention::Attend;
use super::kernel::lanes::{BLOCK, Block, Halves, LANES, Lanes, Numbers, Task};
use super::kernel::{Kernel, Product};
use super::matrix::Matrix;
use super::pages::{Cache, PageShape};
use super::rows::{Gate, Norm, Quantise};
use super::threads::Threads;
use crate::formats::{Checkpoint, QuantiseError, Quantised};
use crate::model::ModelConfig;
use crate::model::layout::{LINEARS_PER_LAYER, Role};

/// Rows for which a second thread is worth waking, where a row is little work.
const FEW_ROWS: usize = 16;
/// The same for sixteen outputs of a linear map.
const FEW_PANELS: usize = 4;

/// A model with eight-bit weights, loaded for answering on the CPU.
pub struct QuantisedDecoder {
    config: ModelConfig,
    tokenizer: Hash,
    hash: Hash,
    kernel: Kernel,
    threads: Threads,
    embedding: Matrix,
    /// The output projection, where it is not the embedding.
    head: Option<Matrix>,
    layers: Vec<Layer>,
    last_norm: Vec<f32>,
    /// By how much positions turn each pair of a head.
    frequencies: Vec<f64>,
}

struct Layer {
    norm: Vec<f32>,
    /// Queries, keys and values.
    read: Matrix,
    out: Matrix,
    ffn_norm: Vec<f32>,
    /// Gate and up.
    inner: Matrix,
    down: Matrix,
}

/// Why a model can't be loaded in eight bits.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// The weights have no eight-bit form.
    #[error(transparent)]
    Quantise(#[from] QuantiseError),
    /// Threads can't be started.
    #[error("threads for the model can't be started ({0}); ask for fewer")]
    Threads(#[from] rayon::ThreadPoolBuildError),
}

/// What one sequence has in a pass.
pub(super) struct Part<'a> {
    /// What is added to the linear maps for it.
    pub(super) adapter: Option<&'a PackedAdapter>,
    /// The tokens to read, after those in the cache.
    pub(super) tokens: &'a [u32],
    /// With pages for them.
    pub(super) cache: &'a mut Cache,
    /// Whether the logits behind the last token are wanted.
    pub(super) speaks: bool,
}

/// Room for the numbers of a pass, kept from pass to pass.
#[derive(Default)]
pub(super) struct Workspace {
    rows: Vec<Row>,
    /// The residual stream, row by row.
    stream: Vec<f32>,
    /// What a linear map reads, row by row, and the same in eight bits.
    input: Vec<f32>,
    blocks: Vec<Block>,
    /// What a linear map gives, sixteen outputs after the other, each of all rows.
    output: Vec<Numbers>,
    /// What adapters shrink the input to, row by row.
    inner: Vec<f32>,
    queries: Vec<f32>,
    turns: Vec<(f32, f32)>,
    /// Rows of logits.
    speaking: usize,
}

/// A token in a pass: of which part, and at which position.
#[derive(Clone, Copy)]
struct Row {
    part: usize,
    position: usize,
}

impl QuantisedDecoder {
    /// Loads a checkpoint: rounds its weights to eight bits and packs them. `threads` share the work of
    /// each pass; none: as many as there are processors.
    pub fn load(checkpoint: &Checkpoint, threads: Option<NonZeroUsize>) -> Result<Self, LoadError> {
        let quantised = Quantised::of(checkpoint)?;
        Ok(Self::pack(&quantised, Kernel::best(), Threads::new(threads)?))
    }

    pub(super) fn pack(weights: &Quantised, kernel: Kernel, threads: Threads) -> Self {
        let config = weights.config();
        let (width, ffn) = (config.width as usize, config.ffn as usize);
        let mut gains = weights.of_role(Role::Norm).map(|tensor| tensor.numbers());
        let mut maps = weights.linears().map(|tensor| tensor.bytes());
        let mut gain = || gains.next().expect("a norm of each").to_vec();
        let mut map = || maps.next().expect("seven maps in a layer");
        let layers = (0..config.layers).map(|_| Layer {
            norm: gain(),
            read: Matrix::pack(&[map(), map(), map()], width),
            out: Matrix::pack(&[map()], width),
            ffn_norm: gain(),
            inner: Matrix::pack(&[map(), map()], width),
            down: Matrix::pack(&[map()], ffn),
        });
        let layers = layers.collect();
        let mut ends = weights.of_role(Role::Embedding).map(|tensor| tensor.bytes());
        let embedding = Matrix::pack(&[ends.next().expect("an embedding")], width);
        let half = config.head_width() as usize / 2;
        let base = f64::from(config.rope_base);
        Self {
            tokenizer: weights.tokenizer(),
            hash: weights.hash(),
            kernel,
            threads,
            embedding,
            head: ends.next().map(|bytes| Matrix::pack(&[bytes], width)),
            layers,
            last_norm: gain(),
            frequencies: (0..half).map(|pair| base.powf(-(pair as f64) / half as f64)).collect(),
            config: config.clone(),
        }
    }

    /// The shape of the model.
    pub fn config(&self) -> &ModelConfig {
        &self.config
    }

    /// The tokenizer whose ids the model speaks.
    pub fn tokenizer(&self) -> Hash {
        self.tokenizer
    }

    /// The hash of its weights as they are computed with ([`Quantised::hash`]).
    pub fn hash(&self) -> Hash {
        self.hash
    }

    pub(super) fn pages(&self) -> PageShape {
        PageShape::of(&self.config)
    }

    /// Reads the tokens of all parts, whose caches grow by them. Afterwards [`logits`](Self::logits) has those
    /// of the parts that speak, in their order.
    pub(super) fn read(&self, work: &mut Workspace, parts: &mut [Part<'_>]) {
        // The widest of all adapters here; none where all are the base alone.
        let rank = parts.iter().filter_map(|part| Some(part.adapter?.rank())).max();
        self.threads.within(|| Pass { model: self, rank }.run(work, parts));
    }

    /// The logits of a part that spoke.
    pub(super) fn logits(&self, work: &Workspace, speaking: usize, out: &mut Vec<f32>) {
        out.clear();
        let sixteens = work.output[speaking..].iter().step_by(work.speaking);
        out.extend(sixteens.flatten());
        out.truncate(self.config.vocab as usize);
    }
}

/// One pass over a batch.
struct Pass<'a> {
    model: &'a QuantisedDecoder,
    rank: Option<usize>,
}

impl Pass<'_> {
    fn run(&self, work: &mut Workspace, parts: &mut [Part<'_>]) {
        let width = self.model.config.width as usize;
        self.begin(work, parts);
        for (number, layer) in self.model.layers.iter().enumerate() {
            let first = number * LINEARS_PER_LAYER;
            self.norm(work, &layer.norm);
            self.multiply(work, parts, &layer.read, first);
            self.turn(work, parts, (number, layer.read.starts()));
            self.attend(work, parts, number);
            self.multiply(work, parts, &layer.out, first + 3);
            add_rows(&mut work.stream, &work.output, width);
            self.norm(work, &layer.ffn_norm);
            self.multiply(work, parts, &layer.inner, first + 4);
            self.gate(work, layer.inner.starts());
            self.multiply(work, parts, &layer.down, first + 6);
            add_rows(&mut work.stream, &work.output, width);
        }
        for part in parts.iter_mut() {
            part.cache.advance(part.tokens.len());
        }
        self.speak(work, parts);
    }

    /// Which row is what, its embedding, and how far its position turns.
    fn begin(&self, work: &mut Workspace, parts: &[Part<'_>]) {
        let width = self.model.config.width as usize;
        work.rows.clear();
        for (part, of) in parts.iter().enumerate() {
            let places = of.cache.len()..of.cache.len() + of.tokens.len();
            work.rows.extend(places.map(|position| Row { part, position }));
        }
        work.stream.resize(work.rows.len() * width, 0.0);
        let tokens = parts.iter().flat_map(|part| part.tokens);
        for (token, row) in tokens.zip(work.stream.chunks_exact_mut(width)) {
            self.model.embedding.row(*token as usize, row);
        }
        work.turns.clear();
        for row in &work.rows {
            let angles = self.model.frequencies.iter().map(|turn| row.position as f64 * turn);
            work.turns.extend(angles.map(|angle| (angle.cos() as f32, angle.sin() as f32)));
        }
    }

    /// The normed stream becomes what the next map reads.
    fn norm(&self, work: &mut Workspace, gain: &[f32]) {
        let (kernel, epsilon) = (self.model.kernel, self.model.config.norm_epsilon());
        let (stream, width) = (&work.stream, gain.len());
        work.input.resize(stream.len(), 0.0);
        self.model.threads.each(
            (&mut work.input, width),
            FEW_ROWS,
            || (),
            |(), row, out| {
                kernel.run(Norm { row: &stream[row * width..][..width], gain, epsilon, out });
            },
        );
    }

    /// Maps the input; `linear` is the number of the first map.
    fn multiply(&self, work: &mut Workspace, parts: &[Part<'_>], matrix: &Matrix, linear: usize) {
        self.product(&work.input, &mut work.blocks, matrix, &mut work.output);
        let Some(rank) = self.rank else { return };
        for (map, range) in matrix.starts().windows(2).enumerate() {
            self.adapt(work, parts, (linear + map, rank), range);
        }
    }

    /// Adds what adapters add to one map, whose outputs are a range of sixteens.
    fn adapt(
        &self,
        work: &mut Workspace,
        parts: &[Part<'_>],
        (linear, rank): (usize, usize),
        range: &[usize],
    ) {
        let Workspace { rows, input, inner, output, .. } = work;
        let map = |row: &Row| parts[row.part].adapter.and_then(|adapter| adapter.map(linear));
        if rows.iter().all(|row| map(row).is_none()) {
            return;
        }
        let (kernel, threads) = (self.model.kernel, &self.model.threads);
        let (count, width) = (rows.len(), input.len() / rows.len());
        let (rows, input) = (&rows[..], &input[..]);
        inner.resize(count * rank, 0.0);
        threads.each(
            (inner, rank),
            FEW_ROWS,
            || (),
            |(), at, out| {
                if let Some(map) = map(&rows[at]) {
                    kernel.run(Shrink { map, input: &input[at * width..][..width], out });
                }
            },
        );
        let (inner, output) = (&inner[..], &mut output[range[0] * count..range[1] * count]);
        threads.each(
            (output, count),
            FEW_PANELS,
            || (),
            |(), panel, values| {
                let numbered = values.iter_mut().zip(inner.chunks_exact(rank)).zip(rows);
                for ((out, inner), row) in numbered {
                    if let Some(map) = map(row) {
                        kernel.run(Expand { map, panel, inner, out });
                    }
                }
            },
        );
    }

    fn product(
        &self,
        input: &[f32],
        blocks: &mut Vec<Block>,
        matrix: &Matrix,
        output: &mut Vec<Numbers>,
    ) {
        let (kernel, threads) = (self.model.kernel, &self.model.threads);
        let width = matrix.width();
        let values = width * BLOCK;
        blocks.resize(input.len() / values * width, Block::default());
        threads.each(
            (blocks, width),
            FEW_ROWS,
            || (),
            |(), row, out| {
                kernel.run(Quantise { row: &input[row * values..][..values], out });
            },
        );
        let rows = blocks.len() / width;
        output.resize(matrix.panels() * rows, [0.0; LANES]);
        let blocks = &blocks[..];
        threads.each(
            (output, rows),
            FEW_PANELS,
            || (),
            |(), panel, out| {
                kernel.run(Product { panel: matrix.panel(panel), blocks, out });
            },
        );
    }

    /// Turns queries and keys by their positions, and puts keys and values into the caches.
    fn turn(
        &self,
        work: &mut Workspace,
        parts: &mut [Part<'_>],
        (layer, starts): (usize, &[usize]),
    ) {
        let config = &self.model.config;
        let (width, head) = (config.width as usize, config.head_width() as usize);
        let (kv, half) = (config.kv_width() as usize, head / 2);
        let scale = 1.0 / (head as f32).sqrt();
        let rows = work.rows.len();
        work.queries.resize(rows * width, 0.0);
        let (mut keys, mut values) = (vec![0.0; kv], vec![0.0; kv]);
        let mut halves =
            [vec![[0; LANES]; head.div_ceil(LANES)], vec![[0; LANES]; head.div_ceil(LANES)]];
        let places = work.rows.iter().zip(work.turns.chunks_exact(half)).enumerate();
        for ((at, (row, turns)), query) in places.zip(work.queries.chunks_exact_mut(width)) {
            let map = |map: usize| &work.output[starts[map] * rows + at..];
            gather(map(0), rows, query);
            gather(map(1), rows, &mut keys);
            gather(map(2), rows, &mut values);
            query.chunks_exact_mut(head).for_each(|query| turn(query, turns, scale));
            keys.chunks_exact_mut(head).for_each(|key| turn(key, turns, 1.0));
            let pairs = keys.chunks_exact(head).zip(values.chunks_exact(head));
            for (number, (key, value)) in pairs.enumerate() {
                self.model.kernel.run(Shorten { values: key, out: &mut halves[0] });
                self.model.kernel.run(Shorten { values: value, out: &mut halves[1] });
                let place = [layer, number, row.position];
                parts[row.part].cache.put(place, &halves[0], &halves[1]);
            }
        }
    }

    /// What the tokens see becomes what the next map reads.
    fn attend(&self, work: &mut Workspace, parts: &[Part<'_>], layer: usize) {
        let (kernel, config) = (self.model.kernel, &self.model.config);
        let (width, heads) = (config.head_width() as usize, config.kv_heads as usize);
        let group = config.width as usize / heads;
        let (rows, queries) = (&work.rows, &work.queries);
        work.input.resize(queries.len(), 0.0);
        self.model.threads.each(
            (&mut work.input, group),
            FEW_PANELS,
            Vec::new,
            |scores, at, out| {
                let row = rows[at / heads];
                kernel.run(Attend {
                    cache: parts[row.part].cache,
                    layer,
                    head: at % heads,
                    length: row.position + 1,
                    queries: &queries[at * group..][..group],
                    scores,
                    out,
                    width,
                });
            },
        );
    }

    fn gate(&self, work: &mut Workspace, starts: &[usize]) {
        let (kernel, width) = (self.model.kernel, self.model.config.ffn as usize);
        let rows = work.rows.len();
        let (gate, up) = work.output.split_at(starts[1] * rows);
        work.input.resize(rows * width, 0.0);
        self.model.threads.each(
            (&mut work.input, width),
            FEW_ROWS,
            || (),
            |(), row, out| {
                kernel.run(Gate { gate, up, row, rows, out });
            },
        );
    }

    /// Logits behind the last token of each part that speaks.
    fn speak(&self, work: &mut Workspace, parts: &[Part<'_>]) {
        let width = self.model.config.width as usize;
        let (mut end, mut speaking) = (0, 0);
        for part in parts {
            end += part.tokens.len();
            if part.speaks {
                // Those before it are not needed any more.
                work.stream.copy_within((end - 1) * width..end * width, speaking * width);
                speaking += 1;
            }
        }
        work.speaking = speaking;
        if speaking == 0 {
            return;
        }
        work.stream.truncate(speaking * width);
        self.norm(work, &self.model.last_norm);
        let head = self.model.head.as_ref().unwrap_or(&self.model.embedding);
        self.product(&work.input, &mut work.blocks, head, &mut work.output);
    }
}

/// Numbers in half precision, the last vector filled up with zeros.
struct Shorten<'a> {
    values: &'a [f32],
    out: &'a mut [Halves],
}

impl Task for Shorten<'_> {
    type Output = ();

    #[inline(always)]
    fn run<V: Lanes>(self) {
        for (values, out) in self.values.chunks(LANES).zip(self.out) {
            let mut whole = [0.0; LANES];
            whole[..values.len()].copy_from_slice(values);
            *out = V::load(&whole).to_halves();
        }
    }
}

/// Turns the pairs of a head, of which the first halves lie before the second.
fn turn(head: &mut [f32], turns: &[(f32, f32)], scale: f32) {
    let (first, second) = head.split_at_mut(turns.len());
    for ((a, b), (cos, sin)) in first.iter_mut().zip(second).zip(turns) {
        (*a, *b) = ((*a * cos - *b * sin) * scale, (*b * cos + *a * sin) * scale);
    }
}

/// One row of what a map gave, `values` beginning at its first sixteen.
fn gather(values: &[Numbers], rows: usize, out: &mut [f32]) {
    for (out, values) in out.chunks_mut(LANES).zip(values.iter().step_by(rows)) {
        out.copy_from_slice(&values[..out.len()]);
    }
}

/// Adds what a map gave to the stream.
fn add_rows(stream: &mut [f32], output: &[Numbers], width: usize) {
    let rows = stream.len() / width;
    for (at, row) in stream.chunks_exact_mut(width).enumerate() {
        let sixteens = output[at..].iter().step_by(rows);
        for (values, added) in row.chunks_exact_mut(LANES).zip(sixteens) {
            for (value, added) in values.iter_mut().zip(added) {
                *value += added;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::serve::batch::pages::Pool;

    /// Logits behind each piece of a prompt, beside another sequence.
    fn logits(checkpoint: &Checkpoint, kernel: Kernel, threads: usize) -> Vec<u32> {
        let threads = Threads::new(NonZeroUsize::new(threads)).unwrap();
        let model = QuantisedDecoder::pack(&Quantised::of(checkpoint).unwrap(), kernel, threads);
        let mut pool = Pool::new(model.pages(), 1 << 24);
        let mut caches = [pool.promise(31).unwrap(), pool.promise(32).unwrap()];
        let (mut work, mut bits, mut row) = (Workspace::default(), Vec::new(), Vec::new());
        for pieces in [[&[3u32, 200][..], &[7; 19]], [&[9; 20], &[8]], [&[1], &[2, 3, 4]]] {
            let parts = pieces.into_iter().zip(&mut caches).map(|(tokens, cache)| {
                pool.grow(cache, tokens.len());
                Part { adapter: None, tokens, cache, speaks: true }
            });
            let mut parts: Vec<_> = parts.collect();
            model.read(&mut work, &mut parts);
            for speaking in 0..2 {
                model.logits(&work, speaking, &mut row);
                assert!(row.iter().all(|logit| logit.is_finite()));
                bits.extend(row.iter().map(|logit| logit.to_bits()));
            }
        }
        bits
    }

    #[test]
    fn logits_are_the_same_bits_by_any_instructions_on_any_number_of_threads() {
        // Heads of 24 and of 16 values, three and one queries to a key, with and without a head of its own.
        let odd = ModelConfig { width: 96, heads: 4, untied: true, ..ModelConfig::tiny() };
        let grouped = ModelConfig { width: 96, heads: 6, kv_heads: 2, ..ModelConfig::tiny() };
        for config in [ModelConfig::tiny(), odd, grouped] {
            let checkpoint = Checkpoint::init(&config, Hash::ZERO, 5).unwrap();
            let expected = logits(&checkpoint, Kernel::Portable, 1);
            assert_eq!(expected.len(), 6 * 512);
            for kernel in Kernel::all() {
                for threads in [1, 3] {
                    assert!(
                        logits(&checkpoint, kernel, threads) == expected,
                        "{kernel:?} {threads}"
                    );
                }
            }
        }
    }
}
