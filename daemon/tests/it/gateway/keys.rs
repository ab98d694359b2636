//! Keys: made, used, spent and removed.

use std::path::Path;
use std::time::Duration;

use serde_json::{Value, json};

use super::serving::{Serving, chat, done, with, with_model};
use crate::cli::{json as said, openledger};

fn keys(dir: &Path) -> Vec<Value> {
    done(dir, &["serve", "key", "ls"]).as_array().unwrap().clone()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_is_made_by_the_first_start_and_others_by_command() {
    let dir = with_model();
    assert_eq!(keys(dir.path()), [Value::Null; 0]);
    let mut serving = Serving::start(dir.path(), &[]);
    assert!(serving.key.starts_with("sk-"), "{}", serving.key);
    let listed = keys(dir.path());
    assert_eq!((&listed[0]["name"], &listed[0]["per_day"]), (&"default".into(), &Value::Null));
    // While it serves.
    let add = ["serve", "key", "add", "anna", "--per-day", "0.5", "--in-all", "2"];
    let added = done(dir.path(), &add);
    serving.key = added["key"].as_str().unwrap().to_owned();
    let short = with(chat("Hi"), json!({ "max_tokens": 2 }));
    serving.answer("/chat/completions", &short).await;
    let anna = keys(dir.path()).remove(1);
    assert_eq!((&anna["spent"], &anna["left"]), (&"0".into(), &"500000000000000000".into()));
    done(dir.path(), &["serve", "key", "remove", "anna"]);
    assert_eq!(serving.ask("/chat/completions", &short).await.0, 401, "at once");
    for args in [&["add", "default"][..], &["remove", "nobody"], &["add", ""]] {
        let refused = openledger(dir.path(), &[&["serve", "key"], args, &["--json"]].concat());
        assert_eq!(refused.status.code(), Some(1), "{args:?}");
        assert!(said(&refused)["error"]["message"].is_string());
    }
    serving.kill();
    let again = Serving::start(dir.path(), &[]);
    assert_eq!(again.key, "", "a key is shown once");
}

/// The reading of the weights waits for somebody to write them, so that the question is being asked.
#[cfg(target_os = "linux")]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_question_may_cost_stays_booked_when_the_gateway_is_killed() {
    use rustix::fs::{CWD, FileType, Mode};
    let dir = with_model();
    done(dir.path(), &["serve", "key", "add", "anna", "--in-all", "2"]);
    let mut serving = Serving::start(dir.path(), &[]);
    let anna = done(dir.path(), &["serve", "key", "add", "berta", "--in-all", "3"]);
    serving.key = anna["key"].as_str().unwrap().to_owned();
    let folder = std::fs::read_dir(dir.path().join("bases")).unwrap().next().unwrap().unwrap();
    let weights = folder.path().join("checkpoint.safetensors");
    let whole = std::fs::read(&weights).unwrap();
    std::fs::remove_file(&weights).unwrap();
    let mode = Mode::RUSR | Mode::WUSR;
    rustix::fs::mknodat(CWD, &weights, FileType::Fifo, mode, 0).unwrap();
    let asked = serving.post("/chat/completions").json(&chat("Hi")).send();
    let asked = tokio::spawn(asked);
    let spent = || keys(dir.path())[1]["spent"].as_str().unwrap().to_owned();
    let booked = async {
        while spent() == "0" {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), booked).await.expect("it is booked");
    assert_eq!(spent(), "3000000000000000000");
    serving.kill();
    assert!(asked.await.unwrap().is_err());
    std::fs::remove_file(&weights).unwrap();
    std::fs::write(&weights, whole).unwrap();
    let mut again = Serving::start(dir.path(), &[]);
    again.key = serving.key.clone();
    // What is free is answered all the same, and nothing is forgotten.
    let short = with(chat("Hi"), json!({ "max_tokens": 2 }));
    again.answer("/chat/completions", &short).await;
    assert_eq!(spent(), "3000000000000000000");
    assert_eq!(keys(dir.path())[0]["spent"], "0");
}
