//! Checkpoints: canonical bytes, fixed initial weights, a typed error for every wrong file.

use compute::formats::WeightsError;
use compute::formats::{Checkpoint, CheckpointError};
use compute::model::ModelConfig;
use protocol::Hash;

use crate::fixture::edit;

pub(crate) fn plain() -> Checkpoint {
    Checkpoint::init(&ModelConfig::tiny(), Hash([9; 32]), 7).unwrap()
}

#[test]
fn the_initial_weights_are_the_same_bits_everywhere() {
    // Golden: these bits must not depend on platform, build or version.
    let hash = plain().hash().to_string();
    assert_eq!(hash, GOLDEN);
    let other = Checkpoint::init(&ModelConfig::tiny(), Hash([9; 32]), 8).unwrap();
    assert_ne!(other.hash().to_string(), GOLDEN);
}

const GOLDEN: &str = "70baa778d8b43c9f7df21bf902599007d704a614dc0c66f920db875c9aaaba37";

#[test]
fn bytes_round_trip_and_name_their_model() {
    let checkpoint = plain();
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
fn each_wrong_shape_has_its_error() {
    let good = plain().to_bytes();
    let error = |bytes: &[u8]| Checkpoint::from_bytes(bytes).unwrap_err();
    let bad = edit(&good, "\\\"heads\\\":2", "\\\"heads\\\":3");
    assert!(matches!(error(&bad), CheckpointError::Config(_)));
    let bad = edit(&good, "\\\"context\\\":32", "\\\"context\\\":00");
    assert_eq!(error(&bad), CheckpointError::Weights(WeightsError::Metadata("openledger")));
    let bad = edit(&good, "\\\"layers\\\":2", "\\\"layers\\\":1");
    assert_eq!(error(&bad), CheckpointError::Weights(WeightsError::NotCanonical));
    let bad = edit(&good, "\\\"layers\\\":2", "\\\"layers\\\":9");
    assert!(matches!(error(&bad), CheckpointError::Weights(WeightsError::Length { .. })));
    let bad = edit(&good, "model.norm.weight", "model.nose.weight");
    assert!(matches!(error(&bad), CheckpointError::Weights(WeightsError::Tensor { .. })));
    let short = Checkpoint::from_values(&ModelConfig::tiny(), Hash::ZERO, vec![0.0; 3]);
    let length = WeightsError::Length { expected: ModelConfig::tiny().parameters(), found: 3 };
    assert_eq!(short, Err(CheckpointError::Weights(length)));
}
