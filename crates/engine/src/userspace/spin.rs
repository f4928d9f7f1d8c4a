//! How long a worker that finds nothing looks again before it sleeps.
//!
//! Sleeping costs the worker a system call and whoever wakes it a wake-up, some microseconds each, and the frame that
//! wakes it waits for the scheduler. Looking costs a processor that somebody else may want. So an adaptive
//! worker looks for as long as frames have lately been coming in quick succession, and lets others run meanwhile.

use std::time::Duration;

/// What an idle worker does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Spin {
    /// Sleeps at once.
    Never,
    /// Never sleeps.
    Always,
    /// Looks for this long, then sleeps.
    For(Duration),
    /// Looks for a while if frames have lately followed each other closely.
    #[default]
    Adaptive,
}

/// Gaps that are shorter than this on the average make looking worth while, in nanoseconds: about what a sleep and a
/// wake-up take.
const WORTH_NS: u64 = 30_000;
/// How long is looked then.
const LOOK_NS: u64 = 2 * WORTH_NS;
/// A gap counts for no more than this, so that one long pause is forgotten after a few short ones.
const GAP_LIMIT_NS: u64 = 8 * WORTH_NS;

/// The spinning of one worker.
#[derive(Debug)]
pub(crate) struct Spinner {
    policy: Spin,
    /// Since when nothing was found.
    idle_since_ns: Option<u64>,
    /// The moving average of the gaps between bursts.
    average_gap_ns: u64,
}

/// What to do after a round that found nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Pause {
    /// Look again.
    Look,
    /// Look again, but let others run first.
    Yield,
    /// Sleep until something happens.
    Sleep,
}

impl Spinner {
    pub(crate) fn new(policy: Spin) -> Spinner {
        Spinner { policy, idle_since_ns: None, average_gap_ns: GAP_LIMIT_NS }
    }

    /// A round found something.
    pub(crate) fn found(&mut self, now_ns: u64) {
        if let Some(since) = self.idle_since_ns.take() {
            let gap = now_ns.saturating_sub(since).min(GAP_LIMIT_NS);
            self.average_gap_ns = (7 * self.average_gap_ns + gap) / 8;
        }
    }

    /// A round found nothing.
    pub(crate) fn idle(&mut self, now_ns: u64) -> Pause {
        let idle_ns = now_ns.saturating_sub(*self.idle_since_ns.get_or_insert(now_ns));
        match self.policy {
            Spin::Never => Pause::Sleep,
            Spin::Always => Pause::Look,
            Spin::For(limit) if u128::from(idle_ns) < limit.as_nanos() => Pause::Look,
            Spin::Adaptive if self.average_gap_ns < WORTH_NS && idle_ns < LOOK_NS => Pause::Yield,
            Spin::For(_) | Spin::Adaptive => Pause::Sleep,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Gaps of this length, one after the other; what the last one's beginning was answered with.
    fn after_gaps(spinner: &mut Spinner, gap_ns: u64, count: u64) -> Pause {
        let mut last = Pause::Sleep;
        for round in 0..count {
            last = spinner.idle(round * gap_ns);
            spinner.found((round + 1) * gap_ns);
        }
        last
    }

    #[test]
    fn an_adaptive_worker_sleeps_until_frames_come_in_quick_succession() {
        let mut spinner = Spinner::new(Spin::Adaptive);
        assert_eq!(after_gaps(&mut spinner, 1_000_000, 100), Pause::Sleep, "pings");
        assert_eq!(after_gaps(&mut spinner, 5_000, 100), Pause::Yield, "a stream");
        assert_eq!(after_gaps(&mut spinner, 1_000_000, 10), Pause::Sleep, "pings again");
    }

    #[test]
    fn looking_ends_when_nothing_comes() {
        let mut spinner = Spinner::new(Spin::Adaptive);
        after_gaps(&mut spinner, 5_000, 100);
        assert_eq!(spinner.idle(0), Pause::Yield);
        assert_eq!(spinner.idle(LOOK_NS), Pause::Sleep);
        let mut fixed = Spinner::new(Spin::For(Duration::from_micros(10)));
        assert_eq!(
            (fixed.idle(0), fixed.idle(9_999), fixed.idle(10_000)),
            (Pause::Look, Pause::Look, Pause::Sleep)
        );
    }

    #[test]
    fn the_extremes_are_what_they_say() {
        assert_eq!(Spinner::new(Spin::Never).idle(0), Pause::Sleep);
        let mut always = Spinner::new(Spin::Always);
        assert_eq!((always.idle(0), always.idle(u64::MAX)), (Pause::Look, Pause::Look));
    }
}
