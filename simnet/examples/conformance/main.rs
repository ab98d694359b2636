//! Real daemons over a network with imposed delays, against simnet's prediction for the same.
//!
//! ```sh
//! cargo build --release -p openledger-daemon
//! sudo cargo run --release --example conformance -- \
//!     simnet/conformance/uniform-200ms.toml --program target/release/openledger
//! ```
//!
//! Each daemon is a process in a network namespace of its own whose only line leads to a router in
//! this process, which holds every IP packet for the delay that the scenario's underlay gives, and
//! counts it. The daemons know nothing of it. Their logs say when records were signed and when they
//! came. Linux only; needs root for the namespaces, and leaves nothing behind.

#[cfg(target_os = "linux")]
mod cluster;
#[cfg(target_os = "linux")]
mod hosts;
#[cfg(target_os = "linux")]
mod logs;
#[cfg(target_os = "linux")]
mod router;
#[cfg(target_os = "linux")]
mod run;
#[cfg(target_os = "linux")]
mod table;

#[cfg(target_os = "linux")]
pub(crate) use run::FORWARD;

#[cfg(target_os = "linux")]
fn main() -> anyhow::Result<()> {
    run::main()
}

#[cfg(not(target_os = "linux"))]
fn main() {
    eprintln!("network namespaces and TUN devices are Linux's");
}
