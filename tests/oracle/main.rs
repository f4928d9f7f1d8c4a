//! The kernel as the oracle: the same frames are sent through a lab in each mode, and what t1 and t2 see of the router is
//! compared, frame by frame: addresses, TTL, ICMP type, code, MTU and quoted bytes, fragments, options.
//!
//! A scene is a function that sends frames ([`stage::Stage`]); scenes of one subject share a lab a mode. Each scene is a
//! trial of its own, which compares the two modes and asserts that the userspace router's counters moved exactly as
//! the scene says, and that the law of counters holds. Differences that are meant are in [`differences`], once, with
//! the reason; one that is listed and does not differ fails, so the list stays true.
#![allow(clippy::unwrap_used, clippy::expect_used)]
#![allow(unreachable_pub, reason = "a test program has no face")]

mod arp;
#[path = "../common/mod.rs"]
mod common;
mod differences;
mod ip_addr;
mod ip_route;
mod ipv4;
mod ipv4_errors;
mod ipv4_fragments;
mod ipv4_local;
mod ipv4_options;
mod ipv6;
mod ipv6_local;
mod moved;
mod nd;
mod observe;
mod packet;
mod question;
mod routes;
mod segmentation;
mod settings;
mod stage;
mod stations;

use std::collections::BTreeMap;
use std::process::ExitCode;
use std::sync::OnceLock;

use common::{Case, Lab};
use libtest_mimic::Trial;
use serde::{Deserialize, Serialize};
use stage::Stage;

/// One thing that a router does.
struct Scene {
    name: &'static str,
    /// Sends the frames.
    act: fn(&mut Stage<'_>),
    /// How the userspace router's counters move: totals, and drop reasons. Markers, and questions to neighbours with
    /// their answers, are beside this.
    moved: &'static str,
}

/// Scenes that share a lab.
struct Subject {
    name: &'static str,
    /// How the lab is made, beside what every lab has.
    options: &'static [&'static str],
    /// How our own router is started, beside that.
    settings: &'static [&'static str],
    /// What is done to the lab first.
    prepare: fn(&Stage<'_>),
    scenes: &'static [Scene],
    /// What came of it in each mode, once it was played.
    played: &'static OnceLock<[Played; 2]>,
}

/// A scene's outcome in one mode.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Outcome {
    scene: String,
    seen: Vec<String>,
    counters: Result<(), String>,
}

/// A subject's outcome in one mode.
struct Played {
    outcomes: BTreeMap<String, Outcome>,
    /// What the run printed, for a failure's message.
    transcript: String,
}

macro_rules! subjects {
    ($($name:literal $module:ident $options:expr, $settings:expr, $prepare:expr;)*) => {
        const SUBJECTS: &[Subject] = &[$(Subject {
            name: $name,
            options: $options,
            settings: $settings,
            prepare: $prepare,
            scenes: $module::SCENES,
            played: { static PLAYED: OnceLock<[Played; 2]> = OnceLock::new(); &PLAYED },
        }),*];
        const CASES: &[Case] = &[HOST_S_VIEW, SEGMENTATION, $(Case {
            name: $name,
            modes: &[],
            programs: PROGRAMS,
            body: |lab| play(lab, $name),
        }),*];
    };
}

const PROGRAMS: &[&str] = &["ip"];

subjects! {
    "ipv4" ipv4 &[], &[], |_| ();
    "ipv4_errors" ipv4_errors &[], &[], |_| ();
    "ipv4_options" ipv4_options &[], &[], |_| ();
    "ipv4_fragments" ipv4_fragments &[], &[], ipv4_fragments::prepare;
    "ipv4_local" ipv4_local &[], &[], |_| ();
    "ipv6" ipv6 &[], &[], ipv6::prepare;
    "ipv6_local" ipv6_local &[], &[], |_| ();
    "arp" arp &[], &[], |_| ();
    "nd" nd &[], &[], |_| ();
    "routes" routes routes::OPTIONS, &[], |_| ();
    "ip_route" ip_route &[], &[], |_| ();
    "ip_addr" ip_addr &[], &[], |_| ();
    "settings" settings &[], settings::OPTIONS, settings::prepare;
}

/// The other way round: what a Linux host makes of the router's answers.
const HOST_S_VIEW: Case = Case {
    name: "hosts_find_the_router_reachable",
    modes: common::BOTH,
    programs: &["ip", "ping"],
    body: reachable,
};

/// Software segmentation beside the kernel's, in a lab of its own kind.
const SEGMENTATION: Case = Case {
    name: "software_segmentation_equals_the_kernel_s",
    modes: &[],
    programs: PROGRAMS,
    body: segmentation::equals_the_kernel,
};

/// An answer that a Linux host takes for a solicited one brings its neighbour entry to REACHABLE, and one with the
/// router flag is remembered as a router's (RFC 4861 sections 7.2.4 and 7.3.3).
fn reachable(lab: &Lab) {
    for (node, interface, address) in [
        ("t1", "t1-eth0", "10.10.251.2"),
        ("t1", "t1-eth0", "fd00:251::2"),
        ("t1", "t1-eth0", "fe80::1:2ff:fe03:401"),
        ("t2", "t2-eth0", "10.10.252.2"),
        ("t2", "t2-eth0", "fd00:252::2"),
    ] {
        lab.succeed(node, &["ip", "neigh", "flush", "dev", interface]);
        lab.succeed(node, &["ping", "-n", "-c", "1", "-W", "2", "-I", interface, address]);
        let entry = lab.succeed(node, &["ip", "neigh", "show", address, "dev", interface]);
        assert!(entry.contains("REACHABLE"), "{address}: {entry}{}", lab.dump());
        assert_eq!(entry.contains(" router "), address.contains(':'), "{address}: {entry}");
    }
}

/// What a line of outcome begins with on the standard output of a run.
const MARK: &str = "outcome: ";

/// Plays a subject's scenes in the lab at hand, and prints what came of each.
fn play(lab: &Lab, name: &str) {
    let subject = SUBJECTS.iter().find(|subject| subject.name == name).expect("a subject");
    let mut stage = Stage::new(lab);
    (subject.prepare)(&stage);
    for (n, scene) in (stations::FIRST..stations::SILENT).zip(subject.scenes) {
        stage.n = n;
        (scene.act)(&mut stage);
        let (seen, counters) = stage.end(scene.moved);
        let outcome = Outcome { scene: scene.name.to_owned(), seen, counters };
        println!("{MARK}{}", serde_json::to_string(&outcome).expect("strings"));
    }
}

fn play_in(mode: &str, subject: &Subject) -> Played {
    let settings = if mode == "kernel" { &[] } else { subject.settings };
    let options = [subject.options, settings].concat();
    let output = common::case_output(mode, &format!("{mode}::{}", subject.name), &options);
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let outcomes = text
        .lines()
        .filter_map(|line| line.strip_prefix(MARK))
        .map(|line| serde_json::from_str(line).expect("what play printed"))
        .map(|outcome: Outcome| (outcome.scene.clone(), outcome))
        .collect();
    Played { outcomes, transcript: common::describe(&output) }
}

fn indented(lines: &[String]) -> String {
    if lines.is_empty() { "    nothing\n".to_owned() } else { format!("    {}\n", lines.join("\n    ")) }
}

/// Compares what both modes made of a scene.
fn compare(subject: &Subject, scene: &Scene) {
    let played = subject.played.get_or_init(|| ["kernel", "userspace"].map(|mode| play_in(mode, subject)));
    let [kernel, userspace] = [0, 1].map(|mode| {
        let played = &played[mode];
        played.outcomes.get(scene.name).unwrap_or_else(|| panic!("it ended early: {}", played.transcript))
    });
    let both = format!(
        "the kernel let be seen\n{}userspace let be seen\n{}",
        indented(&kernel.seen),
        indented(&userspace.seen)
    );
    let full_name = format!("{}::{}", subject.name, scene.name);
    let listed = differences::ALL.iter().find(|difference| difference.scene == full_name);
    match listed {
        None => assert!(kernel.seen == userspace.seen, "{both}"),
        Some(listed) => {
            assert!(kernel.seen != userspace.seen, "listed as a difference ({}), but: {both}", listed.reason);
        }
    }
    if let Err(error) = &userspace.counters {
        panic!("{error}\nexpected: {}\n{both}", scene.moved);
    }
}

fn main() -> ExitCode {
    let mut trials = Vec::new();
    for subject in SUBJECTS {
        for scene in subject.scenes {
            let name = format!("{}::{}", subject.name, scene.name);
            trials.push(common::trial(name, PROGRAMS, move || compare(subject, scene)));
        }
    }
    trials.push(Trial::test("listed_differences_name_scenes", || {
        for difference in differences::ALL {
            let exists = SUBJECTS.iter().any(|subject| {
                let scenes = subject.scenes.iter();
                scenes
                    .map(|scene| format!("{}::{}", subject.name, scene.name))
                    .any(|name| name == difference.scene)
            });
            if !exists {
                return Err(format!("no scene {}", difference.scene).into());
            }
        }
        Ok(())
    }));
    trials.push(common::trial(SEGMENTATION.name.to_owned(), PROGRAMS, || {
        let case = format!("kernel::{}", SEGMENTATION.name);
        let output = common::case_output("kernel", &case, segmentation::OPTIONS);
        assert!(output.status.success(), "{}", common::describe(&output));
    }));
    common::main(CASES, trials)
}
