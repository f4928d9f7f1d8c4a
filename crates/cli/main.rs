//! nsrouter: a packet-forwarding lab and dataplane for Linux.
//!
//! One file a subcommand; this one says what there is and turns outcomes into exit codes.
#![forbid(unsafe_code)]

mod backend;
mod bench;
mod check;
mod clean;
mod cpus;
mod doctor;
mod exec;
mod failure;
mod forwarder;
mod report;
mod run;
mod settings;
mod shell;
mod status;

use std::process::ExitCode;

use clap::{CommandFactory, Parser, Subcommand};

/// A packet-forwarding lab and dataplane for Linux.
///
/// Builds two hosts, t1 and t2, with a router between them, and forwards either with the kernel's
/// ip_forward or with nsrouter's own userspace router.
#[derive(Debug, Parser)]
#[command(bin_name = "nsrouter", version, args_conflicts_with_subcommands = true, after_help = AFTER_HELP)]
struct Cli {
    #[command(flatten)]
    run: run::Args,
    #[command(subcommand)]
    command: Option<Command>,
}

const AFTER_HELP: &str = "\
Examples:
  nsrouter --mode userspace                            build the lab and stay up
  nsrouter --mode kernel --private -- nsrouter check   test the lab and take it down
  nsrouter exec t1 -- ping 10.10.252.1                 run a program in a host of the running lab
  nsrouter bench                                       compare the modes

Exit codes: 0 well, 1 failed, 2 wrong usage, 3 this machine or user cannot; with a COMMAND, its own.";

#[derive(Debug, Subcommand)]
enum Command {
    /// Test the running lab: every ping, traceroute and transfer that must work.
    Check(check::Args),
    /// Run a program in a node of the running lab.
    Exec(exec::Args),
    /// Open a shell in a node of the running lab.
    Shell(shell::Args),
    /// Show the running lab: its engine, each port's counters, each drop reason.
    Status(status::Args),
    /// Compare the forwarding modes by measurement.
    Bench(bench::Args),
    /// Run one benchmark scenario inside a lab; what `bench` starts.
    #[command(hide = true)]
    BenchAgent(bench::AgentArgs),
    /// Remove what dead labs left behind, and nothing else.
    Clean(clean::Args),
    /// Say what this kernel and user can do, and what is missing.
    Doctor(doctor::Args),
}

fn main() -> ExitCode {
    // Before anything else, and in particular before any thread: the parts that this program plays for itself.
    let outcome = match nsrouter_lab::enter::first() {
        Ok(Some(code)) => Ok(ExitCode::from(code)),
        Ok(None) => dispatch(Cli::parse()),
        Err(error) => Err(error.into()),
    };
    outcome.unwrap_or_else(|error| failure::explain(&error))
}

fn dispatch(cli: Cli) -> anyhow::Result<ExitCode> {
    match cli.command {
        None if cli.run.mode.is_none() => {
            // Neither a mode nor a subcommand: say what there is.
            Cli::command().print_help()?;
            Ok(ExitCode::from(failure::USAGE))
        }
        None => run::run(&cli.run),
        Some(Command::Check(args)) => check::run(args),
        Some(Command::Exec(args)) => exec::run(args),
        Some(Command::Shell(args)) => shell::run(args),
        Some(Command::Status(args)) => status::run(&args),
        Some(Command::Bench(args)) => bench::run(args),
        Some(Command::BenchAgent(args)) => bench::run_agent(args),
        Some(Command::Clean(args)) => clean::run(args),
        Some(Command::Doctor(args)) => doctor::run(args),
    }
}
