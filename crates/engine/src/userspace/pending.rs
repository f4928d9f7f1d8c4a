//! Frames that are pending for a neighbour's MAC address (Linux `arp_queue`), copied into preallocated
//! buffers.
//!
//! Bounded in number: frames and bytes a neighbour (as Linux bounds its unresolved queue), and buffers in
//! all. At a neighbour's bound its oldest frame is evicted, as in Linux (neigh_event_send: the newest packet
//! is the likeliest to be still wanted). The frames of one ingress port and family may take as many buffers
//! as are left for all others (dynamic thresholds, as switches share their buffers); past that the newest is
//! refused, so that no host can evict another's frames.
//!
//! And bounded in time: whatever becomes of the resolution, no frame is pending past an age.

use std::collections::{HashMap, VecDeque};

use nsrouter_router::NextHop;
use nsrouter_wire::frame::{Frame, PortId};
use nsrouter_wire::offload::Offload;

use crate::userspace::by_port::ByPort;

/// Frames pending for one neighbour, at most. Linux: `unres_qlen`, 101.
const NEIGHBOUR_FRAMES: usize = 101;
/// Bytes pending for one neighbour, at most. Linux: `unres_qlen_bytes`, 212,992.
const NEIGHBOUR_BYTES: usize = 212_992;
/// Buffers for frames up to [`SMALL_BYTES`], and for larger ones.
const SMALL_BUFFERS: usize = 1024;
const LARGE_BUFFERS: usize = 32;
const SMALL_BYTES: usize = 2048;
/// The largest GSO packet that a packet socket is given (GSO_MAX_SIZE, 8 × 65,535) with its Ethernet header.
/// Memory that no frame was written to costs nothing.
const LARGE_BYTES: usize = 8 * 65_535 + 18;
/// Room for an ICMP error to be built in front, and for the virtio-net header.
const HEADROOM_BYTES: usize = 128;

#[derive(Debug)]
struct Slot {
    buffer: Box<[u8]>,
    len: usize,
    offload: Offload,
    /// The share of the buffers that it counts in.
    share: Share,
    /// When the frame was enqueued.
    since_ns: u64,
}

/// Frames that count together against the buffers: those of one ingress port and family.
#[derive(Clone, Copy, Debug)]
struct Share {
    ingress: PortId,
    is_ipv6: bool,
}

#[derive(Debug, Default)]
struct Queue {
    slots: VecDeque<usize>,
    bytes: usize,
}

/// Free buffers, and how many of the others each share has.
#[derive(Debug)]
struct Buffers {
    small: Vec<usize>,
    large: Vec<usize>,
    /// Small and large ones in use, by ingress port and family.
    used: ByPort<[[usize; 2]; 2]>,
}

impl Buffers {
    /// Small and large ones that the frames of a share have.
    fn used(&mut self, share: Share) -> &mut [usize; 2] {
        &mut self.used.entry(share.ingress)[usize::from(share.is_ipv6)]
    }

    /// A buffer for a frame of so many bytes, unless this share has as many as are left.
    fn take(&mut self, bytes: usize, share: Share) -> Option<usize> {
        let kind = usize::from(bytes > SMALL_BYTES);
        let used = &mut self.used.entry(share.ingress)[usize::from(share.is_ipv6)][kind];
        let free = if kind == 0 { &mut self.small } else { &mut self.large };
        if bytes > LARGE_BYTES || *used >= free.len() {
            return None;
        }
        *used += 1;
        free.pop()
    }

    fn give_back(&mut self, index: usize, share: Share) {
        let kind = usize::from(index >= SMALL_BUFFERS);
        if kind == 0 {
            self.small.push(index)
        } else {
            self.large.push(index)
        }
        self.used(share)[kind] -= 1;
    }
}

/// The pending frames of one worker.
#[derive(Debug)]
pub(crate) struct PendingPool {
    slots: Vec<Slot>,
    buffers: Buffers,
    queues: HashMap<NextHop, Queue>,
    /// Emptied queues, kept for their allocations.
    spare: Vec<Queue>,
    /// How long a frame may be pending.
    age_ns: u64,
    /// When the oldest frame expires, or an earlier moment.
    due_ns: u64,
}

/// The outcome of [`PendingPool::enqueue`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Enqueued {
    /// The frame is pending now; otherwise there was no buffer for it.
    pub(crate) is_kept: bool,
    /// Older frames of the same neighbour that were evicted for it.
    pub(crate) evicted: u64,
}

impl PendingPool {
    /// An empty pool, in which no frame is pending for longer than `age_ns`.
    pub(crate) fn new(age_ns: u64) -> PendingPool {
        let slot = |bytes: usize| Slot {
            buffer: vec![0; HEADROOM_BYTES + bytes].into(),
            len: 0,
            offload: Offload::default(),
            share: Share { ingress: PortId::HOST, is_ipv6: false },
            since_ns: 0,
        };
        let mut slots: Vec<Slot> = (0..SMALL_BUFFERS).map(|_| slot(SMALL_BYTES)).collect();
        slots.extend((0..LARGE_BUFFERS).map(|_| slot(LARGE_BYTES)));
        let queues = SMALL_BUFFERS + LARGE_BUFFERS;
        let queue = || Queue { slots: VecDeque::with_capacity(NEIGHBOUR_FRAMES + 1), bytes: 0 };
        PendingPool {
            buffers: Buffers {
                small: (0..SMALL_BUFFERS).collect(),
                large: (SMALL_BUFFERS..slots.len()).collect(),
                used: ByPort::new(),
            },
            slots,
            // Twice the most that can be in it, so that it never grows and never rehashes in place for long.
            queues: HashMap::with_capacity(2 * queues),
            spare: (0..queues).map(|_| queue()).collect(),
            age_ns,
            due_ns: u64::MAX,
        }
    }

    /// Makes room for the account of another port's frames.
    pub(crate) fn add_port(&mut self, port: PortId) {
        self.buffers.used.entry(port);
    }

    /// Copies a frame into the pool until its next hop is resolved.
    pub(crate) fn enqueue(&mut self, frame: &Frame<'_>, next_hop: NextHop, now_ns: u64) -> Enqueued {
        let len = frame.len();
        let mut evicted = 0;
        if let Some(queue) = self.queues.get_mut(&next_hop) {
            while queue.slots.len() >= NEIGHBOUR_FRAMES
                || (queue.bytes + len > NEIGHBOUR_BYTES && !queue.slots.is_empty())
            {
                let Some(oldest) = queue.slots.pop_front() else { break };
                queue.bytes -= self.slots[oldest].len;
                self.buffers.give_back(oldest, self.slots[oldest].share);
                evicted += 1;
            }
        }
        let share = Share { ingress: frame.ingress, is_ipv6: next_hop.addr.is_ipv6() };
        let Some(index) = self.buffers.take(len, share) else { return Enqueued { is_kept: false, evicted } };
        let slot = &mut self.slots[index];
        slot.buffer[HEADROOM_BYTES..HEADROOM_BYTES + len].copy_from_slice(frame.data());
        slot.len = len;
        slot.offload = frame.offload;
        slot.share = share;
        slot.since_ns = now_ns;
        let spare = &mut self.spare;
        let queue = self.queues.entry(next_hop).or_insert_with(|| spare.pop().unwrap_or_default());
        queue.slots.push_back(index);
        queue.bytes += len;
        self.due_ns = self.due_ns.min(now_ns.saturating_add(self.age_ns));
        Enqueued { is_kept: true, evicted }
    }

    /// Takes every frame that is pending for `next_hop` out of the pool, oldest first, and shows it to
    /// `each`.
    pub(crate) fn take(&mut self, next_hop: NextHop, mut each: impl FnMut(&mut Frame<'_>)) {
        let Some(mut queue) = self.queues.remove(&next_hop) else { return };
        for index in queue.slots.drain(..) {
            let slot = &mut self.slots[index];
            let frame =
                Frame::new(&mut slot.buffer, HEADROOM_BYTES, slot.len, slot.share.ingress, slot.offload);
            if let Some(mut frame) = frame {
                each(&mut frame);
            }
            self.buffers.give_back(index, slot.share);
        }
        queue.bytes = 0;
        self.spare.push(queue);
    }

    /// When [`PendingPool::expire`] may find something; never, while no frame is pending.
    pub(crate) fn due_ns(&self) -> Option<u64> {
        (self.due_ns != u64::MAX).then_some(self.due_ns)
    }

    /// Gives up frames that have been pending for too long, and says how many.
    pub(crate) fn expire(&mut self, now_ns: u64) -> u64 {
        if now_ns < self.due_ns {
            return 0;
        }
        let PendingPool { slots, buffers, queues, spare, age_ns, due_ns } = self;
        let mut expired = 0;
        *due_ns = u64::MAX;
        queues.retain(|_, queue| {
            while let Some(oldest) = queue.slots.front().copied() {
                let until_ns = slots[oldest].since_ns.saturating_add(*age_ns);
                if until_ns > now_ns {
                    *due_ns = until_ns.min(*due_ns);
                    return true;
                }
                queue.slots.pop_front();
                queue.bytes -= slots[oldest].len;
                buffers.give_back(oldest, slots[oldest].share);
                expired += 1;
            }
            spare.push(std::mem::take(queue));
            false
        });
        expired
    }

    /// The next hops that frames are pending for.
    pub(crate) fn next_hops(&self) -> Vec<NextHop> {
        self.queues.keys().copied().collect()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::net::{IpAddr, Ipv4Addr};

    use super::*;

    fn next_hop(last: u8) -> NextHop {
        NextHop { port: PortId(0), addr: IpAddr::V4(Ipv4Addr::new(10, 0, 0, last)) }
    }

    const AGE_NS: u64 = 5_000_000_000;

    fn pool() -> PendingPool {
        PendingPool::new(AGE_NS)
    }

    /// Enqueues a frame of `len` bytes that begins with `tag`.
    fn enqueue(pool: &mut PendingPool, last: u8, tag: u8, len: usize) -> Enqueued {
        let mut bytes = vec![0; len];
        bytes[0] = tag;
        let frame = Frame::new(&mut bytes, 0, len, PortId(1), Offload::default()).unwrap();
        pool.enqueue(&frame, next_hop(last), 0)
    }

    fn tags(pool: &mut PendingPool, last: u8) -> Vec<u8> {
        let mut tags = Vec::new();
        pool.take(next_hop(last), |frame| tags.push(frame.data()[0]));
        tags
    }

    #[test]
    fn the_oldest_frame_of_a_neighbour_goes_when_it_has_too_many() {
        let mut pool = pool();
        for tag in 0..101 {
            assert_eq!(enqueue(&mut pool, 1, tag, 60), Enqueued { is_kept: true, evicted: 0 });
        }
        assert_eq!(enqueue(&mut pool, 1, 200, 60), Enqueued { is_kept: true, evicted: 1 });
        let tags = tags(&mut pool, 1);
        assert_eq!((tags.len(), tags[0], tags[100]), (101, 1, 200));
    }

    #[test]
    fn bytes_are_bounded_a_neighbour() {
        let mut pool = pool();
        for tag in 0..3 {
            assert_eq!(enqueue(&mut pool, 1, tag, 65_000).evicted, 0);
        }
        assert_eq!(enqueue(&mut pool, 1, 3, 65_000), Enqueued { is_kept: true, evicted: 1 });
        assert_eq!(enqueue(&mut pool, 2, 9, 65_000).evicted, 0, "another neighbour's is not touched");
        assert_eq!(tags(&mut pool, 1), [1, 2, 3]);
        assert_eq!(tags(&mut pool, 2), [9]);
    }

    #[test]
    fn without_a_buffer_the_newest_is_refused_and_buffers_come_back() {
        let mut pool = pool();
        let mut kept = 0;
        for last in 0..=255 {
            for _ in 0..3 {
                kept += usize::from(enqueue(&mut pool, last, 0, 60).is_kept);
            }
        }
        assert_eq!(kept, SMALL_BUFFERS / 2, "the other half is for others");
        assert_eq!(enqueue(&mut pool, 255, 0, 60), Enqueued { is_kept: false, evicted: 0 });
        for next_hop in pool.next_hops() {
            pool.take(next_hop, |_| {});
        }
        assert!(pool.next_hops().is_empty());
        assert_eq!((pool.buffers.small.len(), pool.buffers.large.len()), (SMALL_BUFFERS, LARGE_BUFFERS));
        assert!(pool.buffers.used.iter_mut().all(|(_, used)| *used == [[0, 0]; 2]));
        assert!(enqueue(&mut pool, 255, 0, 60).is_kept);
    }

    #[test]
    fn frames_of_another_port_or_of_the_other_family_still_find_a_buffer() {
        let mut pool = pool();
        let enqueue_from = |pool: &mut PendingPool, ingress: PortId, addr: IpAddr| {
            let mut bytes = vec![0; 60];
            let frame = Frame::new(&mut bytes, 0, 60, ingress, Offload::default()).unwrap();
            pool.enqueue(&frame, NextHop { port: PortId(0), addr }, 0).is_kept
        };
        for last in 0..10_000u128 {
            enqueue_from(&mut pool, PortId(0), IpAddr::V6(last.into()));
        }
        let (v4, v6) = (IpAddr::V4(Ipv4Addr::LOCALHOST), IpAddr::V6(99_999.into()));
        assert!(!enqueue_from(&mut pool, PortId(0), v6));
        assert!(enqueue_from(&mut pool, PortId(0), v4));
        assert!(enqueue_from(&mut pool, PortId(1), v6));
        assert!(enqueue_from(&mut pool, PortId::HOST, v6));
    }

    #[test]
    fn no_frame_is_pending_past_its_age() {
        let mut pool = pool();
        let enqueue_at = |pool: &mut PendingPool, last: u8, now_ns: u64| {
            let mut bytes = vec![0; 60];
            let frame = Frame::new(&mut bytes, 0, 60, PortId(1), Offload::default()).unwrap();
            assert!(pool.enqueue(&frame, next_hop(last), now_ns).is_kept);
        };
        assert_eq!(pool.due_ns(), None);
        enqueue_at(&mut pool, 1, 0);
        enqueue_at(&mut pool, 1, 100);
        enqueue_at(&mut pool, 2, 200);
        assert_eq!((pool.due_ns(), pool.expire(AGE_NS - 1)), (Some(AGE_NS), 0));
        assert_eq!((pool.expire(AGE_NS), pool.due_ns()), (1, Some(AGE_NS + 100)));
        assert_eq!(tags(&mut pool, 1).len(), 1);
        assert_eq!((pool.expire(AGE_NS + 200), pool.due_ns()), (1, None));
        assert!(pool.next_hops().is_empty());
        assert_eq!(pool.buffers.small.len(), SMALL_BUFFERS);
    }
}
