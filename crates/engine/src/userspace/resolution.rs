//! The rate at which a worker requests the resolution of unknown neighbours from the control thread.
//!
//! A scan of a /64 meets 100,000 unknown neighbours a second, and each would cost an entry, a frame and two
//! commands. Linux bounds that by its table (`gc_thresh3`), which one host's scan fills for all. Here each
//! ingress port has a token bucket of its own for each family, so a scan empties its own port's and leaves
//! the others.

use std::net::IpAddr;

use nsrouter_router::NextHop;
use nsrouter_wire::frame::PortId;

use crate::userspace::by_port::ByPort;

/// Neighbours that may be requested at once for an ingress port, of each family.
const BURST: u64 = 256;
/// Time for one more, in nanoseconds: 1,000 a second.
const INTERVAL_NS: u64 = 1_000_000;
/// How long a neighbour is not requested again, in nanoseconds: the control thread has its own timers.
const PAUSE_NS: u64 = 100_000_000;
/// Requested neighbours that are remembered; a power of two.
const RECENT: usize = 1024;

/// Whether a neighbour is to be requested.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Admission {
    /// Request it now.
    Admitted,
    /// It was requested a moment ago.
    InProgress,
    /// The port's bucket is empty.
    Refused,
}

/// The token buckets of one worker.
#[derive(Debug)]
pub(crate) struct ResolutionLimit {
    /// For each ingress port and family: when its bucket is full again (the generic cell rate algorithm's
    /// theoretical arrival time).
    full_at_ns: ByPort<[u64; 2]>,
    /// Requested neighbours and when, each in the slot of its hash.
    recent: Box<[Option<(NextHop, u64)>]>,
}

impl ResolutionLimit {
    /// A full bucket for the host port.
    pub(crate) fn new() -> ResolutionLimit {
        ResolutionLimit { full_at_ns: ByPort::new(), recent: vec![None; RECENT].into() }
    }

    /// Full buckets for another port.
    pub(crate) fn add_port(&mut self, port: PortId) {
        *self.full_at_ns.entry(port) = [0; 2];
    }

    /// Forgets the neighbours of a port that is gone.
    pub(crate) fn remove_port(&mut self, port: PortId) {
        let is_of = |(next_hop, _): &mut (NextHop, u64)| next_hop.port == port;
        self.recent.iter_mut().for_each(|recent| _ = recent.take_if(is_of));
    }

    /// Whether to request `next_hop` on behalf of a frame that came in by `ingress`; takes a token if so.
    pub(crate) fn admit(&mut self, ingress: PortId, next_hop: NextHop, now_ns: u64) -> Admission {
        let slot = slot_of(next_hop);
        if let Some((asked, when)) = self.recent[slot]
            && asked == next_hop
            && now_ns.saturating_sub(when) < PAUSE_NS
        {
            return Admission::InProgress;
        }
        let full_at_ns = &mut self.full_at_ns.entry(ingress)[usize::from(next_hop.addr.is_ipv6())];
        let begin_ns = now_ns.max(*full_at_ns);
        if begin_ns - now_ns >= BURST * INTERVAL_NS {
            return Admission::Refused;
        }
        *full_at_ns = begin_ns + INTERVAL_NS;
        self.recent[slot] = Some((next_hop, now_ns));
        Admission::Admitted
    }

    /// The next frame for `next_hop` requests it again: it was resolved, or given up.
    pub(crate) fn forget(&mut self, next_hop: NextHop) {
        let recent = &mut self.recent[slot_of(next_hop)];
        if recent.is_some_and(|(asked, _)| asked == next_hop) {
            *recent = None;
        }
    }
}

/// Where a neighbour is remembered. Two in one slot are only requested more often, so a host gains nothing by
/// choosing addresses.
fn slot_of(next_hop: NextHop) -> usize {
    let bits = match next_hop.addr {
        IpAddr::V4(addr) => u64::from(addr.to_bits()),
        IpAddr::V6(addr) => {
            let bits = addr.to_bits();
            #[allow(clippy::cast_possible_truncation)] // both halves are used
            let folded = (bits >> 64) as u64 ^ bits as u64;
            folded
        }
    };
    let mixed = (bits ^ u64::from(next_hop.port.0) << 48).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    #[allow(clippy::cast_possible_truncation)] // any bits of a hash will do
    let slot = (mixed >> 40) as usize;
    slot % RECENT
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND_NS: u64 = 1_000_000_000;

    fn v6(last: u64) -> NextHop {
        NextHop { port: PortId(1), addr: IpAddr::V6((0xfd00 << 112 | u128::from(last)).into()) }
    }

    fn v4(last: u32) -> NextHop {
        NextHop { port: PortId(1), addr: IpAddr::V4((0x0a00_0000 + last).into()) }
    }

    /// How many of these neighbours are requested, at 100 a millisecond.
    fn scan(limit: &mut ResolutionLimit, ingress: u16, addresses: std::ops::Range<u64>) -> usize {
        let asked = |address: &u64| {
            limit.admit(PortId(ingress), v6(*address), address * 10_000) == Admission::Admitted
        };
        addresses.filter(asked).count()
    }

    #[test]
    fn a_scan_empties_its_own_port_s_bucket_of_its_own_family() {
        let mut limit = ResolutionLimit::new();
        let asked = scan(&mut limit, 0, 0..300_000);
        assert!((3_200..=3_300).contains(&asked), "{asked} in three seconds");
        let now_ns = 3 * SECOND_NS;
        assert_eq!(limit.admit(PortId(0), v6(1 << 40), now_ns), Admission::Refused);
        assert_eq!(limit.admit(PortId(0), v4(1), now_ns), Admission::Admitted, "the other family");
        assert_eq!(limit.admit(PortId(1), v6(1 << 40), now_ns), Admission::Admitted, "another port");
        assert_eq!(limit.admit(PortId::HOST, v6(1 << 41), now_ns), Admission::Admitted, "the router itself");
        assert_eq!(
            limit.admit(PortId(0), v6(1 << 42), now_ns + SECOND_NS),
            Admission::Admitted,
            "a second later"
        );
    }

    #[test]
    fn a_neighbour_is_requested_once_until_there_is_an_answer() {
        let mut limit = ResolutionLimit::new();
        assert_eq!(limit.admit(PortId(0), v4(1), 0), Admission::Admitted);
        assert_eq!(limit.admit(PortId(0), v4(1), PAUSE_NS - 1), Admission::InProgress);
        assert_eq!(limit.admit(PortId(0), v4(1), PAUSE_NS), Admission::Admitted, "in case it was lost");
        limit.forget(v4(1));
        assert_eq!(limit.admit(PortId(0), v4(1), PAUSE_NS + 1), Admission::Admitted);
    }

    #[test]
    fn the_next_port_of_a_slot_begins_anew() {
        let mut limit = ResolutionLimit::new();
        let addresses = || (0..BURST).map(|address| v6(1 << 50 | address));
        addresses().for_each(|next_hop| _ = limit.admit(PortId(1), next_hop, 0));
        assert_eq!(limit.admit(PortId(1), v4(1), 0), Admission::Admitted);
        assert_eq!(limit.admit(PortId(1), v6(1 << 51), 0), Admission::Refused);
        limit.remove_port(PortId(1));
        limit.add_port(PortId(1));
        assert_eq!(limit.admit(PortId(1), v4(1), 0), Admission::Admitted, "not in progress");
        assert_eq!(limit.admit(PortId(1), v6(1 << 51), 0), Admission::Admitted, "a full bucket");
    }
}
