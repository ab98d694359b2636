//! One honest node among thieves, on the real contracts: whatever they send, what is right becomes final in
//! time, and what is false falls by the challenge that the node itself finds, or is objected to in time.
//!
//! A sequence is the settlement of one epoch. The chain takes in records of several accounts whose keys
//! change, in time and late, twice, by the wrong key, and not at all; whoever has no node to run sends them.
//! The thieves have most of the stake and send everything that any key can send.

mod lies;
mod network;
mod records;
mod thieves;

use std::collections::{BTreeMap, BTreeSet};

use contracts_abi::embedded::MinedBlock;
use protocol::chain::{ChainEvent, ProposalAct, Transaction};
use protocol::settle::{Outcome, settle};
use protocol::{Amount, BlockNumber, Digest, Epoch};

use lies::Lie;
use network::{HONEST, Network};
use thieves::Thieves;

/// Sequences that are played, or as many as the variable `OPENLEDGER_SEQUENCES` says.
const SEQUENCES: u64 = 1_000;
/// Of these so many go on with one deployment.
const ON_ONE_CHAIN: u64 = 50;

/// Whether somebody rules on objections.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Arbiter {
    Rules,
    /// Only when its time is over, which the contract refuses.
    IsLate,
    IsAway,
}

/// What became of something false that was proposed.
#[derive(Debug)]
struct Fate {
    lie: Lie,
    proposed: BlockNumber,
    objected: Option<BlockNumber>,
    fell: Option<BlockNumber>,
    is_ruled: bool,
}

/// How often something happened, so that a test which tries nothing does not pass.
#[derive(Debug, Default)]
struct Tally {
    challenged: BTreeMap<&'static str, u64>,
    objected: BTreeMap<&'static str, u64>,
    delays: u64,
    paid: u64,
    records: u64,
    refused: u64,
    executed: u64,
}

/// The settlement of one epoch.
struct Sequence<'a> {
    network: &'a mut Network,
    thieves: Thieves,
    arbiter: Arbiter,
    right: Outcome,
    fates: BTreeMap<Digest, Vec<Fate>>,
    /// Objections to what is right that nobody ruled on.
    delays: u64,
}

#[test]
fn what_is_right_survives_any_sequence_and_what_is_false_none_with_one_honest_node() {
    let sequences = std::env::var("OPENLEDGER_SEQUENCES").ok();
    let sequences = sequences.map_or(SEQUENCES, |text| text.parse().expect("a number"));
    let mut tally = Tally::default();
    for seed in 0..sequences.div_ceil(ON_ONE_CHAIN) {
        let count = ON_ONE_CHAIN.min(sequences - seed * ON_ONE_CHAIN);
        play(seed, count, &mut tally);
    }
    eprintln!("{tally:?}");
    if sequences < SEQUENCES {
        return;
    }
    let is_tried = |counts: &BTreeMap<&str, u64>, kinds: &[&str]| {
        kinds.iter().all(|kind| counts.get(kind).is_some_and(|count| *count > 5))
    };
    assert!(is_tried(&tally.challenged, Lie::COMPUTABLE), "{tally:?}");
    assert!(is_tried(&tally.objected, Lie::OTHERS), "{tally:?}");
    assert!(tally.delays > 0 && tally.paid > sequences / 2 && tally.records > 5 * sequences);
    assert!(tally.refused > sequences && tally.executed > sequences, "{tally:?}");
}

fn play(seed: u64, count: u64, tally: &mut Tally) {
    let mut network = Network::new(seed);
    let end = network.view.next_to_settle().0 + count;
    while network.view.next_to_settle().0 < end {
        Sequence::begin(&mut network).play(tally);
    }
}

impl<'a> Sequence<'a> {
    /// Waits for the next epoch that can be settled.
    fn begin(network: &'a mut Network) -> Self {
        let epoch = network.view.next_to_settle();
        network.wait_for(epoch);
        let right = settle(&network.view, epoch, &network.balances).unwrap();
        let arbiter = match network.draw.below(4) {
            0 => Arbiter::IsAway,
            1 => Arbiter::IsLate,
            _ => Arbiter::Rules,
        };
        let thieves = Thieves::new(&mut network.draw);
        Self { network, thieves, arbiter, right, fates: BTreeMap::new(), delays: 0 }
    }

    fn epoch(&self) -> Epoch {
        self.right.settlement.epoch
    }

    fn play(mut self, tally: &mut Tally) {
        let begun = self.network.view.now();
        let ahead = self.network.turns_ahead(self.epoch());
        while self.network.view.next_to_settle() == self.epoch() {
            let sent = self.thieves.act(self.network, &self.right);
            self.rule();
            let block = self.network.block();
            let results = &block.results[..sent];
            tally.refused += results.iter().filter(|result| result.is_err()).count() as u64;
            tally.executed += results.iter().filter(|result| result.is_ok()).count() as u64;
            self.check(&block);
            assert!(
                self.network.view.now() <= self.bound(begun, ahead),
                "{}: epoch {} is not settled with {} delays, {ahead} turns ahead",
                self.network.seed,
                self.epoch(),
                self.delays,
            );
        }
        self.end(tally);
    }

    /// `settle + n · (turn + 1) + window + ruling`, and one block for each step that has to be seen: of a
    /// proposal, what refutes it, an objection, a defeat. An objection to what is right on which nobody rules
    /// costs up to five windows and a turn more.
    fn bound(&self, begun: BlockNumber, ahead: u64) -> BlockNumber {
        let window = self.network.view.schedule.challenge_blocks.0;
        let turn = self.network.view.params().propose_fallback_blocks.0;
        let (ruling, steps) = (4 * window, 8);
        let of_turns = ahead * (turn + 1);
        let of_delays = self.delays * (window + ruling + (ahead + 1) * turn + steps);
        BlockNumber(begun.0 + of_turns + window + ruling + steps + of_delays)
    }

    /// The arbiter sees what the chain says, one block later or, where it is late, when its time is over.
    fn rule(&mut self) {
        let (right, now) = (self.right.settlement.id(), self.network.view.now());
        let view = &self.network.view;
        let is_due = |objected: BlockNumber| match self.arbiter {
            Arbiter::Rules => true,
            Arbiter::IsLate => now.0 >= objected.0 + 4 * view.schedule.challenge_blocks.0,
            Arbiter::IsAway => false,
        };
        let proposals = view.proposals(self.epoch());
        let objected = proposals.filter(|state| state.objector.is_some() && is_due(state.objected));
        let rulings: Vec<_> = objected.map(|state| state.settlement).collect();
        let arbiter = self.network.chain.arbiter();
        for settlement in rulings {
            let act = ProposalAct::Rule { uphold: settlement.id() != right };
            self.network.chain.submit(arbiter, &Transaction::AboutProposal { settlement, act });
        }
    }

    fn check(&mut self, block: &MinedBlock) {
        let (right, now, seed) =
            (self.right.settlement.id(), block.header.number, self.network.seed);
        let mut ruled = BTreeSet::new();
        for event in &block.events {
            match event {
                ChainEvent::Proposed { settlement, .. } if settlement.id() != right => {
                    let lie = self.thieves.kind_of(&settlement.id());
                    let fate =
                        Fate { lie, proposed: now, objected: None, fell: None, is_ruled: false };
                    self.fates.entry(settlement.id()).or_default().push(fate);
                }
                ChainEvent::Ruled { id, upheld, .. } => {
                    assert_eq!(*upheld, *id != right, "{seed}");
                    ruled.insert(*id);
                }
                ChainEvent::Objected { id, .. } if *id == right => {}
                ChainEvent::SetAside { id, .. } if *id == right => self.delays += 1,
                ChainEvent::Objected { id, .. } => self.last(id).objected = Some(now),
                ChainEvent::Defeated { id, .. } => {
                    assert_ne!(*id, right, "{seed}: what is right fell");
                    let is_ruled = ruled.contains(id);
                    let fate = self.last(id);
                    (fate.fell, fate.is_ruled) = (Some(now), is_ruled);
                }
                ChainEvent::Finalised { id, .. } => {
                    let fate = self.fates.get(id);
                    assert_eq!(*id, right, "{seed}: what is false is final: {fate:?}");
                }
                _ => {}
            }
        }
    }

    fn last(&mut self, id: &Digest) -> &mut Fate {
        self.fates.get_mut(id).and_then(|fates| fates.last_mut()).expect("it was proposed")
    }

    /// Everything that was false has met its fate in its window, unless the epoch was settled before.
    fn end(self, tally: &mut Tally) {
        let (now, seed, epoch) = (self.network.view.now(), self.network.seed, self.epoch());
        let window = self.network.view.schedule.challenge_blocks.0;
        for fate in self.fates.values().flatten() {
            let until = BlockNumber(fate.proposed.0 + window);
            if fate.lie.is_computable() {
                let fell = fate.fell.filter(|_| !fate.is_ruled);
                let is_in_time = fell.is_some_and(|fell| fell <= until);
                // A ruling may have come first.
                let may_be = is_in_time || fate.is_ruled || now <= until;
                assert!(may_be, "{seed}: in epoch {epoch} nobody challenged {fate:?}");
                *tally.challenged.entry(fate.lie.name()).or_default() += u64::from(is_in_time);
            } else {
                // Somebody else may have published the list that one of them hid.
                let is_shown = fate.fell.is_some() && !fate.is_ruled;
                assert!(!is_shown || fate.lie == Lie::Hidden, "{seed}: who could see {fate:?}?");
                let is_in_time = fate.objected.is_some_and(|block| block <= until);
                let may_be = is_in_time || is_shown || now <= until;
                assert!(may_be, "{seed}: nobody objected to {fate:?}");
                *tally.objected.entry(fate.lie.name()).or_default() += u64::from(is_in_time);
            }
        }
        tally.paid += u64::from(!self.right.lines.is_empty());
        tally.delays += self.delays;
        tally.records += self.network.view.records(epoch).count() as u64;
        self.network.settled(&self.right);
        assert_eq!(self.network.lost(HONEST), Amount::ZERO, "{seed}: who was right lost a bond");
    }
}
