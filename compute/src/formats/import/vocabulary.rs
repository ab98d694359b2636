//! The tokenizer of a GGUF file.

use std::collections::{BTreeMap, BTreeSet};

use super::super::tokenizer::{MAX_VOCAB, Parts, Splitting, Tokenizer, TokenizerError, pairs};
use super::error::ImportError;
use super::header::{Array, Value};
use super::metadata::Metadata;

/// Kinds of tokens: `llama_token_type` in llama.cpp.
const NORMAL: i64 = 1;
/// Unknown, control, made by the user, unused: whatever no text becomes here.
const CONTROL: std::ops::RangeInclusive<i64> = 2..=5;

/// A tokenizer, and the tokens with a name of their own.
pub(super) struct Vocabulary {
    pub(super) tokenizer: Tokenizer,
    pub(super) begin: Option<u32>,
    pub(super) bos: Option<u32>,
    pub(super) eos: Option<u32>,
    pub(super) ends: Vec<u32>,
}

/// Texts of control tokens that end an answer, whatever a file says of its end.
pub(super) const ENDS: [&str; 6] =
    ["<|im_end|>", "<|eot_id|>", "<|eom_id|>", "<|endoftext|>", "<|end_of_text|>", "</s>"];

/// Number of ids that the file has texts for.
pub(super) fn size(metadata: &Metadata<'_>) -> Result<u64, ImportError> {
    Ok(metadata.array("tokenizer.ggml.tokens")?.count())
}

/// Reads the tokenizer.
pub(super) fn read(metadata: &Metadata<'_>) -> Result<Vocabulary, ImportError> {
    let model = metadata.text("tokenizer.ggml.model")?;
    if model != "gpt2" {
        let found = format!("the file's is {model:?}, not byte-level BPE (\"gpt2\")");
        return Err(ImportError::Unsupported { what: "such tokenizer", found });
    }
    let splitting = Splitting::named(metadata.text("tokenizer.ggml.pre")?)?;
    let tokens = metadata.array("tokenizer.ggml.tokens")?;
    if tokens.count() > u64::from(MAX_VOCAB) {
        let size = u32::try_from(tokens.count()).unwrap_or(u32::MAX);
        return Err(TokenizerError::VocabSize(size).into());
    }
    let named = |name: &str| -> Result<Option<u32>, ImportError> {
        let id = metadata.optional_number(&format!("tokenizer.ggml.{name}_token_id"))?;
        Ok(id.map(|id| u32::try_from(id).unwrap_or(u32::MAX)))
    };
    let (bos, eos) = (named("bos")?, named("eos")?);
    let mut ends: Vec<u32> = [eos, named("eot")?, named("eom")?].into_iter().flatten().collect();
    let mut control: BTreeSet<u32> = ends.iter().copied().chain(bos).collect();
    control.extend(controls(metadata, tokens.count())?);
    let (text, control) = sorted(tokens, &control)?;
    ends.extend(
        control.iter().filter(|(_, text)| ENDS.contains(&text.as_str())).map(|(id, _)| *id),
    );
    let merges = texts(metadata.array("tokenizer.ggml.merges")?).collect::<Result<Vec<_>, _>>()?;
    let merges = pairs(merges.into_iter())?;
    let is_llama = splitting == Splitting::Llama3;
    let parts = Parts { text, control, merges, splitting, ignore_merges: is_llama };
    // As in llama.cpp: what a file leaves open follows from its way of splitting.
    let is_begun = metadata.optional_bool("tokenizer.ggml.add_bos_token")?.unwrap_or(is_llama);
    let begin = if is_begun { bos } else { None };
    Ok(Vocabulary { tokenizer: Tokenizer::from_parts(parts)?, begin, bos, eos, ends })
}

/// The ids that the file calls control tokens.
fn controls(metadata: &Metadata<'_>, count: u64) -> Result<Vec<u32>, ImportError> {
    const KEY: &str = "tokenizer.ggml.token_type";
    let Some(kinds) = metadata.optional_array(KEY)? else {
        return Ok(Vec::new());
    };
    if kinds.count() != count {
        let reason = format!("{} kinds of {count} tokens", kinds.count());
        return Err(ImportError::Malformed { section: KEY, reason });
    }
    let mut controls = Vec::new();
    for (kind, id) in kinds.values().zip(0..) {
        match kind? {
            Value::Signed(NORMAL) => {}
            Value::Signed(kind) if CONTROL.contains(&kind) => controls.push(id),
            other => {
                let reason = format!("token {id} is of kind {other:?}, which byte-level BPE lacks");
                return Err(ImportError::Malformed { section: KEY, reason });
            }
        }
    }
    Ok(controls)
}

/// Tokens of text by their text, and control tokens by their id.
#[expect(clippy::type_complexity, reason = "the two halves of one vocabulary")]
fn sorted(
    tokens: Array<'_>,
    control: &BTreeSet<u32>,
) -> Result<(BTreeMap<String, u32>, BTreeMap<u32, String>), ImportError> {
    let (mut text, mut controls) = (BTreeMap::new(), BTreeMap::new());
    for (token, id) in texts(tokens).zip(0..) {
        let token = token?.to_owned();
        if control.contains(&id) {
            controls.insert(id, token);
        } else {
            text.insert(token, id);
        }
    }
    Ok((text, controls))
}

fn texts(array: Array<'_>) -> impl Iterator<Item = Result<&str, ImportError>> {
    array.values().map(|value| match value? {
        Value::Text(text) => Ok(text),
        other => {
            let reason = format!("{other:?} stands where a token should");
            Err(ImportError::Malformed { section: "tokenizer", reason })
        }
    })
}
