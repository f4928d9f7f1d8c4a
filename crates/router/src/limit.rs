//! Rate limits for ICMP errors: a token bucket for each destination and one for all, as Linux has them.
//!
//! Linux `inet_peer_xrlim_allow` and `icmp_global_allow` (net/ipv4/inetpeer.c, icmp.c). The table of destinations has a
//! fixed size: whoever spoofs sources displaces others' entries, and the bucket for all still holds.

use crate::config::Settings;

/// What an error by route look-up costs its destination beside the ICMP limit, and how much of that a destination may
/// save up (Linux `ip_rt_error_cost`, `ip_rt_error_burst`).
const LOOKUP_COST_NS: u64 = 1_000_000_000;
const LOOKUP_BURST_NS: u64 = 5 * LOOKUP_COST_NS;
/// What a destination that is new has saved up: more than any burst (Linux `inet_getpeer`).
const NEW_NS: u64 = 60_000_000_000;

const SETS: usize = 256;
const WAYS: usize = 4;

#[derive(Clone, Copy, Debug, Default)]
struct Bucket {
    destination: u128,
    /// Time saved up, in nanoseconds: each error costs one interval.
    credit_ns: u64,
    last_ns: u64,
    used: bool,
}

/// The limiters of one worker.
#[derive(Debug)]
pub(crate) struct Limits {
    buckets: Box<[[Bucket; WAYS]]>,
    seed: u64,
    total_credit_ns: u64,
    total_last_ns: Option<u64>,
}

impl Limits {
    pub(crate) fn new(seed: u64) -> Limits {
        Limits {
            buckets: vec![[Bucket::default(); WAYS]; SETS].into(),
            seed,
            total_credit_ns: 0,
            total_last_ns: None,
        }
    }

    /// Whether an error may be sent to `destination` (an IPv4 address in its mapped form) now, which spends a token.
    /// `interval_ns` earns one.
    pub(crate) fn allow(
        &mut self,
        destination: u128,
        interval_ns: u64,
        settings: &Settings,
        now_ns: u64,
    ) -> bool {
        // As in Linux the bucket for all is asked first, but pays only for what both let through.
        self.total_allows(settings, now_ns)
            && self.spend(
                destination,
                interval_ns,
                interval_ns.saturating_mul(settings.icmp_burst.into()),
                now_ns,
            )
            && {
                self.spend_total(settings);
                true
            }
    }

    /// Whether a redirect concerning `host` may be sent: only its own bucket counts, as in Linux.
    pub(crate) fn allow_redirect(
        &mut self,
        host: u128,
        interval_ns: u64,
        settings: &Settings,
        now_ns: u64,
    ) -> bool {
        self.spend(host, interval_ns, interval_ns.saturating_mul(settings.icmp_burst.into()), now_ns)
    }

    /// Whether a packet that found no route, or one that refuses, may be answered. Linux `ip_error` asks for this before
    /// it looks at the packet, and takes it from the same bucket as [`Limits::allow`] does afterwards.
    pub(crate) fn allow_lookup_error(&mut self, destination: u128, now_ns: u64) -> bool {
        self.spend(destination, LOOKUP_COST_NS, LOOKUP_BURST_NS, now_ns)
    }

    fn total_allows(&mut self, settings: &Settings, now_ns: u64) -> bool {
        let Some(cost_ns) = 1_000_000_000u64.checked_div(u64::from(settings.icmp_total_per_s)) else {
            return true;
        };
        let full_ns = cost_ns * u64::from(settings.icmp_total_burst);
        let last_ns = self.total_last_ns.replace(now_ns);
        let earned_ns = last_ns.map_or(full_ns, |last_ns| now_ns.saturating_sub(last_ns));
        self.total_credit_ns = self.total_credit_ns.saturating_add(earned_ns).min(full_ns);
        self.total_credit_ns >= cost_ns
    }

    fn spend_total(&mut self, settings: &Settings) {
        if let Some(cost_ns) = 1_000_000_000u64.checked_div(u64::from(settings.icmp_total_per_s)) {
            self.total_credit_ns = self.total_credit_ns.saturating_sub(cost_ns);
        }
    }

    /// Takes `cost_ns` from what a destination has saved up, of which no more than `full_ns` counts.
    fn spend(&mut self, destination: u128, cost_ns: u64, full_ns: u64, now_ns: u64) -> bool {
        if cost_ns == 0 {
            return true;
        }
        let set = &mut self.buckets[set_of(self.seed, destination)];
        let found = set.iter().position(|bucket| bucket.used && bucket.destination == destination);
        let way = found.unwrap_or_else(|| {
            let oldest = (0..WAYS).min_by_key(|way| (set[*way].used, set[*way].last_ns)).unwrap_or(0);
            set[oldest] = Bucket { destination, credit_ns: NEW_NS.max(full_ns), last_ns: now_ns, used: true };
            oldest
        });
        let bucket = &mut set[way];
        let earned_ns = now_ns.saturating_sub(bucket.last_ns);
        bucket.last_ns = now_ns;
        bucket.credit_ns = bucket.credit_ns.saturating_add(earned_ns).min(full_ns);
        if bucket.credit_ns < cost_ns {
            return false;
        }
        bucket.credit_ns -= cost_ns;
        true
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

/// How often hosts are redirected: at growing intervals, and not for ever (Linux `ip_rt_send_redirect`).
#[derive(Debug)]
pub(crate) struct RedirectLimits {
    hosts: Box<[[Redirected; WAYS]]>,
    seed: u64,
}

impl RedirectLimits {
    pub(crate) fn new(seed: u64) -> RedirectLimits {
        RedirectLimits { hosts: vec![[Redirected::default(); WAYS]; SETS].into(), seed }
    }

    /// Whether `host` may be redirected now.
    pub(crate) fn allow(&mut self, host: u128, now_ns: u64) -> bool {
        let set = &mut self.hosts[set_of(self.seed, host)];
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
        let mut limits = Limits::new(1);
        let mut allowed =
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
        let mut limits = Limits::new(1);
        let both = |limits: &mut Limits, at| {
            limits.allow_lookup_error(1, at) && limits.allow(1, SECOND, &settings, at)
        };
        assert_eq!(
            (0..20).filter(|_| both(&mut limits, 0)).count(),
            2,
            "of five, two each; one alone buys none"
        );
        assert!(!limits.allow(1, SECOND, &settings, 0));
        // Asking too often keeps a sender poor: the first charge is lost when the second cannot be paid.
        assert_eq!((1..100).filter(|third| both(&mut limits, third * SECOND / 3)).count(), 0);
        assert_eq!((0..20).filter(|_| both(&mut limits, 100 * SECOND)).count(), 2);
        // Others first: six, of which two are left after the third of four.
        let mut limits = Limits::new(1);
        assert!((0..2).all(|_| limits.allow(1, SECOND, &settings, 0)));
        assert_eq!((0..20).filter(|_| both(&mut limits, 0)).count(), 2);
    }

    #[test]
    fn fifty_at_once_to_all_then_a_thousand_a_second() {
        let settings = Settings::default();
        let mut limits = Limits::new(1);
        let mut spread =
            |base: u128, at| (0..5000).filter(|i| limits.allow(base + i, SECOND, &settings, at)).count();
        assert_eq!(spread(0, 0), 50);
        assert_eq!(spread(10_000, SECOND / 100), 10);
    }

    #[test]
    fn redirects_come_at_growing_intervals_and_end() {
        let mut limits = RedirectLimits::new(1);
        let mut sent_at = Vec::new();
        for ms in 0..30_000 {
            if limits.allow(1, ms * 1_000_000) {
                sent_at.push(ms);
            }
        }
        assert_eq!(sent_at, [0, 41, 122, 283, 604, 1245, 2526, 5087, 10_208]);
        assert!(limits.allow(2, 0), "another host has its own");
        assert!(!limits.allow(1, 30 * SECOND));
        assert!(limits.allow(1, 51 * SECOND), "silent long enough");
    }

    #[test]
    fn limits_can_be_switched_off() {
        let settings = Settings { icmp_total_per_s: 0, ..Settings::default() };
        let mut limits = Limits::new(1);
        assert!((0..1000).all(|_| limits.allow(1, 0, &settings, 0)));
    }
}
