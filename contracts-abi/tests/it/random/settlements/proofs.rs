//! Proofs that a proposal is false, some of which show nothing.

use alloy::primitives::{Address, B256, U256};

use super::super::driver::{Done, Draw, Encoded, need};
use super::tree::{Leaf, Tree, sum_node};
use super::{Rivals, Told};
use crate::contracts::world::Settlements;

/// What somebody sends against a proposal, out of its tree or another's.
#[derive(Clone, Debug)]
pub(crate) enum Proof {
    Sum { tree: Told, level: usize, place: usize },
    Total { tree: Told },
    Leaf { tree: Told, place: usize },
    Order { tree: Told, left: usize, right: usize },
    Loss { before: Told, of: usize, tree: Told, found: Vec<usize> },
}

impl Proof {
    /// One that shows how something is false, or any.
    pub(super) fn drawn(draw: &mut Draw, model: &Rivals, told: &Told) -> Self {
        let tree = if draw.one_in(8) { model.any(draw, |_| true) } else { told.clone() };
        let last = model.settled.last().cloned();
        if !draw.one_in(3)
            && let Some(proof) = Self::of_what_is_false(draw, last.as_ref(), &tree)
        {
            return proof;
        }
        let leaves = tree.leaves.len();
        let any = |draw: &mut Draw| draw.below(leaves.max(1));
        match draw.below(5) {
            0 => {
                let pairs = tree.tree().pairs();
                let pair = if pairs.is_empty() { (0, 0) } else { draw.of(&pairs) };
                Self::Sum { tree, level: pair.0, place: pair.1 }
            }
            1 => Self::Total { tree },
            2 => Self::Leaf { place: any(draw), tree },
            3 => Self::Order { left: any(draw), right: any(draw), tree },
            _ => {
                let before = last.filter(|_| !draw.one_in(8));
                let before = before.unwrap_or_else(|| model.any(draw, |_| true));
                let (of, first) = (draw.below(before.leaves.len().max(1)), any(draw));
                let account = before.leaves.get(of).map(|leaf| leaf.0);
                let place = tree.leaves.iter().position(|leaf| Some(leaf.0) == account);
                let found = match (draw.below(6), place) {
                    _ if leaves == 0 => vec![],
                    (0, _) => vec![],
                    (1, _) => vec![first],
                    (2, _) => vec![first, (first + 1).min(leaves - 1)],
                    // Where it stands between two, or first or last.
                    (3 | 4, Some(place)) if place > 0 && place + 1 < leaves => {
                        vec![place - 1, place + 1]
                    }
                    (3 | 4, Some(place)) => vec![if place == 0 { leaves - 1 } else { 0 }],
                    _ => vec![first, any(draw)],
                };
                Self::Loss { of, before, tree, found }
            }
        }
    }

    fn of_what_is_false(draw: &mut Draw, last: Option<&Told>, told: &Told) -> Option<Self> {
        let tree = told.clone();
        if let Some((level, place, _)) = told.crooked {
            return Some(match level {
                0 => Self::Leaf { tree, place },
                _ => Self::Sum { tree, level, place },
            });
        }
        let leaves = &told.leaves;
        let disorder = leaves.windows(2).position(|pair| pair[0].0 >= pair[1].0);
        if let Some(left) = disorder {
            return Some(Self::Order { tree, left, right: left + 1 });
        }
        if told.total != told.sum() {
            return Some(Self::Total { tree });
        }
        let before = last?.clone();
        let is_less = |(account, free, lane): &Leaf| {
            let now = leaves.iter().find(|now| now.0 == *account);
            now.is_none_or(|now| now.1 < *free || now.2 < *lane)
        };
        let losers: Vec<_> =
            (0..before.leaves.len()).filter(|of| is_less(&before.leaves[*of])).collect();
        let of = if losers.is_empty() { return None } else { draw.of(&losers) };
        let account = before.leaves[of].0;
        let found = match leaves.iter().position(|leaf| leaf.0 >= account) {
            _ if leaves.is_empty() => vec![],
            Some(place) if leaves[place].0 == account => vec![place],
            Some(0) => vec![0],
            Some(place) => vec![place - 1, place],
            None => vec![leaves.len() - 1],
        };
        Some(Self::Loss { before, of, tree, found })
    }

    /// Whether it shows that a proposal is false.
    pub(super) fn shows(&self, model: &Rivals, told: &Told) -> Done {
        let root = told.tree().root();
        match self {
            Self::Sum { tree, level, place } => {
                let is_here = tree.crooked.is_some_and(|(l, p, _)| (l, p) == (*level, *place));
                need(*level > 0 && is_here, "Unfounded")?;
                need(tree.tree().root() == root, "RootMismatch")
            }
            Self::Total { .. } if root == B256::ZERO => need(told.total != 0, "Unfounded"),
            Self::Total { tree } => {
                need(tree.tree().top().1 != told.total, "Unfounded")?;
                need(tree.tree().root() == root, "RootMismatch")
            }
            Self::Leaf { tree, place } => {
                let is_here = tree.crooked.is_some_and(|(l, p, _)| (l, p) == (0, *place));
                need(is_here, "Unfounded")?;
                need(tree.tree().root() == root, "RootMismatch")
            }
            Self::Order { tree, left, right } => {
                stands(root, tree, *left)?;
                stands(root, tree, *right)?;
                let is_wrong = tree.leaves[*left].0 >= tree.leaves[*right].0;
                need(left + 1 == *right && is_wrong, "Unfounded")
            }
            Self::Loss { before, of, tree, found } => {
                need(told.parent == model.last_id(), "Unfounded")?;
                let last = model.settled.last().map_or(B256::ZERO, |last| last.tree().root());
                stands(last, before, *of)?;
                found.iter().try_for_each(|place| stands(root, tree, *place))?;
                let is_lost = is_lost(&before.leaves[*of], told, &tree.leaves, found);
                need(is_lost, "Unfounded")
            }
        }
    }

    pub(super) fn encode(&self, at: Address, told: &Told) -> Encoded {
        let settlement = told.abi();
        match self {
            Self::Sum { tree, level, place } => {
                let tree = tree.tree();
                let (sum, below) = match level {
                    0 => (1, [(B256::ZERO, 0); 2]),
                    _ => {
                        let below = [0, 1].map(|right| tree.node(level - 1, 2 * place + right));
                        (tree.node(*level, *place).1, below)
                    }
                };
                let [left, right] = below.map(sum_node);
                let siblings = if *level == 0 { vec![] } else { tree.siblings(*level, *place) };
                let (level, index) = (U256::from(*level), *place as u64);
                let count = tree.count();
                let call = Settlements::challengeSumCall {
                    settlement,
                    level,
                    index,
                    count,
                    sum,
                    left,
                    right,
                    siblings,
                };
                Encoded::new("Settlements.challengeSum", at, &call)
            }
            Self::Total { tree } => {
                let (top, count) = (sum_node(tree.tree().top()), tree.tree().count());
                let call = Settlements::challengeTotalCall { settlement, count, top };
                Encoded::new("Settlements.challengeTotal", at, &call)
            }
            Self::Leaf { tree, place } => {
                let (leaf, sum) = match tree.leaves.get(*place) {
                    Some(_) => (placed(tree, *place), tree.tree().node(0, *place).1),
                    None => (placed(tree, *place), 1),
                };
                let count = tree.tree().count();
                let call = Settlements::challengeLeafCall { settlement, count, leaf, sum };
                Encoded::new("Settlements.challengeLeaf", at, &call)
            }
            Self::Order { tree, left, right } => {
                let (left, right) = (placed(tree, *left), placed(tree, *right));
                let count = tree.tree().count();
                let call = Settlements::challengeOrderCall { settlement, count, left, right };
                Encoded::new("Settlements.challengeOrder", at, &call)
            }
            Self::Loss { before, of, tree, found } => {
                let call = Settlements::challengeLossCall {
                    settlement,
                    countBefore: before.tree().count(),
                    before: placed(before, *of),
                    count: tree.tree().count(),
                    found: found.iter().map(|place| placed(tree, *place)).collect(),
                };
                Encoded::new("Settlements.challengeLoss", at, &call)
            }
        }
    }
}

/// A leaf in its place; where there is none, one of nobody's.
fn placed(told: &Told, place: usize) -> Settlements::Leaf {
    let tree: Tree = told.tree();
    if told.leaves.is_empty() {
        let (account, free, lane, index, siblings) = (1, 1, 0, 0, vec![]);
        return Settlements::Leaf { account, free, lane, index, siblings };
    }
    tree.place(&told.leaves, place)
}

/// Requires that a leaf of a tree stands under a root. The sums on its way are computed anew, so that what is
/// crooked there is straight in the proof; what is crooked beside its way is believed.
fn stands(root: B256, told: &Told, place: usize) -> Done {
    need(!told.leaves.is_empty(), "BadPath")?;
    let is_under = told.crooked.is_some_and(|(level, of, _)| place >> level == of);
    let crooked = told.crooked.filter(|_| !is_under);
    let shown = Told { crooked, ..told.clone() };
    need(shown.tree().root() == root, "RootMismatch")
}

/// Whether what was found shows that an account has less than before, or stands nowhere.
fn is_lost(before: &Leaf, told: &Told, leaves: &[Leaf], found: &[usize]) -> bool {
    let account = before.0;
    match found {
        [] => told.leaves.is_empty(),
        [place] => {
            let leaf = leaves[*place];
            if leaf.0 == account {
                return leaf.1 < before.1 || leaf.2 < before.2;
            }
            *place == 0 && account < leaf.0 || place + 1 == leaves.len() && account > leaf.0
        }
        [first, second, ..] => {
            first + 1 == *second && leaves[*first].0 < account && account < leaves[*second].0
        }
    }
}
