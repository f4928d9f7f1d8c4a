//! Where a packet leaves, of either IP version: the port, the next hop and the MTU that its route gives, or the host port.

use std::net::{IpAddr, Ipv6Addr};
use std::ops::ControlFlow::Continue;

use nsrouter_wire::frame::PortId;

use crate::drop::DropReason;
use crate::nexthop::group::{GroupMember, NextHopGroup, flow_hash4, flow_hash6};
use crate::nexthop::{Adjacency, NextHopEntry};
use crate::packet::{Family, LinkDestination, Packet};
use crate::port::Port;
use crate::tables::Tables;
use crate::verdict::{NextHop, Step, drop, refuse};

/// The link by which a packet leaves.
///
/// The gateway stays where the route has it: on the way of every packet nothing is copied that is larger than
/// a register.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Egress<'t> {
    /// The port.
    pub(crate) port: &'t Port,
    /// The gateway; `None` when the destination itself is on the link.
    pub(crate) gateway: Option<&'t IpAddr>,
    /// The largest packet that may leave this way, in bytes.
    pub(crate) mtu: usize,
}

impl Egress<'_> {
    /// The neighbour that gets a packet to `destination` next.
    #[inline]
    pub(crate) fn next_hop(&self, destination: IpAddr) -> NextHop {
        NextHop { port: self.port.id, addr: self.gateway.copied().unwrap_or(destination) }
    }
}

/// Where a packet that the router makes itself leaves.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Outgoing<'t> {
    /// To a program of the router's own host.
    Host,
    /// By a link.
    Link {
        /// Which, and the next hop on it.
        egress: Egress<'t>,
        /// The neighbour or group that gets the packet next.
        next_hop: NextHop,
        /// Length of the route's prefix (IPv6 only).
        prefix_len: u8,
    },
}

impl<'t> Outgoing<'t> {
    /// To a neighbour or group on the link of `port`.
    pub(crate) fn on_link(port: &'t Port, destination: Ipv6Addr) -> Outgoing<'t> {
        on_link(port, IpAddr::V6(destination))
    }
}

fn on_link(port: &Port, destination: IpAddr) -> Outgoing<'_> {
    let next_hop = NextHop { port: port.id, addr: destination };
    Outgoing::Link { egress: Egress { port, gateway: None, mtu: port.mtu }, next_hop, prefix_len: 64 }
}

/// The hash that chooses among several next hops, by the policy that is set.
fn flow_hash(packet: &[u8], destination: IpAddr, tables: &Tables) -> u32 {
    let policy = tables.settings().flow_hash;
    match destination {
        IpAddr::V4(_) => flow_hash4(packet, policy),
        IpAddr::V6(_) => flow_hash6(packet, policy),
    }
}

/// Where a target leads; of several next hops to the one that `pick` takes.
#[inline(always)]
fn lead<'t>(
    target: &'t NextHopEntry,
    destination: IpAddr,
    tables: &'t Tables,
    pick: impl FnOnce(&NextHopGroup) -> Option<&GroupMember>,
) -> Option<Egress<'t>> {
    let (id, gateway) = match &target.adjacency {
        Adjacency::OnLink(port) => (*port, None),
        Adjacency::Via(port, via) => (*port, Some(via)),
        Adjacency::Group(group) => {
            let hop = pick(group)?;
            (hop.port, hop.via.as_ref())
        }
        Adjacency::Broadcast => (tables.broadcast_port(destination)?, None),
        Adjacency::Local | Adjacency::Reject(_) => return None,
    };
    let port = tables.port(id)?;
    Some(Egress { port, gateway, mtu: target.mtu(port) })
}

/// Whether the route lets the packet pass. No unicast packet leaves that came in a link-layer broadcast or
/// multicast (RFC 1812 section 5.3.4).
#[inline(always)]
pub(crate) fn check_route<A>(packet: &Packet<'_, '_, A>, target: &NextHopEntry) -> Step {
    if packet.ip.link_destination == LinkDestination::Group {
        return drop(DropReason::L2Broadcast);
    }
    match target.adjacency {
        Adjacency::Reject(reason) => refuse(reason),
        Adjacency::Local
        | Adjacency::Broadcast
        | Adjacency::OnLink(_)
        | Adjacency::Via(..)
        | Adjacency::Group(_) => Continue(()),
    }
}

/// The port and next hop that the route gives.
#[inline(always)]
pub(crate) fn choose<'t, A: Family>(
    packet: &Packet<'_, '_, A>,
    target: &'t NextHopEntry,
    tables: &'t Tables,
) -> Step<Egress<'t>> {
    let destination = packet.ip.destination.into();
    let egress =
        lead(target, destination, tables, |group| group.pick(flow_hash(packet.bytes(), destination, tables)));
    match egress {
        Some(egress) => Continue(egress),
        None => drop(DropReason::PortDown),
    }
}

/// Where a packet of the router's own to `destination` leaves. Link-local and multicast destinations use
/// `link`, the ingress port of the packet that is answered. Only packets of the host are answered to the
/// host. Of several next hops it takes that of the flow of the packet that it is `about` (Linux
/// `icmp_route_lookup`), else the first.
pub(crate) fn outgoing<'t>(
    tables: &'t Tables,
    destination: IpAddr,
    link: PortId,
    about: Option<&[u8]>,
) -> Option<Outgoing<'t>> {
    let stays_on_link = match destination {
        IpAddr::V4(address) => address.is_multicast() || address.is_broadcast(),
        IpAddr::V6(address) => address.is_unicast_link_local() || address.is_multicast(),
    };
    if stays_on_link {
        return tables.port(link).map(|port| on_link(port, destination));
    }
    let target = match destination {
        IpAddr::V4(address) => tables.route4(address),
        IpAddr::V6(address) => tables.route6(address),
    };
    match target.adjacency {
        Adjacency::Local if tables.settings().host_port && link == PortId::HOST => {
            return Some(Outgoing::Host);
        }
        Adjacency::Broadcast => return None,
        Adjacency::Local
        | Adjacency::Reject(_)
        | Adjacency::OnLink(_)
        | Adjacency::Via(..)
        | Adjacency::Group(_) => {}
    }
    let egress = lead(target, destination, tables, |group| match about {
        Some(packet) => group.pick(flow_hash(packet, destination, tables)),
        None => group.members().first(),
    })?;
    let next_hop = egress.next_hop(destination);
    Some(Outgoing::Link { egress, next_hop, prefix_len: target.prefix_len })
}
