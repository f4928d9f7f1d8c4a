//! IPv6 header validation (RFC 8200 section 3) and martian addresses (RFC 4291 section 2).

use std::ops::ControlFlow::Continue;

use nsrouter_wire::frame::Frame;
use nsrouter_wire::ipv6;

use crate::drop::DropReason;
use crate::packet::{IpHeaders, L3, LinkDestination, Packet6};
use crate::verdict::{Step, drop, refuse};

/// Version and payload length, in the order of Linux `ip6_rcv_core`; then the Ethernet padding is cut off.
#[inline(always)]
pub(crate) fn validate<'f, 'r>(
    frame: &'f mut Frame<'r>,
    link_destination: LinkDestination,
) -> Result<Packet6<'f, 'r>, DropReason> {
    let packet = &frame.data()[L3..];
    let Some(header) = ipv6::Header::parse(packet) else { return Err(DropReason::Ip6Short) };
    if header.version() != 6 {
        return Err(DropReason::Ip6Version);
    }
    let packet_bytes = ipv6::packet_bytes(packet).unwrap_or(usize::MAX);
    if packet_bytes > packet.len() {
        return Err(DropReason::Ip6PayloadLength);
    }
    let ip = IpHeaders::from_ipv6(&header, packet_bytes, link_destination);
    frame.truncate(L3 + packet_bytes);
    Ok(Packet6 { frame, ip })
}

/// A loopback address never appears on a link, and no group sends (RFC 4291 sections 2.5.3 and 2.7).
#[inline(always)]
pub(crate) fn check_source(packet: &Packet6<'_, '_>) -> Step {
    if packet.ip.source.is_multicast() || packet.ip.source.is_loopback() {
        return drop(DropReason::MartianSource);
    }
    Continue(())
}

/// A loopback address never appears on a link, and the unspecified address is no destination, whatever the
/// default route says (RFC 4291 sections 2.5.2 and 2.5.3).
#[inline(always)]
pub(crate) fn check_unicast(packet: &Packet6<'_, '_>) -> Step {
    if packet.ip.destination.is_loopback() {
        return drop(DropReason::MartianDestination);
    }
    if packet.ip.destination.is_unspecified() {
        return refuse(DropReason::NoRoute);
    }
    Continue(())
}
