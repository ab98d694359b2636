//! Which device is opened for which choice.

use compute::device::{DeviceChoice, EngineError, HAS_GPU_SUPPORT};
use compute::train::open_engine;

#[test]
fn the_cpu_is_chosen_by_name() {
    let cpu = open_engine(&DeviceChoice::Named("cpu".into())).unwrap().engine;
    assert_eq!((cpu.gpu(), cpu.name().as_str()), (None, "cpu"));
    assert_eq!(open_engine(&DeviceChoice::Cpu).unwrap().engine.gpu(), None);
}

#[test]
fn an_unknown_name_is_an_error_that_says_what_this_build_can_open() {
    let name = "no such card".to_owned();
    let error = open_engine(&DeviceChoice::Named(name.clone())).err().unwrap();
    if HAS_GPU_SUPPORT {
        assert!(matches!(&error, EngineError::NotFound { .. }), "{error}");
    } else {
        assert_eq!(error, EngineError::BuiltWithoutGpus { name });
        assert!(error.to_string().contains("--features gpu"), "{error}");
    }
}
