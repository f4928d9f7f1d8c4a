//! Records are read as they were written, and invalid ones are refused.
#![allow(clippy::unwrap_used)]

use std::fs;
use std::path::PathBuf;

use nsrouter_wire::eth::MacAddr;

use super::state::{NodeState, PortInfo, SavedRoute, SavedSysctl, State, VERSION};
use crate::process::ProcessId;
use crate::topology::{Role, Topology};

fn record() -> State {
    State {
        version: VERSION,
        id: "an-id".to_owned(),
        name: "default".to_owned(),
        mode: "kernel".to_owned(),
        backend: None,
        private: false,
        taps: false,
        ready: true,
        owner: ProcessId::current().unwrap(),
        topology: Topology::default_lab(),
        nodes: vec![NodeState {
            name: "t1".to_owned(),
            role: Role::Host,
            namespace: Some("t1".to_owned()),
            inode: Some(4_026_532_000),
            ports: vec![PortInfo {
                ifname: "t1-eth0".to_owned(),
                ifindex: 2,
                mac: MacAddr([2, 0, 0, 0, 0, 1]),
                mtu: 1500,
                addresses: vec!["10.10.251.1/24".parse().unwrap()],
            }],
        }],
        sysctls: vec![SavedSysctl { key: "net/ipv4/ip_forward".to_owned(), value: "0".to_owned() }],
        routes: vec![SavedRoute {
            ifname: "eth0".to_owned(),
            gateway: "fe80::1".parse().unwrap(),
            table: 254,
            metric: 1024,
            preference: 1,
            expires_seconds: Some(1800),
            hop_limit: Some(64),
            mtu: None,
        }],
    }
}

/// The folder of a lab, which has the lab's name.
fn folder(name: &str) -> (tempfile::TempDir, PathBuf) {
    let parent = tempfile::tempdir().unwrap();
    let folder = parent.path().join(name);
    fs::create_dir(&folder).unwrap();
    (parent, folder)
}

#[test]
fn there_and_back() {
    let (_parent, dir) = folder("default");
    let record = record();
    record.write_to(&dir).unwrap();
    assert_eq!(State::read_from(&dir).unwrap(), record);
    let files: Vec<_> = fs::read_dir(&dir).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(files, ["state.json"], "nothing is left of writing it");
}

#[test]
fn a_record_of_another_version_is_not_read() {
    let (_parent, dir) = folder("default");
    State { version: VERSION + 1, ..record() }.write_to(&dir).unwrap();
    let error = State::read_from(&dir).unwrap_err().to_string();
    assert!(error.contains("another version of nsrouter"), "{error}");
}

#[test]
fn names_in_a_record_are_not_paths() {
    let refused = |record: &State| {
        let (_parent, dir) = folder("default");
        record.write_to(&dir).unwrap();
        State::read_from(&dir).unwrap_err().to_string()
    };
    let error = refused(&State { name: "../victim".to_owned(), ..record() });
    assert!(error.contains("\"../victim\""), "{error}");
    let mut namespace = record();
    namespace.nodes[0].namespace = Some("../victim".to_owned());
    assert!(refused(&namespace).contains("not a valid name for a network namespace"));
    for key in ["net/../../tmp/x", "kernel/core_pattern", "/etc/passwd", "net//x"] {
        let mut setting = record();
        setting.sysctls[0].key = key.to_owned();
        assert!(refused(&setting).contains("not a sysctl below /proc/sys/net"), "{key}");
    }
}

#[test]
fn an_unknown_node_is_answered_with_those_there_are() {
    let error = record().node("t3").unwrap_err().to_string();
    assert_eq!(error, "lab `default` has no node `t3`; it has t1");
}
