//! `openledger status`: what the node is doing, and how others join through it.

use std::fmt::Write as _;

use anyhow::Result;
use protocol::Amount;
use serde_json::json;

use crate::api::Client;
use crate::api::types::{StatusReport, Ticket};
use crate::config::ByteSize;
use crate::output::Output;
use crate::words::amount_in_open;

use super::account::held_until;

pub(super) async fn status(client: &Client) -> Result<Output> {
    let report: StatusReport = client.get("/status").await?;
    let Ticket { ticket } = client.get("/ticket").await?;
    let text = describe(&report, &ticket)?;
    let mut json = serde_json::to_value(&report)?;
    if let Some(object) = json.as_object_mut() {
        object.insert("ticket".to_owned(), json!(ticket));
    }
    Ok(Output::new(text, &json))
}

fn describe(report: &StatusReport, ticket: &str) -> Result<String, std::fmt::Error> {
    let mut text = String::new();
    let account = match report.account.0 {
        0 => "none yet".to_owned(),
        id => id.to_string(),
    };
    writeln!(text, "node      {} (version {})", report.node, report.version)?;
    writeln!(text, "account   {account}")?;
    writeln!(text, "device    {}, {} shards done", report.device, report.shards_done)?;
    if let Some(reason) = &report.refused_device {
        writeln!(text, "          not used: {reason}")?;
    }
    writeln!(text, "peers     {} ({})", report.peers, report.reachability)?;
    let bytes = |bytes| ByteSize(bytes).to_string();
    let of_limit = report.max_disk.map(|limit| format!(" of {}", bytes(limit)));
    let of_limit = of_limit.unwrap_or_default();
    writeln!(text, "packs     {}; {}{of_limit} stored", report.packs, bytes(report.stored_bytes))?;
    let (received, sent) = (bytes(report.quic_bytes_in), bytes(report.quic_bytes_out));
    writeln!(text, "traffic   {received} received, {sent} sent")?;
    let left = report.next_epoch_block.saturating_sub(report.block);
    let (epoch, block) = (report.epoch, report.block);
    writeln!(text, "epoch     {epoch}, block {block}, the next in {left} blocks")?;
    let (earned, claimed) = (amount_in_open(report.earned), amount_in_open(report.claimed));
    writeln!(
        text,
        "earned    {earned}, {claimed} claimed, {} pending",
        amount_in_open(report.pending)
    )?;
    if report.held > Amount::ZERO {
        let (held, missing) = (amount_in_open(report.held), amount_in_open(report.missing));
        writeln!(text, "          {}", held_until(&held, &missing))?;
    }
    for run in &report.runs {
        let state = if run.is_ready { "ready" } else { "training" };
        writeln!(text, "model     {} {state}, round {} of {}", run.model, run.round, run.rounds)?;
    }
    for reason in &report.waiting {
        writeln!(text, "waiting   {reason}")?;
    }
    writeln!(text, "\nTo join from another machine:\n  openledger init --join {ticket}")?;
    Ok(text)
}
