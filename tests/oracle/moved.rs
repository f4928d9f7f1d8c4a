//! The engine's counters: how they moved, and the packet accounting that they keep.

use std::collections::BTreeMap;

use serde_json::Value;

/// What a scene made the counters move by: totals and drop reasons.
pub type Moved = BTreeMap<String, i64>;

/// `received 1, sent 1` as numbers.
pub fn parse_moved(text: &str) -> Moved {
    text.split(',')
        .filter(|part| !part.trim().is_empty())
        .map(|part| {
            let (name, count) = part.trim().split_once(' ').expect("NAME COUNT");
            (name.to_owned(), count.parse().expect("a number"))
        })
        .collect()
}

pub fn print_moved(moved: &Moved) -> String {
    let parts: Vec<String> = moved
        .iter()
        .filter(|(_, count)| **count != 0)
        .map(|(name, count)| format!("{name} {count}"))
        .collect();
    parts.join(", ")
}

/// Frames that left by the router's ports.
pub fn transmitted(engine: &Value) -> u64 {
    let ports = engine["ports"].as_array().expect("a list of ports");
    ports.iter().map(|port| port["tx_frames"].as_u64().expect("a number")).sum()
}

/// The engine's counters: totals without `dropped`, which is the sum of the reasons.
pub fn counters(engine: &Value) -> Moved {
    let mut all = Moved::new();
    for table in ["totals", "drops"] {
        for (name, count) in engine[table].as_object().expect("a table of counters") {
            if name != "dropped" {
                all.insert(name.clone(), count.as_i64().expect("a number"));
            }
        }
    }
    all
}

/// Received + originated = sent + to host + consumed + held + drops.
pub fn accounting(counters: &Moved) -> Result<(), String> {
    let inward = ["received", "originated"];
    let (gained, spent) = counters.iter().fold((0, 0), |(gained, spent), (name, count)| {
        if inward.contains(&name.as_str()) { (gained + count, spent) } else { (gained, spent + count) }
    });
    (gained == spent)
        .then_some(())
        .ok_or_else(|| format!("the packet accounting does not add up: {counters:?}"))
}
