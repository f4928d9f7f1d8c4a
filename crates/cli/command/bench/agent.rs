//! `nsrouter bench-agent`, hidden: inside a lab that `bench` has started, it measures one scenario and prints
//! the samples as a line of JSON.

use std::process::ExitCode;

use nix::unistd::getppid;
use nsrouter_bench::agent::{self, AgentError, AgentOptions};
use nsrouter_bench::plan::{Mode, Placement, Scenario, TrafficChoice};
use nsrouter_bench::testbed::Testbed;
use nsrouter_bench::testbed::script::ScriptError;
use nsrouter_lab::Error;
use nsrouter_lab::enter::{self, Entered};
use nsrouter_lab::records::LabSelector;

use super::modes;
use crate::options::which::LAB_VARIABLE;
use crate::output::failure;
use crate::output::{errln, write_bytes};

/// The arguments, as [`AgentOptions::arguments`] writes them.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[arg(long, env = LAB_VARIABLE)]
    name: Option<String>,
    #[arg(long)]
    scenario: Scenario,
    #[arg(long, value_parser = modes::mode)]
    forwarder: Mode,
    #[arg(long)]
    rate: Option<f64>,
    #[arg(long)]
    seconds: u32,
    #[arg(long)]
    warm_up: u32,
    #[arg(long)]
    placement: Placement,
    #[arg(long)]
    congestion: Option<String>,
    #[arg(long)]
    traffic: TrafficChoice,
}

/// Measures and prints.
pub(crate) fn run(args: Args) -> anyhow::Result<ExitCode> {
    let Args { name, scenario, forwarder, rate, seconds, warm_up, placement, congestion, traffic } = args;
    let state = match enter::join(LabSelector::named(name.as_deref()))? {
        (Entered::Done(code), _) => return Ok(ExitCode::from(code)),
        (Entered::Here, state) => state.ok_or(Error::NoLabs)?,
    };
    // The lab's keeper has started this process.
    let testbed = Testbed::of(&state, placement, getppid().as_raw())?;
    let options = AgentOptions {
        scenario,
        mode: forwarder,
        seconds,
        warm_up_seconds: warm_up,
        traffic,
        placement,
        congestion,
        rate,
    };
    let report = match agent::measure(&testbed, &options) {
        // With this exit code the run goes on without the mode, and these words are its reason.
        Err(AgentError::Script(ScriptError::Cannot { path, said })) => {
            errln!("{}", if said.is_empty() { format!("{} cannot work here", path.display()) } else { said });
            return Ok(ExitCode::from(failure::CANNOT));
        }
        outcome => outcome?,
    };
    write_bytes(format!("{}\n", serde_json::to_string(&report)?).as_bytes())?;
    Ok(ExitCode::SUCCESS)
}
