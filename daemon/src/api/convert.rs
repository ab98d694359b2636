//! From what the node keeps to what the API says, and back: the only place that knows both.

use protocol::chain::{Deposit, ModelPublication, Settlement, SettlementState};
use protocol::settle::Source;
use protocol::{AccountId, Amount};

use super::types::{
    AddReport, Closed, DataDeposit, Document, Evaluation, InferReport, Offer, PricedQuote,
    ProposedSettlement, RewardLine, RunPrice, RunStatus, SettlementInfo, SpanReport, StatusReport,
    Train, TrainAdapter, TrainNumbers, TxReport, UnitReport,
};
use crate::ingest;
use crate::net::Reachability;
use crate::node::{
    AdapterRequest, AnswerSpan, AnswerUnit, ClosedRound, Contributed, DepositQuote, HeldOutLoss,
    NodeStatus, Quote, RunNumbers, RunProgress, Served, StatementLine, TrainRequest, TxOutcome,
};

/// Version of the status.
const STATUS_SCHEMA: u32 = 1;

impl From<NodeStatus> for StatusReport {
    fn from(status: NodeStatus) -> Self {
        let NodeStatus { net, device, store, .. } = status;
        Self {
            schema: STATUS_SCHEMA,
            version: env!("CARGO_PKG_VERSION").to_owned(),
            account: status.account.unwrap_or(AccountId(0)),
            node: net.node,
            device: device.name,
            refused_device: device.refused,
            shards_done: device.shards_done,
            peers: net.peers.len(),
            reachability: reachability(net.reachability).to_owned(),
            bootstrap: status.bootstrap,
            quic_bytes_in: net.data.received,
            quic_bytes_out: net.data.sent,
            packs: store.packs,
            stored_bytes: store.bytes,
            max_disk: store.limit,
            epoch: status.epoch.0,
            block: status.block.0,
            next_epoch_block: status.next_epoch_block.0,
            earned: status.earned.total(),
            claimed: status.claimed.total(),
            pending: status.due.pays.saturating_add(status.due.stakes),
            held: status.due.held,
            missing: status.due.missing,
            waiting: status.waiting,
            runs: status.runs.into_iter().map(Into::into).collect(),
            rounds_closed: status.rounds_closed.into_iter().map(Into::into).collect(),
            faults_seen: status.storage_faults,
            shards_rejected_seen: status.shards_rejected,
        }
    }
}

const fn reachability(state: Reachability) -> &'static str {
    match state {
        Reachability::Unknown => "unknown",
        Reachability::Public => "public",
        Reachability::Private => "private",
    }
}

impl From<RunProgress> for RunStatus {
    fn from(run: RunProgress) -> Self {
        let RunProgress { model, round, rounds, checkpoint, is_ready, sketch_root } = run;
        Self { model, round, rounds, checkpoint, is_ready, sketch_root }
    }
}

impl From<ClosedRound> for Closed {
    fn from(closed: ClosedRound) -> Self {
        let ClosedRound { model, round, checkpoint, shards } = closed;
        Self { model, round, checkpoint, shards }
    }
}

impl From<TxOutcome> for TxReport {
    fn from(outcome: TxOutcome) -> Self {
        Self { block: outcome.block.0, gas: outcome.gas, created: outcome.created }
    }
}

impl From<StatementLine> for RewardLine {
    fn from(line: StatementLine) -> Self {
        Self {
            epoch: line.epoch.0,
            source: source(line.source).to_owned(),
            amount: line.paid.unwrap_or(Amount::ZERO),
            record: line.record,
            held: line.is_held,
            reason: line.paid.err().map(|reason| reason.to_string()),
        }
    }
}

pub(super) const fn source(source: Source) -> &'static str {
    match source {
        Source::Storage => "storage",
        Source::Shards => "shards",
        Source::Audits => "audits",
        Source::Attribution => "attribution",
        Source::Model => "model",
        Source::Serving => "serving",
        Source::Stake => "stake",
        Source::Treasury => "treasury",
    }
}

impl From<&SettlementState> for SettlementInfo {
    fn from(state: &SettlementState) -> Self {
        Self {
            epoch: state.settlement.epoch,
            id: state.id,
            is_final: state.is_final,
            proposer: state.proposer,
            settlement: state.settlement.into(),
        }
    }
}

impl From<Settlement> for ProposedSettlement {
    fn from(settlement: Settlement) -> Self {
        Self {
            epoch: settlement.epoch,
            parent: settlement.parent,
            records: settlement.records,
            payout_root: settlement.payout_root,
            total: settlement.total,
            balances: settlement.balances,
            balances_length: settlement.balances_length,
            uses: settlement.uses,
            replicas_proven: settlement.replicas_proven,
            storage_faults: settlement.storage_faults,
            shards_verified: settlement.shards_verified,
            shards_rejected: settlement.shards_rejected,
        }
    }
}

impl From<ingest::Document> for Document {
    fn from(document: ingest::Document) -> Self {
        Self { name: document.name, text: document.text }
    }
}

impl From<Document> for ingest::Document {
    fn from(document: Document) -> Self {
        Self { name: document.name, text: document.text }
    }
}

impl From<Contributed> for AddReport {
    fn from(added: Contributed) -> Self {
        Self {
            contribution: added.contribution,
            manifest: added.manifest,
            packs: added.packs,
            units: added.units,
            bytes: added.bytes,
            block: added.block.0,
            deposit: added.deposit,
            until_block: added.until.0,
        }
    }
}

impl From<DepositQuote> for DataDeposit {
    fn from(quote: DepositQuote) -> Self {
        let DepositQuote { deposit, blocks, has, operator } = quote;
        Self { deposit, blocks, has, operator }
    }
}

impl From<ModelPublication> for Offer {
    fn from(offer: ModelPublication) -> Self {
        Self {
            model: offer.model,
            checkpoint: offer.checkpoint,
            sketch_root: offer.sketch_root,
            server: offer.server,
            price_in: offer.price_in,
            price_out: offer.price_out,
            price_use: offer.price_use,
        }
    }
}

impl Train {
    /// The same as the node takes it, by the account that earns the developer's share.
    pub(super) fn by(self, developer: AccountId) -> TrainRequest {
        let Self { datanet, owner: _, adapter, seed, numbers, budget } = self;
        let adapter = adapter.map(|TrainAdapter { base, rank, alpha, targets }| AdapterRequest {
            base,
            rank,
            alpha,
            targets,
        });
        let TrainNumbers { rounds, steps, batch, context, learning_rate } = numbers;
        let numbers = RunNumbers { rounds, steps, batch, context, learning_rate };
        TrainRequest { datanet, developer, adapter, seed, numbers, budget }
    }
}

impl From<crate::node::RunPrice> for RunPrice {
    fn from(price: crate::node::RunPrice) -> Self {
        let crate::node::RunPrice { price, slots, least } = price;
        Self { price, slots, least }
    }
}

impl PricedQuote {
    /// A quote, and what the consumer's deposit says of it.
    pub(super) const fn new(quote: Quote, deposit: &Deposit) -> Self {
        let Quote { price, payee, promised, tokens_in } = quote;
        let (redeemed, available) = (deposit.redeemed, deposit.available(promised));
        Self { price, payee, promised, tokens_in, redeemed, available }
    }
}

impl From<Served> for InferReport {
    fn from(served: Served) -> Self {
        let Served { answer, record, fee } = served;
        Self {
            text: answer.text,
            tokens_in: answer.tokens_in,
            tokens_out: answer.tokens_out,
            shares: answer.shares,
            gradient: answer.gradient,
            span_shares: answer.span_shares,
            permuted_leader: answer.permuted_leader,
            lambda_ppm: answer.lambda_ppm,
            spans: answer.spans.into_iter().map(Into::into).collect(),
            top_units: answer.top_units.into_iter().map(Into::into).collect(),
            record,
            fee,
        }
    }
}

impl From<AnswerSpan> for SpanReport {
    fn from(span: AnswerSpan) -> Self {
        let AnswerSpan { start, len, owner, millibits, text } = span;
        Self { start, len, owner, millibits, text }
    }
}

impl From<AnswerUnit> for UnitReport {
    fn from(unit: AnswerUnit) -> Self {
        let AnswerUnit { unit, owner, score, span_millibits, text } = unit;
        Self { unit, owner, score, span_millibits, text }
    }
}

impl From<HeldOutLoss> for Evaluation {
    fn from(loss: HeldOutLoss) -> Self {
        let HeldOutLoss { first, last, unigram, bigram } = loss;
        Self { loss_first: first, loss_last: last, unigram, bigram }
    }
}
