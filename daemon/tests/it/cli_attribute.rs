//! `attribute` as a person meets it: the same evidence as of a paid answer, without the fee.

use std::path::Path;

use daemon::api::ApiServer;
use daemon::api::types::{AttributionReport, EvidenceKind};
use daemon::network::{NETWORK_FILE, NetworkFile};
use daemon::node::{Answer, NodeHandle};
use protocol::{AccountId, EvmAddress, ModelId};

use super::cli::{json, openledger};

#[test]
fn it_says_what_is_missing() {
    let dir = tempfile::tempdir().unwrap();
    let ask = ["attribute", "--model", "1", "--prompt", "Love", "--json"];
    let refused = openledger(dir.path(), &ask);
    assert_eq!(refused.status.code(), Some(1));
    assert_eq!(json(&refused)["error"]["code"], "not_running");
    let given = ["--output", "is blind", "--seed", "3"];
    let confused = openledger(dir.path(), &[&ask[..], &given[..]].concat());
    assert_eq!(confused.status.code(), Some(2), "a given text has no seed");
}

/// A use of a model that was paid for, and a text that a contributor gave.
pub(crate) struct Used<'a> {
    pub(crate) model: ModelId,
    pub(crate) prompt: &'a str,
    pub(crate) seed: u64,
    pub(crate) answer: &'a Answer,
    pub(crate) quote: &'a str,
    pub(crate) author: AccountId,
}

/// Attributes on the command line what a node holds. Part of a test that has trained a model anyway.
pub(crate) async fn attribute_freely(
    node: &NodeHandle,
    network: &NetworkFile,
    operator: EvmAddress,
    used: Used<'_>,
) {
    let dir = tempfile::tempdir().unwrap();
    let listener = ApiServer::bind(0).await.unwrap();
    let server =
        ApiServer::start(listener, dir.path(), node.clone(), network.clone(), operator).unwrap();
    tokio::task::block_in_place(|| {
        an_answer(dir.path(), &used);
        a_given_text(dir.path(), &used);
        refusals(dir.path(), &used);
        too_dear(dir.path(), network, &used);
    });
    server.shutdown().await;
}

fn record(dir: &Path, args: &[&str]) -> AttributionReport {
    let output = openledger(dir, &[&["attribute", "--json"][..], args].concat());
    assert_eq!(output.status.code(), Some(0), "{}", json(&output));
    serde_json::from_value(json(&output)).unwrap()
}

/// The model's own answer, drawn again: the evidence is that of the paid use.
fn an_answer(dir: &Path, used: &Used<'_>) {
    let (model, seed) = (used.model.to_string(), used.seed.to_string());
    let tokens = used.answer.tokens_out.to_string();
    let page = dir.join("page.html");
    let ask = ["--model", &model, "--prompt", used.prompt, "--seed", &seed];
    let more = ["--max-tokens", &tokens, "--html", page.to_str().unwrap()];
    let record = record(dir, &[&ask[..], &more[..]].concat());
    assert_eq!(record.output, used.answer.text);
    assert_eq!(record.lambda_ppm, used.answer.lambda_ppm);
    let mut shares: Vec<_> = record
        .contributors
        .iter()
        .map(|one| (one.account, one.share_ppm))
        .filter(|(_, ppm)| *ppm > 0)
        .collect();
    shares.sort_unstable();
    assert_eq!(shares, used.answer.shares, "what a consumer's fee would be split by");
    assert_eq!(record.units.len(), record.sources.units, "the full record has every unit");
    assert_eq!(record.units.iter().map(|unit| unit.share_ppm).sum::<u32>(), 1_000_000);
    let best = &record.units[0];
    assert!(best.text.as_ref().is_some_and(|text| !text.is_empty()), "{best:?}");
    assert_eq!(best.document.as_deref(), Some("text"));
    let page = std::fs::read_to_string(page).unwrap();
    assert!(page.starts_with("<!DOCTYPE html>") && page.ends_with("</html>"));
    assert!(page.contains(&record.sources.checkpoint.to_string()));
}

/// Words of a contributor are marked as theirs, in the text and in the unit.
fn a_given_text(dir: &Path, used: &Used<'_>) {
    let model = used.model.to_string();
    let given = format!("Nobody said: {} Or did they?", used.quote);
    let ask = ["--model", &model, "--prompt", "Say something.", "--output", &given];
    let record = record(dir, &ask);
    assert_eq!((record.output.as_str(), record.seed), (given.as_str(), None));
    let (index, span) =
        record.spans.iter().enumerate().max_by_key(|(_, span)| span.millibits).unwrap();
    assert_eq!(span.owner, used.author);
    let words = &given[span.from..span.to];
    assert!(used.quote.contains(words.trim()) && words.len() * 2 > used.quote.len(), "{words:?}");
    let unit = record.units.iter().find(|unit| unit.unit == span.unit).unwrap();
    let place = unit.places.iter().find(|place| place.span == index).unwrap();
    assert_eq!(&unit.text.as_ref().unwrap()[place.from..place.to], words);
    assert!(matches!(unit.kind, EvidenceKind::Span | EvidenceKind::Both));

    let text = openledger(dir, &[&["attribute", "--units", "1"][..], &ask[..]].concat());
    let text = String::from_utf8(text.stdout).unwrap();
    assert!(text.contains(&format!("⟦{}⟧", words.trim())), "{text}");
    assert!(!text.contains('\u{1b}'), "no colours in a pipe");
}

fn refusals(dir: &Path, used: &Used<'_>) {
    let model = used.model.to_string();
    let code = |args: &[&str]| {
        let output = openledger(dir, &[&["attribute", "--json"][..], args].concat());
        assert_eq!(output.status.code(), Some(1));
        json(&output)["error"]["code"].as_str().unwrap().to_owned()
    };
    assert_eq!(code(&["--model", "99", "--prompt", "x"]), "not_found");
    assert_eq!(code(&["--model", &model, "--prompt", ""]), "invalid");
    assert_eq!(code(&["--model", &model, "--prompt", "x", "--output", ""]), "invalid");
    assert_eq!(code(&["--model", &model, "--prompt", "x", "--max-tokens", "9999"]), "invalid");
    let nowhere = ["--model", &model, "--prompt", "x", "--html", "/nowhere/page.html"];
    assert_eq!(code(&nowhere), "failed");
}

/// Somebody without a coin is refused for the price, before anything is deposited.
fn too_dear(dir: &Path, network: &NetworkFile, used: &Used<'_>) {
    assert_eq!(openledger(dir, &["init", "--light", "--json"]).status.code(), Some(0));
    network.write(&dir.join(NETWORK_FILE)).unwrap();
    let model = used.model.to_string();
    let ask = ["infer", &model, used.prompt, "--max-price", "0", "--json"];
    let refused = json(&openledger(dir, &ask));
    let message = refused["error"]["message"].to_string();
    assert!(message.contains("more than the 0 OPEN of --max-price"), "{refused}");
}
