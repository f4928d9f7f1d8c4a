//! What a worker does that finds nothing: look again, nap, or sleep until it is woken.
//!
//! To be woken costs whoever sends the frame a system's wake-up, some microseconds of its time, and the frame that wakes waits for
//! the scheduler, on an idle virtual processor for tens of microseconds. So an adaptive worker does not sleep at once:
//!
//! - While frames come in quick succession it gives way to others on its processor for a moment, and then naps, for a time that
//!   it sets itself. Nobody has to wake it, what came meanwhile is forwarded in one go, and others have the processor in between.
//!   Where somebody else took the processor for long, only naps bring it back in time.
//! - When frames come rarely it looks for a moment, for most of what comes is answered at once. Where that is seldom
//!   so, it seldom looks.

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
    /// Naps while frames come in quick succession, looks for a moment when they come rarely, and sleeps.
    #[default]
    Adaptive,
}

/// Gaps that are shorter than this on the average are a stream, in nanoseconds: about what a sleep and a wake-up take.
const STREAM_GAP_NS: u64 = 100_000;
/// A gap counts for no more than this, so that one long pause is forgotten after a few short ones.
const GAP_LIMIT_NS: u64 = 4 * STREAM_GAP_NS;
/// How long a stream is waited for by giving way, before the first nap: less than a nap's timer takes to set.
const GIVE_WAY_NS: u64 = 3_000;
/// Whoever takes the processor for longer would be in the way of the next frames too.
const TAKEN_NS: u64 = 30_000;
/// So many idle rounds after that are naps.
const TAKEN_ROUNDS: u32 = 64;
/// How long a nap is beside others of the same rank: a timer's own cost on a virtual processor comes on top, four times that.
const NAP: Duration = Duration::from_micros(5);
/// How long a nap is of a worker that goes before all others: they have the processor in its naps alone. At a million packets a
/// second a third of a burst.
const LONG_NAP: Duration = Duration::from_micros(20);
/// Naps in a row that bring nothing before the worker sleeps.
const NAPS: u32 = 3;
/// How long is looked where frames come rarely: an echo's way through a host and back, and some.
const LOOK_NS: u64 = 60_000;
/// Looks are worth while where at least one of so many brings something; else one of so many is taken, to learn.
const LOOKS: u32 = 8;

/// The spinning of one worker.
#[derive(Debug)]
pub(crate) struct Spinner {
    policy: Spin,
    /// The worker goes before others on its processor, so they get nothing from its giving way.
    goes_first: bool,
    /// Since when nothing was found.
    idle_since_ns: Option<u64>,
    /// The moving average of the gaps between bursts.
    average_gap_ns: u64,
    /// Naps since something was found.
    naps: u32,
    /// Idle rounds for which it does not give way.
    taken: u32,
    /// Looks in a row that brought nothing.
    vain_looks: u32,
}

/// What to do after a round that found nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Pause {
    /// Look again.
    Look,
    /// Let others run that are ready to, then tell [`Spinner::gave_way`] how long they took, and look again.
    GiveWay,
    /// Let others run for so long, then look again.
    Nap(Duration),
    /// Sleep until something happens.
    Sleep,
}

impl Spinner {
    pub(crate) fn new(policy: Spin, goes_first: bool) -> Spinner {
        Spinner {
            policy,
            goes_first,
            idle_since_ns: None,
            average_gap_ns: GAP_LIMIT_NS,
            naps: 0,
            taken: 0,
            vain_looks: 0,
        }
    }

    /// A round found something.
    pub(crate) fn found(&mut self, now_ns: u64) {
        let gap = self.idle_since_ns.take().map_or(0, |since| now_ns.saturating_sub(since));
        self.average_gap_ns = (7 * self.average_gap_ns + gap.min(GAP_LIMIT_NS)) / 8;
        self.naps = 0;
        if gap < LOOK_NS {
            self.vain_looks = 0;
        }
    }

    /// Others had the processor for so long.
    pub(crate) fn gave_way(&mut self, taken_ns: u64) {
        if taken_ns > TAKEN_NS {
            self.taken = TAKEN_ROUNDS;
        }
    }

    /// A round found nothing.
    pub(crate) fn idle(&mut self, now_ns: u64) -> Pause {
        let idle_ns = now_ns.saturating_sub(*self.idle_since_ns.get_or_insert(now_ns));
        match self.policy {
            Spin::Never => Pause::Sleep,
            Spin::Always => Pause::Look,
            Spin::For(limit) if u128::from(idle_ns) < limit.as_nanos() => Pause::Look,
            Spin::For(_) => Pause::Sleep,
            Spin::Adaptive if self.average_gap_ns < STREAM_GAP_NS => self.wait_for_stream(idle_ns),
            Spin::Adaptive if self.vain_looks >= LOOKS && !self.vain_looks.is_multiple_of(LOOKS) => {
                self.vain_looks += 1;
                Pause::Sleep
            }
            Spin::Adaptive if idle_ns < LOOK_NS => Pause::Look,
            Spin::Adaptive => {
                self.vain_looks = self.vain_looks.wrapping_add(1);
                Pause::Sleep
            }
        }
    }

    /// Frames come in quick succession: the next ones are on their way.
    fn wait_for_stream(&mut self, idle_ns: u64) -> Pause {
        if !self.goes_first && self.taken == 0 && idle_ns < GIVE_WAY_NS {
            return Pause::GiveWay;
        }
        self.taken = self.taken.saturating_sub(1);
        self.naps += 1;
        match (self.naps <= NAPS, self.goes_first) {
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
    fn an_adaptive_worker_naps_in_a_stream_and_looks_where_frames_are_answered() {
        let mut spinner = Spinner::new(Spin::Adaptive, false);
        assert_eq!(after_gaps(&mut spinner, 10_000_000, 100), Pause::Look, "a frame now and then");
        assert_eq!(after_gaps(&mut spinner, 5_000, 100), Pause::GiveWay, "a stream");
        assert_eq!(after_gaps(&mut spinner, 1_000_000, 20), Pause::Look, "a frame now and then, again");
    }

    #[test]
    fn a_stream_that_ends_is_waited_for_by_giving_way_then_by_naps_and_then_no_more() {
        let mut spinner = Spinner::new(Spin::Adaptive, false);
        after_gaps(&mut spinner, 5_000, 100);
        let pauses = [0, 1_000, 3_000, 23_000, 43_000, 63_000].map(|now| spinner.idle(now));
        let nap = Pause::Nap(NAP);
        assert_eq!(pauses, [Pause::GiveWay, Pause::GiveWay, nap, nap, nap, Pause::Sleep]);
    }

    #[test]
    fn where_others_take_the_processor_for_long_naps_bring_it_back() {
        let mut spinner = Spinner::new(Spin::Adaptive, false);
        after_gaps(&mut spinner, 5_000, 100);
        spinner.gave_way(TAKEN_NS);
        assert_eq!(spinner.idle(1_000_000), Pause::GiveWay, "not that long");
        spinner.gave_way(TAKEN_NS + 1);
        for round in 0..u64::from(TAKEN_ROUNDS) {
            assert_eq!(spinner.idle(round * 5_000), Pause::Nap(NAP), "round {round}");
            spinner.found(round * 5_000);
        }
        assert_eq!(spinner.idle(1_000_000), Pause::GiveWay, "tried again");
    }

    #[test]
    fn a_worker_that_goes_first_naps_for_longer() {
        let mut spinner = Spinner::new(Spin::Adaptive, true);
        assert_eq!(after_gaps(&mut spinner, 5_000, 100), Pause::Nap(LONG_NAP));
    }

    #[test]
    fn looks_that_bring_nothing_become_rare() {
        let mut spinner = Spinner::new(Spin::Adaptive, false);
        let mut looked = 0;
        for second in 0..100u64 {
            let start = second * 1_000_000_000;
            looked += u32::from(spinner.idle(start) == Pause::Look);
            assert_eq!(spinner.idle(start + LOOK_NS), Pause::Sleep);
            spinner.found(start + 999_000_000);
        }
        assert!((LOOKS..=2 * LOOKS + 100 / LOOKS).contains(&looked), "{looked}");
        // One that brings something makes them worth while again.
        spinner.idle(0);
        spinner.found(5_000);
        assert_eq!(spinner.idle(1_000_000_000), Pause::Look);
    }

    #[test]
    fn the_extremes_are_what_they_say() {
        assert_eq!(Spinner::new(Spin::Never, false).idle(0), Pause::Sleep);
        let mut always = Spinner::new(Spin::Always, false);
        assert_eq!((always.idle(0), always.idle(u64::MAX)), (Pause::Look, Pause::Look));
        let mut fixed = Spinner::new(Spin::For(Duration::from_micros(10)), false);
        let pauses = [0, 9_999, 10_000].map(|now| fixed.idle(now));
        assert_eq!(pauses, [Pause::Look, Pause::Look, Pause::Sleep]);
    }
}
