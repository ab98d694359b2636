//! The binary `openledger`: the node, its command line, and the demo.

use std::process::ExitCode;

use daemon::cli;

fn main() -> ExitCode {
    cli::main()
}
