//! The measuring end: runs inside a lab, makes one scenario's traffic between two of its hosts, and reports samples.

pub(crate) mod latency;

use std::io;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::process::ExitStatus;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use crate::metric::{Metric, Sample};
use crate::plan::{Direction, Forwarder, Frames, Load, Mode, Rate, Scenario, TrafficChoice};
use crate::stats::histogram::Histogram;
use crate::testbed::Lab;
use crate::testbed::meter::{Meter, Owner};
use crate::testbed::routes;
use crate::testbed::script::{self, Script};
use crate::testbed::setting::Setting;
use crate::traffic::programs::iperf::{self, IperfError};
use crate::traffic::programs::iperf3::{self, Iperf3Error};
use crate::traffic::tcp::{self, Window};
use crate::traffic::udp::{self, Flow};
use crate::traffic::{EchoOptions, Generator, GeneratorError, PingError, echo};

/// iperf3's own default, and nobody else's in a fresh lab.
const PORT: u16 = 5201;
/// Every wait for something to be ready that is not a script or a million routes.
const READY_WITHIN: Duration = Duration::from_secs(5);
/// How long a real client's processes take until they send: what is metered begins after it and ends before it.
const CLIENT_START: Duration = Duration::from_millis(100);
/// Frames of a sample that the sending host may have sent of its own accord: neighbour discovery, group reports. They go no
/// further than the router.
const HOSTS_OWN: u64 = 8;
/// Until it ends: no scenario takes an hour.
const ALL_OF_IT: Duration = Duration::from_secs(3600);

/// What to measure.
#[derive(Debug, Clone, PartialEq)]
pub struct AgentOptions {
    /// The row.
    pub scenario: Scenario,
    /// The column: a script is started here, the rest was done by whoever built the lab.
    pub mode: Mode,
    /// Measured time.
    pub seconds: u32,
    /// Time of the same load before it counts.
    pub warm_up_seconds: u32,
    /// Who generates.
    pub traffic: TrafficChoice,
    /// The hosts' TCP congestion control, where it is not to be the machine's.
    pub congestion: Option<String>,
    /// Frames a second, where the scenario's rate is a share of another's result.
    pub rate: Option<f64>,
}

impl AgentOptions {
    fn window(&self) -> Window {
        let seconds = |seconds| Duration::from_secs(u64::from(seconds));
        Window { warm_up: seconds(self.warm_up_seconds), length: seconds(self.seconds) }
    }
}

/// What an agent prints, as one line of JSON.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct AgentReport {
    /// The measured values.
    pub samples: Vec<Sample>,
    /// What made the traffic: `iperf 3.12`, for one.
    pub traffic: String,
    /// All round trips, where those were measured.
    #[serde(default)]
    pub round_trips: Option<Histogram>,
    /// What the lab was.
    #[serde(default)]
    pub setting: Option<Setting>,
}

/// Why there is no sample.
#[derive(Debug, thiserror::Error)]
pub enum AgentError {
    /// No such namespace, or no right to enter it.
    #[error("cannot enter {}", netns.display())]
    Enter {
        /// The namespace's path.
        netns: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The lab is not what a benchmark needs.
    #[error("{node} has no {what}")]
    Lacks {
        /// The node.
        node: String,
        /// What it should have.
        what: &'static str,
    },
    /// The server's host did not answer an echo in time: nothing forwards.
    #[error("{target} answers no echo from the client's host: nothing is forwarded")]
    NoPath {
        /// Whom the client asked.
        target: IpAddr,
    },
    /// A forwarder of somebody else's could not be started.
    #[error("the forwarder {} could not be started", path.display())]
    ScriptStart {
        /// The program.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// It ended before it was told to.
    #[error("the forwarder {} ended by itself, {status}{}", path.display(), if .said.is_empty() { String::new() } else { format!(": {}", .said) })]
    ScriptEnded {
        /// The program.
        path: PathBuf,
        /// How it ended.
        status: ExitStatus,
        /// The last that it said.
        said: String,
    },
    /// It says that it cannot work here.
    #[error("{said}")]
    ScriptCannot {
        /// The program.
        path: PathBuf,
        /// Why.
        said: String,
    },
    /// `ip` did not do it.
    #[error("`{command}`: {said}")]
    Routes {
        /// What was run.
        command: String,
        /// What it said.
        said: String,
    },
    /// Too much was lost for a latency to mean anything.
    #[error("of {sent} echo requests only {answered} were answered")]
    Lossy {
        /// Requests.
        sent: u32,
        /// Answered ones.
        answered: u32,
    },
    /// The raw socket.
    #[error("echo")]
    Echo(#[source] io::Error),
    /// iperf3 or iperf cannot be had.
    #[error(transparent)]
    Choice(#[from] GeneratorError),
    /// iperf3.
    #[error(transparent)]
    Iperf3(#[from] Iperf3Error),
    /// iperf 2.
    #[error(transparent)]
    Iperf(#[from] IperfError),
    /// ping.
    #[error(transparent)]
    Ping(#[from] PingError),
    /// The built-in generator's sockets.
    #[error("the built-in generator")]
    Generator(#[source] io::Error),
    /// The kernel's counters.
    #[error("the kernel's counters cannot be read")]
    Meter(#[source] io::Error),
    /// The load was sent, and nothing of it came.
    #[error("nothing of what was sent arrived")]
    NothingArrived,
    /// The frame size holds no datagram of this family. A scenario that was parsed never has one.
    #[error("the scenario's frames hold no datagram")]
    FrameSize,
    /// The scenario's rate is a share, and it was not said of what.
    #[error("the scenario's rate is a share of a rate that is not known")]
    NoRate,
    /// A bug.
    #[error("a measuring thread panicked")]
    Panicked,
}

/// Measures one scenario between two hosts of the running lab.
///
/// # Errors
/// See [`AgentError`].
pub fn measure(lab: &Lab, options: &AgentOptions) -> Result<AgentReport, AgentError> {
    let scenario = options.scenario;
    let mut script = match &options.mode.forwarder {
        Forwarder::Script { path } => {
            Some(Script::start(lab, Path::new(path), options.mode.host_offloads())?)
        }
        Forwarder::Kernel | Forwarder::Userspace { .. } => None,
    };
    if let Some(name) = &options.congestion {
        routes::use_congestion_control(lab, name)?;
    }
    let (targets, patience) = if scenario.routes > 0 {
        routes::load(lab, scenario.family, scenario.routes)?;
        (routes::destinations(scenario.family, scenario.routes), routes::IN_EFFECT_WITHIN)
    } else {
        let patience = if script.is_some() { script::READY_WITHIN } else { READY_WITHIN };
        (vec![lab.server.address(scenario.family)?], patience)
    };
    // The route that was loaded last is in effect when all are.
    let last = routes::destination(scenario.family, scenario.routes.saturating_sub(1));
    let first = targets.first().copied().ok_or(AgentError::NothingArrived)?;
    for target in if scenario.routes > 0 { vec![last, first] } else { vec![first] } {
        await_path(lab, target, patience, script.as_mut())?;
    }
    let owner = match (&options.mode.forwarder, &script) {
        (Forwarder::Userspace { .. }, _) => Owner::Process(lab.keeper),
        (_, Some(script)) => Owner::Tree(script.pid()),
        (Forwarder::Kernel | Forwarder::Script { .. }, None) => Owner::Kernel,
    };
    let measuring =
        Measuring { lab, options, meter: Meter::new(lab, owner)?, targets: &targets, target: first };
    let setting = Setting::of(lab)?;
    let report = measuring.run();
    if let Some(script) = &mut script {
        // That it ended explains whatever went wrong, and what it did until then is no measurement.
        script.check()?;
    }
    Ok(AgentReport { setting: Some(setting), ..report? })
}

/// Waits until the server's host answers an echo. It resolves the neighbours on the way too.
fn await_path(
    lab: &Lab,
    target: IpAddr,
    patience: Duration,
    mut script: Option<&mut Script>,
) -> Result<(), AgentError> {
    let deadline = Instant::now() + patience;
    while Instant::now() < deadline {
        if let Some(script) = &mut script {
            script.check()?;
        }
        let options = EchoOptions {
            count: 1,
            payload_bytes: 56,
            interval: Duration::ZERO,
            patience: Duration::from_millis(200),
            linger: Duration::ZERO,
            deadline,
        };
        if lab.client.run(|| echo(target, &options).map_err(AgentError::Echo))?.answered == 1 {
            return Ok(());
        }
    }
    Err(AgentError::NoPath { target })
}

/// One scenario, ready to be measured.
struct Measuring<'a> {
    lab: &'a Lab,
    options: &'a AgentOptions,
    meter: Meter,
    /// Where datagrams go, and where everything else goes.
    targets: &'a [IpAddr],
    target: IpAddr,
}

impl Measuring<'_> {
    fn run(&self) -> Result<AgentReport, AgentError> {
        let Lab { client, server, .. } = self.lab;
        match self.options.scenario.load {
            Load::Tcp { streams, direction } => self.tcp(streams, direction),
            Load::Udp { frames, rate } => self.udp(frames, rate),
            Load::Ndr { frames } => {
                let work = || udp::no_loss(&self.flow(frames), &self.meter, self.options.seconds);
                let (mut samples, cost) = self.meter.beside(Duration::ZERO, ALL_OF_IT, work)?;
                samples.extend(cost.samples());
                Ok(report(samples, RAW))
            }
            Load::Ping => {
                let AgentOptions { seconds, warm_up_seconds, .. } = *self.options;
                client.run(|| latency::ping(self.target, seconds, warm_up_seconds))
            }
            Load::LatencyIdle => self.latency(|echoes| echoes()),
            Load::LatencyLoad => self.latency(|echoes| tcp::beside_bulk(client, server, self.target, echoes)),
            Load::Connections => {
                let window = self.options.window();
                let work = || tcp::connections(client, server, self.target, window);
                let (mut samples, cost) = self.meter.beside(window.warm_up, window.length, work)?;
                samples.extend(cost.samples());
                Ok(report(samples, &Generator::Builtin.to_string()))
            }
        }
    }

    /// Echoes from the client's host, with whatever is to be beside them.
    fn latency(
        &self,
        beside: impl FnOnce(
            &mut dyn FnMut() -> Result<AgentReport, AgentError>,
        ) -> Result<AgentReport, AgentError>,
    ) -> Result<AgentReport, AgentError> {
        let AgentOptions { seconds, warm_up_seconds, .. } = *self.options;
        let mut echoes = || self.lab.client.run(|| latency::measure(self.target, seconds, warm_up_seconds));
        let (mut report, cost) = self.meter.beside(Duration::ZERO, ALL_OF_IT, || beside(&mut echoes))?;
        report.samples.extend(cost.samples());
        Ok(report)
    }

    fn tcp(&self, streams: u16, direction: Direction) -> Result<AgentReport, AgentError> {
        let Lab { client, server, .. } = self.lab;
        let window = self.options.window();
        let generator = Generator::choose(self.options.traffic)?;
        let ((mut samples, cost), name) = match &generator {
            Generator::Builtin => {
                let work = || tcp::tcp(client, server, self.target, streams, direction, window);
                (self.meter.beside(window.warm_up, window.length, work)?, generator.to_string())
            }
            Generator::Iperf3 { version } => (self.beside_client(|| self.iperf3(0))?, version.clone()),
            Generator::Iperf { version } => (self.beside_client(|| self.iperf(0))?, version.clone()),
        };
        samples.extend(cost.samples());
        Ok(report(samples, &name))
    }

    fn udp(&self, frames: Frames, rate: Rate) -> Result<AgentReport, AgentError> {
        let rate = match rate {
            Rate::Full => None,
            Rate::PerSecond(rate) => Some(f64::from(rate)),
            Rate::OfKernel(_) | Rate::OfOwn(_) => Some(self.options.rate.ok_or(AgentError::NoRate)?),
        };
        let window = self.options.window();
        let before = self.meter.read()?;
        let ((mut samples, cost), name) = match (Generator::choose(self.options.traffic)?, frames) {
            // Real clients send one size to one address, as fast as they can.
            (Generator::Iperf3 { version }, Frames::Size(size))
                if rate.is_none() && self.targets.len() == 1 =>
            {
                (self.beside_client(|| self.iperf3(self.payload(size)?))?, version)
            }
            (Generator::Iperf { version }, Frames::Size(size))
                if rate.is_none() && self.targets.len() == 1 =>
            {
                (self.beside_client(|| self.iperf(self.payload(size)?))?, version)
            }
            _ => {
                let ready = udp::prepare(&self.flow(frames))?;
                let work = || udp::fixed(&ready, rate, window);
                (self.meter.beside(window.warm_up, window.length, work)?, RAW.to_owned())
            }
        };
        let after = self.meter.drained()?;
        if let Some(at) = samples.iter().position(|sample| sample.metric == Metric::Offered) {
            // A real client's seconds are not quite the meter's.
            let forwarded = cost.forwarded().min(samples[at].value);
            samples.insert(at, Sample::new(Metric::Forwarded, forwarded));
        }
        // Over all that was sent, the warm-up included, when all of it has arrived.
        let sent = after.client.offered() - before.client.offered();
        let arrived = after.server.received_frames - before.server.received_frames;
        let lost = sent.saturating_sub(arrived);
        let lost = if lost <= HOSTS_OWN { 0 } else { lost };
        samples.push(Sample::new(Metric::RouterLoss, lost as f64 / (sent as f64).max(1.0)));
        samples.extend(cost.samples());
        Ok(report(samples, &name))
    }

    fn payload(&self, frame_bytes: u16) -> Result<u16, AgentError> {
        Scenario::udp_payload(frame_bytes, self.options.scenario.family).ok_or(AgentError::FrameSize)
    }

    fn flow(&self, frames: Frames) -> Flow<'_> {
        let family = self.options.scenario.family;
        Flow { lab: self.lab, family, frames, destinations: self.targets }
    }

    /// Meters what a real client does between its start and its end.
    fn beside_client(
        &self,
        work: impl FnOnce() -> Result<Vec<Sample>, AgentError>,
    ) -> Result<(Vec<Sample>, crate::testbed::meter::Cost), AgentError> {
        let window = self.options.window();
        let length = window.length.saturating_sub(2 * CLIENT_START);
        self.meter.beside(window.warm_up + CLIENT_START, length, work)
    }

    fn iperf3(&self, payload_bytes: u16) -> Result<Vec<Sample>, AgentError> {
        let running = self.lab.server.run(|| Ok(iperf3::server(PORT, READY_WITHIN)?))?;
        let client_options = iperf3::ClientOptions {
            server: self.target,
            port: PORT,
            load: self.options.scenario.load,
            payload_bytes,
            seconds: self.options.seconds,
            warm_up_seconds: self.options.warm_up_seconds,
        };
        let samples = self.lab.client.run(|| Ok(iperf3::client(&client_options)?))?;
        drop(running);
        Ok(samples)
    }

    fn iperf(&self, payload_bytes: u16) -> Result<Vec<Sample>, AgentError> {
        let Lab { client, server, .. } = self.lab;
        let AgentOptions { scenario, seconds, warm_up_seconds, .. } = *self.options;
        let is_udp = matches!(scenario.load, Load::Udp { .. });
        let running = server.run(|| Ok(iperf::server(self.target, is_udp, READY_WITHIN)?))?;
        let (sent, read) = (self.meter.read()?, udp::datagrams_read(server, scenario.family)?);
        let load = scenario.load;
        let mut samples =
            client.run(|| Ok(iperf::client(self.target, load, payload_bytes, seconds, warm_up_seconds)?))?;
        if is_udp {
            let sent = self.meter.drained()?.client.offered() - sent.client.offered();
            let read = udp::datagrams_read(server, scenario.family)? - read;
            let share = (read as f64 / (sent as f64).max(1.0)).min(1.0);
            let offered = samples.first().map_or(0.0, |sample| sample.value);
            samples.insert(0, Sample::new(Metric::Delivered, offered * share));
            samples.push(Sample::new(Metric::Loss, 1.0 - share));
        }
        drop(running);
        Ok(samples)
    }
}

/// What the raw generator is called.
const RAW: &str = "the built-in raw generator";

fn report(samples: Vec<Sample>, traffic: &str) -> AgentReport {
    AgentReport { samples, traffic: traffic.into(), round_trips: None, setting: None }
}
