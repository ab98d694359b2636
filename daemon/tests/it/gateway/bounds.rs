//! Many at once, those who hang up, and the end.

use std::time::Duration;

use serde_json::json;

use super::serving::{Serving, chat, events, with, with_model};

const CHAT: &str = "/chat/completions";
/// Longer than anything here takes that does not wait for answers that nobody wants.
const PATIENCE: Duration = Duration::from_secs(60);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_hangs_up_is_answered_no_further() {
    let _alone = crate::WHOLE_MACHINE.lock().await;
    let dir = with_model();
    let serving = Serving::start(dir.path(), &[]);
    // As long as the model can, which it would be at for minutes.
    let long = with(chat("Hi"), json!({ "temperature": 0, "n": 4 }));
    let begun =
        serving.answer(CHAT, &with(long.clone(), json!({ "n": 1, "max_tokens": 400 }))).await;
    assert_eq!(begun["choices"][0]["finish_reason"], "length", "the model does not end by itself");
    for asked in [with(long.clone(), json!({ "stream": true })), long] {
        for _ in 0..4 {
            let sent = serving.post(CHAT).json(&asked).send();
            // A stream has begun by then, a whole answer has not.
            if let Ok(response) = tokio::time::timeout(Duration::from_millis(500), sent).await {
                assert_eq!(response.unwrap().chunk().await.unwrap().map(|_| ()), Some(()));
            }
        }
    }
    let short = with(chat("Hi"), json!({ "max_tokens": 2 }));
    let answered = serving.answer(CHAT, &short);
    tokio::time::timeout(PATIENCE, answered).await.expect("nobody else is answered");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_at_once_are_answered_or_told_to_come_again() {
    let _alone = crate::WHOLE_MACHINE.lock().await;
    let dir = with_model();
    let serving = Serving::start(dir.path(), &[]);
    let short = with(chat("Hi"), json!({ "max_tokens": 4 }));
    let asked = (0..1_500).map(|_| {
        let sent = serving.post(CHAT).json(&short).send();
        async {
            let response = sent.await.unwrap();
            let retry = response.headers().contains_key("retry-after");
            let status = response.status().as_u16();
            assert!(status == 200 || status == 429 && retry, "{status}");
            // To its end, so that its place is free.
            response.bytes().await.unwrap();
            status
        }
    });
    let answered = futures::future::join_all(asked);
    let statuses = tokio::time::timeout(PATIENCE * 4, answered).await.expect("all are answered");
    assert!(statuses.contains(&200) && statuses.contains(&429));
    serving.answer(CHAT, &short).await;
}

#[cfg(unix)]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answer_that_was_begun_is_ended_before_the_gateway_stops() {
    let dir = with_model();
    let mut serving = Serving::start(dir.path(), &[]);
    let long = with(chat("Hi"), json!({ "stream": true, "max_tokens": 100, "temperature": 0 }));
    let response = serving.post(CHAT).json(&long).send().await.unwrap();
    serving.terminate();
    let events = events(response).await;
    let last = events.last().unwrap();
    assert!(last["choices"][0]["finish_reason"].is_string(), "{last}");
    assert_eq!(serving.stopped()["stopped"], true);
    assert!(serving.get("/models").send().await.is_err(), "nobody listens any more");
}
