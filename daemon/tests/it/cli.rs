//! The command line as a person meets it: what it writes, what it refuses, and how it ends.

use std::path::Path;
use std::process::{Command, Output};

use contracts_abi::rpc::ServerConfig;
use daemon::keys::{NodeKeys, Passphrase};

use super::cli_support::start_chain;

/// The binary without the environment of whoever runs the tests.
pub(crate) fn command(dir: &Path, args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_openledger"));
    for (variable, _) in std::env::vars_os() {
        if variable.to_string_lossy().starts_with("OPENLEDGER_") {
            command.env_remove(variable);
        }
    }
    command.arg("--dir").arg(dir).args(args);
    command
}

/// Runs it.
pub(crate) fn openledger(dir: &Path, args: &[&str]) -> Output {
    command(dir, args).output().unwrap()
}

pub(crate) fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// The JSON on the last line of standard output.
pub(crate) fn json(output: &Output) -> serde_json::Value {
    let text = String::from_utf8_lossy(&output.stdout);
    serde_json::from_str(text.lines().last().unwrap_or_default())
        .unwrap_or_else(|_| panic!("no JSON in {text:?}; {}", stderr(output)))
}

#[test]
fn init_makes_keys_once_and_says_what_comes_next() {
    let dir = tempfile::tempdir().unwrap();
    let node = dir.path().join("node");
    let first = openledger(&node, &["init", "--light", "--json"]);
    assert_eq!(first.status.code(), Some(0), "{}", stderr(&first));
    let said = json(&first);
    assert_eq!(said["operator"].as_str().unwrap().len(), 42);
    for file in ["keys/node.json", "keys/operator.json", "keys/passphrase", "config.toml"] {
        assert!(node.join(file).exists(), "{file}");
    }
    let again = openledger(&node, &["init", "--light"]);
    assert_eq!(again.status.code(), Some(1));
    assert!(stderr(&again).contains("never overwritten"), "{}", stderr(&again));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn init_goes_on_wherever_it_was_killed() {
    let dir = tempfile::tempdir().unwrap();
    let whole = dir.path().join("whole");
    let file = dir.path().join("network.json");
    let (chain, network) = start_chain(ServerConfig::default()).await;
    network.write(&file).unwrap();
    chain.shutdown().await;
    let args = ["init", "--light", "--json", "--network", file.to_str().unwrap()];
    assert!(openledger(&whole, &args).status.success());
    // In the order in which they are written; a killed write leaves its temporary file.
    let steps = ["keys/passphrase", "keys/operator.json", "keys/node.json", "config.toml"];
    let steps = steps.iter().chain(&["network.json"]);
    for done in 0..=steps.clone().count() {
        let node = dir.path().join(format!("killed-{done}"));
        std::fs::create_dir_all(node.join("keys")).unwrap();
        for name in steps.clone().take(done) {
            std::fs::copy(whole.join(name), node.join(name)).unwrap();
        }
        if let Some(name) = steps.clone().nth(done) {
            let half = node.join(name);
            let half = half.with_file_name(format!(".{}.tmp", half.file_name().unwrap().display()));
            std::fs::write(half, b"{\"ha").unwrap();
        }
        let again = openledger(&node, &args);
        if done == steps.clone().count() {
            let said = json(&again)["error"]["message"].to_string();
            assert!(said.contains("never overwritten"), "{said}");
            continue;
        }
        assert_eq!(again.status.code(), Some(0), "{done} steps: {}", stderr(&again));
        for name in steps.clone() {
            assert!(node.join(name).exists(), "{name} after {done} steps");
        }
        for name in steps.clone().take(done) {
            let (kept, first) = (node.join(name), whole.join(name));
            assert_eq!(std::fs::read(kept).unwrap(), std::fs::read(first).unwrap(), "{name}");
        }
        let phrase = std::fs::read_to_string(node.join("keys/passphrase")).unwrap();
        let keys = NodeKeys::open(&node, &Passphrase::new(phrase)).unwrap();
        assert_eq!(json(&again)["operator"], keys.operator_address().to_string());
    }
}

#[test]
fn errors_say_what_to_do_and_set_the_exit_code() {
    let dir = tempfile::tempdir().unwrap();
    let status = openledger(dir.path(), &["status"]);
    assert_eq!(status.status.code(), Some(1));
    assert!(stderr(&status).contains("openledger node run"), "{}", stderr(&status));
    let status = json(&openledger(dir.path(), &["status", "--json"]));
    assert_eq!(status["error"]["code"], "not_running");
    let usage = openledger(dir.path(), &["statsu"]);
    assert_eq!(usage.status.code(), Some(2));
    let ticket = openledger(dir.path(), &["init", "--join", "olnet1zz"]);
    assert_eq!(ticket.status.code(), Some(1));
    assert!(stderr(&ticket).contains("copy it again"), "{}", stderr(&ticket));
    assert!(!dir.path().join("keys").exists(), "nothing is written before the ticket is read");
    let verify = openledger(dir.path(), &["verify", "epoch", "0"]);
    assert_eq!(verify.status.code(), Some(1));
    assert!(stderr(&verify).contains("network.json"), "{}", stderr(&verify));
}

#[test]
fn a_node_refuses_a_wrong_configuration_with_its_line() {
    let dir = tempfile::tempdir().unwrap();
    assert!(openledger(dir.path(), &["init", "--light"]).status.success());
    std::fs::write(dir.path().join("config.toml"), "mdns = true\nmax_disc = 5\n").unwrap();
    let run = openledger(dir.path(), &["node", "run"]);
    assert_eq!(run.status.code(), Some(1));
    assert!(stderr(&run).contains("line 2"), "{}", stderr(&run));
    assert!(stderr(&run).contains("did you mean `max_disk`"), "{}", stderr(&run));
    std::fs::remove_file(dir.path().join("config.toml")).unwrap();
    let run = openledger(dir.path(), &["node", "run"]);
    assert!(stderr(&run).contains("init --join"), "{}", stderr(&run));
}
