//! `nsrouter check`: whether the running lab forwards as it should, for every pair of nodes in its record and
//! both address families. Needs no other program.

mod lab;
mod plan;
mod probe;
mod row;
mod schedule;
mod text;

use std::process::ExitCode;

use nsrouter_engine::control::serve;
use nsrouter_lab::Error;
use nsrouter_lab::enter::{self, Entered};
use nsrouter_lab::records::State;
use serde::Serialize;

use self::lab::Lab;
use self::row::{Outcome, Row};
use crate::dataplane::socket;
use crate::options::which;
use crate::output::{self, out};

/// Test the running lab: pings, traceroutes and transfers between its nodes, in both address families.
#[derive(clap::Args, Debug)]
pub(crate) struct Args {
    #[command(flatten)]
    which: which::Args,
    /// Test only the path between these two nodes.
    #[arg(long, value_name = "NODE,NODE", value_parser = two_nodes)]
    between: Option<[String; 2]>,
    /// Print JSON.
    #[arg(short, long)]
    json: bool,
}

/// Tests the lab of that name, or the only one.
pub(crate) fn run(args: Args) -> anyhow::Result<ExitCode> {
    match enter::join(args.which.lab())? {
        (Entered::Done(code), _) => Ok(ExitCode::from(code)),
        (Entered::Here, state) => {
            let state = state.ok_or(Error::NoLabs)?;
            // An engine that does not answer is no reason not to test: what it should do will fail.
            let host_port = serve::ask_status(&socket::path(&state.dir())).map(|status| status.host_port);
            let no_host_port_because = host_port.ok().filter(|port| !port.available).map(|port| port.reason);
            check(&state, no_host_port_because.as_deref(), args.between, args.json)
        }
    }
}

fn two_nodes(text: &str) -> Result<[String; 2], String> {
    match text.split(',').collect::<Vec<_>>()[..] {
        [one, two] if !one.is_empty() && !two.is_empty() && one != two => {
            Ok([one.to_owned(), two.to_owned()])
        }
        _ => Err("write two nodes, as in t1,t2".to_owned()),
    }
}

/// Runs the tests and prints each as it ends. Success only where none failed. `no_host_port_because` says why
/// local programs on the router have no access to the network, where they have none.
fn check(
    state: &State,
    no_host_port_because: Option<&str>,
    between: Option<[String; 2]>,
    json: bool,
) -> anyhow::Result<ExitCode> {
    for node in between.iter().flatten() {
        state.node(node)?;
    }
    let lab = Lab::of(state, between)?;
    let tests = plan::tests(&lab, no_host_port_because);
    if let (Some([one, two]), true) = (&lab.between, tests.is_empty()) {
        return Err(Error::Usage(format!("there is nothing to test between {one} and {two}")).into());
    }
    let width = tests.iter().map(|test| test.name.chars().count()).max().unwrap_or(0);
    let mut printed: Vec<String> = Vec::new();
    let mut lost = Ok(());
    let rows = schedule::run_all(&tests, |row| {
        if !json && lost.is_ok() {
            lost = out!("{}", text::line(row, width, &mut printed));
        }
    });
    lost?;
    let passed = rows.iter().all(|row| !matches!(row.outcome, Outcome::Fail { .. }));
    if json {
        output::json(&Report { lab: &state.name, mode: &state.mode, passed, rows: &rows })?;
    } else {
        out!("{}", text::summary(state, &rows))?;
    }
    Ok(if passed { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// The report as JSON.
#[derive(Serialize)]
struct Report<'a> {
    lab: &'a str,
    mode: &'a str,
    passed: bool,
    rows: &'a [Row],
}
