//! Answers that a gateway buys: a node without a stake, a model or a shard of data asks another one's model for the
//! clients that people have, and pays as it reads.

use std::collections::BTreeSet;
use std::time::Duration;

use contracts_abi::ChainClient;
use daemon::config::GatewayOptions;
use daemon::gateway::NodeGateway;
use daemon::keys::NodeKeys;
use daemon::network::NetworkFile;
use daemon::node::NodeHandle;
use futures::future::join_all;
use protocol::ask::Prompt;
use protocol::{Amount, ModelId};
use serde_json::{Value, json};

use super::clients::conversations;
use super::loopback::start_node;

const OPEN: u128 = Amount::ONE_OPEN.0;
/// Tokens of an answer: three steps of payment.
const TOKENS: u32 = 80;

/// A gateway, and a client of it.
struct Door {
    url: String,
    key: String,
    http: reqwest::Client,
}

/// What an answer said of itself.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Bill {
    price: u128,
    receipt: String,
    record: String,
}

fn bill(response: &Value) -> Bill {
    let bill = &response["openledger"];
    let text = |name: &str| bill[name].as_str().unwrap_or_else(|| panic!("{name}: {response}"));
    Bill {
        price: text("price").parse().unwrap(),
        receipt: text("receipt").to_owned(),
        record: text("record").to_owned(),
    }
}

impl Door {
    async fn post(&self, body: Value) -> reqwest::Response {
        self.post_to("completions", body).await
    }

    async fn post_to(&self, path: &str, body: Value) -> reqwest::Response {
        let request = self.http.post(format!("{}/{path}", self.url)).bearer_auth(&self.key);
        request.json(&body).send().await.unwrap()
    }

    /// One model only goes on with texts, the other holds conversations.
    async fn lists(&self, model: ModelId, speaking: [ModelId; 2]) {
        let models = self.http.get(format!("{}/models", self.url)).bearer_auth(&self.key);
        let models: Value = models.send().await.unwrap().json().await.unwrap();
        for (place, id) in [model, speaking[0], speaking[1]].into_iter().enumerate() {
            assert_eq!(models["data"][place]["id"], format!("model-{id}"), "{models}");
        }
        let asked = json!({
            "model": format!("model-{model}"), "messages": [{ "role": "user", "content": "a" }],
        });
        assert_eq!(self.post_to("chat/completions", asked).await.status(), 400);
    }

    /// Talks to a model that holds conversations.
    async fn chat(&self, model: ModelId) -> Bill {
        let asked = json!({
            "model": format!("model-{model}"), "max_tokens": 40, "seed": 2, "temperature": 1.0,
            "messages": [{ "role": "user", "content": "What is love?" }],
        });
        let response = self.post_to("chat/completions", asked).await;
        let status = response.status();
        let said: Value = response.json().await.unwrap();
        assert_eq!(status, 200, "{said}");
        assert_eq!(said["choices"][0]["message"]["role"], "assistant", "{said}");
        // More than the words: who says them, and that it is the model's turn.
        assert!(said["usage"]["prompt_tokens"].as_u64().unwrap() > 10, "{said}");
        bill(&said)
    }

    async fn whole(&self, seed: u64) -> (String, Bill) {
        let asked = json!({
            "model": "model-1", "prompt": "LOVE, n.", "max_tokens": TOKENS, "seed": seed,
        });
        let response = self.post(asked).await;
        let status = response.status();
        let said: Value = response.json().await.unwrap();
        assert_eq!(status, 200, "{said}");
        let choice = &said["choices"][0];
        assert_eq!(choice["finish_reason"], "length");
        assert_eq!(said["usage"]["completion_tokens"], TOKENS);
        (choice["text"].as_str().unwrap().to_owned(), bill(&said))
    }

    async fn streamed(&self, seed: u64) -> (Vec<String>, Bill) {
        let asked = json!({
            "model": "model-1", "prompt": "LOVE, n.", "max_tokens": TOKENS, "seed": seed, "stream": true,
            "stream_options": { "include_usage": true },
        });
        let said = self.post(asked).await.text().await.unwrap();
        let mut parts: Vec<&str> = said.split("\n\n").filter(|part| !part.is_empty()).collect();
        assert_eq!(parts.pop(), Some("data: [DONE]"), "{said}");
        let parts: Vec<Value> = parts
            .into_iter()
            .map(|part| serde_json::from_str(part.strip_prefix("data: ").unwrap()).unwrap())
            .collect();
        let texts = parts.iter().filter_map(|part| part["choices"][0]["text"].as_str());
        let texts = texts.filter(|text| !text.is_empty()).map(str::to_owned).collect();
        let last = parts.iter().rev().find(|part| part.get("openledger").is_some());
        (texts, bill(last.unwrap_or_else(|| panic!("{said}"))))
    }

    /// What is said until a piece of it comes. Whoever stops reading pays for what it read, and for no more than a
    /// few tokens beyond.
    async fn stopped(&self, text: &str) -> Bill {
        let stop = &text.chars().take(12).collect::<String>()[6..];
        let asked = json!({
            "model": "model-1", "prompt": "LOVE, n.", "max_tokens": TOKENS, "seed": 5,
            "stop": [stop],
        });
        let stopped: Value = self.post(asked).await.json().await.unwrap();
        assert_eq!(stopped["choices"][0]["finish_reason"], "stop", "{stopped}");
        bill(&stopped)
    }
}

/// Buys answers of a model that another node serves, one after the other and several at once, and checks that the
/// chain pays exactly what they said.
pub(super) async fn buy(
    network: &NetworkFile,
    client: &ChainClient,
    server: &NodeHandle,
    (model, adapted, base): (ModelId, ModelId, ModelId),
) {
    let (dir, keys) = (tempfile::tempdir().unwrap(), NodeKeys::generate().unwrap());
    let payer = keys.operator.clone();
    client.send_gas(payer.address(), 10u128.pow(18)).await.unwrap();
    client.transfer(payer.address(), Amount(1_000 * OPEN)).await.unwrap();
    let bootstrap = server.join_ticket().await.unwrap().bootstrap();
    let node = start_node(dir.path(), network, keys, bootstrap, false).await;
    while [model, adapted, base].iter().any(|id| node.chain().publication(*id).is_none()) {
        node.changed().await;
    }
    let listener = NodeGateway::bind("127.0.0.1:0".parse().unwrap()).await.unwrap();
    let options = GatewayOptions::default();
    let gateway =
        NodeGateway::start(listener, node.clone(), payer.clone(), dir.path(), &options).unwrap();
    let key = gateway.key().unwrap().to_owned();
    let door = Door { url: gateway.url(), key, http: reqwest::Client::new() };

    door.lists(model, [adapted, base]).await;
    let long = door.post(json!({ "model": "model-1", "prompt": "love ".repeat(2_000) })).await;
    assert_eq!(long.status(), 400, "what is not read is not paid");
    let payee = server.account().unwrap();
    assert_eq!(node.chain().deposit(payer.address(), payee).balance, Amount::ZERO);

    let (text, first) = door.whole(5).await;
    let (parts, second) = door.streamed(5).await;
    assert_eq!(parts.concat(), text, "the same seed says the same");
    assert!(parts.len() > 8, "it comes as it is generated: {parts:?}");
    let prompt = Prompt::Text("LOVE, n.".to_owned());
    let offer = *node.chain().publication(model).unwrap();
    let tokens_in = server.quote(model, payer.address(), &prompt, 1).await.unwrap().tokens_in;
    let due = protocol::rules::price(&offer, tokens_in, TOKENS).unwrap();
    assert_eq!((first.price, second.price), (due.0, due.0));
    let mut bills = vec![first, second];
    // One wallet, several uses that cross.
    let crossing = join_all((0..6).map(|seed| door.whole(seed))).await;
    bills.extend(crossing.into_iter().map(|(_, bill)| bill));
    assert!(bills.iter().all(|bill| bill.price == due.0), "{bills:?}");
    let records: BTreeSet<_> = bills.iter().map(|bill| (&bill.record, &bill.receipt)).collect();
    assert_eq!(records.len(), bills.len(), "each has its own");
    let short = door.stopped(&text).await;
    assert!(short.price < due.0, "{short:?}");
    bills.push(short);
    bills.push(door.chat(adapted).await);
    bills.push(door.chat(base).await);
    let models = [adapted, base].map(|model| format!("model-{model}"));
    let asked = json!({ "url": door.url, "key": door.key, "models": models });
    let conversations = tokio::task::spawn_blocking(move || conversations(&asked)).await.unwrap();
    let prices = bills.iter().map(|bill| bill.price).chain(conversations);
    let sum = Amount(prices.sum());
    let paid = async {
        while node.chain().redeemed(payer.address(), payee) != sum {
            node.changed().await;
        }
    };
    let waited = tokio::time::timeout(Duration::from_secs(60), paid).await;
    let redeemed = node.chain().redeemed(payer.address(), payee);
    assert!(waited.is_ok(), "the chain pays what the answers said: {redeemed} of {sum}");
    gateway.shutdown().await;
    node.shutdown().await;
}
