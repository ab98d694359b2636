//! What a GPU computes, held against the CPU: shards within tolerance, scores to the bit. Skipped,
//! saying so, where no Vulkan, Metal or DirectX 12 device is found.

use std::time::Instant;

use compute::attribute::{Aggregate, GpuKernel, KernelError, Query, Rows, ScoreError, SketchSet};
use compute::device::{DeviceChoice, Engine, GpuInfo, GpuKind, list_gpus};
use compute::serve::{Generator, Sampling};
use compute::train::update::compare;
use compute::train::{ProvenEngine, open_engine, shard};
use protocol::params::Params;

use crate::fixture;

fn contributors(set: &SketchSet) -> Vec<Aggregate> {
    let count = set.sketches().len() as u32;
    (0..count)
        .map(|i| set.aggregate(&(i % 3..count).step_by(i as usize + 1).collect::<Vec<_>>()))
        .collect()
}

#[test]
fn a_gpu_gives_the_very_integers_of_the_cpu() {
    let Some(gpu) = list_gpus().into_iter().next() else {
        println!("skipped: no Vulkan, Metal or DirectX 12 device was found");
        return;
    };
    println!("scoring on {gpu}");
    let kernel = GpuKernel::open(&gpu).unwrap();
    for (side, count) in [(1, 1), (3, 65), (16, 100), (20, 7), (64, 3)] {
        let set = fixture::sketch_set(side.into(), count, side);
        let sums = contributors(&set);
        let rows = Rows::contributors(&set, &sums).unwrap();
        let mut units = kernel.load(&Rows::units(&set)).unwrap();
        let mut loaded = kernel.load(&rows).unwrap();
        for seed in 0..3 {
            let query = fixture::query(seed, set.spec());
            let there = set.scores_of(&query, &units.products(&query).unwrap()).unwrap();
            assert_eq!(there, set.scores(&query).unwrap(), "side {side}");
            let products = loaded.products(&query).unwrap();
            let there = set.contributor_scores_of(&sums, &query, &products).unwrap();
            assert_eq!(there, set.score_contributors(&sums, &query).unwrap(), "side {side}");
        }
        let short = Query { values: vec![0; 3], ..fixture::query(1, set.spec()) };
        if side != 1 {
            let refused = KernelError::Score(ScoreError::Shape);
            assert_eq!(units.products(&short), Err(refused));
        }
    }
}

#[test]
fn a_gpu_that_is_gone_is_an_error() {
    let name = "no such card".to_owned();
    let gone = GpuInfo { name, backend: "vulkan".to_owned(), kind: GpuKind::Other, index: 9 };
    assert_eq!(GpuKernel::open(&gone).unwrap_err(), KernelError::NotFound(gone));
}

#[test]
fn software_devices_are_used_only_when_named() {
    if list_gpus().iter().all(|gpu| gpu.kind == GpuKind::Cpu) {
        assert_eq!(open_engine(&DeviceChoice::Auto).unwrap().engine.gpu(), None);
    }
}

#[test]
fn a_gpu_gives_the_cpu_s_work_within_tolerance() {
    let Some(gpu) = list_gpus().into_iter().next() else {
        println!("skipped: no Vulkan, Metal or DirectX 12 device was found");
        return;
    };
    let start = Instant::now();
    let ProvenEngine { engine, refused } =
        open_engine(&DeviceChoice::Named(gpu.name.clone())).unwrap();
    println!("{gpu}: self-test took {:.1} s", start.elapsed().as_secs_f32());
    assert_eq!(refused, None);
    assert_eq!(engine.gpu(), Some(&gpu));

    let mut input = fixture::input();
    let limits = Params::mainnet().training;
    input.hyper.steps = 8;
    input.hyper.batch = 2;
    input.hyper.context = 16;
    let there = shard::run(&engine, &input).unwrap();
    let here = shard::run(&Engine::cpu(), &input).unwrap();
    let report = compare(&there.payload, &here.payload).unwrap();
    println!("{report:?} after {:.1} s", start.elapsed().as_secs_f32());
    assert!(report.accepts(&limits), "{report:?}");
    assert!(there.loss_first.abs_diff(here.loss_first) < 1_000);

    input.units = fixture::units(2, 8);
    let cheat = shard::run(&engine, &input).unwrap();
    assert!(!compare(&cheat.payload, &here.payload).unwrap().accepts(&limits));

    let greedy =
        Sampling { tokens: 4, temperature_ppm: 0, top: 0, top_p_ppm: Sampling::ALL, seed: 0 };
    let answer = |engine: &Engine| {
        Generator::new(engine, &fixture::checkpoint()).unwrap().generate(&[1, 2, 3], &greedy)
    };
    assert_eq!(answer(&engine).unwrap(), answer(&Engine::cpu()).unwrap());
    println!("the whole suite took {:.1} s", start.elapsed().as_secs_f32());
}
