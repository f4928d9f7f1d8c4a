//! `check` must see what is wrong, `doctor` must answer.

use serde_json::Value;

use crate::common::{Lab, describe};
use crate::runs::run;

fn check_json() -> (Value, Option<i32>) {
    let output = run(&["check", "--json"]);
    (serde_json::from_slice(&output.stdout).expect("check prints JSON"), output.status.code())
}

/// The tests with that outcome, each with its family.
fn rows_with(report: &Value, outcome: &str) -> Vec<String> {
    let rows = report["rows"].as_array().unwrap().iter().filter(|row| row["outcome"] == outcome);
    rows.map(|row| format!("{} {}", row["test"].as_str().unwrap(), row["family"].as_str().unwrap())).collect()
}

pub(crate) fn check_fails(lab: &Lab) {
    let (report, code) = check_json();
    assert_eq!((code, &report["passed"]), (Some(0), &Value::Bool(true)), "{report:#}");
    lab.succeed("router", &["sh", "-c", "echo 0 > /proc/sys/net/ipv6/conf/all/forwarding"]);
    let (report, code) = check_json();
    assert_eq!((code, &report["passed"]), (Some(1), &Value::Bool(false)));
    let failed = rows_with(&report, "fail");
    for test in ["ping t1 to t2 IPv6", "ping t2 to t1 IPv6", "traceroute t1 to t2 IPv6"] {
        assert!(failed.iter().any(|row| row == test), "{test} is not in {failed:?}");
    }
    assert!(failed.iter().all(|row| row.ends_with("IPv6")), "{failed:?}");
    assert!(rows_with(&report, "pass").iter().any(|row| row == "ping t1 to router IPv6"));
}

pub(crate) fn check_duplicates(lab: &Lab) {
    // What a kernel that answers beside the engine would look like: every echo reply of t2 leaves it several
    // times.
    let rule = "add table netdev twice; \
                add chain netdev twice out { type filter hook egress device t2-eth0 priority 0; }; \
                add rule netdev twice out icmp type echo-reply dup to t2-eth0";
    lab.succeed("t2", &["nft", rule]);
    let (report, code) = check_json();
    assert_eq!(code, Some(1));
    let failed = rows_with(&report, "fail");
    assert!(failed.iter().any(|row| row == "ping t1 to t2 IPv4"), "{failed:?}");
    assert!(failed.iter().all(|row| row.contains("to t2") && row.ends_with("IPv4")), "{failed:?}");
}

pub(crate) fn doctor() {
    let output = run(&["doctor", "--json"]);
    assert_eq!(output.status.code(), Some(0), "{}", describe(&output));
    let rows: Value = serde_json::from_slice(&output.stdout).unwrap();
    for what in ["network namespaces", "user namespaces", "veth links", "AF_PACKET ring", "bpf(2)", "iperf3"]
    {
        let row = rows.as_array().unwrap().iter().find(|row| row["what"] == what);
        let row = row.unwrap_or_else(|| panic!("no row {what}"));
        let told = row["state"] == "yes" || (row["cost"].is_string() && row["remedy"].is_string());
        assert!(told, "{row:#}");
    }
}
