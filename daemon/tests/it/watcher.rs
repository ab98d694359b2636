//! One honest node among people of whom none runs one and a thief who says everything false that there is:
//! the node is a process with its defaults, the chain the embedded one and anvil, the parameters those of the
//! development chain and of the production network. Whatever its rank is, what the contract can see is
//! false falls by the node's challenge, and to the rest it objects before the window is over; what is right
//! becomes final.
//!
//! The chain makes a block when the node has done what it has to, so no test waits for a time to pass, and
//! no block comes for which the node would have had to hurry less on a real chain.

mod chain;
mod lies;
mod network;
mod process;

use std::ops::RangeInclusive;

use daemon::network::Preset;
use protocol::chain::{ChainView, SettlementState, Transaction};
use protocol::hash::keccak;
use protocol::settle::{Outcome, encode_balances, settle};
use protocol::{Amount, BlockNumber, Blocks, Epoch};

use chain::{Chain, until};
use lies::Lie;
use network::Network;

/// Bytes of the call data of a settlement, behind four of the function.
const SETTLEMENT: RangeInclusive<usize> = 4..=4 + 12 * 32 - 1;
/// Bytes of the call data of an objection: the settlement, who objects, and why.
const OBJECTION: usize = 4 + 14 * 32;

/// When it is a watcher's turn.
struct Rank {
    /// To propose.
    turn: RangeInclusive<usize>,
    /// To act against what is false: the place of its first seat among the twenty.
    place: usize,
}

const FIRST: Rank = Rank { turn: 0..=0, place: 0 };
const LAST: Rank = Rank { turn: 8..=16, place: 19 };

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_watcher_of_any_rank_is_enough_on_the_development_chain() {
    let _turn = crate::WHOLE_MACHINE.lock().await;
    for rank in [FIRST, LAST] {
        play(Chain::embedded().await, Preset::Minimal, &rank).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_watcher_of_any_rank_is_enough_with_the_numbers_of_the_production_network() {
    let _turn = crate::WHOLE_MACHINE.lock().await;
    for rank in [FIRST, LAST] {
        play(Chain::embedded().await, Preset::Mainnet, &rank).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_watcher_of_any_rank_is_enough_on_anvil() {
    let _turn = crate::WHOLE_MACHINE.lock().await;
    for (preset, rank) in [(Preset::Minimal, &LAST), (Preset::Mainnet, &FIRST)] {
        let Some(chain) = Chain::anvil() else {
            println!("not run: no anvil; name one in OPENLEDGER_ANVIL");
            return;
        };
        play(chain, preset, rank).await;
    }
}

async fn play(chain: Chain, preset: Preset, rank: &Rank) {
    let mut network = Network::found(chain, preset).await;
    // Who holds what in an epoch is drawn two epochs before. The watcher has its stake through all of
    // epoch 3, so in that it judges nobody's storage, and has a turn and seats when it is settled.
    let [second, third] = [Epoch(2), Epoch(3)];
    network.settle(Epoch(0)).await;
    network.commit(second).await;
    network.enrol_watcher().await;
    network.prove(second).await;
    network.settle(Epoch(1)).await;
    network.commit(third).await;
    network.prove(third).await;
    network.settle(second).await;
    let begun = network.money().await;
    draw_turn(&mut network, third, rank).await;
    Round::begin(&mut network, third, rank).await.play(begun).await;
}

/// Draws whose turn it is to propose for an epoch.
async fn draw_turn(network: &mut Network, epoch: Epoch, rank: &Rank) {
    let (watcher, begin) = (network.watcher.account, network.view.schedule.start(epoch.next()));
    let turn = |view: &ChainView| view.proposer_turn(epoch, watcher);
    let is_it = |view: &ChainView| turn(view).is_some_and(|turn| rank.turn.contains(&turn));
    network.draw_at(begin, is_it).await;
}

/// One epoch about which everything false is said.
struct Round<'a> {
    network: &'a mut Network,
    right: Outcome,
    lies: Vec<Lie>,
    proposed: BlockNumber,
    place: u64,
}

impl<'a> Round<'a> {
    /// Has the thief say all of it in one block, once the epoch can be settled.
    async fn begin(network: &'a mut Network, epoch: Epoch, rank: &Rank) -> Self {
        network.advance_to(network.view.schedule.cutoff(epoch)).await;
        let right = settle(&network.view, epoch, &network.balances).unwrap();
        let lies = lies::all(&right, &network.balances);
        for list in lies.iter().filter_map(|lie| lie.published.as_ref()) {
            network.publisher.add(&encode_balances(list)).await;
        }
        let read = network.view.now().before(Blocks(1));
        assert!(network.watcher.has_read(read).await > 0, "it reaches the publisher");

        let (thief, watcher) = (network.thief(), network.watcher.account);
        let propose =
            |lie: &Lie| Transaction::Propose { proposer: thief, settlement: lie.settlement };
        let proposals: Vec<_> = lies.iter().map(propose).collect();
        network.watcher.sleeps(true);
        network.advance(1).await;
        network.propose_at_once(&proposals).await;
        let proposed = network.view.now();
        let of_thief = |state: &&SettlementState| state.proposer == thief;
        let is_it = |view: &ChainView| {
            let watchers = view.proposals(epoch).find(of_thief).and_then(|s| view.watchers(s));
            watchers.and_then(|seats| seats.first_of(watcher)) == Some(rank.place)
        };
        network.draw(is_it).await;
        network.watcher.sleeps(false);
        Self { network, right, lies, proposed, place: rank.place as u64 }
    }

    async fn play(mut self, begun: [Amount; 3]) {
        let bond = self.network.bond(self.lies[0].settlement.id()).await;
        assert!(bond >= self.network.view.budget_of(self.right.settlement.epoch));
        self.watch().await;
        self.check_fates();
        self.check_money(begun, bond).await;
        self.finish().await;
        self.check_money(begun, bond).await;
    }

    fn window(&self) -> Blocks {
        self.network.view.schedule.challenge_blocks
    }

    /// Whether a lie has met its fate.
    fn has_met(&self, lie: &Lie) -> bool {
        let of = if lie.is_computable { &self.network.fell } else { &self.network.objected };
        of.contains_key(&lie.settlement.id())
    }

    /// The block that the watcher has to have read to do something about a lie.
    fn due(&self, lie: &Lie) -> BlockNumber {
        // Twice the time in which it would send the same again.
        let last = Blocks(self.window().0.saturating_sub(8));
        let turn = if lie.is_computable { Blocks(self.place).min(last) } else { last };
        self.proposed.after(turn.max(Blocks(1)))
    }

    /// Makes blocks until all that is false has met its fate. One comes only when the watcher has an answer
    /// in it to all that it has to answer, so it fails by what it does not send, not by being slow.
    async fn watch(&mut self) {
        let end = self.proposed.after(self.window());
        loop {
            let left: Vec<_> = self.lies.iter().filter(|lie| !self.has_met(lie)).collect();
            let names: Vec<_> = left.iter().map(|lie| lie.name).collect();
            let Some(due) = left.iter().map(|lie| self.due(lie)).min() else { return };
            let now = self.network.view.now();
            assert!(now < end, "the window is over, and nobody did anything about {names:?}");
            // It reads a block when there is one after it.
            if now <= due {
                self.network.advance_to(due.next()).await;
                continue;
            }
            let due: Vec<_> = left.into_iter().filter(|lie| self.due(lie) < now).collect();
            until("an answer to all that is false", async || {
                let calls = self.network.chain.next_calls(self.network.watcher.operator).await;
                let is_answered = |lie: &&Lie| calls.iter().any(|call| answers(call, lie));
                due.iter().all(is_answered).then_some(())
            })
            .await;
            self.network.advance(1).await;
        }
    }

    fn check_fates(&self) {
        let end = self.proposed.after(self.window());
        let is_in_time = |block: Option<&BlockNumber>| block.is_some_and(|block| *block <= end);
        for Lie { name, settlement, is_computable, .. } in &self.lies {
            let id = settlement.id();
            let (fell, objected) = (self.network.fell.get(&id), self.network.objected.get(&id));
            if *is_computable {
                assert!(is_in_time(fell), "{name} fell in {fell:?}, its window is over in {end}");
            } else {
                assert!(fell.is_none(), "nobody ruled, so what showed that {name} is false?");
                assert!(
                    is_in_time(objected),
                    "objected to {name} in {objected:?}, not until {end}"
                );
            }
        }
    }

    /// All bonds that were lost so far: half of each is the watcher's, and the vault has the rest.
    async fn check_money(&self, begun: [Amount; 3], bond: Amount) {
        let [stake, held, funded] = self.network.money().await;
        let lost = self.network.fell.len() as u128 + u128::from(self.network.closed);
        assert_eq!(begun[0].0 - stake.0, lost * bond.0);
        assert_eq!(held.0 - begun[1].0, lost * (bond.0 / 2));
        assert_eq!(funded.0 - begun[2].0, lost * (bond.0 - bond.0 / 2));
    }

    /// Makes blocks until the epoch is settled, though nobody rules on anything.
    async fn finish(&mut self) {
        let (epoch, right) = (self.right.settlement.epoch, self.right.settlement.id());
        let (operator, watcher) = (self.network.watcher.operator, self.network.watcher.account);
        // What the thief lost brings nobody's turn forward.
        let turn = self.network.view.drawn_turn(epoch, watcher).expect("it has a stake") as u64;
        let step = self.window().0.div_ceil(10);
        let of_turns = self.network.view.params().propose_fallback_blocks.times(turn + 1);
        let bound = self.proposed.after(of_turns.plus(self.window()).plus(Blocks(16 * step)));
        while self.network.view.next_to_settle() == epoch {
            let now = self.network.view.now();
            assert!(now <= bound, "epoch {epoch} is not settled in {now}");
            self.network.watcher.has_read(now.before(Blocks(1))).await;
            let has_sent = self.network.chain.waiting(operator).await > 0;
            self.network.advance(if has_sent { 1 } else { step }).await;
        }
        let last = self.network.view.last_final().expect("it is settled");
        assert_eq!((last.id, last.proposer), (right, watcher));
        let Network { fell, objected, .. } = &*self.network;
        assert!(!fell.contains_key(&right) && !objected.contains_key(&right));
    }
}

/// Whether a call is what has to be done about a lie.
fn answers(call: &[u8], lie: &Lie) -> bool {
    let about = call.get(SETTLEMENT).map(|settlement| keccak(&[settlement]));
    let is_objection = call.len() == OBJECTION;
    about == Some(lie.settlement.id()) && is_objection != lie.is_computable
}
