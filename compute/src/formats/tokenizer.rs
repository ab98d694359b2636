//! Byte-level BPE: any text becomes token ids and comes back unchanged.
//!
//! Trained deterministically on given texts; stored as the `tokenizer.json` that the field uses. A
//! tokenizer is part of a model: its hash is in every checkpoint. Only plain byte-level BPE is
//! accepted from outside: no normaliser, no added tokens, no post-processing, all 256 bytes known,
//! ids without gaps; thus every text has ids below [`Tokenizer::vocab`].

use protocol::Hash;
use tokenizers::decoders::DecoderWrapper;
use tokenizers::models::ModelWrapper;
use tokenizers::models::bpe::{BPE, BpeTrainer};
use tokenizers::pre_tokenizers::PreTokenizerWrapper;
use tokenizers::pre_tokenizers::byte_level::ByteLevel;
use tokenizers::{NormalizerWrapper, PostProcessorWrapper, TokenizerImpl};

type Bpe = TokenizerImpl<
    ModelWrapper,
    NormalizerWrapper,
    PreTokenizerWrapper,
    PostProcessorWrapper,
    DecoderWrapper,
>;

/// The largest tokenizer file that is read.
pub const MAX_TOKENIZER_BYTES: usize = 16 << 20;
/// The fewest token ids: one per byte.
pub const MIN_VOCAB: u32 = 256;
/// The most token ids.
pub const MAX_VOCAB: u32 = 1 << 18;

/// A byte-level BPE tokenizer.
pub struct Tokenizer {
    inner: Bpe,
    bytes: Vec<u8>,
    vocab: u32,
}

impl std::fmt::Debug for Tokenizer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Tokenizer({} ids, {})", self.vocab, self.hash())
    }
}

/// Why a tokenizer could not be trained, read or used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TokenizerError {
    /// The vocabulary size is out of bounds.
    #[error("a vocabulary of {0} ids is not between {MIN_VOCAB} and {MAX_VOCAB}")]
    VocabSize(u32),
    /// The texts are too short or too uniform for that many ids.
    #[error("the texts give only {found} of {wanted} token ids; add text or lower the vocabulary")]
    TooLittleText {
        /// Ids that were asked for.
        wanted: u32,
        /// Ids that the texts gave.
        found: u32,
    },
    /// The file is too large.
    #[error("the tokenizer has {0} bytes; at most {MAX_TOKENIZER_BYTES} are read")]
    TooLarge(usize),
    /// The bytes are no tokenizer file.
    #[error("not a tokenizer file: {reason}")]
    Parse {
        /// What the parser said.
        reason: String,
    },
    /// The file describes something other than plain byte-level BPE.
    #[error("not plain byte-level BPE: {0}")]
    Kind(&'static str),
    /// The text could not be encoded, which a valid tokenizer never does.
    #[error("the text could not be encoded: {reason}")]
    Encode {
        /// What the encoder said.
        reason: String,
    },
    /// A token id is not in the vocabulary.
    #[error("token id {id} is not below the vocabulary of {vocab}")]
    UnknownId {
        /// The unknown token id.
        id: u32,
        /// Ids in the vocabulary.
        vocab: u32,
    },
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
        let mut inner = Bpe::new(ModelWrapper::from(BPE::default()));
        inner.with_pre_tokenizer(Some(byte_level()));
        inner.with_decoder(Some(byte_level()));
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
        if bytes.len() > MAX_TOKENIZER_BYTES {
            return Err(TokenizerError::TooLarge(bytes.len()));
        }
        let inner: Bpe = serde_json::from_slice(bytes)
            .map_err(|e| TokenizerError::Parse { reason: e.to_string() })?;
        check_plain(&inner)?;
        let vocab = inner.get_vocab_size(true) as u32;
        if !(MIN_VOCAB..=MAX_VOCAB).contains(&vocab) {
            return Err(TokenizerError::VocabSize(vocab));
        }
        if (0..vocab).any(|id| inner.id_to_token(id).is_none()) {
            return Err(TokenizerError::Kind("token ids have gaps"));
        }
        if ByteLevel::alphabet().into_iter().any(|c| inner.token_to_id(&c.to_string()).is_none()) {
            return Err(TokenizerError::Kind("a byte has no token"));
        }
        Ok(Self { inner, bytes: bytes.to_vec(), vocab })
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

    /// The token ids of a text.
    pub fn encode(&self, text: &str) -> Result<Vec<u32>, TokenizerError> {
        let encoding = self
            .inner
            .encode_fast(text, false)
            .map_err(|e| TokenizerError::Encode { reason: e.to_string() })?;
        Ok(encoding.get_ids().to_vec())
    }

    /// The text of token ids; byte sequences that are not UTF-8 become U+FFFD.
    pub fn decode(&self, ids: &[u32]) -> Result<String, TokenizerError> {
        if let Some(&id) = ids.iter().find(|id| **id >= self.vocab) {
            return Err(TokenizerError::UnknownId { id, vocab: self.vocab });
        }
        self.inner.decode(ids, false).map_err(|e| TokenizerError::Encode { reason: e.to_string() })
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

/// The GPT-2 splitting, without the leading space that would change the text.
fn byte_level() -> ByteLevel {
    ByteLevel::new(false, false, true)
}

fn check_plain(inner: &Bpe) -> Result<(), TokenizerError> {
    let ModelWrapper::BPE(bpe) = inner.get_model() else {
        return Err(TokenizerError::Kind("the model is not BPE"));
    };
    if bpe.dropout.is_some() || bpe.byte_fallback || bpe.unk_token.is_some() {
        return Err(TokenizerError::Kind("dropout, fallback or unknown tokens are set"));
    }
    if bpe.continuing_subword_prefix.is_some() || bpe.end_of_word_suffix.is_some() {
        return Err(TokenizerError::Kind("prefixes or suffixes of words are set"));
    }
    if inner.get_normalizer().is_some() || inner.get_post_processor().is_some() {
        return Err(TokenizerError::Kind("a normaliser or post-processor is set"));
    }
    if inner.get_truncation().is_some() || inner.get_padding().is_some() {
        return Err(TokenizerError::Kind("truncation or padding is set"));
    }
    if !inner.get_added_tokens_decoder().is_empty() {
        return Err(TokenizerError::Kind("tokens are added to the vocabulary"));
    }
    let plain = |b: &ByteLevel| !b.add_prefix_space;
    match (inner.get_pre_tokenizer(), inner.get_decoder()) {
        (Some(PreTokenizerWrapper::ByteLevel(a)), Some(DecoderWrapper::ByteLevel(_)))
            if plain(a) =>
        {
            Ok(())
        }
        _ => Err(TokenizerError::Kind("the splitting is not byte-level without a prefix space")),
    }
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
