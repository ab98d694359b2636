//! The decoder: causality, the cache, and gradients at the probes.

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

#[test]
fn probes_hold_each_sample_s_own_gradient() {
    let model = decoder();
    let (a, b) = ([3u32, 4, 5, 6, 7], [8u32, 9, 10, 11, 12]);
    let capture = |rows: &[&[u32]]| -> Vec<Vec<f32>> {
        let twin = model.probing();
        let inputs: Vec<&[u32]> = rows.iter().map(|r| &r[..4]).collect();
        let (logits, probes) = twin.forward_probed(model.tokens(&inputs));
        assert_eq!(probes.len(), layout::linears(model.config()).len());
        let grads = logits.square().sum().backward();
        let read = |p: &compute::model::Probe| p.leaf.grad(&grads).unwrap();
        probes.iter().map(|p| read(p).try_into_vec_as().unwrap()).collect()
    };
    let (both, one, two) = (capture(&[&a, &b]), capture(&[&a]), capture(&[&b]));
    for ((both, one), two) in both.iter().zip(&one).zip(&two) {
        close(&both[..one.len()], one, 1e-4);
        close(&both[one.len()..], two, 1e-4);
        assert!(one.iter().any(|g| *g != 0.0));
    }
}

#[test]
fn a_linear_s_weight_gradient_is_the_product_of_probe_and_input() {
    let model = decoder();
    let twin = model.tracked();
    let (logits, probes) = twin.forward_probed(model.tokens(&[&[3u32, 4, 5, 6]]));
    let grads = logits.square().sum().backward();
    // Parameter 2 is the first layer's q_proj, its first linear.
    let expected: Vec<f32> = twin.params()[2].grad(&grads).unwrap().try_into_vec_as().unwrap();
    let outer =
        probes[0].leaf.grad(&grads).unwrap().swap_dims(1, 2).matmul(probes[0].input.clone());
    close(&outer.try_into_vec_as::<f32>().unwrap(), &expected, 1e-3);
}
