//! Clients of a gateway that other people publish: the `openai` packages of Python and JavaScript, and scripts
//! with them in `tests/clients`.
//!
//! `npm ci` there brings the one, `pip install --target python -r requirements.txt` the other; a client
//! that is not there is skipped, and says so.

use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

#[derive(Debug, Clone, Copy)]
pub(crate) enum Client {
    Python,
    JavaScript,
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/clients")
}

impl Client {
    /// What has to be installed, what runs it, and how its scripts end.
    const fn parts(self) -> [&'static str; 3] {
        match self {
            Self::Python => ["python/openai", "python3", "_client.py"],
            Self::JavaScript => ["node_modules/openai", "node", ".mjs"],
        }
    }

    /// Runs a script against a gateway, and gives what it says; none where the client is not installed.
    pub(crate) fn run(self, script: &str, gateway: &Value) -> Option<String> {
        let [needs, program, end] = self.parts();
        if !folder().join(needs).exists() {
            eprintln!("skipped: there is no {needs} in {}", folder().display());
            return None;
        }
        let output = Command::new(program)
            .arg(format!("{script}{end}"))
            .current_dir(folder())
            .env("PYTHONPATH", folder().join("python"))
            .env("OPENLEDGER_GATEWAY", gateway.to_string())
            .env("NO_PROXY", "127.0.0.1")
            .output()
            .unwrap();
        let [said, complained] =
            [&output.stdout, &output.stderr].map(|bytes| String::from_utf8_lossy(bytes));
        assert!(output.status.success(), "{script}: {}\n{said}{complained}", output.status);
        Some(said.into_owned())
    }
}

/// The prices of conversations with models of the network, each whole and as a stream, by every client that is
/// installed.
pub(crate) fn conversations(gateway: &Value) -> Vec<u128> {
    let clients = [Client::Python, Client::JavaScript];
    let said = clients.into_iter().filter_map(|client| client.run("buying", gateway));
    said.flat_map(|said| {
        let bills: Vec<Value> = serde_json::from_str(&said).unwrap();
        assert_eq!(bills.len(), 2 * gateway["models"].as_array().unwrap().len());
        bills.into_iter().map(|bill| bill["price"].as_str().unwrap().parse::<u128>().unwrap())
    })
    .collect()
}
