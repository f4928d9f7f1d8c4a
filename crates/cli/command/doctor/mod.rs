//! `nsrouter doctor`: what this kernel and user support, tried in throw-away namespaces; and the cost and
//! remedy of what is missing.

mod filter;
mod finding;
mod programs;
mod rules;
mod tries;

use std::process::ExitCode;

use self::finding::{State, text};
use self::rules::findings;
use self::tries::{in_user_namespace, look};
use crate::output::failure::CANNOT;
use crate::output::{self, out, outln};

/// Report what this kernel and user support: tried in throw-away namespaces, with the cost and the remedy of
/// what is missing.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Print JSON.
    #[arg(short, long)]
    json: bool,
    /// Set where `doctor` starts itself, to try things in a user namespace.
    #[arg(long, hide = true)]
    in_user_namespace: bool,
}

/// Probes, and prints the findings. Success where a lab can run, with or without limits.
pub(crate) fn run(args: Args) -> anyhow::Result<ExitCode> {
    if args.in_user_namespace {
        // Here the process still has one thread, as unshare(CLONE_NEWUSER) demands.
        outln!("{}", serde_json::to_string(&in_user_namespace())?)?;
        return Ok(ExitCode::SUCCESS);
    }
    let findings = findings(&look());
    if args.json {
        output::json(&findings)?;
    } else {
        out!("{}", text(&findings))?;
    }
    let able = findings.iter().all(|finding| !finding.essential || finding.state != State::No);
    Ok(if able { ExitCode::SUCCESS } else { ExitCode::from(CANNOT) })
}
