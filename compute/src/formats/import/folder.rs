//! Folders as Hugging Face publishes models.

use std::collections::{BTreeMap, BTreeSet};

use protocol::Hash;
use safetensors::{Dtype, SafeTensors};
use serde::Deserialize;

use super::super::tokenizer::{Beginning, Parts, Tokenizer};
use super::blocks::Form;
use super::error::ImportError;
use super::result::{About, Imported, Options};
use super::settings::{Settings, config};
use super::tensors::{Progress, Stored, Weights};
use super::vocabulary::ENDS;
use crate::model::ModelConfig;
use crate::model::layout;

/// The most shards of one model's weights.
const MAX_SHARDS: usize = 1024;

/// Where the files of a folder come from.
pub trait Folder {
    /// The bytes of the file of that name, which has no slash; `None` if there is none.
    fn read(&self, name: &str) -> std::io::Result<Option<Vec<u8>>>;
}

/// Files that were read, and what the folder's hash is made of.
struct Files<'a> {
    folder: &'a dyn Folder,
    hashes: BTreeMap<String, blake3::Hash>,
}

impl Files<'_> {
    fn optional(&mut self, name: &str) -> Result<Option<Vec<u8>>, ImportError> {
        let unreadable = |error: std::io::Error| ImportError::Unreadable {
            name: name.to_owned(),
            reason: error.to_string(),
        };
        let bytes = self.folder.read(name).map_err(unreadable)?;
        if let Some(bytes) = &bytes {
            self.hashes.insert(name.to_owned(), blake3::hash(bytes));
        }
        Ok(bytes)
    }

    fn needed(&mut self, name: &str) -> Result<Vec<u8>, ImportError> {
        self.optional(name)?.ok_or_else(|| ImportError::NoFile(name.to_owned()))
    }

    fn settings(&mut self, name: &str) -> Result<Option<Settings>, ImportError> {
        self.optional(name)?.map(|bytes| Settings::read(name, &bytes)).transpose()
    }

    fn hash(&self) -> Hash {
        let mut hasher = blake3::Hasher::new();
        for hash in self.hashes.values() {
            hasher.update(hash.as_bytes());
        }
        Hash(*hasher.finalize().as_bytes())
    }
}

/// Imports a folder with `config.json`, `tokenizer.json` and `model.safetensors` (or its shards and
/// their index); of `tokenizer_config.json`, `generation_config.json`, `chat_template.jinja` and
/// `README.md` what is there.
pub fn folder(
    folder: &dyn Folder,
    options: &Options,
    progress: &mut dyn FnMut(Progress),
) -> Result<Imported, ImportError> {
    let mut files = Files { folder, hashes: BTreeMap::new() };
    let model = Settings::read("config.json", &files.needed("config.json")?)?;
    let config = config(&model, options.context)?;
    let (parts, beginning) = Parts::read(&files.needed("tokenizer.json")?)?;
    let tokenizer = Tokenizer::from_parts(parts)?;
    let about = about(&mut files, &model, &tokenizer, &beginning)?;
    let weights = weights(&mut files, &config, progress)?;
    Imported::new(weights, tokenizer, About { hash: files.hash(), ..about }, options)
}

/// What the folder says of the model beside its weights.
fn about(
    files: &mut Files<'_>,
    model: &Settings,
    tokenizer: &Tokenizer,
    Beginning(beginning): &Beginning,
) -> Result<About, ImportError> {
    let settings = files.settings("tokenizer_config.json")?.unwrap_or_default();
    let generation = files.settings("generation_config.json")?.unwrap_or_default();
    let template = match files.optional("chat_template.jinja")? {
        Some(bytes) => Some(text("chat_template.jinja", bytes)?),
        None => settings.template().map(str::to_owned),
    };
    let id = |text: Option<&str>| {
        let text = text?;
        tokenizer.control().iter().find(|(_, control)| *control == text).map(|(id, _)| *id)
    };
    let (bos, eos) = (id(settings.token("bos_token")), id(settings.token("eos_token")));
    // What the tokenizer's own file puts before a text counts, as it does elsewhere.
    let is_begun = settings.flag("add_bos_token").unwrap_or(false);
    let begin = id(beginning.as_deref()).or(bos.filter(|_| is_begun));
    let mut ends = model.ids("eos_token_id")?;
    ends.extend(generation.ids("eos_token_id")?);
    ends.extend(eos);
    let named = tokenizer.control().iter().filter(|(_, text)| ENDS.contains(&text.as_str()));
    ends.extend(named.map(|(id, _)| *id));
    let readme = files.optional("README.md")?.and_then(|bytes| String::from_utf8(bytes).ok());
    let origin = model.text("_name_or_path").map(str::to_owned);
    let name = origin.as_deref().and_then(|path| path.rsplit('/').next()).map(str::to_owned);
    Ok(About {
        name: name.filter(|name| !name.is_empty()),
        licence: readme.as_deref().and_then(licence),
        origin: origin.filter(|origin| !origin.is_empty()),
        template,
        begin,
        bos,
        eos,
        ends,
        format: "hugging-face",
        hash: Hash::ZERO,
    })
}

fn text(name: &str, bytes: Vec<u8>) -> Result<String, ImportError> {
    let not_text =
        |_| ImportError::Unreadable { name: name.to_owned(), reason: "it is not UTF-8".to_owned() };
    String::from_utf8(bytes).map_err(not_text)
}

/// The licence in the head of a model's README (YAML between two lines of dashes).
fn licence(readme: &str) -> Option<String> {
    let head = readme.strip_prefix("---\n")?.split("\n---").next()?;
    let line = head.lines().find_map(|line| line.strip_prefix("license:"))?;
    let licence = line.trim().trim_matches(['"', '\'']);
    (!licence.is_empty()).then(|| licence.to_owned())
}

/// The names of the files with weights.
fn shards(files: &mut Files<'_>) -> Result<BTreeSet<String>, ImportError> {
    #[derive(Deserialize)]
    struct Index {
        weight_map: BTreeMap<String, String>,
    }
    const INDEX: &str = "model.safetensors.index.json";
    let Some(index) = files.optional(INDEX)? else {
        return Ok(BTreeSet::from(["model.safetensors".to_owned()]));
    };
    let wrong = |reason: String| ImportError::Malformed { section: INDEX, reason };
    let index: Index = serde_json::from_slice(&index).map_err(|error| wrong(error.to_string()))?;
    let shards: BTreeSet<String> = index.weight_map.into_values().collect();
    if shards.len() > MAX_SHARDS {
        return Err(wrong(format!("{} shards; at most {MAX_SHARDS} are read", shards.len())));
    }
    match shards.iter().find(|name| name.contains(['/', '\\']) || name.starts_with('.')) {
        Some(name) => Err(wrong(format!("{name:?} is no file of the folder"))),
        None => Ok(shards),
    }
}

fn weights(
    files: &mut Files<'_>,
    config: &ModelConfig,
    progress: &mut dyn FnMut(Progress),
) -> Result<Weights, ImportError> {
    let specs = layout::tensors(config);
    let total = specs.len();
    let places: BTreeMap<&str, usize> = specs.iter().map(|s| s.name.as_str()).zip(0..).collect();
    // Each tensor stays by itself until all are there, so that no more is held than was brought.
    let mut found: Vec<Option<Vec<f32>>> = vec![None; total];
    let mut forms: BTreeMap<Form, usize> = BTreeMap::new();
    let mut second_head = None;
    for shard in shards(files)? {
        let bytes = files.needed(&shard)?;
        let wrong = |reason: String| ImportError::Malformed { section: "safetensors", reason };
        let file = SafeTensors::deserialize(&bytes).map_err(|error| wrong(error.to_string()))?;
        for (name, view) in file.iter() {
            let form = form(name, view.dtype())?;
            let stored = Stored { name, form, bytes: view.data() };
            let Some(&place) = places.get(name) else {
                match name {
                    "lm_head.weight" => second_head = Some(stored.values()?),
                    // What older versions stored beside the weights follows from the shape.
                    _ if name.ends_with(".rotary_emb.inv_freq") => {}
                    _ => return Err(ImportError::ExtraTensor(name.chars().take(96).collect())),
                }
                continue;
            };
            let spec = &specs[place];
            if view.shape() != spec.shape() {
                let wide = |shape: &[usize]| shape.iter().map(|n| *n as u64).collect();
                let (expected, found) = (wide(&spec.shape()), wide(view.shape()));
                return Err(ImportError::Shape { name: name.to_owned(), expected, found });
            }
            progress(Progress { done: found.iter().flatten().count(), total });
            *forms.entry(form).or_default() += spec.len();
            if found[place].replace(stored.values()?).is_some() {
                return Err(wrong(format!("tensor {name} stands there twice")));
            }
        }
    }
    if let Some(place) = found.iter().position(Option::is_none) {
        return Err(ImportError::NoTensor(specs[place].name.clone()));
    }
    if second_head.is_some() && second_head != found[0] {
        let found = "config.json says that it is the embedding, and it is not".to_owned();
        return Err(ImportError::Unsupported { what: "such lm_head.weight", found });
    }
    let mut values = Vec::with_capacity(config.parameters() as usize);
    for tensor in found.iter_mut().filter_map(Option::take) {
        values.extend(tensor);
    }
    progress(Progress { done: total, total });
    let form = forms.into_iter().max_by_key(|(_, count)| *count);
    let form = form.map_or("none", |(form, _)| form.name()).to_owned();
    Ok(Weights { config: config.clone(), values, form })
}

fn form(name: &str, dtype: Dtype) -> Result<Form, ImportError> {
    match dtype {
        Dtype::F32 => Ok(Form::F32),
        Dtype::F16 => Ok(Form::F16),
        Dtype::BF16 => Ok(Form::Bf16),
        other => {
            let name = name.chars().take(96).collect();
            Err(ImportError::Form { name, form: format!("{other:?}") })
        }
    }
}
