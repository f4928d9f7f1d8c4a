//! What public bug reports of forwarders and labs taught: each report's case, played in every mode and over
//! every backend.
//!
//! The kernel is the oracle where it has an opinion: a case has one body, and kernel mode runs it too. One
//! file a subject, which exports its cases, and the trials that make labs of their own.
#![allow(clippy::unwrap_used, clippy::expect_used)]

#[path = "../common/mod.rs"]
mod common;
mod kernel_tables;
mod life;
mod own_host;
mod records;
mod scale;
mod screen;
mod tunnels;
mod xdp;

use std::process::ExitCode;

use common::Case;

/// The cases of every subject.
const CASES: &[&[Case]] = &[
    kernel_tables::CASES,
    life::CASES,
    own_host::CASES,
    records::CASES,
    scale::CASES,
    screen::CASES,
    tunnels::CASES,
    xdp::CASES,
];

fn main() -> ExitCode {
    let subjects = [
        kernel_tables::trials(),
        life::trials(),
        own_host::trials(),
        records::trials(),
        scale::trials(),
        screen::trials(),
        tunnels::trials(),
        xdp::trials(),
    ];
    common::main_of(CASES, subjects.into_iter().flatten().collect())
}
