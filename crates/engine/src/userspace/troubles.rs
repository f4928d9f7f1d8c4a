//! What went wrong and was survived: one entry a kind, with a count, so that what one host can cause at will cannot
//! hide what happened once.

use std::time::{Duration, Instant};

/// Kinds remembered, at most.
const KINDS: usize = 256;
/// How often one kind is logged, at most.
const LOG_PAUSE: Duration = Duration::from_secs(1);

#[derive(Debug)]
struct Trouble {
    kind: String,
    /// The last one's words.
    text: String,
    count: u64,
    last: Instant,
    logged: Instant,
}

/// The troubles of one engine, in the order in which their kinds first occurred.
#[derive(Debug, Default)]
pub(crate) struct Troubles(Vec<Trouble>);

impl Troubles {
    /// Notes one; true where it is to be logged as well.
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
            // What was quiet for the longest time is old news.
            let oldest =
                self.0.iter().enumerate().min_by_key(|(_, known)| known.last).map(|(index, _)| index);
            oldest.map(|index| self.0.remove(index));
        }
        self.0.push(Trouble { kind: kind.to_owned(), text, count: 1, last: now, logged: now });
        true
    }

    /// One sentence a kind, the last one's, with how often it occurred.
    pub(crate) fn list(&self) -> Vec<String> {
        let sentence = |trouble: &Trouble| match trouble.count {
            1 => trouble.text.clone(),
            count => format!("{} ({count} times)", trouble.text),
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
        let mut troubles = Troubles::default();
        let mut logged = 0;
        for round in 0..5000u64 {
            let now = start + Duration::from_millis(round);
            logged += u32::from(troubles.note("conflict on eth-t1", format!("station {round}"), now));
        }
        assert_eq!(logged, 5);
        assert!(troubles.note("port eth-t2 went down", "port eth-t2 went down".to_owned(), start));
        assert_eq!(troubles.list(), ["station 4999 (5000 times)", "port eth-t2 went down"]);
    }

    #[test]
    fn past_the_bound_the_one_that_was_quiet_for_the_longest_time_goes() {
        let start = Instant::now();
        let mut troubles = Troubles::default();
        for kind in 0..KINDS {
            troubles.note(&kind.to_string(), kind.to_string(), start + Duration::from_millis(kind as u64));
        }
        let later = start + Duration::from_secs(1);
        troubles.note("0", "again".to_owned(), later);
        troubles.note("new", "new".to_owned(), later);
        let list = troubles.list();
        assert_eq!(list.len(), KINDS);
        assert_eq!(
            (list[0].as_str(), list[1].as_str(), list[KINDS - 1].as_str()),
            ("again (2 times)", "2", "new")
        );
    }
}
