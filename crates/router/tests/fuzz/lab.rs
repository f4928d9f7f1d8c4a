//! Routers to push frames through, and what must hold after each frame.

use std::collections::BTreeMap;

use nsrouter_router::{
    Action, Advertise, Config, DropReason, Event, FlowHash, Limits, NeighConfig, Neighbours, NextHop,
    Originate, PortConfig, Rib, Route, RouteKind, RouteNextHop, Router, Seen, Settings, Tables, Time,
    Verdict,
};
use nsrouter_wire::checksum::Sum;
use nsrouter_wire::eth::MacAddr;
use nsrouter_wire::frame::{Frame, PortId};
use nsrouter_wire::icmp;
use nsrouter_wire::ipv6;
use nsrouter_wire::offload::{Gso, Offload};
use nsrouter_wire::{ipv4, protocol};

use super::case::Case;

/// MAC addresses of the hosts t1 and t2.
pub(crate) const HOSTS: [[u8; 6]; 2] = [[2, 1, 2, 3, 4, 0x11], [2, 1, 2, 3, 4, 0x12]];
/// MAC addresses of the router's ports.
pub(crate) const PORTS: [[u8; 6]; 3] = [[2, 1, 2, 3, 4, 1], [2, 1, 2, 3, 4, 2], [2, 1, 2, 3, 4, 3]];

const HEADROOM: usize = 64;

/// What the router said, by kind, counted.
#[derive(Debug, Default)]
pub(crate) struct Said(pub(crate) BTreeMap<String, u64>);

impl Said {
    fn count(&mut self, name: &str) {
        match self.0.get_mut(name) {
            Some(count) => *count += 1,
            None => {
                self.0.insert(name.to_owned(), 1);
            }
        }
    }

    /// Counts a frame of the router's own and checks it.
    fn own(&mut self, packet: &[u8]) -> Result<(), String> {
        let (kind, message) = match packet.first().map(|octet| octet >> 4) {
            Some(4) => {
                let header = ipv4::Header::parse(packet).ok_or("short IPv4 header")?;
                let bytes = header.header_bytes();
                if nsrouter_wire::checksum::checksum(packet.get(..bytes).ok_or("short header")?) != 0 {
                    return Err("wrong IPv4 checksum".to_owned());
                }
                if header.total_bytes() != packet.len() {
                    return Err(format!("total length {} in {} bytes", header.total_bytes(), packet.len()));
                }
                if header.is_fragment() {
                    self.count("fragment");
                    return Ok(());
                }
                let message = &packet[bytes..];
                if header.protocol() == protocol::TCP {
                    let sum = Sum::new().pseudo_ipv4(
                        header.source().octets(),
                        header.destination().octets(),
                        protocol::TCP,
                        20,
                    );
                    return self.reset(sum, message);
                }
                if header.protocol() != 1 || !icmp::v4_is_valid(message) {
                    return Err("an IPv4 packet of our own that is no valid ICMP".to_owned());
                }
                ("icmp", message)
            }
            Some(6) => {
                let header = ipv6::Header::parse(packet).ok_or("short IPv6 header")?;
                let upper = ipv6::upper_layer(packet).ok_or("extension headers that do not fit")?;
                let message = &packet[upper.offset..];
                if upper.protocol == protocol::TCP {
                    let sum = Sum::new().pseudo_ipv6(
                        header.source().octets(),
                        header.destination().octets(),
                        protocol::TCP,
                        20,
                    );
                    return self.reset(sum, message);
                }
                if upper.protocol != protocol::ICMPV6
                    || !icmp::v6_is_valid(message, header.source(), header.destination())
                {
                    return Err("an IPv6 packet of our own that is no valid ICMPv6".to_owned());
                }
                ("icmpv6", message)
            }
            _ => return Err("neither IPv4 nor IPv6".to_owned()),
        };
        // An echo comes back with whatever code it had.
        let code =
            if matches!(message[0], icmp::v4::ECHO_REPLY | icmp::v6::ECHO_REPLY) { 0 } else { message[1] };
        self.count(&format!("{kind} {}/{code}", message[0]));
        Ok(())
    }

    fn reset(&mut self, pseudo: Sum, message: &[u8]) -> Result<(), String> {
        if message.len() != 20 || message[13] & 4 == 0 || pseudo.bytes(message).finish() != 0 {
            return Err("a TCP segment of our own that is no valid reset".to_owned());
        }
        self.count("tcp reset");
        Ok(())
    }
}

/// Takes in what the router originates, and checks it at once.
#[derive(Debug)]
pub(crate) struct Outbox {
    buffer: Box<[u8]>,
    lent: usize,
    room: u64,
    pub(crate) said: Said,
    pub(crate) broken: Option<String>,
    pub(crate) events: Vec<Event>,
}

impl Outbox {
    fn check(&mut self, egress: PortId) {
        let l3 = if egress == PortId::HOST { 0 } else { 14 };
        let outcome = match self.buffer.get(l3..self.lent) {
            Some(packet) => self.said.own(packet),
            None => Err("an originated frame without a header".to_owned()),
        };
        if let Err(broken) = outcome {
            self.broken = Some(broken);
        }
    }
}

impl Originate for Outbox {
    fn buffer(&mut self, len: usize) -> Option<&mut [u8]> {
        self.room = self.room.checked_sub(1)?;
        self.lent = len;
        self.buffer.get_mut(..len)
    }

    fn send(&mut self, egress: PortId, offload: Offload) {
        if offload != Offload::default() {
            self.broken = Some("an originated frame with something pending".to_owned());
        }
        self.check(egress);
    }

    fn hold(&mut self, next_hop: NextHop) {
        self.said.count("held");
        self.check(next_hop.port);
    }

    fn report(&mut self, event: Event) {
        self.events.push(event);
    }
}

/// A router with its neighbours and everything beside it.
pub(crate) struct Lab {
    pub(crate) router: Router,
    routes: Rib,
    tables: Tables,
    neighbours: Neighbours,
    actions: Vec<Action>,
    now: Time,
    pub(crate) out: Outbox,
}

fn port(index: usize, mtu: u32, up: bool) -> PortConfig {
    let v4 = format!("10.10.{}.2/24", 251 + index).parse();
    let v6 = format!("fd00:{}::2/64", 251 + index).parse();
    PortConfig {
        name: format!("port{index}"),
        mac: MacAddr(PORTS[index]),
        mtu,
        addresses: v4.into_iter().chain(v6.into_iter().filter(|_| mtu >= 1280)).collect(),
        up,
    }
}

fn route(prefix: &str, kind: RouteKind) -> Option<Route> {
    Some(Route { prefix: prefix.parse().ok()?, kind, metric: 0, mtu: None })
}

fn hop(port: u16, via: &str) -> RouteNextHop {
    RouteNextHop { port: Some(PortId(port)), via: via.parse().ok(), weight: 1 }
}

impl Lab {
    /// One of each configuration.
    pub(crate) fn all() -> Vec<Lab> {
        let advertise =
            Advertise { port: PortId(0), interval_ms: 5000, lifetime_s: 60, prefix_lifetime_s: 60 };
        let settings = [
            Settings::default(),
            Settings { host_port: true, advertise: vec![advertise], ..Settings::default() },
            Settings {
                host_port: true,
                router_alert: true,
                flow_hash: FlowHash::L3L4,
                ..Settings::default()
            },
            // With a port that is without IPv6.
            Settings::default(),
        ];
        settings
            .into_iter()
            .zip([1500, 1280, 1280, 576])
            .filter_map(|(settings, mtu)| Lab::new(settings, mtu))
            .collect()
    }

    fn new(settings: Settings, mtu: u32) -> Option<Lab> {
        let ports = [port(0, 1500, true), port(1, mtu, true), port(2, 1500, false)];
        let routes: Vec<Route> = [
            route("10.1.0.0/16", RouteKind::Blackhole),
            route("10.2.0.0/16", RouteKind::Unreachable),
            route("10.3.0.0/16", RouteKind::Prohibit),
            route("fd01::/64", RouteKind::Blackhole),
            route("fd02::/64", RouteKind::Unreachable),
            route("fd03::/64", RouteKind::Prohibit),
            route("10.9.0.0/16", RouteKind::Unicast(vec![hop(0, "10.10.251.1")])),
            route("fd09::/64", RouteKind::Unicast(vec![hop(0, "fe80::11")])),
            route("10.8.0.0/16", RouteKind::Unicast(vec![hop(0, "10.10.251.1"), hop(1, "10.10.252.1")])),
        ]
        .into_iter()
        .flatten()
        .collect();
        let mut table = Rib::new(&ports, settings).ok()?;
        table.configure(&routes).ok()?;
        let mut lab = Lab {
            router: Router::new(0, Config { ports: ports.len(), seed: 1 }, Limits::new(1)),
            tables: table.tables(),
            routes: table,
            neighbours: Neighbours::new(NeighConfig { max_entries: 32, ..NeighConfig::default() }),
            actions: Vec::new(),
            now: Time { mono_ns: 1_000_000_000, utc_ms: 5 },
            out: Outbox {
                buffer: vec![0; 70_000].into(),
                lent: 0,
                room: 0,
                said: Said::default(),
                broken: None,
                events: Vec::new(),
            },
        };
        let known = [
            (0, "10.10.251.1", HOSTS[0]),
            (1, "10.10.252.1", HOSTS[1]),
            (0, "fd00:251::1", HOSTS[0]),
            (1, "fd00:252::1", HOSTS[1]),
            (0, "fe80::11", HOSTS[0]),
        ];
        for (port, addr, mac) in known {
            let next_hop = NextHop { port: PortId(port), addr: addr.parse().ok()? };
            lab.neighbours.set_permanent(next_hop, MacAddr(mac), &mut lab.actions);
        }
        lab.publish();
        Some(lab)
    }

    fn publish(&mut self) {
        if let Some(map) = self.neighbours.map() {
            self.routes.set_neighbours(map);
            self.tables = self.routes.tables();
        }
    }

    /// Pushes one frame `step_ns` later and checks all that must hold.
    pub(crate) fn push(&mut self, case: &Case, step_ns: u64) -> Result<(), String> {
        self.now.mono_ns += step_ns;
        self.out.broken = None;
        // A pool that is sometimes empty.
        self.out.room = if self.now.mono_ns.is_multiple_of(16) { 1 } else { 200 };
        let mut buffer = vec![0x5a; HEADROOM + case.frame.len()];
        buffer[HEADROOM..].copy_from_slice(&case.frame);
        let head = if self.now.mono_ns.is_multiple_of(64) { 0 } else { HEADROOM };
        let bytes = &mut buffer[HEADROOM - head..];
        let Some(mut frame) = Frame::new(bytes, head, case.frame.len(), case.ingress, case.offload) else {
            return Err("no frame".to_owned());
        };
        let verdict = self.router.forward(&mut frame, &self.tables, self.now, &mut self.out);
        match verdict {
            Verdict::Send(port) => {
                self.out.said.count("sent");
                self.check_sent(&frame, port, case)?;
            }
            Verdict::Reply(port) => {
                self.check_sent(&frame, port, case)?;
                if frame.data()[12..14] == [8, 6] {
                    self.out.said.count("arp reply");
                } else {
                    self.out.said.own(&frame.data()[14..])?;
                }
            }
            Verdict::Hold(next_hop) => {
                self.out.said.count("held");
                self.check_sent(&frame, next_hop.port, case)?;
                // The fate of the held: given up, or released.
                if self.now.mono_ns.is_multiple_of(2) {
                    let is_full = self.now.mono_ns.is_multiple_of(4);
                    let reason =
                        if is_full { DropReason::NeighbourTableFull } else { DropReason::NeighbourFailed };
                    self.router.unreachable(&mut frame, reason, &self.tables, self.now, &mut self.out);
                } else {
                    self.router.release(&mut frame, next_hop, &self.tables);
                }
            }
            Verdict::ToHost => {
                self.out.said.count("to host");
                if frame.data().is_empty() {
                    return Err("nothing for the host".to_owned());
                }
            }
            Verdict::Consumed | Verdict::Drop(_) => {}
        }
        self.router.tick(self.now, &self.tables, &mut self.out);
        self.control()?;
        match self.out.broken.take() {
            Some(broken) => Err(broken),
            None => self.router.counters().check_conservation(),
        }
    }

    /// A frame that leaves: from the port's own address, of a length that the link takes, with a right header checksum.
    fn check_sent(&self, frame: &Frame<'_>, port: PortId, case: &Case) -> Result<(), String> {
        let data = frame.data();
        let mac = PORTS.get(port.index()).ok_or("an unknown port")?;
        if data.len() < 14 || data[6..12] != mac[..] {
            return Err("not from the port's own address".to_owned());
        }
        let mtu = self.tables.port(port).map_or(0, |port| usize::try_from(port.mtu_bytes()).unwrap_or(0));
        if frame.offload.gso == Gso::None && data.len() - 14 > mtu {
            return Err(format!("{} bytes on a link of {mtu}", data.len() - 14));
        }
        if data[12..14] == [8, 0] {
            let bytes = usize::from(data[14] & 0x0f) * 4;
            if nsrouter_wire::checksum::checksum(&data[14..14 + bytes]) != 0 {
                return Err("sent with a wrong IPv4 checksum".to_owned());
            }
        }
        if case.frame.len() + 14 < data.len() && frame.offload.gso == Gso::None {
            return Err("the frame grew".to_owned());
        }
        Ok(())
    }

    /// The control plane's part: events in, bounded tables out.
    fn control(&mut self) -> Result<(), String> {
        let mut events = std::mem::take(&mut self.out.events);
        for event in events.drain(..) {
            // What is sent back by t2's address stays unresolved, so that frames go on being held.
            let stays_unknown = matches!(
                event,
                Event::NeighbourSeen { kind: Seen::ArpReply | Seen::Advertisement { .. }, .. }
            );
            if !stays_unknown {
                self.neighbours.event(&event, &self.tables, self.now.mono_ns, &mut self.actions);
            }
        }
        self.out.events = events;
        self.neighbours.tick(&self.tables, self.now.mono_ns, &mut self.actions);
        self.publish();
        self.actions.clear();
        if self.neighbours.list().count() > 64 {
            return Err("the neighbour table grew beyond its bound".to_owned());
        }
        let held = self.router.counters().held;
        for _ in 0..held {
            // Originated frames that wait are dropped by the harness, as the engine does when it stops.
            self.router.counters_mut().unheld(DropReason::WorkerStopped);
        }
        Ok(())
    }
}
