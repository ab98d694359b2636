//! An attribution as the API says it: texts marked by byte, units with their documents, shares.

use std::cmp::Reverse;
use std::collections::BTreeSet;

use compute::model::layout;
use compute::run::RunData;
use compute::spans::{Span, SpanParams};
use protocol::attribution::{Share, UnitShare, WeighParams, Weights};
use protocol::node::Failure;
use protocol::{AccountId, EvmAddress, Hash};

use super::types::{
    AttributeRequest, AttributionReport, ContributorReport, EvidenceKind, MarkedSpan, Place,
    RuleReport, Sources, UnitLine,
};
use crate::node::{AttributeError, AttributeQuery, Attribution, RankedUnit};

/// Version of the record.
const SCHEMA: u32 = 1;

impl From<AttributeRequest> for AttributeQuery {
    fn from(request: AttributeRequest) -> Self {
        let AttributeRequest { prompt, output, max_tokens, seed, units, is_full } = request;
        Self { prompt, output, max_tokens, seed, units, is_full }
    }
}

impl TryFrom<Attribution> for AttributionReport {
    type Error = AttributeError;

    /// # Errors
    /// [`AttributeError::Broken`] where the tokenizer does not decode what the model wrote.
    fn try_from(found: Attribution) -> Result<Self, AttributeError> {
        let (run, exchange) = (&found.run, &found.exchange);
        let evidence = &exchange.evidence;
        let broken = |_| AttributeError::Broken { model: found.model, failure: Failure::Invalid };
        let text = run.tokenizer.decode(&exchange.output).map_err(broken)?;
        let span = |span: &Span| marked_span(run, &exchange.output, &text, span);
        Ok(Self {
            schema: SCHEMA,
            model: found.model,
            datanet: found.datanet,
            seed: found.query.output.is_none().then_some(found.query.seed),
            tokens_in: exchange.prompt.len(),
            tokens_out: exchange.output.len(),
            contributors: contributors(&evidence.weights, |account| {
                found.addresses.get(&account).copied().unwrap_or(EvmAddress::ZERO)
            }),
            lambda_ppm: evidence.weights.lambda_ppm,
            is_pool: evidence.weights.pool,
            output_millibits: evidence.spans.output_millibits,
            spans: evidence.spans.spans.iter().map(span).collect(),
            units: found.units.iter().filter_map(|unit| unit_line(&found, unit)).collect(),
            sources: sources(&found),
            rule: rule(),
            prompt: found.query.prompt,
            output: text,
        })
    }
}

fn marked_span(run: &RunData, output: &[u32], text: &str, span: &Span) -> MarkedSpan {
    let (from, to) = run.tokenizer.bytes_of(output, text, (span.start, span.len));
    let unit = run.units.get(span.unit as usize);
    MarkedSpan {
        from,
        to,
        tokens: span.len,
        unit: unit.map_or(Hash::ZERO, |unit| unit.hash),
        owner: unit.map(|unit| unit.owner).unwrap_or_default(),
        count: span.count,
        millibits: span.millibits,
    }
}

/// The contributors by falling share.
fn contributors(
    weights: &Weights,
    address: impl Fn(AccountId) -> EvmAddress,
) -> Vec<ContributorReport> {
    let lists = [&weights.shares, &weights.gradient, &weights.spans];
    let accounts: BTreeSet<AccountId> =
        lists.iter().flat_map(|list| list.iter().map(|share| share.account)).collect();
    let report = |account: &AccountId| ContributorReport {
        account: *account,
        address: address(*account),
        share_ppm: part(&weights.shares, *account),
        gradient_ppm: part(&weights.gradient, *account),
        span_ppm: part(&weights.spans, *account),
        confidence_ppm: confidence(weights, *account),
    };
    let mut reports: Vec<_> = accounts.iter().map(report).collect();
    reports.sort_by_key(|report| (Reverse(report.share_ppm), report.account));
    reports
}

/// How sure an account's share is; `None` where nothing was significant, so that all share the pool.
fn confidence(weights: &Weights, account: AccountId) -> Option<u32> {
    let mut of = weights.shares.iter().zip(&weights.confidence);
    let own = of.find(|(share, _)| share.account == account).map(|(_, ppm)| *ppm);
    own.filter(|_| !weights.pool)
}

fn part(shares: &[Share], account: AccountId) -> u32 {
    shares.iter().find(|share| share.account == account).map_or(0, |share| share.ppm)
}

/// The evidence for one unit; its text and the places of spans in it only where it is shown.
fn unit_line(found: &Attribution, ranked: &RankedUnit) -> Option<UnitLine> {
    let unit = found.exchange.evidence.units.get(ranked.rank as usize)?;
    let data = found.run.units.get(ranked.rank as usize).filter(|_| ranked.is_shown);
    let spans = found.exchange.evidence.spans.spans.iter().enumerate();
    let here = spans.filter(|(_, span)| span.unit == ranked.rank);
    let places = data.map(|data| {
        let place = |(span, at): (usize, &Span)| {
            let tokenizer = &found.run.tokenizer;
            let (from, to) = tokenizer.bytes_of(&data.tokens, &data.text, (at.position, at.len));
            Place { span, from, to }
        };
        here.map(place).collect()
    });
    Some(UnitLine {
        unit: unit.unit,
        rank: ranked.rank,
        owner: unit.owner,
        tokens: unit.tokens,
        cluster: unit.cluster,
        score: unit.score,
        span_millibits: unit.span_millibits,
        kind: kind_of(&ranked.share),
        share_ppm: ranked.share.ppm(),
        document: found.documents.get(&ranked.rank).cloned(),
        text: data.map(|data| data.text.clone()),
        places: places.unwrap_or_default(),
    })
}

/// What speaks for a unit.
fn kind_of(share: &UnitShare) -> EvidenceKind {
    match (share.pool_ppm > 0, share.gradient_ppm > 0, share.span_ppm > 0) {
        (true, ..) => EvidenceKind::Pool,
        (_, true, true) => EvidenceKind::Both,
        (_, true, false) => EvidenceKind::Gradient,
        (_, false, true) => EvidenceKind::Span,
        (_, false, false) => EvidenceKind::None,
    }
}

fn sources(found: &Attribution) -> Sources {
    let run = &found.run;
    let owners: BTreeSet<AccountId> = run.units.iter().map(|unit| unit.owner).collect();
    Sources {
        checkpoint: found.checkpoint,
        sketch_root: found.sketch_root,
        snapshot: found.exchange.snapshot,
        tokenizer: run.tokenizer.hash(),
        parameters: layout::tensors(&run.shape).iter().map(|tensor| tensor.len() as u64).sum(),
        units: run.units.len(),
        owners: owners.len(),
    }
}

const fn rule() -> RuleReport {
    let (weigh, spans) = (WeighParams::DEFAULT, SpanParams::DEFAULT);
    RuleReport {
        floor_per_token: weigh.floor_per_token,
        lambda_max_ppm: weigh.lambda_max_ppm,
        span_min_millibits: spans.min_millibits,
        span_max_count: spans.max_count,
        echo_millibits: spans.echo_millibits,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn contributors_come_by_falling_share_with_all_that_is_known() {
        let list = |parts: &[(u64, u32)]| -> Vec<Share> {
            let share = |(id, ppm): &(u64, u32)| Share { account: AccountId(*id), ppm: *ppm };
            parts.iter().map(share).collect()
        };
        let weights = Weights {
            shares: list(&[(2, 600_000), (4, 100_000), (9, 300_000)]),
            confidence: vec![900_000, 100_000, 500_000],
            gradient: list(&[(2, 857_143), (4, 142_857)]),
            spans: list(&[(9, 1_000_000)]),
            lambda_ppm: 300_000,
            pool: false,
        };
        let no_address = |_| EvmAddress::ZERO;
        let listed = contributors(&weights, no_address);
        let parts = |c: &ContributorReport| (c.account.0, c.share_ppm, c.gradient_ppm, c.span_ppm);
        let expected =
            [(2, 600_000, 857_143, 0), (9, 300_000, 0, 1_000_000), (4, 100_000, 142_857, 0)];
        assert_eq!(listed.iter().map(parts).collect::<Vec<_>>(), expected);
        let sure: Vec<_> = listed.iter().map(|c| c.confidence_ppm).collect();
        assert_eq!(sure, [Some(900_000), Some(500_000), Some(100_000)]);
        let pool = contributors(&Weights { pool: true, ..weights }, no_address);
        assert!(pool.iter().all(|c| c.confidence_ppm.is_none()));
    }
}
