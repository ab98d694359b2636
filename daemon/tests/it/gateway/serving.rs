//! A gateway that runs, and whoever asks it.

use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::{Child, ChildStdout, Stdio};

use reqwest::{RequestBuilder, Response};
use serde_json::{Value, json};

use crate::cli::{command, json as said, openledger, stderr};
use crate::cli_base::file_of;

/// Tokens that the tiny model reads at once.
pub(super) const CONTEXT: u32 = 4_096;
/// The name of the tiny model.
pub(super) const MODEL: &str = "Tiny";

/// A data directory with the tiny model.
pub(super) fn with_model() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    let file = file_of(dir.path(), CONTEXT);
    let imported = openledger(dir.path(), &["model", "import", file.to_str().unwrap()]);
    assert!(imported.status.success(), "{}", stderr(&imported));
    dir
}

/// What a command answers.
pub(super) fn done(dir: &Path, args: &[&str]) -> Value {
    let output = openledger(dir, &[args, &["--json"]].concat());
    assert!(output.status.success(), "{args:?}: {}", stderr(&output));
    said(&output)
}

/// A process that serves a data directory.
pub(super) struct Serving {
    child: Child,
    out: BufReader<ChildStdout>,
    pub(super) url: String,
    /// The key of whoever asks.
    pub(super) key: String,
    http: reqwest::Client,
}

impl Drop for Serving {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Serving {
    /// Starts one on any port, with the key that it makes where there is none.
    pub(super) fn start(dir: &Path, args: &[&str]) -> Self {
        let mut child = command(dir, &["serve", "--json", "--listen", "127.0.0.1:0"])
            .args(args)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut out = BufReader::new(child.stdout.take().unwrap());
        let mut line = String::new();
        out.read_line(&mut line).unwrap();
        let ready: Value = serde_json::from_str(&line).unwrap_or_else(|_| panic!("{line:?}"));
        let url = ready["url"].as_str().unwrap().to_owned();
        let key = ready["key"].as_str().unwrap_or_default().to_owned();
        Self { child, out, url, key, http: http() }
    }

    pub(super) fn get(&self, path: &str) -> RequestBuilder {
        self.http.get(format!("{}{path}", self.url)).bearer_auth(&self.key)
    }

    pub(super) fn post(&self, path: &str) -> RequestBuilder {
        self.http.post(format!("{}{path}", self.url)).bearer_auth(&self.key)
    }

    /// Asks, and gives status and body.
    pub(super) async fn ask(&self, path: &str, body: &Value) -> (u16, Value) {
        let response = self.post(path).json(body).send().await.unwrap();
        (response.status().as_u16(), response.json().await.unwrap())
    }

    /// An answer that there must be.
    pub(super) async fn answer(&self, path: &str, body: &Value) -> Value {
        let (status, body) = self.ask(path, body).await;
        assert_eq!(status, 200, "{body}");
        body
    }

    /// Kills it without warning.
    pub(super) fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Asks it to stop, as Ctrl-C and the system do.
    #[cfg(unix)]
    pub(super) fn terminate(&self) {
        use rustix::process::{Pid, Signal, kill_process};
        kill_process(Pid::from_child(&self.child), Signal::TERM).unwrap();
    }

    /// What it says in the end, when it has stopped in order.
    pub(super) fn stopped(&mut self) -> Value {
        let mut rest = String::new();
        self.out.read_to_string(&mut rest).unwrap();
        assert!(self.child.wait().unwrap().success(), "{rest}");
        serde_json::from_str(rest.lines().last().unwrap()).unwrap()
    }
}

/// A client without a key.
pub(super) fn http() -> reqwest::Client {
    // Libraries that want different ones are linked, and another test may have chosen already.
    let _ = rustls::crypto::ring::default_provider().install_default();
    reqwest::Client::builder().no_proxy().build().unwrap()
}

/// A conversation of one message.
pub(super) fn chat(text: &str) -> Value {
    json!({ "model": MODEL, "messages": [{ "role": "user", "content": text }] })
}

/// The same request with more fields.
pub(super) fn with(mut request: Value, more: Value) -> Value {
    for (name, value) in more.as_object().unwrap() {
        request[name] = value.clone();
    }
    request
}

/// The events of a stream, to its end.
pub(super) async fn events(mut response: Response) -> Vec<Value> {
    assert_eq!(response.status(), 200);
    let kind = response.headers()["content-type"].to_str().unwrap().to_owned();
    assert!(kind.starts_with("text/event-stream"), "{kind}");
    let mut bytes = Vec::new();
    while let Some(chunk) = response.chunk().await.unwrap() {
        bytes.extend(chunk);
    }
    let text = String::from_utf8(bytes).expect("no character is cut");
    let mut events: Vec<_> = text.split_terminator("\n\n").collect();
    events.retain(|event| !event.starts_with(':'));
    let data = |event: &str| event.strip_prefix("data: ").unwrap().to_owned();
    let mut events: Vec<_> = events.into_iter().map(data).collect();
    if events.last().is_some_and(|last| last == "[DONE]") {
        events.pop();
    } else {
        let last = events.last().cloned().unwrap_or_default();
        assert!(last.contains("\"error\""), "a stream ends with [DONE] or an error: {last}");
    }
    events.iter().map(|event| serde_json::from_str(event).unwrap()).collect()
}
