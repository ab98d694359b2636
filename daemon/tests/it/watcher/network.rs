//! A network on a chain whose blocks the test makes: people who store by hand of the test, one of them a
//! thief, and one watcher that runs as everybody's node does.

use std::collections::BTreeMap;

use contracts_abi::devchain::DEV_KEYS;
use contracts_abi::{ChainClient, GenesisConfig, deploy};
use daemon::devchain;
use daemon::network::{NetworkFile, Preset};
use futures::future::join_all;
use protocol::chain::{ChainEvent, ChainView, Contribution, ProposalAct, Purpose, Transaction};
use protocol::eip712::EvmKey;
use protocol::holding::Inventory;
use protocol::identity::Binding;
use protocol::record::{
    AuditBody, Body, Finding, Kind, Record, SignedRecord, StorageProofBody, Verdict,
    storage_subject,
};
use protocol::settle::settle;
use protocol::{AccountId, Amount, BlobRef, BlockNumber, Blocks, DatanetId, Digest, Epoch, Hash};

use super::chain::{Chain, until};
use super::lies::Balances;
use super::process::Watcher;
use crate::net_support::{Node, config};

/// What the watcher has at stake: a twentieth of what all have whom no thief's proposal excludes.
const WATCHER: u128 = 5_000;
/// What the people have, the thief first.
const PEOPLE: [u128; 3] = [60_000, 47_500, 47_500];
pub(super) const THIEF: usize = 0;
/// Whoever sends what anybody can.
const ANYBODY: usize = 1;
/// The development account with money for the watcher.
const BANK: usize = 4;

/// Somebody without a node, or with one that only publishes.
struct Person {
    key: EvmKey,
    /// Zero until it is registered.
    account: AccountId,
    client: ChainClient,
}

pub(super) struct Network {
    pub(super) chain: Chain,
    pub(super) view: ChainView,
    /// Of the last settlement that the test made.
    pub(super) balances: Balances,
    /// When each proposal fell, and when somebody objected to it.
    pub(super) fell: BTreeMap<Digest, BlockNumber>,
    pub(super) objected: BTreeMap<Digest, BlockNumber>,
    /// False proposals that lost their bonds when something else became final.
    pub(super) closed: u64,
    /// What the thief publishes it publishes here.
    pub(super) publisher: Node,
    pub(super) watcher: Watcher,
    people: Vec<Person>,
    bank: ChainClient,
    _dir: tempfile::TempDir,
}

const fn open(whole: u128) -> Amount {
    Amount(whole * Amount::ONE_OPEN.0)
}

fn dev_key(index: usize) -> EvmKey {
    EvmKey::from_bytes(&DEV_KEYS[index].0).unwrap()
}

/// What a network with these parameters starts with: a development network as `openledger devchain` makes
/// it, or one with the numbers of the production network, where a challenge window is twenty minutes of
/// Ethereum's blocks.
fn genesis(preset: Preset) -> GenesisConfig {
    let holders: Vec<_> = (1..=BANK).map(|index| dev_key(index).address()).collect();
    let genesis = devchain::genesis(&holders, dev_key(9).address());
    let params = preset.params();
    match preset {
        Preset::Minimal => genesis,
        Preset::Mainnet => GenesisConfig {
            epoch_blocks: 600,
            commit_blocks: 100,
            settle_blocks: 100,
            challenge_blocks: 100,
            cell_bytes: params.holding.cell_bytes,
            max_pack: params.holding.max_pack,
            least_stake: params.economics.min_stake,
            ..genesis
        },
    }
}

impl Network {
    /// Deploys the contracts, has people register and publish data in epoch 0, and starts the watcher,
    /// which has no stake yet.
    pub(super) async fn found(chain: Chain, preset: Preset) -> Self {
        let deployer = dev_key(0);
        let genesis = genesis(preset);
        let deployed = deploy(&chain.url, &deployer, &genesis);
        let deployment = chain.mining(deployer.address(), deployed).await.unwrap();
        let (name, rpc_url) = ("test".to_owned(), chain.url.clone());
        let file = NetworkFile { name, rpc_url, params: preset, deployment };
        let connect = async |index: usize| {
            let at = file.deployment.clone();
            ChainClient::connect(&chain.url, at, &dev_key(index)).await.unwrap()
        };
        let mut people = Vec::new();
        for index in 1..=PEOPLE.len() {
            let (key, account, client) = (dev_key(index), AccountId(0), connect(index).await);
            people.push(Person { key, account, client });
        }
        let bank = connect(BANK).await;
        // Its key is that of the thief's account.
        let publisher = Node::with(config(secret(THIEF)[0], Vec::new())).await;
        let bootstrap = publisher.net.join_ticket().await.unwrap().to_string();
        let bootstrap: daemon::net::JoinTicket = bootstrap.parse().unwrap();
        let dir = tempfile::tempdir().unwrap();
        let path = Watcher::network_file(dir.path());
        file.write(&path).unwrap();
        let watcher = Watcher::start(&path, &bootstrap.bootstrap());
        chain.give_gas(watcher.operator).await;
        let mut network = Self {
            view: file.view(),
            chain,
            balances: Vec::new(),
            fell: BTreeMap::new(),
            objected: BTreeMap::new(),
            closed: 0,
            publisher,
            watcher,
            people,
            bank,
            _dir: dir,
        };
        network.register().await;
        network
    }

    /// Registers the people; the first block of epoch 0 may come meanwhile, but not the last.
    async fn register(&mut self) {
        let at = self.bank.deployment().clone();
        for person in 0..PEOPLE.len() {
            let owner = self.people[person].key.address();
            let (operator, payout) = (owner, owner);
            let binding =
                Binding { chain_id: at.chain_id, registry: at.registry, owner, operator, payout };
            let (node, binding) = binding.sign(&secret(person));
            let register = Transaction::Register { owner, operator, payout, node, binding };
            self.submit(person, vec![register]).await;
            self.people[person].account = self.view.account_of(&node).expect("it is there");
        }
        for (person, stake) in PEOPLE.into_iter().enumerate() {
            let (account, amount) = (self.people[person].account, open(stake));
            self.submit(person, vec![Transaction::StakeFor { account, amount }]).await;
        }
        let owner = self.people[ANYBODY].account;
        let (name, domain) = ("open".to_owned(), String::new());
        let create = Transaction::CreateDatanet { owner, name, domain, licence: 0 };
        self.submit(ANYBODY, vec![create]).await;
        let packs = (1..=4).map(|n| BlobRef::new(Hash([n; 32]), 40_000 + u64::from(n))).collect();
        let contribute = Transaction::Contribute(Contribution {
            id: 0,
            datanet: DatanetId(1),
            account: owner,
            manifest: Hash([9; 32]),
            packs,
            units: 1,
        });
        self.submit(ANYBODY, vec![contribute]).await;
        assert_eq!(self.view.epoch(), Epoch(0), "they are in time");
    }

    /// Waits until the watcher has registered itself, and gives it its stake.
    pub(super) async fn enrol_watcher(&mut self) {
        let operator = self.watcher.operator;
        let account = loop {
            if let Some(account) = self.view.account_of(&self.watcher.node) {
                break account;
            }
            until("the watcher registers", async || {
                (self.chain.waiting(operator).await > 0).then_some(())
            })
            .await;
            self.advance(1).await;
        };
        self.watcher.account = account;
        let stake = Transaction::StakeFor { account, amount: open(WATCHER) };
        let sent = self.bank.submit(&stake);
        self.chain.mining(self.bank.address(), sent).await.unwrap();
        self.read().await;
    }

    // --- blocks

    /// Reads what is new on the chain.
    pub(super) async fn read(&mut self) {
        let head = self.bank.head().await.unwrap();
        while self.view.now() < head {
            let from = self.view.head().map(|head| head.number.next());
            let from = from.unwrap_or(self.bank.deployment().genesis_block);
            for (header, events) in self.bank.poll_blocks(from, head).await.unwrap() {
                for event in &events {
                    self.note(header.number, event);
                }
                self.view.apply(header, &events);
            }
        }
    }

    fn note(&mut self, block: BlockNumber, event: &ChainEvent) {
        match event {
            ChainEvent::Defeated { id, .. } => drop(self.fell.insert(*id, block)),
            ChainEvent::Objected { id, .. } => drop(self.objected.insert(*id, block)),
            ChainEvent::Closed { is_right: false, .. } => self.closed += 1,
            _ => {}
        }
    }

    /// Makes some blocks.
    pub(super) async fn advance(&mut self, blocks: u64) {
        self.chain.mine(blocks).await;
        self.read().await;
    }

    /// Makes blocks up to one.
    pub(super) async fn advance_to(&mut self, block: BlockNumber) {
        let blocks = block.since(self.view.now()).0;
        if blocks > 0 {
            self.advance(blocks).await;
        }
    }

    /// Makes the next block, another one until it draws what a test needs. Nobody else may send anything
    /// meanwhile, nor read.
    pub(super) async fn draw(&mut self, is_it: impl Fn(&ChainView) -> bool) {
        let last = self.view.head().expect("the chain has begun");
        for later in 1..2_000 {
            let before = self.chain.call("evm_snapshot", serde_json::json!([])).await;
            self.chain.mine_at(last.timestamp.0 / 1_000 + later).await;
            let next = last.number.next();
            let [(header, events)] = &self.bank.poll_blocks(next, next).await.unwrap()[..] else {
                panic!("one block was asked for");
            };
            let mut view = self.view.clone();
            view.apply(*header, events);
            if is_it(&view) {
                return self.read().await;
            }
            self.chain.call("evm_revert", serde_json::json!([before])).await;
        }
        panic!("it is never drawn");
    }

    /// The same for a block that is to come. The watcher sleeps from two blocks before on, and reads it
    /// with the one after, as always.
    pub(super) async fn draw_at(&mut self, block: BlockNumber, is_it: impl Fn(&ChainView) -> bool) {
        self.advance_to(block.before(Blocks(2))).await;
        self.watcher.sleeps(true);
        // What it has sent is in this one.
        self.advance(1).await;
        self.draw(is_it).await;
        self.watcher.sleeps(false);
    }

    // --- transactions

    pub(super) async fn submit(&mut self, person: usize, transactions: Vec<Transaction>) {
        let client = &self.people[person].client;
        let sent = join_all(transactions.iter().map(|transaction| client.submit(transaction)));
        for result in self.chain.mining(client.address(), sent).await {
            result.unwrap();
        }
        self.read().await;
    }

    /// Sends a thief's proposals, all in one block.
    pub(super) async fn propose_at_once(&mut self, transactions: &[Transaction]) {
        let client = &self.people[THIEF].client;
        let sent = join_all(transactions.iter().map(|transaction| client.submit(transaction)));
        let count = transactions.len() as u64;
        for result in self.chain.mining_once(client.address(), count, sent).await {
            result.unwrap();
        }
        self.read().await;
    }

    pub(super) fn thief(&self) -> AccountId {
        self.people[THIEF].account
    }

    /// What the thief has at stake, what the watcher's operator holds, what the vault was given.
    pub(super) async fn money(&self) -> [Amount; 3] {
        let stake = self.bank.stake(self.thief()).await.unwrap();
        let held = self.bank.balance(self.watcher.operator).await.unwrap();
        [stake, held, self.bank.vault().await.unwrap().funded]
    }

    pub(super) async fn bond(&self, id: Digest) -> Amount {
        self.bank.proposal(id).await.unwrap().expect("it was proposed").bond
    }

    // --- what is earned

    /// Settles an epoch as one of the people would.
    pub(super) async fn settle(&mut self, epoch: Epoch) {
        self.advance_to(self.view.schedule.cutoff(epoch)).await;
        let outcome = settle(&self.view, epoch, &self.balances).unwrap();
        let settlement = outcome.settlement;
        let proposer = self.people[ANYBODY].account;
        self.submit(ANYBODY, vec![Transaction::Propose { proposer, settlement }]).await;
        self.advance(self.view.schedule.challenge_blocks.0 + 1).await;
        let act = ProposalAct::Finalise { uses: outcome.uses };
        self.submit(ANYBODY, vec![Transaction::AboutProposal { settlement, act }]).await;
        self.balances = outcome.leaves;
    }

    /// The people commit to what they hold.
    pub(super) async fn commit(&mut self, epoch: Epoch) {
        self.advance_to(self.view.schedule.start(epoch)).await;
        let s1 = self.view.seed(epoch, Purpose::Commit).expect("the epoch has begun");
        let placement = self.view.placement(epoch);
        let commit = |person: &Person| {
            let (_, packs) = placement.holders().find(|(holder, _)| *holder == person.account)?;
            let inventory = Inventory::owed(packs, &[], self.view.params().holding.cell_bytes);
            let rows = vec![Digest([5; 32]); inventory.cells() as usize];
            let body = Body::StorageCommit(inventory.commit(&s1, &rows, Vec::new()));
            Some(self.record(epoch, person, storage_subject(epoch, person.account), body))
        };
        let records = self.people.iter().filter_map(commit).collect();
        self.include(epoch, records).await;
    }

    /// The people show what they committed to, and find each other's right.
    pub(super) async fn prove(&mut self, epoch: Epoch) {
        self.advance_to(self.view.schedule.commit_deadline(epoch)).await;
        let subject_of = |person: &Person| storage_subject(epoch, person.account);
        let of = |person: &Person, kind| {
            let key = (kind, person.account, subject_of(person));
            self.view.record_of(epoch, &key).map(|record| record.id())
        };
        let proof = |person: &Person| {
            let commit = of(person, Kind::StorageCommit)?;
            let proof = StorageProofBody { commit, openings: Hash([6; 32]), length: 1 };
            Some(self.record(epoch, person, subject_of(person), Body::StorageProof(proof)))
        };
        let records = self.people.iter().filter_map(proof).collect();
        self.include(epoch, records).await;
        let mut audits = Vec::new();
        for person in &self.people {
            let work = storage_subject(epoch, person.account);
            let key = (Kind::StorageProof, person.account, work);
            let Some(proof) = self.view.record_of(epoch, &key) else { continue };
            let finding = Finding::Storage { record: proof.id(), verdict: Verdict::Pass };
            let auditors = self.view.storage_auditors(epoch, person.account).holders();
            for auditor in self.people.iter().filter(|auditor| auditors.contains(&auditor.account))
            {
                let of = person.account;
                let body = Body::Audit(AuditBody { of, work, finding });
                let subject = protocol::record::audit_subject(of, &work);
                audits.push(self.record(epoch, auditor, subject, body));
            }
        }
        self.include(epoch, audits).await;
    }

    fn record(&self, epoch: Epoch, by: &Person, subject: Digest, body: Body) -> SignedRecord {
        let record = Record { epoch, account: by.account, subject, body };
        record.sign(&self.view.domain, &by.key).unwrap()
    }

    async fn include(&mut self, epoch: Epoch, records: Vec<SignedRecord>) {
        assert!(!records.is_empty(), "nobody has anything to say in epoch {epoch}");
        self.submit(ANYBODY, vec![Transaction::Include { epoch, records }]).await;
    }
}

/// The secret of a person's node.
const fn secret(person: usize) -> [u8; 32] {
    [101 + person as u8; 32]
}
