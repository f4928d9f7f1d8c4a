//! What the unit tests share: a small lab in memory, frames as other parsers build them, and what was
//! originated.

use std::net::IpAddr;

use etherparse::{PacketBuilder, PacketBuilderStep};
use nsrouter_wire::frame::{Frame, PortId};
use nsrouter_wire::offload::Offload;

use crate::*;

pub(crate) const T1_MAC: [u8; 6] = [2, 1, 2, 3, 4, 0x11];
pub(crate) const T2_MAC: [u8; 6] = [2, 1, 2, 3, 4, 0x12];
pub(crate) const R1_MAC: [u8; 6] = [2, 1, 2, 3, 4, 1];
pub(crate) const R2_MAC: [u8; 6] = [2, 1, 2, 3, 4, 2];
pub(crate) const P1: PortId = PortId(0);
pub(crate) const P2: PortId = PortId(1);
pub(crate) const HEADROOM: usize = 64;

/// What the router originated.
#[derive(Debug, Default)]
pub(crate) struct Outbox {
    lent: Vec<u8>,
    /// No buffers beyond this many; `None`: as many as asked for.
    pub(crate) room: Option<usize>,
    pub(crate) sent: Vec<(PortId, Vec<u8>)>,
    pub(crate) held: Vec<(NextHop, Vec<u8>)>,
    pub(crate) events: Vec<Event>,
}

impl Originate for Outbox {
    fn buffer(&mut self, len: usize) -> Option<&mut [u8]> {
        if self.room.is_some_and(|room| self.sent.len() + self.held.len() >= room) {
            return None;
        }
        self.lent = vec![0xa5; len];
        Some(&mut self.lent)
    }

    fn send(&mut self, egress: PortId, offload: Offload) {
        assert_eq!(offload, Offload::default());
        self.sent.push((egress, std::mem::take(&mut self.lent)));
    }

    fn hold(&mut self, next_hop: NextHop) {
        self.held.push((next_hop, std::mem::take(&mut self.lent)));
    }

    fn report(&mut self, event: Event) {
        self.events.push(event);
    }
}

pub(crate) fn port(name: &str, mac: [u8; 6], addresses: &[&str]) -> PortConfig {
    PortConfig {
        name: name.to_owned(),
        mac: MacAddr(mac),
        mtu: 1500,
        addresses: addresses.iter().map(|address| address.parse().unwrap()).collect(),
        up: true,
    }
}

/// The default lab's router: two ports, both families.
pub(crate) fn lab_ports() -> Vec<PortConfig> {
    vec![
        port("eth-t1", R1_MAC, &["10.10.251.2/24", "fd00:251::2/64"]),
        port("eth-t2", R2_MAC, &["10.10.252.2/24", "fd00:252::2/64"]),
    ]
}

pub(crate) fn addr(text: &str) -> IpAddr {
    text.parse().unwrap()
}

/// A router with its tables, what it originated, and the conservation check after every frame.
pub(crate) struct Bench {
    pub(crate) router: Router,
    pub(crate) tables: Tables,
    pub(crate) out: Outbox,
    pub(crate) now: Time,
}

impl Tables {
    /// The same tables with other neighbours.
    pub(crate) fn with_neighbours(&self, neighbours: std::sync::Arc<NeighbourMap>) -> Tables {
        Tables { neighbours, ..self.clone() }
    }
}

/// A frame after the router: the verdict and the bytes.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Done {
    pub(crate) verdict: Verdict,
    pub(crate) bytes: Vec<u8>,
    pub(crate) offload: Offload,
}

impl Bench {
    /// The default lab with these routes; t1 and t2 are known neighbours.
    pub(crate) fn new(routes: &[Route], settings: Settings) -> Bench {
        Bench::with_ports(&lab_ports(), routes, settings)
    }

    pub(crate) fn with_ports(ports: &[PortConfig], routes: &[Route], settings: Settings) -> Bench {
        let tables = Tables::new(ports, routes, settings).unwrap();
        let known = [
            (P1, "10.10.251.1", T1_MAC),
            (P2, "10.10.252.1", T2_MAC),
            (P1, "fd00:251::1", T1_MAC),
            (P2, "fd00:252::1", T2_MAC),
            (P1, "fe80::11", T1_MAC),
        ];
        let known: Vec<_> = known
            .iter()
            .map(|(port, text, mac)| (NextHop { port: *port, addr: addr(text) }, MacAddr(*mac), false))
            .collect();
        let map = NeighbourMap::new(1, Default::default(), &known);
        Bench {
            router: Router::new(0, Config { ports: ports.len(), seed: 7 }, Limits::new(7)),
            tables: tables.with_neighbours(std::sync::Arc::new(map)),
            out: Outbox::default(),
            now: Time::default(),
        }
    }

    pub(crate) fn lab() -> Bench {
        Bench::new(&[], Settings::default())
    }

    pub(crate) fn push(&mut self, ingress: PortId, bytes: &[u8]) -> Done {
        self.push_offloaded(ingress, bytes, Offload::default())
    }

    /// Pushes a frame and asserts that exactly those counters moved that its verdict and what was originated
    /// say.
    pub(crate) fn push_offloaded(&mut self, ingress: PortId, bytes: &[u8], offload: Offload) -> Done {
        let mut buffer = vec![0x5a; HEADROOM];
        buffer.extend_from_slice(bytes);
        let mut frame = Frame::new(&mut buffer, HEADROOM, bytes.len(), ingress, offload).unwrap();
        let mut expected = self.router.counters().clone();
        let already = (self.out.sent.len(), self.out.held.len());
        let verdict = self.router.forward(&mut frame, &self.tables, self.now, &mut self.out);
        self.router.counters().check_conservation().unwrap();
        count_in(&mut expected, ingress, bytes.len());
        match verdict {
            Verdict::Send(egress) | Verdict::Reply(egress) => count_out(&mut expected, egress, frame.len()),
            Verdict::ToHost => count_out(&mut expected, PortId::HOST, frame.len()),
            Verdict::Hold(_) => expected.held += 1,
            Verdict::Consumed => expected.consumed += 1,
            Verdict::Drop(reason) => expected.count_drop(reason),
        }
        for (egress, bytes) in &self.out.sent[already.0..] {
            expected.originated += 1;
            count_out(&mut expected, *egress, bytes.len());
        }
        let held = self.out.held.len() - already.1;
        expected.originated += held as u64;
        expected.held += held as u64;
        assert_eq!(moved(self.router.counters()), moved(&expected), "{verdict:?}");
        Done { verdict, bytes: frame.data().to_vec(), offload: frame.offload }
    }

    /// Pushes a frame that is to be dropped for `reason`, and asserts that exactly that was counted.
    #[track_caller]
    pub(crate) fn expect_drop(&mut self, ingress: PortId, bytes: &[u8], reason: DropReason) {
        let before = self.router.counters().clone();
        let done = self.push(ingress, bytes);
        assert_eq!(done.verdict, Verdict::Drop(reason));
        let after = self.router.counters();
        assert_eq!(after.drops(reason), before.drops(reason) + 1);
        assert_eq!(after.dropped_total(), before.dropped_total() + 1);
        assert_eq!(after.received, before.received + 1);
        let originated = after.originated - before.originated;
        assert_eq!(
            (after.sent - before.sent) + (after.to_host - before.to_host) + (after.held - before.held),
            originated
        );
        assert_eq!(after.consumed, before.consumed);
    }

    /// The only frame originated since last asked, with its port.
    #[track_caller]
    pub(crate) fn take_one(&mut self) -> (PortId, Vec<u8>) {
        let mut sent = std::mem::take(&mut self.out.sent);
        assert_eq!(sent.len(), 1, "{sent:?}");
        sent.remove(0)
    }
}

fn count_in(counters: &mut Counters, ingress: PortId, bytes: usize) {
    counters.received += 1;
    let host = (ingress == PortId::HOST).then_some(&mut counters.host);
    // A frame of a port that is not there is received all the same.
    if let Some(port) = host.or(counters.ports.get_mut(ingress.index())) {
        port.rx_frames += 1;
        port.rx_bytes += bytes as u64;
    }
}

fn count_out(counters: &mut Counters, egress: PortId, bytes: usize) {
    let port = if egress == PortId::HOST {
        counters.to_host += 1;
        &mut counters.host
    } else {
        counters.sent += 1;
        &mut counters.ports[egress.index()]
    };
    port.tx_frames += 1;
    port.tx_bytes += bytes as u64;
}

/// The counters without those that follow from no verdict: limits, look-ups, and how many of the originated
/// are errors.
fn moved(counters: &Counters) -> Counters {
    let mut moved = counters.clone();
    for counter in Counters::TABLE.iter().filter(|counter| counter.accounting == Accounting::Apart) {
        *counter.value_mut(&mut moved) = 0;
    }
    moved
}

/// An Ethernet frame's builder from t1 to the router.
pub(crate) fn from_t1() -> PacketBuilderStep<etherparse::Ethernet2Header> {
    PacketBuilder::ethernet2(T1_MAC, R1_MAC)
}

/// A UDP datagram from t1 to t2 through the router.
pub(crate) fn udp4(ttl: u8, payload: &[u8]) -> Vec<u8> {
    udp4_to([10, 10, 251, 1], [10, 10, 252, 1], ttl, payload)
}

pub(crate) fn udp4_to(source: [u8; 4], destination: [u8; 4], ttl: u8, payload: &[u8]) -> Vec<u8> {
    let mut frame = Vec::new();
    from_t1().ipv4(source, destination, ttl).udp(1234, 9).write(&mut frame, payload).unwrap();
    frame
}

pub(crate) fn octets6(text: &str) -> [u8; 16] {
    text.parse::<std::net::Ipv6Addr>().unwrap().octets()
}

pub(crate) fn udp6(source: &str, destination: &str, hop_limit: u8, payload: &[u8]) -> Vec<u8> {
    let mut frame = Vec::new();
    from_t1()
        .ipv6(octets6(source), octets6(destination), hop_limit)
        .udp(1234, 9)
        .write(&mut frame, payload)
        .unwrap();
    frame
}

/// Computes the IPv4 header checksum of a frame anew, after a test changed the header.
pub(crate) fn fix4(frame: &mut [u8]) {
    let bytes = usize::from(frame[14] & 0x0f) * 4;
    nsrouter_wire::ipv4::fill_checksum(&mut frame[14..14 + bytes]);
}
