//! nsrouter: a packet-forwarding lab and dataplane for Linux.
//!
//! A file or folder for each subcommand is in `command`; this file lists them and turns outcomes into exit
//! codes.
#![forbid(unsafe_code)]
#![deny(clippy::print_stdout, clippy::print_stderr, reason = "`output` is the one way out")]

mod command;
mod dataplane;
mod options;
mod output;
mod runtime;
mod version;

use std::process::ExitCode;

use clap::error::ErrorKind;
use clap::{CommandFactory, Parser, Subcommand};

use crate::command::{bench, check, clean, completions, doctor, down, exec, ls, man, run, shell, status};
use crate::options::misspelt;
use crate::options::mode::Mode;
use crate::output::{errln, failure, log, out};

/// A packet-forwarding lab and dataplane for Linux.
///
/// Builds two hosts, t1 and t2, with a router between them, and forwards either with the kernel's
/// ip_forward or with nsrouter's own userspace router.
#[derive(Debug, Parser)]
#[command(bin_name = "nsrouter", version = version::VERSION, args_conflicts_with_subcommands = true,
          override_usage = USAGE, after_help = after_help())]
struct Cli {
    #[command(flatten)]
    run: run::Args,
    #[command(subcommand)]
    command: Option<Command>,
}

/// The two forms of a command line.
const USAGE: &str = "\
nsrouter --mode <MODE> [OPTIONS] [-- <COMMAND>...]
       nsrouter <SUBCOMMAND> [OPTIONS]";

/// First commands to try, a line each.
const EXAMPLES: &str = "\
nsrouter --mode userspace                        build the lab and stay up
nsrouter -m kernel --private -- nsrouter check   test one and take it down
nsrouter up -d                                   keep a lab in the background
nsrouter exec t1 -- ping 10.10.252.1             run a program in a host
nsrouter down                                    take it down
nsrouter bench                                   compare the modes";

/// The exit codes, for scripts.
const EXIT_CODES: &str = "\
0 success, 1 failure, 2 usage error, 3 not supported or not permitted here;
with COMMAND, COMMAND's exit code: 124 if --for ended it, 126 if it cannot be
executed, 127 if it is not found, 128 plus the number of a signal that ended it.";

#[derive(Debug, Subcommand)]
enum Command {
    /// Build a lab and forward, in userspace mode unless --mode is given.
    Up(Box<run::Args>),
    /// Take a lab down, and return when it is gone.
    Down(down::Args),
    /// List the labs.
    Ls(ls::Args),
    /// Test the running lab: pings, traceroutes and transfers.
    Check(check::Args),
    /// Run a program in a node of the running lab.
    Exec(exec::Args),
    /// Open a shell in a node of the running lab.
    Shell(shell::Args),
    /// Show the running lab: engine, ports, counters, drop reasons.
    Status(status::Args),
    /// Measure the forwarding modes and compare them.
    Bench(bench::Args),
    /// Run one benchmark scenario inside a lab; started by `bench`.
    #[command(hide = true)]
    BenchAgent(bench::agent::Args),
    /// Remove what dead labs left behind, and nothing else.
    Clean(clean::Args),
    /// Report what this kernel and user support, and what is missing.
    Doctor(doctor::Args),
    /// Write the manual pages.
    Man(man::Args),
    /// Write shell completions.
    Completions(completions::Args),
}

/// The subcommands in a few lines: the whole help does not fit on a screen.
fn overview() -> String {
    let command = Cli::command();
    let lines = command.get_subcommands().filter(|subcommand| !subcommand.is_hide_set()).map(|subcommand| {
        let about = subcommand.get_about().map(ToString::to_string).unwrap_or_default();
        format!("  {:<12} {about}\n", subcommand.get_name())
    });
    format!(
        "{}\n\nUsage: {USAGE}\n\n{}\n`nsrouter --help` and `nsrouter SUBCOMMAND --help` list the options.",
        command.get_about().map(ToString::to_string).unwrap_or_default(),
        lines.collect::<String>(),
    )
}

/// The help text below the options.
fn after_help() -> String {
    let indented = |text: &str| text.replace('\n', "\n  ");
    format!("Examples:\n  {}\n\nExit codes:\n  {}", indented(EXAMPLES), indented(EXIT_CODES))
}

fn main() -> ExitCode {
    log::start();
    // Before any thread is started: this program may have been started by itself, to do a part of the work.
    let outcome = match nsrouter_lab::enter::first() {
        Ok(Some(code)) => Ok(ExitCode::from(code)),
        Ok(None) => match Cli::try_parse() {
            Ok(cli) => dispatch(cli),
            Err(error) => answer(&misspelt::mend(error, &mut Cli::command())),
        },
        Err(error) => Err(error.into()),
    };
    outcome.unwrap_or_else(|error| failure::explain(&error))
}

/// Prints help and version to standard output, and usage errors to standard error.
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
        None if std::env::args_os().len() < 2 => {
            errln!("{}", overview());
            Ok(ExitCode::from(failure::USAGE))
        }
        None if cli.run.mode.is_none() => answer(&Cli::command().error(
            ErrorKind::MissingRequiredArgument,
            "no mode is given: use --mode kernel or --mode userspace, or `nsrouter up`",
        )),
        None => run::run(&cli.run),
        Some(Command::Up(mut args)) => {
            args.mode = args.mode.or(Some(Mode::Userspace));
            run::run(&args)
        }
        Some(Command::Down(args)) => down::run(&args),
        Some(Command::Ls(args)) => ls::run(&args),
        Some(Command::Check(args)) => check::run(args),
        Some(Command::Exec(args)) => exec::run(args),
        Some(Command::Shell(args)) => shell::run(args),
        Some(Command::Status(args)) => status::run(&args),
        Some(Command::Bench(args)) => bench::run(args),
        Some(Command::BenchAgent(args)) => bench::agent::run(args),
        Some(Command::Clean(args)) => clean::run(args),
        Some(Command::Doctor(args)) => doctor::run(args),
        Some(Command::Man(args)) => {
            man::run(&args, Cli::command(), &[("EXAMPLES", EXAMPLES), ("EXIT STATUS", EXIT_CODES)])
        }
        Some(Command::Completions(args)) => completions::run(&args, Cli::command()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_sound() {
        // clap checks a subcommand only when it is used.
        Cli::command().debug_assert();
    }
}
