//! Software segmentation of GSO packets into a caller's buffers, and completion of pending checksums.
//!
//! For ports without the offload, and for tunnels, which a virtio-net header cannot tell of: what comes out
//! equals what the kernel sends for the same GSO packet (net/ipv4 `tcp_gso_segment`, `__udp_gso_segment`; for
//! what is around them see `tunnel.rs`).

use crate::bytes::length16;
use crate::checksum::Sum;
use crate::crc32c::crc32c;
use crate::eth;
use crate::frame::Frame;
use crate::ipv4;
use crate::ipv6;
use crate::offload::{Gso, Offload, PendingChecksum};
use crate::protocol;
use crate::tunnel::{self, Tunnel};

/// Why a GSO packet cannot be segmented.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SegmentError {
    /// The frame asks for no segmentation, or for a segment size of zero.
    NotGso,
    /// Headers are missing, or not of the kind that the offload says.
    Headers,
}

/// Where SCTP's checksum is in its header (RFC 9260 section 3.1); no other protocol has one there.
pub const SCTP_CHECKSUM_OFFSET: u16 = 8;

/// Sums what is pending and writes the L4 checksum; a frame with none pending is left alone. `l3` is where
/// its IP header begins: 14 on a link port, 0 on the host port.
///
/// SCTP's is a CRC32c (RFC 9260 section 6.8), of which a virtio-net header says nothing but where it is:
/// there it is told by the protocol.
///
/// Returns false, with the frame unchanged, when the offload points beyond the frame. Not for GSO packets,
/// whose segments each get a checksum of their own from [`Segments`].
#[must_use]
pub fn complete_checksum(frame: &mut Frame<'_>, l3: usize) -> bool {
    let Some(pending) = frame.offload.checksum else { return true };
    let start = usize::from(pending.start);
    let at = start + usize::from(pending.offset);
    if pending.offset == SCTP_CHECKSUM_OFFSET && is_sctp(frame.data(), l3, start) {
        let data = frame.data_mut();
        let Some(field) = data.get_mut(at..at + 4) else { return false };
        field.fill(0);
        // Unlike everything else in the packet it is sent with its lowest byte first (RFC 9260 appendix A).
        let crc = crc32c(&data[start..]).to_le_bytes();
        data[at..at + 4].copy_from_slice(&crc);
        frame.offload.checksum = None;
        return true;
    }
    let data = frame.data_mut();
    if at + 2 > data.len() {
        return false;
    }
    // The field holds the pseudo-header's sum, so summing it along adds that.
    let sum = match Sum::new().bytes(&data[start..]).finish() {
        // For UDP zero would mean "no checksum"; for TCP both zeros are the same number.
        0 => 0xffff,
        sum => sum,
    };
    data[at..at + 2].copy_from_slice(&sum.to_be_bytes());
    frame.offload.checksum = None;
    true
}

/// Whether the L4 message at `l4` is SCTP's, within a tunnel or not.
#[cold]
fn is_sctp(data: &[u8], l3: usize, l4: usize) -> bool {
    Tunnel::walk(data, l3, l4).is_some_and(|(_, network)| network.protocol == protocol::SCTP)
}

/// The L4 part of a GSO packet's headers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum L4 {
    Tcp,
    Udp,
}

/// The segments of one GSO packet, to be written one by one.
#[derive(Clone, Debug)]
pub struct Segments<'a> {
    data: &'a [u8],
    /// What is around the packet whose headers are described below.
    tunnel: Tunnel,
    l3: usize,
    l4: usize,
    /// Bytes of all headers, before the payload.
    headers: usize,
    /// Bytes of a jumbogram's hop-by-hop header, which the segments do without.
    jumbo_bytes: usize,
    kind: L4,
    is_v6: bool,
    /// Payload bytes of each segment.
    segment_bytes: usize,
    /// Payload bytes of what the receiver is to see as one: less than `segment_bytes` where the segments are
    /// GSO packets.
    gso_size: usize,
    next: usize,
}

/// The largest length that an IP header says, in bytes.
const MAX_PACKET_BYTES: usize = 65_535;

impl<'a> Segments<'a> {
    /// Looks at the headers of a GSO packet once. `l3` is where its IP header begins: 14 on a link port, 0 on
    /// the host port.
    ///
    /// # Errors
    /// [`SegmentError`] when it is no GSO packet, or its headers are not what its offload says.
    pub fn new(data: &'a [u8], l3: usize, offload: Offload) -> Result<Self, SegmentError> {
        let gso_size = usize::from(offload.gso_size);
        let kind = match offload.gso {
            Gso::None => return Err(SegmentError::NotGso),
            Gso::Tcp4 { .. } | Gso::Tcp6 { .. } => L4::Tcp,
            Gso::Udp => L4::Udp,
        };
        if gso_size == 0 {
            return Err(SegmentError::NotGso);
        }
        let headers = Headers::read(data, l3, &offload).ok_or(SegmentError::Headers)?;
        let Headers { tunnel, l3, l4, end, is_v6 } = headers;
        let is_jumbo = is_v6 && ipv6::jumbo_payload_bytes(&data[l3..]).is_some();
        if is_jumbo && !tunnel.is_empty() {
            return Err(SegmentError::Headers);
        }
        let jumbo_bytes = if is_jumbo { ipv6::JUMBO_HEADER_BYTES } else { 0 };
        let headers = end;
        Ok(Segments {
            data,
            tunnel,
            l3,
            l4,
            headers,
            jumbo_bytes,
            kind,
            is_v6,
            segment_bytes: gso_size,
            gso_size,
            next: 0,
        })
    }

    /// Cuts a GSO packet of more than 64 KiB not into what the receiver is to see, but into GSO packets that
    /// say their length in their IP header: each as many whole segments as fit. [`Segments::next_offload`]
    /// says what is pending of them. `None` for a packet in a tunnel.
    #[must_use]
    pub fn into_gso_packets(self) -> Option<Self> {
        let room = MAX_PACKET_BYTES.checked_sub(self.headers - self.jumbo_bytes - self.l3)?;
        let whole = room / self.gso_size * self.gso_size;
        (self.tunnel.is_empty() && whole > 0).then_some(Segments { segment_bytes: whole, ..self })
    }

    /// What is left to do to the next segment, given the whole packet's offload: nothing, but for the GSO
    /// packets of [`Segments::into_gso_packets`].
    pub fn next_offload(&self, whole: Offload) -> Offload {
        if !self.makes_gso_packets() {
            return Offload::default();
        }
        let bytes = |value: usize| length16(value - self.jumbo_bytes);
        let checksum = PendingChecksum { start: bytes(self.l4), offset: self.checksum_offset() };
        let plain = Offload { checksum: Some(checksum), ..Offload::default() };
        if self.payload().len() <= self.gso_size {
            return plain;
        }
        let header_bytes = bytes(self.headers);
        Offload { gso: whole.gso, gso_size: whole.gso_size, header_bytes, ..plain }
    }

    fn makes_gso_packets(&self) -> bool {
        self.segment_bytes != self.gso_size
    }

    fn checksum_offset(&self) -> u16 {
        match self.kind {
            L4::Tcp => 16,
            L4::Udp => 6,
        }
    }

    /// How many segments there are; a GSO packet without payload is one.
    pub fn count(&self) -> usize {
        (self.data.len() - self.headers).div_ceil(self.segment_bytes).max(1)
    }

    /// Length in bytes of the next segment, headers included; `None` when all are written.
    pub fn next_len(&self) -> Option<usize> {
        (self.next < self.count()).then(|| self.headers - self.jumbo_bytes + self.payload().len())
    }

    fn payload(&self) -> &'a [u8] {
        let begin = (self.headers + self.next * self.segment_bytes).min(self.data.len());
        let end = (begin + self.segment_bytes).min(self.data.len());
        &self.data[begin..end]
    }

    /// Writes the next segment, checksums complete, into a buffer of [`Segments::next_len`] bytes or more,
    /// and returns its length; `None` when all are written or the buffer is too small.
    pub fn write_next(&mut self, buffer: &mut [u8]) -> Option<usize> {
        let len = self.next_len()?;
        let segment = buffer.get_mut(..len)?;
        let payload = self.payload();
        let (headers, rest) = segment.split_at_mut(len - payload.len());
        rest.copy_from_slice(payload);
        self.write_headers(headers);
        let number = length16(self.next * (self.segment_bytes / self.gso_size));
        let l4 = self.l4 - self.jumbo_bytes;
        if self.is_v6 {
            ipv6::write_length(&mut segment[self.l3..]);
        } else {
            ipv4::write_segment(&mut segment[self.l3..], l4 - self.l3, number);
        }
        match self.kind {
            L4::Tcp => self.write_tcp(&mut segment[l4..]),
            L4::Udp => write_udp(&mut segment[l4..]),
        }
        self.write_checksum(segment, l4);
        self.tunnel.write(segment, number);
        self.next += 1;
        Some(len)
    }

    /// Copies the headers, but for the one that a segment does without.
    fn write_headers(&self, headers: &mut [u8]) {
        let whole = &self.data[..self.headers];
        if self.jumbo_bytes == 0 {
            return headers.copy_from_slice(whole);
        }
        let at = self.l3 + ipv6::HEADER_BYTES;
        headers[..at].copy_from_slice(&whole[..at]);
        headers[at..].copy_from_slice(&whole[at + self.jumbo_bytes..]);
        headers[self.l3 + 6] = whole[at];
    }

    fn write_tcp(&self, tcp: &mut [u8]) {
        const FIN_PSH: u8 = 0x09;
        const CWR: u8 = 0x80;
        let first = u32::from_be_bytes([tcp[4], tcp[5], tcp[6], tcp[7]]);
        let offset = u32::try_from(self.next * self.segment_bytes).unwrap_or(0);
        tcp[4..8].copy_from_slice(&first.wrapping_add(offset).to_be_bytes());
        if self.next + 1 < self.count() {
            tcp[13] &= !FIN_PSH;
        }
        // CWR belongs to the first segment whether or not the ECN mark is set (RFC 3168 section 6.1.2).
        if self.next > 0 {
            tcp[13] &= !CWR;
        }
    }

    fn write_checksum(&self, segment: &mut [u8], l4: usize) {
        let at = usize::from(self.checksum_offset());
        let number = match self.kind {
            L4::Tcp => protocol::TCP,
            L4::Udp => protocol::UDP,
        };
        let bytes = length16(segment.len() - l4);
        let Some(pseudo) = tunnel::pseudo_header(&segment[self.l3..], number, bytes) else { return };
        let message = &mut segment[l4..];
        message[at..at + 2].fill(0);
        let sum = if self.makes_gso_packets() {
            pseudo.fold()
        } else {
            match pseudo.bytes(message).finish() {
                0 if self.kind == L4::Udp => 0xffff,
                sum => sum,
            }
        };
        message[at..at + 2].copy_from_slice(&sum.to_be_bytes());
    }
}

fn write_udp(udp: &mut [u8]) {
    let bytes = length16(udp.len());
    udp[4..6].copy_from_slice(&bytes.to_be_bytes());
}

/// The headers of a GSO packet.
struct Headers {
    tunnel: Tunnel,
    /// Where the IP header begins that the segmentation is about, the innermost.
    l3: usize,
    l4: usize,
    /// Where the payload begins.
    end: usize,
    is_v6: bool,
}

impl Headers {
    /// Reads them; `None` when they are not all there, or not what the offload says.
    #[inline]
    fn read(data: &[u8], l3: usize, offload: &Offload) -> Option<Headers> {
        let packet = data.get(l3..)?;
        let (number, bytes, is_v6) = match packet.first()? >> 4 {
            4 => {
                let ip = ipv4::Header::parse(packet)?;
                if ip.header_bytes() < ipv4::HEADER_BYTES || ip.is_fragment() {
                    return None;
                }
                (ip.protocol(), ip.header_bytes(), false)
            }
            6 => {
                let upper = ipv6::upper_layer(packet)?;
                if upper.fragment.is_some() {
                    return None;
                }
                (upper.protocol, upper.offset, true)
            }
            _ => return None,
        };
        let l4 = l3 + bytes;
        match offload.checksum {
            Some(pending) if usize::from(pending.start) != l4 => {
                let l4 = usize::from(pending.start);
                let (tunnel, network) = Tunnel::walk(data, l3, l4)?;
                let end = l4_end(data, l4, offload.gso, network.protocol, network.is_v6)?;
                Some(Headers { tunnel, l3: network.at, l4, end, is_v6: network.is_v6 })
            }
            Some(_) | None => {
                let end = l4_end(data, l4, offload.gso, number, is_v6)?;
                Some(Headers { tunnel: Tunnel::default(), l3, l4, end, is_v6 })
            }
        }
    }
}

/// Where the payload behind an L4 header begins, if that is of the kind that `gso` says.
fn l4_end(data: &[u8], l4: usize, gso: Gso, number: u8, is_v6: bool) -> Option<usize> {
    let bytes = match gso {
        Gso::Tcp4 { .. } if number == protocol::TCP && !is_v6 => tcp_header_bytes(data.get(l4..)?)?,
        Gso::Tcp6 { .. } if number == protocol::TCP && is_v6 => tcp_header_bytes(data.get(l4..)?)?,
        Gso::Udp if number == protocol::UDP => 8,
        Gso::None | Gso::Tcp4 { .. } | Gso::Tcp6 { .. } | Gso::Udp => return None,
    };
    let end = l4 + bytes;
    (end <= data.len()).then_some(end)
}

fn tcp_header_bytes(tcp: &[u8]) -> Option<usize> {
    let bytes = usize::from(tcp.get(12)? >> 4) * 4;
    (bytes >= 20).then_some(bytes)
}

/// Bytes of all headers of a GSO packet, from L2 (the first `l3` bytes) to the innermost L4; `None` when they
/// are not all there, or not of the kind that its offload says. The virtio-net header's own figure is only a
/// hint, so this reads the packet.
pub fn header_bytes(data: &[u8], l3: usize, offload: &Offload) -> Option<usize> {
    Headers::read(data, l3, offload).map(|headers| headers.end)
}

/// Whether a GSO packet is in a tunnel, of which no virtio-net header tells: whoever sends it has to cut it
/// first.
#[inline]
pub fn is_tunnelled(data: &[u8], l3: usize, offload: &Offload) -> bool {
    let Some(pending) = offload.checksum.filter(|_| offload.gso != Gso::None) else { return false };
    let packet = data.get(l3..).unwrap_or_default();
    let bytes = match packet.first().map(|first| first >> 4) {
        Some(4) => ipv4::Header::parse(packet).map(|header| header.header_bytes()),
        Some(6) => ipv6::upper_layer(packet).map(|upper| upper.offset),
        Some(_) | None => None,
    };
    bytes.is_none_or(|bytes| usize::from(pending.start) != l3 + bytes)
}

/// Whether a packet says its length in the jumbo payload option of IPv6 (RFC 2675), as Linux has it with GSO
/// packets of more than 64 KiB. Linux does not take such a packet back whole: on its way out by a packet
/// socket `ipv6_gso_segment` takes the option off and leaves the length zero, which no receiver understands.
#[inline]
pub fn is_jumbogram(data: &[u8], l3: usize) -> bool {
    data.len() > l3 + MAX_PACKET_BYTES
        && data[l3] >> 4 == 6
        && ipv6::jumbo_payload_bytes(&data[l3..]).is_some()
}

/// The largest IP packet that a frame becomes on the wire, in bytes: a segment's for a GSO packet, with all
/// that is around it in a tunnel, else its own.
///
/// This is what is compared with an MTU (Linux `skb_gso_validate_network_len`). `l3` as for
/// [`Segments::new`]. `None` when the headers are not what the offload says, so that nobody can cut the
/// packet.
#[inline]
pub fn packet_bytes(data: &[u8], l3: usize, offload: &Offload) -> Option<usize> {
    let whole = data.len().checked_sub(l3)?;
    if offload.gso == Gso::None {
        return Some(whole);
    }
    let headers = Headers::read(data, l3, offload)?;
    let segment = headers.end - l3 + usize::from(offload.gso_size);
    if whole <= segment {
        return Some(whole);
    }
    let is_jumbo = headers.is_v6 && ipv6::jumbo_payload_bytes(&data[headers.l3..]).is_some();
    Some(if is_jumbo { segment - ipv6::JUMBO_HEADER_BYTES } else { segment })
}

/// Where the IP header begins in a frame of a link port.
pub const LINK_L3: usize = eth::HEADER_BYTES;

#[cfg(test)]
#[path = "segment_tests.rs"]
mod tests;
