//! Packets from programs of the router's own host: routed like others, but they begin here, so no hop is taken off.

use std::net::IpAddr;

use nsrouter_wire::eth;
use nsrouter_wire::frame::{Frame, PortId};
use nsrouter_wire::ipv4;
use nsrouter_wire::ipv6;
use nsrouter_wire::segment;

use crate::drop::DropReason;
use crate::ip4::options::Options;
use crate::link::ethernet::{self, L3};
use crate::nexthop::Adjacency;
use crate::pipeline::{Cast, Context, Router, check_ipv4};
use crate::tables::Tables;
use crate::verdict::{Originate, Time, Verdict};

impl Router {
    /// Routes a packet of the host: it begins at its IP header, and grows into its headroom by an Ethernet header.
    pub(crate) fn host_packet(
        &mut self,
        frame: &mut Frame<'_>,
        tables: &Tables,
        now: Time,
        out: &mut impl Originate,
    ) -> Verdict {
        if !ethernet::add_link_header(frame) {
            return Verdict::Drop(DropReason::NoBuffer);
        }
        let destination = match host_destination(frame) {
            Ok(destination) => destination,
            Err(reason) => return Verdict::Drop(reason),
        };
        self.counters.lookups += 1;
        let target = match destination {
            IpAddr::V4(address) => tables.route4(address),
            IpAddr::V6(address) => tables.route6(address),
        };
        let context =
            Context { tables, now, ingress: PortId::HOST, cast: Cast::Ours, options: Options::default() };
        match &target.adjacency {
            // The host keeps what is for itself, so this is a stray.
            Adjacency::Local => return Verdict::Drop(DropReason::MartianDestination),
            Adjacency::Broadcast => return Verdict::Drop(DropReason::Broadcast),
            Adjacency::Reject(reason) => return self.refuse(frame, &context, *reason, 0, out),
            Adjacency::OnLink(_) | Adjacency::Via(..) | Adjacency::Group(_) => {}
        }
        let Some((port, next_hop)) = self.choose(frame, tables, target, destination) else {
            return Verdict::Drop(DropReason::PortDown);
        };
        let mtu = target.mtu(port);
        let Some(packet_bytes) = segment::packet_bytes(frame.data(), L3, &frame.offload) else {
            return Verdict::Drop(DropReason::BadOffload);
        };
        if packet_bytes > mtu {
            let header = ipv4::Header::parse(&frame.data()[L3..]);
            if destination.is_ipv4() && header.is_some_and(|header| !header.dont_fragment()) {
                return self.fragment4(frame, &context, (port, mtu), next_hop, out);
            }
            let mtu = u32::try_from(mtu).unwrap_or(0);
            return self.refuse(frame, &context, DropReason::TooBig, mtu, out);
        }
        self.send_on(frame, port, next_hop, tables, out)
    }
}

/// Checks the header and says where the packet goes; groups and link-local addresses do not leave the host this way.
fn host_destination(frame: &mut Frame<'_>) -> Result<IpAddr, DropReason> {
    match frame.data()[L3..].first().map(|octet| octet >> 4) {
        Some(4) => {
            check_ipv4(frame)?;
            eth::write(frame.data_mut(), eth::MacAddr::ZERO, eth::MacAddr::ZERO, eth::TYPE_IPV4);
            let header =
                nsrouter_wire::ipv4::Header::parse(&frame.data()[L3..]).ok_or(DropReason::Ip4Short)?;
            match header.destination() {
                group if group.is_multicast() => Err(DropReason::HostMulticast),
                all if all.is_broadcast() => Err(DropReason::Broadcast),
                own if own.is_loopback() || own.is_unspecified() => Err(DropReason::MartianDestination),
                destination => Ok(IpAddr::V4(destination)),
            }
        }
        Some(6) => {
            let header = ipv6::Header::parse(&frame.data()[L3..]).ok_or(DropReason::Ip6Short)?;
            let bytes = ipv6::packet_bytes(&frame.data()[L3..]).unwrap_or(usize::MAX);
            let destination = header.destination();
            if bytes > frame.len() - L3 {
                return Err(DropReason::Ip6PayloadLength);
            }
            frame.truncate(L3 + bytes);
            eth::write(frame.data_mut(), eth::MacAddr::ZERO, eth::MacAddr::ZERO, eth::TYPE_IPV6);
            match destination {
                group if group.is_multicast() => Err(DropReason::HostMulticast),
                near if near.is_unicast_link_local() => Err(DropReason::LinkLocalDestination),
                own if own.is_loopback() || own.is_unspecified() => Err(DropReason::MartianDestination),
                destination => Ok(IpAddr::V6(destination)),
            }
        }
        Some(_) => Err(DropReason::Ip4Version),
        None => Err(DropReason::Ip4Short),
    }
}

#[cfg(test)]
#[path = "host_tests.rs"]
mod tests;
