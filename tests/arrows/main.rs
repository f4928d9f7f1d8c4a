//! The arrows between crates and between files point one way, and no crate but `rings` has unsafe code, in
//! `sys` alone.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod files;
mod source;
#[path = "../common/sources.rs"]
mod sources;

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;

use sources::rust_files;

/// Which crates each crate may depend on, as "The map of the code" in the README has it.
const ARROWS: &[(&str, &[&str])] = &[
    ("nsrouter-wire", &[]),
    ("nsrouter-linux", &[]),
    ("nsrouter-router", &["nsrouter-wire"]),
    ("nsrouter-rings", &["nsrouter-wire", "nsrouter-linux"]),
    ("nsrouter-engine", &["nsrouter-router", "nsrouter-rings", "nsrouter-wire", "nsrouter-linux"]),
    ("nsrouter-lab", &["nsrouter-wire", "nsrouter-linux"]),
    // Never router, rings or engine: the measurement stays independent of what it measures.
    ("nsrouter-bench", &["nsrouter-wire", "nsrouter-lab", "nsrouter-linux"]),
    (
        "nsrouter",
        &[
            "nsrouter-wire",
            "nsrouter-linux",
            "nsrouter-router",
            "nsrouter-rings",
            "nsrouter-engine",
            "nsrouter-lab",
            "nsrouter-bench",
        ],
    ),
];

/// What cargo knows about the workspace.
fn metadata() -> serde_json::Value {
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--format-version", "1", "--no-deps", "--offline"])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .expect("cargo runs");
    serde_json::from_slice(&output.stdout).expect("cargo prints JSON")
}

#[test]
fn crates_depend_on_each_other_as_declared() {
    let metadata = metadata();
    let packages = metadata["packages"].as_array().unwrap();
    assert_eq!(packages.len(), ARROWS.len(), "every crate of the workspace has its row in ARROWS");
    for package in packages {
        let name = package["name"].as_str().unwrap();
        let (_, allowed) = ARROWS.iter().find(|(row, _)| *row == name).expect("a row in ARROWS");
        let found: BTreeSet<&str> = package["dependencies"]
            .as_array()
            .unwrap()
            .iter()
            .filter(|dependency| dependency["kind"].is_null())
            .map(|dependency| dependency["name"].as_str().unwrap())
            .filter(|dependency| dependency.starts_with("nsrouter"))
            .collect();
        let forbidden: Vec<_> = found.into_iter().filter(|found| !allowed.contains(found)).collect();
        assert!(forbidden.is_empty(), "{name} must not depend on {forbidden:?}");
    }
}

/// The compiler holds each crate to it; this holds the attributes in their places.
#[test]
fn unsafe_code_stays_behind_its_fence() {
    let crates = Path::new(env!("CARGO_MANIFEST_DIR")).join("crates");
    let rings = crates.join("rings/src");
    let mut files = Vec::new();
    rust_files(&crates, &mut files);
    let text = |file: &Path| std::fs::read_to_string(file).unwrap();
    let is_root = |file: &Path| {
        file.ends_with("src/lib.rs") || file.ends_with("src/main.rs") || file.ends_with("cli/main.rs")
    };
    let roots: Vec<_> = files.iter().filter(|file| is_root(file)).collect();
    assert_eq!(roots.len(), ARROWS.len(), "{roots:?}");
    for root in roots {
        let attribute =
            if root.starts_with(&rings) { "#![deny(unsafe_code)]" } else { "#![forbid(unsafe_code)]" };
        assert!(text(root).lines().any(|line| line == attribute), "{}: no {attribute}", root.display());
    }
    let allowing: Vec<_> = files.iter().filter(|file| text(file).contains("allow(unsafe_code")).collect();
    assert_eq!(allowing, [&rings.join("lib.rs")], "only `sys` is exempt");
    assert_eq!(text(allowing[0]).matches("allow(unsafe_code").count(), 1);
}
