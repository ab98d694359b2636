//! Nodes, their stores, and a network that loses and delays.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    sync::Arc,
};

use protocol::{
    AccountId, Amount, Balance, BlobRef, DatanetId, Digest, Epoch, Hash, ModelId,
    chain::{Contribution, Model, Transaction},
    codec::Wire,
    hash::{blake3, keccak},
    model::RunModel,
    node::{Done, Event, Failure, Input, Job, Node, NodeConfig, OpId, Output},
    receipt::SignedReceipt,
    record::{Kind, SignedRecord, VerifiedRecord},
    settle::Outcome,
    training::{Contributions, RunConfig},
};

use crate::chain::{CONTRIBUTOR, FakeChain, TREASURY, domain, key};

/// What an order pays here, several times its least price.
pub(crate) const ESCROW: Amount = Amount(10 * Amount::ONE_OPEN.0);

/// What a node does wrong.
#[derive(Clone, Copy, Default)]
pub(crate) struct Faults {
    pub(crate) offline: bool,
    pub(crate) claims_lost: bool,
    pub(crate) forges: bool,
    pub(crate) passes_all: bool,
    /// Shows its work only to auditors who pass everything.
    pub(crate) hides: bool,
    pub(crate) wrong_checkpoint: bool,
    /// Has no pack, and says that it has all.
    pub(crate) stores_nothing: bool,
    /// Says of every storage proof that all is well.
    pub(crate) passes_unseen: bool,
    /// Cannot reach who shows a storage proof.
    pub(crate) misses_proofs: bool,
    /// Has its records taken in only when it is too late to dispute anything.
    pub(crate) is_late: bool,
    pub(crate) inflates: bool,
    /// Proposes what is right with another total.
    pub(crate) overstates: bool,
    /// Keeps its attributions from the chain.
    pub(crate) withholds: bool,
    /// Attributes what nobody asked.
    pub(crate) misattributes: bool,
    /// Finds every attribution false.
    pub(crate) condemns: bool,
    /// Computes answers until it is told to finish.
    pub(crate) is_slow: bool,
}

/// A node with everything its driver keeps.
pub(crate) struct Peer {
    pub(crate) account: AccountId,
    pub(crate) node: Node,
    pub(crate) faults: Faults,
    pub(crate) blobs: BTreeMap<Hash, Vec<u8>>,
    pub(crate) pool: BTreeMap<Digest, Arc<VerifiedRecord>>,
    pub(crate) events: Vec<Event>,
    pub(crate) refused_blobs: BTreeSet<Hash>,
    pub(crate) requests: BTreeMap<u64, SignedReceipt>,
    /// Answers that take long.
    unfinished: Vec<(OpId, Done)>,
}

/// The whole network.
pub(crate) struct Net {
    pub(crate) chain: FakeChain,
    pub(crate) peers: Vec<Peer>,
    pub(crate) origin: BTreeMap<Hash, Vec<u8>>,
    pub(crate) leaves: BTreeMap<Digest, Vec<(AccountId, Balance)>>,
    pub(crate) outcomes: BTreeMap<Digest, Outcome>,
    pub(crate) trace: Digest,
    pub(crate) loss_percent: u64,
    /// Accounts that exchange records only with each other; the chain is everybody's.
    pub(crate) apart: BTreeSet<AccountId>,
    flying: VecDeque<(u64, usize, SignedRecord)>,
    /// Transactions that are kept back until a block.
    held: Vec<(u64, Transaction)>,
    random: u64,
    keys: BTreeMap<(Epoch, Kind, AccountId, Digest), Digest>,
}

pub(crate) fn new_node(account: AccountId) -> Node {
    Node::new(account, NodeConfig { computes: true, claim_epochs: 1, max_memory: None })
}

/// A run of some rounds over all that there is.
pub(crate) fn order(rounds: u32) -> RunConfig {
    RunConfig {
        model: RunModel::Preset(0),
        tokenizer: Hash::ZERO,
        tokenizer_length: 1,
        seed: 1,
        rounds,
        units_per_shard: 4,
        steps: 2,
        batch: 2,
        context: 96,
        warmup: 1,
        learning_rate: 1,
        final_rate: 1,
        top_k: 64,
        alpha: 1_000_000,
        data: vec![Contributions::ALL],
    }
}

impl Net {
    /// Nodes 1 to `count`, and one contributor with `packs` packs.
    pub(crate) fn new(count: u64, packs: u8, seed: u64) -> Self {
        Self::with_auditors(count, packs, seed, 1)
    }

    /// The same with more auditors of a shard than one.
    pub(crate) fn with_auditors(count: u64, packs: u8, seed: u64, auditors: u32) -> Self {
        let mut net = Self {
            chain: FakeChain::new(seed, auditors),
            peers: vec![],
            origin: BTreeMap::new(),
            leaves: BTreeMap::from([(Digest::ZERO, vec![])]),
            outcomes: BTreeMap::new(),
            trace: Digest::ZERO,
            loss_percent: 0,
            apart: BTreeSet::new(),
            flying: VecDeque::new(),
            held: vec![],
            random: seed,
            keys: BTreeMap::new(),
        };
        (1..=count).for_each(|id| net.join(AccountId(id)));
        net.chain.register(CONTRIBUTOR, false);
        net.chain.register(TREASURY, false);
        net.chain.mine();
        let mut listed = vec![];
        for pack in 0..packs {
            let length = 20_000 + usize::from(pack);
            let bytes: Vec<u8> = (0..length).map(|i| (i * 31) as u8 ^ pack).collect();
            listed.push(BlobRef::new(blake3(&bytes), length as u64));
            net.origin.insert(blake3(&bytes), bytes);
        }
        net.chain.waiting.push(Transaction::Contribute(Contribution {
            id: 0,
            datanet: DatanetId(1),
            account: CONTRIBUTOR,
            manifest: Hash::ZERO,
            packs: listed,
            units: 40,
        }));
        net.chain.mine();
        net
    }

    pub(crate) fn join(&mut self, account: AccountId) {
        self.chain.register(account, true);
        self.peers.push(Peer {
            account,
            node: new_node(account),
            faults: Faults::default(),
            blobs: BTreeMap::new(),
            pool: BTreeMap::new(),
            events: vec![],
            refused_blobs: BTreeSet::new(),
            requests: BTreeMap::new(),
            unfinished: vec![],
        });
    }

    pub(crate) fn order_model(&mut self, rounds: u32) {
        let config = order(rounds);
        self.chain.waiting.push(Transaction::CreateModel(Model {
            id: ModelId(0),
            developer: CONTRIBUTOR,
            datanet: DatanetId(1),
            escrow: ESCROW,
            config: config.to_bytes(),
        }));
    }

    pub(crate) fn random(&mut self) -> u64 {
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.random;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn is_parted(&self, one: usize, other: usize) -> bool {
        let is_apart = |index: usize| self.apart.contains(&self.peers[index].account);
        is_apart(one) != is_apart(other)
    }

    fn is_lost(&mut self) -> bool {
        self.random() % 100 < self.loss_percent
    }

    pub(crate) fn peer(&mut self, account: u64) -> &mut Peer {
        self.peers.iter_mut().find(|peer| peer.account.0 == account).unwrap()
    }

    /// Runs until a block.
    pub(crate) fn run_to(&mut self, block: u64) {
        while self.chain.now() < block {
            self.step();
        }
    }

    /// Runs until the last block before an epoch ends, plus what its settlement needs.
    pub(crate) fn run_epochs(&mut self, epochs: u64) {
        self.run_to(epochs * crate::chain::EPOCH_BLOCKS + 30);
    }

    /// One block, and everything that follows from it.
    pub(crate) fn step(&mut self) {
        let next = self.chain.now() + 1;
        let (due, kept) =
            std::mem::take(&mut self.held).into_iter().partition(|(at, _)| *at <= next);
        self.held = kept;
        let due: Vec<(u64, Transaction)> = due;
        self.chain.waiting.extend(due.into_iter().map(|(_, transaction)| transaction));
        self.chain.mine();
        let now = self.chain.now();
        let (due, later): (Vec<_>, Vec<_>) =
            std::mem::take(&mut self.flying).into_iter().partition(|(at, ..)| *at <= now);
        self.flying = later.into();
        for (_, to, record) in due {
            self.deliver(to, record);
        }
        for index in 0..self.peers.len() {
            if !self.peers[index].faults.offline {
                self.sync(index);
                self.input(index, Input::Block);
            }
        }
    }

    /// Pulls what one random peer has and this one lacks.
    fn sync(&mut self, index: usize) {
        let other = (self.random() % self.peers.len() as u64) as usize;
        let is_near = other != index && !self.is_parted(index, other);
        if !is_near || self.peers[other].faults.offline || self.is_lost() {
            return;
        }
        let missing: Vec<_> = self.peers[other]
            .pool
            .iter()
            .filter(|(id, _)| !self.peers[index].pool.contains_key(*id))
            .map(|(_, record)| record.signed().clone())
            .collect();
        for record in missing {
            self.deliver(index, record);
        }
    }

    fn deliver(&mut self, to: usize, record: SignedRecord) {
        if self.peers[to].faults.offline {
            return;
        }
        let record = Arc::new(record.verify(&domain()).unwrap());
        if self.peers[to].pool.insert(record.id(), Arc::clone(&record)).is_none() {
            self.input(to, Input::Record(record));
        }
    }

    /// Feeds one input and answers everything that comes out, until nothing does.
    pub(crate) fn input(&mut self, index: usize, input: Input) {
        self.peers[index].node.handle(&self.chain.view, input);
        while let Some(output) = self.peers[index].node.poll_output() {
            self.trace = keccak(&[&self.trace.0, format!("{index} {output:?}").as_bytes()]);
            match output {
                Output::Event(event) => self.peers[index].events.push(event),
                Output::Submit(transaction) => self.send(index, transaction),
                Output::Job(op, job) => {
                    let is_slow = matches!(job, Job::Infer { .. });
                    let done = self.work(index, job);
                    if is_slow && self.peers[index].faults.is_slow {
                        self.peers[index].unfinished.push((op, done));
                        continue;
                    }
                    self.peers[index].node.handle(&self.chain.view, Input::Done(op, done));
                }
                Output::Sign(record) => {
                    assert!(record.is_well_formed(&domain()));
                    let (kind, account, subject) = record.key();
                    let epoch = record.epoch;
                    let signed = record.sign(&domain(), &key(account.0)).unwrap();
                    let verified = Arc::new(signed.clone().verify(&domain()).unwrap());
                    let before = self.keys.insert((epoch, kind, account, subject), verified.id());
                    assert!(
                        before.is_none(),
                        "{account} signs {kind:?} {subject} twice in epoch {epoch}"
                    );
                    self.peers[index].pool.insert(verified.id(), Arc::clone(&verified));
                    self.peers[index].node.handle(&self.chain.view, Input::Record(verified));
                    self.gossip(index, &signed);
                }
            }
        }
    }

    fn send(&mut self, index: usize, mut transaction: Transaction) {
        let schedule = self.chain.view.schedule;
        let faults = &self.peers[index].faults;
        if let Transaction::Include { epoch, records } = &mut transaction {
            let is_withheld = |record: &SignedRecord| {
                faults.withholds && record.record.body.kind() == Kind::Attribution
            };
            records.retain(|record| !is_withheld(record));
            if faults.is_late {
                let is_audit = |record: &mut SignedRecord| record.record.body.kind() == Kind::Audit;
                let audits = records.extract_if(.., is_audit).collect();
                let late = schedule.storage_deadline(*epoch).0 + 1;
                self.held.push((late, Transaction::Include { epoch: *epoch, records: audits }));
            }
        }
        self.chain.waiting.push(transaction);
    }

    fn gossip(&mut self, from: usize, record: &SignedRecord) {
        for to in 0..self.peers.len() {
            if to != from && !self.is_parted(from, to) && !self.is_lost() {
                let at = self.chain.now() + 1 + self.random() % 2;
                self.flying.push_back((at, to, record.clone()));
            }
        }
    }

    /// Ends what takes a slow node long.
    pub(crate) fn finish(&mut self, account: u64) {
        let index = self.peers.iter().position(|peer| peer.account.0 == account).unwrap();
        for (op, done) in std::mem::take(&mut self.peers[index].unfinished) {
            self.input(index, Input::Done(op, done));
        }
    }

    /// One of the things that take a slow node long fails.
    pub(crate) fn fail(&mut self, account: u64, which: usize) {
        let index = self.peers.iter().position(|peer| peer.account.0 == account).unwrap();
        let (op, _) = self.peers[index].unfinished.remove(which);
        self.input(index, Input::Done(op, Done::Failed(Failure::Local)));
    }

    /// A new machine over the stored records of the old one.
    pub(crate) fn restart(&mut self, account: u64) {
        let index = self.peers.iter().position(|peer| peer.account.0 == account).unwrap();
        self.peers[index].node = new_node(AccountId(account));
        let stored: Vec<_> = self.peers[index].pool.values().cloned().collect();
        for record in stored {
            self.input(index, Input::Record(record));
        }
    }

    /// The final outcome of an epoch.
    pub(crate) fn outcome(&self, epoch: u64) -> &Outcome {
        let state = self.chain.view.settlement(Epoch(epoch)).expect("proposed");
        assert!(state.is_final, "epoch {epoch} is not final");
        &self.outcomes[&state.settlement.id()]
    }

    pub(crate) fn events(&self) -> impl Iterator<Item = (AccountId, &Event)> {
        self.peers.iter().flat_map(|peer| peer.events.iter().map(|event| (peer.account, event)))
    }
}
