//! Which frames fit which chunks of a memory area.

use crate::xdp::error::OpenError;

/// Bytes that the kernel leaves free in front of a frame (`XDP_PACKET_HEADROOM`).
pub(super) const HEADROOM_BYTES: usize = 256;
/// Ethernet header and a VLAN tag.
pub(super) const LINK_BYTES: usize = 18;
/// Chunk sizes that the kernel takes, smaller first.
const CHUNK_BYTES: [usize; 2] = [2048, 4096];
/// The largest MTU of an xdp port in bytes: its frames fit the largest chunk.
pub const MAX_MTU: u32 = 4096 - 256 - 18;

/// The smallest chunk, in bytes, that holds the frames of an MTU.
pub(super) fn chunk_bytes(mtu: u32) -> Result<usize, OpenError> {
    let frame = mtu as usize + LINK_BYTES;
    let fitting = CHUNK_BYTES.into_iter().find(|bytes| bytes - HEADROOM_BYTES >= frame);
    fitting.ok_or(OpenError::Mtu { mtu, max: MAX_MTU })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_of_an_mtu_fit_their_chunk() {
        assert_eq!(chunk_bytes(1500).ok(), Some(2048));
        assert_eq!(chunk_bytes(1774).ok(), Some(2048));
        assert_eq!(chunk_bytes(1775).ok(), Some(4096));
        assert_eq!(chunk_bytes(MAX_MTU).ok(), Some(4096));
        assert!(matches!(chunk_bytes(3823), Err(OpenError::Mtu { mtu: 3823, max: 3822 })));
    }
}
