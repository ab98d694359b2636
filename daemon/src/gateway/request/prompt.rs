//! What a request asks about: a conversation, or texts to go on from.

use serde_json::{Map, Value};

use crate::gateway::backend::{Line, Prompt};
use crate::gateway::error::HttpError;

/// Most messages of a conversation.
const MAX_MESSAGES: usize = 4_096;
/// Most texts of one request.
const MAX_TEXTS: usize = 16;

/// The messages of a conversation.
pub(super) fn conversation(value: Value) -> Result<Prompt, HttpError> {
    let wrong = || {
        let message = format!("messages must be an array of 1 to {MAX_MESSAGES} messages");
        HttpError::field("messages", message)
    };
    match value {
        Value::Array(all) if (1..=MAX_MESSAGES).contains(&all.len()) => {
            let lines = (0..).zip(all).map(|(at, message)| line(at, message));
            Ok(Prompt::Chat(lines.collect::<Result<_, _>>()?))
        }
        _ => Err(wrong()),
    }
}

/// One text, or an array of them.
pub(super) fn texts(value: Value) -> Result<Vec<Prompt>, HttpError> {
    let wrong = |message: &str| HttpError::field("prompt", message);
    let several = match value {
        Value::String(text) => return Ok(vec![Prompt::Text(text)]),
        Value::Array(several) if (1..=MAX_TEXTS).contains(&several.len()) => several,
        // An array of numbers is refused for what it is, however long.
        Value::Array(several) if several.first().is_some_and(|value| !value.is_string()) => several,
        _ => return Err(wrong("prompt must be a string, or an array of 1 to 16 strings")),
    };
    let text = |value| match value {
        Value::String(text) => Ok(Prompt::Text(text)),
        _ => Err(wrong("token ids are not read; give the prompt as text")),
    };
    several.into_iter().map(text).collect()
}

fn line(at: usize, message: Value) -> Result<Line, HttpError> {
    let place = format!("messages[{at}]");
    let Value::Object(mut message) = message else {
        return Err(HttpError::field(place, "a message must be an object with role and content"));
    };
    for field in ["tool_calls", "function_call", "audio"] {
        let is_said =
            |value: &Value| !value.is_null() && value.as_array().is_none_or(|all| !all.is_empty());
        if message.get(field).is_some_and(is_said) {
            let message = format!("{field} are not done here; leave them out");
            return Err(HttpError::unsupported(format!("{place}.{field}"), message));
        }
    }
    Ok(Line { role: role(&place, &message)?, content: content(&place, message.remove("content"))? })
}

fn role(place: &str, message: &Map<String, Value>) -> Result<String, HttpError> {
    match message.get("role").and_then(Value::as_str) {
        // The newer name of the same.
        Some("developer") => Ok("system".to_owned()),
        Some(role @ ("system" | "user" | "assistant" | "tool")) => Ok(role.to_owned()),
        _ => {
            let message = "role must be system, developer, user, assistant or tool";
            Err(HttpError::field(format!("{place}.role"), message))
        }
    }
}

fn content(place: &str, content: Option<Value>) -> Result<String, HttpError> {
    match content {
        Some(Value::String(text)) => Ok(text),
        Some(Value::Array(parts)) => {
            let text = |(at, part): (usize, Value)| {
                part_text(part).map_err(|kind| {
                    let message = format!("a part of type {kind:?} is not read; only text is");
                    HttpError::unsupported(format!("{place}.content[{at}].type"), message)
                })
            };
            (0..).zip(parts).map(text).collect()
        }
        _ => {
            let message = "content must be a string, or an array of parts of type text";
            Err(HttpError::field(format!("{place}.content"), message))
        }
    }
}

/// The text of a part, or its type where it has none.
fn part_text(mut part: Value) -> Result<String, String> {
    let kind = part.get("type").and_then(Value::as_str).unwrap_or_default().to_owned();
    match part.get_mut("text").map(Value::take) {
        Some(Value::String(text)) if kind == "text" => Ok(text),
        _ => Err(kind.chars().take(32).collect()),
    }
}
