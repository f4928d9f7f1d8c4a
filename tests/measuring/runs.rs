//! Runs of the binary, and what their results.json says.

use std::process::{Command, Output, Stdio};

use serde_json::Value;

use crate::common::nsrouter;
use crate::schema;

pub(crate) fn run(arguments: &[&str]) -> Output {
    Command::new(nsrouter()).args(arguments).stdin(Stdio::null()).output().unwrap()
}

/// The schema that is published, and what it says of a file.
pub(crate) fn against_the_schema(report: &Value) -> Vec<String> {
    let schema = include_str!("../../crates/bench/results.schema.json");
    schema::violations(&serde_json::from_str(schema).unwrap(), report, "")
}

pub(crate) fn row_of<'a>(report: &'a Value, scenario: &str, metric: &str, mode: &str) -> Option<&'a Value> {
    let rows = report["results"].as_array().unwrap();
    rows.iter().find(|row| row["scenario"] == scenario && row["metric"] == metric && row["mode"] == mode)
}

/// A short run of one round, and its results.json.
pub(crate) fn measured(arguments: &[&str]) -> (Output, Value) {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("results.json");
    let fixed =
        ["bench", "--rounds", "1", "--seconds", "1", "--warm-up", "0", "--json", file.to_str().unwrap()];
    let output = run(&[&fixed, arguments].concat());
    let report: Value = serde_json::from_slice(&std::fs::read(&file).unwrap()).unwrap();
    assert_eq!(against_the_schema(&report), [""; 0]);
    (output, report)
}

pub(crate) fn median(report: &Value, scenario: &str, metric: &str, mode: &str) -> f64 {
    let row = row_of(report, scenario, metric, mode);
    row.unwrap_or_else(|| panic!("no {metric} of {scenario} in {mode}: {report:#}"))["median"]
        .as_f64()
        .unwrap()
}
