//! The loop: the one task that owns the machine.
//!
//! Blocks, gossip, finished jobs and commands come in through bounded queues; the machine's outputs
//! go to tasks. Nothing here decides anything: it only carries.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Instant;

use contracts_abi::TxError;
use protocol::chain::{BlockHeader, ChainEvent, ChainView, Recent, Transaction};
use protocol::codec::Wire;
use protocol::eip712::EvmKey;
use protocol::message::{Answer, Gossip, Request, Topic};
use protocol::node::{
    Done, Enrol, Enrolment, Event, Input, Node, NodeConfig, OpId, Output, Refusal, ServeRequest,
};
use protocol::receipt::SignedReceipt;
use protocol::record::{SignedRecord, VerifiedRecord};
use protocol::rules::standings;
use protocol::{BlobRef, BlockNumber, EvmAddress, Hash, NodeId};
use tokio::sync::{Notify, mpsc, oneshot, watch};
use tokio_util::sync::CancellationToken;

use super::chain::Batch;
use super::health::{Health, Offline};
use super::jobs::{Jobs, attempt};
use super::status::{ClosedRound, Seen, Snapshot};
use super::sync;
use super::worker::Worker;
use crate::net::{NetEvent, NetworkHandle, Verdict};

/// Gossip that waits for a peer.
const MAX_UNSENT: usize = 1024;

/// What the API asks of the loop.
pub(crate) enum Command {
    /// Serve a paid request, which has its entry among the open ones.
    Serve(Box<ServeRequest>),
    /// A step of payment for such a request.
    Pay(u64, Box<SignedReceipt>),
    /// What a consumer has promised so far.
    Promised(EvmAddress, oneshot::Sender<protocol::Amount>),
    /// The node has blobs that others may want.
    Announce(Vec<BlobRef>),
}

/// Where a record that counts came from; the log says so.
#[derive(Debug, Clone, Copy)]
enum Source {
    Own,
    Chain,
}

/// Everything the loop owns.
pub(crate) struct Loop {
    pub(crate) node_id: NodeId,
    pub(crate) operator: EvmKey,
    pub(crate) config: NodeConfig,
    pub(crate) chain: Arc<ChainView>,
    /// What it takes to go back when blocks are replaced.
    pub(crate) recent: Recent,
    pub(crate) worker: Worker,
    /// Does the machine's jobs: the worker, or what was put around it.
    pub(crate) jobs: Arc<dyn Jobs>,
    pub(crate) net: NetworkHandle,
    /// The transaction by which this node registers itself.
    pub(crate) registration: Transaction,
    pub(crate) enrolment: Enrolment,
    /// Rings when a registration was refused for certain.
    pub(crate) refused: Arc<Notify>,
    pub(crate) health: Health,
    pub(crate) machine: Option<Node>,
    /// Which machine this is: there is a new one after blocks were replaced, and answers to the jobs of
    /// the last are not for it.
    pub(crate) life: u64,
    pub(crate) seen: Seen,
    pub(crate) syncs: sync::Turns,
    /// Gossip that found no peer, to be published again.
    pub(crate) unsent: VecDeque<(Topic, Vec<u8>)>,
    pub(crate) status: watch::Sender<Arc<Snapshot>>,
}

/// The queues that feed the loop.
pub(crate) struct Feeds {
    pub(crate) blocks: mpsc::Receiver<Batch>,
    pub(crate) events: mpsc::Receiver<NetEvent>,
    pub(crate) commands: mpsc::Receiver<Command>,
}

impl Loop {
    /// Runs until told to stop, or until a feed ends.
    pub(crate) async fn run(mut self, mut feeds: Feeds, stop: CancellationToken) {
        let (done_out, mut done) = mpsc::channel::<(u64, OpId, Done)>(256);
        let (record_out, mut pulled) = mpsc::channel::<Vec<Arc<VerifiedRecord>>>(64);
        let (synced_out, mut synced) = mpsc::channel(64);
        let mut sync = tokio::time::interval(sync::PAUSE);
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                batch = feeds.blocks.recv() => match batch {
                    Some(Batch::Blocks { blocks, is_head }) => self.on_blocks(blocks, is_head),
                    Some(Batch::Replaced { after }) => self.on_replaced(after),
                    None => return,
                },
                event = feeds.events.recv() => match event {
                    Some(event) => self.on_net(event).await,
                    None => return,
                },
                Some((life, op, result)) = done.recv() => {
                    if life == self.life {
                        self.input(Input::Done(op, result));
                    }
                }
                Some(records) = pulled.recv() => {
                    for record in records {
                        self.input(Input::Record(record));
                    }
                }
                Some((peer, was_good)) = synced.recv() => {
                    self.syncs.end(peer, was_good, Instant::now());
                }
                Some(command) = feeds.commands.recv() => self.on_command(command).await,
                () = self.refused.notified() => self.enrolment.on_refused(),
                _ = sync.tick() => self.sync(&record_out, &synced_out),
            }
            self.drain(&done_out).await;
            self.publish_status();
        }
    }

    fn input(&mut self, input: Input) {
        if let Some(machine) = &mut self.machine {
            machine.handle(&self.chain, input);
        }
    }

    /// Folds blocks into the view. The machine looks at the newest only: what was due in blocks that
    /// this node catches up with is past.
    fn on_blocks(&mut self, blocks: Vec<(BlockHeader, Vec<ChainEvent>)>, is_head: bool) {
        for (header, events) in blocks {
            Arc::make_mut(&mut self.chain).apply(header, &events);
            for record in self.chain.just_included().to_vec() {
                self.on_record(record, Source::Chain);
            }
            for event in &events {
                if let ChainEvent::Finalised { epoch, .. } = event {
                    let settler = &self.worker.settler;
                    tokio::task::block_in_place(|| settler.follow(&self.chain, *epoch));
                }
            }
            self.recent.push(header, events);
        }
        if is_head {
            self.worker.pool.forget_late(&self.chain);
            self.net
                .set_standings(standings(&self.chain, self.machine.as_ref().map(Node::account)));
            self.enrol();
            self.input(Input::Block);
        }
    }

    /// Goes back to a block, as if nothing had come after it. The machine has seen what is no more, so
    /// another one starts over from the records, as after a restart: what was signed stays signed, and
    /// what the chain has lost is sent again.
    fn on_replaced(&mut self, after: BlockNumber) {
        let Some(view) = self.recent.back_to(after) else {
            return self.health.fail(Offline::Chain { block: after });
        };
        self.chain = Arc::new(view);
        self.machine = None;
        self.life += 1;
        self.enrolment.on_replaced(&self.chain);
        self.worker.forget(&self.chain);
        self.seen = Seen::default();
    }

    /// Gets an account, and starts the machine once the chain knows it.
    fn enrol(&mut self) {
        if self.machine.is_some() {
            return;
        }
        match self.enrolment.on_block(&self.chain) {
            Enrol::Start(account) => {
                tracing::info!(%account, "this node has an account");
                let mut machine = Node::new(account, self.config);
                // What was signed before a restart must not be signed again.
                for record in self.worker.pool.all() {
                    machine.handle(&self.chain, Input::Record(record));
                }
                for (model, times) in self.worker.marks.ended() {
                    tracing::warn!(%model, times, "this program ended during a job of a run");
                    machine.handle(&self.chain, Input::Ended { model, times });
                }
                self.machine = Some(machine);
            }
            Enrol::Register => self.register(),
            Enrol::Wait => {}
        }
    }

    fn register(&self) {
        let (sender, register) = (self.worker.sender.clone(), self.registration.clone());
        let refused = Arc::clone(&self.refused);
        tokio::spawn(async move {
            let sent = sender.send(register).await;
            // None of these reached a block, so asking again makes no second account.
            if let Some(Err(
                TxError::Funds { .. }
                | TxError::Revert { .. }
                | TxError::TooExpensive { .. }
                | TxError::TooMuchGas { .. },
            )) = sent
            {
                refused.notify_one();
            }
        });
    }

    async fn on_net(&mut self, event: NetEvent) {
        match event {
            NetEvent::PeerUp { peer } => self.worker.blobs.peer_up(peer),
            NetEvent::PeerDown { peer } => self.worker.blobs.peer_down(peer),
            NetEvent::Gossip { from, bytes, id, .. } => {
                let verdict = self.on_gossip(from, &bytes);
                if let Err(error) = self.net.validate(id, verdict).await {
                    tracing::debug!(%error, "the verdict on a gossip message was lost");
                }
            }
            NetEvent::Request { bytes, reply, .. } => {
                // A malformed request gets no answer: dropping the reply refuses it.
                let request = Request::from_bytes(&bytes).ok();
                if let Some(answer) = request.and_then(|request| self.answer(request)) {
                    reply.send(answer.to_bytes());
                }
            }
            NetEvent::Subscribed { .. } => self.resend().await,
            NetEvent::Listening { address } => tracing::info!(%address, "listening"),
            NetEvent::Reachability { reachability } => {
                tracing::info!(?reachability, "reachability");
            }
        }
    }

    fn on_gossip(&mut self, from: NodeId, bytes: &[u8]) -> Verdict {
        match Gossip::from_bytes(bytes) {
            Ok(Gossip::Have(blobs)) => {
                // A member may be newer than this node's view of the chain, and be heard elsewhere at
                // another rate: what is not taken here is not passed on, and nobody is blamed.
                let is_member = self.chain.account_of(&from).is_some();
                match is_member && self.worker.blobs.learn(from, &blobs) {
                    true => Verdict::Accept,
                    false => Verdict::Ignore,
                }
            }
            Ok(Gossip::Record(record)) => self.on_heard(record),
            Err(_) => Verdict::Reject,
        }
    }

    /// Keeps a record that the chain may take in. Of one that is known not even the signature is checked.
    fn on_heard(&mut self, record: SignedRecord) -> Verdict {
        if self.worker.pool.contains(&record.record.id(&self.chain.domain)) {
            return Verdict::Ignore;
        }
        let Ok(record) = record.verify(&self.chain.domain) else { return Verdict::Reject };
        let record = Arc::new(record);
        // Its maker may be newer than this node's view of the chain, so nobody is blamed.
        if !self.worker.pool.hold(&self.chain, &record) {
            return Verdict::Ignore;
        }
        self.input(Input::Record(record));
        Verdict::Accept
    }

    /// Keeps a record durably, then shows it to the machine. A record that cannot be kept was never
    /// there, and the node goes offline: one of its own that others saw and it forgot would let it
    /// sign another.
    fn on_record(&mut self, record: Arc<VerifiedRecord>, source: Source) {
        let kept = tokio::task::block_in_place(|| self.worker.pool.insert(&record));
        match kept {
            Ok(true) => {
                tracing::debug!(record = %record.id(), ?source, "a record was kept");
                self.input(Input::Record(record));
            }
            Ok(false) => {}
            Err(error) => self.health.fail(error.into()),
        }
    }

    fn answer(&self, request: Request) -> Option<Answer> {
        let Request::Has(blobs) = request else { return self.worker.pool.answer(&request) };
        let store = self.worker.blobs.store().blobs();
        let has = |hash: Hash| store.len(hash).map(|length| BlobRef { hash, length });
        let account = self.chain.account_of(&self.node_id).unwrap_or_default();
        Some(Answer::Has { account, blobs: blobs.into_iter().filter_map(has).collect() })
    }

    async fn on_command(&mut self, command: Command) {
        match command {
            // A node without an account serves nothing, and nobody else would end the request.
            Command::Serve(request) => match self.machine.is_some() {
                true => self.input(Input::Serve(*request)),
                false => self.worker.requests.finish(request.id, Err(Refusal::NotServed)),
            },
            Command::Pay(request, receipt) => match self.machine.is_some() {
                true => self.input(Input::Raise { request, receipt: *receipt }),
                false => self.worker.requests.paid(request, Err(Refusal::NotServed)),
            },
            Command::Promised(payer, reply) => {
                let promised = self.machine.as_ref().map(|m| m.promised_by(&self.chain, payer));
                // Whoever asked may be gone.
                let _ = reply.send(promised.unwrap_or_default());
            }
            Command::Announce(blobs) => {
                self.publish(Topic::Announce, Gossip::Have(blobs).to_bytes()).await;
            }
        }
    }

    async fn drain(&mut self, done: &mpsc::Sender<(u64, OpId, Done)>) {
        while let Some(output) = self.machine.as_mut().and_then(Node::poll_output) {
            match output {
                Output::Sign(record) => {
                    let signed = record.sign(&self.chain.domain, &self.operator);
                    let verified = signed.and_then(|signed| signed.verify(&self.chain.domain));
                    match verified {
                        Ok(record) => {
                            let gossip = Gossip::Record(record.signed().clone()).to_bytes();
                            let id = record.id();
                            let kind = record.record().body.kind();
                            tracing::debug!(record = %id, ?kind, "a record was signed");
                            // Durable first: others must not see what a crash lets this node forget.
                            self.on_record(Arc::new(record), Source::Own);
                            if self.worker.pool.contains(&id) {
                                self.publish(Topic::Records, gossip).await;
                            }
                        }
                        Err(error) => tracing::error!(%error, "a record could not be signed"),
                    }
                }
                Output::Submit(transaction) => self.worker.sender.submit(transaction),
                Output::Job(op, job) => {
                    let (jobs, chain) = (Arc::clone(&self.jobs), Arc::clone(&self.chain));
                    let (done, life) = (done.clone(), self.life);
                    tokio::spawn(async move {
                        let result = attempt(jobs.perform(chain, job)).await;
                        // The loop ends before its jobs when the node stops.
                        let _ = done.send((life, op, result)).await;
                    });
                }
                Output::Event(event) => self.on_event(event),
            }
        }
    }

    fn on_event(&mut self, event: Event) {
        tracing::info!(?event, "the machine tells");
        match event {
            Event::StorageFault { .. } => self.seen.storage_faults += 1,
            Event::ShardRejected { .. } => self.seen.shards_rejected += 1,
            Event::RoundClosed { model, round, checkpoint, shards } => {
                self.seen.closed.push(ClosedRound { model, round, checkpoint, shards });
            }
            Event::RoundReopened { model, round } => {
                self.seen.closed.retain(|known| known.model != model || known.round < round);
                self.seen.ready.remove(&model);
            }
            Event::ModelReady { model, checkpoint, sketches, sketch_root } => {
                self.worker.set_ready(model, checkpoint, sketches);
                self.seen.ready.insert(model, (checkpoint, sketch_root));
            }
            Event::Paid { request, tokens } => self.worker.requests.paid(request, Ok(tokens)),
            Event::Unpaid { request, reason } => self.worker.requests.paid(request, Err(reason)),
            Event::Served { request, record, price } => {
                self.worker.requests.finish(request, Ok((record, price)));
            }
            Event::Refused { request, reason } => self.worker.requests.finish(request, Err(reason)),
            Event::CheckpointMismatch { .. } | Event::WrongSettlement { .. } => {
                self.seen.objections += 1;
            }
        }
    }

    async fn publish(&mut self, topic: Topic, bytes: Vec<u8>) {
        if let Err(error) = self.net.publish(topic as usize, bytes.clone()).await {
            tracing::debug!(%error, "gossip is kept until a peer listens");
            // Pull sync brings what is dropped here to peers that join later.
            if self.unsent.len() < MAX_UNSENT {
                self.unsent.push_back((topic, bytes));
            }
        }
    }

    async fn resend(&mut self) {
        for (topic, bytes) in std::mem::take(&mut self.unsent) {
            if self.net.publish(topic as usize, bytes).await.is_err() {
                tracing::debug!("gossip found no peer; pull sync will carry it");
            }
        }
    }

    /// Asks one peer for what gossip may have lost.
    fn sync(
        &mut self,
        out: &mpsc::Sender<Vec<Arc<VerifiedRecord>>>,
        ended: &mpsc::Sender<(NodeId, bool)>,
    ) {
        let peers = self.worker.blobs.peers();
        let Some(peer) = self.syncs.begin(&peers, Instant::now()) else { return };
        let (net, epochs) = (self.net.clone(), protocol::sync::epochs(&self.chain));
        let ask = async move |request: Request| {
            let bytes = net.request(peer, request.to_bytes()).await.ok()?;
            Answer::from_bytes(&bytes).ok()
        };
        let (pool, chain) = (self.worker.pool.clone(), Arc::clone(&self.chain));
        let domain = chain.domain;
        let keep = {
            let pool = pool.clone();
            move |record: &Arc<VerifiedRecord>| pool.hold(&chain, record)
        };
        let round = sync::Round::new(pool, domain, ask, keep, out.clone());
        let ended = ended.clone();
        tokio::spawn(async move {
            let round = tokio::time::timeout(sync::DEADLINE, round.run(epochs));
            // The loop ends before its rounds when the node stops.
            let _ = ended.send((peer, round.await.unwrap_or(false))).await;
        });
    }

    fn publish_status(&self) {
        let machine = self.machine.as_ref();
        let snapshot = Snapshot {
            account: machine.map(Node::account),
            chain: Arc::clone(&self.chain),
            progress: machine.map(|m| m.progress().collect()).unwrap_or_default(),
            waiting: machine.map(|m| m.waiting(&self.chain)).unwrap_or_default(),
            seen: self.seen.clone(),
        };
        self.status.send_replace(Arc::new(snapshot));
    }
}
