//! Errors that the router recovered from: one entry a kind, with a count, so that warnings which one host
//! causes at will cannot hide another.

use std::time::{Duration, Instant};

/// Kinds remembered, at most.
const KINDS: usize = 256;
/// How often one kind is logged, at most.
const LOG_PAUSE: Duration = Duration::from_secs(1);

#[derive(Debug)]
struct Warning {
    kind: String,
    /// The text of the last one.
    text: String,
    count: u64,
    last: Instant,
    logged: Instant,
}

/// The warnings of one engine, in the order in which their kinds first occurred.
#[derive(Debug, Default)]
pub(crate) struct Warnings(Vec<Warning>);

impl Warnings {
    /// Records one; true where it is to be logged as well.
    pub(crate) fn note(&mut self, kind: &str, text: String, now: Instant) -> bool {
        if let Some(known) = self.0.iter_mut().find(|known| known.kind == kind) {
            known.count += 1;
            known.text = text;
            known.last = now;
            let logs = now.saturating_duration_since(known.logged) >= LOG_PAUSE;
            if logs {
                known.logged = now;
            }
            return logs;
        }
        if self.0.len() >= KINDS {
            // The one that has not occurred for the longest time makes room.
            let oldest =
                self.0.iter().enumerate().min_by_key(|(_, known)| known.last).map(|(index, _)| index);
            oldest.map(|index| self.0.remove(index));
        }
        self.0.push(Warning { kind: kind.to_owned(), text, count: 1, last: now, logged: now });
        true
    }

    /// One sentence a kind, the last one's, with how often it occurred.
    pub(crate) fn list(&self) -> Vec<String> {
        let sentence = |warning: &Warning| match warning.count {
            1 => warning.text.clone(),
            count => format!("{} ({count} times)", warning.text),
        };
        self.0.iter().map(sentence).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_kind_is_one_entry_with_the_last_text_and_is_logged_once_a_second() {
        let start = Instant::now();
        let mut warnings = Warnings::default();
        let mut logged = 0;
        for round in 0..5000u64 {
            let now = start + Duration::from_millis(round);
            logged += u32::from(warnings.note("conflict on eth-t1", format!("station {round}"), now));
        }
        assert_eq!(logged, 5);
        assert!(warnings.note("port eth-t2 went down", "port eth-t2 went down".to_owned(), start));
        assert_eq!(warnings.list(), ["station 4999 (5000 times)", "port eth-t2 went down"]);
    }

    #[test]
    fn past_the_bound_the_one_that_was_quiet_for_the_longest_time_makes_room() {
        let start = Instant::now();
        let mut warnings = Warnings::default();
        for kind in 0..KINDS {
            warnings.note(&kind.to_string(), kind.to_string(), start + Duration::from_millis(kind as u64));
        }
        let later = start + Duration::from_secs(1);
        warnings.note("0", "again".to_owned(), later);
        warnings.note("new", "new".to_owned(), later);
        let list = warnings.list();
        assert_eq!(list.len(), KINDS);
        assert_eq!(
            (list[0].as_str(), list[1].as_str(), list[KINDS - 1].as_str()),
            ("again (2 times)", "2", "new")
        );
    }
}
