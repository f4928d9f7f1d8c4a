//! The packet record: what a packet's headers say, read once on entry and kept true by whatever rewrites the
//! packet.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use nsrouter_wire::eth;
use nsrouter_wire::frame::Frame;
use nsrouter_wire::ipv4;
use nsrouter_wire::ipv6::{self, Upper};
use nsrouter_wire::offload::Gso;
use nsrouter_wire::segment;

use crate::ip4::option_list::Ipv4Options;
use crate::verdict::Verdict;

/// Where the IP header begins: packets from the host port get room for an Ethernet header before anything
/// else.
pub(crate) const L3: usize = eth::HEADER_BYTES;

/// The link-layer destination of a frame, as Linux `pkt_type` has it of those that are not another station's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LinkDestination {
    /// The MAC address of the ingress port (`PACKET_HOST`).
    Router,
    /// A multicast or the broadcast address (`PACKET_MULTICAST`, `PACKET_BROADCAST`).
    Group,
}

/// The addresses of one IP version, and what follows from having them.
pub trait Family: Copy + PartialEq + Into<IpAddr> {
    /// The `EtherType` of such packets.
    const ETHER_TYPE: u16;

    /// Reads the header at the front of `packet`; `None` when it is shorter than a header without options.
    /// Checks nothing.
    fn read_headers(packet: &[u8], link_destination: LinkDestination) -> Option<IpHeaders<Self>>;

    /// The upper-layer header of a packet that begins at its IP header; `None` when the extension headers do
    /// not fit.
    fn find_upper(headers: &IpHeaders<Self>, packet: &[u8]) -> Option<Upper>;
}

impl Family for Ipv4Addr {
    const ETHER_TYPE: u16 = eth::TYPE_IPV4;

    #[inline]
    fn read_headers(packet: &[u8], link_destination: LinkDestination) -> Option<IpHeaders<Ipv4Addr>> {
        let header = ipv4::Header::parse(packet)?;
        Some(IpHeaders::from_ipv4(&header, packet.len(), link_destination))
    }

    #[inline]
    fn find_upper(headers: &IpHeaders<Ipv4Addr>, _: &[u8]) -> Option<Upper> {
        /// Where the header says its protocol.
        const PROTOCOL_OFFSET: usize = 9;
        let fragment = (headers.fragment_offset_bytes(), headers.more_fragments());
        Some(Upper {
            protocol: headers.protocol,
            offset: headers.header_bytes,
            fragment: headers.is_fragment().then_some(fragment),
            next_header_offset: PROTOCOL_OFFSET,
            router_alert: None,
        })
    }
}

impl Family for Ipv6Addr {
    const ETHER_TYPE: u16 = eth::TYPE_IPV6;

    #[inline]
    fn read_headers(packet: &[u8], link_destination: LinkDestination) -> Option<IpHeaders<Ipv6Addr>> {
        let header = ipv6::Header::parse(packet)?;
        Some(IpHeaders::from_ipv6(&header, packet.len(), link_destination))
    }

    fn find_upper(_: &IpHeaders<Ipv6Addr>, packet: &[u8]) -> Option<Upper> {
        ipv6::upper_layer(packet)
    }
}

/// What the headers of a packet say. `A` is the address type of its IP version.
#[derive(Clone, Copy, Debug)]
pub struct IpHeaders<A> {
    /// The link-layer destination of the frame.
    pub link_destination: LinkDestination,
    /// The source address.
    pub source: A,
    /// The destination address.
    pub destination: A,
    /// DSCP (the upper six bits) and ECN.
    pub traffic_class: u8,
    /// TTL or hop limit.
    pub ttl: u8,
    /// The protocol of IPv4; for IPv6 the next header of the fixed header, which may be an extension header.
    pub protocol: u8,
    /// Flags and fragment offset of IPv4 as one word; 0 for IPv6, whose fragment header is part of [`Upper`].
    pub flags_offset: u16,
    /// Bytes of the IPv4 header with its options, or of the fixed IPv6 header.
    pub header_bytes: usize,
    /// Bytes of the packet from its IP header on; of a GSO packet, of all its segments together.
    pub packet_bytes: usize,
    /// The IPv4 options that concern a router, once they were checked.
    pub(crate) options: Ipv4Options,
    upper: Walk,
}

/// The upper layer behind IPv6 extension headers is looked for only when a step asks for it.
#[derive(Clone, Copy, Debug)]
enum Walk {
    NotYet,
    Done(Option<Upper>),
}

impl IpHeaders<Ipv4Addr> {
    /// The record of a packet of `packet_bytes` with this header.
    #[inline]
    pub(crate) fn from_ipv4(
        header: &ipv4::Header<'_>,
        packet_bytes: usize,
        link_destination: LinkDestination,
    ) -> Self {
        IpHeaders {
            link_destination,
            source: header.source(),
            destination: header.destination(),
            traffic_class: header.traffic_class(),
            ttl: header.ttl(),
            protocol: header.protocol(),
            flags_offset: header.flags_offset(),
            header_bytes: header.header_bytes(),
            packet_bytes,
            options: Ipv4Options::default(),
            upper: Walk::NotYet,
        }
    }

    /// Whether routers may not fragment the packet.
    #[inline]
    pub fn dont_fragment(&self) -> bool {
        self.flags_offset & ipv4::DONT_FRAGMENT != 0
    }

    /// Whether more fragments follow.
    #[inline]
    pub fn more_fragments(&self) -> bool {
        self.flags_offset & ipv4::MORE_FRAGMENTS != 0
    }

    /// Where the payload of this fragment belongs in the whole packet's, in bytes.
    #[inline]
    pub fn fragment_offset_bytes(&self) -> usize {
        usize::from(self.flags_offset & ipv4::OFFSET_MASK) * 8
    }

    /// Whether the packet is a fragment of a larger one.
    #[inline]
    pub fn is_fragment(&self) -> bool {
        self.flags_offset & (ipv4::MORE_FRAGMENTS | ipv4::OFFSET_MASK) != 0
    }

    /// Whether the header has options.
    #[inline]
    pub fn has_options(&self) -> bool {
        self.header_bytes > ipv4::HEADER_BYTES
    }
}

impl IpHeaders<Ipv6Addr> {
    /// The record of a packet of `packet_bytes` with this header.
    #[inline]
    pub(crate) fn from_ipv6(
        header: &ipv6::Header<'_>,
        packet_bytes: usize,
        link_destination: LinkDestination,
    ) -> Self {
        IpHeaders {
            link_destination,
            source: header.source(),
            destination: header.destination(),
            traffic_class: header.traffic_class(),
            ttl: header.hop_limit(),
            protocol: header.next_header(),
            flags_offset: 0,
            header_bytes: ipv6::HEADER_BYTES,
            packet_bytes,
            options: Ipv4Options::default(),
            upper: Walk::NotYet,
        }
    }
}

impl<A: Family> IpHeaders<A> {
    /// Reads the header at the front of `packet`; `None` when it is shorter than a header without options.
    /// Checks nothing.
    #[inline]
    pub fn read(packet: &[u8], link_destination: LinkDestination) -> Option<Self> {
        A::read_headers(packet, link_destination)
    }

    /// The upper-layer header of the packet that this is the record of, looked for once. `None` when the
    /// extension headers do not fit into the packet.
    #[inline]
    pub fn upper(&mut self, packet: &[u8]) -> Option<Upper> {
        match self.upper {
            Walk::Done(upper) => upper,
            Walk::NotYet => {
                let upper = A::find_upper(self, packet);
                self.upper = Walk::Done(upper);
                upper
            }
        }
    }

    /// Whether the record says what the bytes of `packet` say.
    pub fn is_true_of(&self, packet: &[u8]) -> bool {
        let Some(fresh) = Self::read(packet, self.link_destination) else { return false };
        let Walk::Done(upper) = self.upper else { return self.has_values_of(&fresh) };
        self.has_values_of(&fresh) && upper == A::find_upper(&fresh, packet)
    }

    fn has_values_of(&self, other: &Self) -> bool {
        self.source == other.source
            && self.destination == other.destination
            && self.traffic_class == other.traffic_class
            && self.ttl == other.ttl
            && self.protocol == other.protocol
            && self.flags_offset == other.flags_offset
            && self.header_bytes == other.header_bytes
            && self.packet_bytes == other.packet_bytes
    }
}

/// A packet on its way through the steps: the frame that carries it, and what its headers say.
#[derive(Debug)]
pub(crate) struct Packet<'f, 'r, A> {
    pub(crate) frame: &'f mut Frame<'r>,
    pub(crate) ip: IpHeaders<A>,
}

/// An IPv4 packet.
pub(crate) type Packet4<'f, 'r> = Packet<'f, 'r, Ipv4Addr>;
/// An IPv6 packet.
pub(crate) type Packet6<'f, 'r> = Packet<'f, 'r, Ipv6Addr>;

impl<A: Family> Packet<'_, '_, A> {
    /// The packet from its IP header on.
    #[inline]
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.frame.data()[L3..]
    }

    /// The packet from its IP header on, to be rewritten. Who rewrites it keeps [`Packet::ip`] true.
    #[inline]
    pub(crate) fn bytes_mut(&mut self) -> &mut [u8] {
        &mut self.frame.data_mut()[L3..]
    }

    /// The upper-layer header; `None` when the extension headers do not fit into the packet.
    #[inline]
    pub(crate) fn upper(&mut self) -> Option<Upper> {
        self.ip.upper(&self.frame.data()[L3..])
    }

    /// The largest packet that this becomes on the wire, in bytes: itself, or a segment of a GSO packet.
    /// `None` when the offload metadata does not match the headers.
    #[inline(always)]
    pub(crate) fn wire_bytes(&self) -> Option<usize> {
        match self.frame.offload.gso {
            Gso::None => Some(self.ip.packet_bytes),
            Gso::Tcp4 { .. } | Gso::Tcp6 { .. } | Gso::Udp => {
                segment::packet_bytes(self.frame.data(), L3, &self.frame.offload)
            }
        }
    }

    /// Completes a pending checksum of an unsegmented packet whose L4 message begins at `l4`, counted from
    /// the IP header; false when what is pending does not lie within that message.
    pub(crate) fn complete_checksum(&mut self, l4: usize) -> bool {
        if self.frame.offload.gso != Gso::None {
            return false;
        }
        match self.frame.offload.checksum {
            None => true,
            Some(pending) => {
                usize::from(pending.start) >= L3 + l4 && segment::complete_checksum(self.frame, L3)
            }
        }
    }

    /// Reads the record anew, for a packet that was written anew.
    pub(crate) fn read_again(&mut self) {
        if let Some(headers) = IpHeaders::read(self.bytes(), self.ip.link_destination) {
            self.ip = headers;
        }
    }

    /// Cuts the packet to its first `bytes`.
    pub(crate) fn truncate(&mut self, bytes: usize) {
        self.frame.truncate(L3 + bytes);
        self.ip.packet_bytes = self.ip.packet_bytes.min(bytes);
    }

    /// Hands the packet to the host port, where there are no Ethernet headers.
    pub(crate) fn hand_to_host(&mut self) -> Verdict {
        pull_front(self.frame, 14);
        Verdict::ToHost
    }
}

impl Packet4<'_, '_> {
    /// Takes one hop off the TTL, checksum included (RFC 1812 section 5.3.1).
    #[inline(always)]
    pub(crate) fn decrement_ttl(&mut self) {
        if let Some(header) = self.bytes_mut().first_chunk_mut() {
            ipv4::decrement_ttl(header);
            self.ip.ttl = self.ip.ttl.wrapping_sub(1);
        }
    }
}

impl Packet6<'_, '_> {
    /// Takes one hop off the hop limit (RFC 8200 section 3).
    #[inline(always)]
    pub(crate) fn decrement_hop_limit(&mut self) {
        if let Some(hop_limit) = self.bytes_mut().get_mut(7) {
            *hop_limit = hop_limit.wrapping_sub(1);
            self.ip.ttl = self.ip.ttl.wrapping_sub(1);
        }
    }
}

/// Takes bytes off the front of a frame; the offload metadata counts from there.
pub(crate) fn pull_front(frame: &mut Frame<'_>, bytes: u16) {
    frame.pull_front(usize::from(bytes));
    if let Some(pending) = &mut frame.offload.checksum {
        pending.start = pending.start.saturating_sub(bytes);
    }
    frame.offload.header_bytes = frame.offload.header_bytes.saturating_sub(bytes);
}

#[cfg(test)]
#[path = "packet_tests.rs"]
mod tests;
