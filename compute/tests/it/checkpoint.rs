//! Checkpoints: canonical bytes, fixed initial weights, a typed error for every wrong file.

use compute::checkpoint::{Checkpoint, CheckpointError};
use compute::model::ModelConfig;
use proptest::prelude::*;
use protocol::Hash;

fn checkpoint() -> Checkpoint {
    Checkpoint::init(&ModelConfig::tiny(), Hash([9; 32]), 7).unwrap()
}

/// Replaces the first occurrence of a text of the same length in a file's header.
fn edit(bytes: &[u8], from: &str, to: &str) -> Vec<u8> {
    assert_eq!(from.len(), to.len());
    let at = bytes.windows(from.len()).position(|w| w == from.as_bytes()).expect(from);
    let mut out = bytes.to_vec();
    out[at..at + to.len()].copy_from_slice(to.as_bytes());
    out
}

#[test]
fn the_initial_weights_are_the_same_bits_everywhere() {
    // Golden: these bits must not depend on platform, build or version.
    let hash = checkpoint().hash().to_string();
    assert_eq!(hash, GOLDEN);
    let other = Checkpoint::init(&ModelConfig::tiny(), Hash([9; 32]), 8).unwrap();
    assert_ne!(other.hash().to_string(), GOLDEN);
}

const GOLDEN: &str = "70baa778d8b43c9f7df21bf902599007d704a614dc0c66f920db875c9aaaba37";

#[test]
fn bytes_round_trip_and_name_their_model() {
    let checkpoint = checkpoint();
    let read = Checkpoint::from_bytes(&checkpoint.to_bytes()).unwrap();
    assert_eq!(read, checkpoint);
    assert_eq!(read.hash(), checkpoint.hash());
    assert_eq!(read.expect_model(&ModelConfig::tiny(), Hash([9; 32])), Ok(()));
    let other = read.expect_model(&ModelConfig::nano(), Hash([9; 32]));
    assert_eq!(other, Err(CheckpointError::OtherModel));
    let other = read.expect_model(&ModelConfig::tiny(), Hash([8; 32]));
    assert!(matches!(other, Err(CheckpointError::OtherTokenizer { .. })));
}

#[test]
fn each_error_has_its_bytes() {
    let good = checkpoint().to_bytes();
    let error = |bytes: &[u8]| Checkpoint::from_bytes(bytes).unwrap_err();
    assert!(matches!(error(&good[..good.len() - 4]), CheckpointError::Format { .. }));
    assert!(matches!(error(&[]), CheckpointError::Format { .. }));
    assert_eq!(error(&edit(&good, "\"openledger\"", "\"openledges\"")), CheckpointError::Metadata);
    let bad = edit(&good, "\\\"heads\\\":2", "\\\"heads\\\":3");
    assert!(matches!(error(&bad), CheckpointError::Config(_)));
    let bad = edit(&good, "\\\"context\\\":32", "\\\"context\\\":00");
    assert_eq!(error(&bad), CheckpointError::Metadata);
    let bad = edit(&good, "\\\"layers\\\":2", "\\\"layers\\\":1");
    assert_eq!(error(&bad), CheckpointError::NotCanonical);
    let bad = edit(&good, "\\\"layers\\\":2", "\\\"layers\\\":9");
    assert!(matches!(error(&bad), CheckpointError::Length { .. }));
    let bad = edit(&good, "model.norm.weight", "model.nose.weight");
    assert!(matches!(error(&bad), CheckpointError::Tensor { .. }));
    let mut bad = good;
    let end = bad.len();
    bad[end - 4..].copy_from_slice(&f32::NAN.to_le_bytes());
    assert!(matches!(error(&bad), CheckpointError::NotFinite { .. }));
    bad[end - 4..].copy_from_slice(&f32::INFINITY.to_le_bytes());
    assert!(matches!(error(&bad), CheckpointError::NotFinite { .. }));
    let short = Checkpoint::from_values(&ModelConfig::tiny(), Hash::ZERO, vec![0.0; 3]);
    assert!(matches!(short, Err(CheckpointError::Length { found: 3, .. })));
}

proptest! {
    #[test]
    fn a_flipped_byte_never_panics_and_never_keeps_the_hash(at in 0usize..2000, bit in 0u8..8) {
        let mut bad = checkpoint().to_bytes();
        bad[at] ^= 1 << bit;
        if let Ok(read) = Checkpoint::from_bytes(&bad) {
            prop_assert_ne!(read.hash(), checkpoint().hash());
        }
    }
}
