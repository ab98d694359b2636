//! What runs and sweeps leave behind.

use std::{fs, sync::atomic::AtomicBool, time::Duration};

use simnet::{
    output::{Cost, Finished, Saved, page, run_plots, summary, sweep_page, sweep_plots},
    runner,
    scenario_file::ScenarioFile,
    sweep::{JOURNAL, Job, Journal, make_all, plan},
};

const TINY: &str = "name = \"tiny\"\nepochs = 1\n[population]\nnodes = 12\n[workload]\npacks = 8\n\
                    contributors = 2\n";

fn sweep() -> ScenarioFile {
    let text = format!("{TINY}[sweep]\nseeds = 2\nnet.loss = [0.0, 0.1]\n");
    ScenarioFile::parse("tiny.toml", &text).unwrap()
}

#[test]
fn a_run_on_disk_reads_back_and_says_what_repeats_it() {
    let text = format!("{TINY}[check]\ndurability = \">= 1\"\nreward_gini = \"< 0\"\n");
    let file = ScenarioFile::parse("tiny.toml", &text).unwrap();
    let report = runner::run(&file.scenario, &mut |_| true).unwrap();
    let judgements: Vec<_> = file.checks.iter().map(|check| check.judge(&report.kpis)).collect();
    assert_eq!(judgements.iter().map(|j| j.holds).collect::<Vec<_>>(), [true, false]);
    let cost = Cost::new(&report, Duration::from_secs(1));
    let run = Finished { file: &file, report: &report, judgements: &judgements, cost };
    assert!(report.holds() && !run.holds());
    let dir = tempfile::tempdir().unwrap();
    run.write(dir.path()).unwrap();
    let saved = Saved::read(dir.path()).unwrap();
    let kept = Saved::new(&run);
    assert_eq!((&saved.scenario, &saved.checks), (&kept.scenario, &kept.checks));
    assert_eq!((&saved.rows, &saved.totals), (&kept.rows, &kept.totals));
    assert!(saved.is_complete && !saved.holds());
    let nodes = u64::from(file.scenario.population.nodes);
    assert_eq!(saved.cost.memory_per_node, saved.cost.peak_memory.map(|bytes| bytes / nodes));
    assert!(saved.cost.most_pending > 0);
    assert!(page(&saved).contains(" KiB per node, at most "));
    assert_eq!(saved.trace, report.trace.to_string());
    let scenario = fs::read(dir.path().join("scenario.toml")).unwrap();
    assert_eq!(saved.scenario_hash, blake3_hex(&scenario));
    let again = ScenarioFile::read(&dir.path().join("scenario.toml")).unwrap();
    assert_eq!((&again.scenario, &again.checks), (&file.scenario, &file.checks));
    for table in ["epochs", "nodes", "payouts", "kpis", "series", "histograms"] {
        for format in ["csv", "parquet"] {
            let name = format!("{table}.{format}");
            assert!(dir.path().join(&name).exists(), "{name}");
        }
    }
}

fn blake3_hex(bytes: &[u8]) -> String {
    blake3::hash(bytes).to_hex().to_string()
}

#[test]
fn a_page_needs_nothing_else_and_says_when_it_is_partial() {
    let file = ScenarioFile::parse("tiny.toml", TINY).unwrap();
    let mut blocks = 0;
    let report = runner::run(&file.scenario, &mut |_| {
        blocks += 1;
        blocks < 200
    });
    let report = report.unwrap();
    assert!(!report.is_complete);
    let cost = Cost::new(&report, Duration::from_secs(1));
    let run = Finished { file: &file, report: &report, judgements: &[], cost };
    let saved = Saved::new(&run);
    let html = page(&saved);
    assert!(html.contains("all of these results are partial"));
    assert!(!html.contains("<script") && !html.contains("src=") && !html.contains("@import"));
    assert_eq!(html.matches("<svg").count(), run_plots(&saved).len());
}

#[test]
fn what_cannot_be_written_is_named() {
    let file = ScenarioFile::parse("tiny.toml", TINY).unwrap();
    let report = runner::run(&file.scenario, &mut |_| true).unwrap();
    let cost = Cost::new(&report, Duration::from_secs(1));
    let run = Finished { file: &file, report: &report, judgements: &[], cost };
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir(dir.path().join("epochs.csv")).unwrap();
    let error = run.write(dir.path()).unwrap_err();
    assert!(error.to_string().starts_with("cannot write "), "{error}");
    assert!(error.path.ends_with("epochs.csv"));
    assert!(dir.path().join("run.json").exists(), "what was written before is kept");
}

#[test]
fn a_sweep_goes_on_where_it_was_stopped_and_gives_the_same_rows() {
    let jobs = plan(&sweep()).unwrap();
    assert_eq!(jobs.len(), 4);
    let dir = tempfile::tempdir().unwrap();
    let never = AtomicBool::new(false);
    let mut journal = Journal::open(dir.path()).unwrap();
    // Killed in the middle of the second row.
    make_all(&jobs[..2], 1, &never, |row| journal.keep(row).is_ok());
    let path = dir.path().join(JOURNAL);
    let text = fs::read_to_string(&path).unwrap();
    fs::write(&path, &text[..text.len() - 40]).unwrap();

    let mut journal = Journal::open(dir.path()).unwrap();
    let open: Vec<_> = jobs.iter().filter(|job| !journal.has(job)).cloned().collect();
    assert_eq!(open.len(), 3);
    make_all(&open, 2, &never, |row| journal.keep(row).is_ok());
    let rows = Journal::open(dir.path()).unwrap().of(&jobs);
    assert_eq!(rows.len(), 4);
    assert!(rows.iter().all(|row| row.holds && row.crash.is_none()));

    let other = tempfile::tempdir().unwrap();
    let mut fresh = Journal::open(other.path()).unwrap();
    make_all(&jobs, 2, &never, |row| fresh.keep(row).is_ok());
    let traces =
        |rows: &[simnet::output::Row]| rows.iter().map(|row| row.trace.clone()).collect::<Vec<_>>();
    assert_eq!(traces(&fresh.of(&jobs)), traces(&rows), "the number of threads changes nothing");

    // What another version made is not gone on from, but can be looked at.
    let journal = Journal::open(other.path()).unwrap();
    let elsewhere: Vec<_> =
        jobs.iter().map(|job| Job { key: format!("0{}", job.key), ..job.clone() }).collect();
    assert_eq!((journal.of(&elsewhere).len(), journal.newest(&elsewhere).len()), (0, 4));

    let table = summary(&rows);
    assert_eq!(table.rows(), 4);
    let plots = sweep_plots(&rows, &["retrieval_p99".to_owned()]);
    assert_eq!(plots[0].0, "retrieval-p99");
    let mut names: Vec<_> = plots.iter().map(|(name, _)| name).collect();
    names.sort_unstable();
    assert!(names.windows(2).all(|pair| pair[0] != pair[1]), "one file each: {names:?}");
    let html = sweep_page(&sweep(), &rows, 4);
    assert!(html.contains("[sweep.net]") && html.contains("The same in all of them: "));
    for name in ["param.net.loss", "seed", "durability", "holds", "trace"] {
        assert!(table.column(name).is_some(), "{name}");
    }
}

#[test]
fn stopping_a_sweep_keeps_what_is_done() {
    let jobs = plan(&sweep()).unwrap();
    let dir = tempfile::tempdir().unwrap();
    let stop = AtomicBool::new(false);
    let mut journal = Journal::open(dir.path()).unwrap();
    make_all(&jobs, 1, &stop, |row| {
        journal.keep(row).unwrap();
        false
    });
    let kept = Journal::open(dir.path()).unwrap().of(&jobs).len();
    assert!((1..jobs.len()).contains(&kept), "{kept}");
}
