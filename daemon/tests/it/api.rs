//! The API from outside: who is let in, and what the refusals look like.

use std::time::Duration;

use daemon::api::types::{Created, DatanetInfo, StatusReport, Train, TrainNumbers};
use daemon::api::{ApiError, ApiServer, ApiStartError};
use protocol::{DatanetId, ModelId};
use serde_json::{Value, json};

use super::cli_support::start;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_api_answers_its_owner_and_nobody_else() {
    let dir = tempfile::tempdir().unwrap();
    let net = start(dir.path(), Duration::from_millis(200)).await;
    let access: Value =
        serde_json::from_slice(&std::fs::read(dir.path().join("api.json")).unwrap()).unwrap();
    let (url, token) = (access["url"].as_str().unwrap(), access["token"].as_str().unwrap());
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        let mode = std::fs::metadata(dir.path().join("api.json")).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }
    let http = reqwest::Client::builder().no_proxy().build().unwrap();
    let status = format!("{url}/api/v1/status");

    let report: StatusReport = net.client.get("/status").await.unwrap();
    assert_eq!(report.device, "cpu");
    let code = |response: reqwest::Response| async {
        let status = response.status().as_u16();
        assert_eq!(response.headers()["content-type"], "application/problem+json");
        (status, response.json::<Value>().await.unwrap()["code"].as_str().unwrap().to_owned())
    };
    let none = http.get(&status).send().await.unwrap();
    assert_eq!(code(none).await, (401, "unauthorised".to_owned()));
    let rebound =
        http.get(&status).bearer_auth(token).header("host", "evil.example").send().await.unwrap();
    assert_eq!(code(rebound).await, (403, "wrong_host".to_owned()));
    let nowhere = http.get(format!("{url}/api/v2/x")).bearer_auth(token).send().await.unwrap();
    assert_eq!(code(nowhere).await, (404, "not_found".to_owned()));

    let post = |path: &str, body: String| {
        http.post(format!("{url}/api/v1{path}")).bearer_auth(token).body(body).send()
    };
    let unknown = json!({ "name": "x", "domain": "y", "licence": 0, "colour": 1 }).to_string();
    let unknown = post("/datanets", unknown).await.unwrap();
    assert_eq!(code(unknown).await, (422, "invalid".to_owned()));
    let large = post("/datanets", "x".repeat(2 << 20)).await.unwrap();
    assert_eq!(code(large).await, (413, "too_large".to_owned()));
    let wrong = post("/status", String::new()).await.unwrap();
    assert_eq!(code(wrong).await, (405, "wrong_method".to_owned()));
    let number = post("/models/99999999999999999999/quote", String::new()).await.unwrap();
    assert_eq!(code(number).await, (400, "invalid".to_owned()));
    let receipt = json!({ "receipt": "00", "prompt": "", "max_tokens": 1, "seed": 1 }).to_string();
    let receipt = post("/models/1/infer", receipt).await.unwrap();
    assert_eq!(code(receipt).await, (422, "invalid".to_owned()));

    let missing = net.client.get::<DatanetInfo>("/datanets/7").await.unwrap_err();
    assert!(missing.to_string().contains("datanet ls"), "{missing}");
    let (datanet, owner, seed) = (DatanetId(7), None, 1);
    let (adapter, numbers) = (None, TrainNumbers::default());
    let train = Train { datanet, owner, adapter, seed, numbers, budget: None };
    let train = net.client.post::<_, Created<ModelId>>("/models", &train).await.unwrap_err();
    assert!(matches!(train, ApiError::Problem(_)), "{train}");

    let port = url.rsplit_once(':').unwrap().1.parse().unwrap();
    let busy = ApiServer::bind(port).await.unwrap_err();
    assert!(matches!(busy, ApiStartError::PortInUse { port: found } if found == port));
    assert!(busy.to_string().contains("--api-port"), "{busy}");
    let client = net.client.clone();
    net.stop().await;
    assert!(!dir.path().join("api.json").exists(), "the token goes with the API");
    let gone = client.get::<StatusReport>("/status").await.unwrap_err();
    assert!(matches!(gone, ApiError::NotRunning(_)), "{gone}");
}
