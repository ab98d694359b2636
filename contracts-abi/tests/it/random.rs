//! Random calls of every contract against naive models, each of which is told in plain sums and maps what the
//! text of its contracts says, and shares no code with them: what one refuses the other refuses, for the
//! same reason, and accounts, money and what else there is are the same after each call.
//!
//! Callers have no right, amounts are at and beyond their bounds, epochs are wrong and blocks pass. All models
//! together play 20,000 calls, or as many as the variable `OPENLEDGER_MODEL_CALLS` says. A sequence that
//! fails is printed with its seed. After each block a node's view of the chain is asked as well, where it knows.

mod account;
mod data;
mod disputes;
pub(crate) mod driver;
mod escrow;
mod records;
mod registry;
mod roles;
mod runs;
mod settlements;
mod timelock;
mod token;
mod vault;

use std::collections::{BTreeMap, BTreeSet};

use driver::Model;
use serde_json::Value;

/// The models with what they call.
const MODELS: [(&str, &[&str]); driver::MODELS] = [
    ("data", data::Data::CALLS),
    ("disputes", disputes::Accusations::CALLS),
    ("escrow", escrow::Deposits::CALLS),
    ("records", records::Records::CALLS),
    ("registry", registry::Stakes::CALLS),
    ("roles", roles::Roles::CALLS),
    ("runs", runs::Runs::CALLS),
    ("settlements", settlements::Rivals::CALLS),
    ("timelock", timelock::Governors::CALLS),
    ("token", token::Token::CALLS),
    ("vault", vault::Claims::CALLS),
];
/// What the Timelock answers to other tokens than OPEN, which changes nothing.
const ANSWERS: [&str; 3] = ["onERC721Received", "onERC1155Received", "onERC1155BatchReceived"];

/// The row of a contract in the table of the README: which functions change it, and which models call them.
fn row(contract: &str, functions: &BTreeSet<String>) -> String {
    let of = |call: &&str| call.split_once('.').is_some_and(|(of, _)| of == contract);
    let models = MODELS.iter().filter(|(_, calls)| calls.iter().any(&of));
    let models: Vec<_> = models.map(|(name, _)| format!("`{name}`")).collect();
    let functions: Vec<_> = functions.iter().map(|name| format!("`{name}`")).collect();
    format!("| `{contract}` | {} | {} |", functions.join(", "), models.join(", "))
}

#[test]
fn every_call_that_changes_a_contract_is_in_a_model_and_in_the_readme() {
    let readme = concat!(env!("CARGO_MANIFEST_DIR"), "/README.md");
    let readme = std::fs::read_to_string(readme).unwrap();
    let called: BTreeSet<_> = MODELS.iter().flat_map(|(_, calls)| calls.iter().copied()).collect();
    let mut contracts = BTreeMap::<String, BTreeSet<String>>::new();
    for (contract, abi) in artifacts() {
        let changes = abi.iter().filter(|item| {
            let how = item["stateMutability"].as_str().unwrap_or_default();
            item["type"] == "function" && ["nonpayable", "payable"].contains(&how)
        });
        let names = changes.map(|item| item["name"].as_str().unwrap());
        let names = names.filter(|name| !ANSWERS.contains(name)).map(str::to_owned);
        contracts.entry(contract).or_default().extend(names);
    }
    for (contract, functions) in &contracts {
        if functions.is_empty() {
            continue;
        }
        for function in functions {
            let call = format!("{contract}.{function}");
            assert!(called.contains(&*call), "no model calls {call}");
        }
        let row = row(contract, functions);
        assert!(readme.contains(&row), "the README lacks:\n{row}");
    }
}

/// Contracts with their interfaces.
fn artifacts() -> Vec<(String, Vec<Value>)> {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/artifacts");
    let files = std::fs::read_dir(folder).unwrap().map(|file| file.unwrap().path());
    let read = |path: std::path::PathBuf| {
        let name = path.file_stem().unwrap().to_str().unwrap().to_owned();
        let json: Value = serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
        (name, json["abi"].as_array().unwrap().clone())
    };
    files.map(read).collect()
}

#[test]
fn stake_is_what_a_naive_model_says_after_any_sequence_of_calls() {
    driver::play_all::<registry::Stakes>();
}

#[test]
fn deposits_are_what_a_naive_model_says_after_any_sequence_of_calls() {
    driver::play_all::<escrow::Deposits>();
}

#[test]
fn claims_are_what_a_naive_model_says_after_any_sequence_of_calls() {
    driver::play_all::<vault::Claims>();
}

#[test]
fn bonds_are_where_a_naive_model_says_after_any_sequence_of_proposals_objections_and_challenges() {
    driver::play_all::<settlements::Rivals>();
}

#[test]
fn disputes_end_as_a_naive_model_says_after_any_sequence_of_accusations_and_answers() {
    driver::play_all::<disputes::Accusations>();
}

#[test]
fn records_come_in_as_a_naive_model_and_a_node_say_after_any_sequence_of_calls() {
    driver::play_all::<records::Records>();
}

#[test]
fn roles_are_what_a_naive_model_says_after_any_sequence_of_calls() {
    driver::play_all::<roles::Roles>();
}

#[test]
fn the_token_is_what_a_naive_model_says_after_any_sequence_of_calls() {
    driver::play_all::<token::Token>();
}

#[test]
fn orders_are_paid_as_a_naive_model_says_after_any_sequence_of_calls() {
    driver::play_all::<runs::Runs>();
}

#[test]
fn data_and_its_deposits_are_what_a_naive_model_says_after_any_sequence_of_calls() {
    driver::play_all::<data::Data>();
}

#[test]
fn what_governors_ask_for_takes_place_as_a_naive_model_says_after_any_sequence_of_calls() {
    driver::play_all::<timelock::Governors>();
}
