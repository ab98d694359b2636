//! What an import is asked and gives.

use protocol::Hash;

use super::super::base::Base;
use super::super::card::{Card, CardSource, MAX_NAME_BYTES};
use super::super::chat::ChatTemplate;
use super::super::checkpoint::Checkpoint;
use super::super::tokenizer::Tokenizer;
use super::error::ImportError;
use super::tensors::Weights;

/// The most tokens in one sequence, unless said otherwise.
const CONTEXT: u32 = 2048;

/// How to import.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// The most tokens in one sequence; a model that reads fewer keeps its own bound. More need more
    /// memory wherever the model is used.
    pub context: u32,
    /// What to call the model; otherwise what its file says, …
    pub name: Option<String>,
    /// … or this, where it says nothing.
    pub unnamed: Option<String>,
}

impl Default for Options {
    fn default() -> Self {
        Self { context: CONTEXT, name: None, unnamed: None }
    }
}

/// The files of a base model, as [`Base::from_bytes`] reads them.
#[derive(Debug)]
pub struct Imported {
    /// What the model is, with the hashes of the two others.
    pub card: Card,
    /// The canonical checkpoint.
    pub checkpoint: Vec<u8>,
    /// The tokenizer's file.
    pub tokenizer: Vec<u8>,
}

/// What formats say of a model beside its weights.
pub(super) struct About {
    pub(super) name: Option<String>,
    pub(super) licence: Option<String>,
    pub(super) origin: Option<String>,
    pub(super) template: Option<String>,
    pub(super) begin: Option<u32>,
    pub(super) bos: Option<u32>,
    pub(super) eos: Option<u32>,
    /// In any order, perhaps repeated.
    pub(super) ends: Vec<u32>,
    pub(super) format: &'static str,
    pub(super) hash: Hash,
}

impl Imported {
    /// Checks that the parts belong together, and writes them.
    pub(super) fn new(
        weights: Weights,
        tokenizer: Tokenizer,
        about: About,
        options: &Options,
    ) -> Result<Self, ImportError> {
        let hash = tokenizer.hash();
        let checkpoint = Checkpoint::from_values(&weights.config, hash, weights.values)?;
        let bytes = checkpoint.to_bytes();
        let mut ends = about.ends;
        ends.sort_unstable();
        ends.dedup();
        let shown = |text: Option<String>| text.map(|text| shown(&text)).filter(|t| !t.is_empty());
        let [given, found, unnamed] = [options.name.clone(), about.name, options.unnamed.clone()];
        let name = shown(given).or(shown(found)).or(shown(unnamed));
        let card = Card {
            name: name.ok_or_else(|| ImportError::Missing("the model's name".to_owned()))?,
            licence: shown(about.licence),
            origin: shown(about.origin),
            checkpoint: Hash(*blake3::hash(&bytes).as_bytes()),
            tokenizer: hash,
            template: about.template,
            begin: about.begin,
            bos: about.bos,
            eos: about.eos,
            ends,
            source: CardSource {
                format: about.format.to_owned(),
                weights: weights.form,
                hash: about.hash,
            },
        };
        if let Some(template) = &card.template {
            ChatTemplate::new(template)?;
        }
        let file = tokenizer.to_bytes().to_vec();
        let base = Base::new(checkpoint, tokenizer, card)?;
        Ok(Self { card: base.card().clone(), checkpoint: bytes, tokenizer: file })
    }
}

/// What a file says of itself, as it can be shown: without control characters, cut to what a card holds.
fn shown(text: &str) -> String {
    let text: String = text.trim().chars().filter(|letter| !letter.is_control()).collect();
    text[..text.floor_char_boundary(MAX_NAME_BYTES)].to_owned()
}
