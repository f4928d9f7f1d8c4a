//! Errors, and the last words of programs, as one line of text.

use std::collections::VecDeque;
use std::error::Error;
use std::io::{BufRead, BufReader, Read};

/// An error and its causes: `cannot read it: no such file`. A cause that the error quotes itself is not
/// repeated.
pub fn with_causes(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let said = error.to_string();
        if !text.contains(&said) {
            text = format!("{text}: {said}");
        }
        cause = error.source();
    }
    text
}

/// The last lines of an output, read to its end: as many as fit into `most` bytes, and at least the last
/// one's end.
pub(crate) fn last_words(from: impl Read, most: usize) -> String {
    const BETWEEN: &str = "; ";
    let (mut kept, mut bytes) = (VecDeque::new(), 0);
    // Programs need not write UTF-8. An error ends the output; the lines before it are kept.
    for line in BufReader::new(from).split(b'\n').map_while(Result::ok) {
        let line = String::from_utf8_lossy(&line).trim().to_owned();
        if line.is_empty() {
            continue;
        }
        bytes += line.len() + BETWEEN.len();
        kept.push_back(line);
        while bytes > most + BETWEEN.len() && kept.len() > 1 {
            bytes -= kept.pop_front().map_or(0, |line| line.len() + BETWEEN.len());
        }
    }
    let words = Vec::from(kept).join(BETWEEN);
    let from = words.len().saturating_sub(most);
    let from = (from..words.len()).find(|&at| words.is_char_boundary(at)).unwrap_or(from);
    words[from..].to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io;

    #[derive(Debug, thiserror::Error)]
    #[error("no counters")]
    struct Outer(#[source] io::Error);

    #[derive(Debug, thiserror::Error)]
    #[error("no counters: {0}")]
    struct Quoting(#[source] io::Error);

    #[test]
    fn causes_stand_behind_what_they_caused() {
        assert_eq!(with_causes(&Outer(io::Error::other("gone"))), "no counters: gone");
        assert_eq!(with_causes(&Quoting(io::Error::other("gone"))), "no counters: gone");
    }

    #[test]
    fn the_last_words_are_the_last() {
        assert_eq!(last_words(&b"one\n\n two \n"[..], 400), "one; two");
        let long = format!("{}\nend", "x".repeat(400));
        assert_eq!(last_words(long.as_bytes(), 400), "end");
        assert_eq!(last_words(&b""[..], 400), "");
        assert_eq!(last_words(&b"\xff\nend"[..], 400), "\u{fffd}; end");
    }

    #[test]
    fn as_much_is_kept_as_there_is_room_for() {
        assert_eq!(last_words(&b"a\nb\nc"[..], 4), "b; c");
        assert_eq!(last_words(&b"a\nb\nc"[..], 3), "c");
        assert_eq!(last_words("ab\u{e9}cd".as_bytes(), 3), "cd", "no character is cut in two");
        let flood = "line\n".repeat(100_000);
        assert!(last_words(flood.as_bytes(), 600).len() <= 600);
    }
}
