//! The attack table at a small size: the same code, models that are trained in a second.

use std::path::Path;

use compute::model::ModelConfig;

#[allow(dead_code, reason = "the table tries more than the tests")]
#[path = "../../examples/attacks/lab.rs"]
mod lab;
#[allow(dead_code, reason = "the table tries more than the tests")]
#[path = "../../examples/attacks/rules.rs"]
mod rules;
#[allow(dead_code, reason = "the table tries more than the tests")]
#[path = "../../examples/attacks/schemes.rs"]
mod schemes;

use lab::{Lab, Settings};
use schemes::{Attack, Attempt};

/// Shares are rounded to a millionth at most once for each unit of the snapshot.
const ROUNDING: f64 = 1e-3;

fn lab() -> Lab {
    let settings = Settings {
        per_folder: 1,
        units: 8,
        outputs: 2,
        steps: 24,
        batch: 4,
        model: ModelConfig { vocab: 400, ..ModelConfig::tiny() },
        max_count: 12,
    };
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../daemon/data/demo");
    Lab::new(&folder, settings).unwrap()
}

fn attempt(lab: &Lab) -> Attempt<'_> {
    let (honest, outputs) = (lab.honest(), lab.outputs(1).unwrap());
    Attempt { lab, honest, outputs, attacker: 0, seed: 1 }
}

#[test]
fn copies_and_names_earn_exactly_nothing() {
    let lab = lab();
    let attempt = attempt(&lab);
    let with = |attack| attempt.run(attack).unwrap().with;
    // No retraining stands between these and one: what is trained on is the same.
    for attack in [Attack::Copies(3), Attack::Near(20), Attack::LateCopy] {
        assert_eq!(with(attack), 1.0, "{attack:?}");
    }
    for attack in [Attack::Split(2), Attack::Split(5), Attack::Merge, Attack::Hide] {
        assert!((with(attack) - 1.0).abs() < ROUNDING, "{attack:?}: {}", with(attack));
    }
}

#[test]
fn without_the_rule_second_names_pay() {
    let lab = lab();
    let attempt = attempt(&lab);
    // The positive parts of many names are more than that of one: by how much depends on the model.
    let outcome = attempt.run(Attack::Split(5)).unwrap();
    assert!(outcome.without > 1.05, "{outcome:?}");
}

#[test]
fn a_fee_never_comes_back_whole() {
    let lab = lab();
    let outcome = attempt(&lab).run(Attack::SelfDeal).unwrap();
    assert!(outcome.with <= 0.9, "{outcome:?}");
    assert!(outcome.with < outcome.without, "{outcome:?}");
}

#[test]
fn what_repeats_the_prompt_is_paid_once() {
    let lab = lab();
    let outcome = attempt(&lab).run(Attack::Echo).unwrap();
    assert!((outcome.with - 1.0).abs() < ROUNDING, "{outcome:?}");
    assert!(outcome.without > 1.02, "{outcome:?}");
}
