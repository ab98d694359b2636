//! StorageVerifier against the `blake3` crate.

use protocol::slice::{Slice, chunks, prove};

use super::chain::Chain;
use super::check_gas;
use super::world::{World, abi::verifier::StorageVerifier::verifyCall};

/// Bytes from a fixed multiplicative sequence.
pub(crate) fn noise(length: usize, seed: u64) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()
    };
    std::iter::repeat_with(&mut next).flatten().take(length).collect()
}

fn call(blob: &[u8], length: u64, slice: &Slice) -> verifyCall {
    verifyCall {
        root: (*blake3::hash(blob).as_bytes()).into(),
        length,
        chunkIndex: slice.index,
        chunk: slice.chunk.clone().into(),
        siblings: slice.siblings.iter().map(|s| s.0.into()).collect(),
    }
}

pub(crate) fn scenario(chain: &mut dyn Chain) {
    let mut world = World::deploy(chain);
    let verifier = world.verifier;
    for (seed, length) in [0, 1, 63, 64, 65, 1023, 1024, 1025, 2048, 3000, 5121, 16_384, 99_999]
        .into_iter()
        .enumerate()
    {
        let blob = noise(length, seed as u64);
        let count = chunks(length as u64);
        for index in [0, count / 3, count - 1] {
            let slice = prove(&blob, index).unwrap();
            let good = call(&blob, length as u64, &slice);
            assert!(world.read(verifier, &good), "chunk {index} of {length} bytes");
            for bad in spoiled(&good) {
                assert!(!world.read(verifier, &bad), "spoiled {index} of {length} bytes");
            }
        }
    }
    let blob = noise(64 << 20, 7);
    let slice = prove(&blob, 12_345).unwrap();
    let call = call(&blob, 64 << 20, &slice);
    assert!(world.read(verifier, &call));
    let gas = world.send(4, verifier, &call);
    check_gas(&[("verify_slice_64mib", gas)], &[("verify_slice_64mib", 330_000)]);
}

/// The same call with each of its parts spoiled.
fn spoiled(good: &verifyCall) -> Vec<verifyCall> {
    let mut all = Vec::new();
    let mut root = good.clone();
    root.root.0[31] ^= 1;
    all.push(root);
    if !good.chunk.is_empty() {
        let mut bytes = good.chunk.to_vec();
        *bytes.last_mut().unwrap() ^= 0x80;
        all.push(verifyCall { chunk: bytes.into(), ..good.clone() });
        all.push(verifyCall { chunk: good.chunk.slice(1..), ..good.clone() });
    }
    if let Some((_, rest)) = good.siblings.split_last() {
        all.push(verifyCall { siblings: rest.to_vec(), ..good.clone() });
        let mut siblings = good.siblings.clone();
        siblings[0].0[0] ^= 1;
        all.push(verifyCall { siblings, ..good.clone() });
    }
    let mut siblings = good.siblings.clone();
    siblings.push(good.root);
    all.push(verifyCall { siblings, ..good.clone() });
    all.push(verifyCall { chunkIndex: good.length / 1024 + 1, ..good.clone() });
    all
}
