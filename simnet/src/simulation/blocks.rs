//! What happens at a block: nodes are told, and the simulator looks at what they read.

use protocol::{BlockNumber, Epoch, chain::ChainEvent};

use super::{Event, RunError, Simulation, refereeing};
use crate::scenario::FaultKind;

impl Simulation {
    pub(super) fn mine(&mut self) -> Result<(), RunError> {
        self.reorganise();
        let Self { env, .. } = self;
        env.links.note_online(|| env.population.online(), env.population.len());
        let mined = env.ledger.mine(env.schedule.now());
        let epoch = env.view().epoch();
        env.links.traffic_mut().count_transactions(epoch, mined.transactions);
        mined.read.iter().for_each(|block| self.read_block(&block.events, block.header.number));
        if let Some(law) = self.env.ledger.chain_mut().broken_law()? {
            let (block, seed) = (self.env.ledger.chain().head(), self.env.scenario.seed);
            return Err(RunError::Books { block, law, seed });
        }
        for block in &mined.read {
            self.arbitrate(block.header.number);
            self.work.develop(&mut self.env, &block.events);
            self.env.announce(&block.events, block.header.number);
            self.act_of_coalitions(block.header.number);
        }
        let next = self.env.now().after(self.env.scenario.chain.block.0);
        self.env.schedule.push_global(next, Event::Mine);
        for block in &mined.read {
            let block = block.header.number;
            if let Some(epoch) = self.measurements.block(&mut self.env, &self.store, block)? {
                self.forget(epoch);
            }
            let is_over = self.env.has_ended(block);
            self.env.schedule.set_over(is_over);
        }
        Ok(())
    }

    /// Before a block is made: whether other blocks are below it than there were.
    ///
    /// A node cannot take out of its view what it has read: the daemon stops with an error, and
    /// whoever runs it starts it again; it then reads the chain anew. All nodes share one view here, so
    /// all that are there have read the same blocks.
    fn reorganise(&mut self) {
        let Self { env, .. } = self;
        let Some(stays) = env.ledger.reorganise(env.schedule.now(), env.draws, &env.scenario)
        else {
            return;
        };
        let stops = self.env.restart_all();
        self.measurements.note_reorg_stops(stops);
        // Verdicts and settlements follow from the chain; so does what the referee noted of it.
        self.gossip.forget_verdicts();
        self.settlements.forget_unsettled(self.env.view());
        self.referee.forget_inclusions_after(stays);
    }

    /// What a block that nodes read says to the simulator.
    fn read_block(&mut self, events: &[ChainEvent], number: BlockNumber) {
        refereeing::block(&mut self.referee, &self.env, events, number);
        let arbiter_blocks = self.env.scenario.chain.arbiter_blocks;
        for event in events {
            if let ChainEvent::AccountRegistered { account, owner, .. } = event {
                self.env.adopt(*owner, *account);
            }
            if let Some(epoch) = self.env.ledger.read(event, number, arbiter_blocks) {
                self.fold_epoch(epoch, number);
            }
        }
    }

    /// An epoch has its final settlement: counts what it says, of which only sums are kept.
    fn fold_epoch(&mut self, epoch: Epoch, block: BlockNumber) {
        let Self { env, settlements, work, economy, measurements, referee, .. } = self;
        let settled = settlements.of(env.view(), epoch).cloned();
        // Nobody recomputed it: a settlement that cannot be is caught by the objections.
        if let Some(settled) = &settled {
            refereeing::settlement(referee, env, settled, (epoch, block));
            if !settlements.is_stable(env.view(), epoch) {
                referee.changed(epoch);
            }
        }
        measurements.note_final(env, epoch, settled.as_deref());
        let Some(settled) = settled else { return };
        economy.operate(env, &settled.outcome.lines, epoch);
        work.earnings.take(env, (&work.training, &work.market, referee), epoch, &settled.outcome);
        measurements.note_payouts(env, epoch, &settled.outcome.lines);
    }

    /// The arbiter rules on what has waited long enough.
    fn arbitrate(&mut self, block: BlockNumber) {
        let Self { env, settlements, .. } = self;
        let faults = env.links.network().faults();
        if faults.until(FaultKind::ArbiterOutage, env.schedule.now(), 0, 0).is_some() {
            return;
        }
        for (_, id) in env.ledger.take_objections(block) {
            if let Some((settlement, upholds)) = settlements.arbitrate(env, &id) {
                env.ledger.chain_mut().rule(settlement, upholds);
            }
        }
    }
}
