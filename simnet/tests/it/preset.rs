//! Population presets: what they give, and what a file says itself.

use simnet::{
    Scenario, SetupError, Simulation,
    data::set,
    scenario::{ChurnModel, Preset, UnderlayKind},
    scenario_file::{ScenarioFile, setting},
    units::Span,
};

use crate::{run, with};

fn parse(text: &str) -> ScenarioFile {
    ScenarioFile::parse("a.toml", text).unwrap()
}

const HOME: &str = "[population]\npreset = \"home-2025\"\n";

#[test]
fn a_preset_gives_what_its_sets_say_and_the_file_wins() {
    let text = format!("{HOME}nodes = 50\n[net]\nnat = 0.25\n[churn]\nshare = 0.5\n");
    let scenario = parse(&text).scenario;
    let figure = |name, value| set(name).unwrap().values[value];
    assert_eq!(scenario.net.underlay, UnderlayKind::Matrix);
    assert_eq!(scenario.net.down_mbit, figure("access-ookla-2025", "down"));
    assert_eq!(scenario.net.punched, figure("nat-dcutr-2025", "punched"));
    assert_eq!(scenario.churn.model, ChurnModel::Weibull);
    assert_eq!(scenario.churn.session, Span::seconds(13_176));
    assert_eq!((scenario.net.nat, scenario.churn.share), (0.25, 0.5), "the file's own");
    assert_eq!(scenario.population.nodes, 50);
    let changed = parse(HOME).with(&[setting("net.nat=0.1").unwrap()]).unwrap();
    assert_eq!(changed.scenario.net.nat, 0.1, "and what --set says");
    let set = ScenarioFile::parse("a.toml", "").unwrap();
    let set = set.with(&[setting("population.preset=home-2025").unwrap()]).unwrap();
    assert_eq!(set.scenario, parse(HOME).scenario);
    // What was resolved is the scenario of results: it is the same without knowing the preset.
    assert_eq!(ScenarioFile::of(&scenario).unwrap().scenario, scenario);
    let again = ScenarioFile::parse("b.toml", &ScenarioFile::of(&scenario).unwrap().text());
    assert_eq!(again.unwrap().scenario, scenario);
}

#[test]
fn every_value_of_a_preset_is_a_key_with_a_set_that_has_a_source() {
    for preset in Preset::ALL {
        for given in preset.values() {
            set(given.set).unwrap_or_else(|_| panic!("{given:?}"));
            parse("").with(&[(given.key.to_owned(), given.value)]).unwrap();
        }
    }
}

#[test]
fn an_unknown_preset_is_refused_with_the_nearest_right_one() {
    let error =
        |text: &str| ScenarioFile::parse("a.toml", text).err().map(|error| error.to_string());
    let wrong = error("[population]\npreset = \"home2025\"\n").unwrap();
    assert!(wrong.starts_with("a.toml:2: unknown variant `home2025`"), "{wrong}");
    assert!(wrong.ends_with("did you mean `home-2025`?"), "{wrong}");
    let wrong = error("[[adversary]]\nkind = \"lasy-storage\"\nshare = 0.1\n").unwrap();
    assert!(wrong.ends_with("did you mean `lazy-storage`?"), "{wrong}");
}

#[test]
fn who_is_there_follows_the_evenings_of_the_regions() {
    let text = "epochs = 22\n[population]\npreset = \"home-2025\"\nnodes = 60\n\
                regions = { eu = 1.0 }\n[churn]\nshare = 1.0\nevening = 1.0\n\
                [workload]\npacks = 4\ncontributors = 1\n[chain]\nblock = \"1m\"\n";
    let report = run(parse(text).scenario);
    let online = report.series.iter().find(|series| series.name == "nodes_online").unwrap();
    let at = |from: f64, until: f64| -> Vec<f64> {
        let hour = |time: u64| time as f64 / 3.6e9;
        let points = online.points.iter();
        let here = points.filter(|(time, _)| (from..until).contains(&hour(time.0)));
        here.map(|(_, count)| *count).collect()
    };
    // Europe is an hour ahead of UTC: evenings are from 16:00 or 18:00 UTC to 21:00 or 23:00.
    let (noon, evening) = (at(4.0, 15.9), at(18.1, 20.9));
    assert!(!noon.is_empty() && noon.iter().all(|count| *count == 0.0), "{noon:?}");
    assert!(!evening.is_empty() && evening.iter().all(|count| *count == 60.0), "{evening:?}");
}

#[test]
fn regions_and_evenings_that_cannot_be_are_refused() {
    let refused = |change: fn(&mut Scenario)| {
        Simulation::new(with(Scenario::default(), change)).err().unwrap()
    };
    let error = refused(|s| {
        s.net.underlay = UnderlayKind::Matrix;
        s.population.regions.insert("moon".to_owned(), 1.0);
    });
    assert!(matches!(error, SetupError::Data(_)));
    assert!(error.to_string().starts_with("population.regions has moon, and the data set"));
    let error = refused(|s| s.churn.evening_until = s.churn.evening_from);
    assert!(matches!(error, SetupError::Scenario(_)), "{error}");
}
