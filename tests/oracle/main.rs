//! The kernel as the oracle: the same frames are sent through a lab in each mode, and what t1 and t2 see of
//! the router is compared, frame by frame: addresses, TTL, ICMP type, code, MTU and quoted bytes, fragments,
//! options.
//!
//! A scene is a function that sends frames ([`stage::Stage`]); scenes of one subject share a lab a mode. Each
//! scene is a trial of its own for each way that our own router can be run, which compares it with the kernel
//! and asserts that the userspace router's counters moved exactly as the scene says, and that the packet
//! accounting adds up. Differences that are meant are in [`differences`], once, with the reason and what our
//! router shows instead; one that is listed and does not differ fails, so the list stays true.
//!
//! The userspace router is run over every backend, and with two workers, whose flows may overtake each other:
//! then what was seen is compared without its order. `NSROUTER_ORACLE_MODES` chooses among [`modes`], with
//! commas between, or `all`; without it [`default_modes`] are played. All of it:
//! `NSROUTER_ORACLE_MODES=all cargo test --test oracle`.
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
mod scene;
mod segmentation;
mod settings;
mod stage;
mod stations;

use std::collections::BTreeMap;
use std::process::ExitCode;
use std::sync::OnceLock;

use common::{Case, Lab};
use libtest_mimic::Trial;
use nsrouter_rings::BACKENDS;
use scene::Scene;
use serde::{Deserialize, Serialize};
use stage::Stage;

/// Scenes that share a lab.
struct Subject {
    name: &'static str,
    /// How the lab is made, beside what every lab has.
    options: &'static [&'static str],
    /// How our own router is started, beside that.
    settings: &'static [&'static str],
    /// How its lab is made over tap, beside that, where `prepare` cannot change an interface of the router's.
    tap_options: &'static [&'static str],
    /// What is done to the lab first.
    prepare: fn(&Stage<'_>),
    scenes: &'static [Scene],
    /// What came of it in the kernel, once it was played.
    kernel: &'static OnceLock<Played>,
    /// The same of our own router, by [`modes`].
    ours: &'static [OnceLock<Played>; MODES],
}

/// The number of ways that our own router is run.
const MODES: usize = 2 * BACKENDS.len();

/// The ways that our own router is run: backend, and workers where it is not one.
fn modes() -> Vec<String> {
    let names = || BACKENDS.iter().map(|backend| backend.name.to_owned());
    names().chain(names().map(|name| name + ":2")).collect()
}

/// Those that are played unless others are asked for: every backend, and two workers where queues share
/// nothing.
fn default_modes() -> String {
    let names = BACKENDS.iter().map(|backend| backend.name);
    names.chain(["xdp:2"]).collect::<Vec<_>>().join(",")
}

/// The environment variable that asks for others.
const MODES_VARIABLE: &str = "NSROUTER_ORACLE_MODES";

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
    ($($name:literal $module:ident $options:expr, $settings:expr, $tap:expr, $prepare:expr;)*) => {
        const SUBJECTS: &[Subject] = &[$(Subject {
            name: $name,
            options: $options,
            settings: $settings,
            tap_options: $tap,
            prepare: $prepare,
            scenes: $module::SCENES,
            kernel: { static PLAYED: OnceLock<Played> = OnceLock::new(); &PLAYED },
            ours: {
                static PLAYED: [OnceLock<Played>; MODES] = [const { OnceLock::new() }; MODES];
                &PLAYED
            },
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

/// The path of a topology that scenes are played in.
macro_rules! data {
    ($file:literal) => {
        concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/oracle/", $file)
    };
}

subjects! {
    "ipv4" ipv4 &[], &[], &[], |_| ();
    "ipv4_errors" ipv4_errors &[], &[], &[], |_| ();
    "ipv4_options" ipv4_options &[], &[], &[], |_| ();
    "ipv4_fragments" ipv4_fragments &[], &[], &["--topology", data!("mtu-1300.toml")], ipv4_fragments::prepare;
    "ipv4_local" ipv4_local &[], &[], &[], |_| ();
    "ipv6" ipv6 &[], &[], &["--topology", data!("mtu-1400.toml")], ipv6::prepare;
    "ipv6_local" ipv6_local &[], &[], &[], |_| ();
    "arp" arp &[], &[], &[], |_| ();
    "nd" nd &[], &[], &[], |_| ();
    "routes" routes routes::OPTIONS, &[], &[], |_| ();
    "ip_route" ip_route &[], &[], &[], |_| ();
    "ip_addr" ip_addr &[], &[], &[], |_| ();
    "settings" settings &[], settings::OPTIONS, &[], settings::prepare;
}

/// The other way round: what a Linux host makes of the router's answers.
const HOST_S_VIEW: Case = Case {
    name: "hosts_find_the_router_reachable",
    modes: common::BACKENDS,
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

/// An answer that a Linux host takes for a solicited one brings its neighbour entry to REACHABLE, and one
/// with the router flag is remembered as a router's (RFC 4861 sections 7.2.4 and 7.3.3).
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
        if !is_played(lab.mode.split_once(':').map_or("", |(_, ours)| ours), subject, scene) {
            continue;
        }
        stage.n = n;
        (scene.act)(&mut stage);
        let (seen, counters) = stage.end(scene.moved);
        let outcome = Outcome { scene: scene.name.to_owned(), seen, counters };
        println!("{MARK}{}", serde_json::to_string(&outcome).expect("strings"));
    }
}

fn play_in(mode: &str, subject: &Subject) -> Played {
    let settings = if mode == "kernel" { &[] } else { subject.settings };
    let over_tap = if mode.contains(":tap") { subject.tap_options } else { &[] };
    let options = [subject.options, settings, over_tap].concat();
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

/// Whether a scene can be played in a mode: `BACKEND` or `BACKEND:WORKERS`.
fn is_played(mode: &str, subject: &Subject, scene: &Scene) -> bool {
    let (backend, has_workers) = mode.split_once(':').map_or((mode, false), |(backend, _)| (backend, true));
    let depends_on_order =
        || differences::NOT_WITH_WORKERS.contains(&format!("{}::{}", subject.name, scene.name).as_str());
    let mut lists =
        differences::NOT_PLAYED.iter().filter(|list| list.backend == backend && list.subject == subject.name);
    let is_listed = lists.any(|list| list.scenes.contains(&scene.name));
    !(is_listed || has_workers && depends_on_order())
}

/// What was made of a scene.
fn outcome<'p>(played: &'p Played, scene: &Scene) -> &'p Outcome {
    played.outcomes.get(scene.name).unwrap_or_else(|| panic!("it ended early: {}", played.transcript))
}

/// Compares what the kernel and our own router, run in the way of that number, made of a scene.
fn compare(subject: &Subject, scene: &Scene, number: usize) {
    let mode = &modes()[number];
    let kernel = subject.kernel.get_or_init(|| play_in("kernel", subject));
    let ours = subject.ours[number].get_or_init(|| play_in(&format!("userspace:{mode}"), subject));
    let [kernel, ours] = [kernel, ours].map(|played| outcome(played, scene));
    let both = format!(
        "the kernel let be seen\n{}userspace over {mode} let be seen\n{}",
        indented(&kernel.seen),
        indented(&ours.seen)
    );
    let full_name = format!("{}::{}", subject.name, scene.name);
    let has_workers = mode.contains(':');
    let same = |ours: &[String], theirs: &[String]| {
        let [mut ours, mut theirs] = [ours, theirs].map(<[String]>::to_vec);
        if has_workers {
            // Flows may overtake each other.
            ours.sort_unstable();
            theirs.sort_unstable();
        }
        ours == theirs
    };
    match differences::ALL.iter().find(|difference| difference.scene == full_name) {
        None => assert!(same(&ours.seen, &kernel.seen), "{both}"),
        Some(listed) => {
            let meant: Vec<String> = listed.ours.iter().map(|line| (*line).to_owned()).collect();
            assert!(kernel.seen != meant, "listed as a difference ({}), but: {both}", listed.reason);
            assert!(
                same(&ours.seen, &meant),
                "another difference than the one listed ({})\n{}but {both}",
                listed.reason,
                indented(&meant)
            );
        }
    }
    if let Err(error) = &ours.counters {
        panic!("{error}\nexpected: {}\n{both}", scene.moved);
    }
}

/// The numbers of the modes that are to be played.
///
/// # Panics
/// When one is asked for that there is not.
fn wanted_modes() -> Vec<usize> {
    let wanted = std::env::var(MODES_VARIABLE).unwrap_or_else(|_| default_modes());
    if wanted == "all" {
        return (0..MODES).collect();
    }
    let number = |name: &str| {
        let found = modes().iter().position(|mode| mode == name);
        found.unwrap_or_else(|| panic!("{MODES_VARIABLE}: `{name}` is none of {}", modes().join(", ")))
    };
    wanted.split(',').map(number).collect()
}

fn main() -> ExitCode {
    let mut trials = Vec::new();
    let (names, wanted) = (modes(), wanted_modes());
    for subject in SUBJECTS {
        for scene in subject.scenes {
            let can = |number: &usize| is_played(&names[*number], subject, scene);
            for number in wanted.iter().copied().filter(can) {
                let name = format!("{}::{}::{}", names[number], subject.name, scene.name);
                trials.push(common::trial(name, PROGRAMS, move || compare(subject, scene, number)));
            }
        }
    }
    trials.push(Trial::test("listed_differences_name_scenes", || {
        let scenes = || {
            SUBJECTS.iter().flat_map(|subject| {
                subject.scenes.iter().map(|scene| format!("{}::{}", subject.name, scene.name))
            })
        };
        let listed = differences::ALL.iter().map(|difference| difference.scene.to_owned());
        let in_order = differences::NOT_WITH_WORKERS.iter().map(|name| (*name).to_owned());
        let left_out = differences::NOT_PLAYED
            .iter()
            .flat_map(|list| list.scenes.iter().map(|scene| format!("{}::{scene}", list.subject)));
        let missing: Vec<String> = listed
            .chain(in_order)
            .chain(left_out)
            .filter(|name| !scenes().any(|scene| scene == *name))
            .collect();
        if missing.is_empty() { Ok(()) } else { Err(format!("no scenes: {missing:?}").into()) }
    }));
    trials.push(common::trial(SEGMENTATION.name.to_owned(), PROGRAMS, || {
        let case = format!("kernel::{}", SEGMENTATION.name);
        let output = common::case_output("kernel", &case, segmentation::OPTIONS);
        assert!(output.status.success(), "{}", common::describe(&output));
    }));
    common::main(CASES, trials)
}
