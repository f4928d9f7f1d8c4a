//! A measuring window cut out of a running load, by reading counters at its beginning and its end. The
//! warm-up before it and whatever comes after it do not count.

use std::thread;
use std::time::{Duration, Instant};

/// When the counting begins and how long it lasts.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Window {
    pub(crate) warm_up: Duration,
    pub(crate) length: Duration,
}

/// The growth of counters over a window.
pub(crate) struct Counted<const N: usize> {
    pub(crate) counts: [u64; N],
    pub(crate) elapsed: Duration,
}

impl Window {
    /// Waits for the window to pass. By how much the counters grew meanwhile.
    pub(crate) fn count<const N: usize>(self, read: impl Fn() -> [u64; N]) -> Counted<N> {
        thread::sleep(self.warm_up);
        let (start, before) = (Instant::now(), read());
        thread::sleep(self.length);
        let (elapsed, after) = (start.elapsed(), read());
        let mut counts = after;
        for (count, before) in counts.iter_mut().zip(before) {
            *count = count.saturating_sub(before);
        }
        Counted { counts, elapsed }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicU64, Ordering};

    #[test]
    fn a_window_counts_what_grew_within_it() {
        let window = Window { warm_up: Duration::from_millis(20), length: Duration::from_millis(100) };
        let counter = AtomicU64::new(7);
        let counted = window.count(|| [counter.fetch_add(5, Ordering::Relaxed)]);
        assert_eq!(counted.counts, [5]);
        assert!(counted.elapsed >= window.length);
    }
}
