//! The ways in which text is cut before pairs are merged.
//!
//! Each is named, since the patterns are programs: one that strangers chose could run for hours.

use serde::Deserialize;
use serde_json::{Value, json};
use tokenizers::SplitDelimiterBehavior::Isolated;
use tokenizers::pre_tokenizers::PreTokenizerWrapper;
use tokenizers::pre_tokenizers::byte_level::ByteLevel;
use tokenizers::pre_tokenizers::digits::Digits;
use tokenizers::pre_tokenizers::sequence::Sequence;
use tokenizers::pre_tokenizers::split::{Split, SplitPattern};

use super::TokenizerError;

/// Llama 3's pattern, as its `tokenizer.json` has it.
const LLAMA_3: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";

/// A way of cutting text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::formats) enum Splitting {
    /// GPT-2's, without the leading space that would change the text.
    Gpt2,
    /// The same, after every digit stands alone: SmolLM's.
    Digits,
    /// Llama 3's: digits in threes.
    Llama3,
}

/// The `pre_tokenizer` of a file.
#[derive(Deserialize)]
#[serde(tag = "type")]
pub(super) enum PreTokenizer {
    ByteLevel {
        add_prefix_space: bool,
        #[serde(default = "yes")]
        use_regex: bool,
    },
    Digits {
        individual_digits: bool,
    },
    Split {
        pattern: SplitPattern,
        behavior: String,
        invert: bool,
    },
    Sequence {
        pretokenizers: Vec<PreTokenizer>,
    },
    #[serde(other)]
    Other,
}

const fn yes() -> bool {
    true
}

impl Splitting {
    /// What llama.cpp calls it (`tokenizer.ggml.pre`).
    pub(in crate::formats) fn named(name: &str) -> Result<Self, TokenizerError> {
        match name {
            "gpt-2" | "gpt2" => Ok(Self::Gpt2),
            "smollm" => Ok(Self::Digits),
            "llama3" | "llama-v3" | "llama-bpe" => Ok(Self::Llama3),
            other => Err(TokenizerError::Splitting(other.chars().take(64).collect())),
        }
    }

    pub(super) fn of(found: &PreTokenizer) -> Result<Self, TokenizerError> {
        use PreTokenizer as P;
        let bytes = |p: &P, regex| matches!(p, P::ByteLevel { add_prefix_space: false, use_regex } if *use_regex == regex);
        if bytes(found, true) {
            return Ok(Self::Gpt2);
        }
        if let P::Sequence { pretokenizers } = found {
            match pretokenizers.as_slice() {
                [P::Digits { individual_digits: true }, last] if bytes(last, true) => {
                    return Ok(Self::Digits);
                }
                [
                    P::Split { pattern: SplitPattern::Regex(pattern), behavior, invert: false },
                    last,
                ] if pattern == LLAMA_3 && behavior == "Isolated" && bytes(last, false) => {
                    return Ok(Self::Llama3);
                }
                _ => {}
            }
        }
        Err(TokenizerError::Kind(
            "the splitting is neither byte-level without a prefix space, SmolLM's nor Llama 3's",
        ))
    }

    /// What a file says of it.
    pub(super) fn to_json(self) -> Value {
        let bytes = |use_regex: bool| json!({"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": use_regex});
        let sequence =
            |first: Value, last: Value| json!({"type": "Sequence", "pretokenizers": [first, last]});
        match self {
            Self::Gpt2 => bytes(true),
            Self::Digits => {
                sequence(json!({"type": "Digits", "individual_digits": true}), bytes(true))
            }
            Self::Llama3 => {
                let pattern = json!({"Regex": LLAMA_3});
                let split = json!({"type": "Split", "pattern": pattern, "behavior": "Isolated", "invert": false});
                sequence(split, bytes(false))
            }
        }
    }

    pub(super) fn pre_tokenizer(self) -> PreTokenizerWrapper {
        let bytes = |use_regex| PreTokenizerWrapper::from(ByteLevel::new(false, false, use_regex));
        match self {
            Self::Gpt2 => bytes(true),
            Self::Digits => Sequence::new(vec![Digits::new(true).into(), bytes(true)]).into(),
            Self::Llama3 => {
                let pattern = SplitPattern::Regex(LLAMA_3.to_owned());
                let split = Split::new(pattern, Isolated, false).expect("the pattern is fixed");
                Sequence::new(vec![split.into(), bytes(false)]).into()
            }
        }
    }
}
