//! Rate limits for ICMP errors and redirects: a token bucket for each destination and one for all, as Linux
//! has them.
//!
//! All workers of a router share these limits. The global bucket is one atomic number; destinations lie
//! behind a lock for each four of them, which only errors take, never forwarded packets.

mod bucket;
mod redirect;
mod table;

use std::sync::Arc;

use crate::config::Settings;
use bucket::{Bucket, GlobalBucket, GlobalRate};
use redirect::Redirected;
use table::Table;

/// The cost of an error by route look-up, beside the ICMP limit, and how much of it a destination may save up
/// (Linux `ip_rt_error_cost`, `ip_rt_error_burst`).
const LOOKUP_COST_NS: u64 = 1_000_000_000;
const LOOKUP_BURST_NS: u64 = 5 * LOOKUP_COST_NS;

/// The limits of a router's ICMP errors and redirects. Clones are the same limits, one for each worker.
#[derive(Clone, Debug)]
pub struct Limits {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    buckets: Table<Bucket>,
    redirected: Table<Redirected>,
    global: GlobalBucket,
}

impl Limits {
    /// Full buckets. `seed` is any number, best one that cannot be guessed: nobody can choose which entry to
    /// evict then.
    pub fn new(seed: u64) -> Limits {
        let inner = Inner {
            buckets: Table::new(seed),
            redirected: Table::new(seed),
            global: GlobalBucket::default(),
        };
        Limits { inner: Arc::new(inner) }
    }

    /// Whether an error may be sent to `destination` (an IPv4 address in its mapped form) now, which spends a
    /// token. `interval_ns` earns one.
    pub(crate) fn allow(
        &self,
        destination: u128,
        interval_ns: u64,
        settings: &Settings,
        now_ns: u64,
    ) -> bool {
        // As in Linux the global bucket is asked first, but pays only for what both let through.
        let rate = GlobalRate::new(settings, now_ns);
        rate.as_ref().is_none_or(|rate| self.inner.global.holds(rate))
            && self.allow_redirect(destination, interval_ns, settings, now_ns)
            && rate.is_none_or(|rate| self.inner.global.spend(&rate))
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

    /// Whether a packet that found no route, or one that rejects, may be answered. Linux `ip_error` asks for
    /// this before it looks at the packet, and takes it from the same bucket as [`Limits::allow`] does
    /// afterwards.
    pub(crate) fn allow_lookup_error(&self, destination: u128, now_ns: u64) -> bool {
        self.spend(destination, LOOKUP_COST_NS, LOOKUP_BURST_NS, now_ns)
    }

    /// Whether `host` may be sent a redirect for IPv4 now.
    pub(crate) fn allow_redirect4(&self, host: u128, now_ns: u64) -> bool {
        self.inner.redirected.with(host, Redirected::new(host, now_ns), |entry| entry.allow(now_ns))
    }

    /// Takes `cost_ns` out of the bucket of a destination, which holds `full_ns` at most.
    fn spend(&self, destination: u128, cost_ns: u64, full_ns: u64, now_ns: u64) -> bool {
        if cost_ns == 0 {
            return true;
        }
        let new = Bucket::new(destination, full_ns, now_ns);
        self.inner.buckets.with(destination, new, |bucket| bucket.spend(cost_ns, full_ns, now_ns))
    }
}

#[cfg(test)]
mod limit_tests;
