//! Values of a GGUF file's metadata by name and kind.

use std::collections::BTreeMap;

use super::error::ImportError;
use super::header::{Array, Value};

/// The metadata of a file.
pub(super) struct Metadata<'a>(pub(super) &'a BTreeMap<&'a str, Value<'a>>);

fn wrong(key: &str, value: Value<'_>, wanted: &str) -> ImportError {
    let kind = match value {
        Value::Unsigned(_) | Value::Signed(_) => "a whole number",
        Value::Float(_) => "a number",
        Value::Bool(_) => "a yes or no",
        Value::Text(_) => "a text",
        Value::Array(_) => "an array",
    };
    let reason = format!("{key} is {kind}, not {wanted}");
    ImportError::Malformed { section: "metadata", reason }
}

impl<'a> Metadata<'a> {
    fn get(&self, key: &str) -> Option<Value<'a>> {
        self.0.get(key).copied()
    }

    fn needed<T>(key: &str, value: Option<T>) -> Result<T, ImportError> {
        value.ok_or_else(|| ImportError::Missing(key.to_owned()))
    }

    pub(super) fn optional_text(&self, key: &str) -> Result<Option<&'a str>, ImportError> {
        match self.get(key) {
            None => Ok(None),
            Some(Value::Text(text)) => Ok(Some(text)),
            Some(other) => Err(wrong(key, other, "a text")),
        }
    }

    pub(super) fn text(&self, key: &str) -> Result<&'a str, ImportError> {
        Self::needed(key, self.optional_text(key)?)
    }

    pub(super) fn optional_number(&self, key: &str) -> Result<Option<u64>, ImportError> {
        match self.get(key) {
            None => Ok(None),
            Some(Value::Unsigned(number)) => Ok(Some(number)),
            Some(Value::Signed(number)) if number >= 0 => Ok(Some(number.unsigned_abs())),
            Some(other) => Err(wrong(key, other, "a whole number from 0 on")),
        }
    }

    pub(super) fn number(&self, key: &str) -> Result<u64, ImportError> {
        Self::needed(key, self.optional_number(key)?)
    }

    pub(super) fn optional_float(&self, key: &str) -> Result<Option<f64>, ImportError> {
        match self.get(key) {
            None => Ok(None),
            Some(Value::Float(number)) => Ok(Some(number)),
            Some(other) => Err(wrong(key, other, "a number")),
        }
    }

    pub(super) fn optional_bool(&self, key: &str) -> Result<Option<bool>, ImportError> {
        match self.get(key) {
            None => Ok(None),
            Some(Value::Bool(is_set)) => Ok(Some(is_set)),
            Some(other) => Err(wrong(key, other, "a yes or no")),
        }
    }

    pub(super) fn optional_array(&self, key: &str) -> Result<Option<Array<'a>>, ImportError> {
        match self.get(key) {
            None => Ok(None),
            Some(Value::Array(array)) => Ok(Some(array)),
            Some(other) => Err(wrong(key, other, "an array")),
        }
    }

    pub(super) fn array(&self, key: &str) -> Result<Array<'a>, ImportError> {
        Self::needed(key, self.optional_array(key)?)
    }

    pub(super) fn keys(&self) -> impl Iterator<Item = &'a str> {
        self.0.keys().copied()
    }
}
