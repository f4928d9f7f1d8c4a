//! The outer headers of a GSO packet that a tunnel carries.
//!
//! A virtio-net header names the innermost segmentation alone, TCP or UDP, whatever lies around it. What
//! betrays a tunnel is that the pending checksum begins at another place than behind the outermost IP header:
//! it begins at the inner L4 header. Between the two lie headers whose lengths, identifications and checksums
//! are another in every segment (Linux `skb_udp_tunnel_segment`, `gre_gso_segment`, `inet_gso_segment`,
//! `ipv6_gso_segment`).
//!
//! Which encapsulation stands behind a UDP or GRE header (VXLAN, GENEVE, GTP-U, an Ethernet header with VLAN
//! tags) is decided by port numbers that everybody configures for himself. It need not be known, as nothing
//! in it depends on a segment: the next IP header is recognised by its version, its length, which reaches to
//! the end of the frame, and its checksum.

use crate::bytes::length16;
use crate::checksum::{Sum, checksum};
use crate::ipv4;
use crate::ipv6;
use crate::protocol;

/// Outer headers that a frame may have: three tunnels, one in the other, of two headers each.
const MAX_OUTER: usize = 6;
/// Bytes between a UDP or GRE header and the IP header that it carries, at most: GENEVE with all its options
/// (260) and an Ethernet header with two VLAN tags (22), and some.
const MAX_ENCAPSULATION_BYTES: usize = 320;

const UDP_HEADER_BYTES: usize = 8;
/// The largest length that a 16-bit field says. Beyond it the field of a GSO packet is zero (BIG TCP).
const MAX_LENGTH: usize = 65_535;

/// A header around the inner packet, at an offset from the frame's front.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Outer {
    Ipv4 {
        at: usize,
        header_bytes: usize,
    },
    Ipv6 {
        at: usize,
    },
    /// `network`: where the IP header before it begins.
    Udp {
        at: usize,
        network: usize,
    },
    /// With the checksum of RFC 2784; without it nothing of the header changes.
    GreChecksum {
        at: usize,
    },
}

/// An IP header that says itself to reach to the end of the frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Network {
    /// Where it begins.
    pub(crate) at: usize,
    /// Whether it is IPv6's.
    pub(crate) is_v6: bool,
    /// The protocol behind it and its extension headers.
    pub(crate) protocol: u8,
    /// Where that begins.
    pub(crate) payload: usize,
}

impl Network {
    /// The header at `at`; `None` when it is none, does not reach to the frame's end, or is a fragment's.
    fn parse(data: &[u8], at: usize) -> Option<Network> {
        let packet = data.get(at..)?;
        let says = |length: usize, is: usize| length == is || length == 0 && is > MAX_LENGTH;
        match packet.first()? >> 4 {
            4 => {
                let header = ipv4::Header::parse(packet)?;
                let bytes = header.header_bytes();
                let is_right = bytes >= ipv4::HEADER_BYTES
                    && says(header.total_bytes(), packet.len())
                    && !header.is_fragment()
                    && checksum(packet.get(..bytes)?) == 0;
                let payload = at + bytes;
                is_right.then_some(Network { at, is_v6: false, protocol: header.protocol(), payload })
            }
            6 => {
                let header = ipv6::Header::parse(packet)?;
                if !says(header.payload_bytes(), packet.len() - ipv6::HEADER_BYTES) {
                    return None;
                }
                let upper = ipv6::upper_layer(packet)?;
                let payload = at + upper.offset;
                upper.fragment.is_none().then_some(Network {
                    at,
                    is_v6: true,
                    protocol: upper.protocol,
                    payload,
                })
            }
            _ => None,
        }
    }

    fn outer(self) -> Outer {
        if self.is_v6 {
            Outer::Ipv6 { at: self.at }
        } else {
            Outer::Ipv4 { at: self.at, header_bytes: self.payload - self.at }
        }
    }
}

/// The headers around an inner packet, outermost first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Tunnel {
    outer: [Option<Outer>; MAX_OUTER],
    count: usize,
}

impl Tunnel {
    /// Walks from the IP header at `l3` to that whose payload begins at `l4`.
    ///
    /// `None` when no chain of headers that is understood leads there, or when one cannot be repeated for
    /// each segment: a GRE sequence number.
    #[cold]
    pub(crate) fn walk(data: &[u8], l3: usize, l4: usize) -> Option<(Tunnel, Network)> {
        let mut tunnel = Tunnel::default();
        let mut network = Network::parse(data, l3)?;
        while network.payload != l4 {
            let at = network.payload;
            tunnel.push(network.outer())?;
            network = match network.protocol {
                protocol::IPV4 | protocol::IPV6 => Network::parse(data, at)?,
                protocol::GRE => tunnel.gre(data, at, l4)?,
                protocol::UDP => {
                    tunnel.push(Outer::Udp { at, network: network.at })?;
                    let inside = at + UDP_HEADER_BYTES;
                    if is_gre_checksummed(data.get(inside..)?) {
                        tunnel.gre(data, inside, l4)?
                    } else {
                        find(data, inside, l4)?
                    }
                }
                _ => return None,
            };
        }
        Some((tunnel, network))
    }

    /// The IP header behind the GRE header at `at`.
    fn gre(&mut self, data: &[u8], at: usize, l4: usize) -> Option<Network> {
        let gre = data.get(at..)?;
        let bytes = gre_header_bytes(gre)?;
        if gre[0] & GRE_CHECKSUM != 0 {
            self.push(Outer::GreChecksum { at })?;
        }
        find(data, at + bytes, l4)
    }

    fn push(&mut self, outer: Outer) -> Option<()> {
        *self.outer.get_mut(self.count)? = Some(outer);
        self.count += 1;
        Some(())
    }

    /// Whether there is nothing around.
    pub(crate) fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Writes what is another in each segment into the outer headers of segment `number`, whose inner packet
    /// is complete: innermost first, as each checksum covers what is inside.
    pub(crate) fn write(&self, segment: &mut [u8], number: u16) {
        for outer in self.outer.iter().flatten().rev() {
            match *outer {
                Outer::Ipv4 { at, header_bytes } => {
                    ipv4::write_segment(&mut segment[at..], header_bytes, number)
                }
                Outer::Ipv6 { at } => ipv6::write_length(&mut segment[at..]),
                Outer::Udp { at, network } => write_udp(segment, at, network),
                Outer::GreChecksum { at } => {
                    let gre = &mut segment[at..];
                    gre[4..6].fill(0);
                    let sum = checksum(gre);
                    gre[4..6].copy_from_slice(&sum.to_be_bytes());
                }
            }
        }
    }
}

const GRE_CHECKSUM: u8 = 0x80;
const GRE_KEY: u8 = 0x20;

/// Whether a UDP header (RFC 8086, and Linux's FOU) is followed by a GRE header with a checksum and a payload
/// in which there may be IP. The other encapsulations begin otherwise: VXLAN with a set bit 3, GENEVE with a
/// cleared bit 7.
fn is_gre_checksummed(encapsulation: &[u8]) -> bool {
    let [flags, 0, kind @ ..] = encapsulation else { return false };
    flags | GRE_KEY == GRE_CHECKSUM | GRE_KEY
        && matches!(kind, [0x08, 0x00, ..] | [0x86, 0xdd, ..] | [0x65, 0x58, ..])
}

/// Bytes of a GRE header (RFC 2784, RFC 2890); `None` for another version, the routing of RFC 1701, and
/// sequence numbers.
fn gre_header_bytes(gre: &[u8]) -> Option<usize> {
    const ROUTING_SEQUENCE: u8 = 0x40 | 0x10;
    const VERSION: u8 = 0x07;
    let [flags, version, ..] = *gre else { return None };
    if flags & ROUTING_SEQUENCE != 0 || version & VERSION != 0 {
        return None;
    }
    let word = |bit: u8| if flags & bit != 0 { 4 } else { 0 };
    Some(4 + word(GRE_CHECKSUM) + word(GRE_KEY))
}

/// The first IP header between an encapsulation's beginning and the inner L4 header. Every encapsulation in
/// use has an even number of bytes.
fn find(data: &[u8], from: usize, l4: usize) -> Option<Network> {
    let last = l4.checked_sub(ipv4::HEADER_BYTES)?.min(from + MAX_ENCAPSULATION_BYTES);
    (from..=last).step_by(2).find_map(|at| Network::parse(data, at).filter(|network| network.payload <= l4))
}

/// Length and checksum; a checksum that is zero says that there is none (RFC 768, RFC 6935).
fn write_udp(segment: &mut [u8], at: usize, network: usize) {
    let Some((headers, udp)) = segment.split_at_mut_checked(at) else { return };
    let bytes = length16(udp.len());
    udp[4..6].copy_from_slice(&bytes.to_be_bytes());
    if udp[6..8] == [0, 0] {
        return;
    }
    udp[6..8].fill(0);
    let Some(pseudo) = pseudo_header(&headers[network..], protocol::UDP, bytes) else { return };
    let sum = match pseudo.bytes(udp).finish() {
        0 => 0xffff,
        sum => sum,
    };
    udp[6..8].copy_from_slice(&sum.to_be_bytes());
}

/// The sum of the pseudo-header for an L4 message of `bytes` behind the IP header at the front of `packet`.
pub(crate) fn pseudo_header(packet: &[u8], number: u8, bytes: u16) -> Option<Sum> {
    if packet.first()? >> 4 == 6 {
        let ip = ipv6::Header::parse(packet)?;
        let (source, destination) = (ip.source().octets(), ip.destination().octets());
        Some(Sum::new().pseudo_ipv6(source, destination, number, u32::from(bytes)))
    } else {
        let ip = ipv4::Header::parse(packet)?;
        Some(Sum::new().pseudo_ipv4(ip.source().octets(), ip.destination().octets(), number, bytes))
    }
}
