//! `nsrouter clean`: what dead labs left goes, and nothing else.

use std::process::ExitCode;

use nsrouter_lab::clean::{What, clean};
use nsrouter_lab::{Removed, labs};

use crate::output::{errln, outln};

/// Remove what dead labs left behind: namespaces, links, processes inside, changed settings. What
/// nsrouter did not make is not touched.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Running labs too: they are ended first.
    #[arg(short, long)]
    all: bool,
    /// Only the lab of this name.
    #[arg(short, long, value_name = "LAB")]
    name: Option<String>,
}

/// Cleans, and says what was removed.
pub(crate) fn run(args: Args) -> anyhow::Result<ExitCode> {
    let removed = clean(&What { name: args.name.clone(), pid: None, all: args.all })?;
    if removed.is_empty() {
        match args.name {
            None => outln!("nothing to clean")?,
            Some(name) if labs()?.iter().any(|lab| lab.name == name) => {
                outln!("nothing to clean: lab {name} is running, and `nsrouter down {name}` ends it")?;
            }
            Some(name) => anyhow::bail!("there is no lab called `{name}`, and nothing that one left"),
        }
    }
    tell(&removed)?;
    let well = removed.iter().all(|lab| lab.problems.is_empty());
    Ok(if well { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Says what was removed, what was left, and what could not be removed.
pub(crate) fn tell(removed: &[Removed]) -> anyhow::Result<()> {
    for lab in removed {
        outln!("{}", describe(lab))?;
        lab.problems.iter().for_each(|sentence| errln!("  {sentence}"));
    }
    Ok(())
}

/// One lab's sentence, a line for each kind of thing that went, and one for each thing that was left.
pub(crate) fn describe(removed: &Removed) -> String {
    let processes: Vec<String> =
        removed.processes.iter().map(|process| format!("{} ({})", process.name, process.pid)).collect();
    let kinds = [
        ("ended processes", &processes),
        ("removed namespaces", &removed.namespaces),
        ("removed links", &removed.links),
        ("put back settings", &removed.sysctls),
        ("put back routes", &removed.routes),
    ];
    let what = match (removed.lab.as_str(), removed.private, removed.was_running) {
        ("", _, _) => "in the way".to_owned(),
        (lab, _, _) if removed.is_unreadable => format!("lab {lab}: its record cannot be read"),
        (lab, true, true) => format!("private lab {lab}: ended, and all of it went with it"),
        (lab, true, false) => format!("private lab {lab}: dead, nothing but its record was left"),
        (lab, false, true) => format!("lab {lab}: ended"),
        (lab, false, false) => format!("lab {lab}: dead"),
    };
    let lines = kinds
        .iter()
        .filter(|(_, things)| !things.is_empty())
        .map(|(did, things)| format!("\n  {did}: {}", things.join(", ")));
    let left = removed.left.iter().map(|sentence| format!("\n  {sentence}"));
    std::iter::once(what).chain(lines).chain(left).collect()
}
