//! From tokens to text as they come: half of a character waits for its other half.

use std::collections::BTreeMap;

use compute::formats::Tokenizer;
use serde::Deserialize;

/// The bytes of each token of a tokenizer; control tokens have none.
#[derive(Debug)]
pub(crate) struct TokenBytes(Vec<Vec<u8>>);

/// Why a tokenizer's tokens have no bytes.
#[derive(Debug, thiserror::Error)]
pub(crate) enum TokenBytesError {
    /// Its file cannot be read.
    #[error("the tokenizer's file cannot be read: {0}; import the model again")]
    File(#[from] serde_json::Error),
    /// A token is not written as byte-level BPE writes it.
    #[error("token {0:?} of the tokenizer stands for no bytes; import the model again")]
    Token(String),
}

/// What is read of a `tokenizer.json`.
#[derive(Deserialize)]
struct File {
    model: Model,
}

#[derive(Deserialize)]
struct Model {
    vocab: BTreeMap<String, u32>,
}

impl TokenBytes {
    pub(crate) fn of(tokenizer: &Tokenizer) -> Result<Self, TokenBytesError> {
        let file: File = serde_json::from_slice(tokenizer.to_bytes())?;
        let stand_ins = stand_ins();
        let mut all = vec![Vec::new(); tokenizer.vocab() as usize];
        let is_text = |id: &u32| !tokenizer.control().contains_key(id);
        for (token, id) in file.model.vocab.into_iter().filter(|(_, id)| is_text(id)) {
            let bytes: Option<Vec<u8>> =
                token.chars().map(|letter| stand_ins.get(&letter).copied()).collect();
            match (all.get_mut(id as usize), bytes) {
                (Some(entry), Some(bytes)) => *entry = bytes,
                _ => return Err(TokenBytesError::Token(token)),
            }
        }
        Ok(Self(all))
    }

    /// The bytes of a token, which may be half of a character; none of an id that there is not.
    pub(crate) fn of_token(&self, token: u32) -> &[u8] {
        self.0.get(token as usize).map_or(&[], Vec::as_slice)
    }
}

/// The bytes that the printable letters of byte-level BPE stand for: printable bytes for themselves, and
/// the letters from U+0100 on for the others, in order.
fn stand_ins() -> BTreeMap<char, u8> {
    let is_printable = |byte: &u8| matches!(byte, 0x21..=0x7e | 0xa1..=0xac | 0xae..=0xff);
    let (printable, others): (Vec<u8>, Vec<u8>) = (0..=u8::MAX).partition(is_printable);
    let themselves = printable.into_iter().map(|byte| (char::from(byte), byte));
    themselves.chain(('\u{100}'..).zip(others)).collect()
}

/// A text whose bytes come in pieces.
#[derive(Debug, Default)]
pub(crate) struct Detokenizer {
    /// The beginning of a character.
    half: Vec<u8>,
}

impl Detokenizer {
    /// The characters that are whole with these bytes; what cannot become one is U+FFFD.
    pub(crate) fn push(&mut self, bytes: &[u8]) -> String {
        self.half.extend(bytes);
        let mut text = String::new();
        let mut rest = self.half.as_slice();
        for chunk in self.half.utf8_chunks() {
            text.push_str(chunk.valid());
            rest = &rest[chunk.valid().len()..];
            let invalid = chunk.invalid();
            // Only what the bytes end with may still become a character.
            let is_half = rest.len() == invalid.len()
                && std::str::from_utf8(invalid).is_err_and(|error| error.error_len().is_none());
            if !invalid.is_empty() && !is_half {
                text.push('\u{fffd}');
                rest = &rest[invalid.len()..];
            }
        }
        self.half = rest.to_vec();
        text
    }

    /// What is left when no more comes.
    pub(crate) fn rest(&mut self) -> String {
        let half = std::mem::take(&mut self.half);
        String::from_utf8_lossy(&half).into_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn however_bytes_are_cut_the_text_is_the_same_and_no_half_character_leaves() {
        let texts: [&[u8]; 5] = [
            "Größe 😀 ok".as_bytes(),
            b"a\xf0\x9f\x98b\xffc\xc3",
            b"\xe2\x82",
            b"\xf0\x9f\xf0\x9f\x98\x80\x80",
            b"",
        ];
        for bytes in texts {
            let whole = String::from_utf8_lossy(bytes);
            for size in 1..=bytes.len().max(1) {
                let mut characters = Detokenizer::default();
                let mut text = String::new();
                for piece in bytes.chunks(size) {
                    text.push_str(&characters.push(piece));
                    assert!(whole.starts_with(&text), "{text:?} of {whole:?} in pieces of {size}");
                }
                assert_eq!(text + &characters.rest(), whole, "in pieces of {size}");
            }
        }
    }

    #[test]
    fn tokens_have_the_bytes_that_the_tokenizer_reads_them_as() {
        let text: String = (0..200).map(|n| format!("Größe {n} 😀, naïve. ")).collect();
        let tokenizer = Tokenizer::train([text.as_str()].into_iter(), 280).unwrap();
        let bytes = TokenBytes::of(&tokenizer).unwrap();
        let said = "😀 Größe\n\u{7f}\0 naïve 7";
        let ids = tokenizer.encode(said).unwrap();
        let read: Vec<u8> = ids.iter().flat_map(|id| bytes.of_token(*id)).copied().collect();
        assert_eq!(String::from_utf8(read).unwrap(), said);
        assert!(bytes.of_token(u32::MAX).is_empty());
    }
}
