//! Bounce buffers: where frames larger than a slot are copied, and how the receive queue is kept in step with
//! the ring.

use std::io;
use std::os::fd::BorrowedFd;

use crate::port::Refusal;
use crate::sys::messages::{Arrived, receive_each};
use crate::vnet::VNET_HEADER_BYTES;

/// Buffers for frames larger than a slot. Few, so that they stay in the second-level cache.
pub(super) const BOUNCE_BUFFERS: usize = 8;
/// Headroom of a bounce buffer, the virtio-net header included.
pub(super) const BOUNCE_HEADROOM_BYTES: usize = 192;
/// The largest GSO packet that a link can be set to (GSO_MAX_SIZE in include/linux/netdevice.h) with its
/// Ethernet and VLAN headers. Most are no larger than 64 KiB (GSO_LEGACY_MAX_SIZE), and the memory beyond
/// that is the kernel's until a frame is written there (BIG TCP).
pub(super) const BOUNCE_FRAME_BYTES: usize = 8 * 65_535 + 18;

/// The buffers of one socket.
#[derive(Debug)]
pub(super) struct BounceBuffers {
    buffers: Vec<Box<[u8]>>,
    /// Messages of slots that were given back which are still on the receive queue, before those of the next
    /// slots.
    owed: usize,
}

/// A buffer, and what was received into it.
pub(super) struct Copy<'r> {
    pub(super) buffer: &'r mut [u8],
    pub(super) message: Arrived,
}

impl BounceBuffers {
    pub(super) fn new() -> BounceBuffers {
        let buffer = || vec![0; BOUNCE_HEADROOM_BYTES + BOUNCE_FRAME_BYTES].into();
        BounceBuffers { buffers: (0..BOUNCE_BUFFERS).map(|_| buffer()).collect(), owed: 0 }
    }

    /// Takes the messages off the queue whose slots are gone, or the next slots would be given them.
    pub(super) fn discard_owed(&mut self, fd: BorrowedFd<'_>) -> io::Result<()> {
        while self.owed > 0 {
            let mut arrived = [Arrived::default(); BOUNCE_BUFFERS];
            let count = self.owed.min(BOUNCE_BUFFERS);
            let (done, outcome) = fetch(fd, &mut self.buffers, &mut arrived[..count]);
            self.owed -= done;
            outcome?;
        }
        Ok(())
    }

    /// Receives the messages of `copies` COPY slots, a buffer each, in the order of the slots. A message that
    /// cannot be received now is empty, so that its frame counts as truncated.
    pub(super) fn receive<'r>(
        &'r mut self,
        fd: BorrowedFd<'_>,
        copies: usize,
    ) -> impl Iterator<Item = Copy<'r>> + use<'r> {
        let mut arrived = [Arrived::default(); BOUNCE_BUFFERS];
        if copies > 0 {
            let (done, _) = fetch(fd, &mut self.buffers, &mut arrived[..copies]);
            self.owed = copies - done;
        }
        let filled = self.buffers.iter_mut().zip(arrived);
        filled.map(|(buffer, message)| Copy { buffer: &mut buffer[..], message })
    }
}

/// Takes the messages that belong to the COPY slots off the receive queue, one a slot. Returns how many were
/// received, and the error that kept the others on the queue; without one the queue is empty.
fn fetch(fd: BorrowedFd<'_>, buffers: &mut [Box<[u8]>], arrived: &mut [Arrived]) -> (usize, io::Result<()>) {
    let mut done = 0;
    while done < arrived.len() {
        let buffers =
            buffers[done..].iter_mut().map(|buffer| &mut buffer[BOUNCE_HEADROOM_BYTES - VNET_HEADER_BYTES..]);
        match receive_each(fd, buffers, &mut arrived[done..]) {
            Ok(got) if got > 0 => done += got,
            // An error that lay on the socket (ENETDOWN) was taken off by this call. The queue is filled
            // before the slot is, so the messages are still there.
            Err(error)
                if error.kind() == io::ErrorKind::Interrupted
                    || Refusal::from_error(&error) == Refusal::Down => {}
            // Nothing is left on the queue, so what comes next belongs to the next slot again.
            Ok(_) => return (arrived.len(), Ok(())),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return (arrived.len(), Ok(())),
            Err(error) => return (done, Err(error)),
        }
    }
    (done, Ok(()))
}
