//! `verify epoch` against a settlement of a live network: it accepts the log, and nothing else.

use std::time::Duration;

use protocol::Epoch;
use protocol::codec::Wire;
use protocol::settle::EpochLog;

use super::cli::{json, openledger};
use super::cli_support::start;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_log_is_believed_only_whole() {
    let dir = tempfile::tempdir().unwrap();
    let net = start(dir.path(), Duration::from_millis(200)).await;
    let cli = |args: &[&str]| openledger(dir.path(), args);
    let created = json(&cli(&["datanet", "create", "tales", "--json"]));
    assert_eq!(created["id"], 1);
    let text = dir.path().join("tale.txt");
    std::fs::write(&text, "Once upon a time there was a ledger.\n".repeat(2_000)).unwrap();
    let added = json(&cli(&["datanet", "add", "1", text.to_str().unwrap(), "--json"]));
    assert!(added["contributions"][0]["packs"].as_u64().unwrap() >= 1, "{added}");

    // The first epoch whose log holds a proof of storage.
    let epoch = net
        .until(|net| {
            let chain = net.node.chain();
            let is_proven = |epoch: &Epoch| {
                let state = chain.settlement(*epoch);
                state.is_some_and(|s| s.is_final && s.settlement.log_length > 200)
            };
            (0..=chain.epoch().0).map(Epoch).find(is_proven)
        })
        .await;
    let number = epoch.to_string();
    let ticket = json(&cli(&["status", "--json"]))["ticket"].as_str().unwrap().to_owned();
    let log = dir.path().join("log");
    let empty = dir.path().join("empty");
    let save = log.to_str().unwrap();
    let verified = openledger(
        &empty,
        &["verify", "epoch", &number, "--peer", &ticket, "--json", "--save-log", save],
    );
    assert_eq!(verified.status.code(), Some(0), "{}", json(&verified));
    assert_eq!(json(&verified)["verified"], true);

    let good = std::fs::read(&log).unwrap();
    let refused = |bytes: &[u8]| {
        let bad = dir.path().join("bad");
        std::fs::write(&bad, bytes).unwrap();
        let output = cli(&["verify", "epoch", &number, "--json", "--log", bad.to_str().unwrap()]);
        assert_eq!(output.status.code(), Some(1), "{}", json(&output));
        let answer = json(&output);
        assert_eq!(answer["verified"], false);
        answer["reason"].as_str().unwrap().to_owned()
    };
    let mut flipped = good.clone();
    let last = flipped.len() - 1;
    flipped[last] ^= 1;
    assert!(!refused(&flipped).is_empty());
    let mut dropped = EpochLog::from_bytes(&good).unwrap();
    assert!(!dropped.records.is_empty(), "the log holds records");
    dropped.records.pop();
    assert!(refused(&dropped.to_bytes()).contains("record"), "a dropped record");
    let mut inflated = EpochLog::from_bytes(&good).unwrap();
    match inflated.balances.first_mut() {
        Some((_, amount)) => amount.0 += 1,
        None => inflated.balances.push((protocol::AccountId(1), protocol::Amount(1))),
    }
    assert!(refused(&inflated.to_bytes()).contains("balances"), "an inflated leaf");
    assert!(refused(&good[..good.len() / 2]).contains("log"), "a truncated log");
    net.stop().await;
}
