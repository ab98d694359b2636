//! What every step of the demo works with, and how a step waits.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Result, bail};
use contracts_abi::ChainClient;
use protocol::{AccountId, Amount, EvmAddress};
use tokio::time::{Instant, sleep};

use super::cluster::{Member, NODES};
use super::options::{DemoArgs, Workload};
use super::participants::{Accounts, Participants, keep_consumer, sponsor};
use super::progress::Progress;
use super::texts::corpora;
use super::workspace::Workspace;
use crate::api::{ApiError, Client};
use crate::client::ChainReader;
use crate::devchain::{deploy_network, dev_key, genesis, start_chain};
use crate::network::NetworkFile;

/// Between two looks at anything.
const POLL: Duration = Duration::from_millis(500);
/// How long the chain may go without a block, beside the time between some.
const SILENCE: Duration = Duration::from_secs(15);

/// The network of the demo and everybody in it.
pub(super) struct World<'a> {
    pub(super) workload: Workload,
    pub(super) seed: u64,
    /// A model of others whose adapter is trained.
    pub(super) base: Option<PathBuf>,
    /// How long a step may take.
    patience: Duration,
    /// How long the chain may go without a block.
    silence: Duration,
    pub(super) progress: &'a Progress,
    pub(super) workspace: &'a mut Workspace,
    pub(super) network: NetworkFile,
    pub(super) reader: ChainReader,
    pub(super) sponsor: ChainClient,
    pub(super) people: Participants,
    /// The node that serves the model; an honest one.
    pub(super) server: usize,
    pub(super) cheat: Option<usize>,
    /// What the payout addresses held before anything was paid.
    pub(super) held_before: Amount,
}

/// Who earns: for the statement, and for the sum of what was paid.
pub(super) struct Payee {
    pub(super) account: AccountId,
    pub(super) role: &'static str,
    pub(super) name: String,
    /// Where claims pay.
    pub(super) payout: EvmAddress,
}

impl<'a> World<'a> {
    /// A chain with the contracts, and everybody's keys.
    pub(super) async fn set_up(
        args: &DemoArgs,
        progress: &'a Progress,
        workspace: &'a mut Workspace,
    ) -> Result<Self> {
        let corpora = corpora(args.data.as_deref(), args.small)?;
        let cheat = (!args.honest).then(|| cheat_of(args.seed));
        let honest: Vec<_> = (0..NODES).filter(|index| Some(*index) != cheat).collect();
        let people = Participants::generate(corpora, &honest)?;
        let rpc_url = if let Some(url) = &args.rpc_url {
            url.clone()
        } else {
            let chain = start_chain(None, 0, args.block()).await?;
            let url = chain.url();
            workspace.chain = Some(chain);
            url
        };
        progress.line(format!("chain at {rpc_url}; deploying the contracts"));
        let holders = [dev_key(1).address(), people.consumer.address()];
        let genesis = genesis(&holders, people.treasury);
        let network = deploy_network(&rpc_url, "demo", &dev_key(0), &genesis).await?;
        let reader = ChainReader::connect(&network).await?;
        let held_before = reader.client().balance(people.treasury).await?;
        let sponsor = sponsor(&network).await?;
        keep_consumer(&workspace.dir().join("consumer"), &people.consumer)?;
        Ok(Self {
            workload: args.workload(),
            seed: args.seed,
            base: args.base.clone(),
            patience: args.patience(),
            silence: SILENCE + args.block() * 3,
            progress,
            workspace,
            network,
            reader,
            sponsor,
            people,
            server: honest[0],
            cheat,
            held_before,
        })
    }

    /// The nodes, in the order in which they were started.
    pub(super) fn members(&self) -> &[Member] {
        &self.workspace.cluster.members
    }

    /// The API of the node that serves the model.
    pub(super) fn server(&self) -> Result<Client, ApiError> {
        self.members()[self.server].client()
    }

    /// Everybody who earns.
    pub(super) fn payees(&self, accounts: &Accounts) -> Vec<Payee> {
        let mut all = vec![Payee {
            account: self.network.deployment.treasury,
            role: "treasury",
            name: "treasury".to_owned(),
            payout: self.people.treasury,
        }];
        for (member, account) in self.members().iter().zip(&accounts.nodes) {
            let (role, name) = match member.is_cheat {
                true => ("cheat", format!("{} (dishonest)", member.name)),
                false => ("node", member.name.clone()),
            };
            all.push(Payee { account: *account, role, name, payout: member.operator });
        }
        for (person, account) in self.people.contributors.iter().zip(&accounts.contributors) {
            let name = person.corpus.name.clone();
            let (account, role) = (*account, "contributor");
            all.push(Payee { account, role, name, payout: person.owner });
        }
        all.push(Payee {
            account: accounts.developer,
            role: "developer",
            name: "developer".to_owned(),
            payout: self.people.developer,
        });
        all
    }

    /// Begins to wait for something.
    pub(super) fn wait_for(&self, what: &str) -> Wait {
        self.progress.wait(what);
        let now = Instant::now();
        Wait { until: now + self.patience, block: 0, since: now }
    }

    /// Waits a little; fails when a step takes too long or the chain stands still.
    pub(super) async fn pause(&self, wait: &mut Wait, what: &str) -> Result<()> {
        self.progress.wait(what);
        sleep(POLL).await;
        let head = self.reader.client().head().await?.0;
        if head > wait.block {
            (wait.block, wait.since) = (head, Instant::now());
        }
        if wait.since.elapsed() > self.silence {
            bail!(
                "the chain at {} makes no blocks; start it so that it makes one each second, like \
                 `anvil --block-time 1`",
                self.network.rpc_url
            );
        }
        if Instant::now() > wait.until {
            let dir = self.workspace.dir().display();
            bail!("gave up waiting for {what}; the nodes' logs are in {dir}");
        }
        Ok(())
    }
}

/// A wait that fails rather than last for ever.
pub(super) struct Wait {
    until: Instant,
    /// The newest block that was seen, and when.
    block: u64,
    since: Instant,
}

/// Which node is dishonest.
fn cheat_of(seed: u64) -> usize {
    let digest = protocol::hash::keccak(&[b"openledger/demo/cheat", &seed.to_be_bytes()]);
    usize::from(digest.0[0]) % NODES
}
