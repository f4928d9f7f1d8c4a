//! `nsrouter shell`: the user's shell inside a node of the running lab.

use std::ffi::OsString;
use std::process::ExitCode;

use crate::command::exec::become_inside;
use crate::options::which;
use crate::output::errln;

/// Open a shell in a node of the running lab; the prompt names the node.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    which: which::Args,
    /// The node: t1, t2 or router in the built-in lab.
    node: String,
}

/// Becomes the shell; returns as [`crate::command::exec::run`] does.
pub(crate) fn run(args: Args) -> anyhow::Result<ExitCode> {
    become_inside(args.which.lab(), &args.node, |lab| {
        let shell = std::env::var_os("SHELL").filter(|shell| !shell.is_empty());
        let shell = shell.unwrap_or_else(|| OsString::from("/bin/sh"));
        errln!("a shell in {} of lab {lab}; `exit` leaves it", args.node);
        (vec![shell], prompt(&args.node, lab))
    })
}

/// A prompt that says where one is. bash sets PS1 in its start-up files, so there the hint is put before
/// it at each prompt; other shells take PS1 from the environment.
fn prompt(node: &str, lab: &str) -> Vec<(&'static str, String)> {
    vec![
        ("PS1", format!("({node}) $ ")),
        ("PROMPT_COMMAND", format!("PS1=\"({node}) ${{PS1#({node}) }}\"")),
        ("NSROUTER_NODE", node.to_owned()),
        ("NSROUTER_LAB", lab.to_owned()),
    ]
}
