//! Everything that any key can send about settlements.

use std::collections::BTreeMap;

use alloy::sol_types::SolCall;
use protocol::chain::{Challenge, DatanetUse, PayoutLeaf, ProposalAct, Settlement, Transaction};
use protocol::codec::Wire;
use protocol::merkle::SumNode;
use protocol::settle::{Outcome, payout_tree, refute};
use protocol::{AccountId, Amount, Balance, DatanetId, Digest, EvmAddress};

use super::lies::{Lie, tell};
use super::network::{BANK, Draw, HONEST, Network, THIEVES};
use crate::contracts::settlements::abi_of;
use crate::contracts::world::{Settlements, sum_nodes};

/// What they are up to in one sequence.
pub(super) struct Thieves {
    told: BTreeMap<Digest, (Lie, Settlement)>,
    /// Lies that they can still afford.
    lies: usize,
    /// Objections to what is right that they can.
    objections: usize,
    /// Of a hundred blocks, in how many each does something.
    zeal: usize,
}

impl Thieves {
    pub(super) fn new(draw: &mut Draw) -> Self {
        let told = BTreeMap::new();
        Self { told, lies: draw.below(7), objections: draw.below(4), zeal: draw.of(&[20, 60, 95]) }
    }

    /// How something that they told is false.
    pub(super) fn kind_of(&self, id: &Digest) -> Lie {
        self.told.get(id).expect("thieves alone tell lies").0
    }

    /// Submits some of what they can for the next block; how many transactions.
    pub(super) fn act(&mut self, network: &mut Network, right: &Outcome) -> usize {
        let mut sent = 0;
        // Most of what is false comes at once, before anybody else is there.
        let tries = if network.view.proposals(right.settlement.epoch).count() == 0 { 6 } else { 3 };
        for _ in 0..tries {
            if network.draw.is_in(self.zeal)
                && let Some((from, transaction)) = self.think(network, right)
            {
                network.chain.submit(from, &transaction);
                network.history.push((from, transaction));
                sent += 1;
            }
        }
        if network.draw.is_in(10) {
            sent += self.forge(network, right);
        }
        sent
    }

    fn think(
        &mut self,
        network: &mut Network,
        right: &Outcome,
    ) -> Option<(EvmAddress, Transaction)> {
        let account = network.draw.of(&THIEVES);
        let from = network.operator(account);
        let good = right.settlement;
        let transaction = match network.draw.below(12) {
            0..=3 => {
                let settlement = self.lie(network, right)?;
                Transaction::Propose { proposer: account, settlement }
            }
            4 => Transaction::Propose { proposer: account, settlement: good },
            5 => {
                let is_right = self.objections > 0 && network.draw.is_in(50);
                self.objections -= usize::from(is_right);
                let settlement = if is_right { good } else { self.any_told(network)? };
                let act = ProposalAct::Object { account, reason: Digest::ZERO };
                Transaction::AboutProposal { settlement, act }
            }
            6 | 7 => {
                let settlement =
                    if network.draw.is_in(70) { good } else { self.any_told(network)? };
                let act = ProposalAct::Challenge(self.proof(network, right)?);
                Transaction::AboutProposal { settlement, act }
            }
            8 => {
                let is_right = network.draw.is_in(50);
                let settlement = if is_right { good } else { self.any_told(network)? };
                let used = DatanetUse { datanet: DatanetId(1), shards: 1, outputs: 0 };
                let uses = if network.draw.is_in(80) { right.uses.clone() } else { vec![used] };
                Transaction::AboutProposal { settlement, act: ProposalAct::Finalise { uses } }
            }
            9 => match network.draw.below(3) {
                0 => Transaction::CloseContested { number: network.draw.below(4) as u64 },
                1 => Transaction::AboutProposal { settlement: good, act: ProposalAct::Close },
                _ => {
                    let act = ProposalAct::Rule { uphold: true };
                    Transaction::AboutProposal { settlement: good, act }
                }
            },
            10 => self.foreign(network, right, account),
            _ => {
                let place = network.draw.below(network.history.len().max(1));
                return network.history.get(place).cloned();
            }
        };
        Some((from, transaction))
    }

    fn lie(&mut self, network: &mut Network, right: &Outcome) -> Option<Settlement> {
        self.lies = self.lies.checked_sub(1)?;
        let told = tell(&mut network.draw, right, &network.balances)?;
        if let Some(list) = told.published {
            network.published.insert(told.settlement.payout_root, list);
        }
        self.told.insert(told.settlement.id(), (told.lie, told.settlement));
        Some(told.settlement)
    }

    fn any_told(&self, network: &mut Network) -> Option<Settlement> {
        let place = network.draw.below(self.told.len().max(1));
        self.told.values().nth(place).map(|(_, settlement)| *settlement)
    }

    /// What the contract refuses to take: of another epoch, parent or records, or in another's name.
    fn foreign(&self, network: &mut Network, right: &Outcome, account: AccountId) -> Transaction {
        let good = right.settlement;
        let digest = network.draw.digest();
        let (proposer, settlement) = match network.draw.below(5) {
            0 => (account, Settlement { epoch: good.epoch.next(), ..good }),
            1 => (account, Settlement { parent: digest, ..good }),
            2 => (account, Settlement { records: digest, ..good }),
            3 => (account, Settlement { total: Amount(u128::MAX), ..good }),
            _ => (HONEST, good),
        };
        Transaction::Propose { proposer, settlement }
    }

    /// A proof that is true of some lie, or of nothing, or nearly true.
    fn proof(&self, network: &mut Network, right: &Outcome) -> Option<Challenge> {
        let published: Vec<_> = network.published.values().cloned().collect();
        let lists: Vec<&[_]> = published.iter().map(Vec::as_slice).collect();
        let about = self.any_told(network);
        let known = about.and_then(|told| refute(&told, &network.balances, &lists));
        let draw = &mut network.draw;
        let mut challenge = match known {
            Some(challenge) if draw.is_in(60) => challenge,
            _ => of_the_right(draw, right, &network.balances)?,
        };
        if draw.is_in(40) {
            spoil(draw, &mut challenge);
        }
        Some(challenge)
    }

    /// The challenges that no list of balances gives, with what stands in the right tree.
    fn forge(&self, network: &mut Network, right: &Outcome) -> usize {
        let tree = payout_tree(&right.leaves);
        let place = network.draw.below(right.leaves.len().max(1)) as u64;
        let Some((account, balance)) = right.leaves.get(place as usize) else { return 0 };
        let siblings = tree.prove(place).expect("it is there");
        let Some(beside) = siblings.first() else { return 0 };
        let count = right.leaves.len() as u64;
        let sum = balance.total().0;
        let hash = protocol::merkle::leaf(&(*account, *balance).to_bytes());
        let leaf = SumNode { hash, sum };
        let pair = if place & 1 == 1 { [*beside, leaf] } else { [leaf, *beside] };
        let [left, right_one] = sum_nodes!(Settlements, &pair).try_into().expect("two");
        let more = network.draw.below(2) as u128;
        let settlement = abi_of(&right.settlement);
        let of_leaf = Settlements::challengeLeafCall {
            settlement: settlement.clone(),
            count,
            leaf: Settlements::Leaf {
                account: account.0,
                free: balance.free.0 - more.min(balance.free.0),
                lane: balance.lane.0,
                index: place,
                siblings: sum_nodes!(Settlements, &siblings),
            },
            sum,
        };
        let of_node = Settlements::challengeSumCall {
            settlement,
            level: alloy::primitives::U256::from(1),
            index: place >> 1,
            count,
            sum: pair[0].sum.saturating_add(pair[1].sum).saturating_add(more),
            left,
            right: right_one,
            siblings: sum_nodes!(Settlements, &siblings[1..]),
        };
        let at = network.chain.deployment().settlements;
        network.chain.send(BANK, at, of_leaf.abi_encode());
        network.chain.send(BANK, at, of_node.abi_encode());
        2
    }
}

/// Neighbours, leaves and sums of the right tree, as if they showed something.
fn of_the_right(
    draw: &mut Draw,
    right: &Outcome,
    before: &[(AccountId, Balance)],
) -> Option<Challenge> {
    let leaf = |list: &[(AccountId, Balance)], place: usize| {
        let (account, balance) = *list.get(place)?;
        let siblings = payout_tree(list).prove(place as u64)?;
        Some(PayoutLeaf { account, balance, index: place as u64, siblings })
    };
    let leaves = &right.leaves;
    let (count, place) = (leaves.len() as u64, draw.below(leaves.len().max(1)));
    Some(match draw.below(3) {
        0 => Challenge::Total { count, top: payout_tree(leaves).top()? },
        1 => {
            let (left, right) = (leaf(leaves, place)?, leaf(leaves, draw.below(leaves.len()))?);
            Challenge::Order { count, left, right }
        }
        _ => Challenge::Loss {
            count_before: before.len() as u64,
            before: leaf(before, draw.below(before.len().max(1)))?,
            count,
            found: (0..draw.below(3)).filter_map(|next| leaf(leaves, place + next)).collect(),
        },
    })
}

/// Changes a number in a proof.
fn spoil(draw: &mut Draw, challenge: &mut Challenge) {
    let change = |draw: &mut Draw, leaf: &mut PayoutLeaf| match draw.below(4) {
        0 => leaf.balance.free.0 ^= 1,
        1 => leaf.index ^= 1,
        2 => leaf.account.0 ^= 1,
        _ => drop(leaf.siblings.pop()),
    };
    match challenge {
        Challenge::Total { count, top } => {
            if draw.is_in(50) {
                *count ^= 1;
            } else {
                top.sum ^= 1;
            }
        }
        Challenge::Order { left, right, .. } => {
            if draw.is_in(30) {
                std::mem::swap(left, right);
            } else {
                change(draw, left);
            }
        }
        Challenge::Loss { before, found, count_before, .. } => match draw.below(3) {
            0 => *count_before ^= 1,
            1 => change(draw, before),
            _ => drop(found.pop()),
        },
    }
}
