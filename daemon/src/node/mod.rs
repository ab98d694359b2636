//! A running node: the machine of [`protocol::node`] with a disk, a device, a chain and a network.

mod attribution;
mod attributor;
mod bench;
mod blobs;
mod chain;
mod handle;
mod health;
mod holding;
mod jobs;
mod pool;
mod requests;
mod run;
mod run_data;
mod serving;
mod settlement;
mod start;
mod status;
mod sync;
mod transcript;

use std::net::IpAddr;
use std::path::PathBuf;

use compute::device::DeviceChoice;

pub use attribution::{
    AttributeError, AttributeRequest, AttributionReport, ContributorReport, EvidenceKind,
    MarkedSpan, Place, RuleReport, Sources, UnitLine,
};
pub use handle::NodeHandle;
pub use health::Offline;
pub use requests::{
    AddReport, AddRequest, Evaluation, InferRequest, Quote, TrainRequest, TxReport,
};
pub use serving::{InferReport, SpanReport, UnitReport};
pub use status::{Closed, RewardLine, RunStatus, StatusReport};

use crate::keys::NodeKeys;
use crate::network::NetworkFile;

/// How a node runs.
#[derive(Debug)]
pub struct RunOptions {
    /// Where everything is kept.
    pub data_dir: PathBuf,
    /// The network it belongs to.
    pub network: NetworkFile,
    /// Its keys.
    pub keys: NodeKeys,
    /// The address that both planes listen on.
    pub listen_ip: IpAddr,
    /// Port of the control plane; 0 takes any.
    pub control_port: u16,
    /// Port of the data plane; 0 takes any.
    pub data_port: u16,
    /// Multiaddrs of nodes to join through.
    pub bootstrap: Vec<String>,
    /// Whether to look for peers on the local network.
    pub mdns: bool,
    /// Whether to relay for others.
    pub relay_server: bool,
    /// Relays to be reachable through.
    pub relays: Vec<String>,
    /// Most bytes of blobs.
    pub max_disk: Option<u64>,
    /// Most bytes per second of upload.
    pub max_upload: Option<u64>,
    /// The device to compute on.
    pub device: DeviceChoice,
    /// Epochs between two claims of what is owed; 0: none by itself.
    pub claim_epochs: u64,
    /// Fault injection: delete a pack and claim it all the same, train on other data than assigned.
    pub misbehave: bool,
}
