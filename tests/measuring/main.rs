//! The commands that judge: `check` must see what is wrong, `doctor` must answer, `bench` must measure, and
//! stop when told.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod bench;
#[path = "../common/mod.rs"]
mod common;
mod extras;
mod judging;
mod runs;
mod schema;

use std::process::ExitCode;

use common::{BACKENDS, BOTH, Case, trial};

const CASES: &[Case] = &[
    Case {
        name: "bench_counts_what_the_kernel_counts",
        modes: BACKENDS,
        programs: &[],
        body: bench::generator_counts,
    },
    Case {
        name: "check_names_what_fails",
        modes: &["kernel"],
        programs: &["sh"],
        body: judging::check_fails,
    },
    Case {
        name: "check_sees_answers_that_come_twice",
        modes: BOTH,
        programs: &["nft"],
        body: judging::check_duplicates,
    },
];

fn main() -> ExitCode {
    let mut trials = extras::trials();
    trials.extend([
        trial("doctor_tries_and_tells".into(), &[], judging::doctor),
        trial("bench_measures_with_the_builtin_generator".into(), &[], || bench::measures("builtin")),
        trial("bench_measures_with_iperf3".into(), &["iperf3"], || bench::measures("iperf3")),
        trial("bench_measures_with_iperf".into(), &["iperf"], || bench::measures("iperf")),
        trial("bench_pings".into(), &["ping"], bench::pings),
        trial("bench_runs_any_forwarder".into(), &[], bench::any_forwarder),
        trial("bench_loads_routes".into(), &["ip"], bench::routes),
        trial("bench_finds_the_highest_rate_without_loss".into(), &[], bench::no_loss),
        trial("bench_builtin_tcp_is_as_fast_as_iperf3".into(), &["iperf3"], bench::builtin_tcp),
        trial("bench_ends_at_once_when_interrupted".into(), &[], bench::interrupted),
        trial("bench_under_nohup_ignores_a_hang_up".into(), &[], bench::under_nohup),
        trial("bench_fails_on_a_regression".into(), &[], bench::regression),
        trial("bench_says_what_is_wrong_in_one_sentence".into(), &[], bench::wrong_bench),
    ]);
    common::main_one_by_one(CASES, trials)
}
