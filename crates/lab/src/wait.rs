//! Waiting for a condition: polled until it holds or the time is up.

use std::time::{Duration, Instant};

use crate::error::Error;

/// The pause before the second poll; each further pause is half as long again, up to [`LONGEST_PAUSE`].
const FIRST_PAUSE: Duration = Duration::from_micros(200);
/// No pause is longer than this, so the result is at most this late.
const LONGEST_PAUSE: Duration = Duration::from_millis(10);

/// Polls `ready` until it returns `Some`, for `timeout` at most. The first poll is immediate.
///
/// `condition` completes the sentence "... did not happen within n ms".
///
/// # Errors
/// [`Error::Late`] when the time is up, and any error of `ready`.
pub fn until<T>(
    condition: &str,
    timeout: Duration,
    mut ready: impl FnMut() -> Result<Option<T>, Error>,
) -> Result<T, Error> {
    let deadline = Instant::now() + timeout;
    let mut pause = FIRST_PAUSE;
    loop {
        if let Some(value) = ready()? {
            return Ok(value);
        }
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(Error::Late { what: condition.to_owned(), milliseconds: timeout.as_millis() });
        }
        std::thread::sleep(pause.min(left));
        pause = (pause * 3 / 2).min(LONGEST_PAUSE);
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn polls_until_it_holds() {
        let mut polls = 0;
        let seen = until("third poll", Duration::from_secs(5), || {
            polls += 1;
            Ok((polls == 3).then_some(polls))
        });
        assert_eq!(seen.unwrap(), 3);
    }

    #[test]
    fn gives_up_when_the_time_is_over() {
        let late = until("rain", Duration::from_millis(5), || Ok(None::<()>)).unwrap_err();
        assert_eq!(late.to_string(), "rain did not happen within 5 ms");
    }
}
