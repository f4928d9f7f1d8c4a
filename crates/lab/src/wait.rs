//! Waiting for a condition: looked at again and again until it holds or the time is up.

use std::time::{Duration, Instant};

use crate::Error;

/// The pause before the second look; each further one is half as long again, up to [`LONGEST_PAUSE`].
const FIRST_PAUSE: Duration = Duration::from_micros(200);
/// No pause is longer than this, so an answer comes at most this late.
const LONGEST_PAUSE: Duration = Duration::from_millis(10);

/// Looks with `ready` until it answers `Some`, at most for `timeout`. The first look is at once.
///
/// `what` completes the sentence "... did not happen within n ms".
///
/// # Errors
/// [`Error::Late`] when the time is up, and whatever `ready` fails with.
pub fn until<T>(
    what: &str,
    timeout: Duration,
    mut ready: impl FnMut() -> Result<Option<T>, Error>,
) -> Result<T, Error> {
    let deadline = Instant::now() + timeout;
    let mut pause = FIRST_PAUSE;
    loop {
        if let Some(answer) = ready()? {
            return Ok(answer);
        }
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(Error::Late { what: what.to_owned(), milliseconds: timeout.as_millis() });
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
    fn looks_again_until_it_holds() {
        let mut looks = 0;
        let seen = until("third look", Duration::from_secs(5), || {
            looks += 1;
            Ok((looks == 3).then_some(looks))
        });
        assert_eq!(seen.unwrap(), 3);
    }

    #[test]
    fn gives_up_when_the_time_is_over() {
        let late = until("rain", Duration::from_millis(5), || Ok(None::<()>)).unwrap_err();
        assert_eq!(late.to_string(), "rain did not happen within 5 ms");
    }
}
