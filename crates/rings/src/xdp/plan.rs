//! How much memory xdp ports take, by their number: sized before anything is mapped.
//!
//! The kernel makes a buffer pool a socket, with a record for every chunk of the *area* that the socket uses
//! (`xp_create_and_assign_umem`, net/xdp/xsk_buff_pool.c). In an area that all ports share these records grow
//! with the square of the number of ports. So only few ports share one; each of many has its own, and a frame
//! that crosses from one area to another is copied. What a port may hold shrinks with their number, so that a
//! lab of many ports stays within a budget.

use crate::backend::Demand;
use crate::sys::xdp::Entries;
use crate::xdp::chunk::chunk_bytes;
use crate::xdp::error::OpenError;
use crate::xdp::settings::Settings;

/// Ports that share an area, at most.
const SHARED_PORTS: usize = 4;
/// Fewest chunks of a port.
const MIN_CHUNKS: usize = 512;
/// Chunks are handed out in portions of this many.
const PORTION: usize = 128;
/// Bytes of the kernel's record of a chunk in a socket's pool (`struct xdp_buff_xsk`, 128 with its
/// alignment).
const POOL_RECORD_BYTES: usize = 128;
/// Bytes that this process keeps beside a chunk: who has it, and whether it is in flight.
const OWN_RECORD_BYTES: usize = 64;
/// Bytes of a page.
const PAGE_BYTES: usize = 4096;
/// Bytes that the kernel keeps a page of an area: the pointer to it, and the entry that maps it.
const PAGE_RECORD_BYTES: usize = 16;
/// What a port takes however small it is: the sockets, the program, the map, rounding of the rings to pages.
const FIXED_BYTES: usize = 64 << 10;
/// The largest piece that the kernel's allocator rounds up to a power of two (`KMALLOC_MAX_SIZE`); larger
/// ones are made of pages.
const KMALLOC_MAX_BYTES: usize = 4 << 20;

/// What each port of a router gets, and what that takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Plan {
    /// Ports of the router.
    ports: usize,
    /// Queues of each, one a worker.
    queues: usize,
    /// Bytes of a chunk.
    pub(super) chunk_bytes: usize,
    /// Ports that share an area, at most.
    pub(super) shared: usize,
    /// Chunks of a port and queue that received frames lie in.
    pub(super) home: usize,
    /// Chunks of a port and queue for frames that have to be copied.
    pub(super) copies: usize,
    /// Frames that may be on their way out by one port and queue.
    pub(super) in_flight: usize,
}

impl Plan {
    /// Sizes `ports` ports of `queues` queues each, the largest MTU of which is `mtu`.
    ///
    /// # Errors
    /// [`OpenError::Mtu`] where frames of that MTU fit no chunk.
    pub(super) fn new(ports: usize, queues: usize, mtu: u32, settings: Settings) -> Result<Plan, OpenError> {
        let chunk_bytes = chunk_bytes(mtu)?;
        let budget = settings.router_bytes / (ports * queues).max(1);
        let budget = budget.min(settings.port_bytes);
        // Where memory is short, records of other ports' chunks are not worth it.
        let shared = if ports <= SHARED_PORTS && budget == settings.port_bytes { ports.max(1) } else { 1 };
        let with = |chunks: usize| Plan::of_chunks(ports, queues, shared, chunk_bytes, chunks, settings);
        let largest = settings.frames as usize + settings.in_flight as usize;
        let mut by_size = (MIN_CHUNKS..=largest).rev().step_by(PORTION).map(with);
        let fitting = by_size.find(|plan| plan.port().total <= budget as u64);
        Ok(fitting.unwrap_or_else(|| with(MIN_CHUNKS)))
    }

    fn of_chunks(
        ports: usize,
        queues: usize,
        shared: usize,
        chunk_bytes: usize,
        chunks: usize,
        settings: Settings,
    ) -> Plan {
        let limit = settings.in_flight as usize;
        // Where a port has an area of its own nearly all that it sends is copied; else nearly nothing is.
        let copies = if shared == 1 { limit.min(chunks / 4) } else { limit.min(chunks / 8) };
        let home = (chunks - copies).min(settings.frames as usize);
        // Were all that may be on its way out by any port received on one, half of its chunks would be left.
        let in_flight = if shared == 1 { copies } else { limit.min(home / (2 * shared)) };
        Plan { ports, queues, chunk_bytes, shared, home, copies, in_flight }
    }

    /// Entries of the rings of one queue of one port: in the fill and the rx ring as many as there are chunks
    /// for them.
    pub(super) fn entries(&self) -> Entries {
        let entries = |frames: usize| u32::try_from(frames.next_power_of_two()).unwrap_or(u32::MAX);
        Entries { rx: entries(self.home), tx: entries(self.in_flight) }
    }

    /// What one queue of one port takes.
    fn port(&self) -> Demand {
        let chunks = self.home + self.copies;
        let pool = chunks * self.shared * POOL_RECORD_BYTES;
        let pool = if pool <= KMALLOC_MAX_BYTES { pool.next_power_of_two() } else { pool };
        let Entries { rx, tx } = self.entries();
        // A descriptor has 16 bytes in the rx and the tx ring, an address 8 in the others.
        let rings = (rx + tx) as usize * (16 + 8);
        // The kernel's copy of what it sends (`pool->tx_descs`).
        let descriptors = tx as usize * 16;
        let area = chunks * self.chunk_bytes;
        let pages = area.div_ceil(PAGE_BYTES) * PAGE_RECORD_BYTES;
        let mapped = area + chunks * OWN_RECORD_BYTES + rings;
        let total = mapped + pool + descriptors + pages + FIXED_BYTES;
        Demand { locked: area as u64, mapped: mapped as u64, total: total as u64 }
    }

    /// What all ports of the router take.
    pub(super) fn demand(&self) -> Demand {
        let Demand { locked, mapped, total } = self.port();
        let all = (self.ports * self.queues) as u64;
        Demand { locked: locked * all, mapped: mapped * all, total: total * all }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(ports: usize, queues: usize, mtu: u32) -> Plan {
        Plan::new(ports, queues, mtu, Settings::default()).expect("the MTU fits")
    }

    fn mebibytes(bytes: u64) -> u64 {
        bytes >> 20
    }

    #[test]
    fn a_port_takes_less_than_16_mib_whatever_their_number() {
        for mtu in [1500, 3500] {
            for queues in [1, 2, 3, 8, 64] {
                for ports in 1..=1024 {
                    let plan = plan(ports, queues, mtu);
                    let per_queue = plan.demand().total / (ports * queues) as u64;
                    assert!(per_queue <= 16 << 20, "{ports} ports, {queues} queues: {plan:?}");
                    assert!(plan.home >= 256 && plan.copies >= 64 && plan.in_flight >= 64, "{plan:?}");
                    assert!(plan.home as u64 <= u64::from(plan.entries().rx), "{plan:?}");
                    // All in flight received on one port: it can receive still.
                    assert!(plan.in_flight * plan.shared * 2 <= plan.home || plan.shared == 1, "{plan:?}");
                    assert!(plan.in_flight <= plan.copies || plan.shared > 1, "each may be a copy: {plan:?}");
                }
            }
        }
    }

    #[test]
    fn many_ports_share_a_budget() {
        assert!(mebibytes(plan(2, 1, 1500).demand().total) <= 32);
        for ports in [40, 100, 200] {
            assert!(mebibytes(plan(ports, 1, 1500).demand().total) <= 512, "{ports}");
        }
        assert!(plan(300, 1, 1500).demand().total < 300 * (2 << 20));
        // Past the budget it grows with the ports, and by the least that a port can do with.
        let step = plan(1024, 1, 1500).demand().total - plan(1023, 1, 1500).demand().total;
        assert!(step < 3 << 19, "{step}");
    }

    #[test]
    fn two_ports_hold_a_tcp_window() {
        // net.ipv4.tcp_rmem[2], 6 MiB: half of it is the window, and a frame of an MTU of 1500 carries 1448
        // bytes.
        let plan = plan(2, 1, 1500);
        assert!(plan.home >= 5120 && plan.in_flight == 1024, "{plan:?}");
        assert_eq!((plan.shared, plan.entries().rx), (2, 8192));
    }

    #[test]
    fn what_is_mapped_and_pinned_is_part_of_the_whole() {
        let demand = plan(20, 2, 1500).demand();
        assert!(demand.locked < demand.mapped && demand.mapped < demand.total, "{demand:?}");
        let twice = demand + demand;
        assert_eq!(
            (twice.locked, twice.mapped, twice.total),
            (2 * demand.locked, 2 * demand.mapped, 2 * demand.total)
        );
    }
}
