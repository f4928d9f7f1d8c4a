//! The transmit half: frames leave from where they lie in the area, or from a copy, and the kernel says when
//! they have.

use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;

use nsrouter_wire::frame::Frame;

use crate::port::{Capabilities, Refusal, Sent, Transmit};
use crate::sys::socket::Interfaces;
use crate::sys::xdp;
use crate::sys::xdp::area::Chunk;
use crate::sys::xdp::memory::RingMemory;
use crate::sys::xdp::ring::{Consumer, Producer, length_of, length_word};
use crate::xdp::area::SharedArea;
use crate::xdp::chunk::{HEADROOM_BYTES, LINK_BYTES};

/// The smallest MTU of an Ethernet interface (`ETH_MIN_MTU`).
const SMALLEST_MTU: u32 = 68;
/// Calls to the kernel, at most, for one burst to be sent: before 6.17 each sends up to 32.
const KICKS: usize = 8;

/// The frame of the tx ring that the kernel took last; it publishes that only at times.
#[derive(Debug, Default)]
pub(super) struct Unsent {
    /// Frames that it took, ever.
    taken: u32,
}

impl Unsent {
    /// Notes a call's outcome: the ring's consumer index before and after it, and whether it ended by
    /// dropping a frame.
    ///
    /// The kernel stores the index only when the call has sent something (xsk_generic_xmit), counting what it
    /// dropped.
    fn note(&mut self, before: u32, after: u32, dropped: bool) {
        if before != after {
            self.taken = after;
        } else if dropped {
            self.taken = self.taken.wrapping_add(1);
        }
    }

    /// The number of the frame that was dropped, after a call that dropped one.
    fn dropped(&self) -> u32 {
        self.taken.wrapping_sub(1)
    }
}

/// The interface that a port sends by, which can be asked for its MTU.
#[derive(Debug)]
pub(super) struct Link {
    pub(super) ifindex: u32,
    pub(super) interfaces: Arc<Interfaces>,
}

impl Link {
    /// The MTU that it has now, in bytes; `None` where the interface is gone.
    fn mtu(&self) -> Option<u32> {
        self.interfaces.mtu(self.ifindex).ok()
    }
}

/// The transmit half of an xdp port.
#[derive(Debug)]
pub struct XdpTx {
    area: SharedArea,
    ring: Producer<RingMemory, 2>,
    completion: Consumer<RingMemory, 1>,
    /// The number of the first chunk for copies.
    first_copy: usize,
    /// Chunks for copies that are in flight, by their numbers from `first_copy`.
    away: Box<[Option<Chunk>]>,
    /// Chunks for copies that are free.
    copies: Vec<Chunk>,
    unsent: Unsent,
    /// Frames given to the kernel that have not come back by the completion ring.
    outstanding: u32,
    /// The most that `outstanding` may be.
    limit: u32,
    /// Bytes of the longest frame that its chunks hold.
    frame_bytes: usize,
    link: Link,
    fd: Arc<OwnedFd>,
}

impl XdpTx {
    /// The transmit half of a socket that is bound: at most `limit` frames are in flight, and frames that lie
    /// outside the area are copied into the chunks of `copies`.
    pub(super) fn new(
        area: SharedArea,
        (ring, completion): (Producer<RingMemory, 2>, Consumer<RingMemory, 1>),
        copies: Vec<Chunk>,
        limit: u32,
        link: Link,
        fd: Arc<OwnedFd>,
    ) -> XdpTx {
        XdpTx {
            frame_bytes: area.area().chunk_bytes() - HEADROOM_BYTES,
            area,
            ring,
            completion,
            first_copy: copies.first().map_or(0, Chunk::index),
            away: copies.iter().map(|_| None).collect(),
            copies,
            unsent: Unsent::default(),
            outstanding: 0,
            limit,
            link,
            fd,
        }
    }

    /// Takes back what was sent.
    fn reap(&mut self) {
        let mut reaped = false;
        while let Some([address]) = self.completion.pop() {
            reaped = true;
            self.outstanding = self.outstanding.saturating_sub(1);
            let index = self.area.area().index_of(address);
            let place = index.checked_sub(self.first_copy).and_then(|place| self.away.get_mut(place));
            match place {
                Some(copy) => self.copies.extend(copy.take()),
                None => self.area.unmark(index),
            }
        }
        if reaped {
            self.completion.release();
        }
    }

    /// Copies a frame into a chunk of this port's own, and returns where in the area it lies then.
    fn copy(&mut self, data: &[u8]) -> Option<usize> {
        let mut chunk = self.copies.pop()?;
        let offset = chunk.offset();
        let place = chunk.index() - self.first_copy;
        chunk.bytes_mut()[..data.len()].copy_from_slice(data);
        self.away[place] = Some(chunk);
        Some(offset)
    }

    /// Puts a frame into the tx ring.
    fn enqueue(&mut self, data: &[u8]) -> Result<(), Refusal> {
        if data.len() > self.frame_bytes {
            return Err(Refusal::TooBig);
        }
        // The completion ring must have room for whatever is in flight.
        if self.outstanding >= self.limit || !self.ring.has_room() {
            return Err(Refusal::Full);
        }
        let offset = self.area.mark(data).or_else(|| self.copy(data)).ok_or(Refusal::Full)?;
        let length = u32::try_from(data.len()).map_err(|_| Refusal::TooBig)?;
        // There is room, so it is in.
        self.outstanding += u32::from(self.ring.push([offset as u64, length_word(length)]));
        Ok(())
    }

    /// Tells the kernel to send the frames in the ring. Those that it does not take now go with the next
    /// burst, or when the worker goes to sleep.
    fn kick(&mut self, sent: &mut Sent) {
        let mut kicks = 0;
        while kicks < KICKS && self.ring.waiting() > 0 {
            let before = self.ring.consumed();
            let outcome = xdp::kick(self.fd.as_fd());
            let after = self.ring.consumed();
            let errno = outcome.err().map_or(0, |error| error.raw_os_error().unwrap_or(0));
            self.unsent.note(before, after, errno == libc::EBUSY);
            match errno {
                0 => return,
                // The next device did not take one frame: it is dropped, and comes back like those that were
                // sent.
                libc::EBUSY => {
                    let [_, word] = self.ring.entry(self.unsent.dropped());
                    let bytes = length_of(word) as usize;
                    sent.frames = sent.frames.saturating_sub(1);
                    sent.refuse(reason(bytes, || self.link.mtu()), bytes);
                }
                libc::EINTR => {}
                // So many frames at once and no more, or no more memory for now.
                libc::EAGAIN if before != after => kicks += 1,
                _ => return,
            }
        }
    }
}

/// Why the next device dropped a frame of this length: its queue was full, or the frame was made for a larger
/// MTU than the link has now. The kernel does not say which.
#[cold]
fn reason(bytes: usize, mtu: impl Fn() -> Option<u32>) -> Refusal {
    let fits = |mtu: u32| bytes <= mtu as usize + LINK_BYTES;
    // Without an answer there is no interface any more, and size is not the reason.
    if fits(SMALLEST_MTU) || mtu().is_none_or(fits) { Refusal::Full } else { Refusal::TooBig }
}

impl Transmit for XdpTx {
    fn max_mtu(&self) -> u32 {
        u32::try_from(self.frame_bytes - LINK_BYTES).unwrap_or(u32::MAX)
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities { checksum: false, tso: false, uso: false }
    }

    fn send(&mut self, frames: &mut [Frame<'_>]) -> Sent {
        let mut sent = Sent::default();
        self.reap();
        for frame in frames {
            match self.enqueue(frame.data()) {
                Ok(()) => sent.frames += 1,
                Err(refusal) => sent.refuse(refusal, frame.len()),
            }
        }
        self.ring.publish();
        self.kick(&mut sent);
        sent
    }

    fn flush(&mut self) -> Sent {
        let mut sent = Sent::default();
        self.kick(&mut sent);
        sent
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_that_was_not_taken_is_too_big_where_the_link_s_mtu_says_so() {
        assert_eq!(reason(64, || panic!("small enough for any link")), Refusal::Full);
        assert_eq!(reason(590, || Some(576)), Refusal::Full);
        assert_eq!(reason(1514, || Some(576)), Refusal::TooBig);
        assert_eq!(reason(1514, || Some(1500)), Refusal::Full);
        assert_eq!(reason(1514, || None), Refusal::Full);
    }

    #[test]
    fn the_dropped_frame_is_known_though_the_kernel_is_late_to_tell() {
        let mut unsent = Unsent::default();
        unsent.note(0, 5, true); // four sent, the fifth dropped
        assert_eq!(unsent.dropped(), 4);
        unsent.note(5, 5, true); // the first of this call dropped: not told
        assert_eq!(unsent.dropped(), 5);
        unsent.note(5, 5, true);
        assert_eq!(unsent.dropped(), 6);
        unsent.note(5, 10, false); // three more sent, and all told
        unsent.note(10, 10, true);
        assert_eq!(unsent.dropped(), 10);
    }
}
