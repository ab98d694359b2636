//! The openledger network under virtual time.
//!
//! The nodes are [`protocol::node::Node`], the machines that the daemon drives; the contracts are
//! the deployed bytecode on the embedded EVM. What lies between them is modelled: time
//! ([`kernel`]), delay and loss ([`network`]), disks, and what each kind of node does with the jobs
//! of its machine ([`nodes`]).
//!
//! ```
//! use simnet::{Scenario, Simulation};
//!
//! let mut scenario = Scenario { epochs: 1, ..Scenario::default() };
//! scenario.population.nodes = 8;
//! scenario.workload.packs = 10;
//! let mut simulation = Simulation::new(scenario)?;
//! while simulation.advance()?.is_some() {}
//! let report = simulation.report()?;
//! assert!(report.checks.iter().all(|check| check.holds));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! Invariants, stated as absences:
//! - No clock, no entropy and no thread decides anything: equal scenarios give equal traces.
//! - No bytes are copied per node: records and blobs exist once, nodes hold bits and indices.
//! - No money is modelled: every amount is read from the contracts.

pub mod adversary;
pub mod budget;
pub mod chain;
pub mod compare;
pub mod data;
pub mod faults;
pub mod fuzz;
pub mod kernel;
pub mod network;
pub mod nodes;
pub mod output;
pub mod plot;
pub mod referee;
pub mod report;
pub mod runner;
pub mod scenario;
pub mod scenario_file;
mod simulation;
pub mod sweep;
mod trace;
pub mod units;

pub use adversary::{Answer, World};
pub use scenario::{Scenario, ScenarioError};
#[cfg(feature = "real-compute")]
pub use simulation::RealError;
pub use simulation::{Clock, Parts, Progress, RunError, Seen, SetupError, Simulation, clock};
