//! What a server publishes of one use of a model, so that anyone can repeat the answer and its attribution.

use protocol::AccountId;
use protocol::ask::Ask;
use protocol::attribution::Share;
use protocol::codec::{DecodeError, Reader, Wire, encode_bytes, encode_list};
use protocol::limits::{MAX_GENERATED_TOKENS, MAX_PROMPT_BYTES, MAX_SHARES};

use super::reread::Claimed;
use super::sampling::Sampling;

/// The version of the encoding, its first byte.
const VERSION: u8 = 1;
/// Longest published query, in bytes.
const MAX_QUERY_BYTES: usize = 4 << 20;
/// Longest transcript, in bytes.
pub const MAX_TRANSCRIPT_BYTES: u64 = 8 << 20;

/// What is published of a use: what was asked, and what came of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PublishedUse {
    /// What the consumer's receipt names.
    pub ask: Ask,
    /// What the server says that its model made of it.
    pub transcript: Transcript,
}

impl PublishedUse {
    /// Whether the answer was drawn as was asked.
    pub fn is_as_asked(&self) -> bool {
        let Sampling { tokens, .. } = self.transcript.sampling;
        tokens <= self.ask.max_tokens
            && self.transcript.sampling == Sampling::asked(&self.ask, tokens)
    }
}

impl Wire for PublishedUse {
    fn encode(&self, out: &mut Vec<u8>) {
        self.ask.encode(out);
        self.transcript.encode(out);
    }

    fn decode(input: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok(Self { ask: Wire::decode(input)?, transcript: Wire::decode(input)? })
    }
}

/// Prompt, output, the published query, and what follows from them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Transcript {
    /// Token ids of the prompt.
    pub prompt: Vec<u32>,
    /// Token ids of the output.
    pub output: Vec<u32>,
    /// How the output was drawn.
    pub sampling: Sampling,
    /// The digest of what the model computed for the output
    /// ([`Generation::activations`](super::Generation::activations)).
    pub activations: Vec<i32>,
    /// The quantised query ([`Query`](crate::attribute::Query)), encoded.
    pub query: Vec<u8>,
    /// What is paid, in ppm.
    pub shares: Vec<(AccountId, u32)>,
}

impl Wire for Transcript {
    fn encode(&self, out: &mut Vec<u8>) {
        VERSION.encode(out);
        encode_list(&self.prompt, out);
        encode_list(&self.output, out);
        let Sampling { tokens, temperature_ppm, top, top_p_ppm, seed } = &self.sampling;
        for number in [tokens, temperature_ppm, top, top_p_ppm] {
            number.encode(out);
        }
        seed.encode(out);
        encode_list(&self.activations, out);
        encode_bytes(&self.query, out);
        encode_list(&self.shares, out);
    }

    fn decode(input: &mut Reader<'_>) -> Result<Self, DecodeError> {
        match u8::decode(input)? {
            VERSION => Ok(Self {
                prompt: input.list(MAX_PROMPT_BYTES)?,
                output: input.list(MAX_GENERATED_TOKENS as usize)?,
                sampling: Sampling {
                    tokens: Wire::decode(input)?,
                    temperature_ppm: Wire::decode(input)?,
                    top: Wire::decode(input)?,
                    top_p_ppm: Wire::decode(input)?,
                    seed: Wire::decode(input)?,
                },
                activations: input.list(MAX_GENERATED_TOKENS as usize)?,
                query: input.bytes(MAX_QUERY_BYTES)?,
                shares: input.list(MAX_SHARES)?,
            }),
            version => Err(DecodeError::Tag(version)),
        }
    }
}

impl Transcript {
    /// The answer, as [`Generator::reread`](super::Generator::reread) reads it.
    pub fn claimed(&self) -> Claimed<'_> {
        let Self { prompt, output, sampling, activations, .. } = self;
        Claimed { prompt, output, sampling, activations }
    }
}

/// Shares as a record carries them.
pub fn pairs(shares: &[Share]) -> Vec<(AccountId, u32)> {
    shares.iter().map(|share| (share.account, share.ppm)).collect()
}

#[cfg(test)]
mod tests {
    use protocol::{EvmAddress, ModelId};

    use super::*;

    #[test]
    fn transcripts_come_back_and_other_versions_are_refused() {
        let transcript = Transcript {
            prompt: vec![1, 70_000],
            output: vec![3],
            sampling: Sampling { tokens: 9, temperature_ppm: 5, top: 4, top_p_ppm: 3, seed: 2 },
            activations: vec![-7, 1_000_000],
            query: vec![5; 9],
            shares: vec![(AccountId(7), 1_000_000)],
        };
        let ask = Ask::text(EvmAddress([3; 20]), ModelId(4), "Why?".to_owned(), 8, 2);
        let published = PublishedUse { ask, transcript: transcript.clone() };
        assert_eq!(PublishedUse::from_bytes(&published.to_bytes()), Ok(published.clone()));
        assert!(!published.is_as_asked(), "another temperature, and a token too many");
        let mut bytes = transcript.to_bytes();
        assert_eq!(Transcript::from_bytes(&bytes), Ok(transcript));
        assert!(Transcript::from_bytes(&bytes[..bytes.len() - 1]).is_err());
        bytes[0] = VERSION + 1;
        assert_eq!(Transcript::from_bytes(&bytes), Err(DecodeError::Tag(VERSION + 1)));
    }
}
