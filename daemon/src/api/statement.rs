//! `GET /api/v1/rewards/statement`: what an account earned, narrowed and page by page.

use std::sync::Arc;

use axum::Json;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use protocol::{AccountId, DatanetId, Digest, Epoch, Hash, ModelId};
use serde::Deserialize;

use super::convert::source;
use super::types::{StatementGap, StatementLine, StatementPage, StatementSums};
use super::{Context, Problem};
use crate::node::{self, Standing, StatementError, StatementQuery};

/// What is asked for.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Asked {
    account: Option<u64>,
    datanet: Option<u64>,
    model: Option<u64>,
    output: Option<Digest>,
    unit: Option<Hash>,
    since: Option<u64>,
}

impl From<Asked> for StatementQuery {
    fn from(asked: Asked) -> Self {
        Self {
            account: asked.account.map(AccountId),
            datanet: asked.datanet.map(DatanetId),
            model: asked.model.map(ModelId),
            output: asked.output,
            unit: asked.unit,
            since: Epoch(asked.since.unwrap_or_default()),
        }
    }
}

pub(super) async fn statement(
    State(context): State<Arc<Context>>,
    query: Result<Query<Asked>, QueryRejection>,
) -> Result<Json<StatementPage>, Problem> {
    let Query(asked) = query.map_err(Problem::invalid)?;
    let page = context.node.statement(asked.into()).await.map_err(refused)?;
    Ok(Json(page.into()))
}

#[allow(clippy::needless_pass_by_value, reason = "the shape of map_err")]
fn refused(error: StatementError) -> Problem {
    use StatementError as E;
    match error {
        E::NoAccount => Problem::not_ready(error),
        E::UnknownAccount(_) | E::UnknownDatanet(_) | E::UnknownModel(_) | E::UnknownUnit(_) => {
            Problem::not_found(error)
        }
        E::OthersUnit { .. } | E::Future { .. } => Problem::invalid(error),
    }
}

impl From<node::StatementPage> for StatementPage {
    fn from(page: node::StatementPage) -> Self {
        let gap = |(epoch, reason): (Epoch, String)| StatementGap { epoch: epoch.0, reason };
        Self {
            account: page.account,
            lines: page.rows.into_iter().map(Into::into).collect(),
            gaps: page.gaps.into_iter().map(gap).collect(),
            before: page.before.map(protocol::Balance::total),
            is_named: page.is_named,
            sums: StatementSums {
                now: page.now.0,
                final_epoch: page.leaf.map(|(epoch, _)| epoch.0),
                earned: page.leaf.map(|(_, earned)| earned.total()),
                claimed: page.claimed.total(),
                claimable: page.due.pays,
                becomes_stake: page.due.stakes,
                held: page.due.held,
            },
            next: page.next.map(|epoch| epoch.0),
        }
    }
}

impl From<node::StatementRow> for StatementLine {
    fn from(row: node::StatementRow) -> Self {
        Self {
            epoch: row.epoch.0,
            source: source(row.source).to_owned(),
            record: row.record,
            model: row.model,
            datanet: row.datanet,
            amount: row.amount,
            claimed: row.claimed,
            whole: row.whole,
            standing: standing(row.standing).to_owned(),
            note: row.note,
        }
    }
}

const fn standing(standing: Standing) -> &'static str {
    match standing {
        Standing::Paid => "paid",
        Standing::Staked => "staked",
        Standing::Claimable => "claimable",
        Standing::Held => "held",
        Standing::Pending => "pending",
        Standing::Zero => "zero",
        Standing::Unknown => "unknown",
    }
}
