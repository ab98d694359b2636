use simnet::{Scenario, ScenarioError, SetupError, Simulation};

fn refusal(scenario: Scenario) -> ScenarioError {
    match Simulation::new(scenario) {
        Err(SetupError::Scenario(error)) => error,
        Err(error) => panic!("another error: {error}"),
        Ok(_) => panic!("an impossible scenario was accepted"),
    }
}

#[test]
fn impossible_scenarios_are_refused_with_what_is_wrong() {
    let base = Scenario::default;
    assert_eq!(refusal(Scenario { nodes: 0, ..base() }), ScenarioError::Zero("nodes"));
    assert_eq!(refusal(Scenario { epochs: 0, ..base() }), ScenarioError::Zero("epochs"));
    assert_eq!(
        refusal(Scenario { lazy: 1.5, ..base() }),
        ScenarioError::NotAShare { name: "lazy", value: 1.5 }
    );
    assert!(matches!(
        refusal(Scenario { loss: f64::NAN, ..base() }),
        ScenarioError::NotAShare { name: "loss", .. }
    ));
    assert_eq!(refusal(Scenario { loss: 1.0, ..base() }), ScenarioError::TotalLoss);
    assert_eq!(
        refusal(Scenario { lazy: 0.5, offline: 0.5, ..base() }),
        ScenarioError::NobodyHonest(1.0)
    );
    assert_eq!(
        refusal(Scenario { nodes: 2, packs: 10, ..base() }),
        ScenarioError::TooFewNodes { nodes: 2, replicas: 3 }
    );
    assert_eq!(
        refusal(Scenario { pack_max_kib: 65, ..base() }),
        ScenarioError::TooLarge { name: "pack-max-kib", value: 65, limit: 64 }
    );
    assert_eq!(
        refusal(Scenario { pack_min_kib: 40, pack_max_kib: 30, ..base() }),
        ScenarioError::PackSizes { min: 40, max: 30 }
    );
    assert_eq!(
        refusal(Scenario { contributors: 11, packs: 10, ..base() }),
        ScenarioError::TooManyContributors { contributors: 11, packs: 10 }
    );
    assert_eq!(
        refusal(Scenario { epoch_blocks: 20, ..base() }),
        ScenarioError::EpochTooShort { epoch_blocks: 20, needed: 28 }
    );
}
