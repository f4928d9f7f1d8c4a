//! UDP by the raw generator: at a rate, as fast as it goes, or at the highest rate without loss.

use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;

use super::ndr::{self, Trial};
use super::raw::{self, Path, Receiver, Sender};
use super::tcp::{Window, snmp};
use crate::agent::AgentError;
use crate::metric::{Metric, Sample};
use crate::plan::{Family, Frames, Scenario};
use crate::testbed::meter::{Meter, STILL_FOR};
use crate::testbed::{Host, Lab};

/// What is sent from the client's host to the server's.
pub(crate) struct Flow<'a> {
    pub(crate) lab: &'a Lab,
    pub(crate) family: Family,
    pub(crate) frames: Frames,
    /// One, or many in turn.
    pub(crate) destinations: &'a [IpAddr],
}

impl Flow<'_> {
    /// The frames in the order in which they are sent, over and over, to that port.
    fn build(&self, port: u16) -> Result<Vec<Vec<u8>>, AgentError> {
        let path = Path {
            from_mac: self.lab.client.port()?.mac,
            to_mac: self.lab.port_towards(&self.lab.client)?.mac,
            from: self.lab.client.address(self.family)?,
        };
        let sizes = self.frames.sizes(self.family);
        // Every destination gets a frame, and every size has its share.
        let count = self.destinations.len().max(1).next_multiple_of(sizes.len());
        let pairs = sizes.iter().cycle().zip(self.destinations.iter().cycle()).take(count);
        let frame = |(size, destination): (&u16, &IpAddr)| {
            let payload = Scenario::udp_payload(*size, self.family).ok_or(AgentError::FrameSize)?;
            Ok(path.frame(SocketAddr::new(*destination, port), payload))
        };
        pairs.map(frame).collect()
    }

    fn sender(&self) -> Result<Sender, AgentError> {
        let ifname = &self.lab.client.port()?.ifname;
        let Host { pin, .. } = self.lab.client;
        let open = || Sender::open(ifname, pin).map_err(|errno| AgentError::Generator(errno.into()));
        self.lab.client.run(open)
    }
}

/// A flow that can begin at once: what a window is to measure is not the making of 65,536 frames.
pub(crate) struct Ready {
    receiver: Receiver,
    sender: Sender,
    frames: Vec<Vec<u8>>,
}

/// Opens what sends and what receives, and makes the frames.
pub(crate) fn prepare(flow: &Flow<'_>) -> Result<Ready, AgentError> {
    let v4 = flow.family == Family::V4;
    let receiver =
        flow.lab.server.run(|| Receiver::open(v4, flow.lab.server.pin).map_err(AgentError::Generator))?;
    let frames = flow.build(receiver.port().map_err(AgentError::Generator)?)?;
    Ok(Ready { receiver, sender: flow.sender()?, frames })
}

/// Sends for the window: what was offered, and what the receiving program read.
pub(crate) fn fixed(flow: &Ready, rate: Option<f64>, window: Window) -> Result<Vec<Sample>, AgentError> {
    let Ready { receiver, sender, frames } = flow;
    let (sent, received) = (AtomicU64::new(0), AtomicU64::new(0));
    let (no_more, over) = (AtomicBool::new(false), AtomicBool::new(false));
    let counted = thread::scope(|scope| {
        scope.spawn(|| receiver.count(&received, &over));
        let sending = scope.spawn(|| sender.send(frames, rate, &sent, &no_more));
        let counted = window.count(|| [sent.load(Ordering::Relaxed), received.load(Ordering::Relaxed)]);
        no_more.store(true, Ordering::Relaxed);
        let result = sending.join().unwrap_or(Ok(()));
        wait_until_still(&received);
        over.store(true, Ordering::Relaxed);
        result.map(|()| counted).map_err(|errno| AgentError::Generator(errno.into()))
    })?;
    let [offered, delivered]: [f64; 2] = counted.counts.map(|count| count as f64);
    if delivered <= 0.0 {
        return Err(AgentError::NothingArrived);
    }
    let seconds = counted.elapsed.as_secs_f64();
    Ok(vec![
        Sample::new(Metric::Delivered, delivered / seconds),
        Sample::new(Metric::Offered, offered / seconds),
        // What waits in buffers at the window's ends can make it a little less than nothing.
        Sample::new(Metric::Loss, (1.0 - delivered / offered).max(0.0)),
        // All of them, the warm-up's and the last ones included: what the kernel's counters can be held against.
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

/// Searches the highest rate without loss. What reached the receiving host's IP counts as received; no program reads it.
pub(crate) fn no_loss(flow: &Flow<'_>, meter: &Meter, seconds: u32) -> Result<Vec<Sample>, AgentError> {
    let v4 = flow.family == Family::V4;
    let sink = flow.lab.server.run(|| Receiver::sink(v4).map_err(AgentError::Generator))?;
    let frames = flow.build(sink.port().map_err(AgentError::Generator)?)?;
    let sender = flow.sender()?;
    let length = ndr::trial_length(seconds);
    let found = ndr::search(|rate| {
        let before = ip_received(&flow.lab.server, flow.family)?;
        let (sent, elapsed) = raw::burst(&sender, &frames, rate, length)?;
        meter.drained()?;
        let received = ip_received(&flow.lab.server, flow.family)? - before;
        Ok::<_, AgentError>(Trial { rate: sent as f64 / elapsed.as_secs_f64(), sent, received })
    })?;
    Ok(vec![
        Sample::new(Metric::NoLossRate, found.no_loss),
        Sample::new(Metric::Offered, found.full),
        Sample::new(Metric::Resolution, found.resolution),
        Sample::new(Metric::Trials, f64::from(found.trials)),
    ])
}

/// IP packets that a host's interfaces have given to its IP, frames of other protocols not counted.
fn ip_received(host: &Host, family: Family) -> Result<u64, AgentError> {
    counter(host, family, ("Ip:", "InReceives"), "Ip6InReceives")
}

/// UDP datagrams that the programs of a host have read.
pub(crate) fn datagrams_read(host: &Host, family: Family) -> Result<u64, AgentError> {
    counter(host, family, ("Udp:", "InDatagrams"), "Udp6InDatagrams")
}

fn counter(host: &Host, family: Family, v4: (&str, &str), v6: &str) -> Result<u64, AgentError> {
    host.run(|| {
        let read = |name: &str| {
            std::fs::read_to_string(format!("/proc/thread-self/net/{name}")).map_err(AgentError::Meter)
        };
        let count = match family {
            Family::V4 => snmp(&read("snmp")?, v4.0, v4.1),
            Family::V6 => snmp6(&read("snmp6")?, v6),
        };
        count.ok_or(AgentError::Lacks { node: host.name.clone(), what: "count of received packets" })
    })
}

/// A value of /proc/net/snmp6: a name and a number a line.
fn snmp6(table: &str, name: &str) -> Option<u64> {
    let mut words = table.lines().map(str::split_whitespace);
    words.find_map(|mut words| (words.next()? == name).then(|| words.next()?.parse().ok())?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_of_snmp6_are_found_by_name() {
        let table = "Ip6InReceives                   \t17\nIp6InHdrErrors\t3\n";
        assert_eq!(snmp6(table, "Ip6InReceives"), Some(17));
        assert_eq!(snmp6(table, "Ip6In"), None);
    }
}
