//! Redirects for IPv4 to one host: at growing intervals, and not for ever (Linux `ip_rt_send_redirect`).

use super::table::Entry;

/// Redirects that a host may ignore before it is sent no more (Linux `ip_rt_redirect_number`).
const REDIRECTS: u8 = 9;
/// Time after the first redirect, doubled with each (Linux `ip_rt_redirect_load`).
const LOAD_NS: u64 = 20_000_000;
/// A host that sends nothing to be redirected for this long starts afresh (Linux `ip_rt_redirect_silence`).
const SILENCE_NS: u64 = LOAD_NS << (REDIRECTS + 1);

/// A host that was redirected.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Redirected {
    host: u128,
    last_ns: u64,
    sent: u8,
}

impl Entry for Redirected {
    fn address(&self) -> Option<u128> {
        (self.sent > 0).then_some(self.host)
    }

    fn last_ns(&self) -> u64 {
        self.last_ns
    }
}

impl Redirected {
    /// A host that was sent no redirect yet.
    pub(super) fn new(host: u128, now_ns: u64) -> Redirected {
        Redirected { host, last_ns: now_ns, sent: 0 }
    }

    /// Whether the host may be sent a redirect now, which counts as sent then.
    pub(super) fn allow(&mut self, now_ns: u64) -> bool {
        let quiet_ns = now_ns.saturating_sub(self.last_ns);
        if quiet_ns > SILENCE_NS {
            self.sent = 0;
        }
        if self.sent >= REDIRECTS {
            self.last_ns = now_ns;
            return false;
        }
        if self.sent > 0 && quiet_ns <= LOAD_NS << self.sent {
            return false;
        }
        self.last_ns = now_ns;
        self.sent += 1;
        true
    }
}
