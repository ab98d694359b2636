//! The story itself, step by step.

use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use contracts_abi::ChainClient;
use protocol::chain::{ModelPublication, Transaction};
use protocol::{AccountId, Amount, DatanetId, Epoch, EvmAddress, ModelId, Round};
use tokio::process::Command;
use tokio::time::{Instant, sleep};

use super::DemoArgs;
use super::cast::{Cast, GAS, keep_consumer, sponsor};
use super::cluster::Member;
use super::crash::{Crash, Phase};
use super::progress::{Progress, describe_run};
use super::report::{Payout, Report, Tally, finals, first, is_paid_up};
use super::stage::Stage;
use super::texts::contributors;
use crate::api::types::{
    Claim, Claimed, Contribute, CreateDatanet, Created, DatanetInfo, Evaluate, ModelInfo, Publish,
    Ticket, Train,
};
use crate::cli::chain::ChainReader;
use crate::cli::consumer::{Consumer, Question};
use crate::cli::devchain::{deploy_network, dev_key, genesis, start_chain, whole};
use crate::ingest::batches;
use crate::network::NetworkFile;
use crate::node::{AddReport, Evaluation, InferReport, RewardLine, StatusReport};

/// Nodes of the demo.
pub(super) const NODES: usize = 5;
/// Stake of each node.
const STAKE: Amount = whole(1_000);
/// Epochs whose replicas must be proven and settled.
const PROVEN_EPOCHS: usize = 2;
/// Between two looks at anything.
const LOOK: Duration = Duration::from_millis(500);
/// How long the chain may go without a block.
const SILENCE: Duration = Duration::from_secs(15);
/// Tokens of an answer.
const ANSWER_TOKENS: u32 = 32;

/// The numbers of a setting.
#[derive(Debug, Clone, Copy)]
pub(super) struct Setting {
    pub(super) rounds: Option<u32>,
    pub(super) steps: Option<u32>,
    pub(super) prompts: usize,
    pub(super) block: Duration,
    /// No step may take longer than this.
    pub(super) patience: Duration,
}

impl Setting {
    pub(super) fn of(args: &DemoArgs) -> Self {
        let block = Duration::from_millis(args.block_ms);
        let patience = Duration::from_secs(600);
        if args.small {
            Self { rounds: Some(2), steps: Some(8), prompts: 1, block, patience }
        } else {
            Self { rounds: None, steps: None, prompts: 3, block, patience }
        }
    }
}

/// The demo while it goes on.
pub(super) struct Story<'a> {
    setting: Setting,
    seed: u64,
    progress: &'a Progress,
    stage: &'a mut Stage,
    network: NetworkFile,
    reader: ChainReader,
    sponsor: ChainClient,
    cast: Cast,
    /// The node that serves the model; an honest one.
    server: usize,
    cheat: Option<usize>,
    crashes: Vec<Crash>,
    /// What the payout addresses held before anything was paid.
    held_before: Amount,
    report: Report,
}

impl<'a> Story<'a> {
    /// Sets the scene: a chain with the contracts, and everybody's keys.
    pub(super) async fn begin(
        args: &DemoArgs,
        progress: &'a Progress,
        stage: &'a mut Stage,
    ) -> Result<Self> {
        let texts = contributors(args.data.as_deref(), args.small)?;
        let cheat = (!args.honest).then(|| cheat_of(args.seed));
        let honest: Vec<_> = (0..NODES).filter(|index| Some(*index) != cheat).collect();
        let cast = Cast::assemble(texts, &honest)?;
        let setting = Setting::of(args);
        let rpc_url = if let Some(url) = &args.rpc_url {
            url.clone()
        } else {
            let chain = start_chain(None, 0, setting.block).await?;
            let url = chain.url();
            stage.chain = Some(chain);
            url
        };
        progress.line(format!("chain at {rpc_url}; deploying the contracts"));
        let holders = [dev_key(1).address(), cast.consumer.address()];
        let genesis = genesis(&holders, cast.treasury);
        let network = deploy_network(&rpc_url, "demo", &dev_key(0), &genesis).await?;
        let reader = ChainReader::connect(&network).await?;
        let held_before = reader.client().balance(cast.treasury).await?;
        let sponsor = sponsor(&network).await?;
        keep_consumer(&stage.dir().join("consumer"), &cast.consumer)?;
        Ok(Self {
            setting,
            seed: args.seed,
            progress,
            stage,
            network,
            reader,
            sponsor,
            cast,
            server: honest[0],
            cheat,
            crashes: args.kill.clone(),
            held_before,
            report: Report::default(),
        })
    }

    /// Tells it to the end.
    pub(super) async fn tell(mut self) -> Result<Report> {
        self.start_nodes().await?;
        let datanet = self.publish().await?;
        self.crash(Phase::Publish).await?;
        let model = self.order(datanet).await?;
        self.crash(Phase::Train).await?;
        self.train(model).await?;
        self.crash(Phase::Offer).await?;
        self.offer(model).await?;
        self.consume(model).await?;
        self.crash(Phase::Settle).await?;
        let last = self.settle().await?;
        self.claim().await?;
        self.account(last).await?;
        self.statement(model).await?;
        self.verify(last).await?;
        self.report.seconds = self.progress.seconds();
        Ok(self.report)
    }

    // --- nodes

    /// Kills the nodes whose turn it is in this phase, and starts them again.
    async fn crash(&mut self, phase: Phase) -> Result<()> {
        for crash in self.crashes.iter().filter(|crash| crash.phase == phase) {
            self.progress.line(format!("node {} is killed and started again", crash.node + 1));
            self.stage.cluster.crash(crash.node).await?;
        }
        Ok(())
    }

    async fn start_nodes(&mut self) -> Result<()> {
        let mut prepared = Vec::new();
        for index in 0..NODES {
            let dir = self.stage.dir().join(format!("node{}", index + 1));
            prepared.push((dir.clone(), Member::prepare(&dir, &self.network)?.operator_address()));
        }
        self.fund(prepared.iter().map(|(_, operator)| *operator)).await?;
        let mut bootstrap = Vec::new();
        for (index, (dir, operator)) in prepared.into_iter().enumerate() {
            let member = self.spawn(index, dir, operator, &bootstrap)?;
            self.stage.cluster.members.push(member);
            if index == 0 {
                let first = &mut self.stage.cluster.members[0];
                bootstrap = first.ready().await?.bootstrap;
            }
        }
        for member in &mut self.stage.cluster.members {
            member.ready().await?;
        }
        self.await_accounts().await?;
        self.stake().await?;
        let pids: Vec<_> = self.stage.cluster.members.iter().map(|m| m.pid.to_string()).collect();
        self.progress.line(format!("{NODES} nodes run as processes {}", pids.join(", ")));
        Ok(())
    }

    fn spawn(
        &self,
        index: usize,
        dir: PathBuf,
        operator: EvmAddress,
        bootstrap: &[String],
    ) -> Result<Member> {
        let name = format!("node {}", index + 1);
        Member::spawn(name, dir, operator, bootstrap, self.cheat == Some(index))
    }

    async fn fund(&self, operators: impl Iterator<Item = EvmAddress>) -> Result<()> {
        let all = operators.chain([self.cast.consumer.address()]);
        let sends = all.map(|address| self.sponsor.send_gas(address, GAS));
        futures::future::try_join_all(sends).await.context("gas cannot be sent")?;
        Ok(())
    }

    async fn await_accounts(&mut self) -> Result<()> {
        let mut wait = self.patience("the nodes to register");
        loop {
            let statuses = self.stage.cluster.statuses().await?;
            for (member, status) in self.stage.cluster.members.iter_mut().zip(&statuses) {
                member.account = status.account;
            }
            if statuses.iter().all(|status| status.account != AccountId(0)) {
                return Ok(());
            }
            self.look(&mut wait, "the nodes to register").await?;
        }
    }

    async fn stake(&self) -> Result<()> {
        let accounts = self.stage.cluster.members.iter().map(|member| member.account);
        let stakes: Vec<_> =
            accounts.map(|account| Transaction::StakeFor { account, amount: STAKE }).collect();
        // The first alone: it also approves the token.
        let (one, rest) = stakes.split_first().context("there are nodes")?;
        self.sponsor.submit(one).await.context("the stake was not taken")?;
        let rest = rest.iter().map(|stake| self.sponsor.submit(stake));
        futures::future::try_join_all(rest).await.context("the stakes were not taken")?;
        Ok(())
    }

    // --- data

    async fn publish(&mut self) -> Result<DatanetId> {
        self.cast.register(&self.stage.cluster.members, self.server).await?;
        let client = self.stage.cluster.members[self.server].client()?;
        let create = CreateDatanet {
            name: "demo".to_owned(),
            domain: "public-domain prose".to_owned(),
            licence: 0,
        };
        let Created { id: datanet } = client.post("/datanets", &create).await?;
        let mut count = 0;
        for author in &self.cast.authors {
            let client = self.stage.cluster.members[author.host].client()?;
            let mut bytes = 0;
            for documents in batches(author.text.documents.clone()) {
                let contribute = Contribute { owner: Some(author.owner), documents };
                let path = format!("/datanets/{datanet}/contributions");
                let added: AddReport = client.post(&path, &contribute).await?;
                self.report.units += added.units;
                self.report.packs += added.packs;
                bytes += added.bytes;
                count += 1;
            }
            let AccountId(account) = author.account;
            let name = &author.text.name;
            self.progress.line(format!("{name} publishes {bytes} bytes as account {account}"));
        }
        self.await_contributions(datanet, count).await?;
        Ok(datanet)
    }

    async fn await_contributions(&mut self, datanet: DatanetId, count: usize) -> Result<()> {
        let mut wait = self.patience("the contributions");
        loop {
            let client = self.stage.cluster.members[self.server].client()?;
            let seen: Vec<DatanetInfo> = client.get("/datanets").await?;
            let found = seen.iter().find(|one| one.id == datanet);
            if found.is_some_and(|one| one.contributions.len() >= count) {
                return Ok(());
            }
            self.look(&mut wait, "the contributions to be admitted").await?;
        }
    }

    // --- the model

    async fn order(&mut self, datanet: DatanetId) -> Result<ModelId> {
        let client = self.stage.cluster.members[self.server].client()?;
        let train = Train {
            datanet,
            owner: Some(self.cast.developer),
            seed: self.seed,
            rounds: self.setting.rounds,
            steps: self.setting.steps,
        };
        let Created { id } = client.post("/models", &train).await?;
        self.progress.line(format!("a training run is ordered as model {id}"));
        Ok(id)
    }

    async fn train(&mut self, model: ModelId) -> Result<()> {
        let mut wait = self.patience("training");
        let mut told = 0;
        loop {
            let statuses = self.stage.cluster.statuses().await?;
            let status = &statuses[self.server];
            let closed: Vec<_> =
                status.rounds_closed.iter().filter(|closed| closed.model == model).collect();
            for round in closed.iter().skip(told) {
                let Round(number) = round.round;
                let hash = &round.checkpoint.to_string()[..12];
                let shards = round.shards;
                self.progress.line(format!("round {number} closes over {shards} shards: {hash}…"));
            }
            told = told.max(closed.len());
            let is_ready = |status: &StatusReport| {
                status
                    .runs
                    .iter()
                    .any(|run| run.model == model && run.is_ready && run.sketch_root.is_some())
            };
            if is_ready(status) {
                return Ok(());
            }
            let text = describe_run(status, model);
            self.look(&mut wait, &text).await?;
        }
    }

    async fn offer(&mut self, model: ModelId) -> Result<()> {
        let client = self.stage.cluster.members[self.server].client()?;
        let held_out = self.cast.authors.iter().flat_map(|a| a.text.held_out.clone()).collect();
        self.progress.wait("the loss on held-out text");
        let path = format!("/models/{model}/evaluate");
        let evaluation: Evaluation = client.post(&path, &Evaluate { held_out }).await?;
        self.report.set_losses(&evaluation);
        let (first, last) = (self.report.loss_first, self.report.loss_last);
        let unigram = self.report.loss_unigram;
        self.progress.line(format!(
            "held-out loss {first:.3} → {last:.3} (a unigram model has {unigram:.3})"
        ));
        let publish = Publish { price_in: whole(10), price_out: whole(40), price_use: whole(1) };
        let path = format!("/models/{model}/publish");
        let _: ModelPublication = client.post(&path, &publish).await?;
        let mut wait = self.patience("the offer");
        loop {
            let models: Vec<ModelInfo> = client.get("/models").await?;
            if models.iter().any(|one| one.id == model && one.offer.is_some()) {
                self.progress.line(format!("node {} serves the model", self.server + 1));
                return Ok(());
            }
            self.look(&mut wait, "the offer to be on chain").await?;
        }
    }

    async fn consume(&mut self, model: ModelId) -> Result<()> {
        let dir = self.stage.dir().join("consumer");
        let key = self.cast.consumer.clone();
        let mut consumer = Consumer::connect(&self.network, key, &dir).await?;
        let client = self.stage.cluster.members[self.server].client()?;
        let mut tally = Tally::default();
        for author in &self.cast.authors {
            let prompts = author.text.prompts(self.setting.prompts, self.seed);
            for prompt in prompts {
                let name = &author.text.name;
                self.progress.wait(format!("an answer to a prompt of {name}"));
                let number = u64::from(tally.of);
                let seed = self.seed.wrapping_mul(1_000).wrapping_add(number);
                let question = Question { model, prompt, max_tokens: ANSWER_TOKENS, seed };
                let output = consumer.ask(&client, &question).await?;
                tally.count(author.account, &output);
                self.progress.line(self.describe_output(name, author.account, &output));
            }
        }
        self.report.attribution = tally;
        self.report.inferences = usize::try_from(tally.of).unwrap_or_default();
        Ok(())
    }

    fn describe_output(&self, name: &str, right: AccountId, output: &InferReport) -> String {
        let named = |shares: &[(AccountId, u32)]| match first(shares) {
            Some(account) => {
                let author = self.cast.authors.iter().find(|author| author.account == account);
                let ppm = shares.iter().find(|(id, _)| *id == account).map_or(0, |(_, ppm)| *ppm);
                let name = author.map_or("?", |author| author.text.name.as_str());
                format!("{name} {} %", ppm / 10_000)
            }
            None => "nobody".to_owned(),
        };
        let mark = if first(&output.shares) == Some(right) { "right" } else { "wrong" };
        let (paid, gradient) = (named(&output.shares), named(&output.gradient));
        let spans = named(&output.span_shares);
        let start: String = output.text.chars().take(40).collect();
        format!("prompt of {name}: {paid} ({mark}; gradient {gradient}, spans {spans}) {start:?}")
    }

    // --- money

    /// Waits until the epoch of the last redemption is final, and enough epochs had proofs.
    async fn settle(&mut self) -> Result<Epoch> {
        let payer = self.cast.consumer.address();
        let inferences = self.report.inferences;
        let mut wait = self.patience("settlement");
        loop {
            self.stage.cluster.statuses().await?;
            let chain = self.reader.catch_up().await?;
            let proven = finals(chain).filter(|s| s.settlement.replicas_proven > 0).count();
            let last_use = (0..=chain.epoch().0)
                .map(Epoch)
                .rfind(|epoch| chain.redemptions(*epoch).any(|r| r.payer == payer));
            let next = chain.next_to_settle();
            let text = format!(
                "settlement: epoch {} of {} is next, {proven} final ones have proofs",
                next,
                chain.epoch()
            );
            if let Some(epoch) = last_use
                && epoch < next
                && proven >= PROVEN_EPOCHS
                && is_paid_up(chain, payer, inferences)
            {
                let last = Epoch(next.0.saturating_sub(1));
                self.progress.line(format!("epoch {last} is final"));
                return Ok(last);
            }
            self.look(&mut wait, &text).await?;
        }
    }

    /// Claims for everybody, as anyone may.
    async fn claim(&mut self) -> Result<()> {
        let client = self.stage.cluster.members[self.server].client()?;
        for (account, ..) in self.everybody() {
            let claim = Claim { account: Some(account) };
            // A node that claims for itself may come first; the books below say what was paid.
            match client.post::<_, Claimed>("/claims", &claim).await {
                Ok(_) => {}
                Err(error) => tracing::info!(%account, %error, "not claimed"),
            }
        }
        self.progress.line("everybody's rewards are claimed");
        Ok(())
    }

    /// Accounts with their roles, names and payout addresses.
    fn everybody(&self) -> Vec<(AccountId, &'static str, String, EvmAddress)> {
        let treasury = self.network.deployment.treasury;
        let mut all = vec![(treasury, "treasury", "treasury".to_owned(), self.cast.treasury)];
        for member in &self.stage.cluster.members {
            let role = if member.is_cheat { "cheat" } else { "node" };
            let name = match member.is_cheat {
                true => format!("{} (dishonest)", member.name),
                false => member.name.clone(),
            };
            all.push((member.account, role, name, member.operator));
        }
        for author in &self.cast.authors {
            let name = author.text.name.clone();
            all.push((author.account, "contributor", name, author.owner));
        }
        let developer = "developer".to_owned();
        all.push((self.cast.developer_account, "developer", developer, self.cast.developer));
        all
    }

    /// Reads the books over RPC until nothing moves between two readings.
    async fn account(&mut self, last: Epoch) -> Result<()> {
        let mut wait = self.patience("the books");
        loop {
            let before = self.reader.client().vault().await?;
            let held = self.reader.client().balance(self.network.deployment.vault).await?;
            let mut received = Amount::ZERO;
            for (.., payout) in self.everybody() {
                let balance = self.reader.client().balance(payout).await?;
                received = received.saturating_add(balance);
            }
            let after = self.reader.client().vault().await?;
            let chain = self.reader.catch_up().await?;
            let total = chain.last_final().map_or(Amount::ZERO, |state| state.settlement.total);
            if before == after {
                let pending = total.saturating_sub(before.paid);
                let vault = held.saturating_sub(pending);
                let sum = |a: Amount, b: Amount| a.saturating_add(b);
                let is_whole = sum(before.funded, before.redeemed)
                    == sum(vault, sum(before.paid, pending))
                    && before.paid <= total
                    && pending <= held;
                let is_received = received == sum(self.held_before, before.paid);
                let report = &mut self.report;
                (report.funded, report.redeemed) = (before.funded, before.redeemed);
                (report.vault, report.paid, report.pending) = (vault, before.paid, pending);
                report.conserved = is_whole && is_received;
                report.epochs = last.0 + 1;
                self.count_settlements();
                return Ok(());
            }
            self.look(&mut wait, "the books to be still").await?;
        }
    }

    /// Proofs and faults as the final settlements on chain say them.
    fn count_settlements(&mut self) {
        let report = &mut self.report;
        for state in finals(self.reader.view()) {
            report.replicas_proven += state.settlement.replicas_proven;
            report.storage_faults_caught += state.settlement.storage_faults;
            report.shards_verified += state.settlement.shards_verified;
            report.shards_rejected += state.settlement.shards_rejected;
        }
    }

    async fn statement(&mut self, model: ModelId) -> Result<()> {
        let client = self.stage.cluster.members[self.server].client()?;
        for (account, role, name, _) in self.everybody() {
            let path = format!("/rewards?account={account}");
            let lines: Vec<RewardLine> = client.get(&path).await?;
            self.report.payouts.push(Payout::new(account, role, name, &lines));
        }
        let statuses = self.stage.cluster.statuses().await?;
        let pids = self.stage.cluster.members.iter().map(|member| member.pid);
        let statuses: Vec<_> = pids.zip(statuses).collect();
        self.report.set_nodes(&statuses, model);
        Ok(())
    }

    /// Lets another process, with an empty directory, recompute the last root from the log.
    async fn verify(&mut self, epoch: Epoch) -> Result<()> {
        let member = &self.stage.cluster.members[(self.server + 1) % NODES];
        let Ticket { ticket } = member.client()?.get("/ticket").await?;
        let program = std::env::current_exe().context("this program cannot be found again")?;
        let output = Command::new(program)
            .args(["verify", "epoch", &epoch.to_string(), "--json", "--peer", &ticket])
            .args(["--rpc-url", &self.network.rpc_url, "--dir"])
            .arg(self.stage.dir().join("verifier"))
            .stdin(Stdio::null())
            .kill_on_drop(true)
            .output()
            .await
            .context("the verifier cannot be started")?;
        let said = String::from_utf8_lossy(&output.stdout);
        let answer: serde_json::Value = said
            .lines()
            .last()
            .and_then(|line| serde_json::from_str(line).ok())
            .unwrap_or_default();
        let chain = self.reader.view();
        let expected = chain.settlement(epoch).map(|s| s.settlement.payout_root.to_string());
        let root = answer["settlement"]["payout_root"].as_str().map(str::to_owned);
        self.report.verified_root =
            output.status.success() && answer["verified"] == true && root == expected;
        if self.report.verified_root {
            self.progress.line(format!("another process verified epoch {epoch} from its log"));
        } else {
            self.progress.line(format!("epoch {epoch} was not verified: {}", said.trim()));
        }
        Ok(())
    }

    // --- waiting

    fn patience(&self, what: &str) -> Wait {
        self.progress.wait(what);
        let now = Instant::now();
        Wait { until: now + self.setting.patience, block: 0, since: now }
    }

    /// Waits a little; fails when a step takes too long or the chain stands still.
    async fn look(&mut self, wait: &mut Wait, what: &str) -> Result<()> {
        self.progress.wait(what);
        sleep(LOOK).await;
        let head = self.reader.client().head().await?.0;
        if head > wait.block {
            (wait.block, wait.since) = (head, Instant::now());
        }
        if wait.since.elapsed() > SILENCE {
            bail!(
                "the chain at {} makes no blocks; start it so that it makes one each second, like \
                 `anvil --block-time 1`",
                self.network.rpc_url
            );
        }
        if Instant::now() > wait.until {
            let dir = self.stage.dir().display();
            bail!("waited too long for: {what} (logs in {dir})");
        }
        Ok(())
    }
}

struct Wait {
    until: Instant,
    block: u64,
    since: Instant,
}

/// Which node is dishonest.
fn cheat_of(seed: u64) -> usize {
    let digest = protocol::hash::keccak(&[b"openledger/demo/cheat", &seed.to_be_bytes()]);
    usize::from(digest.0[0]) % NODES
}
