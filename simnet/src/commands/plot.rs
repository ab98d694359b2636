//! `simnet plot`: draws saved results once more.

use std::path::PathBuf;

use clap::Args;
use simnet::{
    output::{Saved, page, prepare, run_plots, sweep_page, sweep_plots, write_file},
    scenario_file::ScenarioFile,
    sweep::{JOURNAL, Journal, plan},
};

use super::{End, print};

/// Draws report.html and plots/*.svg from what a run or a sweep left behind.
#[derive(Debug, Args)]
pub(crate) struct Plot {
    /// The result folder.
    dir: PathBuf,
}

impl Plot {
    pub(crate) fn execute(&self) -> anyhow::Result<End> {
        let (plots, page) = if self.dir.join(JOURNAL).exists() {
            let file = ScenarioFile::read(&self.dir.join("sweep.toml"))?;
            let jobs = plan(&file)?;
            let mut rows = Journal::open(&self.dir)?.newest(&jobs);
            rows.retain(|row| row.crash.is_none());
            (sweep_plots(&rows, &file.sweep.figures), sweep_page(&file, &rows, jobs.len()))
        } else {
            let saved = Saved::read(&self.dir)?;
            (run_plots(&saved), page(&saved))
        };
        let folder = self.dir.join("plots");
        prepare(&folder)?;
        for (name, plot) in &plots {
            let path = folder.join(format!("{name}.svg"));
            write_file(&path, plot.file().as_bytes())?;
            print(&format!("{}\n", path.display()));
        }
        let path = self.dir.join("report.html");
        write_file(&path, page.as_bytes())?;
        print(&format!("{}\n", path.display()));
        Ok(End::Well)
    }
}
