//! `nsrouter bench`: the forwarding modes compared by measurement, each in private labs of its own.

use std::io::IsTerminal;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use anyhow::Context;
use nix::unistd::getppid;
use nsrouter_bench::agent::{self, AgentError, AgentOptions};
use nsrouter_bench::export::{self, OutputError, terminal as tables};
use nsrouter_bench::plan::{
    Backend, Forwarder, Mode, ModeError, Placement, Plan, Scenario, Scenarios, TrafficChoice,
};
use nsrouter_bench::report::Report;
use nsrouter_bench::report::baseline::{self, Baseline, Verdict};
use nsrouter_bench::report::environment::Environment;
use nsrouter_bench::report::notes::notes;
use nsrouter_bench::run::cell::{Binary, Cancel};
use nsrouter_bench::run::{self, Event, Outcome, Refusal};
use nsrouter_bench::testbed::Testbed;
use nsrouter_bench::testbed::script::ScriptError;
use nsrouter_bench::traffic::{Generator, GeneratorError, Iperf3Error, IperfError, ProgramError};
use nsrouter_lab::Error;
use nsrouter_lab::enter::{self, Entered};
use nsrouter_lab::records::LabSelector;
use nsrouter_linux::affinity::{self, CpuList};
use nsrouter_rings::{BACKENDS, backend as rings};
use tokio::signal::unix::{SignalKind, signal};

use crate::options::cpus;
use crate::options::which::LAB_VARIABLE;
use crate::output::failure::{self, Cannot};
use crate::output::terminal;
use crate::output::{self as screen, errln, outln};
use crate::{runtime, version};

/// What `bench --quick` measures.
const QUICK: &str = "quick";
/// The scenarios whose table of aims is about every backend.
const SPEED: &str = "speed";
/// Modes where none are named.
const MODES: &str = "kernel,userspace:packet";
/// The same for the table of aims.
const SPEED_MODES: &str =
    "kernel,kernel:no-offload,userspace:packet,userspace:packet:spin,userspace:tap,userspace:xdp";

/// A mode of the comparison, over one of the backends that there are.
fn mode(text: &str) -> Result<Mode, ModeError> {
    let known =
        |backend: &&rings::Backend| Backend { name: backend.name, complete_frames: backend.complete_frames };
    Mode::parse(text, &BACKENDS.iter().map(known).collect::<Vec<_>>())
}

/// What `bench` takes.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Who forwards: kernel, userspace:BACKEND, cmd:SCRIPT (any other forwarder, see tools/peers), each with options after
    /// colons: no-offload (the hosts complete checksums and cut segments), spin or spin=TIME, workers=N, nice=N. Ratios are to kernel,
    /// and of modes without host offloads to kernel:no-offload too. [default: kernel,userspace:packet]
    #[arg(long, value_name = "LIST", value_delimiter = ',', value_parser = mode)]
    modes: Option<Vec<Mode>>,
    /// What is sent: tcp-N, tcp-N-reverse, tcp-bidir, udp-SIZE (frame with FCS), udp-imix, udp-SIZE-at-RATE (frames a second,
    /// or kernel70, own70: percent of the no-loss rate), ndr-SIZE (the highest rate without loss), ping (five a second),
    /// latency-idle (a thousand a second), latency-load, connections, each also with -v6, and then with -1k or -1m for that
    /// many routes. The sets quick, speed and full name several; speed prints a table of aims for every backend.
    #[arg(
        long,
        value_name = "LIST",
        value_delimiter = ',',
        default_value = "tcp-1,tcp-4,udp-64,latency-idle"
    )]
    scenarios: Vec<Scenarios>,
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
    /// What makes TCP and plain UDP: iperf3, iperf (2), builtin, or auto for iperf3 where it is there. The rest is built in.
    #[arg(long, value_name = "WHAT", default_value = "auto")]
    traffic: TrafficChoice,
    /// Processors that hosts, generators and router share, as in 0,2-3; in every mode. Without it all that there are.
    #[arg(long, value_name = "LIST")]
    cpus: Option<CpuList>,
    /// Where things run, in every mode: pinned has the sending host, the receiving host and the router each stay on a processor of its
    /// own (on two, the router on the receiver's), scheduler leaves it to the scheduler, and 0,1,2 says which.
    #[arg(long, value_name = "PLACES", default_value = "pinned", value_parser = placement)]
    placement: Places,
    /// The hosts' TCP congestion control, cubic for one. Without it the machine's, which is recorded in any case.
    #[arg(long, value_name = "NAME")]
    congestion: Option<String>,
    /// Decides the order of the samples and the resampling; recorded with the results.
    #[arg(long, value_name = "NUMBER")]
    seed: Option<u64>,
    /// Also write all samples, medians, ratios and the environment to this file, renewed after every round.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Write results.json, results.csv, results.md and report.html with plots into this folder, renewed after every round.
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
            export::write_json(file, report)?;
        }
        if let Some(folder) = &self.folder {
            export::write_folder(folder, report)?;
        }
        Ok(())
    }
}

/// What the hidden `bench-agent` takes: see [`nsrouter_bench::run::cell::agent_arguments`].
#[derive(Debug, clap::Args)]
pub(crate) struct AgentArgs {
    #[arg(long, env = LAB_VARIABLE)]
    name: Option<String>,
    #[arg(long)]
    scenario: Scenario,
    #[arg(long, value_parser = mode)]
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

/// Measures, and prints the comparison. Success only where every cell was measured and none is worse than the baseline's.
pub(crate) fn run(args: Args) -> anyhow::Result<ExitCode> {
    let sets = if args.quick { vec![QUICK.parse()?] } else { args.scenarios.clone() };
    let is_speed = sets.iter().any(|set| Ok(set) == SPEED.parse().as_ref());
    let (rounds, seconds, warm_up_seconds) = if args.quick {
        // Five rounds, because fewer tell nothing apart.
        (5, 1, 0)
    } else {
        (args.rounds, args.seconds, args.warm_up)
    };
    let modes = match args.modes {
        Some(modes) => modes,
        None => {
            let names = if is_speed { SPEED_MODES } else { MODES };
            names.split(',').map(mode).collect::<Result<_, _>>()?
        }
    };
    if let Some(cpus) = &args.cpus {
        // Whatever is started from here on inherits it.
        cpus::check(&cpus.0)?;
        affinity::pin(&cpus.0)?;
    }
    let plan = Plan {
        placement: match args.placement {
            Places::Pinned => Placement::pinned(),
            Places::As(placement) => placement,
        },
        modes,
        scenarios: sets.into_iter().flat_map(|Scenarios(scenarios)| scenarios).collect(),
        rounds,
        seconds,
        warm_up_seconds,
        seed: args.seed.unwrap_or_else(seed_of_now),
        traffic: args.traffic,
        congestion: args.congestion,
    };
    if let Err(error) = plan.validate() {
        return Err(Error::Usage(error.to_string()).into());
    }
    plan.modes.iter().try_for_each(can_be_run)?;
    if let Placement::Pinned { client, server, router } = plan.placement {
        cpus::check(&[client, server, router])?;
    }
    let generator = Generator::choose(plan.traffic).map_err(|error| match &error {
        GeneratorError::Iperf3(Iperf3Error::Program(ProgramError::Missing { .. }))
        | GeneratorError::Iperf(IperfError::Program(ProgramError::Missing { .. })) => {
            Cannot { what: error.to_string(), hint: "--traffic builtin needs no other program".into() }.into()
        }
        _ => anyhow::Error::from(error),
    })?;
    let binary = Binary {
        path: std::env::current_exe().context("cannot find this program's own file")?,
        agent_subcommand: "bench-agent".into(),
    };
    let environment = Environment {
        commit: version::COMMIT.map(str::to_owned),
        target: Some(version::TARGET.to_owned()),
        ..Environment::look(&plan, &generator, version::NUMBER)
    };
    let baseline = args.baseline.as_deref().map(|file| Baseline::read(file, &plan)).transpose()?;
    let outputs = Outputs { json: args.json, folder: args.out };
    // Before minutes of work, not after: can it be written at all?
    outputs.write(&Report::new(&plan, environment.clone(), &Outcome::default()))?;
    let outcome = measure(&binary, &plan, &environment, &outputs)?;
    let report = Report::new(&plan, environment, &outcome);
    outputs.write(&report)?;
    if let Some(Refusal { mode, code, said }) = &outcome.refused {
        errln!("nsrouter: the mode {mode} cannot be measured here: {said}");
        return Ok(ExitCode::from(u8::try_from(*code).unwrap_or(1)));
    }
    if !report.results.is_empty() {
        outln!("{}", tables::comparison(&report, terminal::look()))?;
    }
    for note in notes(&report) {
        outln!("{note}")?;
    }
    if let Some(aims) = tables::aims(&report, terminal::look()) {
        outln!("{aims}")?;
    }
    let mut worse = false;
    if let Some(baseline) = baseline {
        let changes = baseline.compare(&report);
        worse = changes.iter().any(|change| change.verdict == Verdict::Worse);
        let different = baseline.differences(&report.environment);
        different.iter().try_for_each(|difference| outln!("warning: {difference}"))?;
        baseline::lines(&changes).iter().try_for_each(|line| outln!("{line}"))?;
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
    let runtime = runtime::start()?;
    let cancel = Cancel::default();
    let (binary, plan, environment) = (binary.clone(), plan.clone(), environment.clone());
    let (outputs, worker_cancel) = (outputs.clone(), cancel.clone());
    runtime.block_on(async {
        let mut interrupt = signal(SignalKind::interrupt())?;
        let mut terminate = signal(SignalKind::terminate())?;
        let mut hangup = signal(SignalKind::hangup())?;
        let mut work = tokio::task::spawn_blocking(move || {
            let mut progress = Progress::new(&plan);
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

/// A line that keeps itself current on a terminal, a line a round elsewhere; on standard error, beside the results.
struct Progress {
    terminal: bool,
    begun: Instant,
    done: u32,
    all: u32,
}

impl Progress {
    fn new(plan: &Plan) -> Progress {
        let terminal = std::io::stderr().is_terminal();
        let all = u32::try_from(plan.schedule().len()).unwrap_or(u32::MAX);
        Progress { terminal, begun: Instant::now(), done: 0, all }
    }

    fn line(&self, text: &str) {
        if self.terminal {
            screen::draw_error("");
        }
        errln!("{text}");
    }

    /// What is left, as what is done lets expect.
    fn left(&self) -> String {
        let left = self.begun.elapsed() / self.done.max(1) * self.all.saturating_sub(self.done);
        format!("{:.1} minutes left", left.as_secs_f64() / 60.0)
    }

    fn show(&mut self, plan: &Plan, event: &Event<'_>) {
        match event {
            Event::Begin { cell } if self.terminal => {
                let left = if self.done > 0 { format!(", {}", self.left()) } else { String::new() };
                let (scenario, mode) = (&cell.scenario, &cell.mode);
                screen::draw_error(&format!("{}/{} {scenario} {mode}{left}", self.done + 1, self.all));
            }
            Event::Begin { .. } => {}
            Event::Done => self.done += 1,
            Event::Skipped(refusal) => self.line(&format!("{} is left out: {}", refusal.mode, refusal.said)),
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
                self.line(&format!("round {rounds} of {} measured, {}", plan.rounds, self.left()));
            }
            Event::Round { .. } => {}
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if self.terminal {
            screen::draw_error("");
        }
    }
}

fn seed_of_now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

/// Inside a lab that `bench` has started: measures one scenario and prints its samples as a line of JSON.
pub(crate) fn run_agent(args: AgentArgs) -> anyhow::Result<ExitCode> {
    let state = match enter::join(LabSelector::named(args.name.as_deref()))? {
        (Entered::Done(code), _) => return Ok(ExitCode::from(code)),
        (Entered::Here, state) => state.ok_or(Error::NoLabs)?,
    };
    let testbed = Testbed::of(&state, args.placement, getppid().as_raw())?;
    let options = AgentOptions {
        scenario: args.scenario,
        mode: args.forwarder,
        seconds: args.seconds,
        warm_up_seconds: args.warm_up,
        traffic: args.traffic,
        placement: args.placement,
        congestion: args.congestion,
        rate: args.rate,
    };
    let report = match agent::measure(&testbed, &options) {
        // With this exit code the run goes on without the mode, and these are the reason that it gives.
        Err(AgentError::Script(ScriptError::Cannot { path, said })) => {
            errln!("{}", if said.is_empty() { format!("{} cannot work here", path.display()) } else { said });
            return Ok(ExitCode::from(failure::CANNOT));
        }
        outcome => outcome?,
    };
    screen::write_bytes(format!("{}\n", serde_json::to_string(&report)?).as_bytes())?;
    Ok(ExitCode::SUCCESS)
}

/// A forwarder of somebody else's must be there before an hour's run is begun.
fn can_be_run(mode: &Mode) -> anyhow::Result<()> {
    let Forwarder::Script { path } = &mode.forwarder else { return Ok(()) };
    let runs =
        std::fs::metadata(path).is_ok_and(|file| file.is_file() && file.permissions().mode() & 0o111 != 0);
    anyhow::ensure!(
        runs,
        "the forwarder {path} is no program that can be run: give the path of an executable file"
    );
    Ok(())
}

/// Where things are to run.
#[derive(Debug, Clone, Copy)]
enum Places {
    /// Pinned to the first of the processors that are left when --cpus has been followed.
    Pinned,
    /// As it says.
    As(Placement),
}

fn placement(text: &str) -> Result<Places, String> {
    if text == "pinned" { Ok(Places::Pinned) } else { text.parse().map(Places::As) }
}
