//! A run of the fuzzer that fits into every test run, and every case that was ever found.
#![allow(clippy::unwrap_used)]

#[path = "fuzz/mod.rs"]
mod fuzz;

use std::path::Path;

use fuzz::case::Case;

/// Where cases are kept, beside the other test data of the project.
fn data() -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/data/fuzz")
}

#[test]
fn mutated_frames_break_nothing_and_get_deep() {
    let depth = fuzz::run(1, 300_000);
    assert!(depth.findings.is_empty(), "{:#?}", depth.findings);
    assert!(depth.lookup_share() >= 0.3, "only {:.3} reach a route look-up", depth.lookup_share());
    assert_eq!(depth.missing(), Vec::<&str>::new(), "never hit");
}

#[test]
fn every_case_ever_found_is_replayed() {
    let mut replayed = 0;
    for entry in std::fs::read_dir(data()).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|extension| extension == "txt") {
            let case = Case::parse(&std::fs::read_to_string(&path).unwrap()).unwrap();
            fuzz::replay(&case).unwrap_or_else(|broken| panic!("{}: {broken}", path.display()));
            assert_eq!(Case::parse(&case.to_text()).unwrap(), case);
            replayed += 1;
        }
    }
    assert!(replayed > 0, "the folder is there, so something is in it");
}
