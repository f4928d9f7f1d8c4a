//! `nsrouter clean`: what dead labs left goes, and nothing else.

use std::process::ExitCode;

use nsrouter_lab::clean::{CleanSelection, clean};
use nsrouter_lab::records::labs;

use crate::output::{outln, removed};

/// Remove what dead labs left behind: namespaces, links, processes inside, changed settings. What
/// nsrouter did not make is not touched.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Also take down labs that are running.
    #[arg(short, long)]
    all: bool,
    /// Only the lab of this name.
    #[arg(short, long, value_name = "LAB")]
    name: Option<String>,
}

/// Cleans, and says what was removed.
pub(crate) fn run(args: Args) -> anyhow::Result<ExitCode> {
    let gone = clean(&CleanSelection { name: args.name.clone(), pid: None, all: args.all })?;
    if gone.is_empty() {
        match args.name {
            None => outln!("nothing to clean")?,
            Some(name) if labs()?.iter().any(|lab| lab.name == name) => {
                outln!("nothing to clean: lab {name} is running; `nsrouter down {name}` takes it down")?;
            }
            Some(name) => anyhow::bail!("there is no lab called `{name}`, and nothing is left of one"),
        }
    }
    removed::tell(&gone)?;
    let well = gone.iter().all(|lab| lab.problems.is_empty());
    Ok(if well { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
