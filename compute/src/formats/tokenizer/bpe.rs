//! The tokenizer itself.

use std::borrow::Cow;
use std::collections::BTreeMap;

use protocol::Hash;
use tokenizers::decoders::DecoderWrapper;
use tokenizers::models::ModelWrapper;
use tokenizers::models::bpe::{BPE, BpeTrainer};
use tokenizers::pre_tokenizers::PreTokenizerWrapper;
use tokenizers::pre_tokenizers::byte_level::ByteLevel;
use tokenizers::{NormalizerWrapper, PostProcessorWrapper, TokenizerImpl};

use super::alphabet::letters;
use super::error::{MAX_VOCAB, MIN_VOCAB, TokenizerError};
use super::file::Parts;
use super::splitting::Splitting;

type Bpe = TokenizerImpl<
    ModelWrapper,
    NormalizerWrapper,
    PreTokenizerWrapper,
    PostProcessorWrapper,
    DecoderWrapper,
>;

/// A byte-level BPE tokenizer.
pub struct Tokenizer {
    inner: Bpe,
    control: BTreeMap<u32, String>,
    bytes: Vec<u8>,
    vocab: u32,
    /// By byte: whether no token stands for it.
    missing: [bool; 256],
}

impl std::fmt::Debug for Tokenizer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Tokenizer({} ids, {})", self.vocab, self.hash())
    }
}

impl Tokenizer {
    /// Learns exactly `vocab` token ids from texts; the same texts give the same tokenizer.
    pub fn train<'a>(
        texts: impl Iterator<Item = &'a str> + Send,
        vocab: u32,
    ) -> Result<Self, TokenizerError> {
        if !(MIN_VOCAB..=MAX_VOCAB).contains(&vocab) {
            return Err(TokenizerError::VocabSize(vocab));
        }
        let mut inner = plain(BPE::default(), Splitting::Gpt2);
        let trainer = BpeTrainer::builder()
            .vocab_size(vocab as usize)
            .min_frequency(2)
            .show_progress(false)
            .initial_alphabet(ByteLevel::alphabet().into_iter().collect())
            .build();
        let mut trainer = tokenizers::models::TrainerWrapper::from(trainer);
        let parse = |e: tokenizers::Error| TokenizerError::Parse { reason: e.to_string() };
        inner.train(&mut trainer, texts).map_err(parse)?;
        let bytes = serde_json::to_vec(&inner)
            .map_err(|e| TokenizerError::Parse { reason: e.to_string() })?;
        let found = inner.get_vocab_size(true) as u32;
        if found != vocab {
            return Err(TokenizerError::TooLittleText { wanted: vocab, found });
        }
        Self::from_bytes(&bytes)
    }

    /// Reads a `tokenizer.json`.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, TokenizerError> {
        let (parts, _) = Parts::read(bytes)?;
        Self::new(parts, bytes.to_vec())
    }

    /// The tokenizer of these parts, with a file of its own.
    pub(in crate::formats) fn from_parts(parts: Parts) -> Result<Self, TokenizerError> {
        let bytes = parts.write();
        Self::new(parts, bytes)
    }

    fn new(parts: Parts, bytes: Vec<u8>) -> Result<Self, TokenizerError> {
        let vocab = parts.text.len() + parts.control.len();
        let vocab = u32::try_from(vocab).unwrap_or(u32::MAX);
        if vocab == 0 || vocab > MAX_VOCAB {
            return Err(TokenizerError::VocabSize(vocab));
        }
        check_ids(&parts, vocab)?;
        let missing = missing(&parts);
        if "\u{fffd}".bytes().any(|byte| missing[usize::from(byte)]) {
            return Err(TokenizerError::Kind("a byte has no token, nor has what stands for it"));
        }
        let inner = plain(parts.bpe()?, parts.splitting);
        Ok(Self { inner, control: parts.control, bytes, vocab, missing })
    }

    /// The `tokenizer.json` that [`from_bytes`](Self::from_bytes) reads.
    pub fn to_bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// BLAKE3 of those bytes.
    pub fn hash(&self) -> Hash {
        Hash(*blake3::hash(&self.bytes).as_bytes())
    }

    /// Number of token ids.
    pub fn vocab(&self) -> u32 {
        self.vocab
    }

    /// The control tokens with their texts, by id.
    pub fn control(&self) -> &BTreeMap<u32, String> {
        &self.control
    }

    /// The token ids of a text, none of which is a control token. A character for whose bytes the
    /// tokenizer has no token (SmolLM2 lacks six of the ASCII control characters) is read as U+FFFD.
    pub fn encode(&self, text: &str) -> Result<Vec<u32>, TokenizerError> {
        let is_missing = |byte: u8| self.missing[usize::from(byte)];
        let mut text = Cow::Borrowed(text);
        if text.bytes().any(is_missing) {
            let is_lost = |c: char| c.encode_utf8(&mut [0; 4]).bytes().any(is_missing);
            text = text.chars().map(|c| if is_lost(c) { '\u{fffd}' } else { c }).collect();
        }
        let encoding = self
            .inner
            .encode_fast(text.as_ref(), false)
            .map_err(|e| TokenizerError::Encode { reason: e.to_string() })?;
        Ok(encoding.get_ids().to_vec())
    }

    /// A token as the vocabulary writes it; control tokens are none.
    pub(super) fn text_token(&self, id: u32) -> Option<String> {
        let is_text = !self.control.contains_key(&id);
        self.inner.id_to_token(id).filter(|_| is_text)
    }

    /// The text of token ids; control tokens have none, and byte sequences that are not UTF-8 become
    /// U+FFFD.
    pub fn decode(&self, ids: &[u32]) -> Result<String, TokenizerError> {
        if let Some(&id) = ids.iter().find(|id| **id >= self.vocab) {
            return Err(TokenizerError::UnknownId { id, vocab: self.vocab });
        }
        let text: Vec<u32> =
            ids.iter().copied().filter(|id| !self.control.contains_key(id)).collect();
        self.inner
            .decode(&text, false)
            .map_err(|e| TokenizerError::Encode { reason: e.to_string() })
    }

    /// First byte and first byte behind the `len` tokens from `start` on, in the `text` that all of
    /// `tokens` make. Positions are on character boundaries: a character that a cut went through
    /// belongs to what follows.
    pub fn bytes_of(&self, tokens: &[u32], text: &str, (start, len): (u32, u32)) -> (usize, usize) {
        let at = |token: u32| {
            let head = tokens.get(..token as usize).unwrap_or(tokens);
            // Ids that this tokenizer has made always decode; of others nothing is known.
            common(&self.decode(head).unwrap_or_default(), text)
        };
        (at(start), at(start.saturating_add(len)))
    }
}

/// Length of the common beginning, on a character boundary of `text`.
fn common(head: &str, text: &str) -> usize {
    let same = head.bytes().zip(text.bytes()).take_while(|(a, b)| a == b).count();
    text.floor_char_boundary(same)
}

/// Byte-level BPE with nothing added.
fn plain(bpe: BPE, splitting: Splitting) -> Bpe {
    let mut inner = Bpe::new(ModelWrapper::from(bpe));
    inner.with_pre_tokenizer(Some(splitting.pre_tokenizer()));
    inner.with_decoder(Some(ByteLevel::new(false, false, true)));
    inner
}

/// Every id below `vocab` is one token's, and control tokens can be told apart.
fn check_ids(parts: &Parts, vocab: u32) -> Result<(), TokenizerError> {
    let mut is_taken = vec![false; vocab as usize];
    for id in parts.text.values().chain(parts.control.keys()) {
        match is_taken.get_mut(*id as usize) {
            Some(taken) if !*taken => *taken = true,
            _ => return Err(TokenizerError::Kind("token ids have gaps")),
        }
    }
    let texts: std::collections::BTreeSet<&String> = parts.control.values().collect();
    if texts.len() < parts.control.len() || texts.iter().any(|text| text.is_empty()) {
        return Err(TokenizerError::Kind("two control tokens have one text, or one has none"));
    }
    Ok(())
}

/// The bytes that no token stands for.
fn missing(parts: &Parts) -> [bool; 256] {
    letters().map(|letter| !parts.text.contains_key(letter.encode_utf8(&mut [0; 4]) as &str))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cut_through_a_character_falls_before_it() {
        assert_eq!(common("Gr\u{fffd}", "Größe"), 2);
        assert_eq!(common("Größe", "Größe"), 7);
        assert_eq!(common("", "x"), 0);
    }
}
