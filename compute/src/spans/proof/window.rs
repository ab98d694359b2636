//! Windows: consecutive leaves of a committed list, with the siblings of their whole range.

use protocol::Digest;
use protocol::codec::{DecodeError, Reader, Wire, encode_bytes, encode_list};
use protocol::hash::keccak;
use protocol::limits::MAX_TREE_HEIGHT;
use protocol::merkle::{Tree, leaf};

use super::super::format::UNIT;
use super::{Commitment, LEAF, MAX_PROVED_TOKENS, ProofError};

/// Most leaves of one window: a run that starts in the middle of one.
const MAX_LEAVES: u64 = MAX_PROVED_TOKENS as u64 / LEAF + 2;
/// Most bytes of one window, with the widest items.
const MAX_BYTES: usize = (MAX_LEAVES * LEAF * 8) as usize;

/// Consecutive leaves of a list, and the siblings that lead from them to its root.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Window {
    /// The first leaf.
    pub first: u64,
    /// The leaves' bytes, one after the other; only the last leaf of a list may be short.
    pub payload: Vec<u8>,
    /// Bottom-up, and on each level the left before the right, the siblings of the range.
    pub siblings: Vec<Digest>,
}

impl Wire for Window {
    fn encode(&self, out: &mut Vec<u8>) {
        self.first.encode(out);
        encode_bytes(&self.payload, out);
        encode_list(&self.siblings, out);
    }

    fn decode(input: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok(Self {
            first: Wire::decode(input)?,
            payload: input.bytes(MAX_BYTES)?,
            siblings: input.list(2 * MAX_TREE_HEIGHT)?,
        })
    }
}

/// A committed list: its root and shape.
#[derive(Debug, Clone, Copy)]
pub(super) struct Section {
    root: Digest,
    items: u64,
    item_bytes: usize,
    /// Items of one leaf.
    per_leaf: u64,
}

impl Section {
    pub(super) const fn text(commitment: &Commitment) -> Self {
        let item_bytes = commitment.layout.symbol.bytes();
        Self { root: commitment.text, items: commitment.symbols, item_bytes, per_leaf: LEAF }
    }

    pub(super) const fn array(commitment: &Commitment) -> Self {
        let item_bytes = commitment.layout.position.bytes();
        Self { root: commitment.array, items: commitment.symbols, item_bytes, per_leaf: LEAF }
    }

    pub(super) const fn table(commitment: &Commitment) -> Self {
        Self { root: commitment.table, items: commitment.units, item_bytes: UNIT, per_leaf: 1 }
    }

    const fn leaves(&self) -> u64 {
        self.items.div_ceil(self.per_leaf)
    }

    const fn leaf_bytes(&self) -> usize {
        self.per_leaf as usize * self.item_bytes
    }

    /// The tree over the list in `bytes`.
    pub(super) fn tree(bytes: &[u8], leaf_bytes: usize) -> Tree {
        Tree::new(&bytes.chunks(leaf_bytes).collect::<Vec<_>>())
    }

    /// The window over some items, taken from the list's `bytes`; `None` when there are no such
    /// items.
    pub(super) fn window(&self, tree: &Tree, bytes: &[u8], start: u64, end: u64) -> Option<Window> {
        if start >= end || end > self.items {
            return None;
        }
        let (first, last) = (start / self.per_leaf, (end - 1) / self.per_leaf);
        let from = usize::try_from(first).ok()? * self.leaf_bytes();
        let to = bytes.len().min(usize::try_from(last + 1).ok()? * self.leaf_bytes());
        let siblings = range_siblings(tree, self.leaves(), first, last)?;
        Some(Window { first, payload: bytes.get(from..to)?.to_vec(), siblings })
    }

    /// Checks a window against the root.
    pub(super) fn open<'a>(&self, window: &'a Window) -> Result<Opened<'a>, ProofError> {
        let (leaves, leaf_bytes) = (self.leaves(), self.leaf_bytes());
        let payload = &window.payload;
        let found = payload.len().div_ceil(leaf_bytes) as u64;
        let start = window.first.checked_mul(self.per_leaf).ok_or(ProofError::Opening)?;
        let end = window.first.checked_add(found).filter(|&end| end <= leaves);
        let end = end.ok_or(ProofError::Opening)?.saturating_mul(self.per_leaf).min(self.items);
        let items = end.checked_sub(start).ok_or(ProofError::Opening)?;
        let is_whole = items.checked_mul(self.item_bytes as u64) == Some(payload.len() as u64);
        if found == 0 || found > MAX_LEAVES || !is_whole {
            return Err(ProofError::Opening);
        }
        let hashes = payload.chunks(leaf_bytes).map(leaf).collect();
        match root_above(leaves, window.first, hashes, &window.siblings) {
            Some(root) if root == self.root => {
                Ok(Opened { start, item_bytes: self.item_bytes, bytes: payload })
            }
            _ => Err(ProofError::Opening),
        }
    }
}

/// Items that lie under a root.
#[derive(Debug, Clone, Copy)]
pub(super) struct Opened<'a> {
    start: u64,
    item_bytes: usize,
    bytes: &'a [u8],
}

impl<'a> Opened<'a> {
    /// The bytes of an item.
    pub(super) fn item(&self, at: u64) -> Result<&'a [u8], ProofError> {
        let index = at.checked_sub(self.start).and_then(|index| usize::try_from(index).ok());
        let from = index.and_then(|index| index.checked_mul(self.item_bytes));
        let rest = from.and_then(|from| self.bytes.get(from..)).unwrap_or_default();
        rest.get(..self.item_bytes).ok_or(ProofError::Uncovered)
    }

    /// An item as an integer.
    pub(super) fn int(&self, at: u64) -> Result<u64, ProofError> {
        let bytes = self.item(at)?;
        Ok(bytes.iter().fold(0, |int, &byte| int << 8 | u64::from(byte)))
    }
}

fn parent(left: &Digest, right: &Digest) -> Digest {
    keccak(&[&[1], &left.0, &right.0])
}

/// The root above consecutive leaves; `None` when the siblings don't fit the shape of the tree.
fn root_above(
    count: u64,
    first: u64,
    mut nodes: Vec<Digest>,
    siblings: &[Digest],
) -> Option<Digest> {
    let (mut position, mut width) = (first, count);
    let mut siblings = siblings.iter();
    while width > 1 {
        if position & 1 == 1 {
            nodes.insert(0, *siblings.next()?);
            position -= 1;
        }
        let end = position + nodes.len() as u64;
        if end & 1 == 1 && end < width {
            nodes.push(*siblings.next()?);
        }
        // An odd last node is promoted unchanged.
        let above = |pair: &[Digest]| match pair {
            [left, right] => Some(parent(left, right)),
            lone => lone.first().copied(),
        };
        nodes = nodes.chunks(2).filter_map(above).collect();
        position >>= 1;
        width = width.div_ceil(2);
    }
    let top = nodes.first()?;
    siblings.next().is_none().then(|| keccak(&[&[2], &count.to_be_bytes(), &top.0]))
}

/// The siblings of leaves `first..=last`, in the order in which [`root_above`] takes them.
fn range_siblings(tree: &Tree, count: u64, first: u64, last: u64) -> Option<Vec<Digest>> {
    let (mut left, mut right) = (tree.prove(first)?.into_iter(), tree.prove(last)?.into_iter());
    let (mut first, mut last, mut width) = (first, last, count);
    let mut siblings = Vec::new();
    while width > 1 {
        let is_lone = |position: u64| position + 1 == width && width & 1 == 1;
        let (before, after) = (
            if is_lone(first) { None } else { left.next() },
            if is_lone(last) { None } else { right.next() },
        );
        siblings.extend(before.filter(|_| first & 1 == 1));
        siblings.extend(after.filter(|_| last & 1 == 0));
        (first, last, width) = (first >> 1, last >> 1, width.div_ceil(2));
    }
    Some(siblings)
}
