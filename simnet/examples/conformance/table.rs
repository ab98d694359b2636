//! What was measured beside what simnet predicts.

use std::{collections::BTreeMap, ops::Range};

use anyhow::Result;
use serde::Serialize;
use simnet::{Scenario, report::Report, runner};

use crate::{
    logs::{Delivery, Micros},
    router::{Class, Count, Counts},
};

/// Quantiles of delivery times that are compared.
const PERCENTS: [usize; 4] = [10, 50, 90, 99];

/// Classes of traffic, in words, and as simnet calls them.
const TRAFFIC: [(&[&str], &str, &str); 4] = [
    (&["all"], "bytes, both ways", "bytes_per_node"),
    (&["control, QUIC", "control, TCP"], "of these, gossip and pull sync", "bytes_control"),
    (&["data"], "of these, blobs", "bytes_data"),
    (&["chain RPC"], "of these, the chain's RPC", "bytes_chain"),
];

/// One measured epoch.
#[derive(Debug, Serialize)]
pub(crate) struct EpochSeen {
    pub(crate) epoch: u64,
    pub(crate) holders: u64,
    pub(crate) replicas: u64,
    pub(crate) proven: u64,
    pub(crate) faults: u64,
    pub(crate) paid: u64,
    pub(crate) seconds: f64,
    /// Shares of the machine's processors that were busy, and that the daemons took.
    pub(crate) cpu: (f64, f64),
    /// Of each host, by class: sent and received, as (packets, bytes).
    #[serde(skip)]
    pub(crate) traffic: Counts,
}

impl EpochSeen {
    /// What came between two counts.
    pub(crate) fn traffic(from: &Counts, to: &Counts) -> Counts {
        let less = |a: &Count, b: &Count| Count {
            packets: b.packets - a.packets,
            bytes: b.bytes - a.bytes,
        };
        let hosts = from.iter().zip(to);
        let of = |(a, b): (&[[Count; 2]; 5], &[[Count; 2]; 5])| {
            std::array::from_fn(|class| std::array::from_fn(|d| less(&a[class][d], &b[class][d])))
        };
        hosts.map(of).collect()
    }

    /// Bytes of each node, both ways, of the classes that a function picks.
    fn bytes(&self, is_meant: impl Fn(Class) -> bool) -> Vec<u64> {
        let of = |host: &[[Count; 2]; 5]| {
            let classes = Class::ALL.iter().filter(|(class, _)| is_meant(*class));
            classes.flat_map(|(class, _)| host[*class as usize]).map(|c| c.bytes).sum()
        };
        self.traffic.iter().skip(1).map(of).collect()
    }
}

/// Everything that was measured.
#[derive(Debug, Serialize)]
pub(crate) struct Measured {
    pub(crate) time: Range<Micros>,
    pub(crate) epochs: Vec<EpochSeen>,
    /// How late the router was, in microseconds: in the median, and at 99 %.
    pub(crate) late: (u32, u32),
    /// Bytes per node and epoch (both ways) by class: median and mean over nodes and epochs.
    pub(crate) bytes: BTreeMap<&'static str, (u64, u64)>,
    /// Packets per node and epoch (both ways) by class: mean.
    pub(crate) packets: BTreeMap<&'static str, u64>,
    /// Bytes per node and second (both ways) by class, before there were packs.
    pub(crate) idle: BTreeMap<&'static str, u64>,
    pub(crate) deliveries: BTreeMap<String, Delivery>,
    /// Connected peers of each node at the end.
    pub(crate) peers: Vec<u64>,
}

impl Measured {
    pub(crate) fn new(time: Range<Micros>, epochs: Vec<EpochSeen>, late: &[u32]) -> Self {
        let at = |percent: usize| late.get(late.len() * percent / 100).copied().unwrap_or_default();
        let middle = |is_meant: &dyn Fn(Class) -> bool| {
            let mut all: Vec<_> = epochs.iter().flat_map(|epoch| epoch.bytes(is_meant)).collect();
            all.sort_unstable();
            let mean = all.iter().sum::<u64>() / (all.len() as u64).max(1);
            (all.get(all.len() / 2).copied().unwrap_or_default(), mean)
        };
        let classes = Class::ALL.iter();
        let mut bytes: BTreeMap<_, _> =
            classes.map(|(class, name)| (*name, middle(&|other| other == *class))).collect();
        bytes.insert("all", middle(&|_| true));
        let packets = Class::ALL.iter().map(|(class, name)| {
            let hosts = epochs.iter().flat_map(|epoch| epoch.traffic.iter().skip(1));
            let counts: Vec<u64> =
                hosts.map(|host| host[*class as usize].iter().map(|c| c.packets).sum()).collect();
            (*name, counts.iter().sum::<u64>() / (counts.len() as u64).max(1))
        });
        let packets = packets.collect();
        let late = (at(50), at(99));
        let (idle, deliveries, peers) = (BTreeMap::new(), BTreeMap::new(), Vec::new());
        Self { time, epochs, late, bytes, packets, idle, deliveries, peers }
    }
}

impl Measured {
    /// Mean bytes per node and epoch of some classes.
    #[expect(clippy::cast_precision_loss, reason = "figures for people")]
    fn mean_bytes(&self, classes: &[&str]) -> Option<f64> {
        let means = classes.iter().map(|class| self.bytes.get(class).map(|(_, mean)| *mean as f64));
        means.sum()
    }
}

/// Prints the comparison.
pub(crate) fn print(measured: &Measured, scenario: &Scenario, seeds: u64) -> Result<()> {
    describe(measured);
    let mut reports = Vec::new();
    for seed in scenario.seed..scenario.seed + seeds {
        // Traffic is counted without the first epoch.
        let scenario = Scenario { seed, epochs: scenario.epochs + 1, ..scenario.clone() };
        reports.push(runner::run(&scenario, &mut |_| true)?);
    }
    let row = |name: &str, unit: &str, real: Option<f64>, model: Option<f64>| {
        let show = |value: Option<f64>| value.map_or("-".to_owned(), |v| format!("{v:.3}"));
        let ratio = real.zip(model).map(|(real, model)| model / real);
        let name = format!("{name} ({unit})");
        println!("| {name:<44} | {:>12} | {:>12} | {:>6} |", show(real), show(model), show(ratio));
    };
    println!("| {:<44} | {:>12} | {:>12} | {:>6} |", "", "daemons", "simnet", "ratio");
    println!("|{:-<46}|{:->14}|{:->14}|{:->8}|", "", "", "", "");
    let all = measured.deliveries.get("all");
    for percent in PERCENTS {
        let name = format!("records reach {percent} % of nodes within");
        let real = all.and_then(|all| all.quantile(percent));
        row(&name, "ms", real, delivered(&reports, percent));
    }
    let epochs = &measured.epochs;
    #[expect(clippy::cast_precision_loss, reason = "figures for people")]
    let mean = |of: &dyn Fn(&EpochSeen) -> u64| {
        Some(epochs.iter().map(of).sum::<u64>() as f64 / epochs.len() as f64)
    };
    let kpi = |name: &str| mean_kpi(&reports, name);
    for (kind, of) in measured.deliveries.iter().filter(|(kind, _)| *kind != "all") {
        let name = format!("of these, half, if {kind}");
        row(&name, "ms", of.quantile(50), delivered(&reports, 50));
    }
    for (class, name, predicted) in TRAFFIC {
        row(name, "B/node/epoch", measured.mean_bytes(class), kpi(predicted));
    }
    let share = |part: Option<f64>, whole: Option<f64>| Some(part? / whole?);
    let proven = share(mean(&|e| e.proven), mean(&|e| e.replicas));
    row("replicas proven", "of assigned", proven, kpi("replicas_proven"));
    let paid = share(mean(&|e| e.paid), mean(&|e| e.holders));
    let unpaid = kpi("honest_unpaid").map(|unpaid| 1.0 - unpaid);
    row("holders paid", "of holders", paid, unpaid);
    let records = all.map(|all| all.records as f64 / epochs.len() as f64);
    row("records", "per epoch", records, kpi("records_per_epoch"));
    Ok(())
}

fn describe(measured: &Measured) {
    for epoch in &measured.epochs {
        let (busy, daemons) = epoch.cpu;
        println!(
            "epoch {}: {:.1} s, {} holders, {} paid, {} of {} replicas proven, {} faults; \
             processors {:.0} % busy, {:.0} % by daemons",
            epoch.epoch,
            epoch.seconds,
            epoch.holders,
            epoch.paid,
            epoch.proven,
            epoch.replicas,
            epoch.faults,
            busy * 100.0,
            daemons * 100.0
        );
    }
    let peers = &measured.peers;
    println!("peers of a node: {:?} to {:?}", peers.iter().min(), peers.iter().max());
    println!(
        "packets were late by {} us in the median, {} us at 99 %",
        measured.late.0, measured.late.1
    );
    for (kind, of) in &measured.deliveries {
        let quantiles: Vec<_> = PERCENTS.iter().map(|p| of.quantile(*p).unwrap_or(0.0)).collect();
        println!(
            "{kind}: {} records, {} of {} deliveries by gossip, {} by pull; {quantiles:.1?} ms",
            of.records, of.gossiped, of.wanted, of.pulled
        );
    }
    for (class, (median, mean)) in &measured.bytes {
        let packets = measured.packets.get(class).copied().unwrap_or_default();
        println!("{class}: {median} B median, {mean} B mean, {packets} packets per node and epoch");
    }
    println!("before there were packs, per node and second: {:?}", measured.idle);
    println!();
}

/// A quantile of the predicted delivery times, over all seeds, in milliseconds.
#[expect(clippy::cast_precision_loss, reason = "a figure for people")]
fn delivered(reports: &[Report], percent: usize) -> Option<f64> {
    let mut bins = BTreeMap::new();
    let histograms = reports.iter().flat_map(|report| &report.histograms);
    for (bound, count) in histograms.filter(|h| h.name == "delivery_time").flat_map(|h| &h.bins) {
        *bins.entry(bound.to_bits()).or_insert(0) += count;
    }
    let total: u64 = bins.values().sum();
    let mut seen = 0;
    let found = bins.iter().find(|(_, count)| {
        seen += **count;
        seen as f64 >= total as f64 * percent as f64 / 100.0
    });
    found.map(|(bound, _)| f64::from_bits(*bound))
}

#[expect(clippy::cast_precision_loss, reason = "a figure for people")]
fn mean_kpi(reports: &[Report], name: &str) -> Option<f64> {
    let values = reports.iter().flat_map(|report| &report.kpis).filter(|kpi| kpi.name == name);
    let values: Vec<f64> = values.filter_map(|kpi| kpi.value).collect();
    (!values.is_empty()).then(|| values.iter().sum::<f64>() / values.len() as f64)
}
