//! Scenario files: what is read, and what is said when they are wrong.

use simnet::{
    Scenario,
    report::KPIS,
    scenario_file::{ScenarioFile, keys, published, setting, template},
    sweep::plan,
    units::Span,
};

use crate::{run, sized};

fn error(text: &str) -> String {
    ScenarioFile::parse("a.toml", text).unwrap_err().to_string()
}

#[test]
fn a_file_names_only_what_differs() {
    let file = ScenarioFile::parse("a.toml", "[net]\nlatency = \"1.5s\"\n").unwrap();
    assert_eq!(file.scenario.net.latency, Span::millis(1_500));
    assert_eq!(file.scenario.population.nodes, Scenario::default().population.nodes);
    assert!(file.scenario.adversaries.is_empty(), "a file that names no adversary has none");
    assert!(file.scenario.population.offline.abs() < 1e-9);
    assert!(file.checks.is_empty() && file.sweep.is_empty());
}

#[test]
fn unknown_keys_are_told_with_their_line_and_the_nearest_right_one() {
    let text =
        "seed = 1\n\n[net]\nlos = 0.1\n\n[[adversary]]\nkind = \"lazy-storage\"\nshar = 0.1\n";
    assert_eq!(
        error(text),
        "a.toml:8: there is no `adversary.0.shar`; did you mean `adversary.N.share`?\n\
         a.toml:4: there is no `net.los`; did you mean `net.loss`?"
    );
    assert!(
        error("nodes = 5\n")
            .contains("a.toml:1: there is no `nodes`; did you mean `population.nodes`?")
    );
    assert!(error("qwertz = 5\n").contains("`simnet explain` lists all keys"));
}

#[test]
fn wrong_values_are_told_with_their_line() {
    assert!(error("[net]\n\nlatency = 80\n").starts_with("a.toml:3: invalid type: integer `80`"));
    assert!(error("[net]\nlatency = \"80\"\n").contains("a.toml:2: `80` has no unit"));
    assert!(
        error("[[adversary]]\nkind = \"lazy\"\nshare = 0.1\n")
            .contains("a.toml:2: unknown variant `lazy`")
    );
    assert!(error("seed = -1\n").starts_with("a.toml:1: invalid value"));
    assert!(error("seed = 1\nseed = 2\n").starts_with("a.toml:2: duplicate key"));
    assert!(error("seed = \n").starts_with("a.toml:1: "));
    assert!(error("schema = 2\n").contains("schema 2 is not known; this version reads 1"));
    assert!(error("[out]\nformats = [\"xls\"]\n").contains("unknown variant `xls`"));
}

#[test]
fn checks_name_figures_that_exist() {
    assert!(
        error("[check]\ndurabilty = \">= 1\"\n")
            .contains("a.toml:2: there is no key figure `durabilty`; did you mean `durability`?")
    );
    assert!(error("[check]\ndurability = 1\n").contains("needs a condition in quotes"));
    assert!(error("[check]\ndurability = \"about 1\"\n").contains("does not begin with"));
}

#[test]
fn settings_change_what_the_file_says() {
    let text = "[[adversary]]\nkind = \"lazy-storage\"\nshare = 0.1\n";
    let file = ScenarioFile::parse("a.toml", text).unwrap();
    let settings = ["adversary.0.share=0.3", "net.latency=2s", "population.nodes = 40"];
    let settings: Vec<_> = settings.into_iter().map(|text| setting(text).unwrap()).collect();
    let changed = file.with(&settings).unwrap();
    assert!((changed.scenario.adversaries[0].share - 0.3).abs() < 1e-9);
    assert_eq!(changed.scenario.net.latency, Span::seconds(2));
    assert_eq!(changed.scenario.population.nodes, 40);
    let again = ScenarioFile::parse("a.toml", &changed.text()).unwrap();
    assert_eq!(again.scenario, changed.scenario, "the text of a file reads back");

    let wrong = |text: &str| file.with(&[setting(text).unwrap()]).unwrap_err().to_string();
    assert_eq!(wrong("net.losss=0.1"), "--set: there is no `net.losss`; did you mean `net.loss`?");
    assert!(wrong("net.loss=much").contains("invalid type: string \"much\""));
    assert!(wrong("adversary.1.share=0.1").contains("no such [[adversary]]"));
    assert!(setting("net.loss").is_err() && setting("=3").is_err());
}

#[test]
fn a_sweep_is_every_combination_with_every_seed() {
    let text =
        "seed = 5\n[sweep]\nseeds = 2\nnet.loss = [0.0, 0.1]\n\"holding.replicas\" = [2, 3, 4]\n";
    let file = ScenarioFile::parse("a.toml", text).unwrap();
    let points = file.sweep.points();
    assert_eq!(points.len(), 12);
    let distinct: std::collections::BTreeSet<_> =
        points.iter().map(|point| format!("{point:?}")).collect();
    assert_eq!(distinct.len(), 12);
    assert_eq!((points[0].seed, points[1].seed), (5, 6));

    assert!(error("[sweep]\nnet.los = [1]\n").contains("did you mean `net.loss`?"));
    assert!(error("[sweep]\nnet.loss = []\n").contains("has no values"));
    assert!(error("[sweep]\nnet.loss = [0.1, \"much\"]\n").contains("invalid type"));
    assert!(error("[sweep]\nseeds = \"all\"\n").contains("a number of them or a list"));
    assert!(error("[sweep]\nseeds = 0\n").contains("0 runs"));
}

#[test]
fn the_published_schema_is_that_of_the_code() {
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/simnet.schema.json");
    let on_disk = std::fs::read_to_string(file).unwrap_or_default();
    assert!(
        on_disk == published(),
        "write it again: simnet explain --schema > simnet/simnet.schema.json"
    );
}

#[test]
fn every_key_says_what_it_is() {
    for key in keys() {
        assert!(!key.about.is_empty() && !key.takes.is_empty(), "{key:?}");
    }
}

#[test]
fn the_template_is_a_file_that_reads_back_with_every_key_explained() {
    let text = template("mine");
    let file = ScenarioFile::parse("new.toml", &text).unwrap();
    assert_eq!(file.scenario.name, "mine");
    assert_eq!(file.scenario.net, Scenario::default().net);
    assert!(!file.checks.is_empty() && !file.sweep.is_empty());
    file.possible().unwrap();
    let mut before = "";
    for line in text.lines().take_while(|line| *line != "[check]") {
        let is_key = line.starts_with('[') || line.contains(" = ") && !line.starts_with('#');
        assert!(!is_key || before.starts_with('#') || line.starts_with("schema"), "{line}");
        before = line;
    }
}

#[test]
fn the_figures_of_a_run_are_those_that_are_explained() {
    let report = run(sized(12, 1, 8, 2));
    let given: Vec<_> = report.kpis.iter().map(|kpi| (kpi.name, kpi.unit)).collect();
    let explained: Vec<_> = KPIS.iter().map(|kpi| (kpi.name, kpi.unit)).collect();
    assert_eq!(given, explained);
}

#[test]
fn every_shipped_scenario_is_possible_and_asks_its_question_in_its_first_line() {
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
    let folders = ["scenarios", "benches/scenarios"].map(|folder| root.join(folder));
    let mut shipped = 0;
    for entry in folders.iter().flat_map(|folder| std::fs::read_dir(folder).unwrap()) {
        let path = entry.unwrap().path();
        let file = ScenarioFile::read(&path).unwrap();
        let text = std::fs::read_to_string(&path).unwrap();
        let question = text.lines().next().unwrap().strip_prefix("# ").unwrap();
        assert_eq!(question, file.scenario.question, "{}", path.display());
        assert!(question.ends_with('?'), "{}", path.display());
        assert_eq!(path.file_stem().unwrap().to_str().unwrap(), file.scenario.name);
        plan(&file).unwrap();
        shipped += 1;
    }
    assert!(shipped >= 10);
}
