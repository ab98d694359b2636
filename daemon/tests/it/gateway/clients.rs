//! The gateway as other people's clients see it.

use serde_json::json;

use super::serving::{CONTEXT, MODEL, Serving, done, with_model};
use crate::clients::Client;

fn run(client: Client) {
    let dir = with_model();
    let serving = Serving::start(dir.path(), &[]);
    let key = |name: &str, args: &[&str]| {
        done(dir.path(), &[&["serve", "key", "add", name], args].concat())["key"].clone()
    };
    let gateway = json!({
        "url": serving.url,
        "key": serving.key,
        "poor": key("poor", &["--in-all", "0"]),
        "model": MODEL,
        "context": CONTEXT,
    });
    client.run("openai", &gateway);
}

#[test]
fn openai_for_python_finds_what_it_relies_on() {
    run(Client::Python);
}

#[test]
fn openai_for_javascript_finds_what_it_relies_on() {
    run(Client::JavaScript);
}
