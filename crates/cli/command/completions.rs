//! `nsrouter completions`: what a shell needs to complete nsrouter's words.

use std::process::ExitCode;

use clap_complete::Shell;

use crate::output;

/// Write the completions for a shell to standard output.
///
/// For bash: `nsrouter completions bash > /etc/bash_completion.d/nsrouter`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The shell that is to read them.
    #[arg(value_name = "SHELL")]
    shell: Shell,
}

/// Writes the completions of `command`.
pub(crate) fn run(args: &Args, mut command: clap::Command) -> anyhow::Result<ExitCode> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut command, "nsrouter", &mut script);
    output::write_bytes(&script)?;
    Ok(ExitCode::SUCCESS)
}
