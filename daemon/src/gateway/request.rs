//! What a request asks for, read from JSON that anybody may have written.
//!
//! Fields that would change the answer and are not known here are refused by name; what changes nothing
//! is passed over, as OpenAI does.

mod fields;
mod prompt;

use serde_json::{Map, Value};

use self::fields::Fields;
use super::backend::Prompt;
use super::error::HttpError;

/// Most stop strings, and most bytes of one.
const MAX_STOPS: usize = 4;
const MAX_STOP: usize = 1_024;
/// Most answers to one prompt.
const MAX_N: u32 = 8;
/// Most answers of one request.
const MAX_ANSWERS: usize = 32;
/// Most tokens that are named beside one in a conversation, and beside one that continues a text.
const MAX_TOP_CHAT: u32 = 20;
const MAX_TOP_TEXT: u32 = 5;
/// Tokens that continue a text where nothing is said, as OpenAI has it.
const TEXT_TOKENS: u32 = 16;
/// Most bytes of the name of a model.
const MAX_MODEL: usize = 512;

/// Which of the two ways of asking it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A conversation: `/v1/chat/completions`.
    Chat,
    /// A text to go on from: `/v1/completions`.
    Text,
}

/// A request that was read and checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Wanted {
    pub(crate) kind: Kind,
    pub(crate) model: String,
    pub(crate) prompts: Vec<Prompt>,
    /// Answers to each prompt.
    pub(crate) n: u32,
    pub(crate) max_tokens: Option<u32>,
    pub(crate) temperature_ppm: u32,
    pub(crate) top_p_ppm: u32,
    pub(crate) top_k: u32,
    /// Drawn by the gateway where nothing is said.
    pub(crate) seed: Option<u64>,
    pub(crate) stops: Vec<String>,
    pub(crate) logprobs: Option<u32>,
    pub(crate) is_stream: bool,
    /// Whether a stream ends with how many tokens were read and drawn.
    pub(crate) has_usage: bool,
}

impl Wanted {
    /// Reads the body of a request.
    pub(crate) fn read(kind: Kind, body: &[u8]) -> Result<Self, HttpError> {
        let fields: Map<String, Value> = serde_json::from_slice(body).map_err(|error| {
            HttpError::body(format!("the body is no JSON object that can be read: {error}"))
        })?;
        let mut fields = Fields::new(fields);
        fields.refuse_unsupported(kind)?;
        let model: Option<String> = fields.take("model", "a string")?;
        let model = model.filter(|model| !model.is_empty() && model.len() <= MAX_MODEL);
        let model = model
            .ok_or_else(|| HttpError::field("model", "name a model; GET /v1/models lists them"))?;
        let prompts = match kind {
            Kind::Chat => vec![prompt::conversation(fields.value("messages"))?],
            Kind::Text => prompt::texts(fields.value("prompt"))?,
        };
        let n = fields.number("n", 1..=MAX_N)?.unwrap_or(1);
        let answers = prompts.len() * n as usize;
        if answers > MAX_ANSWERS {
            let message = format!(
                "these are {answers} answers; at most {MAX_ANSWERS} are given to one request"
            );
            return Err(HttpError::field("n", message));
        }
        let is_stream = fields.take("stream", "true or false")?.unwrap_or(false);
        let options: Option<Map<String, Value>> = fields.take("stream_options", "an object")?;
        if options.is_some() && !is_stream {
            let message = "stream_options are for streams alone; set stream to true";
            return Err(HttpError::field("stream_options", message));
        }
        let mut options = Fields::new(options.unwrap_or_default());
        Ok(Self {
            kind,
            model,
            prompts,
            n,
            max_tokens: max_tokens(&mut fields, kind)?,
            temperature_ppm: fields.ppm("temperature", 2.0)?,
            top_p_ppm: fields.ppm("top_p", 1.0)?,
            top_k: fields.number("top_k", 0..=u32::MAX)?.unwrap_or(0),
            seed: seed(&mut fields)?,
            stops: stops(fields.value("stop"))?,
            logprobs: logprobs(&mut fields, kind)?,
            is_stream,
            has_usage: options.take("include_usage", "true or false")?.unwrap_or(false),
        })
    }
}

fn max_tokens(fields: &mut Fields, kind: Kind) -> Result<Option<u32>, HttpError> {
    let most = fields.number("max_tokens", 1..=u32::MAX)?;
    if kind == Kind::Text {
        return Ok(Some(most.unwrap_or(TEXT_TOKENS)));
    }
    // The newer of the two names counts.
    Ok(fields.number("max_completion_tokens", 1..=u32::MAX)?.or(most))
}

fn seed(fields: &mut Fields) -> Result<Option<u64>, HttpError> {
    let value = fields.value("seed");
    match &value {
        Value::Null => Ok(None),
        // Below zero, the same bits.
        value => value
            .as_u64()
            .or_else(|| value.as_i64().map(i64::cast_unsigned))
            .map(Some)
            .ok_or_else(|| HttpError::field("seed", "seed must be an integer of 64 bits")),
    }
}

fn stops(value: Value) -> Result<Vec<String>, HttpError> {
    let wrong = |what: &str| Err(HttpError::field("stop", what));
    let all = match value {
        Value::Null => Vec::new(),
        Value::String(one) => vec![one],
        Value::Array(several) if several.len() <= MAX_STOPS => {
            let text = |value| match value {
                Value::String(text) => Ok(text),
                _ => Err(HttpError::field("stop", "stop must be a string, or up to 4 strings")),
            };
            several.into_iter().map(text).collect::<Result<_, _>>()?
        }
        _ => return wrong("stop must be a string, or up to 4 strings"),
    };
    if all.iter().any(|stop| stop.is_empty() || stop.len() > MAX_STOP) {
        return wrong("a stop string must have 1 to 1,024 bytes");
    }
    Ok(all)
}

fn logprobs(fields: &mut Fields, kind: Kind) -> Result<Option<u32>, HttpError> {
    if kind == Kind::Text {
        return fields.number("logprobs", 0..=MAX_TOP_TEXT);
    }
    let is_wanted = fields.take("logprobs", "true or false")?.unwrap_or(false);
    let top = fields.number("top_logprobs", 0..=MAX_TOP_CHAT)?;
    if top.is_some_and(|top| top > 0) && !is_wanted {
        let message = "top_logprobs needs logprobs to be true";
        return Err(HttpError::field("top_logprobs", message));
    }
    Ok(is_wanted.then(|| top.unwrap_or(0)))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::backend::Line;
    use super::*;

    fn chat(more: Value) -> Result<Wanted, HttpError> {
        let mut body = json!({ "model": "m", "messages": [{ "role": "user", "content": "Hi" }] });
        for (name, value) in more.as_object().unwrap() {
            body[name] = value.clone();
        }
        Wanted::read(Kind::Chat, body.to_string().as_bytes())
    }

    fn text(more: Value) -> Result<Wanted, HttpError> {
        let mut body = json!({ "model": "m", "prompt": "Hi" });
        for (name, value) in more.as_object().unwrap() {
            body[name] = value.clone();
        }
        Wanted::read(Kind::Text, body.to_string().as_bytes())
    }

    fn param(read: Result<Wanted, HttpError>) -> String {
        let error = read.unwrap_err().to_json();
        error["error"]["param"].as_str().unwrap_or("none").to_owned()
    }

    #[test]
    fn what_is_left_out_or_null_is_as_openai_has_it() {
        let wanted = chat(json!({ "stop": null, "n": null, "user": "x", "metadata": {} })).unwrap();
        assert_eq!((wanted.n, wanted.max_tokens, wanted.seed), (1, None, None));
        assert_eq!((wanted.temperature_ppm, wanted.top_p_ppm), (1_000_000, 1_000_000));
        assert_eq!((wanted.is_stream, wanted.logprobs), (false, None));
        assert_eq!(text(json!({})).unwrap().max_tokens, Some(16));
        let both = chat(json!({ "max_tokens": 3, "max_completion_tokens": 4 })).unwrap();
        assert_eq!(both.max_tokens, Some(4));
        let harmless = json!({
            "tools": [], "tool_choice": "none", "response_format": { "type": "text" },
            "presence_penalty": 0, "logit_bias": {}, "modalities": ["text"], "made_up": 1,
        });
        assert!(chat(harmless).is_ok());
    }

    #[test]
    fn every_number_has_its_bounds() {
        let wanted = chat(json!({ "temperature": 0.7, "top_p": 0.25, "seed": -1, "top_k": 40 }));
        let wanted = wanted.unwrap();
        assert_eq!((wanted.temperature_ppm, wanted.top_p_ppm), (700_000, 250_000));
        assert_eq!((wanted.seed, wanted.top_k), (Some(u64::MAX), 40));
        for (name, bad) in [
            ("temperature", json!(2.1)),
            ("temperature", json!("hot")),
            ("top_p", json!(-0.1)),
            ("top_k", json!(-1)),
            ("seed", json!(0.5)),
            ("n", json!(9)),
            ("n", json!(0)),
            ("max_tokens", json!(0)),
            ("max_completion_tokens", json!(1e30)),
            ("stop", json!(["a", "b", "c", "d", "e"])),
            ("stop", json!("")),
            ("stop", json!([1])),
            ("stream", json!("yes")),
            ("stream_options", json!({ "include_usage": true })),
            ("top_logprobs", json!(3)),
            ("model", json!("")),
            ("messages", json!([])),
        ] {
            assert_eq!(param(chat(json!({ name: bad.clone() }))), name, "{bad}");
        }
        assert_eq!(param(chat(json!({ "logprobs": true, "top_logprobs": 21 }))), "top_logprobs");
        assert_eq!(param(text(json!({ "logprobs": 6 }))), "logprobs");
        assert_eq!(param(text(json!({ "prompt": vec!["a"; 9], "n": 8 }))), "n");
    }

    #[test]
    fn what_would_change_the_answer_and_is_not_done_is_refused_by_name() {
        for (name, value) in [
            ("tools", json!([{ "type": "function" }])),
            ("response_format", json!({ "type": "json_object" })),
            ("presence_penalty", json!(0.5)),
            ("logit_bias", json!({ "1": 2 })),
            ("audio", json!({ "voice": "alloy" })),
            ("modalities", json!(["text", "audio"])),
            ("functions", json!([{}])),
        ] {
            assert_eq!(param(chat(json!({ name: value }))), name);
        }
        for (name, value) in [
            ("echo", json!(true)),
            ("suffix", json!("x")),
            ("best_of", json!(3)),
            ("prompt", json!([1, 2])),
        ] {
            assert_eq!(param(text(json!({ name: value }))), name);
        }
    }

    #[test]
    fn a_message_is_text_or_parts_of_text() {
        let messages = json!([
            { "role": "developer", "content": "Be brief." },
            { "role": "user", "content": [{ "type": "text", "text": "a" }, { "type": "text", "text": "b" }] },
        ]);
        let wanted = chat(json!({ "messages": messages })).unwrap();
        let line = |role: &str, content: &str| Line { role: role.into(), content: content.into() };
        assert_eq!(
            wanted.prompts,
            [Prompt::Chat(vec![line("system", "Be brief."), line("user", "ab")])]
        );
        let refused = |message: Value| {
            let error = chat(json!({ "messages": [message] })).unwrap_err();
            (param(Err(error.clone())), error.message)
        };
        let image = refused(
            json!({ "role": "user", "content": [{ "type": "image_url", "image_url": {} }] }),
        );
        assert_eq!(image.0, "messages[0].content[0].type");
        assert!(image.1.contains("image_url"), "{}", image.1);
        assert_eq!(refused(json!({ "role": "boss", "content": "x" })).0, "messages[0].role");
        assert_eq!(refused(json!({ "role": "user" })).0, "messages[0].content");
        assert_eq!(refused(json!("x")).0, "messages[0]");
        let calls = json!({ "role": "assistant", "content": "", "tool_calls": [{}] });
        assert_eq!(refused(calls).0, "messages[0].tool_calls");
    }

    #[test]
    fn what_is_no_text_is_a_typed_error() {
        for body in [
            &br#"{"model":"m","prompt":"\ud800"}"#[..],
            br#"{"model":"m","prompt":"\udc00\ud800"}"#,
            b"{\"model\":\"m\",\"prompt\":\"\xff\"}",
            br#"{"model":"m","prompt":"#,
            br#"["model"]"#,
            b"",
        ] {
            let error = Wanted::read(Kind::Text, body).unwrap_err();
            assert_eq!(error.status, 400);
            assert!(error.message.contains("no JSON object that can be read"), "{error}");
        }
        let deep = format!("{{\"model\":{}", "[".repeat(100_000));
        assert_eq!(Wanted::read(Kind::Text, deep.as_bytes()).unwrap_err().status, 400);
        // A pair of them is a character.
        let whole = Wanted::read(Kind::Text, br#"{"model":"m","prompt":"\ud83d\ude00"}"#).unwrap();
        assert_eq!(whole.prompts, [Prompt::Text("😀".to_owned())]);
    }
}
