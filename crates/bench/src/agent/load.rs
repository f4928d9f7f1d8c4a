//! The load of each scenario: the generator that makes it, and the meter beside it.

use std::net::IpAddr;
use std::time::Duration;

use super::error::AgentError;
use super::latency;
use super::protocol::{AgentOptions, AgentReport};
use crate::metric::{Metric, Sample};
use crate::plan::{Direction, Frames, Load, Rate, Scenario};
use crate::testbed::Testbed;
use crate::testbed::meter::{Cost, Meter};
use crate::traffic::programs::{ClientRun, iperf, iperf3};
use crate::traffic::tcp::{self, Hosts};
use crate::traffic::udp::{self, Flow};
use crate::traffic::window::Window;
use crate::traffic::{Generator, TrafficError};

/// The longest that a server takes until it listens.
const LISTENS_WITHIN: Duration = Duration::from_secs(5);
/// The time that a client's process takes until it sends. The meter begins after it, and ends as long before
/// the client.
const CLIENT_START: Duration = Duration::from_millis(100);
/// Frames that the sending host may have sent by itself meanwhile: neighbour discovery, group reports. They
/// go no further than the router.
const HOST_FRAMES: u64 = 8;
/// Longer than any scenario: the meter runs until the load ends.
const UNTIL_THE_END: Duration = Duration::from_secs(3600);
/// The name of the raw generator.
const RAW: &str = "the built-in raw generator";

/// One scenario, ready to be measured.
pub(super) struct Measuring<'a> {
    pub(super) testbed: &'a Testbed,
    pub(super) options: &'a AgentOptions,
    pub(super) meter: Meter,
    /// Destinations of datagrams.
    pub(super) targets: &'a [IpAddr],
    /// Destination of everything else.
    pub(super) target: IpAddr,
}

impl Measuring<'_> {
    /// Makes the load and measures.
    pub(super) fn run(&self) -> Result<AgentReport, AgentError> {
        let Testbed { client, .. } = self.testbed;
        match self.options.scenario.load {
            Load::Tcp { streams, direction } => self.tcp(streams, direction),
            Load::Udp { frames, rate } => self.udp(frames, rate),
            Load::Ndr { frames } => {
                let work = || udp::no_loss(&self.flow(frames), &self.meter, self.options.seconds);
                let (mut samples, cost) = self.meter.beside(Duration::ZERO, UNTIL_THE_END, work)?;
                samples.extend(cost.samples());
                Ok(AgentReport::new(samples, RAW))
            }
            Load::Ping => {
                let AgentOptions { seconds, warm_up_seconds, .. } = *self.options;
                client.run(|| latency::ping(self.target, seconds, warm_up_seconds))
            }
            Load::LatencyIdle => self.latency(|echoes| echoes()),
            Load::LatencyLoad => self.latency(|echoes| tcp::beside_bulk(self.hosts(), echoes)),
            Load::Connections => {
                let window = self.window();
                let work = || tcp::connections(self.hosts(), window);
                let (mut samples, cost) = self.meter.beside(window.warm_up, window.length, work)?;
                samples.extend(cost.samples());
                Ok(AgentReport::new(samples, Generator::Builtin.to_string()))
            }
        }
    }

    /// Echoes from the client's host, run by `beside`, which may add a load.
    fn latency(
        &self,
        beside: impl FnOnce(
            &mut dyn FnMut() -> Result<AgentReport, AgentError>,
        ) -> Result<AgentReport, AgentError>,
    ) -> Result<AgentReport, AgentError> {
        let AgentOptions { seconds, warm_up_seconds, .. } = *self.options;
        let mut echoes =
            || self.testbed.client.run(|| latency::measure(self.target, seconds, warm_up_seconds));
        let (mut report, cost) = self.meter.beside(Duration::ZERO, UNTIL_THE_END, || beside(&mut echoes))?;
        report.samples.extend(cost.samples());
        Ok(report)
    }

    fn tcp(&self, streams: u16, direction: Direction) -> Result<AgentReport, AgentError> {
        let window = self.window();
        let generator = Generator::choose(self.options.traffic)?;
        let ((mut samples, cost), name) = match &generator {
            Generator::Builtin => {
                let work = || tcp::throughput(self.hosts(), streams, direction, window);
                (self.meter.beside(window.warm_up, window.length, work)?, generator.to_string())
            }
            Generator::Iperf3 { version } => (self.beside_client(|| self.iperf3(0))?, version.clone()),
            Generator::Iperf { version } => (self.beside_client(|| self.iperf(0))?, version.clone()),
        };
        samples.extend(cost.samples());
        Ok(AgentReport::new(samples, name))
    }

    fn udp(&self, frames: Frames, rate: Rate) -> Result<AgentReport, AgentError> {
        let rate = match rate {
            Rate::Full => None,
            Rate::PerSecond(rate) => Some(f64::from(rate)),
            Rate::OfKernel(_) | Rate::OfOwn(_) => Some(self.options.rate.ok_or(AgentError::NoRate)?),
        };
        let window = self.window();
        let before = self.meter.read()?;
        // iperf3 and iperf send one size to one address, as fast as they can.
        let size = match frames {
            Frames::Size(size) if rate.is_none() && self.targets.len() == 1 => Some(size),
            Frames::Size(_) | Frames::Imix => None,
        };
        let ((mut samples, cost), name) = match (Generator::choose(self.options.traffic)?, size) {
            (Generator::Iperf3 { version }, Some(size)) => {
                (self.beside_client(|| self.iperf3(self.payload(size)?))?, version)
            }
            (Generator::Iperf { version }, Some(size)) => {
                (self.beside_client(|| self.iperf(self.payload(size)?))?, version)
            }
            (Generator::Builtin, _) | (Generator::Iperf3 { .. } | Generator::Iperf { .. }, None) => {
                let ready = udp::prepare(&self.flow(frames))?;
                let work = || udp::fixed(&ready, rate, window);
                (self.meter.beside(window.warm_up, window.length, work)?, RAW.to_owned())
            }
        };
        let after = self.meter.drained()?;
        if let Some(at) = samples.iter().position(|sample| sample.metric == Metric::Offered) {
            // A client program's seconds are not quite the meter's.
            let forwarded = cost.forwarded().min(samples[at].value);
            samples.insert(at, Sample::new(Metric::Forwarded, forwarded));
        }
        // Over all frames, the warm-up's included, after the last has arrived.
        let sent = after.client.offered() - before.client.offered();
        let arrived = after.server.rx_frames - before.server.rx_frames;
        let lost = sent.saturating_sub(arrived);
        let lost = if lost <= HOST_FRAMES { 0 } else { lost };
        samples.push(Sample::new(Metric::RouterLoss, lost as f64 / (sent as f64).max(1.0)));
        samples.extend(cost.samples());
        Ok(AgentReport::new(samples, name))
    }

    fn hosts(&self) -> Hosts<'_> {
        let Testbed { client, server, .. } = self.testbed;
        Hosts { client, server, target: self.target }
    }

    fn window(&self) -> Window {
        let seconds = |seconds| Duration::from_secs(u64::from(seconds));
        let AgentOptions { seconds: length, warm_up_seconds: warm_up, .. } = *self.options;
        Window { warm_up: seconds(warm_up), length: seconds(length) }
    }

    fn payload(&self, frame_bytes: u16) -> Result<u16, AgentError> {
        Scenario::udp_payload(frame_bytes, self.options.scenario.family)
            .ok_or(AgentError::Traffic(TrafficError::FrameSize))
    }

    fn flow(&self, frames: Frames) -> Flow<'_> {
        let family = self.options.scenario.family;
        Flow { testbed: self.testbed, family, frames, destinations: self.targets }
    }

    /// Meters what a client program does between its start and its end.
    fn beside_client(
        &self,
        work: impl FnOnce() -> Result<Vec<Sample>, AgentError>,
    ) -> Result<(Vec<Sample>, Cost), AgentError> {
        let window = self.window();
        let length = window.length.saturating_sub(2 * CLIENT_START);
        self.meter.beside(window.warm_up + CLIENT_START, length, work)
    }

    fn client_run(&self, payload_bytes: u16) -> ClientRun {
        let AgentOptions { scenario: Scenario { load, .. }, seconds, warm_up_seconds, .. } = *self.options;
        ClientRun { target: self.target, load, payload_bytes, seconds, warm_up_seconds }
    }

    fn iperf3(&self, payload_bytes: u16) -> Result<Vec<Sample>, AgentError> {
        let Testbed { client, server, .. } = self.testbed;
        let run = self.client_run(payload_bytes);
        let running = server.run(|| iperf3::server(LISTENS_WITHIN).map_err(AgentError::Iperf3))?;
        let samples = client.run(|| iperf3::client(&run).map_err(AgentError::Iperf3))?;
        drop(running);
        Ok(samples)
    }

    fn iperf(&self, payload_bytes: u16) -> Result<Vec<Sample>, AgentError> {
        let Testbed { client, server, .. } = self.testbed;
        let run = self.client_run(payload_bytes);
        let family = self.options.scenario.family;
        let is_udp = matches!(run.load, Load::Udp { .. });
        let running =
            server.run(|| iperf::server(self.target, is_udp, LISTENS_WITHIN).map_err(AgentError::Iperf))?;
        let (sent, read) = (self.meter.read()?, udp::datagrams_read(server, family)?);
        let mut samples = client.run(|| iperf::client(&run).map_err(AgentError::Iperf))?;
        if is_udp {
            let sent = self.meter.drained()?.client.offered() - sent.client.offered();
            let read = udp::datagrams_read(server, family)? - read;
            let share = (read as f64 / (sent as f64).max(1.0)).min(1.0);
            let offered = samples.first().map_or(0.0, |sample| sample.value);
            samples.insert(0, Sample::new(Metric::Delivered, offered * share));
            samples.push(Sample::new(Metric::Loss, 1.0 - share));
        }
        drop(running);
        Ok(samples)
    }
}
