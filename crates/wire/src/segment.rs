//! Software segmentation of super-frames into a caller's buffers, and completion of pending checksums.
//!
//! For ports without the offload: what comes out equals what the kernel sends for the same super-frame (net/ipv4
//! `tcp_gso_segment`, `__udp_gso_segment`).

use crate::checksum::Sum;
use crate::eth;
use crate::frame::Frame;
use crate::ipv4::{self, protocol};
use crate::ipv6;
use crate::offload::{Gso, Offload};

/// Why a super-frame cannot be segmented.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SegmentError {
    /// The frame asks for no segmentation, or for a segment size of zero.
    NotSuper,
    /// Headers are missing, or not of the kind that the offload says.
    Headers,
}

/// Sums what is pending and writes the L4 checksum; a frame with none pending is left alone.
///
/// Returns false, with the frame unchanged, when the offload points beyond the frame. Not for super-frames, whose
/// segments each get a checksum of their own from [`Segments`].
#[must_use]
pub fn complete_checksum(frame: &mut Frame<'_>) -> bool {
    let Some(pending) = frame.offload.checksum else { return true };
    let start = usize::from(pending.start);
    let at = start + usize::from(pending.offset);
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

/// The L4 part of a super-frame's headers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum L4 {
    Tcp,
    Udp,
}

/// The segments of one super-frame, to be written one by one.
#[derive(Clone, Debug)]
pub struct Segments<'a> {
    data: &'a [u8],
    l3: usize,
    l4: usize,
    headers: usize,
    kind: L4,
    is_v6: bool,
    segment_bytes: usize,
    next: usize,
}

impl<'a> Segments<'a> {
    /// Looks at the headers of a super-frame once. `l3` is where its IP header begins: 14 on a link port, 0 on the host
    /// port.
    ///
    /// # Errors
    /// [`SegmentError`] when it is no super-frame, or its headers are not what its offload says.
    pub fn new(data: &'a [u8], l3: usize, offload: Offload) -> Result<Self, SegmentError> {
        let segment_bytes = usize::from(offload.segment_bytes);
        let kind = match offload.gso {
            Gso::None => return Err(SegmentError::NotSuper),
            Gso::Tcp4 { .. } | Gso::Tcp6 { .. } => L4::Tcp,
            Gso::Udp => L4::Udp,
        };
        if segment_bytes == 0 {
            return Err(SegmentError::NotSuper);
        }
        let headers = header_bytes(data, l3, offload.gso).ok_or(SegmentError::Headers)?;
        let is_v6 = data[l3] >> 4 == 6;
        let l4 = if is_v6 {
            l3 + ipv6::upper_layer(&data[l3..]).ok_or(SegmentError::Headers)?.offset
        } else {
            l3 + usize::from(data[l3] & 0x0f) * 4
        };
        Ok(Segments { data, l3, l4, headers, kind, is_v6, segment_bytes, next: 0 })
    }

    /// How many segments there are; a super-frame without payload is one.
    pub fn count(&self) -> usize {
        (self.data.len() - self.headers).div_ceil(self.segment_bytes).max(1)
    }

    /// Length in bytes of the next segment, headers included; `None` when all are written.
    pub fn next_len(&self) -> Option<usize> {
        (self.next < self.count()).then(|| self.headers + self.payload().len())
    }

    fn payload(&self) -> &'a [u8] {
        let begin = (self.headers + self.next * self.segment_bytes).min(self.data.len());
        let end = (begin + self.segment_bytes).min(self.data.len());
        &self.data[begin..end]
    }

    /// Writes the next segment, checksums complete, into a buffer of [`Segments::next_len`] bytes or more, and returns
    /// its length; `None` when all are written or the buffer is too small.
    pub fn write_next(&mut self, buffer: &mut [u8]) -> Option<usize> {
        let len = self.next_len()?;
        let segment = buffer.get_mut(..len)?;
        segment[..self.headers].copy_from_slice(&self.data[..self.headers]);
        segment[self.headers..].copy_from_slice(self.payload());
        self.write_ip(segment);
        match self.kind {
            L4::Tcp => self.write_tcp(segment),
            L4::Udp => self.write_udp(segment),
        }
        self.write_checksum(segment);
        self.next += 1;
        Some(len)
    }

    fn write_ip(&self, segment: &mut [u8]) {
        let packet = &mut segment[self.l3..];
        // A segment is shorter than the super-frame, whose length fits 16 bits wherever it is an IP packet's.
        if self.is_v6 {
            let bytes = saturated(packet.len() - ipv6::HEADER_BYTES);
            packet[4..6].copy_from_slice(&bytes.to_be_bytes());
        } else {
            let bytes = saturated(packet.len());
            packet[2..4].copy_from_slice(&bytes.to_be_bytes());
            let first = u16::from_be_bytes([packet[4], packet[5]]);
            let identification = first.wrapping_add(saturated(self.next));
            packet[4..6].copy_from_slice(&identification.to_be_bytes());
            ipv4::fill_checksum(&mut packet[..self.l4 - self.l3]);
        }
    }

    fn write_tcp(&self, segment: &mut [u8]) {
        const FIN_PSH: u8 = 0x09;
        const CWR: u8 = 0x80;
        let tcp = &mut segment[self.l4..];
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

    fn write_udp(&self, segment: &mut [u8]) {
        let udp = &mut segment[self.l4..];
        let bytes = saturated(udp.len());
        udp[4..6].copy_from_slice(&bytes.to_be_bytes());
    }

    fn write_checksum(&self, segment: &mut [u8]) {
        let (at, number) = match self.kind {
            L4::Tcp => (16, protocol::TCP),
            L4::Udp => (6, protocol::UDP),
        };
        let bytes = segment.len() - self.l4;
        let pseudo = if self.is_v6 {
            match ipv6::Header::parse(&segment[self.l3..]) {
                Some(ip) => Sum::new().pseudo_ipv6(
                    ip.source().octets(),
                    ip.destination().octets(),
                    number,
                    u32::from(saturated(bytes)),
                ),
                None => return,
            }
        } else {
            match ipv4::Header::parse(&segment[self.l3..]) {
                Some(ip) => Sum::new().pseudo_ipv4(
                    ip.source().octets(),
                    ip.destination().octets(),
                    number,
                    saturated(bytes),
                ),
                None => return,
            }
        };
        let message = &mut segment[self.l4..];
        message[at..at + 2].fill(0);
        let sum = match pseudo.bytes(message).finish() {
            0 if self.kind == L4::Udp => 0xffff,
            sum => sum,
        };
        message[at..at + 2].copy_from_slice(&sum.to_be_bytes());
    }
}

fn saturated(value: usize) -> u16 {
    u16::try_from(value).unwrap_or(u16::MAX)
}

/// Bytes of all headers of a super-frame, L2 (the first `l3` bytes) to L4; `None` when they are not all there, or not
/// of the kind that `gso` says. The virtio-net header's own figure is only a hint, so this reads the packet.
pub fn header_bytes(data: &[u8], l3: usize, gso: Gso) -> Option<usize> {
    let packet = data.get(l3..)?;
    let (number, l4) = match packet.first()? >> 4 {
        4 => {
            let ip = ipv4::Header::parse(packet)?;
            if ip.header_bytes() < ipv4::HEADER_BYTES || ip.is_fragment() {
                return None;
            }
            (ip.protocol(), ip.header_bytes())
        }
        6 => {
            let upper = ipv6::upper_layer(packet)?;
            if upper.fragment.is_some() {
                return None;
            }
            (upper.protocol, upper.offset)
        }
        _ => return None,
    };
    let is_v6 = packet[0] >> 4 == 6;
    let bytes = match gso {
        Gso::Tcp4 { .. } if number == protocol::TCP && !is_v6 => tcp_header_bytes(packet.get(l4..)?)?,
        Gso::Tcp6 { .. } if number == protocol::TCP && is_v6 => tcp_header_bytes(packet.get(l4..)?)?,
        Gso::Udp if number == protocol::UDP => 8,
        _ => return None,
    };
    let all = l3 + l4 + bytes;
    (all <= data.len()).then_some(all)
}

fn tcp_header_bytes(tcp: &[u8]) -> Option<usize> {
    let bytes = usize::from(tcp.get(12)? >> 4) * 4;
    (bytes >= 20).then_some(bytes)
}

/// The largest IP packet that a frame becomes on the wire, in bytes: a segment's for a super-frame, else its own.
///
/// This is what is compared with an MTU (Linux `skb_gso_validate_network_len`). `l3` as for [`Segments::new`].
#[inline]
pub fn packet_bytes(data: &[u8], l3: usize, offload: &Offload) -> usize {
    let whole = data.len() - l3;
    if offload.gso == Gso::None {
        return whole;
    }
    match header_bytes(data, l3, offload.gso) {
        Some(headers) => whole.min(headers - l3 + usize::from(offload.segment_bytes)),
        None => whole,
    }
}

/// Where the IP header begins in a frame of a link port.
pub const LINK_L3: usize = eth::HEADER_BYTES;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frame::PortId;
    use crate::offload::PendingChecksum;
    use etherparse::{PacketBuilder, SlicedPacket, TransportSlice};

    fn offload(gso: Gso, segment_bytes: u16) -> Offload {
        Offload { gso, segment_bytes, ..Offload::default() }
    }

    fn payload(bytes: usize) -> Vec<u8> {
        (0..bytes).map(|i| (i * 7 + i / 256) as u8).collect()
    }

    fn frame(is_v6: bool, is_tcp: bool, bytes: usize) -> Vec<u8> {
        let builder = PacketBuilder::ethernet2([2, 0, 0, 0, 0, 1], [2, 0, 0, 0, 0, 2]);
        let builder = if is_v6 {
            builder.ipv6([0xfd; 16], [0xfe; 16], 64)
        } else {
            builder.ipv4([10, 10, 251, 1], [10, 10, 252, 1], 64)
        };
        let mut out = Vec::new();
        if is_tcp {
            let options = [1, 1, 8, 10, 0, 0, 0, 1, 0, 0, 0, 2];
            let builder = builder.tcp(1000, 80, 0xffff_ff00, 512).ack(7).psh().fin().cwr();
            builder.options_raw(&options).unwrap().write(&mut out, &payload(bytes)).unwrap();
        } else {
            builder.udp(1000, 53).write(&mut out, &payload(bytes)).unwrap();
        }
        out
    }

    /// Cuts `data` up and checks every segment with another parser; returns the segments' payloads, joined.
    fn segment(data: &[u8], gso: Gso, segment_bytes: u16) -> Vec<u8> {
        let mut segments = Segments::new(data, LINK_L3, offload(gso, segment_bytes)).unwrap();
        let mut joined = Vec::new();
        let count = segments.count();
        for index in 0..count {
            let mut buffer = vec![0xaa; segments.next_len().unwrap()];
            let len = segments.write_next(&mut buffer).unwrap();
            assert_eq!(len, buffer.len());
            let parsed = SlicedPacket::from_ethernet(&buffer).unwrap();
            let last = index + 1 == count;
            let net = parsed.net.unwrap();
            if let etherparse::NetSlice::Ipv4(ip) = &net {
                let header = ip.header().to_header();
                assert_eq!(header.header_checksum, header.calc_header_checksum());
                assert_eq!(usize::from(header.identification), index);
                assert_eq!(usize::from(header.total_len), len - 14);
            }
            match parsed.transport.unwrap() {
                TransportSlice::Tcp(tcp) => {
                    let expected = match &net {
                        etherparse::NetSlice::Ipv4(ip) => tcp
                            .calc_checksum_ipv4(ip.header().source_addr().octets(), ip.header().destination())
                            .unwrap(),
                        etherparse::NetSlice::Ipv6(ip) => {
                            tcp.calc_checksum_ipv6(ip.header().source(), ip.header().destination()).unwrap()
                        }
                        etherparse::NetSlice::Arp(_) => unreachable!(),
                    };
                    assert_eq!(tcp.checksum(), expected);
                    assert_eq!((tcp.fin(), tcp.psh()), (last, last));
                    assert_eq!(tcp.cwr(), index == 0);
                    assert_eq!(tcp.sequence_number(), 0xffff_ff00u32.wrapping_add(joined.len() as u32));
                    joined.extend_from_slice(tcp.payload());
                }
                TransportSlice::Udp(udp) => {
                    let header = udp.to_header();
                    let expected = match &net {
                        etherparse::NetSlice::Ipv4(ip) => {
                            header.calc_checksum_ipv4(&ip.header().to_header(), udp.payload()).unwrap()
                        }
                        etherparse::NetSlice::Ipv6(ip) => {
                            header.calc_checksum_ipv6(&ip.header().to_header(), udp.payload()).unwrap()
                        }
                        etherparse::NetSlice::Arp(_) => unreachable!(),
                    };
                    assert_eq!(header.checksum, expected);
                    joined.extend_from_slice(udp.payload());
                }
                _ => unreachable!(),
            }
        }
        assert_eq!(segments.next_len(), None);
        joined
    }

    #[test]
    fn segments_carry_the_whole_payload_with_right_checksums() {
        for bytes in [1, 999, 1000, 1001, 5000, 60_000] {
            for is_v6 in [false, true] {
                let tcp = if is_v6 { Gso::Tcp6 { ecn: true } } else { Gso::Tcp4 { ecn: false } };
                assert_eq!(segment(&frame(is_v6, true, bytes), tcp, 1000), payload(bytes));
                assert_eq!(segment(&frame(is_v6, false, bytes), Gso::Udp, 1000), payload(bytes));
            }
        }
    }

    #[test]
    fn what_the_headers_do_not_bear_out_is_refused() {
        let tcp = frame(false, true, 100);
        let new = |data: &[u8], gso, mss| Segments::new(data, LINK_L3, offload(gso, mss)).map(|_| ());
        assert_eq!(new(&tcp, Gso::None, 10), Err(SegmentError::NotSuper));
        assert_eq!(new(&tcp, Gso::Tcp4 { ecn: false }, 0), Err(SegmentError::NotSuper));
        assert_eq!(new(&tcp, Gso::Udp, 10), Err(SegmentError::Headers));
        assert_eq!(new(&tcp, Gso::Tcp6 { ecn: false }, 10), Err(SegmentError::Headers));
        assert_eq!(new(&tcp[..50], Gso::Tcp4 { ecn: false }, 10), Err(SegmentError::Headers));
        let mut small = [0; 20];
        let mut segments = Segments::new(&tcp, LINK_L3, offload(Gso::Tcp4 { ecn: false }, 10)).unwrap();
        assert_eq!(segments.write_next(&mut small), None);
    }

    #[test]
    fn mtu_is_compared_with_a_segment() {
        let tcp = frame(false, true, 60_000);
        assert_eq!(packet_bytes(&tcp, LINK_L3, &offload(Gso::Tcp4 { ecn: false }, 1448)), 20 + 32 + 1448);
        assert_eq!(packet_bytes(&tcp, LINK_L3, &Offload::default()), 20 + 32 + 60_000);
        let short = frame(true, false, 10);
        assert_eq!(packet_bytes(&short, LINK_L3, &offload(Gso::Udp, 1448)), 40 + 8 + 10);
    }

    #[test]
    fn pending_checksum_is_completed() {
        for is_v6 in [false, true] {
            let complete = frame(is_v6, true, 333);
            let mut pending = complete.clone();
            let l4: u16 = if is_v6 { 54 } else { 34 };
            let message = complete.len() - usize::from(l4);
            let pseudo = if is_v6 {
                Sum::new().pseudo_ipv6([0xfd; 16], [0xfe; 16], 6, message as u32)
            } else {
                Sum::new().pseudo_ipv4([10, 10, 251, 1], [10, 10, 252, 1], 6, message as u16)
            };
            let at = usize::from(l4) + 16;
            pending[at..at + 2].copy_from_slice(&pseudo.fold().to_be_bytes());
            let len = pending.len();
            let offload =
                Offload { checksum: Some(PendingChecksum { start: l4, offset: 16 }), ..Offload::default() };
            let mut held = Frame::new(&mut pending, 0, len, PortId(0), offload).unwrap();
            assert!(complete_checksum(&mut held));
            assert_eq!(held.data(), complete);
            assert_eq!(held.offload, Offload::default());
            held.offload.checksum = Some(PendingChecksum { start: 60_000, offset: 16 });
            assert!(!complete_checksum(&mut held));
        }
    }
}
