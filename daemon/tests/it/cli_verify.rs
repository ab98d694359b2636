//! `verify epoch` against a settlement of a live network, from its chain alone.

use std::time::Duration;

use protocol::{Digest, Epoch};

use super::cli::{json, openledger};
use super::cli_support::start;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_settlement_is_recomputed_by_who_has_nothing_but_the_chain() {
    let dir = tempfile::tempdir().unwrap();
    let net = start(dir.path(), Duration::from_millis(200)).await;
    let cli = |args: &[&str]| openledger(dir.path(), args);
    let created = json(&cli(&["datanet", "create", "tales", "--json"]));
    assert_eq!(created["id"], 1);
    let text = dir.path().join("tale.txt");
    std::fs::write(&text, "Once upon a time there was a ledger.\n".repeat(2_000)).unwrap();
    let added = json(&cli(&["datanet", "add", "1", text.to_str().unwrap(), "--json"]));
    assert!(added["contributions"][0]["packs"].as_u64().unwrap() >= 1, "{added}");
    assert_ne!(added["contributions"][0]["deposit"], "0", "{added}");
    let message = |args: &[&str]| json(&cli(args))["error"]["message"].to_string();
    let locked = message(&["datanet", "take-back", "1", "--json"]);
    assert!(locked.contains("DepositLocked"), "{locked}");
    // More than the operator has an OPEN for.
    let much = dir.path().join("much.txt");
    std::fs::write(&much, "Once upon a time there was a ledger.\n".repeat(60_000)).unwrap();
    let refused = message(&["datanet", "add", "1", much.to_str().unwrap(), "--json"]);
    assert!(refused.contains("it locks about") && refused.contains("send "), "{refused}");

    // The first epoch that the chain has records of.
    let epoch = net
        .until(|net| {
            let chain = net.node.chain();
            let has_records = |epoch: &Epoch| {
                let state = chain.settlement(*epoch);
                state.is_some_and(|s| s.is_final && s.settlement.records != Digest::ZERO)
            };
            (0..=chain.epoch().0).map(Epoch).find(has_records)
        })
        .await;
    let number = epoch.to_string();
    let ticket = json(&cli(&["status", "--json"]))["ticket"].as_str().unwrap().to_owned();
    let empty = dir.path().join("empty");
    let verified = openledger(&empty, &["verify", "epoch", &number, "--ticket", &ticket, "--json"]);
    assert_eq!(verified.status.code(), Some(0), "{}", json(&verified));
    let answer = json(&verified);
    assert_eq!((&answer["verified"], &answer["is_final"]), (&true.into(), &true.into()));
    assert_ne!(answer["settlement"]["records"], Digest::ZERO.to_string(), "{answer}");
    let later = cli(&["verify", "epoch", "999", "--json"]);
    assert!(json(&later)["error"]["message"].to_string().contains("no settlement yet"));
    net.stop().await;
}
