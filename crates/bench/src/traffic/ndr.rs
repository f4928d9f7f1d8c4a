//! The highest rate that is forwarded without loss, by binary search (RFC 2544 section 26.1).

use std::time::Duration;

/// The search ends when the lowest rate with loss and the highest without are closer than this share of the
/// first trial's rate.
pub(crate) const RESOLUTION: f64 = 1.0 / (1 << HALVINGS) as f64;
/// Halvings of the interval until then.
const HALVINGS: u32 = 6;
/// Trials of a rate, of which one without loss is enough: a machine that is busy for a moment loses frames at
/// any rate.
pub(crate) const TRIES: u32 = 2;
/// The length of a trial as a share of the scenario's measured time, but no shorter than [`SHORTEST_TRIAL`].
/// The minute of RFC 2544 section 24 is for hardware.
const TRIAL_SHARE: f64 = 0.25;
/// See [`TRIAL_SHARE`].
const SHORTEST_TRIAL: Duration = Duration::from_millis(250);

/// The length of a trial for a scenario's measured time.
pub(crate) fn trial_length(seconds: u32) -> Duration {
    Duration::from_secs_f64(f64::from(seconds) * TRIAL_SHARE).max(SHORTEST_TRIAL)
}

/// The most trials of one search.
pub(crate) fn trials_at_most() -> u32 {
    // The first is at full rate.
    (HALVINGS + 1) * TRIES
}

/// The result of a trial.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Trial {
    /// Frames per second that were sent.
    pub(crate) rate: f64,
    /// Frames sent.
    pub(crate) sent: u64,
    /// Frames received.
    pub(crate) received: u64,
}

/// The result of the search.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Found {
    /// The highest rate without loss, in frames per second; 0 where there was none.
    pub(crate) no_loss: f64,
    /// The rate of the sender without a limit.
    pub(crate) full: f64,
    /// The width of the interval above `no_loss` in which no rate was found to be without loss.
    pub(crate) resolution: f64,
    /// Trials made.
    pub(crate) trials: u32,
}

/// Searches with `trial`, which is given a rate, or `None` for as fast as the sender can.
pub(crate) fn search<E>(mut trial: impl FnMut(Option<f64>) -> Result<Trial, E>) -> Result<Found, E> {
    let mut trials = 0;
    let mut without_loss = |rate: Option<f64>| -> Result<(bool, f64), E> {
        let mut last = 0.0;
        for _ in 0..TRIES {
            trials += 1;
            let Trial { rate, sent, received } = trial(rate)?;
            last = rate;
            if sent > 0 && received >= sent {
                return Ok((true, rate));
            }
        }
        Ok((false, last))
    };
    let (clean, full) = without_loss(None)?;
    let resolution = full * RESOLUTION;
    let (mut low, mut high) = if clean { (full, full) } else { (0.0, full) };
    while high - low > resolution {
        let middle = f64::midpoint(low, high);
        match without_loss(Some(middle))? {
            (true, rate) => {
                // The rate that was sent counts. A sender that cannot keep a rate cannot keep a higher one
                // either.
                high = if rate < middle - resolution { middle } else { high };
                low = rate.clamp(low, middle);
                if high <= middle {
                    break;
                }
            }
            (false, _) => high = middle,
        }
    }
    Ok(Found { no_loss: low, full, resolution, trials })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::cast_possible_truncation, clippy::cast_sign_loss)]
    use super::*;
    use std::convert::Infallible;

    /// A router that loses what exceeds its limit, fed by a sender with a limit of its own.
    fn forwarder(limit: f64, sender: f64) -> impl FnMut(Option<f64>) -> Result<Trial, Infallible> {
        move |rate| {
            let rate = rate.unwrap_or(f64::INFINITY).min(sender);
            Ok(Trial { rate, sent: rate as u64, received: rate.min(limit) as u64 })
        }
    }

    #[test]
    fn the_limit_is_found_to_the_resolution() {
        for limit in [20_000.0, 333_333.0, 700_000.0, 999_000.0] {
            let found = search(forwarder(limit, 1e6)).unwrap();
            assert!(found.no_loss <= limit, "{found:?}");
            assert!(limit - found.no_loss <= found.resolution, "{limit}: {found:?}");
            assert!(found.trials <= trials_at_most(), "{found:?}");
        }
    }

    #[test]
    fn a_sender_slower_than_the_router_ends_it_at_once() {
        let found = search(forwarder(2e6, 1e6)).unwrap();
        assert_eq!((found.no_loss, found.trials), (1e6, 1));
    }

    #[test]
    fn one_bad_moment_is_forgiven_and_a_rate_that_always_loses_is_not() {
        let mut good = forwarder(500e3, 1e6);
        let mut calls = 0;
        let found = search(|rate| {
            calls += 1;
            let trial = good(rate)?;
            let hiccup = u64::from(calls % 2 == 1);
            Ok::<_, Infallible>(Trial { received: trial.received.saturating_sub(hiccup), ..trial })
        });
        assert!((found.unwrap().no_loss - 500e3).abs() <= 1e6 * RESOLUTION);
        let never =
            search(|rate| Ok::<_, Infallible>(Trial { rate: rate.unwrap_or(1e6), sent: 10, received: 9 }));
        assert_eq!(never.unwrap().no_loss, 0.0);
    }

    #[test]
    fn trials_are_never_too_short() {
        assert_eq!(trial_length(1), Duration::from_millis(250));
        assert_eq!(trial_length(8), Duration::from_secs(2));
    }
}
