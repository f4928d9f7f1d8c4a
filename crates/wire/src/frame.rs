//! One packet in a borrowed buffer, with headroom before it and tailroom after it.
//!
//! ```text
//! | headroom | L2 header ... payload | tailroom |
//! 0          head                    head+len   buffer.len()
//! ```

use crate::offload::Offload;

/// A slot of the router's port table: numbered from 0, and empty while no port is in it.
///
/// [`PortId::HOST`] is no slot. It is the router's own operating system: a TUN device, raw IP packets without
/// a link-layer header.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PortId(pub u16);

impl PortId {
    /// The host port: packets from and to programs in the router's own namespace.
    pub const HOST: PortId = PortId(u16::MAX);

    /// The position of this slot in a table of all; meaningless for [`PortId::HOST`].
    #[inline]
    pub fn index(self) -> usize {
        usize::from(self.0)
    }
}

/// A frame in a borrowed buffer (a ring slot, a bounce buffer, a test's array).
///
/// Lengths are bytes. On a link port the data begin with the Ethernet header (no FCS); on
/// [`PortId::HOST`] with the IP header.
#[derive(Debug)]
pub struct Frame<'r> {
    buffer: &'r mut [u8],
    head: usize,
    len: usize,
    /// The port by which the frame came in.
    pub ingress: PortId,
    /// What is still to be done to the frame: a pending checksum, a segment size.
    pub offload: Offload,
}

impl<'r> Frame<'r> {
    /// A frame of `len` bytes that begins `head` bytes into `buffer`.
    ///
    /// Returns `None` if the buffer is too small for that.
    pub fn new(
        buffer: &'r mut [u8],
        head: usize,
        len: usize,
        ingress: PortId,
        offload: Offload,
    ) -> Option<Self> {
        if head.checked_add(len)? > buffer.len() {
            return None;
        }
        Some(Frame { buffer, head, len, ingress, offload })
    }

    /// The bytes of the frame.
    #[inline]
    pub fn data(&self) -> &[u8] {
        &self.buffer[self.head..self.head + self.len]
    }

    /// The bytes of the frame, to be changed in place.
    #[inline]
    pub fn data_mut(&mut self) -> &mut [u8] {
        &mut self.buffer[self.head..self.head + self.len]
    }

    /// Length of the frame in bytes.
    #[inline]
    #[allow(clippy::len_without_is_empty)] // a frame is never asked whether it is empty
    pub fn len(&self) -> usize {
        self.len
    }

    /// Grows the frame at its front by `n` bytes of headroom, whose content is undefined.
    ///
    /// Returns false, and changes nothing, when the headroom is smaller than that.
    #[inline]
    #[must_use]
    pub fn push_front(&mut self, n: usize) -> bool {
        if n > self.head {
            return false;
        }
        self.head -= n;
        self.len += n;
        true
    }

    /// Takes up to `n` bytes off the front (a link-layer header, say).
    #[inline]
    pub fn pull_front(&mut self, n: usize) {
        let n = n.min(self.len);
        self.head += n;
        self.len -= n;
    }

    /// Cuts the frame to `len` bytes, dropping link-layer padding; longer than it is: no change.
    #[inline]
    pub fn truncate(&mut self, len: usize) {
        self.len = self.len.min(len);
    }

    /// The whole buffer with the data's position, for a transmit half that writes in front of the data.
    #[inline]
    pub fn buffer_mut(&mut self) -> (&mut [u8], usize, usize) {
        (self.buffer, self.head, self.len)
    }
}
