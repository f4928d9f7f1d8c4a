//! The forwarding path, top to bottom: read this file first.
//!
//! [`Router::forward`] is all that happens to a frame: Ethernet, IP header checks, is it for us, route, TTL, MTU, next
//! hop. Each step that ends a frame's way names its reason (`drop.rs`); what is for us is in `local.rs`, `link/arp.rs` and
//! `ip6/nd.rs`, what leaves in `own/originate.rs`, and what our own host sends in `own/host.rs`.

use std::net::IpAddr;

use nsrouter_wire::checksum;
use nsrouter_wire::eth;
use nsrouter_wire::frame::{Frame, PortId};
use nsrouter_wire::ipv4;
use nsrouter_wire::ipv6;
use nsrouter_wire::offload::Gso;
use nsrouter_wire::segment;

use crate::counters::Counters;
use crate::drop::{DropReason, IcmpAnswer};
use crate::ip4::options::{self, Options};
use crate::ip6::advertise::Schedule;
use crate::ip6::mld::Listener;
use crate::limit::Limits;
use crate::link::ethernet::{self, L3};
use crate::nexthop::{Adjacency, NO_MTU, NextHopEntry};
use crate::port::Port;
use crate::tables::Tables;
use crate::verdict::{Config, NextHop, Originate, Time, Verdict};

/// One worker's router: its counters and identifications, and the limits that it shares. Tables and time are passed in.
#[derive(Debug)]
pub struct Router {
    pub(crate) counters: Counters,
    pub(crate) limits: Limits,
    pub(crate) schedule: Schedule,
    pub(crate) listener: Listener,
    /// Where a super-frame's segment is built that must be fragmented.
    pub(crate) scratch: Box<[u8]>,
    /// The next IPv4 identification of a packet of our own.
    pub(crate) identification: u16,
}

/// Whom the link layer said that a frame is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cast {
    /// Us alone.
    Ours,
    /// A group or everybody.
    Group,
}

/// What is known about a frame beside its bytes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Context<'a> {
    pub(crate) tables: &'a Tables,
    pub(crate) now: Time,
    pub(crate) ingress: PortId,
    pub(crate) cast: Cast,
    /// The IPv4 options as they were filled in on arrival; answers echo them.
    pub(crate) options: Options,
}

impl Router {
    /// A router for worker number `worker`, the only one or one of several that share `limits`.
    pub fn new(worker: u16, config: Config, limits: Limits) -> Self {
        let seed = config.seed ^ u64::from(worker) << 48;
        Router {
            counters: Counters::new(config.ports),
            limits,
            schedule: Schedule::new(worker, seed),
            listener: Listener::new(worker, config.ports, seed),
            scratch: vec![0; L3 + ipv4::MAX_BYTES].into(),
            identification: u16::try_from(seed & 0xffff).unwrap_or(0),
        }
    }

    /// Decides on one frame and rewrites it for its way on.
    pub fn forward(
        &mut self,
        frame: &mut Frame<'_>,
        tables: &Tables,
        now: Time,
        out: &mut impl Originate,
    ) -> Verdict {
        self.counters.count_rx(frame.ingress, frame.len());
        let verdict = if frame.ingress == PortId::HOST {
            self.host_packet(frame, tables, now, out)
        } else {
            self.link_frame(frame, tables, now, out)
        };
        self.count(verdict, frame.len());
        verdict
    }

    /// A held frame may go: fills in the MAC address of `next_hop`. `Send`, or `Drop` if the entry has vanished.
    pub fn release(&mut self, frame: &mut Frame<'_>, next_hop: NextHop, tables: &Tables) -> Verdict {
        self.counters.held -= 1;
        let verdict = match tables.neighbours().get(next_hop) {
            Some(known) if tables.is_up_for(next_hop) && frame.len() >= L3 => {
                frame.data_mut()[..6].copy_from_slice(&known.mac.0);
                Verdict::Send(next_hop.port)
            }
            Some(_) => Verdict::Drop(DropReason::PortDown),
            None => Verdict::Drop(DropReason::NeighbourFailed),
        };
        self.count(verdict, frame.len());
        verdict
    }

    /// A held frame's next hop was given up: drops it for `reason`, and tells its sender where that reason asks for it
    /// (host or address unreachable for a neighbour that did not answer).
    pub fn unreachable(
        &mut self,
        frame: &mut Frame<'_>,
        reason: DropReason,
        tables: &Tables,
        now: Time,
        out: &mut impl Originate,
    ) -> Verdict {
        self.counters.held -= 1;
        let options = Options::default();
        let mut context = Context { tables, now, ingress: frame.ingress, cast: Cast::Ours, options };
        // As in Linux `ipv4_send_dest_unreach`, options are looked at afresh.
        let verdict = match options::check_afresh(frame) {
            Some(Err(_)) => Verdict::Drop(reason),
            options => {
                if let Some(Ok(options)) = options {
                    context = options::arrive(frame, &context, options);
                }
                self.refuse(frame, &context, reason, 0, out)
            }
        };
        self.count(verdict, frame.len());
        verdict
    }

    /// What happens without a packet: router advertisements and multicast listener reports that are due.
    pub fn tick(&mut self, now: Time, tables: &Tables, out: &mut impl Originate) {
        self.advertise_due(now, tables, out);
        self.report_due(now, tables, out);
    }

    /// Makes room for the counters and the memory of a port that is about to be in the tables, in this slot. Allocates, and
    /// nothing that handles a frame does.
    pub fn add_port(&mut self, slot: PortId) {
        self.counters.grow(slot);
        self.listener.grow(slot);
    }

    /// A port is not in the tables any more, and none of its frames is on its way: its counters count with those of all that
    /// were removed ([`Counters::retire`]), and nothing of it is remembered for the slot's next port.
    pub fn remove_port(&mut self, slot: PortId) {
        self.counters.retire(slot);
        self.listener.forget(slot);
    }

    /// The ports or their addresses are others in the tables from now on: the next tick tells the links what groups the
    /// router has joined and left.
    pub fn ports_changed(&mut self) {
        self.listener.ports_changed();
    }

    /// When [`Router::tick`] is next due, in nanoseconds of [`Time::mono_ns`].
    pub fn next_deadline(&self) -> Option<u64> {
        self.schedule.next_deadline().into_iter().chain(self.listener.next_deadline()).min()
    }

    /// What this worker did.
    pub fn counters(&self) -> &Counters {
        &self.counters
    }

    /// To correct what did not happen as the router counted it.
    pub fn counters_mut(&mut self) -> &mut Counters {
        &mut self.counters
    }

    /// Counts what became of a frame of `bytes`: once, here, so that the law of counters holds by construction.
    #[inline]
    fn count(&mut self, verdict: Verdict, bytes: usize) {
        match verdict {
            Verdict::Send(port) | Verdict::Reply(port) => self.counters.count_tx(port, bytes),
            Verdict::Hold(_) => self.counters.held += 1,
            Verdict::ToHost => self.counters.count_tx(PortId::HOST, bytes),
            Verdict::Consumed => self.counters.consumed += 1,
            Verdict::Drop(reason) => self.counters.count_drop(reason),
        }
    }

    /// Drops the packet behind the Ethernet header, and tells its sender when the reason asks for that. `detail` is the
    /// MTU of a packet too big, or the pointer of a parameter problem.
    #[cold]
    pub(crate) fn refuse(
        &mut self,
        frame: &Frame<'_>,
        context: &Context<'_>,
        reason: DropReason,
        detail: u32,
        out: &mut impl Originate,
    ) -> Verdict {
        let answer = reason.answer();
        if answer != IcmpAnswer::Silent
            && let Some(packet) = frame.data().get(L3..)
        {
            self.icmp_error(packet, context, answer, detail, out);
        }
        Verdict::Drop(reason)
    }

    /// The link layer: is the frame for us, and what is in it?
    fn link_frame(
        &mut self,
        frame: &mut Frame<'_>,
        tables: &Tables,
        now: Time,
        out: &mut impl Originate,
    ) -> Verdict {
        let Some(port) = tables.port(frame.ingress).filter(|port| port.up) else {
            return Verdict::Drop(DropReason::PortDown);
        };
        let Some(header) = eth::Header::parse(frame.data()) else {
            return Verdict::Drop(DropReason::EthShort);
        };
        let cast = match header.destination() {
            ours if ours == port.mac => Cast::Ours,
            group if group.is_multicast() => Cast::Group,
            _ => return Verdict::Drop(DropReason::EthNotOurs),
        };
        let context = Context { tables, now, ingress: port.id, cast, options: Options::default() };
        let ether_type = match header.ether_type() {
            eth::TYPE_VLAN | eth::TYPE_QINQ => match ethernet::remove_priority_tags(frame) {
                Some(ether_type) => ether_type,
                None => return Verdict::Drop(DropReason::Vlan),
            },
            ether_type => ether_type,
        };
        match ether_type {
            eth::TYPE_IPV4 => self.ipv4(frame, &context, out),
            eth::TYPE_IPV6 if port.has_ipv6 => self.ipv6(frame, &context, port, out),
            eth::TYPE_IPV6 => Verdict::Drop(DropReason::Ip6Off),
            eth::TYPE_ARP => self.arp(frame, &context, port, out),
            _ => Verdict::Drop(DropReason::EthType),
        }
    }

    /// IPv4, in the order of RFC 1812 section 5.2.
    fn ipv4(&mut self, frame: &mut Frame<'_>, context: &Context<'_>, out: &mut impl Originate) -> Verdict {
        // RFC 1812 section 5.2.2, IP header validation. "[...] a router MUST verify these":
        if let Err(reason) = check_ipv4(frame) {
            return Verdict::Drop(reason);
        }
        let Some(header) = ipv4::Header::parse(&frame.data()[L3..]) else {
            return Verdict::Drop(DropReason::Ip4Short);
        };
        let (source, destination, ttl) = (header.source(), header.destination(), header.ttl());
        let has_options = header.header_bytes() > ipv4::HEADER_BYTES;
        let dont_fragment = header.dont_fragment();

        // Section 5.3.7, martian addresses; section 5.2.3, local delivery of what is for everybody.
        let tables = context.tables;
        if source.octets()[0] >= 224 && (source.is_multicast() || source.is_broadcast())
            || source.is_loopback()
            || tables.is_own4(source)
        {
            return Verdict::Drop(DropReason::MartianSource);
        }
        if destination.octets()[0] >= 224 && (destination.is_multicast() || destination.is_broadcast()) {
            return self.local4_group(frame, context, destination);
        }
        if source.is_unspecified() {
            return Verdict::Drop(DropReason::MartianSource);
        }
        if destination.is_loopback() || destination.is_unspecified() {
            return Verdict::Drop(DropReason::MartianDestination);
        }
        // Section 5.2.2.6 and 4.2.2.1, options: malformed ones are refused, source routes not followed.
        let options = match has_options.then(|| options::check(&frame.data()[L3..])) {
            None => Options::default(),
            Some(Ok(options)) if options.source_route => {
                return Verdict::Drop(DropReason::Ip4SourceRoute);
            }
            Some(Ok(options)) => options,
            Some(Err(malformed)) => {
                let context = &options::arrive(frame, context, malformed.before);
                let pointer = u32::from(malformed.pointer);
                return self.refuse(frame, context, DropReason::Ip4Options, pointer, out);
            }
        };

        // Section 5.2.4, the next hop.
        self.counters.lookups += 1;
        let target = tables.route4(destination);
        match &target.adjacency {
            Adjacency::Local => return self.local4(frame, context, destination, options, out),
            Adjacency::Broadcast if !tables.settings().directed_broadcast => {
                return self.local4_group(frame, context, destination);
            }
            // Section 5.3.4: no unicast packet out of a link-layer broadcast.
            _ if context.cast == Cast::Group => return Verdict::Drop(DropReason::L2Broadcast),
            Adjacency::Reject(reason) => {
                let context = &options::arrive(frame, context, options);
                return self.refuse(frame, context, *reason, 0, out);
            }
            Adjacency::Broadcast | Adjacency::OnLink(_) | Adjacency::Via(..) | Adjacency::Group(_) => {}
        }
        // RFC 2113: somebody on the path may want to look at it.
        if options.router_alert && tables.settings().router_alert && tables.settings().host_port {
            ethernet::remove_link_header(frame);
            return Verdict::ToHost;
        }
        let arrived;
        let context = if has_options {
            arrived = options::arrive(frame, context, options);
            &arrived
        } else {
            context
        };
        // Section 5.3.1: only what has hops left goes on.
        if ttl <= 1 {
            return self.refuse(frame, context, DropReason::TtlExceeded, 0, out);
        }
        let Some((port, next_hop)) = self.choose(frame, tables, target, IpAddr::V4(destination)) else {
            return Verdict::Drop(DropReason::PortDown);
        };
        // Linux `fib_validate_source`: what goes back out, and is to be redirected, is from a host.
        if port.id == context.ingress
            && tables.settings().redirects
            && tables.route4(source).adjacency == Adjacency::Broadcast
        {
            return Verdict::Drop(DropReason::MartianSource);
        }
        // Section 5.2.6: larger than the link takes, as whole packet or as each segment of a super-frame.
        let mtu = target.mtu(port);
        let Some(packet_bytes) = segment::packet_bytes(frame.data(), L3, &frame.offload) else {
            return Verdict::Drop(DropReason::BadOffload);
        };
        let is_big = packet_bytes > mtu;
        if is_big && dont_fragment {
            let mtu = u32::try_from(mtu).unwrap_or(0);
            return self.refuse(frame, context, DropReason::TooBig, mtu, out);
        }
        ethernet::decrement_ttl(frame);
        // Section 5.2.7.2: there was a shorter way, which the sender may take next time.
        if port.id == context.ingress {
            self.redirect4(frame, context, next_hop, out);
        }
        if has_options {
            options::depart(frame, context, next_hop);
        }
        if is_big {
            return self.fragment4(frame, context, (port, mtu), next_hop, out);
        }
        self.send_on(frame, port, next_hop, tables, out)
    }

    /// Whether the packet carries a router alert (RFC 2711) and somebody is configured to listen.
    fn alerts(&self, frame: &Frame<'_>, context: &Context<'_>) -> bool {
        let settings = context.tables.settings();
        settings.router_alert
            && settings.host_port
            && ipv6::upper_layer(&frame.data()[L3..]).is_some_and(|upper| upper.router_alert.is_some())
    }

    /// IPv6, in the order of Linux `ip6_rcv_core` and `ip6_forward`.
    fn ipv6(
        &mut self,
        frame: &mut Frame<'_>,
        context: &Context<'_>,
        ingress: &Port,
        out: &mut impl Originate,
    ) -> Verdict {
        // RFC 8200 section 3.
        let Some(header) = ipv6::Header::parse(&frame.data()[L3..]) else {
            return Verdict::Drop(DropReason::Ip6Short);
        };
        if header.version() != 6 {
            return Verdict::Drop(DropReason::Ip6Version);
        }
        let packet_bytes = ipv6::packet_bytes(&frame.data()[L3..]).unwrap_or(usize::MAX);
        if packet_bytes > frame.len() - L3 {
            return Verdict::Drop(DropReason::Ip6PayloadLength);
        }
        let (source, destination, hop_limit) = (header.source(), header.destination(), header.hop_limit());
        let first_header = header.next_header();
        // Ethernet padding goes.
        frame.truncate(L3 + packet_bytes);

        // RFC 4291 sections 2.5.3 and 2.7: a loopback address never appears on a link, and no group sends.
        if source.is_multicast() || source.is_loopback() {
            return Verdict::Drop(DropReason::MartianSource);
        }
        if destination.is_multicast() {
            return self.local6_group(frame, context, ingress, destination, out);
        }
        if destination.is_loopback() {
            return Verdict::Drop(DropReason::MartianDestination);
        }
        // RFC 4291 section 2.5.2: nobody is no destination, whatever the default route says.
        if destination.is_unspecified() {
            return self.refuse(frame, context, DropReason::NoRoute, 0, out);
        }
        if destination == ingress.link_local {
            return self.local6(frame, context, ingress, destination, out);
        }

        let tables = context.tables;
        let same_link;
        let target = if destination.is_unicast_link_local() {
            // RFC 4291 section 2.5.6: not to other links. Within its own Linux sends it on, with a redirect.
            same_link =
                NextHopEntry { adjacency: Adjacency::OnLink(ingress.id), prefix_len: 64, mtu: NO_MTU };
            &same_link
        } else {
            self.counters.lookups += 1;
            tables.route6(destination)
        };
        match &target.adjacency {
            Adjacency::Local => return self.local6(frame, context, ingress, destination, out),
            _ if context.cast == Cast::Group => return Verdict::Drop(DropReason::L2Broadcast),
            Adjacency::Reject(reason) => return self.refuse(frame, context, *reason, 0, out),
            Adjacency::Broadcast | Adjacency::OnLink(_) | Adjacency::Via(..) | Adjacency::Group(_) => {}
        }
        if first_header == HOP_BY_HOP && self.alerts(frame, context) {
            ethernet::remove_link_header(frame);
            return Verdict::ToHost;
        }
        if hop_limit <= 1 {
            return self.refuse(frame, context, DropReason::TtlExceeded, 0, out);
        }
        if source.is_unspecified() {
            return Verdict::Drop(DropReason::MartianSource);
        }
        let Some((port, next_hop)) = self.choose(frame, tables, target, IpAddr::V6(destination)) else {
            return Verdict::Drop(DropReason::PortDown);
        };
        if port.id == context.ingress {
            self.redirect6(frame, context, next_hop, out);
        } else if source.is_unicast_link_local() {
            // RFC 4291 section 2.5.6: such a source means nothing beyond its link.
            return self.refuse(frame, context, DropReason::BeyondScope, 0, out);
        }
        // RFC 8200 section 5: routers do not fragment.
        let mtu = target.mtu(port);
        let Some(packet_bytes) = segment::packet_bytes(frame.data(), L3, &frame.offload) else {
            return Verdict::Drop(DropReason::BadOffload);
        };
        if packet_bytes > mtu {
            let mtu = u32::try_from(mtu).unwrap_or(0);
            return self.refuse(frame, context, DropReason::TooBig, mtu, out);
        }
        ethernet::decrement_hop_limit(frame);
        self.send_on(frame, port, next_hop, tables, out)
    }
}

/// The next header that only the first one may be (RFC 8200 section 4.3).
const HOP_BY_HOP: u8 = 0;

/// The five checks of RFC 1812 section 5.2.2; then the Ethernet padding goes.
#[inline]
pub(crate) fn check_ipv4(frame: &mut Frame<'_>) -> Result<(), DropReason> {
    let packet = &frame.data()[L3..];
    // 1. "The packet length reported by the Link Layer must be large enough to hold the minimum length legal IP
    //    datagram (20 bytes)."
    let Some(header) = ipv4::Header::parse(packet) else { return Err(DropReason::Ip4Short) };
    // 3. "The IP version number must be 4." (Before the checksum, whose extent depends on what follows.)
    if header.version() != 4 {
        return Err(DropReason::Ip4Version);
    }
    // 4. "The IP header length field must be large enough to hold the minimum length legal IP datagram (20 bytes = 5
    //    words)."
    let header_bytes = header.header_bytes();
    if header_bytes < ipv4::HEADER_BYTES {
        return Err(DropReason::Ip4HeaderLength);
    }
    let Some(whole_header) = packet.get(..header_bytes) else { return Err(DropReason::Ip4HeaderLength) };
    // 2. "The IP checksum must be correct."
    if checksum::checksum(whole_header) != 0 {
        return Err(DropReason::Ip4Checksum);
    }
    // 5. "The IP total length field must be large enough to hold the IP datagram header"; and no larger than what the
    //    link layer delivered.
    //    A GSO packet longer than the field can say (BIG TCP) says zero (Linux `skb_ip_totlen`).
    let total_bytes = match header.total_bytes() {
        0 if matches!(frame.offload.gso, Gso::Tcp4 { .. } | Gso::Tcp6 { .. }) => packet.len(),
        bytes => bytes,
    };
    if total_bytes < header_bytes || total_bytes > packet.len() {
        return Err(DropReason::Ip4TotalLength);
    }
    frame.truncate(L3 + total_bytes);
    Ok(())
}

#[cfg(test)]
#[path = "pipeline_tests.rs"]
mod tests;
