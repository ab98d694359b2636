//! Update payloads: what is kept, their bytes, hostile bytes; and the outer step.

use compute::formats::Checkpoint;
use compute::model::ModelConfig;
use compute::train::outer::{self, OuterError};
use compute::train::update::{CompressError, Payload, PayloadError, compare, compress};
use proptest::prelude::*;
use protocol::Hash;
use protocol::params::Params;

fn noise(seed: u32, length: usize) -> Vec<f32> {
    let mut state = seed;
    let mut next = move || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 8) as f32 / (1 << 24) as f32 - 0.5
    };
    (0..length).map(|_| (next() + next() + next()) * 0.01).collect()
}

/// The oracle: sort everything, keep the first.
fn kept_naively(values: &[f32], k: usize) -> Vec<usize> {
    let mut order: Vec<usize> = (0..values.len()).collect();
    order.sort_by(|a, b| values[*b].abs().total_cmp(&values[*a].abs()).then(a.cmp(b)));
    let mut kept = order[..k.min(values.len()) & !1].to_vec();
    kept.sort_unstable();
    kept
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn bytes_round_trip(seed: u32, length in 1usize..12_000, half in 1u32..600) {
        let k = half * 2;
        let payload = compress(&noise(seed, length), k).unwrap();
        let bytes = payload.to_bytes();
        prop_assert_eq!(bytes.len(), Payload::byte_length(length as u32, k));
        prop_assert_eq!(Payload::from_bytes(&bytes, length as u32, k).unwrap(), payload);
    }

    #[test]
    fn the_largest_are_kept(seed: u32, length in 2usize..4096, half in 1u32..200) {
        // Few distinct values, so that ties are common.
        let values: Vec<f32> = noise(seed, length).iter().map(|v| (v * 500.0).round()).collect();
        let payload = compress(&values, half * 2).unwrap();
        let kept = kept_naively(&values, half as usize * 2);
        prop_assert_eq!(payload.kept(), kept.len());
        let mut only = vec![0.0; length];
        for i in kept {
            only[i] = values[i];
        }
        // The same positions with the same values compress to the same payload.
        prop_assert_eq!(compress(&only, half * 2).unwrap(), payload);
    }

    #[test]
    fn hostile_bytes_are_errors_or_canonical(seed: u32, at: prop::sample::Index, bit in 0u8..8) {
        let mut bytes = compress(&noise(seed, 5000), 64).unwrap().to_bytes();
        let at = at.index(bytes.len());
        bytes[at] ^= 1 << bit;
        if let Ok(payload) = Payload::from_bytes(&bytes, 5000, 64) {
            prop_assert_eq!(payload.to_bytes(), bytes);
        }
    }

    #[test]
    fn the_order_of_updates_does_not_matter(seed: u32, order in Just(vec![0usize, 1, 2, 3, 4]).prop_shuffle()) {
        let checkpoint = checkpoint();
        let length = checkpoint.values().len();
        let payloads: Vec<Payload> = (0..5)
            .map(|i| compress(&noise(seed.wrapping_add(i * 77), length), 128).unwrap())
            .collect();
        let shuffled: Vec<Payload> = order.iter().map(|i| payloads[*i].clone()).collect();
        let a = outer::step(&checkpoint, &payloads, 1_000_000).unwrap();
        let b = outer::step(&checkpoint, &shuffled, 1_000_000).unwrap();
        prop_assert_eq!(a.hash(), b.hash());
    }
}

fn checkpoint() -> Checkpoint {
    Checkpoint::init(&ModelConfig::tiny(), Hash::ZERO, 1).unwrap()
}

#[test]
fn each_payload_error_has_its_bytes() {
    let good = compress(&noise(1, 4097), 64).unwrap().to_bytes();
    let read = |bytes: &[u8]| Payload::from_bytes(bytes, 4097, 64).unwrap_err();
    let edited = |at: usize, with: &[u8]| {
        let mut bytes = good.clone();
        bytes[at..at + with.len()].copy_from_slice(with);
        bytes
    };
    assert_eq!(read(&good[..9]), PayloadError::Magic);
    assert_eq!(read(&edited(0, b"X")), PayloadError::Magic);
    assert!(matches!(read(&edited(4, &[9])), PayloadError::Parameters { expected: 4097, .. }));
    assert!(matches!(read(&edited(8, &[9])), PayloadError::K { expected: 64, .. }));
    assert!(matches!(read(&good[..good.len() - 1]), PayloadError::Length { .. }));
    assert_eq!(read(&edited(14, &[0xff, 0xff])), PayloadError::Positions { chunk: 0 });
    // Small above large; negative; infinite.
    assert_eq!(read(&edited(10, &[0x42, 0x00])), PayloadError::Levels { chunk: 0 });
    assert_eq!(read(&edited(12, &[0xbf, 0x80])), PayloadError::Levels { chunk: 0 });
    assert_eq!(read(&edited(12, &[0x7f, 0x80])), PayloadError::Levels { chunk: 0 });
    // A map with one bit too many.
    let mut map = compress(&noise(1, 4096), 2048).unwrap().to_bytes();
    let hole = map[14..526].iter().position(|byte| *byte != 0xff).unwrap();
    map[14 + hole] = 0xff;
    let error = Payload::from_bytes(&map, 4096, 2048);
    assert_eq!(error, Err(PayloadError::Positions { chunk: 0 }));
    // Two kept values use half of the byte of codes.
    let mut padded = compress(&noise(1, 3), 2).unwrap().to_bytes();
    *padded.last_mut().unwrap() |= 1;
    assert_eq!(Payload::from_bytes(&padded, 3, 2), Err(PayloadError::Padding { chunk: 0 }));
}

#[test]
fn what_cannot_be_compressed_is_named() {
    assert_eq!(compress(&[1.0], 3), Err(CompressError::K(3)));
    assert_eq!(compress(&[1.0], 0), Err(CompressError::K(0)));
    assert_eq!(compress(&[], 2), Err(CompressError::Parameters(0)));
    assert_eq!(compress(&[0.0, f32::NAN], 2), Err(CompressError::Value { index: 1 }));
    assert_eq!(compress(&[64.0], 2), Err(CompressError::Value { index: 0 }));
}

#[test]
fn comparison_knows_same_opposite_and_scaled() {
    let limits = Params::mainnet().training;
    let values = noise(5, 9000);
    let base = compress(&values, 64).unwrap();
    let same = compare(&base, &base).unwrap();
    assert!(same.accepts(&limits));
    assert_eq!((same.overlap, same.norm), (1_000_000, 1_000_000));
    assert!(same.cosine >= 999_990);
    let scale = |f: f32| compress(&values.iter().map(|v| v * f).collect::<Vec<_>>(), 64).unwrap();
    let opposite = compare(&scale(-1.0), &base).unwrap();
    assert!(opposite.cosine == 0 && !opposite.accepts(&limits));
    let double = compare(&scale(2.0), &base).unwrap();
    assert_eq!((double.overlap, double.norm), (1_000_000, 2_000_000));
    assert!(!double.accepts(&limits));
    let zero = compress(&vec![0.0; 9000], 64).unwrap();
    assert!(!compare(&zero, &base).unwrap().accepts(&limits));
    assert!(!compare(&base, &zero).unwrap().accepts(&limits));
    assert!(compare(&base, &compress(&values, 66).unwrap()).is_err());
}

#[test]
fn the_outer_step_is_the_mean_and_clips_the_loud() {
    let checkpoint = checkpoint();
    let length = checkpoint.values().len();
    let values = noise(3, length);
    let payload = compress(&values, 4096).unwrap();
    let moved = |payloads: &[Payload]| -> f64 {
        let next = outer::step(&checkpoint, payloads, 1_000_000).unwrap();
        let pairs = checkpoint.values().iter().zip(next.values());
        pairs.map(|(a, b)| f64::from(a - b).powi(2)).sum::<f64>().sqrt()
    };
    let one = moved(std::slice::from_ref(&payload));
    let norm = values.iter().map(|v| f64::from(*v).powi(2)).sum::<f64>().sqrt();
    assert!((one / norm - 1.0).abs() < 0.1, "{one} {norm}");
    assert!((moved(&[payload.clone(), payload.clone()]) / one - 1.0).abs() < 1e-3);
    let loud: Vec<f32> = values.iter().map(|v| v * 100.0).collect();
    let loud = compress(&loud, 4096).unwrap();
    let clipped = moved(&[payload.clone(), payload, loud]);
    assert!((clipped / one - 1.0).abs() < 1e-2, "{clipped} {one}");
}

#[test]
fn the_outer_step_refuses_what_does_not_fit() {
    let checkpoint = checkpoint();
    assert_eq!(outer::step(&checkpoint, &[], 1), Err(OuterError::Count(0)));
    let payload = compress(&[1.0, 2.0], 2).unwrap();
    assert!(matches!(
        outer::step(&checkpoint, std::slice::from_ref(&payload), 1),
        Err(OuterError::Parameters { index: 0, found: 2, .. })
    ));
    assert_eq!(outer::step(&checkpoint, &[payload], 0), Err(OuterError::Alpha(0)));
}
