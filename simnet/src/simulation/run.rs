//! One event after the other: what happens to a node, what its machine makes of it, and what follows.

use std::collections::VecDeque;

use protocol::{
    Epoch,
    node::{Done, Event as NodeEvent, Input, Job, OpId, Output},
    record::{Record, VerifiedRecord},
};

use super::{
    Answer, Event, Progress, RunError, Simulation,
    gossip::Missed,
    machine::{Act, Common, Item, Stage, Turn, What},
    refereeing,
    schedule::Finished,
    store,
    training::Site,
};
use crate::{kernel::Actor, nodes::Entry, units::Span};

/// Jobs that took no time, with their answers.
type Answered = VecDeque<(OpId, Done)>;

impl Simulation {
    /// Runs until after the next block; `None` when the run is over.
    ///
    /// # Errors
    /// [`RunError`] when the contracts cannot be read or their books do not add up.
    pub fn advance(&mut self) -> Result<Option<Progress>, RunError> {
        while !self.is_over() {
            let Some(item) = self.next_item() else { break };
            self.env.schedule.begin(&item.place);
            match (Event::from_bits(item.place.event), item.place.to.index()) {
                (Event::Mine, _) => {
                    self.mine()?;
                    return Ok(Some(self.progress()));
                }
                (Event::Submit(number), _) => self.include(number),
                (Event::Fault(spell), _) => {
                    if let Some(share) = self.env.strike(spell as usize) {
                        self.store.rot(&self.env, share);
                    }
                }
                (Event::Demand, _) => self.work.demand(&mut self.env),
                (event, Some(index)) => self.happen(index, event, item),
                (_, None) => {
                    unreachable!("only blocks, transactions, faults and demand are no node's")
                }
            }
        }
        self.env.schedule.set_over(true);
        Ok(None)
    }

    /// The next event of all, as far as threads have taken it.
    fn next_item(&mut self) -> Option<Item> {
        if self.executor.needs_window() {
            let Self { env, gossip, store, observer, executor, .. } = self;
            let (nodes, least) = (env.population.len(), env.links.network().least_delay());
            if executor.draw_window(&mut env.schedule, nodes, least) {
                let chain = (&env.ledger, env.scenario.net.deliver_all);
                let common = Common::new(chain, (gossip, store), observer.watched());
                executor.take_ahead(env.population.nodes_mut(), common);
            }
        }
        self.executor.next(&mut self.env.schedule)
    }

    /// A transaction reaches the chain.
    fn include(&mut self, number: u32) {
        if let Some((sender, transaction)) = self.env.schedule.take_transaction(number) {
            let address = self.gossip.signer().address(sender);
            self.env.ledger.chain_mut().submit(address, &transaction);
        }
    }

    /// Something happens to a node.
    fn happen(&mut self, index: usize, event: Event, item: Item) {
        match event {
            Event::Return => self.restart(index),
            Event::Ask(request) => {
                if let Some(request) = self.work.market.arrive(&mut self.env, index, request) {
                    self.input(index, Input::Serve(request));
                }
            }
            Event::Pay(payment) => {
                if let Some(input) = self.work.market.pay(&mut self.env, index, payment) {
                    self.input(index, input);
                }
            }
            // What it misses by that it gets when it syncs; its jobs ended with its machine.
            _ if !self.env.population.is_online(index) => {}
            Event::Durable(record) => {
                self.gossip.send(&mut self.env, record);
                self.give(index, event, item);
            }
            Event::Block | Event::Arrival(_) | Event::Done(_) => self.give(index, event, item),
            Event::Sync(session) => self.sync(index, session),
            Event::Leave(session) => {
                if self.is_session(index, session) {
                    self.env.leave(index);
                }
            }
            Event::Mine | Event::Submit(_) | Event::Fault(_) | Event::Demand => {
                unreachable!("events of the chain are not a node's")
            }
        }
    }

    /// Whether a node is in a session, of which an event has 28 bits.
    fn is_session(&self, index: usize, session: u32) -> bool {
        self.env.population.node(index).session & Event::MAX == session
    }

    /// A node that is not there starts again with what its disk has.
    fn restart(&mut self, index: usize) {
        let has_quit = self.economy.has_quit(super::number(index));
        if self.env.population.is_online(index) || has_quit {
            return;
        }
        self.env.restart(index);
        // As the daemon does: its own log first, then what it hears.
        for record in self.gossip.on_disk(&self.env, index) {
            self.input(index, Input::Record(record));
        }
        self.env.plan_session(index);
    }

    /// A node that came back has found a peer: it has what it missed, and the rest is on its way.
    fn sync(&mut self, index: usize, session: u32) {
        if !self.is_session(index, session) {
            return;
        }
        self.env.population.node_mut(index).synced = self.env.schedule.now();
        for missed in self.gossip.missed(&self.env, index) {
            match missed {
                Missed::Here(record) => {
                    if let Some(entry) = self.gossip.table().get(record) {
                        let record = entry.record.clone();
                        self.observer.note_delivery();
                        self.input(index, Input::Record(record));
                    }
                }
                Missed::Coming { record, author, at } => {
                    let (me, from) = (Actor::node(super::number(index)), Actor::node(author));
                    self.env.schedule.push(at, me, from, Event::Arrival(record));
                }
            }
        }
    }

    /// Gives an event to a machine, unless a thread has, and carries out what follows.
    fn give(&mut self, index: usize, event: Event, item: Item) {
        let Item { finished, stage, .. } = item;
        if let Event::Arrival(record) | Event::Durable(record) = event
            && self.gossip.table().get(record).is_some()
        {
            self.observer.note_delivery();
        }
        if matches!(stage, Stage::Past) {
            return;
        }
        // A node that restarted has forgotten its jobs, and what they would have given it.
        let session = self.env.population.node(index).session;
        let finished = finished.filter(|finished| finished.session == session);
        let gained = finished.as_ref().and_then(|finished| finished.gains);
        // Before the machine asks for rows of it, in a turn that is taken now.
        if let Some(hash) = gained {
            self.store.hold(index, hash);
        }
        let turn = match stage {
            Stage::Taken(turn) => Some(turn),
            _ => {
                let node = self.env.population.node(index);
                let input = self.common().input(node, event, finished.as_deref());
                input.and_then(|input| self.take(index, input))
            }
        };
        if let Some(turn) = turn {
            self.follow(index, turn);
        }
    }

    /// Gives a machine an input, and carries out what follows.
    fn input(&mut self, index: usize, input: Input) {
        if let Some(turn) = self.take(index, input) {
            self.follow(index, turn);
        }
    }

    /// What all machines see now.
    const fn common(&self) -> Common<'_> {
        let chain = (&self.env.ledger, self.env.scenario.net.deliver_all);
        Common::new(chain, (&self.gossip, &self.store), self.observer.watched())
    }

    /// Has a machine take an input at its time; `None` where there is no machine.
    fn take(&mut self, index: usize, input: Input) -> Option<Turn> {
        let Self { env, gossip, store, observer, .. } = self;
        let chain = (&env.ledger, env.scenario.net.deliver_all);
        let common = Common::new(chain, (gossip, store), observer.watched());
        common.take(env.population.node_mut(index), index, input, false)
    }

    /// Carries out what a machine wants; jobs that take no time are answered when all else is done.
    fn follow(&mut self, index: usize, turn: Turn) {
        let mut answered = Answered::new();
        self.carry_out(index, turn, &mut answered);
        while let Some((op, done)) = answered.pop_front() {
            let Some(turn) = self.take(index, Input::Done(op, done)) else { return };
            self.carry_out(index, turn, &mut answered);
        }
        self.env.plan_wake(index);
    }

    fn carry_out(&mut self, index: usize, turn: Turn, answered: &mut Answered) {
        if let Some(input) = turn.input {
            self.observer.see_input(self.env.now(), input);
        }
        for Act { text, what } in turn.acts {
            self.observer.see_output(self.env.now(), index, &text);
            match what {
                What::Plain(output) => self.carry_out_plain(index, *output, answered),
                What::Signed(record, verdict) => {
                    // Every auditor would find the same, so it is found once.
                    if let Some(verdict) = verdict {
                        self.gossip.note_verdict(record.id(), verdict);
                    }
                    self.write(index, *record, Span::ZERO);
                }
                What::Committed(op, committed) => {
                    let answer = store::committed(&self.env, index, committed);
                    self.answer_later(index, op, answer, answered);
                }
                What::Opened(op, opened) => {
                    let answer = self.store.opened(&self.env, index, opened);
                    self.answer_later(index, op, answer, answered);
                }
            }
        }
    }

    fn carry_out_plain(&mut self, index: usize, output: Output, answered: &mut Answered) {
        match output {
            // An honest host's records come signed, unless its turn had to wait for what a job gained.
            Output::Sign(record) => {
                for (after, record) in self.host_signs(index, record) {
                    self.sign(index, record, after);
                }
            }
            Output::Submit(transaction) => self.host_submits(index, transaction),
            Output::Job(op, job) => {
                let mut answer = self.host_answers(index, job);
                if let Some(transaction) = answer.submits.take() {
                    self.host_submits(index, transaction);
                }
                self.answer_later(index, op, answer, answered);
            }
            Output::Event(event) => self.note(index, &event),
        }
    }

    /// Signs a record of a node and sends it after a time.
    pub(super) fn sign(&mut self, index: usize, record: Record, after: Span) {
        let signed = self.gossip.sign(&self.env, index, record);
        self.write(index, signed, after);
    }

    fn write(&mut self, index: usize, signed: VerifiedRecord, after: Span) {
        let facts = (&self.env, &self.store, &self.work.training);
        // The referee knows what was signed, whoever else comes to hear of it.
        refereeing::record(&mut self.referee, facts, index, &signed);
        self.work.earnings.note_record(self.env.now(), &signed);
        self.gossip.write(&mut self.env, index, signed, after.0);
    }

    /// Gives a machine the answer to a job when its time has passed.
    fn answer_later(&mut self, index: usize, op: OpId, answer: Answer, answered: &mut Answered) {
        let Answer { taken, done, gains, submits: _ } = answer;
        if taken == 0 {
            if let Some(hash) = gains {
                self.store.hold(index, hash);
            }
            answered.push_back((op, done));
            return;
        }
        let session = self.env.population.node(index).session;
        self.env.schedule.finish(taken, index, Finished { op, done, gains, session });
    }

    fn note(&mut self, index: usize, event: &NodeEvent) {
        if !self.measurements.note(&self.env, index, event) {
            self.work.note(&mut self.env, index, event);
        }
    }

    /// What an honest host answers to a job of its machine.
    pub(super) fn honest_answer(&mut self, index: usize, job: Job) -> Answer {
        let Self { env, gossip, store, settlements, work, .. } = self;
        match job {
            Job::Claim { epoch, account } => settlements.claim(env, (epoch, account)),
            Job::Fetch(blob) => store.fetch(env, index, blob),
            Job::Commit { account, packs, s1 } => {
                let hosts = gossip.hosts(env.view(), store);
                let committed = hosts.commit(super::number(index), account, &packs, &s1);
                store::committed(env, index, committed)
            }
            Job::Open { account, packs, commit, s1, s2 } => {
                let (me, hosts) = (super::number(index), gossip.hosts(env.view(), store));
                let opened = hosts.open(me, account, &packs, &commit, (s1, s2));
                store.opened(env, index, opened)
            }
            Job::OpenCell { account, packs, commit, s1, cell } => {
                let (me, hosts) = (super::number(index), gossip.hosts(env.view(), store));
                let opening = hosts.open_cell(me, account, &packs, &commit, (s1, cell));
                store::cell_opened(env, index, commit.cells, opening)
            }
            Job::LookAgain { commit, proof, .. } => {
                gossip.look_again(env, store, index, (&commit, &proof))
            }
            Job::AuditStorage { proof } => gossip.audit(env, store, index, &proof),
            Job::Settle { epoch } => settlements.settle(env, epoch),
            Job::Refute { settlement } => settlements.refute(env, &settlement),
            Job::Verify { settlement } => settlements.verify(env, settlement.epoch),
            job => work.answer(&mut Site { env, store, index }, job),
        }
    }

    /// Forgets what nobody asks for any more: records, openings and settlements of epochs long settled.
    pub(super) fn forget(&mut self, epoch: Epoch) {
        let needed = self.env.view().next_to_settle().min(epoch);
        let first = Epoch(needed.0.saturating_sub(2));
        let old = self.gossip.forget_before(first);
        let openings = old.iter().filter_map(Entry::openings);
        self.settlements.forget_before(self.env.view(), first);
        openings.for_each(|blob| self.store.blobs_mut().forget(blob));
    }
}
