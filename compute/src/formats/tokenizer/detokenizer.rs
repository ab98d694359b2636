//! From tokens to text as they come: half of a character waits for its other half.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use super::alphabet::letters;
use super::bpe::Tokenizer;

/// The bytes that the letters of byte-level BPE stand for.
static BYTES: LazyLock<BTreeMap<char, u8>> =
    LazyLock::new(|| letters().into_iter().zip(0..=u8::MAX).collect());

impl Tokenizer {
    /// The bytes of a token, which may be half of a character; none of a control token, and of an id that there
    /// is not. Those of all tokens of a text are the text's.
    pub fn token_bytes(&self, id: u32) -> Vec<u8> {
        let Some(token) = self.text_token(id) else { return Vec::new() };
        let bytes: Option<Vec<u8>> =
            token.chars().map(|letter| BYTES.get(&letter).copied()).collect();
        // What is written otherwise stands for itself, as the field's decoder has it.
        bytes.unwrap_or_else(|| token.into_bytes())
    }
}

/// A text whose bytes come in pieces.
#[derive(Debug, Clone, Default)]
pub struct Detokenizer {
    /// The beginning of a character.
    half: Vec<u8>,
}

impl Detokenizer {
    /// The characters that are whole with these bytes; what cannot become one is U+FFFD.
    pub fn push(&mut self, bytes: &[u8]) -> String {
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
    pub fn rest(&mut self) -> String {
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
        let said = "😀 Größe\n\u{7f}\0 naïve 7";
        let ids = tokenizer.encode(said).unwrap();
        let read: Vec<u8> = ids.iter().flat_map(|id| tokenizer.token_bytes(*id)).collect();
        assert_eq!(String::from_utf8(read).unwrap(), said);
        assert!(tokenizer.token_bytes(u32::MAX).is_empty());
    }
}
