//! `nsrouter status`: the running lab as it is now.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use nsrouter_engine::control::serve;
use nsrouter_engine::status::Status;
use nsrouter_lab::Error;
use nsrouter_lab::enter::{self, Entered};
use nsrouter_lab::state::State;

use crate::output::{self, outln};
use crate::report::{self, LabReport};
use crate::{terminal, which};

/// What `status` takes.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    which: which::Args,
    /// Print JSON.
    #[arg(short, long)]
    json: bool,
}

/// The control socket in a lab's folder.
pub(crate) fn socket_of(dir: &Path) -> PathBuf {
    dir.join("control.sock")
}

/// A lab's record and its engine's state, together.
pub(crate) fn report_of<'a>(state: &'a State, engine: &'a Status) -> LabReport<'a> {
    LabReport {
        lab: &state.name,
        private: state.private,
        pid: state.owner.pid,
        namespaces: state.nodes.iter().map(|node| (node.name.as_str(), node.namespace.as_deref())).collect(),
        engine,
    }
}

/// Shows the running lab.
pub(crate) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let (entered, state) = enter::join(args.which.lab())?;
    if let Entered::Done(code) = entered {
        return Ok(ExitCode::from(code));
    }
    let state = state.ok_or(Error::NoLabs)?;
    let engine = serve::ask_status(&socket_of(&state.dir()))?;
    if args.json {
        output::json(&report_of(&state, &engine))?;
        return Ok(ExitCode::SUCCESS);
    }
    outln!("lab `{}`: {} mode, {}, process {}", state.name, engine.mode, engine.backend, state.owner.pid)?;
    for node in &state.nodes {
        let place = node.namespace.as_deref().unwrap_or("where nsrouter was started");
        outln!("  {:<12} namespace {place}", node.name)?;
    }
    if !engine.host_port.available {
        outln!("no host port: {}", engine.host_port.reason)?;
    }
    outln!("\n{}\n{}", report::ports(&engine, terminal::look()), report::account(&engine))?;
    if !engine.neighbours.is_empty() {
        outln!("neighbours:")?;
        for neighbour in &engine.neighbours {
            let mac = neighbour.mac.as_deref().unwrap_or("-");
            outln!("  {:<10} {:<28} {mac:<18} {}", neighbour.port, neighbour.address, neighbour.state)?;
        }
    }
    Ok(ExitCode::SUCCESS)
}
