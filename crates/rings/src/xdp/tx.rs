//! The transmit half: frames leave from where they lie in the area, or from a copy, and the kernel says when they have.

use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use nsrouter_wire::frame::Frame;

use super::LINK_BYTES;
use crate::port::{Capabilities, Refusal, Sent, Transmit};
use crate::sys::socket::Interfaces;
use crate::sys::xdp::area::{Area, Chunk};
use crate::sys::xdp::ring::{Consumer, Producer};
use crate::sys::xdp::{self, Mapped, length_of, length_word};

/// The smallest MTU of an Ethernet interface (`ETH_MIN_MTU`).
const SMALLEST_MTU: u32 = 68;
/// Calls to the kernel, at most, for one burst to be sent: before 6.17 each sends up to 32.
const KICKS: usize = 8;

/// Which frame of the tx ring the kernel took last, though it tells so only at times.
#[derive(Debug, Default)]
pub(super) struct Unsent {
    /// Frames that it took, ever.
    taken: u32,
}

impl Unsent {
    /// Notes a call's outcome: the ring's consumer index before and after it, and whether it ended by dropping a frame.
    ///
    /// The kernel stores the index only when the call has sent something (xsk_generic_xmit), counting what it dropped.
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

/// The transmit half of an xdp port.
#[derive(Debug)]
pub struct XdpTx {
    pub(super) area: Arc<Area>,
    pub(super) ring: Producer<Mapped, 2>,
    pub(super) completion: Consumer<Mapped, 1>,
    pub(super) in_flight: Arc<[AtomicBool]>,
    /// The number of the first chunk for copies.
    pub(super) first_copy: usize,
    /// Chunks for copies that are in flight, by their numbers from `first_copy`.
    pub(super) away: Box<[Option<Chunk>]>,
    /// Chunks for copies that are free.
    pub(super) copies: Vec<Chunk>,
    pub(super) unsent: Unsent,
    /// Frames given to the kernel that have not come back by the completion ring.
    pub(super) outstanding: u32,
    pub(super) limit: u32,
    /// Bytes of the longest frame that its chunks hold.
    pub(super) frame_bytes: usize,
    pub(super) ifindex: u32,
    pub(super) interfaces: Arc<Interfaces>,
    pub(super) fd: Arc<OwnedFd>,
}

impl XdpTx {
    /// Takes back what was sent.
    fn reap(&mut self) {
        let mut reaped = false;
        while let Some([address]) = self.completion.pop() {
            reaped = true;
            self.outstanding = self.outstanding.saturating_sub(1);
            let index = self.area.index_of(address);
            let place = index.checked_sub(self.first_copy).and_then(|place| self.away.get_mut(place));
            match place {
                Some(copy) => self.copies.extend(copy.take()),
                None => {
                    if let Some(mark) = self.in_flight.get(index) {
                        mark.store(false, Ordering::Release);
                    }
                }
            }
        }
        if reaped {
            self.completion.release();
        }
    }

    /// Where a received frame lies in the area, if it does and nobody sends from there: taken as it is.
    fn take_in_place(&self, data: &[u8]) -> Option<usize> {
        let offset = self.area.offset_of(data)?;
        let mark = self.in_flight.get(offset / self.area.chunk_bytes())?;
        // Only the worker that sends sets marks, so nothing comes between the two.
        if mark.load(Ordering::Relaxed) {
            return None;
        }
        mark.store(true, Ordering::Relaxed);
        Some(offset)
    }

    /// Copies a frame into a chunk of our own; where it lies then.
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
        let offset = self.take_in_place(data).or_else(|| self.copy(data)).ok_or(Refusal::Full)?;
        let length = u32::try_from(data.len()).map_err(|_| Refusal::TooBig)?;
        // There is room, so it is in.
        self.outstanding += u32::from(self.ring.push([offset as u64, length_word(length)]));
        Ok(())
    }

    /// Has the kernel send what is in the ring. What it does not take now goes with the next burst, or when the worker
    /// goes to sleep.
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
                // The next device did not take one frame: it is dropped, and comes back like those that were sent.
                libc::EBUSY => {
                    let [_, word] = self.ring.entry(self.unsent.dropped());
                    let bytes = length_of(word) as usize;
                    sent.frames = sent.frames.saturating_sub(1);
                    sent.refuse(reason(bytes, || self.interfaces.mtu(self.ifindex).ok()), bytes);
                }
                libc::EINTR => {}
                // So many frames at once and no more, or no more memory for now.
                libc::EAGAIN if before != after => kicks += 1,
                _ => return,
            }
        }
    }
}

/// Why the next device did not take a frame of this length: it had no room, or the frame was made for a larger MTU than the
/// link has now. The kernel does not say which.
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
