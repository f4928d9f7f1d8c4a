//! ICMP and ICMPv6 message types (RFC 792, RFC 4443, RFC 4861) and their checksums.

use std::net::Ipv6Addr;

use crate::bytes::length16;
use crate::checksum::Sum;
use crate::ipv6;
use crate::protocol;

/// Bytes of the fixed part of every ICMP and ICMPv6 message.
pub const HEADER_BYTES: usize = 8;

/// ICMP types.
pub mod v4 {
    /// Echo reply.
    pub const ECHO_REPLY: u8 = 0;
    /// Destination unreachable.
    pub const UNREACHABLE: u8 = 3;
    /// Source quench (deprecated by RFC 6633, still an error message).
    pub const SOURCE_QUENCH: u8 = 4;
    /// Redirect.
    pub const REDIRECT: u8 = 5;
    /// Echo request.
    pub const ECHO: u8 = 8;
    /// Time exceeded.
    pub const TIME_EXCEEDED: u8 = 11;
    /// Parameter problem.
    pub const PARAMETER_PROBLEM: u8 = 12;
    /// The highest type that Linux knows (`NR_ICMP_TYPES`); above it nothing is answered by an error.
    pub const MAX_KNOWN: u8 = 18;

    /// Whether an ICMP message of this type reports an error, and quotes the packet that it is about.
    pub const fn is_error(kind: u8) -> bool {
        matches!(kind, UNREACHABLE | SOURCE_QUENCH | REDIRECT | TIME_EXCEEDED | PARAMETER_PROBLEM)
    }

    /// Whether an error may be sent about an ICMP message of this type (RFC 1812 section 4.3.2.7). Linux
    /// `icmp_pointers` takes the types that nobody has assigned for errors too, and router discovery (RFC
    /// 1256), and `icmp_send` those above what it knows.
    pub const fn may_be_answered(kind: u8) -> bool {
        matches!(kind, ECHO_REPLY | ECHO | 13..=MAX_KNOWN)
    }
}

/// ICMPv6 types.
pub mod v6 {
    /// Destination unreachable.
    pub const UNREACHABLE: u8 = 1;
    /// Packet too big.
    pub const TOO_BIG: u8 = 2;
    /// Time exceeded.
    pub const TIME_EXCEEDED: u8 = 3;
    /// Parameter problem.
    pub const PARAMETER_PROBLEM: u8 = 4;
    /// Echo request.
    pub const ECHO: u8 = 128;
    /// Echo reply.
    pub const ECHO_REPLY: u8 = 129;
    /// Multicast listener query, of both versions.
    pub const LISTENER_QUERY: u8 = 130;
    /// Multicast listener report of version 1.
    pub const LISTENER_REPORT: u8 = 131;
    /// Multicast listener done (version 1).
    pub const LISTENER_DONE: u8 = 132;
    /// Router solicitation.
    pub const ROUTER_SOLICITATION: u8 = 133;
    /// Router advertisement.
    pub const ROUTER_ADVERTISEMENT: u8 = 134;
    /// Neighbour solicitation.
    pub const NEIGHBOUR_SOLICITATION: u8 = 135;
    /// Neighbour advertisement.
    pub const NEIGHBOUR_ADVERTISEMENT: u8 = 136;
    /// Redirect: an informational type by its number, but no error is sent about it (RFC 4443 section 2.4 e).
    pub const REDIRECT: u8 = 137;

    /// Whether an ICMPv6 message of this type is one of the errors of RFC 4443, which quote the packet that
    /// they are about.
    pub const fn is_error(kind: u8) -> bool {
        matches!(kind, UNREACHABLE | TOO_BIG | TIME_EXCEEDED | PARAMETER_PROBLEM)
    }
}

/// Whether the checksum of an ICMP message is right.
#[inline]
pub fn v4_is_valid(message: &[u8]) -> bool {
    Sum::new().bytes(message).finish() == 0
}

/// Computes the checksum of an ICMP message anew.
pub fn v4_fill(message: &mut [u8]) {
    if message.len() >= HEADER_BYTES {
        message[2..4].fill(0);
        let sum = Sum::new().bytes(message).finish();
        message[2..4].copy_from_slice(&sum.to_be_bytes());
    }
}

fn v6_sum(message: &[u8], source: Ipv6Addr, destination: Ipv6Addr) -> u16 {
    // A message is shorter than a frame, whose length fits.
    let bytes = u32::try_from(message.len()).unwrap_or(u32::MAX);
    Sum::new()
        .pseudo_ipv6(source.octets(), destination.octets(), protocol::ICMPV6, bytes)
        .bytes(message)
        .finish()
}

/// Whether the checksum of an ICMPv6 message is right.
#[inline]
pub fn v6_is_valid(message: &[u8], source: Ipv6Addr, destination: Ipv6Addr) -> bool {
    v6_sum(message, source, destination) == 0
}

/// Computes the checksum of an ICMPv6 message anew.
pub fn v6_fill(message: &mut [u8], source: Ipv6Addr, destination: Ipv6Addr) {
    if message.len() >= HEADER_BYTES {
        message[2..4].fill(0);
        let sum = v6_sum(message, source, destination);
        message[2..4].copy_from_slice(&sum.to_be_bytes());
    }
}

/// The IPv6 headers of an ICMPv6 message.
#[derive(Clone, Copy, Debug)]
pub struct Icmp6<'a> {
    /// The sender.
    pub source: Ipv6Addr,
    /// The receiver.
    pub destination: Ipv6Addr,
    /// The hop limit; 255 for neighbour discovery.
    pub hop_limit: u8,
    /// A whole hop-by-hop header that names ICMPv6, or nothing.
    pub extension: &'a [u8],
}

impl Icmp6<'_> {
    /// Bytes of a packet with a message of `message_bytes`.
    pub fn packet_bytes(&self, message_bytes: usize) -> usize {
        ipv6::HEADER_BYTES + self.extension.len() + message_bytes
    }

    /// Writes a packet of [`Icmp6::packet_bytes`]: the headers, the message that `write` fills in, and its
    /// checksum. A shorter `packet` is left alone.
    pub fn write(&self, packet: &mut [u8], write: impl FnOnce(&mut [u8])) {
        let Some((ip, payload)) = packet.split_first_chunk_mut() else { return };
        let Some((extension, message)) = payload.split_at_mut_checked(self.extension.len()) else { return };
        let next_header = if extension.is_empty() { protocol::ICMPV6 } else { protocol::HOP_BY_HOP };
        let fields = ipv6::Fields {
            traffic_class: 0,
            payload_bytes: length16(extension.len() + message.len()),
            next_header,
            hop_limit: self.hop_limit,
            source: self.source,
            destination: self.destination,
        };
        fields.write(ip);
        extension.copy_from_slice(self.extension);
        write(message);
        v6_fill(message, self.source, self.destination);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_and_unassigned_types_are_not_answered() {
        let answered: Vec<u8> = (0..=255).filter(|kind| v4::may_be_answered(*kind)).collect();
        assert_eq!(answered, [0, 8, 13, 14, 15, 16, 17, 18]);
        assert_eq!((0..=255).filter(|kind| v4::is_error(*kind)).collect::<Vec<u8>>(), [3, 4, 5, 11, 12]);
    }

    #[test]
    fn checksums_agree_with_etherparse() {
        let mut message = vec![8, 0, 0, 0, 0x12, 0x34, 0, 1];
        message.extend(b"odd-length payload.");
        v4_fill(&mut message);
        assert!(v4_is_valid(&message));
        let theirs = etherparse::Icmpv4Slice::from_slice(&message).unwrap();
        assert_eq!(theirs.header().checksum, u16::from_be_bytes([message[2], message[3]]));
        assert_eq!(theirs.icmp_type().calc_checksum(&message[8..]), theirs.checksum());
        message[20] ^= 1;
        assert!(!v4_is_valid(&message));
    }

    #[test]
    fn v6_checksums_agree_with_etherparse() {
        let (a, b) = ("fd00:251::1".parse::<Ipv6Addr>().unwrap(), "fe80::1".parse::<Ipv6Addr>().unwrap());
        let mut message = vec![128, 0, 0, 0, 0x12, 0x34, 0, 1, 1, 2, 3];
        v6_fill(&mut message, a, b);
        let theirs = etherparse::Icmpv6Slice::from_slice(&message).unwrap();
        assert!(theirs.is_checksum_valid(a.octets(), b.octets()));
        assert!(v6_is_valid(&message, a, b) && !v6_is_valid(&message, a, a));
    }
}
