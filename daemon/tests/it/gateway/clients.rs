//! The gateway as other people's clients see it: scripts in `tests/clients` with the `openai` packages of
//! Python and JavaScript as they are published.
//!
//! `npm ci` there brings the one, `pip install --target python -r requirements.txt` the other; a client
//! that is not there is skipped, and says so.

use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::json;

use super::serving::{CONTEXT, MODEL, Serving, done, with_model};

fn clients() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/clients")
}

fn run(needs: &str, program: &str, script: &str) {
    if !clients().join(needs).exists() {
        eprintln!("skipped: there is no {needs} in {}", clients().display());
        return;
    }
    let dir = with_model();
    let serving = Serving::start(dir.path(), &[]);
    let key = |name: &str, args: &[&str]| {
        done(dir.path(), &[&["serve", "key", "add", name], args].concat())["key"].clone()
    };
    let gateway = json!({
        "url": serving.url,
        "key": serving.key,
        "poor": key("poor", &["--in-all", "0"]),
        "model": MODEL,
        "context": CONTEXT,
    });
    let output = Command::new(program)
        .arg(script)
        .current_dir(clients())
        .env("PYTHONPATH", clients().join("python"))
        .env("OPENLEDGER_GATEWAY", gateway.to_string())
        .env("NO_PROXY", "127.0.0.1")
        .output()
        .unwrap();
    let said = [&output.stdout, &output.stderr].map(|bytes| String::from_utf8_lossy(bytes));
    assert!(output.status.success(), "{script}: {}\n{}", output.status, said.concat());
}

#[test]
fn openai_for_python_finds_what_it_relies_on() {
    run("python/openai", "python3", "openai_client.py");
}

#[test]
fn openai_for_javascript_finds_what_it_relies_on() {
    run("node_modules/openai", "node", "openai.mjs");
}
