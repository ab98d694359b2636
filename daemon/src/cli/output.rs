//! What a command says: the same thing for people and for programs.

use std::io::Write;
use std::process::ExitCode;

use protocol::Amount;
use serde::Serialize;
use serde_json::{Value, json};

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
        let code = match error.downcast_ref::<crate::api::ApiError>() {
            Some(crate::api::ApiError::Problem(problem)) => problem.code.as_str(),
            Some(crate::api::ApiError::NotRunning(_)) => "not_running",
            _ => "failed",
        };
        println!("{}", json!({ "error": { "code": code, "message": message } }));
    } else {
        eprintln!("error: {message}");
    }
}

/// An amount in OPEN, with as many decimals as tell something.
pub(crate) fn open(amount: Amount) -> String {
    let (whole, rest) = (amount.0 / Amount::ONE_OPEN.0, amount.0 % Amount::ONE_OPEN.0);
    let decimals = format!("{:06}", rest / 1_000_000_000_000);
    let decimals = decimals.trim_end_matches('0');
    match (decimals.is_empty(), rest) {
        (true, 0) => format!("{whole} OPEN"),
        (true, _) if whole == 0 => "less than 0.000001 OPEN".to_owned(),
        (true, _) => format!("{whole} OPEN"),
        (false, _) => format!("{whole}.{decimals} OPEN"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_are_readable_and_never_zero_when_they_are_not() {
        assert_eq!(open(Amount::ZERO), "0 OPEN");
        assert_eq!(open(Amount(1)), "less than 0.000001 OPEN");
        assert_eq!(open(Amount(1_500_000_000_000_000_000)), "1.5 OPEN");
        assert_eq!(open(Amount(20 * Amount::ONE_OPEN.0)), "20 OPEN");
    }
}
