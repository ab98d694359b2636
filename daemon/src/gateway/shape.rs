//! Answers in the shapes of OpenAI's API, whole and in chunks.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::backend::{Finish, Paid, Token};
use super::choice::Scored;
use super::request::Kind;

/// What is said of a token that is next to impossible: JSON has no infinity.
const LEAST_LOGPROB: f32 = -9999.0;

/// What all parts of one response have in common.
#[derive(Debug)]
pub(crate) struct Shape {
    pub(crate) kind: Kind,
    pub(crate) id: String,
    /// Seconds since 1970.
    pub(crate) created: u64,
    pub(crate) model: String,
    pub(crate) has_logprobs: bool,
}

/// How many tokens were read and drawn, of all answers together. Every answer reads its prompt, so that of
/// several answers it counts as often: what was read is what is billed.
#[derive(Debug, Default, Clone, Copy)]
pub(crate) struct Usage {
    pub(crate) tokens_in: u64,
    pub(crate) tokens_out: u64,
}

impl Usage {
    fn to_json(self) -> Value {
        json!({
            "prompt_tokens": self.tokens_in,
            "completion_tokens": self.tokens_out,
            "total_tokens": self.tokens_in + self.tokens_out,
        })
    }
}

impl Shape {
    /// A whole response.
    pub(crate) fn whole(&self, choices: Vec<Value>, usage: Usage, paid: &[(usize, Paid)]) -> Value {
        let object = match self.kind {
            Kind::Chat => "chat.completion",
            Kind::Text => "text_completion",
        };
        self.response(object, choices, Some(usage), paid)
    }

    /// One chunk of a stream. The last may say what was used; only where that was asked for, since clients
    /// that did not ask expect a choice in every chunk.
    pub(crate) fn chunk(
        &self,
        choices: Vec<Value>,
        usage: Option<Usage>,
        paid: &[(usize, Paid)],
    ) -> Value {
        let object = match self.kind {
            Kind::Chat => "chat.completion.chunk",
            Kind::Text => "text_completion",
        };
        self.response(object, choices, usage, paid)
    }

    fn response(
        &self,
        object: &str,
        choices: Vec<Value>,
        usage: Option<Usage>,
        paid: &[(usize, Paid)],
    ) -> Value {
        let mut response = json!({
            "id": self.id,
            "object": object,
            "created": self.created,
            "model": self.model,
            "choices": choices,
            "usage": usage.map(Usage::to_json),
        });
        if !paid.is_empty() {
            response["openledger"] = bill(paid);
        }
        response
    }

    /// The choice of a whole response.
    pub(crate) fn choice(
        &self,
        index: usize,
        text: &str,
        logprobs: Logprobs,
        finish: Finish,
    ) -> Value {
        let mut choice = match self.kind {
            Kind::Chat => json!({
                "message": { "role": "assistant", "content": text, "refusal": null },
            }),
            Kind::Text => json!({ "text": text }),
        };
        choice["index"] = index.into();
        choice["finish_reason"] = reason(finish).into();
        choice["logprobs"] = self.logprobs(logprobs);
        choice
    }

    /// The choice with which a conversation's answer begins in a stream.
    pub(crate) fn begin(index: usize) -> Value {
        let delta = json!({ "role": "assistant", "content": "", "refusal": null });
        json!({ "index": index, "delta": delta, "logprobs": null, "finish_reason": null })
    }

    /// A choice with more text.
    pub(crate) fn more(&self, index: usize, text: &str, logprobs: Logprobs) -> Value {
        let mut choice = match self.kind {
            Kind::Chat => json!({ "delta": { "content": text } }),
            Kind::Text => json!({ "text": text }),
        };
        choice["index"] = index.into();
        choice["finish_reason"] = Value::Null;
        choice["logprobs"] = self.logprobs(logprobs);
        choice
    }

    /// The choice with which an answer ends in a stream.
    pub(crate) fn end(&self, index: usize, finish: Finish) -> Value {
        let mut choice = match self.kind {
            Kind::Chat => json!({ "delta": {} }),
            Kind::Text => json!({ "text": "" }),
        };
        choice["index"] = index.into();
        choice["finish_reason"] = reason(finish).into();
        choice["logprobs"] = Value::Null;
        choice
    }

    fn logprobs(&self, logprobs: Logprobs) -> Value {
        if !self.has_logprobs {
            return Value::Null;
        }
        match self.kind {
            Kind::Chat => logprobs.of_chat(),
            Kind::Text => logprobs.of_text(),
        }
    }
}

fn reason(finish: Finish) -> &'static str {
    match finish {
        Finish::Stop => "stop",
        Finish::Length => "length",
    }
}

/// What was paid: of one answer by its own receipt, of several the sum and each.
fn bill(paid: &[(usize, Paid)]) -> Value {
    let of = |paid: &Paid| {
        json!({
            "price": paid.price,
            "receipt": paid.receipt,
            "server": paid.server,
            "record": paid.record,
        })
    };
    if let [(_, only)] = paid {
        return of(only);
    }
    let price =
        paid.iter().fold(protocol::Amount::ZERO, |sum, (_, one)| sum.saturating_add(one.price));
    let answers = paid.iter().map(|(index, one)| {
        let mut answer = of(one);
        answer["index"] = (*index).into();
        answer
    });
    json!({ "price": price, "answers": answers.collect::<Vec<_>>() })
}

/// Tokens of a text with how likely they were.
#[derive(Debug, Default)]
pub(crate) struct Logprobs {
    tokens: Vec<Scored>,
    /// Characters before the first, those of the prompt included.
    offset: usize,
}

impl Logprobs {
    pub(crate) fn new(tokens: Vec<Scored>, offset: usize) -> Self {
        Self { tokens, offset }
    }

    fn of_chat(self) -> Value {
        let of = |token: &Token| {
            json!({
                "token": text(token),
                "bytes": token.bytes,
                "logprob": logprob(token),
            })
        };
        let content = self.tokens.iter().map(|(token, likeliest)| {
            let mut entry = of(token);
            entry["top_logprobs"] = likeliest.iter().map(of).collect();
            entry
        });
        json!({ "content": content.collect::<Vec<_>>(), "refusal": null })
    }

    fn of_text(self) -> Value {
        let mut offset = self.offset;
        let mut offsets = Vec::new();
        for (token, _) in &self.tokens {
            offsets.push(offset);
            offset += text(token).chars().count();
        }
        // The token that was drawn is always among the likeliest.
        let top = |(token, likeliest): &Scored| {
            let all = likeliest.iter().chain([token]);
            all.map(|token| (text(token), logprob(token))).collect::<BTreeMap<_, _>>()
        };
        let all = || self.tokens.iter();
        json!({
            "tokens": all().map(|(token, _)| text(token)).collect::<Vec<_>>(),
            "token_logprobs": all().map(|(token, _)| logprob(token)).collect::<Vec<_>>(),
            "top_logprobs": all().map(top).collect::<Vec<_>>(),
            "text_offset": offsets,
        })
    }
}

fn text(token: &Token) -> String {
    String::from_utf8_lossy(&token.bytes).into_owned()
}

fn logprob(token: &Token) -> f32 {
    // Of what is no number nothing is known but that it is not likely.
    token.logprob.max(LEAST_LOGPROB)
}

/// A model, as it is listed.
pub(crate) fn model(id: &str, owner: &str, chats: bool) -> Value {
    let mut model = Map::new();
    model.insert("id".to_owned(), id.into());
    model.insert("object".to_owned(), "model".into());
    // When it was made is not known.
    model.insert("created".to_owned(), 0.into());
    model.insert("owned_by".to_owned(), owner.into());
    model.insert("openledger".to_owned(), json!({ "chats": chats }));
    model.into()
}
