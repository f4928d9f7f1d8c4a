//! Rate limits for ICMP errors: a token bucket for each destination and one for all, as Linux has them.
//!
//! Linux `inet_peer_xrlim_allow` and `icmp_global_allow` (net/ipv4/inetpeer.c, icmp.c). The table of destinations has a
//! fixed size: whoever spoofs sources displaces others' entries, and the bucket for all still holds.
//!
//! All workers of a router share these limits. The bucket for all is one atomic number; destinations lie behind a lock
//! for each four of them, which only errors take, never what is forwarded.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::config::Settings;

/// What an error by route look-up costs its destination beside the ICMP limit, and how much of that a destination may
/// save up (Linux `ip_rt_error_cost`, `ip_rt_error_burst`).
const LOOKUP_COST_NS: u64 = 1_000_000_000;
const LOOKUP_BURST_NS: u64 = 5 * LOOKUP_COST_NS;
/// What a destination that is new has saved up: more than any burst (Linux `inet_getpeer`).
const NEW_NS: u64 = 60_000_000_000;

const SETS: usize = 256;
const WAYS: usize = 4;

/// Added to the time of the bucket for all, so that what it holds at the start of time is no negative number.
const BIAS_NS: u64 = 1 << 62;

#[derive(Clone, Copy, Debug, Default)]
struct Bucket {
    destination: u128,
    /// Time saved up, in nanoseconds: each error costs one interval.
    credit_ns: u64,
    last_ns: u64,
    used: bool,
}

/// The limits of a router's ICMP errors and redirects. Clones are the same limits, one for each worker.
#[derive(Clone, Debug)]
pub struct Limits {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    buckets: Table<Bucket>,
    redirected: Table<Redirected>,
    /// When the bucket for all was empty, or would have been: what it holds is the time since then.
    total_empty_ns: AtomicU64,
}

/// Four entries a set, each set behind a lock of its own.
#[derive(Debug)]
struct Table<T> {
    sets: Box<[Mutex<[T; WAYS]>]>,
    seed: u64,
}

impl<T: Copy + Default> Table<T> {
    fn new(seed: u64) -> Table<T> {
        Table { sets: (0..SETS).map(|_| Mutex::new([T::default(); WAYS])).collect(), seed }
    }

    /// The set of an address. Entries are sound at every moment, so a worker that panicked left nothing half done.
    fn set(&self, address: u128) -> MutexGuard<'_, [T; WAYS]> {
        self.sets[set_of(self.seed, address)].lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Limits {
    /// Full buckets. `seed` is any number, best one that cannot be guessed: nobody can choose whom to displace then.
    pub fn new(seed: u64) -> Limits {
        let inner = Inner {
            buckets: Table::new(seed),
            redirected: Table::new(seed),
            total_empty_ns: AtomicU64::new(0),
        };
        Limits { inner: Arc::new(inner) }
    }

    /// Whether an error may be sent to `destination` (an IPv4 address in its mapped form) now, which spends a token.
    /// `interval_ns` earns one.
    pub(crate) fn allow(
        &self,
        destination: u128,
        interval_ns: u64,
        settings: &Settings,
        now_ns: u64,
    ) -> bool {
        // As in Linux the bucket for all is asked first, but pays only for what both let through.
        let total = Total::new(settings, now_ns);
        let holds =
            |total: &Total| total.after_one(self.inner.total_empty_ns.load(Ordering::Relaxed)).is_some();
        total.as_ref().is_none_or(holds)
            && self.spend(
                destination,
                interval_ns,
                interval_ns.saturating_mul(settings.icmp_burst.into()),
                now_ns,
            )
            && total.is_none_or(|total| self.spend_total(&total))
    }

    /// Whether a redirect concerning `host` may be sent: only its own bucket counts, as in Linux.
    pub(crate) fn allow_redirect(
        &self,
        host: u128,
        interval_ns: u64,
        settings: &Settings,
        now_ns: u64,
    ) -> bool {
        self.spend(host, interval_ns, interval_ns.saturating_mul(settings.icmp_burst.into()), now_ns)
    }

    /// Whether a packet that found no route, or one that refuses, may be answered. Linux `ip_error` asks for this before
    /// it looks at the packet, and takes it from the same bucket as [`Limits::allow`] does afterwards.
    pub(crate) fn allow_lookup_error(&self, destination: u128, now_ns: u64) -> bool {
        self.spend(destination, LOOKUP_COST_NS, LOOKUP_BURST_NS, now_ns)
    }

    /// Takes one error from the bucket for all; another worker may have taken the last a moment ago.
    fn spend_total(&self, total: &Total) -> bool {
        let spend = |empty_ns| total.after_one(empty_ns);
        self.inner.total_empty_ns.fetch_update(Ordering::Relaxed, Ordering::Relaxed, spend).is_ok()
    }

    /// Takes `cost_ns` from what a destination has saved up, of which no more than `full_ns` counts.
    fn spend(&self, destination: u128, cost_ns: u64, full_ns: u64, now_ns: u64) -> bool {
        if cost_ns == 0 {
            return true;
        }
        let mut set = self.inner.buckets.set(destination);
        let found = set.iter().position(|bucket| bucket.used && bucket.destination == destination);
        let way = found.unwrap_or_else(|| {
            let oldest = (0..WAYS).min_by_key(|way| (set[*way].used, set[*way].last_ns)).unwrap_or(0);
            set[oldest] = Bucket { destination, credit_ns: NEW_NS.max(full_ns), last_ns: now_ns, used: true };
            oldest
        });
        let bucket = &mut set[way];
        // Workers read the clock a little apart: time that one of them has counted does not count again.
        let earned_ns = now_ns.saturating_sub(bucket.last_ns);
        bucket.last_ns = bucket.last_ns.max(now_ns);
        bucket.credit_ns = bucket.credit_ns.saturating_add(earned_ns).min(full_ns);
        if bucket.credit_ns < cost_ns {
            return false;
        }
        bucket.credit_ns -= cost_ns;
        true
    }
}

/// The bucket for all at a moment, under the settings of that moment.
struct Total {
    now_ns: u64,
    /// What an error costs.
    cost_ns: u64,
    /// The most that the bucket holds.
    full_ns: u64,
}

impl Total {
    /// None without a limit.
    fn new(settings: &Settings, now_ns: u64) -> Option<Total> {
        let cost_ns = 1_000_000_000u64.checked_div(u64::from(settings.icmp_total_per_s))?;
        let full_ns = cost_ns * u64::from(settings.icmp_total_burst);
        Some(Total { now_ns: BIAS_NS.saturating_add(now_ns), cost_ns, full_ns })
    }

    /// When the bucket was empty, once an error more is paid; None if it holds too little for one.
    fn after_one(&self, empty_ns: u64) -> Option<u64> {
        let empty_ns = empty_ns.max(self.now_ns.saturating_sub(self.full_ns));
        (self.now_ns.saturating_sub(empty_ns) >= self.cost_ns).then(|| empty_ns + self.cost_ns)
    }
}

/// Redirects that a host may ignore before it is sent no more (Linux `ip_rt_redirect_number`).
const REDIRECTS: u8 = 9;
/// Time after the first redirect, doubled with each (Linux `ip_rt_redirect_load`).
const REDIRECT_LOAD_NS: u64 = 20_000_000;
/// A host that sends nothing to be redirected for this long starts afresh (Linux `ip_rt_redirect_silence`).
const REDIRECT_SILENCE_NS: u64 = REDIRECT_LOAD_NS << (REDIRECTS + 1);

#[derive(Clone, Copy, Debug, Default)]
struct Redirected {
    host: u128,
    last_ns: u64,
    sent: u8,
}

impl Limits {
    /// Whether `host` may be sent a redirect for IPv4 now: at growing intervals, and not for ever (Linux
    /// `ip_rt_send_redirect`).
    pub(crate) fn allow_redirect4(&self, host: u128, now_ns: u64) -> bool {
        let mut set = self.inner.redirected.set(host);
        let way = set.iter().position(|entry| entry.host == host && entry.sent > 0).unwrap_or_else(|| {
            let oldest = (0..WAYS).min_by_key(|way| (set[*way].sent > 0, set[*way].last_ns)).unwrap_or(0);
            set[oldest] = Redirected { host, last_ns: now_ns, sent: 0 };
            oldest
        });
        let entry = &mut set[way];
        let quiet_ns = now_ns.saturating_sub(entry.last_ns);
        if quiet_ns > REDIRECT_SILENCE_NS {
            entry.sent = 0;
        }
        if entry.sent >= REDIRECTS {
            entry.last_ns = now_ns;
            return false;
        }
        if entry.sent > 0 && quiet_ns <= REDIRECT_LOAD_NS << entry.sent {
            return false;
        }
        entry.last_ns = now_ns;
        entry.sent += 1;
        true
    }
}

fn set_of(seed: u64, destination: u128) -> usize {
    let mixed = (destination ^ destination >> 64 ^ u128::from(seed)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    usize::try_from(mixed >> 48 & (SETS as u128 - 1)).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000_000;

    #[test]
    fn six_at_once_then_one_a_second_by_destination() {
        let settings = Settings::default();
        let limits = Limits::new(1);
        let allowed =
            |destination, at| (0..20).filter(|_| limits.allow(destination, SECOND, &settings, at)).count();
        assert_eq!(allowed(1, 0), 6);
        assert_eq!(allowed(2, 0), 6, "another destination has its own");
        assert_eq!(allowed(1, SECOND), 1);
        assert_eq!(allowed(1, SECOND + 999_999_999), 0);
        assert_eq!(allowed(1, 100 * SECOND), 6);
    }

    #[test]
    fn errors_by_look_up_pay_twice_from_one_purse_as_in_linux() {
        let settings = Settings::default();
        let limits = Limits::new(1);
        let both =
            |limits: &Limits, at| limits.allow_lookup_error(1, at) && limits.allow(1, SECOND, &settings, at);
        assert_eq!((0..20).filter(|_| both(&limits, 0)).count(), 2, "of five, two each; one alone buys none");
        assert!(!limits.allow(1, SECOND, &settings, 0));
        // Asking too often keeps a sender poor: the first charge is lost when the second cannot be paid.
        assert_eq!((1..100).filter(|third| both(&limits, third * SECOND / 3)).count(), 0);
        assert_eq!((0..20).filter(|_| both(&limits, 100 * SECOND)).count(), 2);
        // Others first: six, of which two are left after the third of four.
        let limits = Limits::new(1);
        assert!((0..2).all(|_| limits.allow(1, SECOND, &settings, 0)));
        assert_eq!((0..20).filter(|_| both(&limits, 0)).count(), 2);
    }

    #[test]
    fn fifty_at_once_to_all_then_a_thousand_a_second() {
        let settings = Settings::default();
        let limits = Limits::new(1);
        let spread =
            |base: u128, at| (0..5000).filter(|i| limits.allow(base + i, SECOND, &settings, at)).count();
        assert_eq!(spread(0, 0), 50);
        assert_eq!(spread(10_000, SECOND / 100), 10);
    }

    #[test]
    fn workers_share_the_limits() {
        let settings = &Settings::default();
        let limits = Limits::new(1);
        let workers = [limits.clone(), limits];
        let granted = |destination: fn(usize) -> u128, at| -> usize {
            std::thread::scope(|scope| {
                let threads = workers.iter().map(|limits| {
                    scope.spawn(move || {
                        (0..5000).filter(|i| limits.allow(destination(*i), SECOND, settings, at)).count()
                    })
                });
                let threads: Vec<_> = threads.collect();
                threads.into_iter().map(|thread| thread.join().unwrap()).sum()
            })
        };
        assert_eq!(granted(|_| 1, 0), 6, "of one destination");
        assert_eq!(granted(|i| 10 + i as u128, SECOND), 50, "of all");
        assert_eq!(granted(|i| 10_000 + i as u128, SECOND + SECOND / 100), 10, "of all, later");
        assert!(workers[0].allow_redirect4(1, 0));
        assert!(!workers[1].allow_redirect4(1, 0));
    }

    #[test]
    fn redirects_come_at_growing_intervals_and_end() {
        let limits = Limits::new(1);
        let mut sent_at = Vec::new();
        for ms in 0..30_000 {
            if limits.allow_redirect4(1, ms * 1_000_000) {
                sent_at.push(ms);
            }
        }
        assert_eq!(sent_at, [0, 41, 122, 283, 604, 1245, 2526, 5087, 10_208]);
        assert!(limits.allow_redirect4(2, 0), "another host has its own");
        assert!(!limits.allow_redirect4(1, 30 * SECOND));
        assert!(limits.allow_redirect4(1, 51 * SECOND), "silent long enough");
    }

    #[test]
    fn limits_can_be_switched_off() {
        let settings = Settings { icmp_total_per_s: 0, ..Settings::default() };
        let limits = Limits::new(1);
        assert!((0..1000).all(|_| limits.allow(1, 0, &settings, 0)));
    }
}
