//! Merkle trees that contracts verify: keccak-256, leaf and node separated, count in the root.
//!
//! * plain: leaf `keccak(0x00 ‖ payload)`, node `keccak(0x01 ‖ left ‖ right)`;
//! * sum: each node carries a `u128`; leaf hash as above, node
//!   `keccak(0x01 ‖ left ‖ left sum ‖ right ‖ right sum)`.
//!
//! An odd last node is promoted unchanged. The root binds the number of leaves:
//! `keccak(0x02 ‖ u64 count ‖ top [‖ u128 sum])`; the root of no leaves is zero. Because the count
//! is bound, a verifier knows the shape of the tree and a proof is only its siblings.

use alloc::vec::Vec;

use crate::{
    codec::{DecodeError, Reader, Wire, encode_list},
    hash::keccak,
    ids::Digest,
    limits::MAX_TREE_HEIGHT,
};

/// A node of a Merkle-sum tree; plain trees leave the sum at zero and do not hash it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SumNode {
    /// The hash of the node.
    pub hash: Digest,
    /// The sum of the leaves below it.
    pub sum: u128,
}

impl Wire for SumNode {
    fn encode(&self, out: &mut Vec<u8>) {
        self.hash.encode(out);
        self.sum.encode(out);
    }
    fn decode(input: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok(Self { hash: Wire::decode(input)?, sum: Wire::decode(input)? })
    }
}

/// The hash of a leaf.
pub fn leaf(payload: &[u8]) -> Digest {
    keccak(&[&[0], payload])
}

/// The plain root over the payloads of all leaves.
pub fn root<P: AsRef<[u8]>>(payloads: &[P]) -> Digest {
    Tree::new(payloads).root()
}

/// A plain Merkle tree, all levels kept, for making proofs.
#[derive(Debug, Clone)]
pub struct Tree(Levels<Digest>);

impl Tree {
    /// Builds the tree over payloads.
    pub fn new<P: AsRef<[u8]>>(payloads: &[P]) -> Self {
        let leaves = payloads.iter().map(|payload| leaf(payload.as_ref())).collect();
        Self(Levels::build(leaves, |l, r| keccak(&[&[1], &l.0, &r.0])))
    }

    /// The root, which binds the number of leaves; zero where there are none.
    pub fn root(&self) -> Digest {
        self.0.top().map_or(Digest::ZERO, |top| plain_root(self.0.count(), top))
    }

    /// The siblings of a leaf, bottom-up; `None` when there is no such leaf.
    pub fn prove(&self, index: u64) -> Option<Vec<Digest>> {
        self.0.prove(index)
    }
}

fn plain_root(count: u64, top: &Digest) -> Digest {
    keccak(&[&[2], &count.to_be_bytes(), &top.0])
}

/// Whether `payload` is leaf `index` of the `count` leaves under `root`.
pub fn verify(root: &Digest, count: u64, index: u64, payload: &[u8], path: &[Digest]) -> bool {
    climb(count, index, leaf(payload), path, |l, r| keccak(&[&[1], &l.0, &r.0]))
        .is_some_and(|top| plain_root(count, &top) == *root)
}

/// A Merkle-sum tree, all levels kept, for making proofs.
#[derive(Debug, Clone)]
pub struct SumTree(Levels<SumNode>);

impl SumTree {
    /// Builds the tree over (payload, value) leaves.
    pub fn new<P: AsRef<[u8]>>(leaves: &[(P, u128)]) -> Self {
        let leaves =
            leaves.iter().map(|(p, sum)| SumNode { hash: leaf(p.as_ref()), sum: *sum }).collect();
        Self(Levels::build(leaves, sum_parent))
    }

    /// The root, which binds number and sum of the leaves; zero where there are none.
    pub fn root(&self) -> Digest {
        self.0.top().map_or(Digest::ZERO, |top| sum_root(self.0.count(), top))
    }

    /// The node below the root; `None` where there are no leaves.
    pub fn top(&self) -> Option<SumNode> {
        self.0.top().copied()
    }

    /// The sum of all leaves.
    pub fn sum(&self) -> u128 {
        self.0.top().map_or(0, |top| top.sum)
    }

    /// The siblings of a leaf, bottom-up; `None` when there is no such leaf.
    pub fn prove(&self, index: u64) -> Option<Vec<SumNode>> {
        self.0.prove(index)
    }
}

fn sum_parent(l: &SumNode, r: &SumNode) -> SumNode {
    SumNode {
        hash: keccak(&[&[1], &l.hash.0, &l.sum.to_be_bytes(), &r.hash.0, &r.sum.to_be_bytes()]),
        sum: l.sum.saturating_add(r.sum),
    }
}

fn sum_root(count: u64, top: &SumNode) -> Digest {
    keccak(&[&[2], &count.to_be_bytes(), &top.hash.0, &top.sum.to_be_bytes()])
}

/// Whether (`payload`, `value`) is leaf `index` of the `count` leaves under a sum `root`; gives the
/// sum of all leaves to the left of it, and of all leaves.
pub fn verify_sum(
    root: &Digest,
    count: u64,
    index: u64,
    payload: &[u8],
    value: u128,
    path: &[SumNode],
) -> Option<(u128, u128)> {
    let (mut before, mut total) = (0u128, value);
    let mut position = index;
    let mut width = count;
    let mut siblings = path.iter();
    // The left siblings on the way up cover exactly the leaves to the left.
    while width > 1 {
        let lone = position.checked_add(1) == Some(width) && width & 1 == 1;
        if !lone {
            let sibling = siblings.next()?;
            // More than any amount can be is no sum; the tree itself would stop at the greatest one.
            total = total.checked_add(sibling.sum)?;
            if position & 1 == 1 {
                before = before.checked_add(sibling.sum)?;
            }
        }
        position >>= 1;
        width = width.div_ceil(2);
    }
    let start = SumNode { hash: leaf(payload), sum: value };
    let top = climb(count, index, start, path, sum_parent)?;
    (sum_root(count, &top) == *root).then_some((before, top.sum))
}

/// Folds a path from a leaf to the top; `None` when the path does not fit the shape of the tree.
fn climb<N: Clone>(
    count: u64,
    index: u64,
    start: N,
    path: &[N],
    parent: impl Fn(&N, &N) -> N,
) -> Option<N> {
    if index >= count || path.len() > MAX_TREE_HEIGHT {
        return None;
    }
    let (mut node, mut position, mut width) = (start, index, count);
    let mut siblings = path.iter();
    while width > 1 {
        let lone = position.checked_add(1) == Some(width) && width & 1 == 1;
        if !lone {
            let sibling = siblings.next()?;
            node = if position & 1 == 1 { parent(sibling, &node) } else { parent(&node, sibling) };
        }
        position >>= 1;
        width = width.div_ceil(2);
    }
    siblings.next().is_none().then_some(node)
}

/// All levels of a binary tree, leaves first.
#[derive(Debug, Clone)]
struct Levels<N>(Vec<Vec<N>>);

impl<N: Clone> Levels<N> {
    fn build(leaves: Vec<N>, parent: impl Fn(&N, &N) -> N) -> Self {
        let mut levels = Vec::new();
        let mut current = leaves;
        while current.len() > 1 {
            let above = current
                .chunks(2)
                .filter_map(|pair| match pair {
                    [l, r] => Some(parent(l, r)),
                    [lone] => Some(lone.clone()),
                    _ => None,
                })
                .collect();
            levels.push(core::mem::replace(&mut current, above));
        }
        levels.push(current);
        Self(levels)
    }

    fn count(&self) -> u64 {
        self.0.first().map_or(0, |leaves| leaves.len() as u64)
    }

    fn top(&self) -> Option<&N> {
        self.0.last().and_then(|level| level.first())
    }

    fn prove(&self, index: u64) -> Option<Vec<N>> {
        let mut position = usize::try_from(index).ok()?;
        self.0.first()?.get(position)?;
        let mut path = Vec::new();
        for level in self.0.split_last().map_or(&[][..], |(_, below)| below) {
            if let Some(sibling) = level.get(position ^ 1) {
                path.push(sibling.clone());
            }
            position >>= 1;
        }
        Some(path)
    }
}

/// A leaf's place under a root: index, count and siblings, as records carry it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Path {
    /// Position of the leaf.
    pub index: u64,
    /// Number of leaves.
    pub count: u64,
    /// The sibling on each level from the leaf up, none where a node has no sibling.
    pub siblings: Vec<Digest>,
}

impl Path {
    /// The path of the only leaf of a tree.
    pub const fn single() -> Self {
        Self { index: 0, count: 1, siblings: Vec::new() }
    }

    /// The root above `payload`; `None` when the path has an impossible shape.
    pub fn root_above(&self, payload: &[u8]) -> Option<Digest> {
        let parent = |l: &Digest, r: &Digest| keccak(&[&[1], &l.0, &r.0]);
        climb(self.count, self.index, leaf(payload), &self.siblings, parent)
            .map(|top| plain_root(self.count, &top))
    }
}

impl Wire for Path {
    fn encode(&self, out: &mut Vec<u8>) {
        self.index.encode(out);
        self.count.encode(out);
        encode_list(&self.siblings, out);
    }
    fn decode(input: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok(Self {
            index: Wire::decode(input)?,
            count: Wire::decode(input)?,
            siblings: input.list(MAX_TREE_HEIGHT)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use alloc::vec;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_root_of_three_leaves_by_hand() {
        let parent = |l: Digest, r: Digest| keccak(&[&[1], &l.0, &r.0]);
        let top = parent(parent(leaf(b"a"), leaf(b"b")), leaf(b"c"));
        let expected = keccak(&[&[2], &3u64.to_be_bytes(), &top.0]);
        assert_eq!(root(&[b"a", b"b", b"c"]), expected);
        assert_eq!(root::<&[u8]>(&[]), Digest::ZERO);
    }

    proptest! {
        #[test]
        fn every_leaf_is_proved_and_nothing_else(
            payloads in proptest::collection::vec(any::<u64>(), 1..70),
            flip in any::<prop::sample::Index>(),
        ) {
            let bytes: Vec<_> = payloads.iter().map(|p| p.to_be_bytes()).collect();
            let tree = Tree::new(&bytes);
            let count = bytes.len() as u64;
            for (i, payload) in bytes.iter().enumerate() {
                let mut path = tree.prove(i as u64).unwrap();
                prop_assert!(verify(&tree.root(), count, i as u64, payload, &path));
                prop_assert!(!verify(&tree.root(), count, i as u64, b"other", &path));
                prop_assert!(!verify(&tree.root(), count + 1, i as u64, payload, &path));
                if !path.is_empty() {
                    let at = flip.index(path.len());
                    path[at].0[0] ^= 1;
                    prop_assert!(!verify(&tree.root(), count, i as u64, payload, &path));
                }
            }
        }

        #[test]
        fn a_sum_proof_gives_what_lies_before_and_in_all(
            values in proptest::collection::vec(0u64..1000, 1..50),
        ) {
            let leaves: Vec<_> =
                values.iter().enumerate().map(|(i, v)| (vec![i as u8], u128::from(*v))).collect();
            let tree = SumTree::new(&leaves);
            let total: u128 = leaves.iter().map(|(_, v)| v).sum();
            prop_assert_eq!(tree.sum(), total);
            let mut before = 0;
            for (i, (payload, value)) in leaves.iter().enumerate() {
                let path = tree.prove(i as u64).unwrap();
                let check = |v| {
                    verify_sum(&tree.root(), leaves.len() as u64, i as u64, payload, v, &path)
                };
                prop_assert_eq!(check(*value), Some((before, total)));
                prop_assert_eq!(check(*value + 1), None);
                before += value;
            }
        }
    }
}
