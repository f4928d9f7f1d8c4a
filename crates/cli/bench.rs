//! `nsrouter bench`: the forwarding modes compared by measurement, each in private labs of its own.

use std::io::IsTerminal;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::Context;
use clap::error::ErrorKind;
use indicatif::{ProgressBar, ProgressStyle};
use nsrouter_bench::agent::{self, AgentOptions, Host};
use nsrouter_bench::baseline::{self, Baseline, Verdict};
use nsrouter_bench::cell::{Binary, Cancel};
use nsrouter_bench::environment::Environment;
use nsrouter_bench::output::{self, OutputError};
use nsrouter_bench::plan::{Mode, Plan, Scenario};
use nsrouter_bench::report::Report;
use nsrouter_bench::run::{self, Event, Outcome, Refusal};
use nsrouter_bench::traffic::{Generator, Iperf3Error, TrafficChoice};
use nsrouter_lab::enter::{self, Entered};
use nsrouter_lab::state::{NodeState, State};
use nsrouter_lab::{Error, NETNS_DIR, Role};
use tokio::signal::unix::{SignalKind, signal};

use crate::failure::Cannot;
use crate::status::LAB_VARIABLE;

/// What `bench --quick` measures.
const QUICK_SCENARIOS: [&str; 3] = ["tcp-1", "udp-64", "latency-idle"];

/// What `bench` takes.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Who forwards: kernel, userspace:BACKEND. Ratios are to kernel.
    #[arg(long, value_name = "LIST", value_delimiter = ',', default_value = "kernel,userspace:packet")]
    modes: Vec<Mode>,
    /// What is sent: tcp-N, tcp-N-reverse, tcp-bidir, udp-SIZE (frame with FCS), latency-idle,
    /// latency-load, connections, each also with -v6.
    #[arg(
        long,
        value_name = "LIST",
        value_delimiter = ',',
        default_value = "tcp-1,tcp-4,udp-64,latency-idle"
    )]
    scenarios: Vec<Scenario>,
    /// A first look, in under a minute.
    #[arg(long, conflicts_with_all = ["scenarios", "rounds", "seconds", "warm_up"])]
    quick: bool,
    /// Samples of each scenario in each mode.
    #[arg(long, value_name = "N", default_value_t = 5)]
    rounds: u32,
    /// Measured time of a sample.
    #[arg(long, value_name = "S", default_value_t = 3)]
    seconds: u32,
    /// Time of the same load before that, not counted.
    #[arg(long, value_name = "S", default_value_t = 1)]
    warm_up: u32,
    /// What makes the traffic: iperf3, builtin, or auto for the first that is there.
    #[arg(long, value_name = "WHAT", default_value = "auto")]
    traffic: TrafficChoice,
    /// Decides the order of the samples and the resampling; recorded with the results.
    #[arg(long, value_name = "NUMBER")]
    seed: Option<u64>,
    /// Also write all samples, medians, ratios and the environment to this file, renewed after every round.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Write results.json, results.csv and report.html with plots into this folder, renewed after every round.
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Compare with an earlier results.json: says what got better or worse, exit code 1 if anything got worse.
    #[arg(long, value_name = "FILE")]
    baseline: Option<PathBuf>,
}

/// Where results go besides the terminal.
#[derive(Debug, Clone)]
struct Outputs {
    json: Option<PathBuf>,
    folder: Option<PathBuf>,
}

impl Outputs {
    fn write(&self, report: &Report) -> Result<(), OutputError> {
        if let Some(file) = &self.json {
            output::write_json(file, report)?;
        }
        if let Some(folder) = &self.folder {
            output::write_folder(folder, report)?;
        }
        Ok(())
    }
}

/// What the hidden `bench-agent` takes: see [`nsrouter_bench::cell::agent_arguments`].
#[derive(Debug, clap::Args)]
pub(crate) struct AgentArgs {
    #[arg(long, env = LAB_VARIABLE)]
    name: Option<String>,
    #[arg(long)]
    scenario: Scenario,
    #[arg(long)]
    seconds: u32,
    #[arg(long)]
    warm_up: u32,
    #[arg(long)]
    traffic: TrafficChoice,
}

/// Measures, and prints the comparison. Success only where every cell was measured and none is worse than the baseline's.
pub(crate) fn run(args: Args) -> anyhow::Result<ExitCode> {
    let (scenarios, rounds, seconds, warm_up_seconds) = if args.quick {
        let scenarios = QUICK_SCENARIOS.iter().map(|name| name.parse()).collect::<Result<_, _>>()?;
        // Five rounds, because fewer tell nothing apart.
        (scenarios, 5, 1, 0)
    } else {
        (args.scenarios, args.rounds, args.seconds, args.warm_up)
    };
    let plan = Plan {
        modes: args.modes,
        scenarios,
        rounds,
        seconds,
        warm_up_seconds,
        seed: args.seed.unwrap_or_else(seed_of_now),
        traffic: args.traffic,
    };
    if let Err(error) = plan.validate() {
        clap::Error::raw(ErrorKind::ValueValidation, format!("{error}\n")).exit();
    }
    let generator = match Generator::choose(plan.traffic) {
        Ok(generator) => generator,
        Err(error @ Iperf3Error::Missing) => {
            let hint = "apt-get install iperf3, or use --traffic builtin".into();
            return Err(Cannot { what: error.to_string(), hint }.into());
        }
        Err(error) => return Err(error.into()),
    };
    let binary = Binary {
        path: std::env::current_exe().context("cannot find this program's own file")?,
        agent_subcommand: "bench-agent".into(),
    };
    let environment = Environment::look(&plan, &generator, env!("CARGO_PKG_VERSION"));
    let baseline = args.baseline.as_deref().map(|file| Baseline::read(file, &plan)).transpose()?;
    let outputs = Outputs { json: args.json, folder: args.out };
    // Before minutes of work, not after: can it be written at all?
    outputs.write(&Report::new(&plan, environment.clone(), &Outcome::default()))?;
    let outcome = measure(&binary, &plan, &environment, &outputs)?;
    let report = Report::new(&plan, environment, &outcome);
    outputs.write(&report)?;
    if let Some(Refusal { mode, code, said }) = &outcome.refused {
        eprintln!("nsrouter: the mode {mode} cannot be measured here: {said}");
        return Ok(ExitCode::from(u8::try_from(*code).unwrap_or(1)));
    }
    if !report.results.is_empty() {
        println!("{}", report.table());
    }
    for note in report.notes() {
        println!("{note}");
    }
    let mut worse = false;
    if let Some(baseline) = baseline {
        let changes = baseline.compare(&report);
        worse = changes.iter().any(|change| change.verdict == Verdict::Worse);
        let different = baseline.differences(&report.environment);
        different.iter().for_each(|difference| println!("warning: {difference}"));
        baseline::lines(&changes).iter().for_each(|line| println!("{line}"));
    }
    let whole = !outcome.interrupted && outcome.lost_cells().next().is_none();
    Ok(if whole && !worse { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Measures on a thread of its own, while this one waits for a signal to stop it.
fn measure(
    binary: &Binary,
    plan: &Plan,
    environment: &Environment,
    outputs: &Outputs,
) -> anyhow::Result<Outcome> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("cannot start the runtime that waits for signals")?;
    let cancel = Cancel::default();
    let (binary, plan, environment) = (binary.clone(), plan.clone(), environment.clone());
    let (outputs, worker_cancel) = (outputs.clone(), cancel.clone());
    runtime.block_on(async {
        let mut interrupt = signal(SignalKind::interrupt())?;
        let mut terminate = signal(SignalKind::terminate())?;
        let mut hangup = signal(SignalKind::hangup())?;
        let mut work = tokio::task::spawn_blocking(move || {
            let progress = Progress::new(&plan);
            run::run(&binary, &plan, &worker_cancel, |event| {
                progress.show(&plan, &event);
                if let Event::Round { so_far } = &event
                    && let Err(error) = outputs.write(&Report::new(&plan, environment.clone(), so_far))
                {
                    progress.line(&format!("{:#}", anyhow::Error::from(error)));
                }
            })
        });
        let outcome = tokio::select! {
            outcome = &mut work => outcome,
            _ = interrupt.recv() => { cancel.cancel(); work.await }
            _ = terminate.recv() => { cancel.cancel(); work.await }
            _ = hangup.recv() => { cancel.cancel(); work.await }
        };
        Ok(outcome?)
    })
}

/// A bar on a terminal, a line a round elsewhere; on standard error, beside the results.
struct Progress {
    bar: ProgressBar,
    terminal: bool,
}

impl Progress {
    fn new(plan: &Plan) -> Progress {
        let terminal = std::io::stderr().is_terminal();
        let bar = ProgressBar::new(plan.schedule().len() as u64);
        let template = "{bar:30} {pos}/{len} {msg}, {eta} left";
        bar.set_style(
            ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar()),
        );
        Progress { bar, terminal }
    }

    fn line(&self, text: &str) {
        if self.terminal { self.bar.println(text) } else { eprintln!("{text}") }
    }

    fn show(&self, plan: &Plan, event: &Event<'_>) {
        match event {
            Event::Begin { cell } => self.bar.set_message(format!("{} {}", cell.scenario, cell.mode)),
            Event::Done => self.bar.inc(1),
            Event::Failed(failure) => {
                let cell = &failure.cell;
                self.line(&format!(
                    "round {}: {} in {}, attempt {}: {}",
                    cell.round + 1,
                    cell.scenario,
                    cell.mode,
                    failure.attempt,
                    failure.message
                ));
            }
            Event::Round { so_far } if !self.terminal => {
                let rounds = so_far.measurements.last().map_or(0, |m| m.cell.round + 1);
                self.line(&format!("round {rounds} of {} measured", plan.rounds));
            }
            Event::Round { .. } => {}
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}

fn seed_of_now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

/// Inside a lab that `bench` has started: measures one scenario and prints its samples as a line of JSON.
pub(crate) fn run_agent(args: AgentArgs) -> anyhow::Result<ExitCode> {
    let state = match enter::join(args.name.as_deref())? {
        (Entered::Done(code), _) => return Ok(ExitCode::from(code)),
        (Entered::Here, state) => state.ok_or(Error::NoLabs)?,
    };
    let (client, server) = ends(&state)?;
    let options = AgentOptions {
        scenario: args.scenario,
        seconds: args.seconds,
        warm_up_seconds: args.warm_up,
        traffic: args.traffic,
    };
    let report = agent::measure(&client, &server, &options)?;
    println!("{}", serde_json::to_string(&report)?);
    Ok(ExitCode::SUCCESS)
}

/// The first two hosts of the topology: the client and the server.
fn ends(state: &State) -> anyhow::Result<(Host, Host)> {
    let mut hosts = state.nodes.iter().filter(|node| node.role == Role::Host).map(host);
    let mut next = || hosts.next().context("the lab needs two hosts to measure between")?;
    Ok((next()?, next()?))
}

fn host(node: &NodeState) -> anyhow::Result<Host> {
    let addresses = || node.ports.iter().flat_map(|port| &port.addresses).map(|net| net.addr());
    let v4 = addresses().find_map(|address| match address {
        IpAddr::V4(v4) => Some(v4),
        IpAddr::V6(_) => None,
    });
    let v6 = addresses().find_map(|address| match address {
        IpAddr::V4(_) => None,
        IpAddr::V6(v6) => Some(v6),
    });
    let lacks = |what: &str| format!("{} has no {what}", node.name);
    let namespace = node.namespace.as_ref().with_context(|| lacks("namespace of its own"))?;
    Ok(Host {
        netns: Path::new(NETNS_DIR).join(namespace),
        v4: v4.with_context(|| lacks("IPv4 address"))?,
        v6: v6.with_context(|| lacks("IPv6 address"))?,
    })
}
