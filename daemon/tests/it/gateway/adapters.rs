//! One base, several adapters: each is a model of its own, and none changes what another says.

use std::fs;
use std::path::{Path, PathBuf};

use compute::formats::Checkpoint;
use compute::lora::{Adapter, BaseId, LoraConfig, PeftFiles};
use futures::future::join_all;
use serde_json::{Value, json};

use super::serving::{MODEL, Serving, done, with_model};
use crate::cli::{json as said, openledger};

/// What the tiny base is, as others would have it.
fn base(dir: &Path) -> BaseId {
    let mut folders = fs::read_dir(dir.join("bases")).unwrap();
    let checkpoint = folders.next().unwrap().unwrap().path().join("checkpoint.safetensors");
    BaseId::of(&Checkpoint::from_bytes(&fs::read(checkpoint).unwrap()).unwrap())
}

/// An adapter that changes much, as `peft` saves one.
fn peft(base: &BaseId, seed: u64) -> PeftFiles {
    let config = LoraConfig::standard(4, &base.model);
    let drawn = Adapter::init(base, &config, seed).unwrap();
    let filled = drawn.values().iter().zip(0u64..).map(|(value, place)| match *value {
        0.0 => ((place * (seed + 3)) % 17) as f32 * 0.05 - 0.4,
        value => value,
    });
    Adapter::from_values(base, &config, filled.collect()).unwrap().to_peft(MODEL)
}

fn write(folder: PathBuf, files: &PeftFiles) -> PathBuf {
    fs::create_dir(&folder).unwrap();
    fs::write(folder.join("adapter_config.json"), &files.config).unwrap();
    fs::write(folder.join("adapter_model.safetensors"), &files.weights).unwrap();
    folder
}

fn import(dir: &Path, folder: &Path, more: &[&str]) -> Value {
    let import = ["model", "adapter", "import", folder.to_str().unwrap()];
    done(dir, &[&import, more].concat())
}

fn refused(dir: &Path, args: &[&str]) -> String {
    let output = openledger(dir, &[args, &["--json"]].concat());
    assert_eq!(output.status.code(), Some(1), "{args:?}");
    said(&output)["error"]["message"].as_str().unwrap().to_owned()
}

async fn says(serving: &Serving, model: &str) -> String {
    let asked = json!({ "model": model, "prompt": "Sentence", "max_tokens": 24, "temperature": 0 });
    let answer = serving.answer("/completions", &asked).await;
    answer["choices"][0]["text"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn each_adapter_answers_as_if_it_were_alone() {
    let (dir, files) = (with_model(), tempfile::tempdir().unwrap());
    let base = base(dir.path());
    for (name, seed) in [("law", 1), ("poems", 2)] {
        let folder = write(files.path().join(name), &peft(&base, seed));
        assert_eq!(import(dir.path(), &folder, &[])["is_new"], true);
        assert_eq!(import(dir.path(), &folder, &[])["is_new"], false);
    }
    let names = [MODEL.to_owned(), format!("{MODEL}:law"), format!("{MODEL}:poems")];
    // Each by a process that answers nobody else.
    let key = done(dir.path(), &["serve", "key", "add", "anna"])["key"].clone();
    let start = || {
        let mut serving = Serving::start(dir.path(), &[]);
        key.as_str().unwrap().clone_into(&mut serving.key);
        serving
    };
    let mut alone = Vec::new();
    for name in &names {
        alone.push(says(&start(), name).await);
    }
    assert!(alone[0] != alone[1] && alone[1] != alone[2] && alone[0] != alone[2], "{alone:?}");

    let serving = start();
    let listed: Value = serving.get("/models").send().await.unwrap().json().await.unwrap();
    let ids = listed["data"].as_array().unwrap().iter().map(|model| model["id"].as_str().unwrap());
    assert_eq!(ids.collect::<Vec<_>>(), names);
    for place in [1, 2, 0, 2] {
        assert_eq!(says(&serving, &names[place]).await, alone[place], "after others");
    }
    let mixed = [0, 1, 2, 2, 1, 0, 1, 2];
    let together = join_all(mixed.map(|place| says(&serving, &names[place]))).await;
    assert_eq!(together, mixed.map(|place| alone[place].clone()), "at once");

    let asked = json!({ "model": format!("{MODEL}:cooking"), "prompt": "Sentence" });
    let (status, error) = serving.ask("/completions", &asked).await;
    assert_eq!((status, &error["error"]["code"]), (404, &"model_not_found".into()), "{error}");
    done(dir.path(), &["model", "adapter", "rm", "law"]);
    let (status, _) =
        serving.ask("/completions", &json!({ "model": names[1], "prompt": "A" })).await;
    assert_eq!(status, 404, "it is forgotten at once");
}

#[test]
fn what_is_no_adapter_of_the_base_is_refused_by_name() {
    let (dir, files) = (with_model(), tempfile::tempdir().unwrap());
    let good = peft(&base(dir.path()), 1);
    let refuse = |name: &str, files_of: &PeftFiles, more: &[&str]| {
        let folder = write(files.path().join(name), files_of);
        let import = ["model", "adapter", "import", folder.to_str().unwrap()];
        refused(dir.path(), &[&import, more].concat())
    };
    let mut config: Value = serde_json::from_slice(&good.config).unwrap();
    config["r"] = 1_000.into();
    let config = serde_json::to_vec(&config).unwrap();
    let large = refuse("large", &PeftFiles { config, ..good.clone() }, &[]);
    assert!(large.contains("rank"), "{large}");
    let mut weights = good.weights.clone();
    let end = weights.len();
    weights[end - 4..].copy_from_slice(&f32::NAN.to_le_bytes());
    let broken = refuse("broken", &PeftFiles { weights, ..good.clone() }, &[]);
    assert!(broken.contains("broken is not imported"), "{broken}");
    let cut =
        PeftFiles { weights: good.weights[..good.weights.len() / 2].to_vec(), ..good.clone() };
    assert!(refuse("cut", &cut, &[]).contains("cut is not imported"));
    assert!(refuse("named", &good, &["--name", "a:b"]).contains("no name for an adapter"));
    let of_other = refuse("other", &good, &["--base", "nothing"]);
    assert!(of_other.contains("no base model is called"), "{of_other}");
    let mut of_another = base(dir.path());
    of_another.checkpoint = protocol::Hash([7; 32]);
    let strange = refuse("strange", &peft(&of_another, 1), &[]);
    assert!(strange.contains("belongs to base checkpoint"), "{strange}");
    let empty = refused(dir.path(), &["model", "adapter", "import", dir.path().to_str().unwrap()]);
    assert!(empty.contains("no folder as `peft` saves one"), "{empty}");
    assert_eq!(done(dir.path(), &["model", "adapter", "ls"]), json!([]));

    import(dir.path(), &files.path().join("named"), &["--name", "law"]);
    let taken = refuse("second", &peft(&base(dir.path()), 2), &["--name", "law"]);
    assert!(taken.contains("another adapter of that base is called law"), "{taken}");
}
