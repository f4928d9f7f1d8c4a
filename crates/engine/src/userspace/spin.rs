//! How an idle worker waits: it polls again, yields its CPU, naps, or sleeps until it is woken.
//!
//! Waking a sleeping worker costs the sender a few microseconds (a scheduler wake-up), and the frame waits
//! until the worker runs, on an idle virtual CPU for tens of microseconds. So an adaptive worker does not
//! sleep at once:
//!
//! - In a stream of frames it yields its CPU briefly, and then naps on a timer. No sender has to wake it, the frames
//!   of that time are forwarded together, and other programs have the CPU meanwhile. Where one of them kept the CPU
//!   for long, the worker only naps: a timer brings it back in time.
//! - After a single frame it busy-polls briefly, in case a reply follows. Where replies are rare, it rarely polls.

use std::time::Duration;

/// How an idle worker waits for frames.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Spin {
    /// Sleeps at once.
    Never,
    /// Never sleeps.
    Always,
    /// Busy-polls for this long, then sleeps.
    For(Duration),
    /// Naps in a stream of frames, busy-polls briefly after a single one, and then sleeps.
    #[default]
    Adaptive,
}

/// Bursts whose gaps are shorter than this on average are a stream, in nanoseconds: about a sleep and a
/// wake-up.
const STREAM_GAP_NS: u64 = 100_000;
/// A gap counts for no more than this, so that one long pause is forgotten after a few short ones.
const GAP_LIMIT_NS: u64 = 4 * STREAM_GAP_NS;
/// How long the worker yields in a stream before the first nap: less than it takes to set a nap's timer.
const YIELD_NS: u64 = 3_000;
/// A program that keeps the CPU for longer, in nanoseconds, would delay the next frames too.
const CROWDED_NS: u64 = 30_000;
/// Idle rounds after that in which the worker does not yield.
const CROWDED_ROUNDS: u32 = 64;
/// Length of a nap beside programs of the same priority. The timer's own cost on a virtual CPU comes on top,
/// four times that.
const NAP: Duration = Duration::from_micros(5);
/// Length of a nap of a worker with priority, in whose naps alone other programs have the CPU: at a million
/// packets a second, a third of a burst.
const LONG_NAP: Duration = Duration::from_micros(20);
/// Naps in a row without a frame after which the worker sleeps.
const NAPS: u32 = 3;
/// How long the worker busy-polls after a single frame, in nanoseconds: an echo's way through a host and
/// back, with a margin.
const POLL_NS: u64 = 60_000;
/// Busy-polling pays where at least one of so many times brings a frame; else it is done once in so many
/// times, to learn.
const POLLS: u32 = 8;

/// The waiting of one worker.
#[derive(Debug)]
pub(crate) struct Spinner {
    policy: Spin,
    /// The worker has priority over other programs on its CPU, so they gain nothing when it yields.
    has_priority: bool,
    /// Since when no frame was found.
    idle_since_ns: Option<u64>,
    /// The moving average of the gaps between bursts.
    average_gap_ns: u64,
    /// Naps since a frame was found.
    naps: u32,
    /// Idle rounds in which it does not yield.
    crowded_rounds: u32,
    /// Times in a row that it busy-polled in vain.
    vain_polls: u32,
}

/// How to wait after a round that found no frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Pause {
    /// Poll again.
    Poll,
    /// Yield the CPU, then report the time that took by [`Spinner::yielded`], and poll again.
    Yield,
    /// Nap for so long, then poll again.
    Nap(Duration),
    /// Sleep until a frame or a command arrives.
    Sleep,
}

impl Spinner {
    /// A worker that has not waited yet.
    pub(crate) fn new(policy: Spin, has_priority: bool) -> Spinner {
        Spinner {
            policy,
            has_priority,
            idle_since_ns: None,
            average_gap_ns: GAP_LIMIT_NS,
            naps: 0,
            crowded_rounds: 0,
            vain_polls: 0,
        }
    }

    /// A round found frames.
    pub(crate) fn found(&mut self, now_ns: u64) {
        let gap = self.idle_since_ns.take().map_or(0, |since| now_ns.saturating_sub(since));
        self.average_gap_ns = (7 * self.average_gap_ns + gap.min(GAP_LIMIT_NS)) / 8;
        self.naps = 0;
        if gap < POLL_NS {
            self.vain_polls = 0;
        }
    }

    /// Other programs had the CPU for so long.
    pub(crate) fn yielded(&mut self, yielded_ns: u64) {
        if yielded_ns > CROWDED_NS {
            self.crowded_rounds = CROWDED_ROUNDS;
        }
    }

    /// A round found no frame.
    pub(crate) fn idle(&mut self, now_ns: u64) -> Pause {
        let idle_ns = now_ns.saturating_sub(*self.idle_since_ns.get_or_insert(now_ns));
        match self.policy {
            Spin::Never => Pause::Sleep,
            Spin::Always => Pause::Poll,
            Spin::For(limit) if u128::from(idle_ns) < limit.as_nanos() => Pause::Poll,
            Spin::For(_) => Pause::Sleep,
            Spin::Adaptive if self.average_gap_ns < STREAM_GAP_NS => self.wait_for_stream(idle_ns),
            Spin::Adaptive if self.vain_polls >= POLLS && !self.vain_polls.is_multiple_of(POLLS) => {
                self.vain_polls += 1;
                Pause::Sleep
            }
            Spin::Adaptive if idle_ns < POLL_NS => Pause::Poll,
            Spin::Adaptive => {
                self.vain_polls = self.vain_polls.wrapping_add(1);
                Pause::Sleep
            }
        }
    }

    /// In a stream the next frames are on their way.
    fn wait_for_stream(&mut self, idle_ns: u64) -> Pause {
        if !self.has_priority && self.crowded_rounds == 0 && idle_ns < YIELD_NS {
            return Pause::Yield;
        }
        self.crowded_rounds = self.crowded_rounds.saturating_sub(1);
        self.naps += 1;
        match (self.naps <= NAPS, self.has_priority) {
            (false, _) => Pause::Sleep,
            (true, false) => Pause::Nap(NAP),
            (true, true) => Pause::Nap(LONG_NAP),
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
    fn an_adaptive_worker_naps_in_a_stream_and_polls_where_frames_are_answered() {
        let mut spinner = Spinner::new(Spin::Adaptive, false);
        assert_eq!(after_gaps(&mut spinner, 10_000_000, 100), Pause::Poll, "a frame now and then");
        assert_eq!(after_gaps(&mut spinner, 5_000, 100), Pause::Yield, "a stream");
        assert_eq!(after_gaps(&mut spinner, 1_000_000, 20), Pause::Poll, "a frame now and then, again");
    }

    #[test]
    fn after_a_stream_a_worker_yields_then_naps_and_then_sleeps() {
        let mut spinner = Spinner::new(Spin::Adaptive, false);
        after_gaps(&mut spinner, 5_000, 100);
        let pauses = [0, 1_000, 3_000, 23_000, 43_000, 63_000].map(|now| spinner.idle(now));
        let nap = Pause::Nap(NAP);
        assert_eq!(pauses, [Pause::Yield, Pause::Yield, nap, nap, nap, Pause::Sleep]);
    }

    #[test]
    fn where_other_programs_keep_the_cpu_the_worker_naps() {
        let mut spinner = Spinner::new(Spin::Adaptive, false);
        after_gaps(&mut spinner, 5_000, 100);
        spinner.yielded(CROWDED_NS);
        assert_eq!(spinner.idle(1_000_000), Pause::Yield, "not that long");
        spinner.yielded(CROWDED_NS + 1);
        for round in 0..u64::from(CROWDED_ROUNDS) {
            assert_eq!(spinner.idle(round * 5_000), Pause::Nap(NAP), "round {round}");
            spinner.found(round * 5_000);
        }
        assert_eq!(spinner.idle(1_000_000), Pause::Yield, "tried again");
    }

    #[test]
    fn a_worker_that_has_priority_naps_for_longer() {
        let mut spinner = Spinner::new(Spin::Adaptive, true);
        assert_eq!(after_gaps(&mut spinner, 5_000, 100), Pause::Nap(LONG_NAP));
    }

    #[test]
    fn polling_in_vain_becomes_rare() {
        let mut spinner = Spinner::new(Spin::Adaptive, false);
        let mut polled = 0;
        for second in 0..100u64 {
            let start = second * 1_000_000_000;
            polled += u32::from(spinner.idle(start) == Pause::Poll);
            assert_eq!(spinner.idle(start + POLL_NS), Pause::Sleep);
            spinner.found(start + 999_000_000);
        }
        assert!((POLLS..=2 * POLLS + 100 / POLLS).contains(&polled), "{polled}");
        // Once it brings a frame, it pays again.
        spinner.idle(0);
        spinner.found(5_000);
        assert_eq!(spinner.idle(1_000_000_000), Pause::Poll);
    }

    #[test]
    fn the_extremes_are_what_they_say() {
        assert_eq!(Spinner::new(Spin::Never, false).idle(0), Pause::Sleep);
        let mut always = Spinner::new(Spin::Always, false);
        assert_eq!((always.idle(0), always.idle(u64::MAX)), (Pause::Poll, Pause::Poll));
        let mut fixed = Spinner::new(Spin::For(Duration::from_micros(10)), false);
        let pauses = [0, 9_999, 10_000].map(|now| fixed.idle(now));
        assert_eq!(pauses, [Pause::Poll, Pause::Poll, Pause::Sleep]);
    }
}
