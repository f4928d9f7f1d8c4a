//! Many ports, scans and stopped processes: nothing is starved, nothing waits for ever.

use std::fmt::Write as _;

use libtest_mimic::Trial;

use crate::common::{Case, Lab, case_output, describe, trial};

/// Cases beside the built-in lab, and those that trials run in labs of their own.
pub(crate) const CASES: &[Case] = &[Case {
    name: "the_last_port_is_as_good_as_the_first",
    modes: &[],
    programs: &["ping"],
    body: last_port,
}];

/// Our own router over every backend, and the kernel.
const MODES: &[&str] = &["kernel", "userspace:packet", "userspace:tap"];

/// Trials that make labs of their own.
pub(crate) fn trials() -> Vec<Trial> {
    let mut trials = Vec::new();
    for mode in MODES {
        // One more port than hosts is the host port. 64 is what fits into a word of bits.
        for (hosts, options) in [(64, &[] as &[&str]), (70, &["--spin", "never"])] {
            // The kernel does not sleep.
            if *mode == "kernel" && !options.is_empty() {
                continue;
            }
            trials.push(trial(format!("{mode}::{hosts}_hosts"), &["ping"], move || {
                let topology = star(hosts);
                let file = topology.path().to_str().unwrap();
                let case = format!("{mode}::the_last_port_is_as_good_as_the_first");
                let output = case_output(mode, &case, &[options, &["--topology", file]].concat());
                assert!(output.status.success(), "{}", describe(&output));
            }));
        }
    }
    trials
}

/// A topology of one router and so many hosts, `h0` first; the addresses of host N are 10.A.B.1 and fd00:N::1.
fn star(hosts: usize) -> tempfile::NamedTempFile {
    let mut text = String::from("[[node]]\nname = \"router\"\nrole = \"router\"\n");
    for host in 0..hosts {
        let (v4, v6) = (network(host), format!("fd00:{host:x}::"));
        write!(
            text,
            "[[node]]\nname = \"h{host}\"\nrole = \"host\"\n\
             routes = [{{ to = \"default\", via = \"{v4}.2\" }}, {{ to = \"default\", via = \"{v6}2\" }}]\n\
             [[link]]\n\
             a = {{ node = \"h{host}\", ifname = \"eth0\", addresses = [\"{v4}.1/24\", \"{v6}1/64\"] }}\n\
             b = {{ node = \"router\", ifname = \"p{host}\", addresses = [\"{v4}.2/24\", \"{v6}2/64\"] }}\n"
        )
        .unwrap();
    }
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), text).unwrap();
    file
}

/// The first three bytes of a host's addresses.
fn network(host: usize) -> String {
    format!("10.{}.{}", host / 200, host % 200)
}

fn last_port(lab: &Lab) {
    let last = lab.status()["engine"]["ports"].as_array().unwrap().len() - 1;
    let ping = |from: &str, to: &str| {
        lab.succeed(from, &["ping", "-q", "-c", "3", "-i", "0.2", "-W", "1", to]);
    };
    ping(&format!("h{last}"), &format!("{}.1", network(0)));
    ping("h0", &format!("fd00:{last:x}::1"));
    ping("router", &format!("{}.1", network(0)));
    ping("router", &format!("{}.1", network(last)));
}
