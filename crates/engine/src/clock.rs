//! One clock for every thread of an engine.

use std::time::{Instant, SystemTime, UNIX_EPOCH};

use nsrouter_router::Time;

/// Counts from the moment at which the engine started.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Clock {
    start: Instant,
}

impl Clock {
    /// A clock that starts now.
    pub(crate) fn new() -> Clock {
        Clock { start: Instant::now() }
    }

    /// Nanoseconds since the engine started.
    pub(crate) fn now_ns(&self) -> u64 {
        u64::try_from(self.start.elapsed().as_nanos()).unwrap_or(u64::MAX)
    }

    /// The router's time: monotonic, and milliseconds since midnight UT.
    pub(crate) fn now(&self) -> Time {
        const DAY_MS: u128 = 24 * 60 * 60 * 1000;
        let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let utc_ms = u32::try_from(since_epoch.as_millis() % DAY_MS).unwrap_or(0);
        Time { mono_ns: self.now_ns(), utc_ms }
    }
}
