//! Imports a model of others and shows what it computes, for comparison with other programs.
//!
//! ```sh
//! cargo run --release -p openledger-compute --example base -- MODEL OUT [PROMPTS.json [ADAPTER]]
//! cargo run --release -p openledger-compute --example base -- MODEL OUT --ask "What is rain?"
//! ```
//!
//! `MODEL` is a GGUF file or a Hugging Face folder. `OUT` receives the three files of the base and, of
//! each prompt, its token ids (`ids.json`) and the logits behind each token (`logits.f32`, little-endian,
//! one row of the vocabulary after the other). A prompt is a text or a list of messages. `ADAPTER` is a folder as
//! `peft` saves one; the logits are then those of the base with it. With `--ask` the model answers, by the
//! likeliest token each time.

use std::path::{Path, PathBuf};
use std::time::Instant;
use std::{env, fs, io, process};

use burn::tensor::Tensor;
use compute::device::Engine;
use compute::formats::import::{self, Folder, Imported, Options, Progress};
use compute::formats::{Base, Message};
use compute::lora::{AdaptedModel, Adapter, BaseId, PeftFiles};
use compute::model::Decoder;
use compute::serve::{Generator, Sampling};
use serde::Deserialize;

type Failure = Box<dyn std::error::Error>;
/// Logits behind each of some tokens.
type Forward = Box<dyn Fn(&[u32]) -> Tensor<3>>;

#[derive(Deserialize)]
#[serde(untagged)]
enum Prompt {
    Text(String),
    Chat(Vec<(String, String)>),
}

struct OnDisk(PathBuf);

impl Folder for OnDisk {
    fn read(&self, name: &str) -> io::Result<Option<Vec<u8>>> {
        match fs::read(self.0.join(name)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            other => other.map(Some),
        }
    }
}

fn main() {
    let arguments: Vec<PathBuf> = env::args_os().skip(1).map(PathBuf::from).collect();
    let done = match arguments.as_slice() {
        [model, out] => run(model, out).map(|_| ()),
        [model, out, prompts] => run(model, out).and_then(|base| logits(&base, prompts, None, out)),
        [model, out, flag, question] if flag.as_os_str() == "--ask" => {
            run(model, out).and_then(|base| ask(&base, &question.to_string_lossy()))
        }
        [model, out, prompts, adapter] => {
            run(model, out).and_then(|base| logits(&base, prompts, Some(adapter), out))
        }
        _ => Err("usage: base MODEL OUT [PROMPTS.json [ADAPTER] | --ask QUESTION]".into()),
    };
    if let Err(error) = done {
        eprintln!("{error}");
        process::exit(1);
    }
}

fn run(model: &Path, out: &Path) -> Result<Base, Failure> {
    let start = Instant::now();
    let imported = import(model)?;
    fs::create_dir_all(out)?;
    let card = imported.card.to_bytes();
    fs::write(out.join("card.json"), &card)?;
    fs::write(out.join("tokenizer.json"), &imported.tokenizer)?;
    fs::write(out.join("checkpoint.safetensors"), &imported.checkpoint)?;
    println!("{}: imported in {:.1} s", imported.card.name, start.elapsed().as_secs_f64());
    let start = Instant::now();
    let base = Base::from_bytes(&imported.checkpoint, &imported.tokenizer, &card)?;
    println!("{}: read again in {:.1} s", imported.card.checkpoint, start.elapsed().as_secs_f64());
    Ok(base)
}

fn ask(base: &Base, question: &str) -> Result<(), Failure> {
    let generator = Generator::new(&Engine::cpu(), base.checkpoint())?;
    let said = Message { role: "user".to_owned(), content: question.to_owned() };
    let sampling =
        Sampling { tokens: 256, temperature_ppm: 0, top: 0, top_p_ppm: Sampling::ALL, seed: 0 };
    let prompt = base.chat(&[said])?;
    let start = Instant::now();
    let answer = generator
        .generate_while(&prompt, &sampling, &mut |token| !base.card().ends.contains(&token))?;
    let seconds = start.elapsed().as_secs_f64();
    println!("{}", base.tokenizer().decode(&answer)?);
    println!("{} tokens, {:.1} a second", answer.len(), answer.len() as f64 / seconds);
    Ok(())
}

fn import(model: &Path) -> Result<Imported, Failure> {
    let unnamed = model.file_stem().map(|name| name.to_string_lossy().into_owned());
    let options = Options { unnamed, ..Options::default() };
    let mut silent = |_: Progress| {};
    Ok(match model.is_dir() {
        true => import::folder(&OnDisk(model.to_owned()), &options, &mut silent)?,
        false => import::gguf(&fs::read(model)?, &options, &mut silent)?,
    })
}

/// What `peft` saved.
fn adapter(base: &Base, folder: &Path) -> Result<Adapter, Failure> {
    let file = |name: &str| fs::read(folder.join(name));
    let [config, weights] = [file("adapter_config.json")?, file("adapter_model.safetensors")?];
    Ok(Adapter::from_peft(&BaseId::of(base.checkpoint()), &PeftFiles { config, weights })?)
}

fn logits(base: &Base, prompts: &Path, with: Option<&PathBuf>, out: &Path) -> Result<(), Failure> {
    let prompts: Vec<Prompt> = serde_json::from_slice(&fs::read(prompts)?)?;
    let (checkpoint, engine) = (base.checkpoint(), Engine::cpu());
    let forward: Forward = match with {
        None => {
            let model = Decoder::new(checkpoint.config(), checkpoint.values(), engine.device());
            Box::new(move |ids| model.forward(model.tokens(&[ids])))
        }
        Some(folder) => {
            let model = AdaptedModel::new(&engine, checkpoint, &adapter(base, folder)?)?;
            Box::new(move |ids| model.forward(model.base().tokens(&[ids])))
        }
    };
    let (mut ids, mut values) = (Vec::new(), Vec::new());
    let start = Instant::now();
    for prompt in &prompts {
        let tokens = match prompt {
            Prompt::Text(text) => base.text(text)?,
            Prompt::Chat(said) => {
                let message = |(role, content): &(String, String)| Message {
                    role: role.clone(),
                    content: content.clone(),
                };
                base.chat(&said.iter().map(message).collect::<Vec<_>>())?
            }
        };
        let data = forward(&tokens).into_data();
        let data = data.as_slice::<f32>().map_err(|_| "logits are f32")?;
        values.extend(data.iter().flat_map(|value| value.to_le_bytes()));
        ids.push(tokens);
    }
    let tokens: usize = ids.iter().map(Vec::len).sum();
    println!("{tokens} tokens read in {:.1} s", start.elapsed().as_secs_f64());
    fs::write(out.join("ids.json"), serde_json::to_vec(&ids)?)?;
    fs::write(out.join("logits.f32"), values)?;
    Ok(())
}
