//! Scenarios that once broke an invariant: each keeps the seed that found it.

use std::{fs, path::Path};

use simnet::{fuzz::judge, scenario_file::ScenarioFile};

#[test]
fn what_was_found_once_stays_mended() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz");
    let mut files: Vec<_> =
        fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    assert!(!files.is_empty());
    for path in files {
        let file = ScenarioFile::read(&path).unwrap();
        file.possible().unwrap();
        let broken = judge(&file.scenario, &mut || true);
        assert_eq!(broken, None, "{}", path.display());
    }
}
