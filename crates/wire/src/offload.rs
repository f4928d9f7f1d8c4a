//! What a frame still needs done to it, as the kernel says it in a virtio-net header.
//!
//! A veth or TAP hands over TCP frames of up to 64 KiB whose L4 checksum is unfinished. Forwarded as
//! if they were complete they would be dropped by the receiver, so this travels with every frame.
//! Source: include/uapi/linux/virtio_net.h, struct virtio_net_hdr; virtio 1.2 section 5.1.6.

/// How a frame is to be cut into segments.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Gso {
    /// Not a GSO packet.
    #[default]
    None,
    /// TCP over IPv4; `ecn`: the CWR bit belongs to the first segment only.
    Tcp4 {
        /// CWR is cleared on all segments but the first (RFC 3168).
        ecn: bool,
    },
    /// TCP over IPv6.
    Tcp6 {
        /// CWR is cleared on all segments but the first (RFC 3168).
        ecn: bool,
    },
    /// UDP datagrams of equal size in one buffer (USO, `VIRTIO_NET_HDR_GSO_UDP_L4`).
    Udp,
}

/// Offload metadata of one frame; the default is a plain frame with nothing pending.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Offload {
    /// The L4 checksum is pending: sum from `start` to the end of the frame, fold, complement and store
    /// at `start + offset`. Both in bytes; `start` counts from the first byte of the frame's data.
    /// The field already holds the pseudo-header's sum.
    pub checksum: Option<PendingChecksum>,
    /// The kind of GSO packet.
    pub gso: Gso,
    /// Payload bytes a segment (the MSS) when `gso` is not `None`, else 0.
    pub gso_size: u16,
    /// Bytes of L2+L3+L4 headers as the kernel said them, 0 when unknown.
    pub header_bytes: u16,
}

/// Where a pending checksum begins and where it goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PendingChecksum {
    /// First summed byte, from the frame's first byte.
    pub start: u16,
    /// Where the result goes, from `start`.
    pub offset: u16,
}
