//! The answers of a host without listeners, where the host port takes nothing: TCP is reset (RFC 9293 section
//! 3.10.7.1, Linux `tcp_v4_send_reset`), and UDP refused if it is whole.

use std::net::IpAddr;
use std::ops::ControlFlow::Continue;

use nsrouter_wire::bytes::length16;
use nsrouter_wire::checksum::Sum;
use nsrouter_wire::ipv4;
use nsrouter_wire::ipv6::{self, Upper};
use nsrouter_wire::offload::{Gso, Offload};
use nsrouter_wire::protocol;

use crate::context::Context;
use crate::drop::DropReason;
use crate::packet::{Family, Packet};
use crate::verdict::{Step, drop};

/// Bytes of a header without options.
const HEADER_BYTES: usize = 20;
const UDP_HEADER_BYTES: usize = 8;
const FIN: u8 = 0x01;
const SYN: u8 = 0x02;
const RST: u8 = 0x04;
const ACK: u8 = 0x10;
/// The DSCP without the ECN bits, which a reset does not carry (RFC 3168 section 6.1.1).
const DSCP: u8 = 0xfc;

/// A segment that nobody waits for.
struct Segment {
    source: IpAddr,
    destination: IpAddr,
    ports: [u8; 4],
    sequence: u32,
    acknowledgement: u32,
    flags: u8,
    /// Its share of the sequence space: data, SYN and FIN.
    length: u32,
}

impl Segment {
    /// Reads a segment; `None` when it is cut short, its checksum is wrong, or it is to be ignored: a reset,
    /// or one to a group.
    fn read<A: Family, O>(
        packet: &mut Packet<'_, '_, A>,
        upper: &Upper,
        context: &Context<'_, O>,
    ) -> Option<Segment> {
        let (source, destination): (IpAddr, IpAddr) = (packet.ip.source.into(), packet.ip.destination.into());
        if let IpAddr::V6(address) = destination
            && (!context.tables.is_own6(address) || source.is_unspecified())
        {
            return None;
        }
        // What an offload left to do cannot be checked, nor need it be: the sender is no wire away.
        let is_whole = packet.frame.offload.gso == Gso::None;
        if is_whole && !packet.complete_checksum(upper.offset) {
            return None;
        }
        let segment = packet.bytes().get(upper.offset..)?;
        let header = segment.first_chunk::<HEADER_BYTES>()?;
        let header_bytes = usize::from(header[12] >> 4) * 4;
        let data_bytes = segment.len().checked_sub(header_bytes.max(HEADER_BYTES))?;
        let flags = header[13];
        if header_bytes < HEADER_BYTES
            || flags & RST != 0
            || is_whole && sum(protocol::TCP, segment, source, destination).finish() != 0
        {
            return None;
        }
        let word =
            |at: usize| u32::from_be_bytes([header[at], header[at + 1], header[at + 2], header[at + 3]]);
        let unseen = u32::from(flags & SYN != 0) + u32::from(flags & FIN != 0);
        Some(Segment {
            source,
            destination,
            ports: [header[0], header[1], header[2], header[3]],
            sequence: word(4),
            acknowledgement: word(8),
            flags,
            length: u32::try_from(data_bytes).ok()?.wrapping_add(unseen),
        })
    }

    /// Writes the reset behind an IP header: its sequence number is what the sender acknowledged, or it
    /// acknowledges what the sender sent.
    fn write_reset(&self, reset: &mut [u8; HEADER_BYTES]) {
        let (sequence, acknowledgement, flags) = if self.flags & ACK != 0 {
            (self.acknowledgement, 0, RST)
        } else {
            (0, self.sequence.wrapping_add(self.length), RST | ACK)
        };
        *reset = [0; HEADER_BYTES];
        reset[..2].copy_from_slice(&self.ports[2..]);
        reset[2..4].copy_from_slice(&self.ports[..2]);
        reset[4..8].copy_from_slice(&sequence.to_be_bytes());
        reset[8..12].copy_from_slice(&acknowledgement.to_be_bytes());
        reset[12] = 5 << 4;
        reset[13] = flags;
        let sum = sum(protocol::TCP, reset, self.destination, self.source).finish();
        reset[16..18].copy_from_slice(&sum.to_be_bytes());
    }
}

/// Whether a UDP datagram is whole and its checksum right: Linux `udp_rcv` looks before it says that nobody
/// listens.
pub(crate) fn udp_is_sound<A: Family>(packet: &mut Packet<'_, '_, A>, upper: &Upper) -> bool {
    // What an offload left to do cannot be checked.
    if packet.frame.offload.gso != Gso::None {
        return true;
    }
    if !packet.complete_checksum(upper.offset) {
        return false;
    }
    let (source, destination) = (packet.ip.source.into(), packet.ip.destination.into());
    let Some(payload) = packet.bytes().get(upper.offset..) else { return false };
    let Some(header) = payload.first_chunk::<UDP_HEADER_BYTES>() else { return false };
    let bytes = usize::from(u16::from_be_bytes([header[4], header[5]]));
    let Some(datagram) = payload.get(..bytes).filter(|_| bytes >= UDP_HEADER_BYTES) else { return false };
    // Without a checksum, which IPv6 requires (RFC 8200 section 8.1).
    if header[6..8] == [0, 0] {
        return source.is_ipv4();
    }
    sum(protocol::UDP, datagram, source, destination).finish() == 0
}

fn sum(number: u8, segment: &[u8], source: IpAddr, destination: IpAddr) -> Sum {
    let bytes = length16(segment.len());
    let pseudo = match (source, destination) {
        (IpAddr::V4(source), IpAddr::V4(destination)) => {
            Sum::new().pseudo_ipv4(source.octets(), destination.octets(), number, bytes)
        }
        (IpAddr::V6(source), IpAddr::V6(destination)) => {
            Sum::new().pseudo_ipv6(source.octets(), destination.octets(), number, bytes.into())
        }
        _ => Sum::new(),
    };
    pseudo.bytes(segment)
}

/// Turns a TCP segment into the reset that answers it, to be sent to its destination; one that gets none is
/// dropped.
#[cold]
pub(crate) fn reset<A: Family, O>(
    packet: &mut Packet<'_, '_, A>,
    upper: &Upper,
    context: &Context<'_, O>,
) -> Step {
    let Some(segment) = Segment::read(packet, upper, context) else {
        return drop(DropReason::PortUnreachable);
    };
    let traffic_class = packet.ip.traffic_class & DSCP;
    packet.frame.offload = Offload::default();
    let ip_bytes = match (segment.destination, segment.source) {
        (IpAddr::V4(source), IpAddr::V4(destination)) => {
            let fields = ipv4::Fields {
                traffic_class,
                total_bytes: length16(ipv4::HEADER_BYTES + HEADER_BYTES),
                // As Linux has it: what is not fragmented needs none.
                identification: 0,
                flags_offset: ipv4::DONT_FRAGMENT,
                ttl: ipv4::DEFAULT_TTL,
                protocol: protocol::TCP,
                source,
                destination,
            };
            if let Some(header) = packet.bytes_mut().first_chunk_mut() {
                fields.write(header);
            }
            ipv4::HEADER_BYTES
        }
        (IpAddr::V6(source), IpAddr::V6(destination)) => {
            let fields = ipv6::Fields {
                traffic_class,
                payload_bytes: length16(HEADER_BYTES),
                next_header: protocol::TCP,
                hop_limit: ipv6::DEFAULT_HOP_LIMIT,
                source,
                destination,
            };
            if let Some(header) = packet.bytes_mut().first_chunk_mut() {
                fields.write(header);
            }
            ipv6::HEADER_BYTES
        }
        _ => return drop(DropReason::PortUnreachable),
    };
    packet.truncate(ip_bytes + HEADER_BYTES);
    if let Some(reset) = packet.bytes_mut()[ip_bytes..].first_chunk_mut() {
        segment.write_reset(reset);
    }
    packet.read_again();
    Continue(())
}

#[cfg(test)]
#[path = "no_listener_tests.rs"]
mod tests;
