//! When router advertisements are due (RFC 4861 section 6.2.4).

use nsrouter_wire::frame::PortId;

use crate::config::Advertise;
use crate::random::Random;

const MS: u64 = 1_000_000;
/// The first advertisements come at least this often (`MAX_INITIAL_RTR_ADVERT_INTERVAL`), and this many of
/// them.
const INITIAL_MS: u64 = 16_000;
const INITIALS: u8 = 3;
/// Advertisements to everybody are this far apart (`MIN_DELAY_BETWEEN_RAS`).
const MIN_DELAY_NS: u64 = 3_000 * MS;

/// The next advertisement on one port.
#[derive(Clone, Copy, Debug)]
struct Next {
    port: PortId,
    due_ns: u64,
    /// When everybody was told last.
    told_ns: Option<u64>,
    initials: u8,
}

/// When each port's next advertisement is due.
#[derive(Debug)]
pub(crate) struct Schedule {
    /// Only one worker speaks unasked.
    speaks: bool,
    /// Whether the configuration was looked at: the first tick is due at once.
    known: bool,
    next: Vec<Next>,
    random: Random,
}

impl Schedule {
    pub(crate) fn new(worker: u16, seed: u64) -> Schedule {
        Schedule { speaks: worker == 0, known: worker != 0, next: Vec::new(), random: Random::new(seed) }
    }

    pub(crate) fn next_deadline(&self) -> Option<u64> {
        if !self.known {
            return Some(0);
        }
        self.next.iter().map(|next| next.due_ns).min()
    }

    /// RFC 4861 section 6.2.4: uniformly between a third and the whole of the interval.
    fn wait_ns(&mut self, interval_ms: u64) -> u64 {
        let interval_ns = interval_ms.max(1) * MS;
        interval_ns / 3 + self.random.below(interval_ns - interval_ns / 3)
    }

    /// Looks at the configuration when that has not been done. The only allocation that a tick makes.
    pub(crate) fn start(&mut self, configured: &[Advertise], now_ns: u64) {
        if self.known {
            return;
        }
        self.known = true;
        let first =
            |advertise: &Advertise| Next { port: advertise.port, due_ns: now_ns, told_ns: None, initials: 0 };
        self.next = configured.iter().map(first).collect();
    }

    /// Port number `index` of the schedule, if its advertisement is due; the next one is then due after its
    /// interval, or never when the port is not configured any more.
    pub(crate) fn take_due(&mut self, index: usize, configured: &[Advertise], now_ns: u64) -> Option<PortId> {
        let Next { port, due_ns, initials, .. } = *self.next.get(index)?;
        if due_ns > now_ns {
            return None;
        }
        let Some(advertise) = configured.iter().find(|advertise| advertise.port == port) else {
            self.next[index].due_ns = u64::MAX;
            return None;
        };
        let interval_ms = u64::from(advertise.interval_ms);
        let interval_ms = if initials < INITIALS { interval_ms.min(INITIAL_MS) } else { interval_ms };
        let wait_ns = self.wait_ns(interval_ms).max(MIN_DELAY_NS);
        let next = &mut self.next[index];
        next.due_ns = now_ns + wait_ns;
        next.initials = initials.saturating_add(1);
        Some(port)
    }

    /// How many ports advertise.
    pub(crate) fn len(&self) -> usize {
        self.next.len()
    }

    /// Whether everybody on the port may be told now, and notes that it happens. Only the worker that speaks
    /// unasked keeps count.
    pub(crate) fn may_tell_all(&mut self, port: PortId, now_ns: u64) -> bool {
        if !self.speaks {
            return true;
        }
        let Some(next) = self.next.iter_mut().find(|next| next.port == port) else { return true };
        if next.told_ns.is_some_and(|told_ns| now_ns.saturating_sub(told_ns) < MIN_DELAY_NS) {
            return false;
        }
        next.told_ns = Some(now_ns);
        true
    }
}
