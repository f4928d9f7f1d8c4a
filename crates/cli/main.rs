//! nsrouter: a packet-forwarding lab and dataplane for Linux.
//!
//! One file a subcommand; this one says what there is and turns outcomes into exit codes.
#![forbid(unsafe_code)]
#![deny(clippy::print_stdout, clippy::print_stderr, reason = "`output` is the one way out")]

mod backend;
mod bench;
mod check;
mod clean;
mod completions;
mod cpus;
mod doctor;
mod exec;
mod failure;
mod fit;
mod forwarder;
mod greeting;
mod man;
mod output;
mod parallel;
mod report;
mod run;
mod runtime;
mod settings;
mod shell;
mod status;
mod version;
mod which;

use std::process::ExitCode;

use clap::error::ErrorKind;
use clap::{CommandFactory, Parser, Subcommand};

use crate::output::{errln, out};

/// A packet-forwarding lab and dataplane for Linux.
///
/// Builds two hosts, t1 and t2, with a router between them, and forwards either with the kernel's
/// ip_forward or with nsrouter's own userspace router.
#[derive(Debug, Parser)]
#[command(bin_name = "nsrouter", version = version::VERSION, args_conflicts_with_subcommands = true, after_help = after_help())]
struct Cli {
    #[command(flatten)]
    run: run::Args,
    #[command(subcommand)]
    command: Option<Command>,
}

/// Commands to begin with, a line each.
const EXAMPLES: &str = "\
nsrouter --mode userspace                            build the lab and stay up
nsrouter --mode kernel --private -- nsrouter check   test the lab, take it down
nsrouter exec t1 -- ping 10.10.252.1                 run a program in a host
nsrouter bench                                       compare the modes";

/// What a script can tell from the exit code.
const EXIT_CODES: &str = "\
0 success, 1 failure, 2 usage error, 3 this machine or user cannot do it;
with a COMMAND, its own.";

#[derive(Debug, Subcommand)]
enum Command {
    /// Build the lab and forward, as `--mode` alone does; in userspace mode where none is named.
    Up(Box<run::Args>),
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
    /// Write the manual pages.
    Man(man::Args),
    /// Write the completions for a shell.
    Completions(completions::Args),
}

/// What stands below the options.
fn after_help() -> String {
    let indented = |text: &str| text.replace('\n', "\n  ");
    format!("Examples:\n  {}\n\nExit codes:\n  {}", indented(EXAMPLES), indented(EXIT_CODES))
}

fn main() -> ExitCode {
    // Before anything else, and in particular before any thread: the parts that this program plays for itself.
    let outcome = match nsrouter_lab::enter::first() {
        Ok(Some(code)) => Ok(ExitCode::from(code)),
        Ok(None) => match Cli::try_parse() {
            Ok(cli) => dispatch(cli),
            Err(error) => answer(&error),
        },
        Err(error) => Err(error.into()),
    };
    outcome.unwrap_or_else(|error| failure::explain(&error))
}

/// What clap has to say: help and version to standard output, a wrong use to standard error.
fn answer(error: &clap::Error) -> anyhow::Result<ExitCode> {
    let text = error.render().to_string();
    if error.use_stderr() {
        errln!("{}", text.trim_end());
    } else {
        out!("{text}")?;
    }
    Ok(ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(failure::USAGE)))
}

fn dispatch(cli: Cli) -> anyhow::Result<ExitCode> {
    runtime::can_start()?;
    match cli.command {
        None if cli.run.mode.is_none() => answer(&Cli::command().error(
            ErrorKind::MissingRequiredArgument,
            "who is to forward? say --mode kernel or --mode userspace, or `nsrouter up`",
        )),
        None => run::run(&cli.run),
        Some(Command::Up(mut args)) => {
            args.mode = args.mode.or(Some(run::Mode::Userspace));
            run::run(&args)
        }
        Some(Command::Check(args)) => check::run(args),
        Some(Command::Exec(args)) => exec::run(args),
        Some(Command::Shell(args)) => shell::run(args),
        Some(Command::Status(args)) => status::run(&args),
        Some(Command::Bench(args)) => bench::run(args),
        Some(Command::BenchAgent(args)) => bench::run_agent(args),
        Some(Command::Clean(args)) => clean::run(args),
        Some(Command::Doctor(args)) => doctor::run(args),
        Some(Command::Man(args)) => {
            man::run(&args, Cli::command(), &[("EXAMPLES", EXAMPLES), ("EXIT STATUS", EXIT_CODES)])
        }
        Some(Command::Completions(args)) => completions::run(&args, Cli::command()),
    }
}
