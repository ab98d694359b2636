use simnet::{
    Scenario, ScenarioError, SetupError, Simulation, adversary,
    scenario::AdversaryPlan,
    units::{Size, Span},
};

use crate::with;

fn refusal(scenario: Scenario) -> ScenarioError {
    match Simulation::new(scenario) {
        Err(SetupError::Scenario(error)) => error,
        Err(error) => panic!("another error: {error}"),
        Ok(_) => panic!("an impossible scenario was accepted"),
    }
}

fn refused(change: impl FnOnce(&mut Scenario)) -> ScenarioError {
    refusal(with(Scenario::default(), change))
}

#[test]
fn impossible_scenarios_are_refused_with_what_is_wrong() {
    assert_eq!(refused(|s| s.population.nodes = 0), ScenarioError::Zero("population.nodes"));
    assert_eq!(refused(|s| s.epochs = 0), ScenarioError::Zero("epochs"));
    assert_eq!(
        refused(|s| s.adversaries[0].share = 1.5),
        ScenarioError::NotAShare { name: "adversary.share", value: 1.5 }
    );
    assert!(matches!(
        refused(|s| s.net.loss = f64::NAN),
        ScenarioError::NotAShare { name: "net.loss", .. }
    ));
    assert_eq!(refused(|s| s.net.loss = 1.0), ScenarioError::TotalLoss);
    assert_eq!(
        refused(|s| {
            s.adversaries[0].share = 0.5;
            s.population.offline = 0.5;
        }),
        ScenarioError::NobodyHonest(1.0)
    );
    assert_eq!(
        refused(|s| s.population.nodes = 2),
        ScenarioError::TooFewNodes { nodes: 2, replicas: 3 }
    );
    assert_eq!(
        refused(|s| s.workload.pack_max = Size::kib(65)),
        ScenarioError::TooLarge { name: "workload.pack_max", value: 65 << 10, limit: 64 << 10 }
    );
    assert_eq!(
        refused(|s| {
            s.workload.pack_min = Size::kib(40);
            s.workload.pack_max = Size::kib(30);
        }),
        ScenarioError::PackSizes { min: 40 << 10, max: 30 << 10 }
    );
    assert_eq!(
        refused(|s| s.workload.packs = 9),
        ScenarioError::TooManyContributors { contributors: 10, packs: 9 }
    );
    assert_eq!(
        refused(|s| s.chain.epoch_blocks = 20),
        ScenarioError::EpochTooShort { epoch_blocks: 20, needed: 28 }
    );
}

#[test]
fn what_needs_a_part_that_does_not_exist_is_refused_by_its_name() {
    let error = refused(|s| {
        s.adversaries = vec![AdversaryPlan::new(adversary::LAZY_JURY, 0.1)];
    });
    assert_eq!(error.to_string(), "not simulated yet: juries, which lazy-jury needs");
}

#[test]
#[cfg(not(feature = "real-compute"))]
fn a_program_without_the_real_model_says_how_to_build_it() {
    let error = refused(|s| {
        s.training.rounds = 1;
        s.training.real_compute = true;
    });
    assert_eq!(error, ScenarioError::WithoutRealCompute);
    assert!(error.to_string().contains("--features openledger-simnet/real-compute"), "{error}");
}

#[test]
fn what_copies_gain_is_known_as_far_as_it_was_measured() {
    let error = refused(|s| {
        s.training.rounds = 1;
        let plan = AdversaryPlan::new(adversary::DATA_COPYING, 0.1);
        s.adversaries = vec![AdversaryPlan { changed: 0.5, ..plan }];
    });
    let told = "adversary.changed is 0.5; what follows from it was measured up to 0.3";
    assert_eq!(error.to_string(), told);
}

#[test]
fn what_is_about_models_needs_one() {
    let error = refused(|s| s.inference.per_hour = 10.0);
    assert_eq!(
        error.to_string(),
        "inference.per_hour needs a model, and none is trained; set training.rounds"
    );
    let kind = adversary::FORGED_SHARD;
    let error = refused(|s| s.adversaries = vec![AdversaryPlan::new(kind, 0.1)]);
    assert_eq!(error, ScenarioError::NoModel { name: "forged-shard" });
    let error = refused(|s| {
        s.training.rounds = 1;
        s.inference.models = vec![0, 1];
    });
    assert_eq!(error, ScenarioError::UnknownModel { number: 1, models: 1 });
}

#[test]
fn disputes_that_honest_nodes_cannot_answer_in_time_are_refused_with_how_long_it_takes() {
    let griefing = vec![AdversaryPlan::new(adversary::DISPUTE_GRIEFING, 0.2)];
    let mut scenario = Scenario { adversaries: griefing, ..Scenario::default() };
    assert_eq!(scenario.check(), Ok(()));
    scenario.net.latency = Span::millis(4_500);
    let refused = scenario.check().unwrap_err();
    assert!(
        refused.to_string().contains("8 are too few for links of 6750ms one way, 15 are enough")
    );
    assert_eq!(scenario.hurry(), Some(refused));
    scenario.chain.settle_blocks = 15;
    assert_eq!((scenario.check(), scenario.hurry()), (Ok(()), None));
    // Where nobody disputes what honest nodes hold it is a warning.
    scenario.chain.settle_blocks = 8;
    scenario.adversaries.clear();
    assert_eq!(scenario.check(), Ok(()));
}
