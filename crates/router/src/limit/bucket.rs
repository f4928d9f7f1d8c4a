//! Token buckets: one for each destination of ICMP errors, and one for all of them together.
//!
//! Linux `inet_peer_xrlim_allow` (net/ipv4/inetpeer.c) and `icmp_global_allow` (net/ipv4/icmp.c).

use std::sync::atomic::{AtomicU64, Ordering};

use super::table::Entry;
use crate::config::Settings;

/// The credit of a destination that is new: more than any burst (Linux `inet_getpeer`).
const NEW_NS: u64 = 60_000_000_000;

/// The bucket of a destination. Its tokens are time: each error costs an interval.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Bucket {
    destination: u128,
    credit_ns: u64,
    last_ns: u64,
    used: bool,
}

impl Entry for Bucket {
    fn address(&self) -> Option<u128> {
        self.used.then_some(self.destination)
    }

    fn last_ns(&self) -> u64 {
        self.last_ns
    }
}

impl Bucket {
    /// The bucket of a destination that is new, of which no more than `full_ns` will count.
    pub(super) fn new(destination: u128, full_ns: u64, now_ns: u64) -> Bucket {
        Bucket { destination, credit_ns: NEW_NS.max(full_ns), last_ns: now_ns, used: true }
    }

    /// Takes `cost_ns` out, if there is as much; the bucket holds `full_ns` at most.
    pub(super) fn spend(&mut self, cost_ns: u64, full_ns: u64, now_ns: u64) -> bool {
        // Workers read the clock a little apart: time that one of them has counted does not count again.
        let earned_ns = now_ns.saturating_sub(self.last_ns);
        self.last_ns = self.last_ns.max(now_ns);
        self.credit_ns = self.credit_ns.saturating_add(earned_ns).min(full_ns);
        if self.credit_ns < cost_ns {
            return false;
        }
        self.credit_ns -= cost_ns;
        true
    }
}

/// Added to the time of the global bucket, so that its level at the start of time is no negative number.
const BIAS_NS: u64 = 1 << 62;

/// The global bucket: the virtual time at which it was last empty, and the time since then is its level
/// (GCRA).
#[derive(Debug, Default)]
pub(super) struct GlobalBucket {
    empty_ns: AtomicU64,
}

impl GlobalBucket {
    /// Whether the bucket holds an error's cost.
    pub(super) fn holds(&self, rate: &GlobalRate) -> bool {
        rate.after_one(self.empty_ns.load(Ordering::Relaxed)).is_some()
    }

    /// Takes an error's cost out; another worker may have taken the last a moment ago.
    pub(super) fn spend(&self, rate: &GlobalRate) -> bool {
        let spend = |empty_ns| rate.after_one(empty_ns);
        self.empty_ns.fetch_update(Ordering::Relaxed, Ordering::Relaxed, spend).is_ok()
    }
}

/// What fills and empties the global bucket at a moment, by the settings of that moment.
#[derive(Debug)]
pub(super) struct GlobalRate {
    now_ns: u64,
    /// The cost of an error.
    cost_ns: u64,
    /// The most that the bucket holds.
    full_ns: u64,
}

impl GlobalRate {
    /// `None` without a limit.
    pub(super) fn new(settings: &Settings, now_ns: u64) -> Option<GlobalRate> {
        let cost_ns = 1_000_000_000u64.checked_div(u64::from(settings.icmp_total_per_s))?;
        let full_ns = cost_ns * u64::from(settings.icmp_total_burst);
        Some(GlobalRate { now_ns: BIAS_NS.saturating_add(now_ns), cost_ns, full_ns })
    }

    /// When the bucket was empty, once an error more is paid; `None` if it holds too little for one.
    fn after_one(&self, empty_ns: u64) -> Option<u64> {
        let empty_ns = empty_ns.max(self.now_ns.saturating_sub(self.full_ns));
        (self.now_ns.saturating_sub(empty_ns) >= self.cost_ns).then(|| empty_ns + self.cost_ns)
    }
}
