//! The same shard on wgpu, where a Vulkan, Metal or DirectX 12 device is found.

use std::time::Instant;

use compute::device::{DeviceChoice, Engine, EngineError, GpuKind, list_gpus};
use compute::serve::{Generator, Sampling};
use compute::train::update::compare;
use compute::train::{ProvenEngine, open_engine, shard};

use protocol::params::Params;

use crate::fixture;

#[test]
fn the_cpu_is_chosen_by_name_and_an_unknown_name_is_an_error() {
    let cpu = open_engine(&DeviceChoice::Named("cpu".into())).unwrap().engine;
    assert_eq!((cpu.gpu(), cpu.name().as_str()), (None, "cpu"));
    assert_eq!(open_engine(&DeviceChoice::Cpu).unwrap().engine.gpu(), None);
    let unknown = open_engine(&DeviceChoice::Named("no such card".into()));
    assert!(matches!(unknown, Err(EngineError::NotFound { .. })));
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

    let greedy = Sampling { tokens: 4, temperature_ppm: 0, top: 0, seed: 0 };
    let answer = |engine: &Engine| {
        Generator::new(engine, &fixture::checkpoint()).unwrap().generate(&[1, 2, 3], &greedy)
    };
    assert_eq!(answer(&engine).unwrap(), answer(&Engine::cpu()).unwrap());
    println!("the whole suite took {:.1} s", start.elapsed().as_secs_f32());
}
