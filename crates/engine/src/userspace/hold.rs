//! Frames that await a MAC address, copied into buffers that were made at the start.
//!
//! Bounded three ways: frames and bytes a neighbour (as Linux bounds its unresolved queue), and buffers in
//! all. Where a bound is met the oldest frame of that neighbour goes, as Linux does it (neigh_event_send:
//! the newest packet is the likeliest to be still wanted); where no buffer is left, the newest is refused, so
//! that one neighbour cannot push out another's.

use std::collections::{HashMap, VecDeque};

use nsrouter_router::NextHop;
use nsrouter_wire::frame::{Frame, PortId};
use nsrouter_wire::offload::Offload;

/// Frames held for one neighbour, at most. Linux: `unres_qlen`, 101.
const NEIGHBOUR_FRAMES: usize = 101;
/// Bytes held for one neighbour, at most. Linux: `unres_qlen_bytes`, 212,992.
const NEIGHBOUR_BYTES: usize = 212_992;
/// Buffers for frames up to [`SMALL_BYTES`], and for larger ones.
const SMALL_BUFFERS: usize = 512;
const LARGE_BUFFERS: usize = 32;
const SMALL_BYTES: usize = 2048;
const LARGE_BYTES: usize = 65_536 + 18;
/// Room for an ICMP error to be built in front, and for the virtio-net header.
const HEADROOM_BYTES: usize = 128;

#[derive(Debug)]
struct Slot {
    buffer: Box<[u8]>,
    len: usize,
    ingress: PortId,
    offload: Offload,
}

#[derive(Debug, Default)]
struct Queue {
    slots: VecDeque<usize>,
    bytes: usize,
}

/// The frames that one worker holds.
#[derive(Debug)]
pub(crate) struct HoldPool {
    slots: Vec<Slot>,
    free_small: Vec<usize>,
    free_large: Vec<usize>,
    queues: HashMap<NextHop, Queue>,
    /// Emptied queues, kept for their allocations.
    spare: Vec<Queue>,
}

/// What became of a frame that was to be held.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Held {
    /// It waits now; otherwise there is no buffer for it.
    pub(crate) kept: bool,
    /// Older frames of the same neighbour that were pushed out for it.
    pub(crate) evicted: u64,
}

impl HoldPool {
    pub(crate) fn new() -> HoldPool {
        let slot = |bytes: usize| Slot {
            buffer: vec![0; HEADROOM_BYTES + bytes].into(),
            len: 0,
            ingress: PortId(0),
            offload: Offload::default(),
        };
        let mut slots: Vec<Slot> = (0..SMALL_BUFFERS).map(|_| slot(SMALL_BYTES)).collect();
        slots.extend((0..LARGE_BUFFERS).map(|_| slot(LARGE_BYTES)));
        let queues = SMALL_BUFFERS + LARGE_BUFFERS;
        let queue = || Queue { slots: VecDeque::with_capacity(NEIGHBOUR_FRAMES + 1), bytes: 0 };
        HoldPool {
            free_small: (0..SMALL_BUFFERS).collect(),
            free_large: (SMALL_BUFFERS..slots.len()).collect(),
            slots,
            // Twice the most that can be in it, so that it never grows and never rehashes in place for long.
            queues: HashMap::with_capacity(2 * queues),
            spare: (0..queues).map(|_| queue()).collect(),
        }
    }

    /// Copies a frame into the pool until its next hop is resolved.
    pub(crate) fn hold(&mut self, frame: &Frame<'_>, next_hop: NextHop) -> Held {
        let len = frame.len();
        let mut evicted = 0;
        if let Some(queue) = self.queues.get_mut(&next_hop) {
            while queue.slots.len() >= NEIGHBOUR_FRAMES
                || (queue.bytes + len > NEIGHBOUR_BYTES && !queue.slots.is_empty())
            {
                let Some(oldest) = queue.slots.pop_front() else { break };
                queue.bytes -= self.slots[oldest].len;
                free(oldest, &mut self.free_small, &mut self.free_large);
                evicted += 1;
            }
        }
        let from = if len <= SMALL_BYTES { &mut self.free_small } else { &mut self.free_large };
        let slot = if len <= LARGE_BYTES { from.pop() } else { None };
        let Some(index) = slot else { return Held { kept: false, evicted } };
        let slot = &mut self.slots[index];
        slot.buffer[HEADROOM_BYTES..HEADROOM_BYTES + len].copy_from_slice(frame.data());
        slot.len = len;
        slot.ingress = frame.ingress;
        slot.offload = frame.offload;
        let spare = &mut self.spare;
        let queue = self.queues.entry(next_hop).or_insert_with(|| spare.pop().unwrap_or_default());
        queue.slots.push_back(index);
        queue.bytes += len;
        Held { kept: true, evicted }
    }

    /// Takes every frame that awaits `next_hop` out of the pool, oldest first, and shows it to `each`.
    pub(crate) fn take(&mut self, next_hop: NextHop, mut each: impl FnMut(&mut Frame<'_>)) {
        let Some(mut queue) = self.queues.remove(&next_hop) else { return };
        for index in queue.slots.drain(..) {
            let slot = &mut self.slots[index];
            let frame = Frame::new(&mut slot.buffer, HEADROOM_BYTES, slot.len, slot.ingress, slot.offload);
            if let Some(mut frame) = frame {
                each(&mut frame);
            }
            free(index, &mut self.free_small, &mut self.free_large);
        }
        queue.bytes = 0;
        self.spare.push(queue);
    }

    /// The next hops that frames wait for.
    pub(crate) fn next_hops(&self) -> Vec<NextHop> {
        self.queues.keys().copied().collect()
    }
}

fn free(index: usize, small: &mut Vec<usize>, large: &mut Vec<usize>) {
    if index < SMALL_BUFFERS { small.push(index) } else { large.push(index) }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::net::{IpAddr, Ipv4Addr};

    use super::*;

    fn next_hop(last: u8) -> NextHop {
        NextHop { port: PortId(0), addr: IpAddr::V4(Ipv4Addr::new(10, 0, 0, last)) }
    }

    /// Holds a frame of `len` bytes that begins with `tag`.
    fn hold(pool: &mut HoldPool, last: u8, tag: u8, len: usize) -> Held {
        let mut bytes = vec![0; len];
        bytes[0] = tag;
        let frame = Frame::new(&mut bytes, 0, len, PortId(1), Offload::default()).unwrap();
        pool.hold(&frame, next_hop(last))
    }

    fn tags(pool: &mut HoldPool, last: u8) -> Vec<u8> {
        let mut tags = Vec::new();
        pool.take(next_hop(last), |frame| tags.push(frame.data()[0]));
        tags
    }

    #[test]
    fn the_oldest_frame_of_a_neighbour_goes_when_it_has_too_many() {
        let mut pool = HoldPool::new();
        for tag in 0..101 {
            assert_eq!(hold(&mut pool, 1, tag, 60), Held { kept: true, evicted: 0 });
        }
        assert_eq!(hold(&mut pool, 1, 200, 60), Held { kept: true, evicted: 1 });
        let tags = tags(&mut pool, 1);
        assert_eq!((tags.len(), tags[0], tags[100]), (101, 1, 200));
    }

    #[test]
    fn bytes_are_bounded_a_neighbour() {
        let mut pool = HoldPool::new();
        for tag in 0..3 {
            assert_eq!(hold(&mut pool, 1, tag, 65_000).evicted, 0);
        }
        assert_eq!(hold(&mut pool, 1, 3, 65_000), Held { kept: true, evicted: 1 });
        assert_eq!(hold(&mut pool, 2, 9, 65_000).evicted, 0, "another neighbour's is not touched");
        assert_eq!(tags(&mut pool, 1), [1, 2, 3]);
        assert_eq!(tags(&mut pool, 2), [9]);
    }

    #[test]
    fn without_a_buffer_the_newest_is_refused_and_buffers_come_back() {
        let mut pool = HoldPool::new();
        let mut kept = 0;
        for last in 0..=255 {
            for _ in 0..3 {
                kept += usize::from(hold(&mut pool, last, 0, 60).kept);
            }
        }
        assert_eq!(kept, SMALL_BUFFERS);
        assert_eq!(hold(&mut pool, 255, 0, 60), Held { kept: false, evicted: 0 });
        for next_hop in pool.next_hops() {
            pool.take(next_hop, |_| {});
        }
        assert!(pool.next_hops().is_empty());
        assert_eq!((pool.free_small.len(), pool.free_large.len()), (SMALL_BUFFERS, LARGE_BUFFERS));
        assert!(hold(&mut pool, 255, 0, 60).kept);
    }
}
