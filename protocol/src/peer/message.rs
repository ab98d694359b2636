//! What nodes say to each other on the control plane.
//!
//! Gossip is a lossy hint; the requests fill its gaps. Bytes are fetched over the data plane.

use alloc::vec::Vec;

use crate::{
    blob::BlobRef,
    codec::{DecodeError, Reader, Wire, encode_list},
    ids::{AccountId, Digest, Epoch, Hash},
    limits::MAX_RECORDS_PER_ANSWER,
    record::SignedRecord,
    sync::{PARTS, Part, Sum},
};

/// Most blobs in one announcement.
const MAX_ANNOUNCED: usize = 1024;

/// The gossip topics.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Topic {
    /// Who has which blob.
    Announce,
    /// Records as they are signed, of whatever kind.
    Records,
}

impl Topic {
    /// All topics, in the order of their indices.
    pub const ALL: [Self; 2] = [Self::Announce, Self::Records];

    /// The name on the wire.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Announce => "openledger/1/announce",
            Self::Records => "openledger/1/records",
        }
    }
}

/// A gossip message.
#[expect(clippy::large_enum_variant, reason = "short-lived: made, handed over, taken apart")]
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Gossip {
    /// The author has these blobs.
    Have(Vec<BlobRef>),
    /// A record, by whomever it was made.
    Record(SignedRecord),
}

/// A question to one peer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Request {
    /// Records of a part of an epoch whose ids come after `after`, in order of ids.
    Records {
        /// The epoch that the records are labelled with.
        epoch: Epoch,
        /// The part of that epoch in which some are lacking.
        part: Part,
        /// The last id that the asker has seen; zero for the start.
        after: Digest,
    },
    /// Which account do you run, and which blobs of these do you have?
    Has(Vec<Hash>),
    /// What do you have of the parts of a part of an epoch?
    Sums {
        /// The epoch that the records are labelled with.
        epoch: Epoch,
        /// The part that is divided.
        part: Part,
    },
}

/// The answer of one peer to a [`Request`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// To [`Request::Records`]: at most a page.
    Records(Vec<SignedRecord>),
    /// To [`Request::Has`]: of the blobs asked for, those that are there.
    Has {
        /// The account of the answering node; zero when it has none.
        account: AccountId,
        /// The blobs that it has.
        blobs: Vec<BlobRef>,
    },
    /// To [`Request::Sums`]: one for each part, in order.
    Sums(Vec<Sum>),
}

impl Wire for Gossip {
    fn encode(&self, out: &mut Vec<u8>) {
        match self {
            Self::Have(blobs) => {
                1u8.encode(out);
                encode_list(blobs, out);
            }
            Self::Record(record) => {
                2u8.encode(out);
                record.encode(out);
            }
        }
    }
    fn decode(input: &mut Reader<'_>) -> Result<Self, DecodeError> {
        match u8::decode(input)? {
            1 => input.list(MAX_ANNOUNCED).map(Self::Have),
            2 => Wire::decode(input).map(Self::Record),
            tag => Err(DecodeError::Tag(tag)),
        }
    }
}

impl Wire for Request {
    fn encode(&self, out: &mut Vec<u8>) {
        match self {
            Self::Records { epoch, part, after } => {
                1u8.encode(out);
                epoch.encode(out);
                part.encode(out);
                after.encode(out);
            }
            Self::Has(blobs) => {
                2u8.encode(out);
                encode_list(blobs, out);
            }
            Self::Sums { epoch, part } => {
                3u8.encode(out);
                epoch.encode(out);
                part.encode(out);
            }
        }
    }
    fn decode(input: &mut Reader<'_>) -> Result<Self, DecodeError> {
        match u8::decode(input)? {
            1 => Ok(Self::Records {
                epoch: Wire::decode(input)?,
                part: Wire::decode(input)?,
                after: Wire::decode(input)?,
            }),
            2 => input.list(MAX_ANNOUNCED).map(Self::Has),
            3 => Ok(Self::Sums { epoch: Wire::decode(input)?, part: Wire::decode(input)? }),
            tag => Err(DecodeError::Tag(tag)),
        }
    }
}

impl Wire for Answer {
    fn encode(&self, out: &mut Vec<u8>) {
        match self {
            Self::Records(records) => {
                1u8.encode(out);
                encode_list(records, out);
            }
            Self::Has { account, blobs } => {
                2u8.encode(out);
                account.encode(out);
                encode_list(blobs, out);
            }
            Self::Sums(sums) => {
                3u8.encode(out);
                encode_list(sums, out);
            }
        }
    }
    fn decode(input: &mut Reader<'_>) -> Result<Self, DecodeError> {
        match u8::decode(input)? {
            1 => input.list(MAX_RECORDS_PER_ANSWER).map(Self::Records),
            2 => Ok(Self::Has { account: Wire::decode(input)?, blobs: input.list(MAX_ANNOUNCED)? }),
            3 => input.list(PARTS).map(Self::Sums),
            tag => Err(DecodeError::Tag(tag)),
        }
    }
}
