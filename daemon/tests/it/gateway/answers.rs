//! What is answered, whole and as a stream.

use serde_json::{Value, json};

use super::serving::{MODEL, Serving, chat, done, events, with, with_model};

const CHAT: &str = "/chat/completions";
const TEXT: &str = "/completions";

fn text(answer: &Value) -> &str {
    let choice = &answer["choices"][0];
    choice["message"]["content"].as_str().or(choice["text"].as_str()).unwrap()
}

/// What a stream says of its answer with that number.
fn streamed(events: &[Value], index: u64) -> String {
    let of_it = events.iter().flat_map(|event| event["choices"].as_array().unwrap());
    let of_it = of_it.filter(|choice| choice["index"] == index);
    let text = |choice: &Value| {
        choice["delta"]["content"]
            .as_str()
            .or(choice["text"].as_str())
            .unwrap_or_default()
            .to_owned()
    };
    of_it.map(text).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_model_is_listed_and_answers_as_model_ask_does() {
    let dir = with_model();
    let serving = Serving::start(dir.path(), &[]);
    let models: Value = serving.get("/models").send().await.unwrap().json().await.unwrap();
    assert_eq!((&models["object"], &models["data"][0]["id"]), (&"list".into(), &MODEL.into()));
    let model: Value = serving.get("/models/Tiny").send().await.unwrap().json().await.unwrap();
    assert_eq!((&model, &model["object"]), (&models["data"][0], &"model".into()));

    let sampled = json!({ "max_tokens": 40, "temperature": 0.2, "top_k": 40, "seed": 7 });
    let answer = serving.answer(CHAT, &with(chat("Who?"), sampled.clone())).await;
    let ask = ["model", "ask", "tiny", "Who?", "--max-tokens", "40", "--seed", "7"];
    let asked = done(dir.path(), &ask);
    assert_eq!(text(&answer), asked["text"]);
    assert_eq!(answer["usage"]["prompt_tokens"], asked["tokens_in"]);
    assert_eq!(answer["usage"]["completion_tokens"], asked["tokens_out"]);
    assert_eq!(answer["choices"][0]["finish_reason"], asked["finish_reason"]);
    assert_eq!((&answer["object"], &answer["model"]), (&"chat.completion".into(), &MODEL.into()));
    assert!(answer.get("openledger").is_none(), "it was free");
    let go_on = with(json!({ "model": MODEL, "prompt": "Sentence" }), sampled);
    let answer = serving.answer(TEXT, &go_on).await;
    let ask = ["model", "ask", "tiny", "Sentence", "--go-on", "--max-tokens", "40", "--seed", "7"];
    assert_eq!(text(&answer), done(dir.path(), &ask)["text"]);
    assert_eq!(answer["object"], "text_completion");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_says_the_same_as_a_whole_answer() {
    let dir = with_model();
    let serving = Serving::start(dir.path(), &[]);
    for (path, asked) in [(CHAT, chat("Hi")), (TEXT, json!({ "model": MODEL, "prompt": "Hi" }))] {
        let asked = with(asked, json!({ "n": 3, "seed": 5, "max_tokens": 60, "temperature": 1.5 }));
        let whole = serving.answer(path, &asked).await;
        let options = json!({ "stream": true, "stream_options": { "include_usage": true } });
        let response = serving.post(path).json(&with(asked.clone(), options)).send().await.unwrap();
        let events = events(response).await;
        let choices = whole["choices"].as_array().unwrap();
        assert_eq!(choices.len(), 3);
        for choice in choices {
            let index = choice["index"].as_u64().unwrap();
            let said = choice["message"]["content"].as_str().or(choice["text"].as_str());
            assert_eq!(streamed(&events, index), said.unwrap());
        }
        let texts: std::collections::BTreeSet<_> =
            (0..3).map(|index| streamed(&events, index)).collect();
        assert_eq!(texts.len(), 3, "each answer has a seed of its own");
        let (last, others) = events.split_last().unwrap();
        assert_eq!((&last["usage"], &last["choices"]), (&whole["usage"], &json!([])));
        assert!(others.iter().all(|event| event["usage"].is_null()));
        let ids: std::collections::BTreeSet<_> =
            events.iter().map(|event| event["id"].as_str()).collect();
        assert_eq!(ids.len(), 1);
        // Unasked for, no chunk is without a choice: many clients look at the first.
        let plain = with(asked, json!({ "stream": true, "n": 1 }));
        let events = self::events(serving.post(path).json(&plain).send().await.unwrap()).await;
        assert!(events.iter().all(|event| event["choices"].as_array().unwrap().len() == 1));
        assert_eq!(streamed(&events, 0), text(&whole), "the first answer has the seed itself");
        let reason = &events.last().unwrap()["choices"][0]["finish_reason"];
        assert_eq!(*reason, whole["choices"][0]["finish_reason"]);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answer_ends_before_a_stop_string_wherever_that_is() {
    let dir = with_model();
    let serving = Serving::start(dir.path(), &[]);
    let asked = json!({ "model": MODEL, "prompt": "Hi", "max_tokens": 80, "seed": 3 });
    let whole = serving.answer(TEXT, &asked).await;
    let said: Vec<char> = text(&whole).chars().collect();
    for from in [0, 7, 20] {
        let stop: String = said[from..from + 3].iter().collect();
        let expected = text(&whole).split(&stop).next().unwrap();
        let stopped = with(asked.clone(), json!({ "stop": ["never in it", stop], "logprobs": 1 }));
        let answer = serving.answer(TEXT, &stopped).await;
        assert_eq!(text(&answer), expected);
        assert_eq!(answer["choices"][0]["finish_reason"], "stop");
        let drawn = answer["usage"]["completion_tokens"].as_u64().unwrap();
        // So small a model draws a few more before it hears that enough was read.
        assert!(drawn <= whole["usage"]["completion_tokens"].as_u64().unwrap());
        // Nor is any token there but of what is shown, of which the last may be the beginning alone. Half of a
        // character is no letter.
        let tokens = answer["choices"][0]["logprobs"]["tokens"].as_array().unwrap().clone();
        let before = &tokens[..tokens.len().saturating_sub(1)];
        let before: String = before.iter().map(|token| token.as_str().unwrap()).collect();
        let letters = before.chars().filter(|letter| *letter != '\u{fffd}').count();
        assert!(letters <= expected.chars().count(), "{tokens:?} {expected:?}");
        let streamed_too = with(stopped, json!({ "stream": true }));
        let events = events(serving.post(TEXT).json(&streamed_too).send().await.unwrap()).await;
        assert_eq!(streamed(&events, 0), expected);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tokens_are_told_with_how_likely_they_were() {
    let dir = with_model();
    let serving = Serving::start(dir.path(), &[]);
    let sampled =
        json!({ "max_tokens": 12, "temperature": 0, "logprobs": true, "top_logprobs": 3 });
    let answer = serving.answer(CHAT, &with(chat("Hi"), sampled.clone())).await;
    let content = answer["choices"][0]["logprobs"]["content"].as_array().unwrap().clone();
    let mut bytes = Vec::new();
    for entry in &content {
        bytes.extend(
            entry["bytes"].as_array().unwrap().iter().map(|byte| byte.as_u64().unwrap() as u8),
        );
        let top = entry["top_logprobs"].as_array().unwrap();
        assert_eq!(top.len(), 3);
        // Without a temperature the likeliest is drawn.
        assert_eq!((&top[0]["bytes"], &top[0]["logprob"]), (&entry["bytes"], &entry["logprob"]));
        let logprobs: Vec<_> = top.iter().map(|one| one["logprob"].as_f64().unwrap()).collect();
        assert!(logprobs.is_sorted_by(|a, b| a >= b) && logprobs[0] < 0.0, "{logprobs:?}");
    }
    assert_eq!(String::from_utf8_lossy(&bytes), text(&answer));
    let streamed = with(chat("Hi"), with(sampled, json!({ "stream": true })));
    let events = events(serving.post(CHAT).json(&streamed).send().await.unwrap()).await;
    let told = events.iter().flat_map(|event| {
        let content = event["choices"][0]["logprobs"]["content"].as_array();
        content.cloned().unwrap_or_default()
    });
    assert_eq!(told.collect::<Vec<_>>(), content);

    let asked = json!({ "model": MODEL, "prompt": ["Größe", "x"], "max_tokens": 5, "logprobs": 2 });
    let answer = serving.answer(TEXT, &asked).await;
    assert_eq!(answer["choices"].as_array().unwrap().len(), 2);
    let logprobs = &answer["choices"][0]["logprobs"];
    assert_eq!(logprobs["text_offset"][0], 5, "characters of the prompt come before");
    for (token, top) in logprobs["tokens"]
        .as_array()
        .unwrap()
        .iter()
        .zip(logprobs["top_logprobs"].as_array().unwrap())
    {
        assert!(top.get(token.as_str().unwrap()).is_some(), "{token} of {top}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_model_that_only_continues_texts_and_namesakes_are_told_apart() {
    let dir = with_model();
    let file = dir.path().join("tiny.gguf");
    let again = ["model", "import", file.to_str().unwrap(), "--context", "64"];
    done(dir.path(), &again);
    let serving = Serving::start(dir.path(), &["--max-memory", "1 MiB"]);
    let models: Value = serving.get("/models").send().await.unwrap().json().await.unwrap();
    let ids: Vec<_> = models["data"].as_array().unwrap().iter().map(|model| &model["id"]).collect();
    assert_eq!(ids.len(), 2);
    // There is memory for one of them at a time.
    for id in [ids[0], ids[1], ids[0], ids[1]] {
        assert!(id.as_str().unwrap().starts_with("Tiny@"), "{id}");
        let asked = with(chat("Hi"), json!({ "model": id, "max_tokens": 3 }));
        assert_eq!(serving.answer(CHAT, &asked).await["model"], *id);
    }
    let (status, error) = serving.ask(CHAT, &chat("Hi")).await;
    assert_eq!((status, &error["error"]["code"]), (404, &"model_not_found".into()), "{error}");
}
