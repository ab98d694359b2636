//! Base models of others: imported, listed and asked on this machine.

use std::path::{Path, PathBuf};

use compute::formats::{Checkpoint, Tokenizer};
use compute::model::ModelConfig;
use protocol::Hash;
use serde_json::Value;

use super::cli::{json, openledger, stderr};
use super::gguf::{CONTROL, Gguf};

/// A tiny model with untrained weights, whose answers are letters.
fn file(dir: &Path) -> PathBuf {
    file_of(dir, ModelConfig::tiny().context)
}

/// The same, reading so many tokens at once.
pub(crate) fn file_of(dir: &Path, context: u32) -> PathBuf {
    let text: String = (0..400).map(|n| format!("Sentence {n} has its own number. ")).collect();
    let tokenizer = Tokenizer::train([text.as_str()].into_iter(), 300).unwrap();
    let vocab = tokenizer.vocab() + CONTROL.len() as u32;
    let config = ModelConfig { vocab, heads: 4, kv_heads: 2, context, ..ModelConfig::tiny() };
    let checkpoint = Checkpoint::init(&config, Hash::ZERO, 5).unwrap();
    let path = dir.join("tiny.gguf");
    std::fs::write(&path, Gguf::of(&checkpoint, &tokenizer).write().0).unwrap();
    path
}

/// The only file of that name below a folder.
fn below(dir: &Path, name: &str) -> PathBuf {
    let folders = std::fs::read_dir(dir.join("bases")).unwrap();
    let mut found = folders.map(|folder| folder.unwrap().path().join(name));
    found.next().unwrap()
}

fn done(dir: &Path, args: &[&str]) -> Value {
    let output = openledger(dir, args);
    assert!(output.status.success(), "{args:?}: {}", stderr(&output));
    json(&output)
}

fn refused(dir: &Path, args: &[&str]) -> String {
    let output = openledger(dir, args);
    assert_eq!(output.status.code(), Some(1), "{args:?}");
    json(&output)["error"]["message"].as_str().unwrap().to_owned()
}

#[test]
fn a_model_of_others_is_imported_once_and_asked_without_a_node() {
    let dir = tempfile::tempdir().unwrap();
    let (dir, path) = (dir.path(), file(dir.path()));
    let import = ["model", "import", path.to_str().unwrap(), "--json"];
    let first = done(dir, &import);
    assert_eq!((&first["name"], &first["licence"]), (&"Tiny".into(), &"apache-2.0".into()));
    assert_eq!((&first["is_new"], &done(dir, &import)["is_new"]), (&true.into(), &false.into()));
    let listed = done(dir, &["model", "bases", "--json"]);
    assert_eq!(listed.as_array().unwrap().len(), 1);
    assert_eq!(listed[0]["checkpoint"], first["checkpoint"]);
    let hash = first["checkpoint"].as_str().unwrap();
    let ask =
        |base: &str| done(dir, &["model", "ask", base, "Who?", "--max-tokens", "20", "--json"]);
    let answer = ask("tiny");
    for called in ["TI", &hash[..10]] {
        assert_eq!(answer, ask(called), "the same seed says the same, however it is called");
    }
    // Another of that name: only the start of a hash is one's alone.
    let other =
        ["model", "import", path.to_str().unwrap(), "--context", "16", "--name", "tiny two"];
    done(dir, &[&other[..], &["--json"]].concat());
    assert_eq!(answer, ask("tiny"), "a whole name is one's alone");
    let several = refused(dir, &["model", "ask", "ti", "Who?", "--json"]);
    assert!(several.contains("Tiny (") && several.contains("tiny two ("), "{several}");
    assert!(answer["tokens_in"].as_u64().unwrap() > 4, "the template adds to what is asked");
    // As it comes, without JSON: the same text.
    let shown = openledger(dir, &["model", "ask", "tiny", "Who?", "--max-tokens", "20"]);
    let text = String::from_utf8(shown.stdout).unwrap();
    let is_plain = |c: &char| !c.is_control();
    let said: String = answer["text"].as_str().unwrap().chars().filter(is_plain).collect();
    assert_eq!(
        text.chars().filter(is_plain).filter(|c| *c != '\u{fffd}').collect::<String>(),
        said.replace('\u{fffd}', "")
    );
}

#[test]
fn what_is_no_model_or_is_damaged_says_so_and_is_mended_by_importing_again() {
    let dir = tempfile::tempdir().unwrap();
    let (dir, path) = (dir.path(), file(dir.path()));
    let ask = ["model", "ask", "tiny", "Who?", "--max-tokens", "4", "--json"];
    assert!(refused(dir, &ask).contains("openledger model import PATH"));
    let whole = std::fs::read(&path).unwrap();
    let half = dir.join("half.gguf");
    std::fs::write(&half, &whole[..whole.len() / 2]).unwrap();
    let said = refused(dir, &["model", "import", half.to_str().unwrap(), "--json"]);
    assert!(said.contains("half.gguf is not imported") && said.contains("ends within"), "{said}");
    let nowhere = refused(dir, &["model", "import", "nowhere.gguf", "--json"]);
    assert!(nowhere.contains("there is no nowhere.gguf"), "{nowhere}");
    assert_eq!(done(dir, &["model", "bases", "--json"]), Value::Array(Vec::new()));

    let import = ["model", "import", path.to_str().unwrap(), "--json"];
    done(dir, &import);
    let said = refused(dir, &["model", "ask", "huge", "Who?", "--json"]);
    assert!(said.contains("Tiny"), "{said}");
    let hot = refused(dir, &[&ask[..], &["--temperature", "7"]].concat());
    assert!(hot.contains("between 0 and 2"), "{hot}");
    let weights = below(dir, "checkpoint.safetensors");
    let mut bytes = std::fs::read(&weights).unwrap();
    let last = bytes.len() - 1;
    bytes[last] ^= 1;
    std::fs::write(&weights, &bytes).unwrap();
    let said = refused(dir, &ask);
    assert!(said.contains("import it again"), "{said}");
    done(dir, &import);
    done(dir, &ask);
    // A card that was cut off names its file; a folder without one is what a killed import left.
    let card = below(dir, "card.json");
    std::fs::write(&card, b"{\"na").unwrap();
    let said = refused(dir, &["model", "bases", "--json"]);
    assert!(said.contains("card.json is damaged"), "{said}");
    std::fs::remove_file(&card).unwrap();
    assert_eq!(done(dir, &["model", "bases", "--json"]), Value::Array(Vec::new()));
    done(dir, &import);
    done(dir, &ask);
}
