//! One line for each request, for whoever runs the gateway and looks: who asked which model, and what came
//! of it. What was asked and answered is in none.

use std::time::Instant;

use super::error::HttpError;
use super::shape::Usage;
use crate::clean;

/// A request that is told of when it has ended.
#[derive(Debug)]
pub(crate) struct Entry {
    is_shown: bool,
    since: Instant,
    key: String,
    model: String,
    is_told: bool,
}

impl Entry {
    /// A request that has begun; told of on standard error where somebody looks.
    pub(crate) fn new(is_shown: bool, key: &str) -> Self {
        let (key, model) = (clean::line(key), "?".to_owned());
        Self { is_shown, since: Instant::now(), key, model, is_told: false }
    }

    pub(crate) fn asks(&mut self, model: &str) {
        self.model = clean::line(model);
    }

    pub(crate) fn answered(&mut self, usage: Usage) {
        self.tell(&format!("read {} tokens, drew {}", usage.tokens_in, usage.tokens_out));
    }

    pub(crate) fn refused(&mut self, error: &HttpError) {
        self.tell(&format!("{}: {}", error.status.as_u16(), clean::line(&error.message)));
    }

    fn tell(&mut self, what: &str) {
        if self.is_shown && !self.is_told {
            let seconds = self.since.elapsed().as_secs_f64();
            eprintln!("{} · {} · {what} · {seconds:.1} s", self.key, self.model);
        }
        self.is_told = true;
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        self.tell("hung up before the end");
    }
}
