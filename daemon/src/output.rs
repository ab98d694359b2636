//! What a command prints: the same result as text for people and as JSON for programs.

use std::io::Write;
use std::process::ExitCode;

use serde::Serialize;
use serde_json::{Value, json};

use crate::api::ApiError;
use crate::words::explain;

/// The result of a command.
#[derive(Debug)]
pub(crate) struct Output {
    text: String,
    json: Value,
    is_success: bool,
    is_silent: bool,
}

impl Output {
    pub(crate) fn new(text: impl Into<String>, json: &impl Serialize) -> Self {
        let json = serde_json::to_value(json).unwrap_or(Value::Null);
        Self { text: text.into(), json, is_success: true, is_silent: false }
    }

    /// A result that is also a failure, like a check that did not hold.
    pub(crate) fn failed(self) -> Self {
        Self { is_success: false, ..self }
    }

    /// A result that was printed already.
    pub(crate) fn silent(self) -> Self {
        Self { is_silent: true, ..self }
    }

    pub(crate) fn code(&self) -> ExitCode {
        if self.is_success { ExitCode::SUCCESS } else { ExitCode::FAILURE }
    }

    pub(crate) fn print(&self, json: bool) {
        if self.is_silent {
            return;
        }
        let mut out = std::io::stdout().lock();
        // A reader that went away is not our failure.
        let _ = if json {
            writeln!(out, "{}", self.json)
        } else if self.text.is_empty() {
            Ok(())
        } else {
            writeln!(out, "{}", self.text.trim_end())
        };
    }
}

pub(crate) fn print_error(error: &anyhow::Error, json: bool) {
    let message = explain(error);
    if json {
        let code = match error.downcast_ref::<ApiError>() {
            Some(ApiError::Problem(problem)) => problem.code.as_str(),
            Some(ApiError::NotRunning(_)) => "not_running",
            _ => "failed",
        };
        println!("{}", json!({ "error": { "code": code, "message": message } }));
    } else {
        eprintln!("error: {message}");
    }
}
