//! Keys and values of past tokens, in pages of sixteen positions.
//!
//! What a sequence may ever need is promised to it when it enters, so that none stops half-way for want of
//! memory; pages are taken as it grows and come back when it leaves. Numbers are of half precision. A page
//! that comes back is not cleared: nothing beyond a sequence's length is ever read.

use super::kernel::lanes::{Halves, LANES};
use crate::model::ModelConfig;

/// Positions of one page.
pub(super) const POSITIONS: usize = LANES;

/// Sizes of a page.
#[derive(Clone, Copy, Debug)]
pub(super) struct PageShape {
    layers: usize,
    kv_heads: usize,
    /// Width of a head.
    head: usize,
    /// The same in whole vectors.
    vectors: usize,
}

impl PageShape {
    pub(super) fn of(config: &ModelConfig) -> Self {
        let head = config.head_width() as usize;
        let (layers, kv_heads) = (config.layers as usize, config.kv_heads as usize);
        Self { layers, kv_heads, head, vectors: head.div_ceil(LANES) }
    }

    /// Vectors of one head in one layer: keys by dimension, then values by position.
    const fn of_head(&self) -> usize {
        self.head + self.vectors * POSITIONS
    }

    const fn of_page(&self) -> usize {
        self.layers * self.kv_heads * self.of_head()
    }

    /// Bytes of one page.
    pub(super) const fn bytes(&self) -> u64 {
        (self.of_page() * size_of::<Halves>()) as u64
    }

    /// Bytes that so many positions need.
    pub(super) fn bytes_of(&self, positions: usize) -> u64 {
        positions.div_ceil(POSITIONS) as u64 * self.bytes()
    }
}

type Page = Box<[Halves]>;

/// What one sequence has read.
pub(super) struct Cache {
    shape: PageShape,
    pages: Vec<Page>,
    /// Pages that it may have.
    promised: usize,
    /// Positions that hold a token.
    length: usize,
}

impl Cache {
    /// Tokens read so far.
    pub(super) fn len(&self) -> usize {
        self.length
    }

    /// Counts tokens whose keys and values were written in all layers.
    pub(super) fn advance(&mut self, tokens: usize) {
        self.length += tokens;
        assert!(
            self.length <= self.pages.len() * POSITIONS,
            "pages are taken before they are written"
        );
    }

    /// Where a head of a layer lies in a page.
    fn at(&self, layer: usize, head: usize) -> usize {
        (layer * self.shape.kv_heads + head) * self.shape.of_head()
    }

    /// Keys of one page: of each dimension, sixteen positions.
    pub(super) fn keys(&self, page: usize, layer: usize, head: usize) -> &[Halves] {
        &self.pages[page][self.at(layer, head)..][..self.shape.head]
    }

    /// Values of one page: of each position, sixteen dimensions from `16 · vector` on.
    pub(super) fn values(
        &self,
        page: usize,
        layer: usize,
        head: usize,
        vector: usize,
    ) -> &[Halves] {
        let at = self.at(layer, head) + self.shape.head + vector * POSITIONS;
        &self.pages[page][at..][..POSITIONS]
    }

    /// Puts key and value of one position down, both in vectors of which the last is filled up.
    pub(super) fn put(
        &mut self,
        [layer, head, position]: [usize; 3],
        key: &[Halves],
        value: &[Halves],
    ) {
        let (at, slot) = (self.at(layer, head), position % POSITIONS);
        let page = &mut self.pages[position / POSITIONS][at..][..self.shape.of_head()];
        let (keys, values) = page.split_at_mut(self.shape.head);
        for (to, half) in keys.iter_mut().zip(key.as_flattened()) {
            to[slot] = *half;
        }
        for (to, halves) in values.chunks_exact_mut(POSITIONS).zip(value) {
            to[slot] = *halves;
        }
    }
}

/// All pages that may exist, of which some are promised.
pub(super) struct Pool {
    shape: PageShape,
    limit: usize,
    promised: usize,
    free: Vec<Page>,
}

/// Why there is no cache.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Short {
    /// More than there is in all.
    Ever,
    /// More than is free now, which is so many bytes.
    Now(u64),
}

impl Pool {
    /// As many pages as fit into so many bytes; none is allocated yet.
    pub(super) fn new(shape: PageShape, bytes: u64) -> Self {
        let limit = usize::try_from(bytes / shape.bytes()).unwrap_or(usize::MAX);
        Self { shape, limit, promised: 0, free: Vec::new() }
    }

    /// Promises room for so many positions.
    pub(super) fn promise(&mut self, positions: usize) -> Result<Cache, Short> {
        let pages = positions.div_ceil(POSITIONS);
        let left = self.limit - self.promised;
        if pages > self.limit {
            return Err(Short::Ever);
        }
        if pages > left {
            return Err(Short::Now(left as u64 * self.shape.bytes()));
        }
        self.promised += pages;
        Ok(Cache { shape: self.shape, pages: Vec::new(), promised: pages, length: 0 })
    }

    /// Takes pages for so many further tokens.
    pub(super) fn grow(&mut self, cache: &mut Cache, tokens: usize) {
        let needed = (cache.length + tokens).div_ceil(POSITIONS);
        assert!(needed <= cache.promised, "a sequence is promised all that it may read");
        while cache.pages.len() < needed {
            let fresh = || vec![[0; LANES]; self.shape.of_page()].into_boxed_slice();
            let page = self.free.pop().unwrap_or_else(fresh);
            cache.pages.push(page);
        }
    }

    /// Takes everything back.
    pub(super) fn take_back(&mut self, cache: Cache) {
        self.promised -= cache.promised;
        self.free.extend(cache.pages);
    }

    /// Bytes that are promised to sequences.
    pub(super) fn promised_bytes(&self) -> u64 {
        self.promised as u64 * self.shape.bytes()
    }
}
