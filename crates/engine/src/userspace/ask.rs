//! Which unknown neighbours a worker asks the control plane for: each once in a while, and so many a second.
//!
//! A scan of a /64 meets 100,000 unknown neighbours a second, and each would cost an entry, a frame and two commands. Linux
//! bounds that by its table (`gc_thresh3`), which one host's scan fills for all. Here each ingress port has a budget of its
//! own for each family, so a scan takes its own port's and leaves everybody else's.

use std::net::IpAddr;

use nsrouter_router::NextHop;
use nsrouter_wire::frame::PortId;

/// Neighbours that an ingress port may ask for at once, of each family.
const BURST: u64 = 256;
/// Time for one more, in nanoseconds: 1,000 a second.
const INTERVAL_NS: u64 = 1_000_000;
/// How long a neighbour is not asked for again, in nanoseconds: the control plane has its own timers.
const PAUSE_NS: u64 = 100_000_000;
/// Neighbours that are remembered to have been asked for; a power of two.
const RECENT: usize = 1024;

/// What becomes of the wish to ask for a neighbour.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wish {
    /// It is to be asked for now.
    Ask,
    /// It was asked for a moment ago.
    Asked,
    /// The port's budget is spent.
    Refused,
}

/// The budgets of one worker.
#[derive(Debug)]
pub(crate) struct Asker {
    /// For each ingress port, the host port last, and each family: when its budget is whole again (the generic cell rate
    /// algorithm's theoretical arrival time).
    whole_at_ns: Vec<[u64; 2]>,
    /// Neighbours asked for and when, each in the place of its hash.
    recent: Box<[Option<(NextHop, u64)>]>,
}

impl Asker {
    /// Whole budgets for so many link ports and the host port.
    pub(crate) fn new(ports: usize) -> Asker {
        Asker { whole_at_ns: vec![[0; 2]; ports + 1], recent: vec![None; RECENT].into() }
    }

    /// Whether `next_hop` may be asked for on behalf of a frame that came in by `ingress`; takes from the budget if so.
    pub(crate) fn wish(&mut self, ingress: PortId, next_hop: NextHop, now_ns: u64) -> Wish {
        let place = place_of(next_hop);
        if let Some((asked, when)) = self.recent[place]
            && asked == next_hop
            && now_ns.saturating_sub(when) < PAUSE_NS
        {
            return Wish::Asked;
        }
        let budget = ingress.index().min(self.whole_at_ns.len() - 1);
        let whole_at_ns = &mut self.whole_at_ns[budget][usize::from(next_hop.addr.is_ipv6())];
        let begin_ns = now_ns.max(*whole_at_ns);
        if begin_ns - now_ns >= BURST * INTERVAL_NS {
            return Wish::Refused;
        }
        *whole_at_ns = begin_ns + INTERVAL_NS;
        self.recent[place] = Some((next_hop, now_ns));
        Wish::Ask
    }

    /// The next frame for `next_hop` asks again: the answer has come, or there is none.
    pub(crate) fn forget(&mut self, next_hop: NextHop) {
        let recent = &mut self.recent[place_of(next_hop)];
        if recent.is_some_and(|(asked, _)| asked == next_hop) {
            *recent = None;
        }
    }
}

/// Where a neighbour is remembered. Two in one place only ask more often, so nobody gains by choosing addresses.
fn place_of(next_hop: NextHop) -> usize {
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
    let place = (mixed >> 40) as usize;
    place % RECENT
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

    /// How many of these neighbours are asked for, at 100 a millisecond.
    fn scan(asker: &mut Asker, ingress: u16, addresses: std::ops::Range<u64>) -> usize {
        let asked = |address: &u64| asker.wish(PortId(ingress), v6(*address), address * 10_000) == Wish::Ask;
        addresses.filter(asked).count()
    }

    #[test]
    fn a_scan_spends_its_own_port_s_budget_of_its_own_family() {
        let mut asker = Asker::new(2);
        let asked = scan(&mut asker, 0, 0..300_000);
        assert!((3_200..=3_300).contains(&asked), "{asked} in three seconds");
        let now_ns = 3 * SECOND_NS;
        assert_eq!(asker.wish(PortId(0), v6(1 << 40), now_ns), Wish::Refused);
        assert_eq!(asker.wish(PortId(0), v4(1), now_ns), Wish::Ask, "the other family");
        assert_eq!(asker.wish(PortId(1), v6(1 << 40), now_ns), Wish::Ask, "another port");
        assert_eq!(asker.wish(PortId::HOST, v6(1 << 41), now_ns), Wish::Ask, "the router itself");
        assert_eq!(asker.wish(PortId(0), v6(1 << 42), now_ns + SECOND_NS), Wish::Ask, "a second later");
    }

    #[test]
    fn a_neighbour_is_asked_for_once_until_there_is_an_answer() {
        let mut asker = Asker::new(1);
        assert_eq!(asker.wish(PortId(0), v4(1), 0), Wish::Ask);
        assert_eq!(asker.wish(PortId(0), v4(1), PAUSE_NS - 1), Wish::Asked);
        assert_eq!(asker.wish(PortId(0), v4(1), PAUSE_NS), Wish::Ask, "in case it was lost");
        asker.forget(v4(1));
        assert_eq!(asker.wish(PortId(0), v4(1), PAUSE_NS + 1), Wish::Ask);
    }
}
