//! A row of the report: a test that was run, and its outcome.

use std::net::IpAddr;

use serde::Serialize;

/// The outcome of a test.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "outcome", rename_all = "lowercase")]
pub(super) enum Outcome {
    /// The lab does what it should.
    Pass { detail: String },
    /// It does not.
    Fail { detail: String },
    /// It cannot be run here, and nothing is wrong with the forwarding.
    Skipped { detail: String },
}

/// A test that was run, in one address family.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct Row {
    pub(super) test: String,
    pub(super) family: &'static str,
    #[serde(flatten)]
    pub(super) outcome: Outcome,
}

/// The address families, as they are printed.
const FAMILIES: [&str; 2] = ["IPv4", "IPv6"];

/// The family of an address.
pub(super) fn family_of(address: IpAddr) -> &'static str {
    FAMILIES[usize::from(address.is_ipv6())]
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn json_rows_say_test_family_outcome_and_detail() {
        let row = Row {
            test: "ping a to b".into(),
            family: family_of([10, 0, 0, 1].into()),
            outcome: Outcome::Skipped { detail: "why".into() },
        };
        let json = serde_json::to_value(row).unwrap();
        let expect = serde_json::json!({
            "test": "ping a to b", "family": "IPv4", "outcome": "skipped", "detail": "why",
        });
        assert_eq!(json, expect);
    }
}
