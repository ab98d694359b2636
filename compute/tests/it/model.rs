//! The decoder: causality and the cache.

use burn::tensor::Device;
use compute::model::{Cache, Decoder, ModelConfig, layout};

fn values(config: &ModelConfig) -> Vec<f32> {
    let mut state = 1u32;
    let mut next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 8) as f32 / (1 << 24) as f32 - 0.5
    };
    layout::tensors(config)
        .iter()
        .flat_map(|spec| vec![(spec.rows == 1, spec.len())])
        .flat_map(|(norm, len)| (0..len).map(|_| if norm { 1.0 } else { 0.2 }).collect::<Vec<_>>())
        .map(|scale: f32| if scale == 1.0 { 1.0 } else { scale * next() })
        .collect()
}

fn decoder() -> Decoder {
    let config = ModelConfig::tiny();
    Decoder::new(&config, &values(&config), &Device::flex())
}

fn close(a: &[f32], b: &[f32], tolerance: f32) {
    assert_eq!(a.len(), b.len());
    for (x, y) in a.iter().zip(b) {
        assert!((x - y).abs() <= tolerance, "{x} is not {y}");
    }
}

#[test]
fn a_later_token_changes_no_earlier_logit() {
    let model = decoder();
    let run = |ids: &[u32]| -> Vec<f32> {
        model.forward(model.tokens(&[ids])).try_into_vec_as().unwrap()
    };
    let (a, b) = (run(&[5, 6, 7, 8]), run(&[5, 6, 7, 300]));
    close(&a[..3 * 512], &b[..3 * 512], 0.0);
    assert_ne!(a[3 * 512..], b[3 * 512..]);
}

#[test]
fn the_cache_gives_the_logits_of_the_whole_pass() {
    let model = decoder();
    let ids = [1u32, 9, 77, 400, 3, 12];
    let whole: Vec<f32> = model.forward(model.tokens(&[&ids])).try_into_vec_as().unwrap();
    let mut cache = Cache::default();
    let mut parts: Vec<f32> = Vec::new();
    for part in [&ids[..3], &ids[3..4], &ids[4..]] {
        let logits = model.forward_cached(model.tokens(&[part]), &mut cache);
        parts.extend(logits.try_into_vec_as::<f32>().unwrap());
    }
    assert_eq!(cache.len(), 6);
    close(&whole, &parts, 1e-5);
}
