//! The memory of a TPACKET_V2 receive ring: which slots are ours, and lending them.
//!
//! The kernel writes a slot only while its status word is `TP_STATUS_KERNEL`, and hands it over by storing
//! another value after everything else (tpacket_rcv, a write barrier before `__packet_set_status`). From
//! then on the slot is ours until we store `TP_STATUS_KERNEL` again.

use std::io;
use std::os::fd::BorrowedFd;
use std::sync::atomic::{AtomicU32, Ordering};

use crate::sys::mapping::Mapping;

/// Slots of equal size in memory that is shared with the kernel.
#[derive(Debug)]
pub(crate) struct SlotRing {
    memory: Mapping,
    slot_bytes: usize,
    slots: usize,
    /// The slot that the kernel fills next, or has filled.
    next: usize,
    /// Slots before `next` that are lent and not yet given back.
    lent: usize,
}

impl SlotRing {
    /// Maps the ring that `PACKET_RX_RING` made on `fd`.
    pub(crate) fn map(fd: BorrowedFd<'_>, slot_bytes: usize, slots: usize) -> io::Result<SlotRing> {
        let bytes =
            slot_bytes.checked_mul(slots).ok_or_else(|| io::Error::from_raw_os_error(libc::EINVAL))?;
        Ok(SlotRing { memory: Mapping::shared(fd, 0, bytes)?, slot_bytes, slots, next: 0, lent: 0 })
    }

    /// Gives the slots of the last loan back to the kernel and begins another.
    pub(crate) fn lend(&mut self) -> Loan<'_> {
        while self.lent > 0 {
            let index = (self.next + self.slots - self.lent) % self.slots;
            self.status(index).store(libc::TP_STATUS_KERNEL, Ordering::Release);
            self.lent -= 1;
        }
        Loan { ring: self }
    }

    fn status(&self, index: usize) -> &AtomicU32 {
        debug_assert!(index < self.slots);
        // SAFETY: the slot lies inside the mapping and begins with an aligned 32-bit status word (slot
        // sizes are multiples of TPACKET_ALIGNMENT), which is only ever accessed atomically on our side:
        // a lent slice begins behind it.
        unsafe { AtomicU32::from_ptr(self.memory.base().as_ptr().add(index * self.slot_bytes).cast()) }
    }
}

/// The slots lent since the last call of [`SlotRing::lend`]; they live as long as the exclusive borrow does.
#[derive(Debug)]
pub(crate) struct Loan<'r> {
    ring: &'r mut SlotRing,
}

/// One slot that the kernel has filled.
#[derive(Debug)]
pub(crate) struct Slot<'r> {
    /// The status word as the kernel left it.
    pub(crate) status: u32,
    /// The slot's bytes behind the status word ([`STATUS_BYTES`] into the slot).
    pub(crate) bytes: &'r mut [u8],
}

/// Bytes of the status word at the beginning of each slot, which are not lent.
pub(crate) const STATUS_BYTES: usize = 4;

impl<'r> Loan<'r> {
    /// The next filled slot, oldest first; `None` when the kernel has filled no other.
    pub(crate) fn next(&mut self) -> Option<Slot<'r>> {
        let ring = &mut *self.ring;
        if ring.lent == ring.slots {
            return None;
        }
        let index = ring.next;
        // Acquire pairs with the kernel's barrier: what it wrote into the slot is visible after this.
        let status = ring.status(index).load(Ordering::Acquire);
        if status & libc::TP_STATUS_USER == 0 {
            return None;
        }
        ring.next = (index + 1) % ring.slots;
        ring.lent += 1;
        // SAFETY: the slot is ours until `lend` stores TP_STATUS_KERNEL, which takes the exclusive borrow
        // that this loan holds for 'r; each slot is handed out once a loan (`lent` stays at or below
        // `slots`); the status word is left out, so atomic and plain accesses never meet.
        let bytes = unsafe {
            std::slice::from_raw_parts_mut(
                ring.memory.base().as_ptr().add(index * ring.slot_bytes + STATUS_BYTES),
                ring.slot_bytes - STATUS_BYTES,
            )
        };
        Some(Slot { status, bytes })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn private(slot_bytes: usize, slots: usize) -> SlotRing {
        let memory = Mapping::anonymous(slot_bytes * slots).expect("a page");
        SlotRing { memory, slot_bytes, slots, next: 0, lent: 0 }
    }

    fn fill(ring: &SlotRing, index: usize) {
        ring.status(index).store(libc::TP_STATUS_USER, Ordering::Release);
    }

    #[test]
    fn slots_are_lent_in_order_and_only_when_filled() {
        let mut ring = private(64, 4);
        assert!(ring.lend().next().is_none());
        fill(&ring, 0);
        fill(&ring, 1);
        fill(&ring, 3);
        let mut loan = ring.lend();
        let first = loan.next().expect("slot 0");
        let second = loan.next().expect("slot 1");
        first.bytes[0] = 7;
        second.bytes[0] = 8;
        assert_eq!((first.bytes.len(), first.bytes[0], second.bytes[0]), (60, 7, 8));
        assert!(loan.next().is_none(), "slot 2 is the kernel's, and slot 3 must wait for it");
    }

    #[test]
    fn the_next_loan_gives_the_last_one_back() {
        let mut ring = private(64, 4);
        for round in 0..10 {
            let index = round % 4;
            fill(&ring, index);
            assert!(ring.lend().next().is_some());
            assert_eq!(ring.status(index).load(Ordering::Acquire), libc::TP_STATUS_USER, "still lent");
            assert!(ring.lend().next().is_none());
            assert_eq!(ring.status(index).load(Ordering::Acquire), libc::TP_STATUS_KERNEL);
        }
    }

    #[test]
    fn a_full_ring_is_lent_once_and_not_twice() {
        let mut ring = private(64, 4);
        (0..4).for_each(|index| fill(&ring, index));
        let mut loan = ring.lend();
        assert_eq!(std::iter::from_fn(|| loan.next()).count(), 4);
        assert!(loan.next().is_none(), "slot 0 is filled but already lent");
        let mut loan = ring.lend();
        assert!(loan.next().is_none(), "given back");
    }
}
