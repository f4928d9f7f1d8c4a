//! `nsrouter exec`: a program inside a node of the running lab.

use std::ffi::OsString;
use std::process::ExitCode;

use nsrouter_lab::enter::{self, Entered};
use nsrouter_lab::records::LabSelector;

use crate::options::which;

/// Run a program in a node of the running lab, as `ip netns exec` does, and exit with its exit code.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    which: which::Args,
    /// The node: t1, t2 or router in the built-in lab.
    node: String,
    /// The program and its arguments.
    #[arg(required = true, trailing_var_arg = true, allow_hyphen_values = true, value_name = "COMMAND")]
    command: Vec<OsString>,
}

/// Becomes the program; returns where that fails, or where a copy of this process became it elsewhere.
pub(crate) fn run(args: Args) -> anyhow::Result<ExitCode> {
    become_inside(args.which.lab(), &args.node, |_| (args.command, Vec::new()))
}

/// Goes into a node and becomes what `program` says: the words, and additions to the environment.
pub(crate) fn become_inside(
    lab: LabSelector<'_>,
    node: &str,
    program: impl FnOnce(&str) -> (Vec<OsString>, Vec<(&'static str, String)>),
) -> anyhow::Result<ExitCode> {
    match enter::join(lab)? {
        (Entered::Done(code), _) => Ok(ExitCode::from(code)),
        (Entered::Here, state) => {
            let state = state.ok_or(nsrouter_lab::Error::NoLabs)?;
            state.node(node)?;
            let (words, environment) = program(&state.name);
            Err(enter::exec(&state, node, &words, &environment).into())
        }
    }
}
