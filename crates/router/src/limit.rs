//! Rate limits for ICMP errors: a token bucket for each destination and one for all, as Linux has them.
//!
//! Linux `inet_peer_xrlim_allow` and `icmp_global_allow` (net/ipv4/inetpeer.c, icmp.c). The table of destinations has a
//! fixed size: whoever spoofs sources displaces others' entries, and the bucket for all still holds.

use crate::config::Settings;

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
            && self.destination_allows(destination, interval_ns, settings.icmp_burst, now_ns)
            && {
                self.spend_total(settings);
                true
            }
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

    fn destination_allows(&mut self, destination: u128, interval_ns: u64, burst: u32, now_ns: u64) -> bool {
        if interval_ns == 0 {
            return true;
        }
        let full_ns = interval_ns.saturating_mul(u64::from(burst));
        let set = &mut self.buckets[set_of(self.seed, destination)];
        let found = set.iter().position(|bucket| bucket.used && bucket.destination == destination);
        let way = found.unwrap_or_else(|| {
            let oldest = (0..WAYS).min_by_key(|way| (set[*way].used, set[*way].last_ns)).unwrap_or(0);
            set[oldest] = Bucket { destination, credit_ns: full_ns, last_ns: now_ns, used: true };
            oldest
        });
        let bucket = &mut set[way];
        let earned_ns = now_ns.saturating_sub(bucket.last_ns);
        bucket.last_ns = now_ns;
        bucket.credit_ns = bucket.credit_ns.saturating_add(earned_ns).min(full_ns);
        if bucket.credit_ns < interval_ns {
            return false;
        }
        bucket.credit_ns -= interval_ns;
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
    fn fifty_at_once_to_all_then_a_thousand_a_second() {
        let settings = Settings::default();
        let mut limits = Limits::new(1);
        let mut spread =
            |base: u128, at| (0..5000).filter(|i| limits.allow(base + i, SECOND, &settings, at)).count();
        assert_eq!(spread(0, 0), 50);
        assert_eq!(spread(10_000, SECOND / 100), 10);
    }

    #[test]
    fn limits_can_be_switched_off() {
        let settings = Settings { icmp_total_per_s: 0, ..Settings::default() };
        let mut limits = Limits::new(1);
        assert!((0..1000).all(|_| limits.allow(1, 0, &settings, 0)));
    }
}
