//! `openledger serve`: a gateway for OpenAI's clients to the base models of this machine and their adapters.

mod key;

use std::io::{IsTerminal, Write as _};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, Result, bail};
use clap::{Args, Subcommand};
use serde_json::json;
use tokio::net::TcpListener;

use self::key::KeyCommand;
pub(super) use self::key::{as_json as key_as_json, described as key_described};
use crate::api::listener::acceptor;
use crate::clean;
use crate::config::ByteSize;
use crate::gateway::backend::Offered;
use crate::gateway::keys::KeyRing;
use crate::gateway::local::{ADAPTER_MEMORY, Local};
use crate::gateway::{FIRST_KEY, GatewayServer, Settings};
use crate::memory;
use crate::output::Output;
use crate::signals::interrupted;

#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(super) struct ServeArgs {
    #[command(subcommand)]
    command: Option<ServeCommand>,
    /// Address and port to listen on; any but this machine's own needs TLS, and port 0 takes any
    #[arg(long, default_value = "127.0.0.1:11435", env = "OPENLEDGER_SERVE_LISTEN")]
    listen: SocketAddr,
    /// Certificates in PEM, the server's own first
    #[arg(long, value_name = "FILE", requires = "tls_key")]
    tls_cert: Option<PathBuf>,
    /// The private key of the first certificate, in PEM
    #[arg(long, value_name = "FILE", requires = "tls_cert")]
    tls_key: Option<PathBuf>,
    /// Most memory for the weights of models, like "8 GiB"; half of the machine's by default
    #[arg(long, value_name = "SIZE")]
    max_memory: Option<ByteSize>,
    /// Most memory for the adapters of each model, of which those stay that were asked last; 256 MiB by default
    #[arg(long, value_name = "SIZE")]
    adapter_memory: Option<ByteSize>,
}

#[derive(Debug, Subcommand)]
enum ServeCommand {
    /// Make, list and remove the keys with which people ask
    #[command(subcommand)]
    Key(KeyCommand),
}

pub(super) async fn serve(dir: &Path, args: ServeArgs, is_json: bool) -> Result<Output> {
    if let Some(ServeCommand::Key(command)) = args.command {
        return key::key(dir, command);
    }
    super::run::start_log(false);
    let tls = match (&args.tls_cert, &args.tls_key) {
        (Some(certificates), Some(key)) => Some(acceptor(certificates, key)?),
        _ if args.listen.ip().is_loopback() => None,
        _ => bail!(
            "{} is not this machine alone, so keys and questions would be open to read on the way: give \
             --tls-cert FILE and --tls-key FILE, or listen on 127.0.0.1",
            args.listen
        ),
    };
    let listener = TcpListener::bind(args.listen).await.with_context(|| {
        format!(
            "{} cannot be listened on; choose another with --listen (port 0 takes any)",
            args.listen
        )
    })?;
    let address = listener.local_addr()?;
    let scheme = if tls.is_some() { "https" } else { "http" };
    let memory = args.max_memory.map_or_else(memory::half, |size| size.0);
    let adapter_memory = args.adapter_memory.map_or(ADAPTER_MEMORY, |size| size.0);
    let local = Local::of_dir(dir, memory, adapter_memory);
    let offered = local.offered()?;
    let keys = KeyRing::of_dir(dir);
    let key = keys.first(FIRST_KEY)?;
    let is_shown = !is_json && std::io::stderr().is_terminal();
    let server = GatewayServer::start(listener, Arc::new(local), Settings { keys, tls, is_shown });
    let ready = Ready { url: format!("{scheme}://{address}/v1"), key, offered };
    say(&if is_json { ready.to_json() } else { ready.to_text() });
    interrupted().await;
    say_stopping(is_json);
    server.shutdown().await;
    Ok(Output::new("stopped", &json!({ "stopped": true })))
}

/// What people and programs are told when the gateway answers.
struct Ready {
    url: String,
    /// Where it was made now; it is told this once.
    key: Option<String>,
    offered: Vec<Offered>,
}

impl Ready {
    fn to_json(&self) -> String {
        let models: Vec<_> = self.offered.iter().map(|model| &model.id).collect();
        json!({ "url": self.url, "key": self.key, "models": models }).to_string()
    }

    fn to_text(&self) -> String {
        let names: Vec<_> = self.offered.iter().map(|model| clean::line(&model.id)).collect();
        let models = match names.as_slice() {
            [] => {
                "none yet: import one with `openledger model import PATH`, at any time".to_owned()
            }
            names => names.join(", "),
        };
        let key = match &self.key {
            Some(key) => format!("{key} (it is shown only now, and has no budget)"),
            None => "one that you have; `openledger serve key add NAME` makes another".to_owned(),
        };
        let Self { url, .. } = self;
        let example = self.example();
        format!(
            "serving at  {url}\nmodels      {models}\nkey         {key}\n\nWith Python's `openai`:\n\n\
             {example}\n\nCtrl-C stops it."
        )
    }

    /// A program that asks, ready to be pasted.
    fn example(&self) -> String {
        let first = self.offered.first();
        // Python reads the strings of JSON as its own.
        let text = |text: &str| serde_json::Value::from(text).to_string();
        let model = text(&clean::line(first.map_or("NAME", |model| &model.id)));
        let (url, key) = (text(&self.url), text(self.key.as_deref().unwrap_or("sk-…")));
        let (call, said) = if first.is_none_or(|model| model.chats) {
            let hello = r#"messages=[{"role": "user", "content": "Hello!"}]"#;
            (format!("chat.completions.create(model={model}, {hello})"), "message.content")
        } else {
            (format!(r#"completions.create(model={model}, prompt="Once upon a time")"#), "text")
        };
        format!(
            "from openai import OpenAI\nclient = OpenAI(base_url={url}, api_key={key})\n\
             answer = client.{call}\nprint(answer.choices[0].{said})"
        )
    }
}

fn say(text: &str) {
    let mut out = std::io::stdout().lock();
    // A reader that went away is not our failure.
    let _ = writeln!(out, "{text}").and_then(|()| out.flush());
}

fn say_stopping(is_json: bool) {
    if !is_json {
        say("stopping: answers that were begun have some seconds to end");
    }
}
