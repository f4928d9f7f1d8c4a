//! What a host without listeners makes of TCP and UDP, where the host port takes nothing: TCP is reset (RFC 9293 section
//! 3.10.7.1, Linux `tcp_v4_send_reset`), and UDP refused if it is whole.

use std::net::IpAddr;

use nsrouter_wire::checksum::Sum;
use nsrouter_wire::frame::Frame;
use nsrouter_wire::ipv4::{self, protocol};
use nsrouter_wire::ipv6;
use nsrouter_wire::offload::{Gso, Offload};

use crate::drop::DropReason;
use crate::icmp_error::TTL;
use crate::link::ethernet::{self, L3};
use crate::pipeline::{Context, Router};
use crate::verdict::{Originate, Verdict};

/// Bytes of a header without options.
const HEADER_BYTES: usize = 20;
const UDP_HEADER_BYTES: usize = 8;
const FIN: u8 = 0x01;
const SYN: u8 = 0x02;
const RST: u8 = 0x04;
const ACK: u8 = 0x10;
/// The DSCP without the ECN bits, which a reset does not carry (RFC 3168 section 6.1.1).
const DSCP: u8 = 0xfc;

/// What there is to know of a segment that nobody waits for.
struct Segment {
    source: IpAddr,
    destination: IpAddr,
    traffic_class: u8,
    ports: [u8; 4],
    sequence: u32,
    acknowledgement: u32,
    flags: u8,
    /// What it takes of the sequence space: data, SYN and FIN.
    length: u32,
}

impl Segment {
    /// Reads a segment for us; `None` when it is cut short, its checksum is wrong, or it is to be ignored: a reset, or one
    /// to a group.
    fn read(frame: &mut Frame<'_>, context: &Context<'_>) -> Option<Segment> {
        let packet = frame.data().get(L3..)?;
        let (source, destination, offset) = ends(packet)?;
        let traffic_class = match destination {
            IpAddr::V4(_) => ipv4::Header::parse(packet)?.traffic_class(),
            IpAddr::V6(address) if context.tables.is_own6(address) && !source.is_unspecified() => {
                ipv6::Header::parse(packet)?.traffic_class()
            }
            IpAddr::V6(_) => return None,
        };
        // What an offload left to do cannot be checked, nor need it be: the sender is no wire away.
        let is_whole = frame.offload.gso == Gso::None;
        if is_whole && !ethernet::complete_checksum(frame, L3 + offset) {
            return None;
        }
        let segment = frame.data().get(L3 + offset..)?;
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
            traffic_class,
            ports: [header[0], header[1], header[2], header[3]],
            sequence: word(4),
            acknowledgement: word(8),
            flags,
            length: u32::try_from(data_bytes).ok()?.wrapping_add(unseen),
        })
    }

    /// Writes the reset behind an IP header: its sequence number is what the sender acknowledged, or it acknowledges what
    /// the sender sent.
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

/// Whether a UDP datagram is whole and its checksum right: Linux `udp_rcv` looks before it says that nobody listens.
pub(crate) fn udp_is_sound(frame: &mut Frame<'_>) -> bool {
    let Some((source, destination, offset)) = frame.data().get(L3..).and_then(ends) else { return false };
    // What an offload left to do cannot be checked.
    if frame.offload.gso != Gso::None {
        return true;
    }
    if !ethernet::complete_checksum(frame, L3 + offset) {
        return false;
    }
    let Some(payload) = frame.data().get(L3 + offset..) else { return false };
    let Some(header) = payload.first_chunk::<UDP_HEADER_BYTES>() else { return false };
    let bytes = usize::from(u16::from_be_bytes([header[4], header[5]]));
    let Some(datagram) = payload.get(..bytes).filter(|_| bytes >= UDP_HEADER_BYTES) else { return false };
    // Without a checksum, which IPv6 requires (RFC 8200 section 8.1).
    if header[6..8] == [0, 0] {
        return source.is_ipv4();
    }
    sum(protocol::UDP, datagram, source, destination).finish() == 0
}

/// Addresses, and where the upper layer begins.
fn ends(packet: &[u8]) -> Option<(IpAddr, IpAddr, usize)> {
    if packet.first()? >> 4 == 4 {
        let header = ipv4::Header::parse(packet)?;
        return Some((header.source().into(), header.destination().into(), header.header_bytes()));
    }
    let header = ipv6::Header::parse(packet)?;
    Some((header.source().into(), header.destination().into(), ipv6::upper_layer(packet)?.offset))
}

fn sum(number: u8, segment: &[u8], source: IpAddr, destination: IpAddr) -> Sum {
    let bytes = u16::try_from(segment.len()).unwrap_or(u16::MAX);
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

impl Router {
    /// Turns a TCP segment for us into the reset that answers it; one that gets none is dropped.
    #[cold]
    pub(crate) fn reset(
        &mut self,
        frame: &mut Frame<'_>,
        context: &Context<'_>,
        out: &mut impl Originate,
    ) -> Verdict {
        let Some(segment) = Segment::read(frame, context) else {
            return Verdict::Drop(DropReason::PortUnreachable);
        };
        let traffic_class = segment.traffic_class & DSCP;
        frame.offload = Offload::default();
        let ip_bytes = match (segment.destination, segment.source) {
            (IpAddr::V4(source), IpAddr::V4(destination)) => {
                let fields = ipv4::Fields {
                    traffic_class,
                    total_bytes: 40,
                    // As Linux has it: what is not fragmented needs none.
                    identification: 0,
                    flags_offset: ipv4::DONT_FRAGMENT,
                    ttl: TTL,
                    protocol: protocol::TCP,
                    source,
                    destination,
                };
                if let Some(header) = frame.data_mut()[L3..].first_chunk_mut() {
                    fields.write(header);
                }
                ipv4::HEADER_BYTES
            }
            (IpAddr::V6(source), IpAddr::V6(destination)) => {
                let fields = ipv6::Fields {
                    traffic_class,
                    payload_bytes: 20,
                    next_header: protocol::TCP,
                    hop_limit: TTL,
                    source,
                    destination,
                };
                if let Some(header) = frame.data_mut()[L3..].first_chunk_mut() {
                    fields.write(header);
                }
                ipv6::HEADER_BYTES
            }
            _ => return Verdict::Drop(DropReason::PortUnreachable),
        };
        frame.truncate(L3 + ip_bytes + HEADER_BYTES);
        if let Some(reset) = frame.data_mut()[L3 + ip_bytes..].first_chunk_mut() {
            segment.write_reset(reset);
        }
        self.reply(frame, context, segment.source, out)
    }
}

#[cfg(test)]
#[path = "no_listener_tests.rs"]
mod tests;
