//! The lines between nodes: the network, and what is counted of what moves over it.

use std::collections::BTreeMap;

use protocol::Epoch;

use super::{lookups::Lookups, number, traffic::Traffic};
use crate::{
    Scenario,
    kernel::{Time, real, whole},
    network::Network,
    scenario::{Dht, FaultKind},
};

/// What nodes paid for upload, in USD.
#[derive(Debug, Default)]
struct Uploads {
    /// USD per GiB sent.
    price: f64,
    all: BTreeMap<u32, f64>,
    /// Since operators looked last.
    lately: BTreeMap<u32, f64>,
}

/// The network of a run.
pub(super) struct Links {
    network: Network,
    lookups: Lookups,
    traffic: Traffic,
    uploads: Uploads,
    has_lookups: bool,
    fetched_bytes: u64,
    lost_transfers: u64,
}

/// A transfer to a node.
#[derive(Debug, Clone, Copy)]
pub(super) struct Transfer {
    /// The node that sends; `None` for a server without a number.
    pub(super) from: Option<u32>,
    pub(super) to: u32,
    pub(super) bytes: u64,
    /// Tells the transfers of a node apart.
    pub(super) which: u64,
}

impl Links {
    pub(super) fn new(scenario: &Scenario, network: Network) -> Self {
        Self {
            network,
            lookups: Lookups::default(),
            traffic: Traffic::default(),
            uploads: Uploads { price: scenario.economics.upload, ..Uploads::default() },
            has_lookups: scenario.net.dht == Dht::Kademlia,
            fetched_bytes: 0,
            lost_transfers: 0,
        }
    }

    pub(super) const fn network(&self) -> &Network {
        &self.network
    }

    pub(super) const fn lookups(&self) -> &Lookups {
        &self.lookups
    }

    pub(super) const fn traffic(&self) -> &Traffic {
        &self.traffic
    }

    pub(super) const fn traffic_mut(&mut self) -> &mut Traffic {
        &mut self.traffic
    }

    /// Bytes that reached their receivers, and transfers that did not.
    pub(super) const fn transferred(&self) -> (u64, u64) {
        (self.fetched_bytes, self.lost_transfers)
    }

    /// Puts withholding peers around a node: a share of all that it asks.
    pub(super) fn eclipse(&mut self, victim: usize, share: f64) {
        self.network.eclipse(number(victim), share);
    }

    /// Notes how many nodes are there, at a new block: entries of absent ones cost lookups time.
    pub(super) fn note_online(&mut self, online: impl FnOnce() -> u64, nodes: usize) {
        if self.has_lookups {
            self.lookups.note_offline(1.0 - real(online()) / real(nodes as u64));
        }
    }

    /// Moves bytes to a node, which looks up the sender first; how long it takes, in microseconds, and
    /// `None` when it is given up.
    pub(super) fn transfer(&mut self, now: Time, epoch: Epoch, transfer: Transfer) -> Option<u64> {
        let Transfer { from, to, bytes, which } = transfer;
        let found = match from {
            None => Some(0),
            Some(_) => self.lookups.look_up(&self.network, to, which),
        };
        let there =
            found.and_then(|found| self.network.transfer(now.after(found), from, to, bytes, which));
        match there {
            Some(_) => {
                self.fetched_bytes += bytes;
                self.pay_upload(from, bytes);
                self.traffic.count_fetch(epoch, bytes);
            }
            None => self.lost_transfers += 1,
        }
        there.map(|at| at.0.saturating_sub(now.0))
    }

    fn pay_upload(&mut self, from: Option<u32>, bytes: u64) {
        let usd = gib(bytes) * self.uploads.price;
        if let Some(node) = from.filter(|_| usd > 0.0) {
            *self.uploads.all.entry(node).or_default() += usd;
            *self.uploads.lately.entry(node).or_default() += usd;
        }
    }

    /// What a node paid for upload so far, in USD.
    pub(super) fn paid_upload(&self, node: u32) -> f64 {
        self.uploads.all.get(&node).copied().unwrap_or(0.0)
    }

    /// What nodes paid for upload since the last call, in USD.
    pub(super) fn take_uploads(&mut self) -> BTreeMap<u32, f64> {
        std::mem::take(&mut self.uploads.lately)
    }

    /// When a node can speak to the chain: at once, or when the outage of its provider is over.
    pub(super) fn rpc_from(&self, at: Time, node: u32) -> Time {
        let faults = self.network.faults();
        if faults.spells().is_empty() {
            return at;
        }
        let region = self.network.underlay().region(node);
        faults.until(FaultKind::RpcOutage, at, node, region).unwrap_or(at)
    }

    /// Time of a node's disk for what takes so many microseconds: longer where a fault says so.
    pub(super) fn disk(&self, now: Time, index: usize, micros: u64) -> u64 {
        let me = number(index);
        let region = self.network.underlay().region(me);
        let factor = self.network.faults().disk(now, me, region);
        if factor <= 1.0 { micros } else { whole(real(micros) * factor) }
    }
}

/// Bytes in GiB.
pub(super) fn gib(bytes: u64) -> f64 {
    real(bytes) / real(1 << 30)
}
