//! A virtio-net header's bytes as an [`Offload`] and back (include/uapi/linux/virtio_net.h).

use nsrouter_wire::offload::{Gso, Offload, PendingChecksum};

/// Bytes of the header without the merged-buffers field, as AF_PACKET and TAP use it by default.
pub const VNET_HEADER_BYTES: usize = 10;

const F_NEEDS_CSUM: u8 = 1;
const GSO_NONE: u8 = 0;
const GSO_TCPV4: u8 = 1;
const GSO_TCPV6: u8 = 4;
const GSO_UDP_L4: u8 = 5;
const GSO_ECN: u8 = 0x80;

/// Parses a header; `None` for an unknown GSO type.
///
/// `VIRTIO_NET_HDR_F_DATA_VALID` is dropped: it says that the checksum was verified, which every receiver may
/// do again.
#[inline]
pub fn parse(header: &[u8; VNET_HEADER_BYTES]) -> Option<Offload> {
    let [flags, gso_type, hdr0, hdr1, size0, size1, start0, start1, offset0, offset1] = *header;
    let ecn = gso_type & GSO_ECN != 0;
    let gso = match gso_type & !GSO_ECN {
        GSO_NONE => Gso::None,
        GSO_TCPV4 => Gso::Tcp4 { ecn },
        GSO_TCPV6 => Gso::Tcp6 { ecn },
        GSO_UDP_L4 => Gso::Udp,
        _ => return None,
    };
    let checksum = (flags & F_NEEDS_CSUM != 0).then(|| PendingChecksum {
        start: u16::from_le_bytes([start0, start1]),
        offset: u16::from_le_bytes([offset0, offset1]),
    });
    Some(Offload {
        checksum,
        gso,
        gso_size: if gso == Gso::None { 0 } else { u16::from_le_bytes([size0, size1]) },
        header_bytes: u16::from_le_bytes([hdr0, hdr1]),
    })
}

/// Parses the header that stands in `buffer` right before its byte number `start`; `None` where it does not fit
/// there, or for an unknown GSO type.
#[inline]
pub(crate) fn parse_before(buffer: &[u8], start: usize) -> Option<Offload> {
    parse(buffer.get(..start)?.last_chunk()?)
}

/// The header of a frame with this offload metadata.
#[inline]
pub fn emit(offload: &Offload) -> [u8; VNET_HEADER_BYTES] {
    let mut header = [0; VNET_HEADER_BYTES];
    if let Some(pending) = offload.checksum {
        header[0] = F_NEEDS_CSUM;
        header[6..8].copy_from_slice(&pending.start.to_le_bytes());
        header[8..10].copy_from_slice(&pending.offset.to_le_bytes());
    }
    let ecn_bit = |ecn: bool| if ecn { GSO_ECN } else { 0 };
    header[1] = match offload.gso {
        Gso::None => return header,
        Gso::Tcp4 { ecn } => GSO_TCPV4 | ecn_bit(ecn),
        Gso::Tcp6 { ecn } => GSO_TCPV6 | ecn_bit(ecn),
        Gso::Udp => GSO_UDP_L4,
    };
    header[2..4].copy_from_slice(&offload.header_bytes.to_le_bytes());
    header[4..6].copy_from_slice(&offload.gso_size.to_le_bytes());
    header
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tcp_gso_packet_survives_the_way_in_and_out() {
        // flags NEEDS_CSUM, TCPV4|ECN, hdr_len 66, gso_size 1448, csum_start 34, csum_offset 16
        let bytes = [1, 0x81, 66, 0, 0xa8, 0x05, 34, 0, 16, 0];
        let offload = parse(&bytes).expect("a known type");
        assert_eq!(offload.gso, Gso::Tcp4 { ecn: true });
        assert_eq!(offload.gso_size, 1448);
        assert_eq!(offload.header_bytes, 66);
        assert_eq!(offload.checksum, Some(PendingChecksum { start: 34, offset: 16 }));
        assert_eq!(emit(&offload), bytes);
    }

    #[test]
    fn a_plain_frame_is_all_zero_and_a_verified_one_becomes_plain() {
        assert_eq!(parse(&[0; 10]), Some(Offload::default()));
        assert_eq!(parse(&[2, 0, 0, 0, 0, 0, 0, 0, 0, 0]), Some(Offload::default()));
        assert_eq!(emit(&Offload::default()), [0; 10]);
    }

    #[test]
    fn an_unknown_segmentation_type_is_refused() {
        assert_eq!(parse(&[0, 3, 0, 0, 0, 0, 0, 0, 0, 0]), None);
    }
}
