//! Files of weights: what checkpoints and adapters refuse alike.

use compute::formats::WeightsError;
use compute::formats::{Checkpoint, CheckpointError};
use compute::lora::{Adapter, AdapterError};
use proptest::prelude::*;

use crate::fixture::edit;
use crate::{checkpoint, lora};

/// Why bytes are refused.
type Refusal = fn(&[u8]) -> WeightsError;

/// A file of each kind, with what refuses damaged ones.
fn kinds() -> [(Vec<u8>, Refusal); 2] {
    let refused_checkpoint = |bytes: &[u8]| match Checkpoint::from_bytes(bytes).unwrap_err() {
        CheckpointError::Weights(error) => error,
        other => panic!("{other}"),
    };
    let refused_adapter = |bytes: &[u8]| match Adapter::from_bytes(bytes).unwrap_err() {
        AdapterError::Weights(error) => error,
        other => panic!("{other}"),
    };
    [
        (checkpoint::plain().to_bytes(), refused_checkpoint),
        (lora::plain().to_bytes(), refused_adapter),
    ]
}

#[test]
fn damaged_bytes_have_their_error() {
    for (good, error) in kinds() {
        assert!(matches!(error(&good[..good.len() - 4]), WeightsError::Format { .. }));
        assert!(matches!(error(&[]), WeightsError::Format { .. }));
        let renamed = error(&edit(&good, "_proj", "_proi"));
        assert!(matches!(renamed, WeightsError::Tensor { .. }));
        let mut bad = good;
        let end = bad.len();
        for wrong in [f32::NAN, f32::INFINITY] {
            bad[end - 4..].copy_from_slice(&wrong.to_le_bytes());
            assert!(matches!(error(&bad), WeightsError::NotFinite { .. }));
        }
    }
}

#[test]
fn files_of_another_kind_are_refused() {
    let [(checkpoint, refused_checkpoint), (adapter, refused_adapter)] = kinds();
    assert_eq!(refused_checkpoint(&adapter), WeightsError::Metadata("openledger"));
    assert_eq!(refused_adapter(&checkpoint), WeightsError::Metadata("openledger-adapter"));
    let bad = edit(&checkpoint, "\"openledger\"", "\"openledges\"");
    assert_eq!(refused_checkpoint(&bad), WeightsError::Metadata("openledger"));
    let bad = edit(&adapter, "\"openledger-adapter\"", "\"openledger-adopter\"");
    assert_eq!(refused_adapter(&bad), WeightsError::Metadata("openledger-adapter"));
}

proptest! {
    #[test]
    fn a_flipped_byte_never_panics_and_never_keeps_the_hash(at in 0usize..2000, bit in 0u8..8) {
        let flipped = |mut bytes: Vec<u8>| {
            bytes[at] ^= 1 << bit;
            bytes
        };
        let good = checkpoint::plain();
        if let Ok(read) = Checkpoint::from_bytes(&flipped(good.to_bytes())) {
            prop_assert_ne!(read.hash(), good.hash());
        }
        let good = lora::plain();
        if let Ok(read) = Adapter::from_bytes(&flipped(good.to_bytes())) {
            prop_assert_ne!(read.hash(), good.hash());
        }
    }
}
