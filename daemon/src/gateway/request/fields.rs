//! The fields of a JSON object, each read once and by name, so that an error says which is wrong.

use std::ops::RangeInclusive;

use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use super::Kind;
use crate::gateway::error::HttpError;

/// The fields that were not yet taken.
pub(super) struct Fields(Map<String, Value>);

impl Fields {
    pub(super) fn new(fields: Map<String, Value>) -> Self {
        Self(fields)
    }

    /// A field as it is; null where it is left out.
    pub(super) fn value(&mut self, name: &str) -> Value {
        self.0.remove(name).unwrap_or_default()
    }

    /// A field of some type; none where it is left out or null.
    pub(super) fn take<T: DeserializeOwned>(
        &mut self,
        name: &str,
        what: &str,
    ) -> Result<Option<T>, HttpError> {
        let wrong = |_| HttpError::field(name, format!("{name} must be {what}"));
        serde_json::from_value(self.value(name)).map_err(wrong)
    }

    /// A whole number within bounds.
    pub(super) fn number(
        &mut self,
        name: &str,
        bounds: RangeInclusive<u32>,
    ) -> Result<Option<u32>, HttpError> {
        let (least, most) = (bounds.start(), bounds.end());
        let what = format!("a whole number from {least} to {most}");
        let number: Option<u32> = self.take(name, &what)?;
        if number.is_some_and(|number| !bounds.contains(&number)) {
            return Err(HttpError::field(name, format!("{name} must be {what}")));
        }
        Ok(number)
    }

    /// A number from 0 to `most` in millionths; 1 where nothing is said.
    pub(super) fn ppm(&mut self, name: &str, most: f64) -> Result<u32, HttpError> {
        let what = format!("a number from 0 to {most}");
        let number: f64 = self.take(name, &what)?.unwrap_or(1.0);
        if !(0.0..=most).contains(&number) {
            return Err(HttpError::field(name, format!("{name} must be {what}")));
        }
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "at most 2e6")]
        Ok((number * 1e6).round() as u32)
    }

    /// Refuses what would change the answer and is not done here.
    pub(super) fn refuse_unsupported(&self, kind: Kind) -> Result<(), HttpError> {
        let text = Value::from("text");
        let is_plain = |name: &str, value: &Value| match name {
            "response_format" => value.get("type") == Some(&text),
            "modalities" => value.as_array().is_some_and(|all| all.iter().all(|one| *one == text)),
            "tool_choice" | "function_call" => matches!(value.as_str(), Some("none" | "auto")),
            "presence_penalty" | "frequency_penalty" => value.as_f64() == Some(0.0),
            "best_of" => self.0.get("n").unwrap_or(&Value::from(1)) == value,
            "echo" => value == &Value::Bool(false),
            _ => is_empty(value),
        };
        let both = ["response_format", "presence_penalty", "frequency_penalty", "logit_bias"];
        let own: &[&str] = match kind {
            Kind::Chat => &[
                "tools",
                "tool_choice",
                "functions",
                "function_call",
                "audio",
                "modalities",
                "prediction",
                "web_search_options",
            ],
            Kind::Text => &["echo", "suffix", "best_of"],
        };
        for name in both.iter().chain(own) {
            let value = self.0.get(*name).filter(|value| !value.is_null());
            if value.is_some_and(|value| !is_plain(name, value)) {
                let message = format!("{name} is not done here with this value; leave it out");
                return Err(HttpError::unsupported(*name, message));
            }
        }
        Ok(())
    }
}

fn is_empty(value: &Value) -> bool {
    match value {
        Value::Array(all) => all.is_empty(),
        Value::Object(all) => all.is_empty(),
        Value::String(text) => text.is_empty(),
        _ => false,
    }
}
