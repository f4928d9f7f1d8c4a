//! IPv4 header validation (RFC 1812 section 5.2.2) and martian addresses (section 5.3.7).

use std::ops::ControlFlow::Continue;

use nsrouter_wire::checksum;
use nsrouter_wire::frame::Frame;
use nsrouter_wire::ipv4;
use nsrouter_wire::offload::Gso;

use crate::drop::DropReason;
use crate::packet::{IpHeaders, L3, LinkDestination, Packet4};
use crate::tables::Tables;
use crate::verdict::{Step, drop};

/// The five checks of RFC 1812 section 5.2.2 ("a router MUST verify these"); then the Ethernet padding is cut
/// off.
#[inline(always)]
pub(crate) fn validate<'f, 'r>(
    frame: &'f mut Frame<'r>,
    link_destination: LinkDestination,
) -> Result<Packet4<'f, 'r>, DropReason> {
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
    let ip = IpHeaders::from_ipv4(&header, total_bytes, link_destination);
    frame.truncate(L3 + total_bytes);
    Ok(Packet4 { frame, ip })
}

/// Source addresses that no station on a link has (RFC 1812 section 5.3.7); 0.0.0.0 may still send to groups.
#[inline(always)]
pub(crate) fn check_source(packet: &Packet4<'_, '_>, tables: &Tables) -> Step {
    let source = packet.ip.source;
    if source.octets()[0] >= 224 && (source.is_multicast() || source.is_broadcast())
        || source.is_loopback()
        || tables.is_own4(source)
    {
        return drop(DropReason::MartianSource);
    }
    Continue(())
}

/// Addresses that no unicast packet may have (RFC 1812 section 5.3.7).
#[inline(always)]
pub(crate) fn check_unicast(packet: &Packet4<'_, '_>) -> Step {
    if packet.ip.source.is_unspecified() {
        return drop(DropReason::MartianSource);
    }
    if packet.ip.destination.is_loopback() || packet.ip.destination.is_unspecified() {
        return drop(DropReason::MartianDestination);
    }
    Continue(())
}
