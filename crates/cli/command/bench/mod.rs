//! `nsrouter bench`: the forwarding modes compared by measurement, each in private labs of its own.

pub(crate) mod agent;
mod modes;
mod progress;

use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::Context;
use nsrouter_bench::export::{self, OutputError, terminal as tables};
use nsrouter_bench::plan::{Forwarder, Mode, Placement, Plan, Scenarios, TrafficChoice};
use nsrouter_bench::report::Report;
use nsrouter_bench::report::baseline::{self, Baseline, Verdict};
use nsrouter_bench::report::environment::Environment;
use nsrouter_bench::report::notes::notes;
use nsrouter_bench::run::cell::Binary;
use nsrouter_bench::run::{Outcome, Refusal};
use nsrouter_bench::traffic::{Generator, GeneratorError, Iperf3Error, IperfError, ProgramError};
use nsrouter_lab::Error;
use nsrouter_linux::affinity::{self, CpuList};

use crate::options::cpus;
use crate::output::failure::Cannot;
use crate::output::{errln, outln, terminal};
use crate::version;

/// The set of scenarios of `bench --quick`.
const QUICK: &str = "quick";
/// The set of scenarios whose table of aims is about every backend.
const SPEED: &str = "speed";

/// The arguments of `bench`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Forwarders: kernel, userspace:BACKEND, cmd:SCRIPT (any other forwarder, see tools/peers), each with
    /// options after colons: no-offload (the hosts fill in checksums and segment TCP themselves), spin or
    /// spin=TIME, workers=N, nice=N. Ratios are to kernel, and for modes without host offloads also to
    /// kernel:no-offload. [default: kernel,userspace:packet; with speed, every backend]
    #[arg(long, value_name = "LIST", value_delimiter = ',', value_parser = modes::mode)]
    modes: Option<Vec<Mode>>,
    /// Traffic: tcp-N, tcp-N-reverse, tcp-bidir, udp-SIZE (frame with FCS), udp-imix, udp-SIZE-at-RATE
    /// (frames per second, or kernel70, own70: percent of the no-loss rate), ndr-SIZE (the highest rate
    /// without loss), ping (five per second), latency-idle (a thousand per second), latency-load,
    /// connections, each also with -v6, and then with -1k or -1m for that many routes. The sets quick, speed
    /// and full name several; speed prints a table of aims for every backend.
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
    /// Measured seconds of a sample.
    #[arg(long, value_name = "S", default_value_t = 3)]
    seconds: u32,
    /// Seconds of the same load before that, not counted.
    #[arg(long, value_name = "S", default_value_t = 1)]
    warm_up: u32,
    /// Generator of TCP and plain UDP: iperf3, iperf (2), builtin, or auto: iperf3 where it is installed.
    /// Other traffic is always built in.
    #[arg(long, value_name = "WHAT", default_value = "auto")]
    traffic: TrafficChoice,
    /// CPUs that hosts, generators and router share, as in 0,2-3, the same in every mode. Without it all
    /// CPUs.
    #[arg(long, value_name = "LIST")]
    cpus: Option<CpuList>,
    /// CPU placement, the same in every mode: pinned gives the sending host, the receiving host and the
    /// router a CPU each (of two CPUs, the router shares the receiver's), scheduler leaves it to the
    /// scheduler, and 0,1,2 names the CPUs.
    #[arg(long, value_name = "PLACEMENT", default_value = "pinned", value_parser = placement)]
    placement: PlacementChoice,
    /// The hosts' TCP congestion control, such as cubic. Without it the machine's, which the results record.
    #[arg(long, value_name = "NAME")]
    congestion: Option<String>,
    /// Seed of the order of the samples and of the resampling, which the results record.
    #[arg(long, value_name = "NUMBER")]
    seed: Option<u64>,
    /// Also write all samples, medians, ratios and the environment to this file, again after every round.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Write results.json, results.csv, results.md and report.html with plots into this folder, again after
    /// every round.
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Compare with an earlier results.json: lists what got better or worse; exit code 1 if anything got
    /// worse.
    #[arg(long, value_name = "FILE")]
    baseline: Option<PathBuf>,
}

/// The files for results.
#[derive(Debug, Clone)]
struct Outputs {
    json: Option<PathBuf>,
    folder: Option<PathBuf>,
}

impl Outputs {
    /// Writes the report of what was measured so far, which takes thousands of resamples, where a file is kept.
    fn keep(&self, so_far: impl FnOnce() -> Report) -> Result<(), OutputError> {
        if self.json.is_none() && self.folder.is_none() {
            return Ok(());
        }
        self.write(&so_far())
    }

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

/// Measures, and prints the comparison. Success only where every cell was measured and none is worse than the
/// baseline's.
pub(crate) fn run(args: Args) -> anyhow::Result<ExitCode> {
    if let Some(CpuList(cpus)) = &args.cpus {
        // Everything that is started from here on inherits it.
        cpus::check(cpus)?;
        affinity::pin(cpus)?;
    }
    let plan = plan_of(&args)?;
    plan.validate().map_err(|error| Error::Usage(error.to_string()))?;
    plan.modes.iter().try_for_each(check_executable)?;
    if let Placement::Pinned { client, server, router } = plan.placement {
        cpus::check(&[client, server, router])?;
    }
    let generator = generator(plan.traffic)?;
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
    // Before minutes of work, not after: a file that cannot be written fails here.
    outputs.keep(|| Report::new(&plan, environment.clone(), &Outcome::default()))?;
    let keep = {
        let (plan, environment, outputs) = (plan.clone(), environment.clone(), outputs.clone());
        move |so_far: &Outcome| Ok(outputs.keep(|| Report::new(&plan, environment.clone(), so_far))?)
    };
    let outcome = progress::measure(&binary, &plan, keep)?;
    let report = Report::new(&plan, environment, &outcome);
    outputs.write(&report)?;
    if let Some(Refusal { mode, code, said }) = &outcome.refused {
        errln!("nsrouter: the mode {mode} cannot be measured here: {said}");
        return Ok(ExitCode::from(u8::try_from(*code).unwrap_or(1)));
    }
    print(&report)?;
    let worse = match &baseline {
        Some(baseline) => compare(&report, baseline)?,
        None => false,
    };
    let whole = !outcome.interrupted && outcome.lost_cells().next().is_none();
    Ok(if whole && !worse { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// The plan that the command line asks for.
fn plan_of(args: &Args) -> anyhow::Result<Plan> {
    let sets = if args.quick { vec![QUICK.parse()?] } else { args.scenarios.clone() };
    let is_speed = sets.iter().any(|set| Ok(set) == SPEED.parse().as_ref());
    let (rounds, seconds, warm_up_seconds) = if args.quick {
        // Fewer than five rounds tell no modes apart.
        (5, 1, 0)
    } else {
        (args.rounds, args.seconds, args.warm_up)
    };
    let modes = match &args.modes {
        Some(modes) => modes.clone(),
        None if is_speed => modes::for_aims()?,
        None => modes::default()?,
    };
    Ok(Plan {
        placement: match args.placement {
            PlacementChoice::Pinned => Placement::pinned(),
            PlacementChoice::As(placement) => placement,
        },
        modes,
        scenarios: sets.into_iter().flat_map(|Scenarios(scenarios)| scenarios).collect(),
        rounds,
        seconds,
        warm_up_seconds,
        seed: args.seed.unwrap_or_else(seed_of_now),
        traffic: args.traffic,
        congestion: args.congestion.clone(),
    })
}

fn seed_of_now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

fn generator(choice: TrafficChoice) -> anyhow::Result<Generator> {
    Generator::choose(choice).map_err(|error| match &error {
        GeneratorError::Iperf3(Iperf3Error::Program(ProgramError::Missing { .. }))
        | GeneratorError::Iperf(IperfError::Program(ProgramError::Missing { .. })) => {
            Cannot { what: error.to_string(), hint: "--traffic builtin needs no other program".into() }.into()
        }
        GeneratorError::Iperf3(_) | GeneratorError::Iperf(_) => error.into(),
    })
}

/// The tables and the notes below them.
fn print(report: &Report) -> anyhow::Result<()> {
    if !report.results.is_empty() {
        outln!("{}", tables::comparison(report, terminal::look()))?;
    }
    notes(report).iter().try_for_each(|note| outln!("{note}"))?;
    if let Some(aims) = tables::aims(report, terminal::look()) {
        outln!("{aims}")?;
    }
    Ok(())
}

/// Prints the comparison with the baseline. Whether anything got worse.
fn compare(report: &Report, baseline: &Baseline) -> anyhow::Result<bool> {
    let changes = baseline.compare(report);
    let different = baseline.differences(&report.environment);
    different.iter().try_for_each(|difference| outln!("warning: {difference}"))?;
    baseline::lines(&changes).iter().try_for_each(|line| outln!("{line}"))?;
    Ok(changes.iter().any(|change| change.verdict == Verdict::Worse))
}

/// A script that is not executable fails here, not in the middle of an hour's run.
fn check_executable(mode: &Mode) -> anyhow::Result<()> {
    let Forwarder::Script { path } = &mode.forwarder else { return Ok(()) };
    let runs =
        std::fs::metadata(path).is_ok_and(|file| file.is_file() && file.permissions().mode() & 0o111 != 0);
    anyhow::ensure!(runs, "the forwarder {path} is not an executable file");
    Ok(())
}

/// CPU placement, as the command line has it.
#[derive(Debug, Clone, Copy)]
enum PlacementChoice {
    /// Pinned to the first of the CPUs that `--cpus` leaves.
    Pinned,
    /// As given.
    As(Placement),
}

fn placement(text: &str) -> Result<PlacementChoice, String> {
    if text == "pinned" { Ok(PlacementChoice::Pinned) } else { text.parse().map(PlacementChoice::As) }
}
