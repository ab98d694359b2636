//! One conformance run, from its scenario to its table.

use std::{
    collections::BTreeMap,
    env, fs,
    os::unix::process::CommandExt as _,
    path::{Path, PathBuf},
    process::Command,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use clap::Parser;
use protocol::Epoch;
use simnet::{
    Scenario,
    kernel::Draws,
    network::{Underlay, build},
    scenario::Bandwidth,
    scenario_file::ScenarioFile,
    units::Size,
};
use tokio::signal::unix::{SignalKind, signal};

use crate::{
    cluster::Cluster,
    hosts::{Needs, TUN, check, prepare},
    logs::{Logs, Micros, now},
    router::{Class, Counts, Router, open_tun},
    table::{EpochSeen, Measured},
};

/// Set for this program where it forwards to the chain.
pub(crate) const FORWARD: &str = "OPENLEDGER_CONFORMANCE_FORWARD";
/// Set for this program in its own network namespace.
const INSIDE: &str = "OPENLEDGER_CONFORMANCE_INSIDE";

/// How long the daemons have to read the last settlement, all of them together.
const STATEMENTS: Duration = Duration::from_secs(30);
/// Between two looks.
const LOOK: Duration = Duration::from_millis(200);
/// How long a network without data is watched.
const IDLE: Duration = Duration::from_secs(20);

/// Real daemons over a network with imposed delays, against simnet's prediction.
#[derive(Debug, Parser)]
pub(crate) struct Args {
    /// The scenario; `[net]` without loss, jitter, NAT and narrow lines, and nobody who cheats
    scenario: PathBuf,
    /// The daemon's program
    #[arg(long, default_value = "target/release/openledger")]
    program: PathBuf,
    /// Changes a value of the scenario, like population.nodes=8; repeatable
    #[arg(long = "set", value_name = "KEY=VALUE")]
    set: Vec<String>,
    /// Where to put the daemons' directories; memory by default, as the disks of all nodes are not
    /// one disk
    #[arg(long, default_value = "/dev/shm")]
    space: PathBuf,
    /// Keep what was measured as JSON
    #[arg(long)]
    out: Option<PathBuf>,
    /// Keep the daemons' logs in this folder
    #[arg(long)]
    logs: Option<PathBuf>,
    /// Seeds over which simnet's prediction is taken
    #[arg(long, default_value_t = 3)]
    seeds: u64,
}

pub(crate) fn main() -> Result<()> {
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    if env::var_os(FORWARD).is_some() {
        return runtime.block_on(crate::cluster::forwarder());
    }
    let args = Args::parse();
    if env::var_os(INSIDE).is_none() {
        scenario(&args)?;
        check()?;
        let mut again = Command::new("unshare");
        again.arg("--net").arg(env::current_exe()?).args(env::args_os().skip(1)).env(INSIDE, "1");
        return Err(again.exec()).context("unshare cannot be run");
    }
    let scenario = scenario(&args)?;
    contracts_abi::install_crypto_provider();
    runtime.block_on(async {
        let mut ended = signal(SignalKind::terminate())?;
        tokio::select! {
            done = run(&args, scenario) => done,
            _ = tokio::signal::ctrl_c() => Err(anyhow::anyhow!("stopped")),
            _ = ended.recv() => Err(anyhow::anyhow!("stopped")),
        }
    })
}

/// The scenario, if it is one that the router can impose.
fn scenario(args: &Args) -> Result<Scenario> {
    let settings = args.set.iter().map(|text| simnet::scenario_file::setting(text));
    let settings = settings.collect::<Result<Vec<_>, _>>()?;
    let file = ScenarioFile::read(&args.scenario)?.with(&settings)?;
    file.possible()?;
    let scenario = file.scenario;
    let net = &scenario.net;
    ensure!(
        net.loss == 0.0 && net.jitter == 0.0 && net.nat == 0.0,
        "loss, jitter and NAT are not imposed: set them to zero"
    );
    ensure!(net.bandwidth == Bandwidth::None, "lines are not imposed: net.bandwidth = \"none\"");
    ensure!(
        scenario.adversaries.is_empty()
            && scenario.events.is_empty()
            && scenario.population.offline == 0.0,
        "daemons neither cheat nor fail here"
    );
    let packs = &scenario.workload;
    ensure!(
        packs.pack_min == packs.pack_max && packs.pack_max <= Size::kib(32),
        "packs have one length, of at most 32 KiB: longer texts are cut"
    );
    Ok(scenario)
}

async fn run(args: &Args, scenario: Scenario) -> Result<()> {
    let program = fs::canonicalize(&args.program)
        .with_context(|| format!("{} is not there; build it first", args.program.display()))?;
    let nodes = usize::try_from(scenario.population.nodes)?;
    let space = tempfile::Builder::new().prefix("conformance").tempdir_in(&args.space)?;
    let tun = open_tun(TUN).map_err(Needs::Tun)?;
    prepare()?;
    let underlay = build(&scenario, Draws::new(scenario.seed))?;
    let router = Router::start(tun, nodes + 1, |from, to| delay(&*underlay, from, to))?;
    let mut cluster = Cluster::start(&program, space.path(), &scenario).await?;
    eprintln!("a chain is there; {nodes} daemons are started");
    cluster.add_nodes(nodes).await?;
    cluster.stake(scenario.stake()).await?;
    let idle = idle(&mut cluster, &router).await?;
    let packs = usize::try_from(scenario.workload.packs)?;
    eprintln!("all are registered; {packs} packs are published");
    cluster.publish(packs, usize::try_from(scenario.workload.pack_max.0)?).await?;
    // Packs and nodes count from the second epoch after they came; one more to settle down.
    let first = Epoch(cluster.view.epoch().0 + 3);
    eprintln!("epochs {first} to {} are measured", first.0 + scenario.epochs - 1);
    let mut measured = measure(&mut cluster, &router, first, scenario.epochs).await?;
    measured.idle = idle;
    measured.peers = (0..nodes).map(|member| peers(&cluster, member)).collect::<Result<_>>()?;
    let dirs: Vec<_> = cluster.members.iter().map(|member| member.dir.clone()).collect();
    drop(cluster);
    let mut logs = Logs::default();
    for (number, dir) in dirs.iter().enumerate() {
        logs.read(&dir.join("node.log"))?;
        if let Some(kept) = &args.logs {
            fs::create_dir_all(kept)?;
            fs::copy(dir.join("node.log"), kept.join(format!("node{}.log", number + 1)))?;
        }
    }
    measured.deliveries = logs.deliveries(measured.time.clone());
    if let Some(out) = &args.out {
        fs::write(out, serde_json::to_vec_pretty(&measured)?)?;
    }
    crate::table::print(&measured, &scenario, args.seeds)
}

/// One way between two hosts; the chain lies a typical delay away.
fn delay(underlay: &dyn Underlay, from: usize, to: usize) -> Duration {
    let node = |host: usize| u32::try_from(host).ok()?.checked_sub(1);
    Duration::from_micros(match (node(from), node(to)) {
        (Some(from), Some(to)) => underlay.delay(from, to),
        _ => underlay.typical(),
    })
}

/// Bytes of a node per second by class, while there is nothing to do.
async fn idle(cluster: &mut Cluster, router: &Router) -> Result<BTreeMap<&'static str, u64>> {
    tokio::time::sleep(IDLE).await;
    let (from, time) = (router.counts(), Instant::now());
    tokio::time::sleep(IDLE).await;
    cluster.catch_up().await?;
    let (traffic, millis) = (EpochSeen::traffic(&from, &router.counts()), time.elapsed());
    let millis = u64::try_from(millis.as_millis())?;
    let of = |class: Class| {
        let hosts = traffic.iter().skip(1).flat_map(|host| host[class as usize]);
        hosts.map(|count| count.bytes).sum::<u64>() * 1_000 / millis / (traffic.len() as u64 - 1)
    };
    Ok(Class::ALL.iter().map(|(class, name)| (*name, of(*class))).collect())
}

/// Looks at the network at the bounds of epochs, until all of them are settled.
async fn measure(
    cluster: &mut Cluster,
    router: &Router,
    first: Epoch,
    epochs: u64,
) -> Result<Measured> {
    let mut bounds: Vec<(Micros, Counts, Load)> = Vec::new();
    for epoch in first.0..=first.0 + epochs {
        let start = cluster.view.schedule.start(Epoch(epoch));
        let is_there = |view: &protocol::chain::ChainView| {
            view.head().is_some_and(|head| head.number >= start)
        };
        cluster.until("an epoch", is_there).await?;
        if bounds.is_empty() {
            router.take_lateness();
        }
        bounds.push((now(), router.counts(), Load::now(cluster)?));
        eprintln!("epoch {epoch} begins");
    }
    let lateness = router.take_lateness();
    let last = Epoch(first.0 + epochs - 1);
    cluster.until("settlement", |view| view.next_to_settle() > last).await?;
    let mut seen = Vec::new();
    for (epoch, pair) in (first.0..).map(Epoch).zip(bounds.windows(2)) {
        let placement = cluster.view.placement(epoch);
        let holders = placement.holders().count() as u64;
        let settled = cluster.view.settlement(epoch).context("it is settled")?.settlement;
        seen.push(EpochSeen {
            epoch: epoch.0,
            holders,
            replicas: placement.replicas(),
            proven: settled.replicas_proven.into(),
            faults: settled.storage_faults.into(),
            paid: 0,
            seconds: pair[1].0.saturating_sub(pair[0].0) as f64 / 1e6,
            cpu: pair[0].2.until(&pair[1].2),
            traffic: EpochSeen::traffic(&pair[0].1, &pair[1].1),
        });
    }
    count_paid(cluster, &mut seen).await?;
    let time = bounds[0].0..bounds[bounds.len() - 1].0;
    Ok(Measured::new(time, seen, &lateness))
}

/// How many holders each settlement pays, by what the daemons say of themselves once they have
/// read that the last of them is final.
async fn count_paid(cluster: &Cluster, seen: &mut [EpochSeen]) -> Result<()> {
    let Some(last) = seen.iter().map(|epoch| epoch.epoch).max() else { return Ok(()) };
    let since = Instant::now();
    for member in 0..cluster.members.len() {
        let lines = loop {
            // A daemon that cannot get a log yet refuses.
            let lines = storage_lines(cluster, member);
            let has_read = |lines: &Vec<StorageLine>| lines.iter().any(|line| line.epoch >= last);
            if lines.as_ref().is_ok_and(has_read) {
                break lines?;
            }
            if since.elapsed() > STATEMENTS {
                let why = lines.err().map(|error| error.to_string()).unwrap_or_default();
                eprintln!("node {} does not say what it was paid: {why}", member + 1);
                break Vec::new();
            }
            tokio::time::sleep(LOOK).await;
        };
        for epoch in seen.iter_mut() {
            let is_paid = |line: &StorageLine| line.epoch == epoch.epoch && line.reason.is_none();
            epoch.paid += u64::from(lines.iter().any(is_paid));
        }
    }
    Ok(())
}

/// Of a daemon's statement, what concerns storage: pay, or the reason for none.
fn storage_lines(cluster: &Cluster, member: usize) -> Result<Vec<StorageLine>> {
    let text = cluster.ask(member, &["rewards"])?;
    let lines: Vec<StorageLine> = serde_json::from_str(text.lines().last().unwrap_or_default())?;
    Ok(lines.into_iter().filter(|line| line.source == "storage").collect())
}

#[derive(Debug, serde::Deserialize)]
struct StorageLine {
    epoch: u64,
    source: String,
    reason: Option<String>,
}

fn peers(cluster: &Cluster, member: usize) -> Result<u64> {
    let text = cluster.ask(member, &["status"])?;
    let status: serde_json::Value = serde_json::from_str(text.lines().last().unwrap_or_default())?;
    status["peers"].as_u64().context("a status says how many peers there are")
}

/// Time that processors worked, in ticks: all of the machine, idle, and of the daemons.
#[derive(Debug, Clone, Copy)]
struct Load {
    all: u64,
    idle: u64,
    daemons: u64,
}

impl Load {
    fn now(cluster: &Cluster) -> Result<Self> {
        let stat = fs::read_to_string("/proc/stat")?;
        let first = stat.lines().next().unwrap_or_default();
        let ticks: Vec<u64> = first.split_whitespace().filter_map(|n| n.parse().ok()).collect();
        let of = |pid: u32| -> Option<u64> {
            let stat = fs::read_to_string(Path::new("/proc").join(pid.to_string()).join("stat"));
            let stat = stat.ok()?;
            let fields: Vec<&str> = stat.rsplit(") ").next()?.split(' ').collect();
            Some(fields.get(11)?.parse::<u64>().ok()? + fields.get(12)?.parse::<u64>().ok()?)
        };
        Ok(Self {
            all: ticks.iter().take(8).sum(),
            idle: ticks.get(3).copied().unwrap_or_default(),
            daemons: cluster.members.iter().filter_map(|m| of(m.host.pid())).sum(),
        })
    }

    /// Shares of the machine that were busy, and that the daemons took.
    fn until(&self, end: &Self) -> (f64, f64) {
        let all = (end.all - self.all).max(1) as f64;
        let busy = all - (end.idle - self.idle) as f64;
        (busy / all, end.daemons.saturating_sub(self.daemons) as f64 / all)
    }
}
