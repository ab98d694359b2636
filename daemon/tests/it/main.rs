//! Integration tests of the daemon: one binary, one module per area.

mod api;
mod bought;
#[cfg(target_os = "linux")]
mod budgets;
mod chain_faults;
mod cli;
mod cli_attribute;
mod cli_bad_input;
mod cli_base;
mod cli_bought;
mod cli_demo;
mod cli_deposit;
mod cli_rule;
mod cli_statement;
mod cli_support;
mod cli_trained;
mod cli_verify;
mod cli_wallet;
mod clients;
mod gateway;
/// The writer of small model files of the tests of `compute`.
#[path = "../../../compute/tests/it/gguf.rs"]
#[allow(dead_code, reason = "what those tests change in a file is not changed here")]
mod gguf;
mod keys;
mod lapse;
mod loopback;
mod net;
mod net_data;
mod net_foreign;
mod net_streams;
mod net_support;
mod offline;
mod process;
#[cfg(target_os = "linux")]
mod watcher;

/// Held by tests that fill the machine with processes or training: they take turns.
static WHOLE_MACHINE: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());
