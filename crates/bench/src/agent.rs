//! The measuring end: runs inside a lab, makes one scenario's traffic between two of its hosts, and reports samples.

use std::fs::File;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::PathBuf;
use std::thread;
use std::time::{Duration, Instant};

use nix::sched::{CloneFlags, setns};
use serde::{Deserialize, Serialize};

use crate::plan::{Family, Load, Scenario};
use crate::stats::quantile;
use crate::traffic::builtin::{self, Window};
use crate::traffic::interface::Frames;
use crate::traffic::iperf3::{self, Iperf3Error};
use crate::traffic::{EchoOptions, Generator, Sample, TrafficChoice, echo};

/// iperf3's own default, and nobody else's in a fresh lab.
const PORT: u16 = 5201;
/// Every wait for something to be ready.
const READY_WITHIN: Duration = Duration::from_secs(5);
/// From one echo request to the next: long enough that the path is idle in between.
const ECHO_INTERVAL: Duration = Duration::from_millis(1);
/// Round trips not counted, per second of warm-up.
const WARM_UP_ECHOES_A_SECOND: u32 = 100;

/// A host of the lab: where its namespace is, and its addresses.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Host {
    /// What `setns` takes: `/run/netns/t1`, for one.
    pub netns: PathBuf,
    /// Its IPv4 address.
    pub v4: Ipv4Addr,
    /// Its global or unique local IPv6 address.
    pub v6: Ipv6Addr,
}

impl Host {
    fn address(&self, family: Family) -> IpAddr {
        match family {
            Family::V4 => self.v4.into(),
            Family::V6 => self.v6.into(),
        }
    }

    /// Runs `work` on a thread inside the host's namespace.
    pub(crate) fn run<T: Send>(
        &self,
        work: impl FnOnce() -> Result<T, AgentError> + Send,
    ) -> Result<T, AgentError> {
        let enter = || -> io::Result<()> {
            setns(File::open(&self.netns)?, CloneFlags::CLONE_NEWNET)?;
            Ok(())
        };
        thread::scope(|scope| {
            let thread = scope.spawn(|| {
                enter().map_err(|source| AgentError::Enter { netns: self.netns.clone(), source })?;
                work()
            });
            thread.join().unwrap_or(Err(AgentError::Panicked))
        })
    }
}

/// What to measure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AgentOptions {
    /// The row.
    pub scenario: Scenario,
    /// Measured time.
    pub seconds: u32,
    /// Time of the same load before it counts.
    pub warm_up_seconds: u32,
    /// Who generates.
    pub traffic: TrafficChoice,
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
    /// The server's host did not answer an echo in time: nothing forwards.
    #[error("{target} answers no echo from the client's host: nothing is forwarded")]
    NoPath {
        /// Whom the client asked.
        target: IpAddr,
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
    /// iperf3.
    #[error(transparent)]
    Iperf3(#[from] Iperf3Error),
    /// The built-in generator's sockets.
    #[error("the built-in generator")]
    Generator(#[source] io::Error),
    /// The load was sent, and nothing of it came.
    #[error("nothing of what was sent arrived")]
    NothingArrived,
    /// The frame size holds no datagram of this family. A scenario that was parsed never has one.
    #[error("the scenario's frames hold no datagram")]
    FrameSize,
    /// A bug.
    #[error("a measuring thread panicked")]
    Panicked,
}

/// Measures one scenario between two hosts of the running lab.
///
/// # Errors
/// See [`AgentError`].
pub fn measure(client: &Host, server: &Host, options: &AgentOptions) -> Result<AgentReport, AgentError> {
    let family = options.scenario.family;
    let target = server.address(family);
    client.run(|| await_path(target))?;
    match options.scenario.load {
        Load::Tcp { streams, direction } => generate(client, server, options, 0, || {
            builtin::tcp(client, server, target, streams, direction, options.window())
        }),
        Load::Udp { frame_bytes } => {
            let payload = Scenario::udp_payload(frame_bytes, family).ok_or(AgentError::FrameSize)?;
            generate(client, server, options, payload, || {
                builtin::udp(client, server, target, payload, options.window())
            })
        }
        Load::LatencyIdle => client.run(|| latency(target, options)),
        Load::LatencyLoad => {
            builtin::beside_bulk(client, server, target, || client.run(|| latency(target, options)))
        }
        Load::Connections => {
            let samples = builtin::connections(client, server, target, options.window())?;
            Ok(AgentReport { samples, traffic: Generator::Builtin.to_string() })
        }
    }
}

/// Makes bulk traffic with iperf3, or with `builtin` where that is the choice.
fn generate(
    client: &Host,
    server: &Host,
    options: &AgentOptions,
    payload_bytes: u16,
    builtin: impl FnOnce() -> Result<Vec<Sample>, AgentError>,
) -> Result<AgentReport, AgentError> {
    let generator = Generator::choose(options.traffic)?;
    let before = frames_between(client, server)?;
    let mut samples = match &generator {
        Generator::Iperf3 { .. } => with_iperf3(client, server, options, payload_bytes)?,
        Generator::Builtin => builtin()?,
    };
    let after = frames_between(client, server)?;
    if let Some(at) = samples.iter().position(|sample| sample.metric == "offered") {
        // Over all that was sent, the warm-up included; as a rate of what was offered in the measured time.
        let share = (after.1 - before.1) as f64 / ((after.0 - before.0) as f64).max(1.0);
        let forwarded = Sample::new("forwarded", "packet/s", samples[at].value * share.min(1.0));
        samples.insert(at, forwarded);
    }
    Ok(AgentReport { samples, traffic: generator.to_string() })
}

/// Frames that left the client's host and frames that reached the server's, until now.
fn frames_between(client: &Host, server: &Host) -> Result<(u64, u64), AgentError> {
    let of = |host: &Host| host.run(|| Frames::now().map_err(AgentError::Generator));
    Ok((of(client)?.sent, of(server)?.received))
}

/// Waits until the server's host answers an echo. It resolves the neighbours on the way too.
fn await_path(target: IpAddr) -> Result<(), AgentError> {
    let deadline = Instant::now() + READY_WITHIN;
    while Instant::now() < deadline {
        let options = EchoOptions {
            count: 1,
            payload_bytes: 56,
            interval: Duration::ZERO,
            patience: Duration::from_millis(200),
            linger: Duration::ZERO,
            deadline,
        };
        if echo(target, &options).map_err(AgentError::Echo)?.answered == 1 {
            return Ok(());
        }
    }
    Err(AgentError::NoPath { target })
}

fn with_iperf3(
    client: &Host,
    server: &Host,
    options: &AgentOptions,
    payload_bytes: u16,
) -> Result<Vec<Sample>, AgentError> {
    let running = server.run(|| Ok(iperf3::Server::start(PORT, READY_WITHIN)?))?;
    let client_options = iperf3::ClientOptions {
        server: server.address(options.scenario.family),
        port: PORT,
        load: options.scenario.load,
        payload_bytes,
        seconds: options.seconds,
        warm_up_seconds: options.warm_up_seconds,
    };
    let samples = client.run(|| Ok(iperf3::client(&client_options)?))?;
    drop(running);
    Ok(samples)
}

fn latency(target: IpAddr, options: &AgentOptions) -> Result<AgentReport, AgentError> {
    let a_second = u32::try_from(Duration::from_secs(1).as_millis() / ECHO_INTERVAL.as_millis()).unwrap_or(1);
    let warm_up = options.warm_up_seconds * WARM_UP_ECHOES_A_SECOND;
    let count = (options.seconds * a_second + warm_up).min(u32::from(u16::MAX));
    let patience = Duration::from_secs(1);
    let report = echo(
        target,
        &EchoOptions {
            count,
            payload_bytes: 56,
            interval: ECHO_INTERVAL,
            patience,
            linger: Duration::ZERO,
            // Slow paths make fewer round trips in three times the time, rather than a run without an end.
            deadline: Instant::now() + Duration::from_secs(u64::from(options.seconds) * 3 + 2),
        },
    )
    .map_err(AgentError::Echo)?;
    let skipped = usize::try_from(warm_up).unwrap_or(usize::MAX);
    let mut round_trips: Vec<f64> =
        report.round_trips.iter().skip(skipped).map(Duration::as_secs_f64).collect();
    round_trips.sort_by(f64::total_cmp);
    let lossy = AgentError::Lossy { sent: report.sent, answered: report.answered };
    if round_trips.is_empty() || report.answered < report.sent / 2 {
        return Err(lossy);
    }
    let quantiles = [("p50", 0.5), ("p90", 0.9), ("p99", 0.99), ("p99_9", 0.999), ("max", 1.0)];
    let mut samples: Vec<Sample> = quantiles
        .iter()
        .filter_map(|(name, q)| {
            Some(Sample::new(&format!("latency_{name}"), "s", quantile(&round_trips, *q)?))
        })
        .collect();
    samples.push(Sample::new("round_trips", "1", f64::from(report.answered) - f64::from(warm_up)));
    samples.push(Sample::new("loss", "1", 1.0 - f64::from(report.answered) / f64::from(report.sent)));
    Ok(AgentReport { samples, traffic: "built-in echo".into() })
}
