//! The routes under `/v1`.

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use axum::body::BodyDataStream;
use axum::extract::{Path, Request, State};
use axum::http::{HeaderValue, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Extension, Json, Router, middleware};
use futures::StreamExt;
use protocol::Hash;
use serde_json::{Value, json};

use super::Gateway;
use super::answer::{Begun, Reply, streamed, whole};
use super::backend::{Prompt, Question, Refused};
use super::booking::Reserved;
use super::choice::Choice;
use super::error::HttpError;
use super::guard::guard;
use super::journal::Entry;
use super::keys::Key;
use super::request::{Kind, Wanted};
use super::shape::{self, Shape};
use crate::keys::random_bytes;

/// Most bytes of a request.
const MAX_BODY: usize = 1 << 20;
/// How long a request may take to come.
const BODY: Duration = Duration::from_secs(60);
/// How long a request may take to come that is not answered.
const DRAIN: Duration = Duration::from_secs(2);
/// When to ask again where too many requests are open.
const RETRY: u32 = 2;

type Ctx = State<Arc<Gateway>>;

/// All routes behind the guard.
pub(super) fn router(gateway: Arc<Gateway>) -> Router {
    Router::new()
        .route("/v1/models", get(models))
        // Names of models may have slashes in them.
        .route("/v1/models/{*id}", get(model))
        .route("/v1/completions", post(completions))
        .route("/v1/chat/completions", post(chat_completions))
        .route("/v1/embeddings", post(embeddings))
        .fallback(unknown_url)
        .layer(middleware::map_response(as_error))
        .layer(middleware::from_fn_with_state(Arc::clone(&gateway), guard))
        .with_state(gateway)
}

async fn unknown_url(uri: Uri) -> HttpError {
    HttpError::unknown_url(format!(
        "{} is no URL of this gateway; it has /v1/models, /v1/completions and /v1/chat/completions",
        uri.path()
    ))
}

async fn embeddings() -> HttpError {
    HttpError::unknown_url("no model here makes embeddings; GET /v1/models lists what there is")
}

/// Gives what the server refused by itself the form that all errors have.
async fn as_error(response: Response) -> Response {
    match response.status() {
        StatusCode::METHOD_NOT_ALLOWED => HttpError::wrong_method().into_response(),
        _ => response,
    }
}

async fn models(State(gateway): Ctx) -> Json<Value> {
    let mut models = gateway.backend.models().await;
    models.sort_by(|a, b| a.id.cmp(&b.id));
    let models = models.iter().map(|model| shape::model(&model.id, &model.owner, model.chats));
    Json(json!({ "object": "list", "data": models.collect::<Vec<_>>() }))
}

async fn model(State(gateway): Ctx, Path(id): Path<String>) -> Result<Json<Value>, HttpError> {
    let models = gateway.backend.models().await;
    let found = models.iter().find(|model| model.id == id);
    let found = found.ok_or_else(|| Refused::UnknownModel(id.chars().take(256).collect()))?;
    Ok(Json(shape::model(&found.id, &found.owner, found.chats)))
}

async fn chat_completions(
    State(gateway): Ctx,
    Extension(key): Extension<Key>,
    request: Request,
) -> Result<Response, HttpError> {
    answer(&gateway, &key, Kind::Chat, request).await
}

async fn completions(
    State(gateway): Ctx,
    Extension(key): Extension<Key>,
    request: Request,
) -> Result<Response, HttpError> {
    answer(&gateway, &key, Kind::Text, request).await
}

async fn answer(
    gateway: &Arc<Gateway>,
    key: &Key,
    kind: Kind,
    request: Request,
) -> Result<Response, HttpError> {
    let mut entry = Entry::new(gateway.is_shown, &key.name);
    let Ok(place) = Arc::clone(&gateway.places).try_acquire_owned() else {
        let error = HttpError::busy("too many requests are open here; ask again", RETRY);
        entry.refused(&error);
        drain(request.into_body().into_data_stream()).await;
        let mut response = error.into_response();
        // Its place is for those who are answered.
        response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
        return Ok(response);
    };
    let read = async {
        let body = read_body(request).await?;
        let wanted = Wanted::read(kind, &body)?;
        entry.asks(&wanted.model);
        let begun = begin(gateway, key.hash, wanted.clone()).await?;
        Ok::<_, HttpError>((wanted, begun))
    };
    let (wanted, begun) = match read.await {
        Ok(read) => read,
        Err(error) => {
            entry.refused(&error);
            return Err(error);
        }
    };
    let prefix = match kind {
        Kind::Chat => "chatcmpl-",
        Kind::Text => "cmpl-",
    };
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    let shape = Shape {
        kind,
        id: format!("{prefix}{}", hex::encode(&random()?[..12])),
        created: now,
        model: wanted.model,
        has_logprobs: wanted.logprobs.is_some(),
    };
    let (end, has_usage) = (gateway.end.clone(), wanted.has_usage);
    let reply = Reply { shape, entry, end, has_usage, _place: place };
    if wanted.is_stream { Ok(streamed(reply, begun)) } else { whole(reply, begun).await }
}

async fn read_body(request: Request) -> Result<Vec<u8>, HttpError> {
    let mut parts = request.into_body().into_data_stream();
    let mut body = Vec::new();
    let read = async {
        while let Some(part) = parts.next().await {
            let part = part.map_err(|error| HttpError::body(error.to_string()))?;
            if body.len() + part.len() > MAX_BODY {
                return Err(HttpError::too_large(MAX_BODY));
            }
            body.extend_from_slice(&part);
        }
        Ok(())
    };
    let read = tokio::time::timeout(BODY, read).await.map_err(|_| HttpError::slow_body())?;
    if read.is_err() {
        drain(parts).await;
    }
    read.map(|()| body)
}

/// Reads a request to its end and keeps nothing of it: where a connection is closed before that, what was
/// said may be lost on the way.
async fn drain(mut parts: BodyDataStream) {
    let read = async { while let Some(Ok(_)) = parts.next().await {} };
    // Who is slow loses what was said.
    let _ = tokio::time::timeout(DRAIN, read).await;
}

/// Asks for all answers, one after the other, so that what one may cost is booked before the next is asked
/// for. It goes on though whoever asked hangs up, since what it books must be put right again.
async fn begin(gateway: &Arc<Gateway>, key: Hash, wanted: Wanted) -> Result<Begun, HttpError> {
    let gateway = Arc::clone(gateway);
    let task = tokio::spawn(async move {
        let seed = match wanted.seed {
            Some(seed) => seed,
            None => u64::from_be_bytes(random()?[..8].try_into().expect("eight bytes are eight")),
        };
        let mut begun = Begun::new();
        for prompt in &wanted.prompts {
            let characters = match prompt {
                Prompt::Text(text) => text.chars().count(),
                Prompt::Chat(_) => 0,
            };
            for _ in 0..wanted.n {
                // The first answer has the seed itself, so that it is the one of a request for one.
                let seed = seed.wrapping_add(begun.len() as u64);
                let choice = ask(&gateway, key, &wanted, prompt, seed).await?;
                begun.push((choice, characters));
            }
        }
        Ok(begun)
    });
    task.await.map_err(|error| HttpError::failed(error.to_string()))?
}

async fn ask(
    gateway: &Gateway,
    key: Hash,
    wanted: &Wanted,
    prompt: &Prompt,
    seed: u64,
) -> Result<Choice, HttpError> {
    let reserved = Reserved::take(&gateway.keys, &gateway.turns, key).await?;
    let question = Question {
        model: wanted.model.clone(),
        prompt: prompt.clone(),
        max_tokens: wanted.max_tokens,
        temperature_ppm: wanted.temperature_ppm,
        top_p_ppm: wanted.top_p_ppm,
        top_k: wanted.top_k,
        seed,
        logprobs: wanted.logprobs,
        most: reserved.left,
    };
    let asked = tokio::select! {
        asked = gateway.backend.ask(question) => asked.map_err(HttpError::from),
        () = gateway.end.cancelled() => Err(HttpError::shutting_down()),
    };
    match asked {
        Ok(answering) => {
            let booking = reserved.narrow(answering.most).await?;
            Ok(Choice::new(answering, booking, wanted.stops.clone()))
        }
        Err(error) => {
            reserved.release().await;
            Err(error)
        }
    }
}

fn random() -> Result<[u8; 32], HttpError> {
    random_bytes().map_err(|error| HttpError::failed(error.to_string()))
}
