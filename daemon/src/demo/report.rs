//! What the demo found: the JSON of the last line, and the same for people.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use protocol::chain::{ChainView, SettlementState};
use protocol::{AccountId, Amount, Epoch, Hash, ModelId, Round};
use serde::Serialize;

use crate::api::types::{Evaluation, InferReport, RewardLine, StatusReport};
use crate::config::ByteSize;
use crate::demo::steps::lie::Refused;
use crate::words::amount_in_open;

/// The JSON object on the last line; amounts are decimal strings of the smallest unit.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Report {
    pub(super) nodes: Vec<NodeLine>,
    pub(super) units: usize,
    pub(super) packs: usize,
    #[serde(flatten)]
    pub(super) totals: Totals,
    #[serde(flatten)]
    pub(super) ordered: Ordered,
    pub(super) checkpoint_hashes: Vec<CheckpointLine>,
    #[serde(flatten)]
    pub(super) losses: Losses,
    pub(super) inferences: usize,
    pub(super) attribution: Tally,
    pub(super) epochs: u64,
    #[serde(flatten)]
    pub(super) books: Books,
    pub(super) verified_root: bool,
    /// None where everybody is honest.
    pub(super) false_settlement: Option<Refused>,
    pub(super) payouts: Vec<Payout>,
    pub(super) seconds: u64,
}

/// Sums over all final settlements.
#[derive(Debug, Clone, Copy, Default, Serialize)]
pub(super) struct Totals {
    pub(super) replicas_proven: u32,
    pub(super) storage_faults_caught: u32,
    pub(super) shards_verified: u32,
    pub(super) shards_rejected: u32,
}

/// What was paid for the run before it began, and what of that its verified parts were paid.
#[derive(Debug, Clone, Copy, Serialize)]
pub(super) struct Ordered {
    pub(super) run_escrow: Amount,
    pub(super) run_spent: Amount,
}

/// Losses on held-out text, in nats per token.
#[derive(Debug, Clone, Copy, Serialize)]
pub(super) struct Losses {
    pub(super) loss_first: f64,
    pub(super) loss_last: f64,
    pub(super) loss_unigram: f64,
    pub(super) loss_bigram: f64,
}

impl Losses {
    pub(super) fn of(evaluation: &Evaluation) -> Self {
        let nats = |micro: u64| micro as f64 / 1e6;
        Self {
            loss_first: nats(evaluation.loss_first),
            loss_last: nats(evaluation.loss_last),
            loss_unigram: nats(evaluation.unigram),
            loss_bigram: nats(evaluation.bigram),
        }
    }
}

/// Where the money is: what came in is what is held, was paid, or is owed.
#[derive(Debug, Clone, Copy, Serialize)]
pub(super) struct Books {
    pub(super) funded: Amount,
    pub(super) redeemed: Amount,
    pub(super) vault: Amount,
    pub(super) paid: Amount,
    pub(super) pending: Amount,
    pub(super) conserved: bool,
}

/// A node at the end.
#[derive(Debug, Clone, Serialize)]
pub(super) struct NodeLine {
    pub(super) pid: u32,
    /// Payload bytes that it received over QUIC.
    pub(super) quic_bytes: u64,
    pub(super) packs: usize,
    pub(super) device: String,
}

/// A checkpoint after a round. One line for a round: all nodes have the same.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct CheckpointLine {
    pub(super) round: Round,
    pub(super) hash: Hash,
    /// Nodes that have this one.
    pub(super) nodes: usize,
    /// Payloads that it is made of.
    pub(super) shards: u32,
}

/// How often the right contributor came first.
#[derive(Debug, Clone, Copy, Default, Serialize)]
pub(super) struct Tally {
    pub(super) right: u32,
    pub(super) right_gradient: u32,
    pub(super) right_spans: u32,
    pub(super) right_permuted: u32,
    pub(super) of: u32,
}

impl Tally {
    /// Counts one output whose prompt came from `owner`'s text.
    pub(super) fn count(&mut self, owner: AccountId, output: &InferReport) {
        let is_right = |shares: &[(AccountId, u32)]| u32::from(first(shares) == Some(owner));
        self.right += is_right(&output.shares);
        self.right_gradient += is_right(&output.gradient);
        self.right_spans += is_right(&output.span_shares);
        self.right_permuted += u32::from(output.permuted_leader == Some(owner));
        self.of += 1;
    }

    /// How many outputs were counted.
    pub(super) fn outputs(&self) -> usize {
        self.of as usize
    }
}

/// The account with the greatest share; none where nobody has any.
pub(super) fn first(shares: &[(AccountId, u32)]) -> Option<AccountId> {
    let positive = shares.iter().filter(|(_, ppm)| *ppm > 0);
    positive.max_by_key(|(id, ppm)| (*ppm, std::cmp::Reverse(*id))).map(|(id, _)| *id)
}

/// What an account earned, and for what.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Payout {
    pub(super) account: AccountId,
    pub(super) role: String,
    pub(super) amount: Amount,
    pub(super) from: From,
    /// How many records of each kind earned, and why others did not: for the printed statement.
    #[serde(skip)]
    pub(super) name: String,
    #[serde(skip)]
    pub(super) counts: BTreeMap<String, usize>,
    #[serde(skip)]
    pub(super) zeros: BTreeMap<String, usize>,
}

/// Sums by source.
#[derive(Debug, Clone, Copy, Default, Serialize)]
pub(super) struct From {
    storage: Amount,
    shards: Amount,
    audits: Amount,
    attribution: Amount,
    model: Amount,
    serving: Amount,
    stake: Amount,
    treasury: Amount,
}

impl From {
    fn source(&mut self, name: &str) -> Option<&mut Amount> {
        Some(match name {
            "storage" => &mut self.storage,
            "shards" => &mut self.shards,
            "audits" => &mut self.audits,
            "attribution" => &mut self.attribution,
            "model" => &mut self.model,
            "serving" => &mut self.serving,
            "stake" => &mut self.stake,
            "treasury" => &mut self.treasury,
            _ => return None,
        })
    }
}

impl Payout {
    pub(super) fn new(account: AccountId, role: &str, name: String, lines: &[RewardLine]) -> Self {
        let (mut from, mut amount) = (From::default(), Amount::ZERO);
        let (mut counts, mut zeros) = (BTreeMap::new(), BTreeMap::new());
        for line in lines {
            if let Some(reason) = &line.reason {
                *zeros.entry(format!("{}: {reason}", line.source)).or_default() += 1;
                continue;
            }
            amount = amount.saturating_add(line.amount);
            if let Some(sum) = from.source(&line.source) {
                *sum = sum.saturating_add(line.amount);
            }
            *counts.entry(line.source.clone()).or_default() += 1;
        }
        Self { account, role: role.to_owned(), amount, from, name, counts, zeros }
    }
}

impl Report {
    /// The report for people.
    pub(super) fn text(&self) -> Result<String, std::fmt::Error> {
        let mut text = String::new();
        let tally = &self.attribution;
        writeln!(
            text,
            "\nStorage      {} replicas proven, {} faults caught",
            self.totals.replicas_proven, self.totals.storage_faults_caught
        )?;
        writeln!(
            text,
            "Training     {} shards verified, {} rejected, {} rounds",
            self.totals.shards_verified,
            self.totals.shards_rejected,
            self.checkpoint_hashes.len()
        )?;
        let Ordered { run_escrow, run_spent } = self.ordered;
        writeln!(
            text,
            "The run      cost its developer {}, of which {} is paid for verified parts; the rest stays in \
             the vault",
            amount_in_open(run_escrow),
            amount_in_open(run_spent)
        )?;
        writeln!(
            text,
            "Loss         {:.3} → {:.3} nats per held-out token (unigram {:.3}, bigram {:.3})",
            self.losses.loss_first,
            self.losses.loss_last,
            self.losses.loss_unigram,
            self.losses.loss_bigram
        )?;
        writeln!(
            text,
            "Attribution  {} of {} outputs to the right contributor first (gradient alone {}, spans alone {}, owners shuffled {})",
            tally.right, tally.of, tally.right_gradient, tally.right_spans, tally.right_permuted
        )?;
        writeln!(
            text,
            "Money        funded {} + fees and orders {} = vault {} + paid {} + pending {}: {}",
            amount_in_open(self.books.funded),
            amount_in_open(self.books.redeemed),
            amount_in_open(self.books.vault),
            amount_in_open(self.books.paid),
            amount_in_open(self.books.pending),
            if self.books.conserved { "conserved" } else { "NOT CONSERVED" }
        )?;
        writeln!(
            text,
            "Verified     {}",
            if self.verified_root {
                "another process recomputed the last root from the log alone"
            } else {
                "NO"
            }
        )?;
        self.false_settlement.map_or(Ok(()), |refused| refused.describe(&mut text))?;
        let bytes: u64 = self.nodes.iter().map(|node| node.quic_bytes).sum();
        writeln!(
            text,
            "Network      {} over QUIC between {} processes",
            ByteSize(bytes),
            self.nodes.len()
        )?;
        writeln!(text, "\nStatement after {} epochs", self.epochs)?;
        for payout in &self.payouts {
            payout.describe(&mut text)?;
        }
        Ok(text)
    }
}

impl Refused {
    fn describe(&self, text: &mut String) -> std::fmt::Result {
        let Self { epoch, proposed, fell, lost, right_proposed, right_final } = *self;
        writeln!(
            text,
            "Refused      a false settlement of epoch {epoch}, proposed in block {proposed}, fell in block {fell} and \
             cost {}; the right one, proposed in block {right_proposed}, was final by block {right_final}",
            amount_in_open(lost)
        )
    }
}

impl Payout {
    fn describe(&self, text: &mut String) -> std::fmt::Result {
        writeln!(
            text,
            "account {:<3} {:<22} {}",
            self.account,
            self.name,
            amount_in_open(self.amount)
        )?;
        for (source, count) in &self.counts {
            let mut from = self.from;
            let sum = from.source(source).map_or(Amount::ZERO, |sum| *sum);
            writeln!(
                text,
                "    {source:<12} {:<24} for {count} {}",
                amount_in_open(sum),
                noun(source)
            )?;
        }
        for (reason, count) in &self.zeros {
            writeln!(text, "    {:<12} {count} × {reason}", "unpaid")?;
        }
        Ok(())
    }
}

/// What is counted of a source.
fn noun(source: &str) -> &'static str {
    match source {
        "storage" => "storage proofs and uses",
        "shards" => "parts of runs, with what emission adds",
        "audits" => "audits",
        "attribution" => "outputs attributed to its units",
        "model" => "uses of its model",
        "serving" => "outputs served and attributed",
        "stake" => "uses, as a staker",
        "treasury" => "uses and parts of runs",
        _ => "uses",
    }
}

/// The nodes at the end.
pub(super) fn node_lines(
    pids: impl Iterator<Item = u32>,
    statuses: &[StatusReport],
) -> Vec<NodeLine> {
    let line = |(pid, status): (u32, &StatusReport)| NodeLine {
        pid,
        quic_bytes: status.quic_bytes_in,
        packs: status.packs,
        device: status.device.clone(),
    };
    pids.zip(statuses).map(line).collect()
}

/// The checkpoints by round, each with the nodes that have it.
pub(super) fn checkpoints(statuses: &[StatusReport], model: ModelId) -> Vec<CheckpointLine> {
    let mut found = BTreeMap::<(Round, Hash), (usize, u32)>::new();
    for status in statuses {
        for closed in status.rounds_closed.iter().filter(|closed| closed.model == model) {
            let entry = found.entry((closed.round, closed.checkpoint)).or_default();
            entry.0 += 1;
            entry.1 = entry.1.max(closed.shards);
        }
    }
    let line = |((round, hash), (nodes, shards))| CheckpointLine { round, hash, nodes, shards };
    found.into_iter().map(line).collect()
}

/// The final settlements so far.
pub(super) fn finals(chain: &ChainView) -> impl Iterator<Item = &SettlementState> {
    (0..chain.next_to_settle().0).filter_map(|epoch| chain.settlement(Epoch(epoch)))
}

#[cfg(test)]
mod tests {
    use protocol::Digest;

    use super::*;

    fn line(source: &str, amount: u128, reason: Option<&str>) -> RewardLine {
        RewardLine {
            epoch: 1,
            source: source.to_owned(),
            amount: Amount(amount),
            record: Digest::ZERO,
            held: false,
            reason: reason.map(str::to_owned),
        }
    }

    #[test]
    fn a_payout_sums_by_source_and_keeps_the_reasons_of_zeros() {
        let lines =
            [line("storage", 5, None), line("storage", 7, None), line("shards", 0, Some("late"))];
        let payout = Payout::new(AccountId(3), "node", "node 1".to_owned(), &lines);
        assert_eq!(payout.amount, Amount(12));
        let json = serde_json::to_value(&payout).unwrap();
        assert_eq!(json["amount"], "12");
        assert_eq!(json["from"]["storage"], "12");
        assert_eq!(json["from"]["treasury"], "0");
        assert_eq!(json.as_object().unwrap().len(), 4, "exactly the fields of the issue");
        assert_eq!(payout.zeros.values().sum::<usize>(), 1);
    }

    #[test]
    fn the_first_of_nobody_is_nobody() {
        assert_eq!(first(&[]), None);
        assert_eq!(first(&[(AccountId(1), 0)]), None);
        assert_eq!(first(&[(AccountId(1), 3), (AccountId(2), 5)]), Some(AccountId(2)));
    }
}
