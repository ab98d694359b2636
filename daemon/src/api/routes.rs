//! The routes under `/api/v1`, each one call of the node.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::{DefaultBodyLimit, Path, Query, State};
use axum::http::{Uri, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router, body::Bytes, middleware};
use protocol::ask::Prompt;
use protocol::balance::Due;
use protocol::chain::{ChainView, ModelPublication, Transaction};
use protocol::codec::Wire;
use protocol::receipt::SignedReceipt;
use protocol::training::RunConfig;
use protocol::{AccountId, Amount, DatanetId, Epoch, EvmAddress, Hash, ModelId, NodeId};
use serde::Deserialize;

use super::guard::guard;
use super::problem::{Answer, body, failed};
use super::statement::statement;
use super::types::{
    AccountInfo, AddReport, AskQuote, AttributeRequest, AttributionReport, Claim, Claimed,
    Contribute, ContributionInfo, CreateDatanet, Created, DataDeposit, DatanetInfo, Evaluate,
    Evaluation, Infer, InferReport, ModelInfo, Offer, Pin, Pinned, PricedQuote, Publish, Register,
    RewardLine, RunPrice, SettlementInfo, StatusReport, TakeBack, Ticket, Train, TxReport,
};
use super::{Context, Problem, problem};
use crate::ingest::{Document, MAX_CONTRIBUTION_BYTES, pack};
use crate::network::NetworkTicket;
use crate::node::{AddRequest, InferRequest};

/// Bytes of an ordinary request.
const BODY: usize = 1 << 20;
/// Bytes of a contribution: JSON may double the text.
const CONTRIBUTION_BODY: usize = 3 * MAX_CONTRIBUTION_BYTES;
/// Bytes of a blob that is given out over HTTP.
const MAX_BLOB: u64 = 64 << 20;
/// Between two looks at the chain view, and how long a block may take to be read.
const POLL: Duration = Duration::from_millis(100);
const BLOCK_TIMEOUT: Duration = Duration::from_secs(30);

type Ctx = State<Arc<Context>>;

/// All routes behind the guard.
pub(super) fn router(context: Arc<Context>) -> Router {
    let large = Router::new()
        .route("/datanets/{id}/contributions", post(contribute))
        .layer(DefaultBodyLimit::max(CONTRIBUTION_BODY));
    let small = Router::new()
        .route("/status", get(status))
        .route("/ticket", get(join_ticket))
        .route("/accounts", get(accounts).post(register))
        .route("/datanets", get(datanets).post(create_datanet))
        .route("/datanets/{id}", get(datanet))
        .route("/deposits", get(data_deposit).post(take_back))
        .route("/models", get(models).post(train))
        .merge(super::bases::routes())
        .route("/models/price", post(price_of_run))
        .route("/models/{id}/publish", post(publish))
        .route("/models/{id}/quote", post(quote))
        .route("/models/{id}/infer", post(infer))
        .route("/models/{id}/attribute", post(attribute))
        .route("/models/{id}/evaluate", post(evaluate))
        .route("/settlements", get(settlements))
        .route("/rewards", get(rewards))
        .route("/rewards/statement", get(statement))
        .route("/claims", post(claim))
        .route("/pins", post(pin))
        .route("/blobs/{hash}", get(blob))
        .route("/blobs/{hash}/ticket", get(blob_ticket))
        .layer(DefaultBodyLimit::max(BODY));
    Router::new()
        .nest("/api/v1", small.merge(large))
        .fallback(unknown_path)
        .layer(middleware::map_response(as_problem))
        .layer(middleware::from_fn_with_state(Arc::clone(&context), guard))
        .with_state(context)
}

async fn unknown_path(uri: Uri) -> Problem {
    Problem::not_found(format!("{} is not a path of this API", uri.path()))
}

/// Gives what the server refused by itself the form that all errors have.
async fn as_problem(response: Response) -> Response {
    let status = response.status();
    let kind = response.headers().get(header::CONTENT_TYPE);
    let is_problem = kind.is_some_and(|kind| kind == problem::CONTENT_TYPE);
    if is_problem || !(status.is_client_error() || status.is_server_error()) {
        return response;
    }
    let said = axum::body::to_bytes(response.into_body(), 1024).await.unwrap_or_default();
    Problem::of_status(status, &String::from_utf8_lossy(&said)).into_response()
}

// --- this node

async fn status(State(context): Ctx) -> Answer<StatusReport> {
    Ok(Json(context.node.status().await.map_err(failed)?.into()))
}

async fn join_ticket(State(context): Ctx) -> Answer<Ticket> {
    let peer = context.node.join_ticket().await.map_err(failed)?;
    let ticket = NetworkTicket { network: context.network.clone(), peer: Some(peer) };
    Ok(Json(Ticket { ticket: ticket.to_string() }))
}

async fn pin(State(context): Ctx, bytes: Bytes) -> Answer<Pinned> {
    let Pin { hash } = body(&bytes)?;
    let bytes = context.node.pin(hash).await.map_err(failed)?;
    Ok(Json(Pinned { hash, bytes }))
}

async fn blob(State(context): Ctx, Path(hash): Path<String>) -> Result<Bytes, Problem> {
    context.node.blob(parse_hash(&hash)?, MAX_BLOB).await.map_err(failed)
}

async fn blob_ticket(State(context): Ctx, Path(hash): Path<String>) -> Answer<Ticket> {
    Ok(Json(Ticket { ticket: context.node.ticket(parse_hash(&hash)?) }))
}

fn parse_hash(text: &str) -> Result<Hash, Problem> {
    text.parse().map_err(Problem::invalid)
}

// --- accounts and money

async fn accounts(State(context): Ctx) -> Json<Vec<AccountInfo>> {
    let chain = context.node.chain();
    let head = chain.head().map_or_else(Default::default, |head| head.number);
    let info = |(id, account): (AccountId, &protocol::chain::Account)| AccountInfo {
        id,
        owner: account.owner,
        operator: account.operator_at(head),
        payout: account.payout,
        node: account.node,
        stake: account.stake(),
        claimed: chain.claimed(id).total(),
    };
    Json(chain.accounts().map(info).collect())
}

async fn register(State(context): Ctx, bytes: Bytes) -> Answer<Created<AccountId>> {
    let Register { owner } = body(&bytes)?;
    Ok(Json(Created { id: account_for(&context, Some(owner)).await? }))
}

/// The account of an owner that this node operates, made if there is none; the node's own when
/// nobody is named.
async fn account_for(context: &Context, owner: Option<EvmAddress>) -> Result<AccountId, Problem> {
    let Some(owner) = owner else {
        let text = "this node has no account yet; `openledger status` says what it waits for";
        return context.node.account().ok_or_else(|| Problem::not_ready(text));
    };
    let chain = context.node.chain();
    if let Some(found) = operated(&chain, owner, context.operator) {
        return Ok(found);
    }
    let register = Transaction::Register {
        owner,
        operator: context.operator,
        payout: owner,
        node: NodeId::ZERO,
        binding: [0; 64],
    };
    let report = context.node.submit(register).await.map_err(failed)?;
    let id = report.created.ok_or_else(|| {
        Problem::not_ready("the chain accepted the registration but created no account; try again")
    })?;
    seen(context, AccountId(id)).await
}

/// Waits until this node's view has an account, so that the next request does not make it again.
async fn seen(context: &Context, id: AccountId) -> Result<AccountId, Problem> {
    let look = async {
        while context.node.chain().account(id).is_none() {
            tokio::time::sleep(POLL).await;
        }
    };
    let text = "the account is on chain, but this node has not read that block yet; try again";
    let waited = tokio::time::timeout(BLOCK_TIMEOUT, look).await;
    waited.map(|()| id).map_err(|_| Problem::not_ready(text))
}

fn operated(chain: &ChainView, owner: EvmAddress, operator: EvmAddress) -> Option<AccountId> {
    let head = chain.head()?.number;
    let mut accounts = chain.accounts();
    // Anybody can register an account for another, and with a payout address of its own.
    let is_it = |account: &protocol::chain::Account| {
        account.owner == owner
            && account.payout == owner
            && account.node == NodeId::ZERO
            && account.operator_at(head) == Some(operator)
    };
    accounts.find(|(_, account)| is_it(account)).map(|(id, _)| id)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct OfAccount {
    account: Option<u64>,
}

async fn rewards(
    State(context): Ctx,
    query: Result<Query<OfAccount>, axum::extract::rejection::QueryRejection>,
) -> Answer<Vec<RewardLine>> {
    let Query(of) = query.map_err(Problem::invalid)?;
    let account = match of.account {
        Some(account) => AccountId(account),
        None => account_for(&context, None).await?,
    };
    let lines = context.node.rewards(account).await.map_err(failed)?;
    Ok(Json(lines.into_iter().map(Into::into).collect()))
}

async fn claim(State(context): Ctx, bytes: Bytes) -> Answer<Claimed> {
    let Claim { account } = body(&bytes)?;
    let account = match account {
        Some(account) => account,
        None => account_for(&context, None).await?,
    };
    let (due, transaction) = context.node.claim(account).await.map_err(failed)?;
    let Due { pays: paid, stakes: staked, held, missing } = due;
    let transaction = transaction.map(Into::into);
    Ok(Json(Claimed { account, transaction, paid, staked, held, missing }))
}

async fn settlements(State(context): Ctx) -> Json<Vec<SettlementInfo>> {
    let chain = context.node.chain();
    let epochs = 0..=chain.epoch().0;
    let found = epochs.filter_map(|epoch| chain.settlement(Epoch(epoch)));
    Json(found.map(SettlementInfo::from).collect())
}

// --- data

async fn datanets(State(context): Ctx) -> Json<Vec<DatanetInfo>> {
    let chain = context.node.chain();
    let ids: Vec<_> = chain.datanets().map(|(id, _)| id).collect();
    Json(ids.into_iter().filter_map(|id| datanet_info(&chain, id)).collect())
}

async fn datanet(State(context): Ctx, Path(id): Path<u64>) -> Answer<DatanetInfo> {
    let found = datanet_info(&context.node.chain(), DatanetId(id));
    let text = format!("there is no Datanet {id}; `openledger datanet ls` lists them");
    Ok(Json(found.ok_or_else(|| Problem::not_found(text))?))
}

fn datanet_info(chain: &ChainView, id: DatanetId) -> Option<DatanetInfo> {
    let (owner, name) = chain.datanet(id)?;
    let of_it = chain.contributions().iter().filter(|(_, item)| item.datanet == id);
    let contributions = of_it.map(|(block, item)| ContributionInfo {
        id: item.id,
        account: item.account,
        manifest: item.manifest,
        packs: item.packs.iter().map(|pack| (pack.hash, pack.length)).collect(),
        units: item.units,
        block: block.0,
    });
    let (owner, name) = (*owner, name.clone());
    Some(DatanetInfo { id, name, owner, contributions: contributions.collect() })
}

async fn create_datanet(State(context): Ctx, bytes: Bytes) -> Answer<Created<DatanetId>> {
    let CreateDatanet { name, domain, licence } = body(&bytes)?;
    let owner = account_for(&context, None).await?;
    let create = Transaction::CreateDatanet { owner, name, domain, licence };
    let report = context.node.submit(create).await.map_err(failed)?;
    let id = report.created.ok_or_else(|| {
        Problem::not_ready("the chain accepted the transaction but created no Datanet; try again")
    })?;
    Ok(Json(Created { id: DatanetId(id) }))
}

async fn contribute(State(context): Ctx, Path(id): Path<u64>, bytes: Bytes) -> Answer<AddReport> {
    let Contribute { owner, documents } = body(&bytes)?;
    drop(bytes);
    let documents: Vec<Document> = documents.into_iter().map(Into::into).collect();
    let params = *context.node.chain().params();
    let packed = tokio::task::spawn_blocking(move || pack(&documents, &params)).await;
    let packed = packed.map_err(Problem::invalid)?.map_err(Problem::invalid)?;
    let account = account_for(&context, owner).await?;
    let packs = packed.packs.into_iter().map(Vec::from).collect();
    let request = AddRequest { datanet: DatanetId(id), account, manifest: packed.manifest, packs };
    Ok(Json(context.node.add(request).await.map_err(failed)?.into()))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct OfBytes {
    bytes: u64,
}

async fn data_deposit(
    State(context): Ctx,
    query: Result<Query<OfBytes>, axum::extract::rejection::QueryRejection>,
) -> Answer<DataDeposit> {
    let Query(OfBytes { bytes }) = query.map_err(Problem::invalid)?;
    Ok(Json(context.node.data_deposit(bytes).await.map_err(failed)?.into()))
}

async fn take_back(State(context): Ctx, bytes: Bytes) -> Answer<TxReport> {
    let TakeBack { contribution } = body(&bytes)?;
    let take = Transaction::TakeBackDeposit { contribution };
    Ok(Json(context.node.submit(take).await.map_err(failed)?.into()))
}

// --- models

async fn models(State(context): Ctx) -> Answer<Vec<ModelInfo>> {
    let chain = context.node.chain();
    let runs = context.node.status().await.map_err(failed)?.runs;
    let spent = |model| {
        let parts = chain.parts_paid_before(model, Epoch(u64::MAX));
        let prices = parts.filter_map(|part| chain.price_of(part));
        prices.fold(Amount::ZERO, Amount::saturating_add)
    };
    let info = |(_, model): &(protocol::BlockNumber, protocol::chain::Model)| ModelInfo {
        id: model.id,
        developer: model.developer,
        datanet: model.datanet,
        rounds: RunConfig::from_bytes(&model.config).ok().map(|config| config.rounds),
        escrow: model.escrow,
        spent: spent(model.id),
        refused: chain.order(model.id).err().map(|fault| fault.to_string()),
        run: runs.iter().find(|run| run.model == model.id).cloned().map(Into::into),
        offer: chain.publication(model.id).map(|offer| Offer::from(*offer)),
    };
    Ok(Json(chain.models().map(info).collect()))
}

async fn train(State(context): Ctx, bytes: Bytes) -> Answer<Created<ModelId>> {
    let train: Train = body(&bytes)?;
    let developer = account_for(&context, train.owner).await?;
    let request = train.by(developer);
    Ok(Json(Created { id: context.node.train(request).await.map_err(failed)? }))
}

async fn price_of_run(State(context): Ctx, bytes: Bytes) -> Answer<RunPrice> {
    let train: Train = body(&bytes)?;
    // Whoever orders it pays the same.
    let request = train.by(AccountId(0));
    Ok(Json(context.node.price_of_run(request).await.map_err(failed)?.into()))
}

async fn publish(State(context): Ctx, Path(id): Path<u64>, bytes: Bytes) -> Answer<Offer> {
    let Publish { price_in, price_out, price_use } = body(&bytes)?;
    let server = account_for(&context, None).await?;
    let model = ModelId(id);
    let runs = context.node.status().await.map_err(failed)?.runs;
    let run = runs.into_iter().find(|run| run.model == model && run.is_ready);
    let text =
        format!("model {id} is still in training; `openledger model ls` shows how far it is");
    let run = run.ok_or_else(|| Problem::not_ready(text))?;
    let (Some(checkpoint), Some(sketch_root)) = (run.checkpoint, run.sketch_root) else {
        return Err(Problem::not_ready("the attribution sketches are not committed yet"));
    };
    let offer =
        ModelPublication { model, checkpoint, sketch_root, server, price_in, price_out, price_use };
    context.node.submit(Transaction::PublishModel(offer)).await.map_err(failed)?;
    Ok(Json(offer.into()))
}

async fn quote(State(context): Ctx, Path(id): Path<u64>, bytes: Bytes) -> Answer<PricedQuote> {
    let AskQuote { payer, prompt, max_tokens } = body(&bytes)?;
    let prompt = Prompt::Text(prompt);
    let quote = context.node.quote(ModelId(id), payer, &prompt, max_tokens).await;
    let quote = quote.map_err(failed)?;
    let deposit = context.node.chain().deposit(payer, quote.payee);
    Ok(Json(PricedQuote::new(quote, &deposit)))
}

async fn infer(State(context): Ctx, Path(id): Path<u64>, bytes: Bytes) -> Answer<InferReport> {
    let Infer { receipt, prompt, max_tokens, seed } = body(&bytes)?;
    let digits = receipt.strip_prefix("0x").unwrap_or(&receipt);
    let receipt = hex::decode(digits).map_err(Problem::invalid)?;
    let receipt = SignedReceipt::from_bytes(&receipt).map_err(Problem::invalid)?;
    if receipt.receipt.model != ModelId(id) {
        return Err(Problem::invalid("the receipt names another model than the path"));
    }
    let request = InferRequest { receipt, prompt, max_tokens, seed };
    Ok(Json(context.node.infer(request).await.map_err(failed)?.into()))
}

async fn attribute(
    State(context): Ctx,
    Path(id): Path<u64>,
    bytes: Bytes,
) -> Answer<AttributionReport> {
    let request: AttributeRequest = body(&bytes)?;
    let refused = |error| Problem::of_attribution(&error);
    let found = context.node.attribute(ModelId(id), request.into()).await.map_err(refused)?;
    Ok(Json(found.try_into().map_err(refused)?))
}

async fn evaluate(State(context): Ctx, Path(id): Path<u64>, bytes: Bytes) -> Answer<Evaluation> {
    let Evaluate { held_out } = body(&bytes)?;
    Ok(Json(context.node.evaluate(ModelId(id), held_out).await.map_err(failed)?.into()))
}
