//! UDP by the raw generator: at a rate, as fast as it goes, or at the highest rate without loss.

use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;

use super::error::TrafficError;
use super::ndr::{self, Trial};
use super::raw::{self, Path, Receiver, Sender};
use super::window::Window;
use crate::metric::{Metric, Sample};
use crate::plan::{Family, Frames, Scenario};
use crate::testbed::counters::{self, CounterError};
use crate::testbed::meter::{Meter, STILL_FOR};
use crate::testbed::{Host, Testbed};

/// The frames from the client's host to the server's.
pub(crate) struct Flow<'a> {
    pub(crate) testbed: &'a Testbed,
    pub(crate) family: Family,
    pub(crate) frames: Frames,
    /// One, or many in turn.
    pub(crate) destinations: &'a [IpAddr],
}

impl Flow<'_> {
    /// The frames to that port, in the order in which they are sent, over and over.
    fn build(&self, port: u16) -> Result<Vec<Vec<u8>>, TrafficError> {
        let path = Path {
            from_mac: self.testbed.client.port()?.mac,
            to_mac: self.testbed.port_towards(&self.testbed.client)?.mac,
            from: self.testbed.client.address(self.family)?,
        };
        let sizes = self.frames.sizes(self.family);
        // Every destination gets a frame, and every size has its share.
        let count = self.destinations.len().max(1).next_multiple_of(sizes.len());
        let pairs = sizes.iter().cycle().zip(self.destinations.iter().cycle()).take(count);
        let frame = |(size, destination): (&u16, &IpAddr)| {
            let payload = Scenario::udp_payload(*size, self.family).ok_or(TrafficError::FrameSize)?;
            Ok(path.frame(SocketAddr::new(*destination, port), payload))
        };
        pairs.map(frame).collect()
    }

    fn sender(&self) -> Result<Sender, TrafficError> {
        let ifname = &self.testbed.client.port()?.ifname;
        let pin = self.testbed.client.pin();
        let open = || Sender::open(ifname, pin).map_err(|errno| TrafficError::Socket(errno.into()));
        self.testbed.client.run(open)
    }
}

/// A flow that can begin at once: making 65,536 frames is not part of the measurement.
pub(crate) struct Ready {
    receiver: Receiver,
    sender: Sender,
    frames: Vec<Vec<u8>>,
}

/// Opens the sockets and makes the frames.
pub(crate) fn prepare(flow: &Flow<'_>) -> Result<Ready, TrafficError> {
    let v4 = flow.family == Family::V4;
    let receiver = flow
        .testbed
        .server
        .run(|| Receiver::open(v4, flow.testbed.server.pin()).map_err(TrafficError::Socket))?;
    let frames = flow.build(receiver.port().map_err(TrafficError::Socket)?)?;
    Ok(Ready { receiver, sender: flow.sender()?, frames })
}

/// Sends for the window: what the sender put on its interface, and what the receiving program read.
pub(crate) fn fixed(flow: &Ready, rate: Option<f64>, window: Window) -> Result<Vec<Sample>, TrafficError> {
    let Ready { receiver, sender, frames } = flow;
    let (sent, received) = (AtomicU64::new(0), AtomicU64::new(0));
    let (no_more, over) = (AtomicBool::new(false), AtomicBool::new(false));
    let counted = thread::scope(|scope| {
        scope.spawn(|| receiver.count(&received, &over));
        let sending = scope.spawn(|| sender.send(frames, rate, &sent, &no_more));
        let counted = window.count(|| [sent.load(Ordering::Relaxed), received.load(Ordering::Relaxed)]);
        no_more.store(true, Ordering::Relaxed);
        let result = sending.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        wait_until_still(&received);
        over.store(true, Ordering::Relaxed);
        result.map(|()| counted).map_err(|errno| TrafficError::Socket(errno.into()))
    })?;
    let [offered, delivered]: [f64; 2] = counted.counts.map(|count| count as f64);
    if delivered <= 0.0 {
        return Err(TrafficError::NothingArrived);
    }
    let seconds = counted.elapsed.as_secs_f64();
    Ok(vec![
        Sample::new(Metric::Delivered, delivered / seconds),
        Sample::new(Metric::Offered, offered / seconds),
        // Buffers at the window's ends can make it slightly negative.
        Sample::new(Metric::Loss, (1.0 - delivered / offered).max(0.0)),
        // The warm-up and the last ones included, so that they can be compared with the kernel's counters.
        Sample::new(Metric::Sent, sent.load(Ordering::Relaxed) as f64),
        Sample::new(Metric::Received, received.load(Ordering::Relaxed) as f64),
    ])
}

/// Waits until a count has not grown for a while.
fn wait_until_still(count: &AtomicU64) {
    let mut last = None;
    while last != Some(count.load(Ordering::Relaxed)) {
        last = Some(count.load(Ordering::Relaxed));
        thread::sleep(STILL_FOR);
    }
}

/// Searches the highest rate without loss. A packet that reached the receiving host's IP counts as received;
/// no program reads it.
pub(crate) fn no_loss(flow: &Flow<'_>, meter: &Meter, seconds: u32) -> Result<Vec<Sample>, TrafficError> {
    let v4 = flow.family == Family::V4;
    let sink = flow.testbed.server.run(|| Receiver::sink(v4).map_err(TrafficError::Socket))?;
    let frames = flow.build(sink.port().map_err(TrafficError::Socket)?)?;
    let sender = flow.sender()?;
    let length = ndr::trial_length(seconds);
    let found = ndr::search(|rate| {
        let before = ip_received(&flow.testbed.server, flow.family)?;
        let (sent, elapsed) = raw::burst(&sender, &frames, rate, length)?;
        meter.drained()?;
        let received = ip_received(&flow.testbed.server, flow.family)? - before;
        Ok::<_, TrafficError>(Trial { rate: sent as f64 / elapsed.as_secs_f64(), sent, received })
    })?;
    Ok(vec![
        Sample::new(Metric::NoLossRate, found.no_loss),
        Sample::new(Metric::Offered, found.full),
        Sample::new(Metric::Resolution, found.resolution),
        Sample::new(Metric::Trials, f64::from(found.trials)),
    ])
}

/// IP packets that a host's interfaces have passed to its IP, frames of other protocols not counted.
fn ip_received(host: &Host, family: Family) -> Result<u64, CounterError> {
    match family {
        Family::V4 => counters::snmp(host, "Ip.InReceives"),
        Family::V6 => counters::snmp6(host, "Ip6InReceives"),
    }
}

/// UDP datagrams that the programs of a host have read.
pub(crate) fn datagrams_read(host: &Host, family: Family) -> Result<u64, CounterError> {
    match family {
        Family::V4 => counters::snmp(host, "Udp.InDatagrams"),
        Family::V6 => counters::snmp6(host, "Udp6InDatagrams"),
    }
}
