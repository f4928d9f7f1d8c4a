//! The way out: next hop, neighbour, Ethernet header; for frames that pass through and for those of our own making.

use std::net::{IpAddr, Ipv4Addr};

use nsrouter_wire::eth::{self, MacAddr};
use nsrouter_wire::frame::{Frame, PortId};
use nsrouter_wire::ipv4;
use nsrouter_wire::ipv6;
use nsrouter_wire::offload::Offload;

use crate::drop::DropReason;
use crate::link::ethernet::{self, L3};
use crate::nexthop::group;
use crate::nexthop::{Adjacency, NextHopEntry};
use crate::pipeline::{Context, Router};
use crate::port::Port;
use crate::tables::Tables;
use crate::verdict::{Event, NextHop, Originate, Verdict};

/// The way of a packet of our own to a destination.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Exit<'a> {
    /// To a program of our own host.
    Host,
    /// Out by a link.
    Link {
        /// The port.
        port: &'a Port,
        /// Who gets it next.
        next_hop: NextHop,
        /// Length of the route's prefix (IPv6 only).
        prefix_len: u8,
        /// Largest packet that may go there, in bytes.
        mtu: usize,
    },
}

/// The `EtherType` of an IP packet: its next hop may be of the other family (RFC 8950).
#[inline]
fn ether_type(packet: &[u8]) -> u16 {
    match packet.first() {
        Some(octet) if octet >> 4 == 6 => eth::TYPE_IPV6,
        Some(_) | None => eth::TYPE_IPV4,
    }
}

/// The link-layer group address of a multicast or broadcast destination.
fn group_mac(address: IpAddr) -> Option<MacAddr> {
    match address {
        IpAddr::V4(Ipv4Addr::BROADCAST) => Some(MacAddr::BROADCAST),
        IpAddr::V4(group) if group.is_multicast() => Some(MacAddr::for_ipv4_group(group.octets())),
        IpAddr::V6(group) if group.is_multicast() => Some(MacAddr::for_ipv6_group(group.octets())),
        IpAddr::V4(_) | IpAddr::V6(_) => None,
    }
}

impl Router {
    /// The port and next hop of a frame with this target; `None` when the target leads nowhere.
    #[inline]
    pub(crate) fn choose<'t>(
        &self,
        frame: &Frame<'_>,
        tables: &'t Tables,
        target: &NextHopEntry,
        destination: IpAddr,
    ) -> Option<(&'t Port, NextHop)> {
        let (port, addr) = match &target.adjacency {
            Adjacency::OnLink(port) => (*port, destination),
            Adjacency::Via(port, via) => (*port, *via),
            Adjacency::Group(group) => {
                let hop = group.pick(flow_hash(&frame.data()[L3..], tables, destination))?;
                (hop.port, hop.via.unwrap_or(destination))
            }
            Adjacency::Broadcast => (tables.broadcast_port(destination)?, destination),
            Adjacency::Local | Adjacency::Reject(_) => return None,
        };
        Some((tables.port(port)?, NextHop { port, addr }))
    }

    /// The last step of a frame that passes through: the neighbour's MAC address, or wait for it.
    #[inline]
    pub(crate) fn send_on(
        &mut self,
        frame: &mut Frame<'_>,
        port: &Port,
        next_hop: NextHop,
        tables: &Tables,
        out: &mut impl Originate,
    ) -> Verdict {
        let ether_type = ether_type(&frame.data()[L3..]);
        match resolve(tables, next_hop, out) {
            Some(mac) => {
                ethernet::address(frame, port, mac, ether_type);
                Verdict::Send(port.id)
            }
            None => {
                ethernet::address(frame, port, MacAddr::ZERO, ether_type);
                out.report(unresolved(&frame.data()[L3..], next_hop, tables));
                Verdict::Hold(next_hop)
            }
        }
    }

    /// A frame rewritten into an answer goes back to `destination`: by the route, or for link-local ones by the link
    /// that it came from.
    pub(crate) fn reply(
        &mut self,
        frame: &mut Frame<'_>,
        context: &Context<'_>,
        destination: IpAddr,
        out: &mut impl Originate,
    ) -> Verdict {
        let about = Some(&frame.data()[L3..]);
        let (port, next_hop, mtu) = match exit(context.tables, destination, context.ingress, about) {
            Some(Exit::Link { port, next_hop, mtu, .. }) => (port, next_hop, mtu),
            // The host talks to its own addresses by itself.
            Some(Exit::Host) => return Verdict::Drop(DropReason::MartianSource),
            None => return Verdict::Drop(DropReason::NoRoute),
        };
        if frame.len() - L3 > mtu {
            return match destination {
                IpAddr::V4(_) => self.fragment4(frame, context, (port, mtu), next_hop, out),
                IpAddr::V6(_) => Verdict::Drop(DropReason::TooBig),
            };
        }
        match self.send_on(frame, port, next_hop, context.tables, out) {
            Verdict::Send(port) => Verdict::Reply(port),
            other => other,
        }
    }

    /// Originates an IP packet of `bytes`, which `write` fills in. Counts it; no buffer is counted too.
    pub(crate) fn originate(
        &mut self,
        exit: Exit<'_>,
        bytes: usize,
        offload: Offload,
        tables: &Tables,
        out: &mut impl Originate,
        write: impl FnOnce(&mut [u8]),
    ) -> bool {
        let Exit::Link { port, next_hop, .. } = exit else {
            let Some(buffer) = out.buffer(bytes) else { return self.no_buffer() };
            write(buffer);
            out.send(PortId::HOST, offload);
            self.counters.originated += 1;
            self.counters.count_tx(PortId::HOST, bytes);
            return true;
        };
        let mac = match group_mac(next_hop.addr) {
            Some(mac) => Some(mac),
            None => resolve(tables, next_hop, out),
        };
        let Some(buffer) = out.buffer(L3 + bytes) else { return self.no_buffer() };
        let destination = mac.unwrap_or(MacAddr::ZERO);
        write(&mut buffer[L3..]);
        let ether_type = ether_type(&buffer[L3..]);
        eth::write(buffer, destination, port.mac, ether_type);
        let question = mac.is_none().then(|| unresolved(&buffer[L3..], next_hop, tables));
        self.counters.originated += 1;
        if let Some(question) = question {
            out.hold(next_hop);
            out.report(question);
            self.counters.held += 1;
        } else {
            out.send(port.id, offload);
            self.counters.count_tx(port.id, L3 + bytes);
        }
        true
    }

    fn no_buffer(&mut self) -> bool {
        self.counters.originate_no_buffer += 1;
        false
    }

    /// The identification of the next IPv4 packet of our own.
    pub(crate) fn next_identification(&mut self) -> u16 {
        self.identification = self.identification.wrapping_add(1);
        self.identification
    }
}

/// The neighbour's MAC address, if known; the first use of a stale one is reported.
#[inline]
pub(crate) fn resolve(tables: &Tables, next_hop: NextHop, out: &mut impl Originate) -> Option<MacAddr> {
    let Some(known) = tables.neighbours().get(next_hop) else {
        // A subnet's broadcast address stands for all who are there; only with `directed_broadcast` is one a next hop.
        return (tables.broadcast_port(next_hop.addr) == Some(next_hop.port)).then_some(MacAddr::BROADCAST);
    };
    if known.take_report() {
        out.report(Event::InUse(next_hop));
    }
    Some(known.mac)
}

/// The report that a packet waits for its next hop. Linux asks in the name of the packet's source where that is its own
/// (`arp_solicit` with `arp_announce` 0; `ndisc_solicit`, where it is the port's; RFC 4861 section 7.2.2).
#[cold]
pub(crate) fn unresolved(packet: &[u8], next_hop: NextHop, tables: &Tables) -> Event {
    let asker = match next_hop.addr {
        IpAddr::V4(_) => ipv4::Header::parse(packet)
            .map(|header| header.source())
            .filter(|source| tables.is_own4(*source))
            .map(IpAddr::V4),
        IpAddr::V6(_) => ipv6::Header::parse(packet)
            .filter(|header| header.version() == 6)
            .map(|header| header.source())
            .filter(|source| tables.port(next_hop.port).is_some_and(|port| port.has6(*source)))
            .map(IpAddr::V6),
    };
    Event::Unresolved { next_hop, asker }
}

/// The hash that chooses among several next hops, by the policy that is set.
fn flow_hash(packet: &[u8], tables: &Tables, destination: IpAddr) -> u32 {
    let policy = tables.settings().flow_hash;
    match destination {
        IpAddr::V4(_) => group::flow_hash4(packet, policy),
        IpAddr::V6(_) => group::flow_hash6(packet, policy),
    }
}

/// The way of a packet of our own to `destination`: link-local and multicast ones leave by `link`, the port that what it
/// is about came from. Only what the host sent is answered to the host. Of several next hops it takes that of the flow of
/// the packet that it is `about` (Linux `icmp_route_lookup`), else the first.
pub(crate) fn exit<'t>(
    tables: &'t Tables,
    destination: IpAddr,
    link: PortId,
    about: Option<&[u8]>,
) -> Option<Exit<'t>> {
    let on_link = match destination {
        IpAddr::V4(address) => address.is_multicast() || address.is_broadcast(),
        IpAddr::V6(address) => address.is_unicast_link_local() || address.is_multicast(),
    };
    if on_link {
        let port = tables.port(link)?;
        let next_hop = NextHop { port: link, addr: destination };
        return Some(Exit::Link { port, next_hop, prefix_len: 64, mtu: port.mtu });
    }
    let target = match destination {
        IpAddr::V4(address) => tables.route4(address),
        IpAddr::V6(address) => tables.route6(address),
    };
    let (id, addr) = match &target.adjacency {
        Adjacency::Local if tables.settings().host_port && link == PortId::HOST => return Some(Exit::Host),
        Adjacency::Local | Adjacency::Broadcast | Adjacency::Reject(_) => return None,
        Adjacency::OnLink(port) => (*port, destination),
        Adjacency::Via(port, via) => (*port, *via),
        Adjacency::Group(group) => {
            let hop = match about {
                Some(packet) => group.pick(flow_hash(packet, tables, destination)),
                None => group.members().first(),
            }?;
            (hop.port, hop.via.unwrap_or(destination))
        }
    };
    let next_hop = NextHop { port: id, addr };
    let port = tables.port(id)?;
    Some(Exit::Link { port, next_hop, prefix_len: target.prefix_len, mtu: target.mtu(port) })
}
