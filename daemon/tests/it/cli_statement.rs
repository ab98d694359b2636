//! `rewards statement`: what each datum earned, checked against the chain to the last unit, and what is refused.

use std::path::Path;
use std::process::Output;
use std::time::Duration;

use contracts_abi::ChainClient;
use daemon::api::ApiServer;
use daemon::api::types::AttributionReport;
use daemon::network::NetworkFile;
use daemon::node::NodeHandle;
use protocol::{AccountId, Amount, Epoch, EvmAddress, ModelId};
use serde_json::Value;

use super::cli::{json, openledger, stderr};
use super::cli_support::start;

const ZERO: &str = "0x0000000000000000000000000000000000000000000000000000000000000000";

fn run(dir: &Path, args: &[&str]) -> Output {
    openledger(dir, &[&["rewards", "statement"], args].concat())
}

fn refusal(dir: &Path, args: &[&str]) -> (String, String) {
    let output = run(dir, &[args, &["--json"]].concat());
    assert_eq!(output.status.code(), Some(1), "{args:?}: {}", stderr(&output));
    let error = &json(&output)["error"];
    let text = |name: &str| error[name].as_str().unwrap().to_owned();
    (text("code"), text("message"))
}

#[test]
fn without_a_node_or_with_what_is_no_number_it_says_so() {
    let dir = tempfile::tempdir().unwrap();
    let (code, message) = refusal(dir.path(), &[]);
    assert_eq!(code, "not_running");
    assert!(message.contains("openledger node run"), "{message}");
    for args in [
        &["--since", "soon"][..],
        &["--since", "-1"],
        &["--unit", "0x12"],
        &["--output", "zz"],
        &["--model", "99999999999999999999"],
        &["--csv", "--html", "x.html"],
    ] {
        let output = run(dir.path(), args);
        assert_eq!(output.status.code(), Some(2), "{args:?}: {}", stderr(&output));
    }
    let both = run(dir.path(), &["--csv", "--json"]);
    assert_eq!(both.status.code(), Some(1));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_nobody_knows_is_refused_by_name() {
    let dir = tempfile::tempdir().unwrap();
    let net = start(dir.path(), Duration::from_millis(200)).await;
    let dir = dir.path().to_owned();
    let checks = tokio::task::spawn_blocking(move || {
        for (args, code, word) in [
            (&["--model", "9"][..], "not_found", "model ls"),
            (&["--datanet", "9"], "not_found", "datanet ls"),
            (&["--account", "99"], "not_found", "no account 99"),
            (&["--unit", ZERO], "not_found", "no run whose data this node holds"),
            (&["--since", "900000"], "invalid", "has not begun; the chain is in epoch"),
            (&["--output", ZERO], "failed", "names record"),
        ] {
            let (found, message) = refusal(&dir, args);
            assert!(found == code && message.contains(word), "{args:?}: {found} {message}");
        }
        let empty = run(&dir, &["--csv"]);
        assert_eq!(empty.status.code(), Some(0), "{}", stderr(&empty));
        assert!(empty.stdout.starts_with(b"account,epoch,source,"), "the sheet has its head");
    });
    checks.await.unwrap();
    net.stop().await;
}

/// What a contributor of a model that was used can see of its money. Part of a test that has trained a model anyway.
pub(crate) struct Earned<'a> {
    pub(crate) node: &'a NodeHandle,
    pub(crate) network: &'a NetworkFile,
    pub(crate) client: &'a ChainClient,
    pub(crate) operator: EvmAddress,
    pub(crate) model: ModelId,
    pub(crate) contributors: &'a [AccountId],
    /// Nodes, whose claims nobody waits for here.
    pub(crate) nodes: &'a [AccountId],
}

impl Earned<'_> {
    /// Claims for the contributors, and compares every form of their statements with the chain.
    pub(crate) async fn check(&self) {
        for account in self.contributors {
            self.node.claim(*account).await.unwrap();
            let paid = self.client.claimed(*account).await.unwrap();
            assert!(paid.free > Amount::ZERO, "account {account} was paid");
            while self.node.chain().claimed(*account) != paid {
                self.node.changed().await;
            }
        }
        let dir = tempfile::tempdir().unwrap();
        let listener = ApiServer::bind(0).await.unwrap();
        let (node, network) = (self.node.clone(), self.network.clone());
        let server = ApiServer::start(listener, dir.path(), node, network, self.operator).unwrap();
        for account in self.contributors.iter().chain(self.nodes) {
            let number = account.to_string();
            let said = statement(dir.path(), &["--account", &number]);
            self.agrees(*account, &said).await;
        }
        tokio::task::block_in_place(|| self.narrowed(dir.path()));
        server.shutdown().await;
    }

    /// The lines of an account are its leaf in the payout tree, and what was claimed is what the contract paid.
    async fn agrees(&self, account: AccountId, said: &Value) {
        assert_eq!(said["totals"]["agrees"], true, "{said}");
        let (lines, sums) = (said["lines"].as_array().unwrap(), &said["sums"]);
        let last = sums["final_epoch"].as_u64().unwrap();
        let is_final = |line: &&Value| line["epoch"].as_u64().unwrap() <= last;
        let sum = |name: &str| lines.iter().filter(is_final).map(|line| units(&line[name])).sum();
        let (settled, claimed): (u128, u128) = (sum("amount"), sum("claimed"));
        assert!(self.node.chain().settlement(Epoch(last)).unwrap().is_final);
        assert_eq!(settled, units(&sums["earned"]), "{account}: {said}");
        assert_eq!(claimed, units(&sums["claimed"]), "{account}: {said}");
        let due = ["claimable", "becomes_stake", "held"].map(|name| units(&sums[name]));
        assert_eq!(settled - claimed, due.iter().sum::<u128>(), "{account}: {said}");
        if self.contributors.contains(&account) {
            let paid = self.client.claimed(account).await.unwrap();
            assert_eq!(Amount(claimed), paid.total());
            let owner = self.node.chain().account(account).unwrap().payout;
            assert_eq!(self.client.balance(owner).await.unwrap(), paid.free, "in the purse");
        }
    }

    fn narrowed(&self, dir: &Path) {
        let account = self.contributors[0].to_string();
        let model = self.model.to_string();
        let all = statement(dir, &["--account", &account]);
        let all = all["lines"].as_array().unwrap();
        let of_model = statement(dir, &["--account", &account, "--model", &model]);
        let of_model = of_model["lines"].as_array().unwrap();
        let outputs: Vec<_> = all.iter().filter(|line| line["source"] == "attribution").collect();
        assert!(!outputs.is_empty() && of_model.len() >= all.len(), "{all:?}");
        let paid = outputs.iter().find(|line| units(&line["amount"]) > 0).unwrap();
        let record = paid["record"].as_str().unwrap();
        let one = statement(dir, &["--account", &account, "--output", record]);
        assert!(one["lines"].as_array().unwrap().contains(paid), "{one}");
        assert!(one["lines"].as_array().unwrap().iter().all(|l| l["record"] == record));

        let sheet = run(dir, &["--account", &account, "--csv"]);
        let sheet = String::from_utf8(sheet.stdout).unwrap();
        assert!(sheet.lines().count() > all.len(), "{sheet}");
        assert!(sheet.contains(record) && sheet.contains(paid["amount"].as_str().unwrap()));
        let page = dir.join("statement.html");
        let written = run(dir, &["--account", &account, "--html", page.to_str().unwrap()]);
        assert_eq!(written.status.code(), Some(0), "{}", stderr(&written));
        let page = std::fs::read_to_string(page).unwrap();
        assert!(page.contains("to the last unit") && page.contains(record), "{page}");
        self.by_unit(dir, record, units(&paid["amount"]));
    }

    /// Some units of a contributor: each has a part of what the output earned, and together no more than that.
    fn by_unit(&self, dir: &Path, record: &str, whole: u128) {
        let model = self.model.to_string();
        let ask = ["attribute", "--model", &model, "--prompt", "LOVE, n.", "--json"];
        let report: AttributionReport =
            serde_json::from_value(json(&openledger(dir, &ask))).unwrap();
        let own = report.units.iter().filter(|unit| unit.owner == self.contributors[0]);
        let mut sum = 0;
        for unit in own.take(3) {
            let unit = unit.unit.to_string();
            let said = statement(dir, &["--unit", &unit, "--output", record]);
            assert_eq!(said["account"], self.contributors[0].0, "whose unit it is: {said}");
            for line in said["lines"].as_array().unwrap() {
                let known = ["paid", "claimable", "pending", "zero"];
                let divided = known.contains(&line["standing"].as_str().unwrap());
                let is_told = line["note"].as_str().is_some_and(|note| note.contains("by unit"));
                assert!(divided || is_told, "{line}");
                assert!(units(&line["claimed"]) <= units(&line["amount"]), "{line}");
                sum += units(&line["amount"]);
            }
        }
        assert!(sum <= whole, "{sum} of {whole}");
    }
}

fn statement(dir: &Path, args: &[&str]) -> Value {
    let args = [args, &["--json"]].concat();
    let output = tokio::task::block_in_place(|| run(dir, &args));
    assert_eq!(output.status.code(), Some(0), "{args:?}: {}", json(&output));
    json(&output)
}

fn units(amount: &Value) -> u128 {
    amount.as_str().unwrap_or_else(|| panic!("{amount}")).parse().unwrap()
}
