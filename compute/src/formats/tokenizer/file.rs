//! `tokenizer.json`: what is read of it, and writing it.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::{Value, json};
use tokenizers::models::bpe::{BPE, Vocab};

use super::TokenizerError;
use super::error::MAX_TOKENIZER_BYTES;
use super::splitting::{PreTokenizer, Splitting};

/// What a tokenizer is made of.
#[derive(Debug)]
pub(in crate::formats) struct Parts {
    /// Ids of the tokens that text is made of, as the bytes' printable stand-ins.
    pub(in crate::formats) text: BTreeMap<String, u32>,
    /// Control tokens by id.
    pub(in crate::formats) control: BTreeMap<u32, String>,
    /// Pairs in the order in which they are merged.
    pub(in crate::formats) merges: Vec<(String, String)>,
    pub(in crate::formats) splitting: Splitting,
    /// Whether a piece of text that is a token is that token, whatever the merges say.
    pub(in crate::formats) ignore_merges: bool,
}

/// What the post-processor of a file puts before a text; the field calls it BOS.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::formats) struct Beginning(pub(in crate::formats) Option<String>);

#[derive(Deserialize)]
struct File {
    #[serde(default)]
    truncation: Option<IgnoredAny>,
    #[serde(default)]
    padding: Option<IgnoredAny>,
    #[serde(default)]
    added_tokens: Vec<Added>,
    normalizer: Option<IgnoredAny>,
    pre_tokenizer: Option<PreTokenizer>,
    post_processor: Option<Value>,
    decoder: Option<Typed>,
    model: Model,
}

#[derive(Deserialize)]
struct Typed {
    r#type: String,
}

#[derive(Deserialize)]
struct Probe {
    model: Typed,
}

#[derive(Deserialize)]
struct Added {
    id: u32,
    content: String,
    #[serde(default)]
    single_word: bool,
    #[serde(default)]
    lstrip: bool,
    #[serde(default)]
    rstrip: bool,
}

#[derive(Deserialize)]
struct Model {
    dropout: Option<f32>,
    continuing_subword_prefix: Option<String>,
    end_of_word_suffix: Option<String>,
    #[serde(default)]
    byte_fallback: bool,
    #[serde(default)]
    ignore_merges: bool,
    vocab: BTreeMap<String, u32>,
    merges: Merges,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Merges {
    Pairs(Vec<(String, String)>),
    Lines(Vec<String>),
}

fn parse(reason: impl ToString) -> TokenizerError {
    TokenizerError::Parse { reason: reason.to_string() }
}

impl Parts {
    /// Reads a file, and what it would put before a text.
    pub(in crate::formats) fn read(bytes: &[u8]) -> Result<(Self, Beginning), TokenizerError> {
        if bytes.len() > MAX_TOKENIZER_BYTES {
            return Err(TokenizerError::TooLarge(bytes.len()));
        }
        // First, since files of other models have other fields.
        let probe: Probe = serde_json::from_slice(bytes).map_err(parse)?;
        if probe.model.r#type != "BPE" {
            return Err(TokenizerError::Kind("the model is not BPE"));
        }
        let file: File = serde_json::from_slice(bytes).map_err(parse)?;
        check_plain(&file)?;
        let splitting = file.pre_tokenizer.as_ref().map(Splitting::of);
        let splitting =
            splitting.unwrap_or(Err(TokenizerError::Kind("nothing says how text is split")))?;
        let mut text = file.model.vocab;
        let mut control = BTreeMap::new();
        for Added { id, content, single_word, lstrip, rstrip } in file.added_tokens {
            if single_word || lstrip || rstrip {
                return Err(TokenizerError::Kind("an added token changes the text beside it"));
            }
            if text.remove(&content).is_some_and(|other| other != id) {
                return Err(TokenizerError::Kind("an added token has two ids"));
            }
            if control.insert(id, content).is_some() {
                return Err(TokenizerError::Kind("two added tokens have one id"));
            }
        }
        let merges = match file.model.merges {
            Merges::Pairs(pairs) => pairs,
            Merges::Lines(lines) => pairs(lines.iter().map(String::as_str))?,
        };
        let beginning = Beginning(file.post_processor.as_ref().and_then(beginning));
        let ignore_merges = file.model.ignore_merges;
        Ok((Self { text, control, merges, splitting, ignore_merges }, beginning))
    }

    /// The `tokenizer.json` that [`read`](Self::read) reads.
    pub(in crate::formats) fn write(&self) -> Vec<u8> {
        let added = self.control.iter().map(|(id, content)| {
            json!({"id": id, "content": content, "single_word": false, "lstrip": false,
                "rstrip": false, "normalized": false, "special": true})
        });
        // As others expect it, control tokens stand in the vocabulary, too.
        let control = self.control.iter().map(|(id, content)| (content, id));
        let vocab: BTreeMap<&String, &u32> = self.text.iter().chain(control).collect();
        let file = json!({
            "version": "1.0", "truncation": null, "padding": null,
            "added_tokens": added.collect::<Vec<_>>(), "normalizer": null,
            "pre_tokenizer": self.splitting.to_json(), "post_processor": null,
            "decoder": {"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true,
                "use_regex": true},
            "model": {"type": "BPE", "dropout": null, "unk_token": null,
                "continuing_subword_prefix": null, "end_of_word_suffix": null, "fuse_unk": false,
                "byte_fallback": false, "ignore_merges": self.ignore_merges, "vocab": vocab,
                "merges": self.merges},
        });
        file.to_string().into_bytes()
    }

    /// The encoder of text.
    pub(super) fn bpe(&self) -> Result<BPE, TokenizerError> {
        let vocab: Vocab = self.text.iter().map(|(token, id)| (token.clone(), *id)).collect();
        BPE::builder()
            .vocab_and_merges(vocab, self.merges.clone())
            .ignore_merges(self.ignore_merges)
            .build()
            .map_err(parse)
    }
}

/// Merges written as two tokens with a space between; a token itself holds none.
pub(in crate::formats) fn pairs<'a>(
    lines: impl Iterator<Item = &'a str>,
) -> Result<Vec<(String, String)>, TokenizerError> {
    let pair = |line: &str| {
        let (a, b) = line.split_once(' ').ok_or_else(|| parse("a merge is not two tokens"))?;
        Ok((a.to_owned(), b.to_owned()))
    };
    lines.map(pair).collect()
}

/// The first special token of a template for single texts, if there is one before the text.
fn beginning(post_processor: &Value) -> Option<String> {
    if let Some(parts) = post_processor.get("processors").and_then(Value::as_array) {
        return parts.iter().find_map(beginning);
    }
    let first = post_processor.get("single")?.get(0)?;
    first.get("SpecialToken")?.get("id")?.as_str().map(str::to_owned)
}

fn check_plain(file: &File) -> Result<(), TokenizerError> {
    let model = &file.model;
    // Which token stands for the unknown does not matter: no text is unknown.
    if model.dropout.is_some() || model.byte_fallback {
        return Err(TokenizerError::Kind("dropout or fallback is set"));
    }
    let is_set = |text: &Option<String>| text.as_ref().is_some_and(|text| !text.is_empty());
    if is_set(&model.continuing_subword_prefix) || is_set(&model.end_of_word_suffix) {
        return Err(TokenizerError::Kind("prefixes or suffixes of words are set"));
    }
    if file.normalizer.is_some() {
        return Err(TokenizerError::Kind("a normaliser is set"));
    }
    if file.truncation.is_some() || file.padding.is_some() {
        return Err(TokenizerError::Kind("truncation or padding is set"));
    }
    match file.decoder.as_ref() {
        Some(decoder) if decoder.r#type == "ByteLevel" => Ok(()),
        _ => Err(TokenizerError::Kind("the decoder is not byte-level")),
    }
}
