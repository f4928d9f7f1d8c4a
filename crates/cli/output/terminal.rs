//! The terminal: its width, its characters, and whether this process may draw on it.

use std::fs::File;
use std::io::{self, IsTerminal, Read};
use std::os::fd::AsFd;
use std::os::unix::fs::OpenOptionsExt;

use nix::errno::Errno;
use nix::libc;
use nix::sys::signal::{SigSet, Signal};
use nix::unistd::{getpgrp, tcgetpgrp};
use nsrouter_bench::export::terminal::Look;
use rustix::termios::tcgetwinsize;

/// Columns of the terminal that `stream` is: as it says itself, else as `COLUMNS` says. None where it is no
/// terminal: then everything has the width that it needs.
pub(crate) fn width(stream: &(impl IsTerminal + AsFd)) -> Option<usize> {
    if !stream.is_terminal() {
        return None;
    }
    let own = tcgetwinsize(stream).map_or(0, |size| usize::from(size.ws_col));
    let columns = || std::env::var("COLUMNS").ok()?.parse::<usize>().ok();
    Some(own).filter(|width| *width > 0).or_else(columns).filter(|width| *width > 0)
}

/// How tables on standard output should look.
pub(crate) fn look() -> Look {
    Look { width: width(&io::stdout()), ascii: !is_utf8() }
}

/// Whether characters beyond ASCII can be shown: by the locale of characters, whose variables overrule each
/// other (locale(7)).
fn is_utf8() -> bool {
    let locale = ["LC_ALL", "LC_CTYPE", "LANG"].map(|name| std::env::var(name).unwrap_or_default());
    names_utf8(&locale)
}

fn names_utf8(variables: &[String]) -> bool {
    let locale = variables.iter().find(|value| !value.is_empty());
    locale.is_some_and(|locale| {
        let locale = locale.to_ascii_lowercase();
        locale.contains("utf-8") || locale.contains("utf8")
    })
}

/// Whether colours help: on a terminal that has them, unless the user wants none (no-color.org).
pub(crate) fn has_colours() -> bool {
    let is_set = |name| std::env::var_os(name).is_some_and(|value| !value.is_empty());
    io::stdout().is_terminal()
        && !is_set("NO_COLOR")
        && std::env::var_os("TERM").is_some_and(|term| term != "dumb")
}

/// Whether this process may draw on the terminal `stream` now: a job in the background would draw over what
/// the user types. To be asked each time, for jobs go to the background and come back.
pub(crate) fn is_in_foreground(stream: impl AsFd) -> bool {
    let Ok(foreground) = tcgetpgrp(stream) else {
        // Not the terminal of this session, so no shell of this session reads from it.
        return true;
    };
    let own = getpgrp();
    if (foreground.as_raw(), own.as_raw()) != (0, 0) {
        return foreground == own;
    }
    // In a PID namespace of its own a process sees neither group.
    !reading_is_refused()
}

/// Whether reading from the terminal is refused, as it is in the background (`__tty_check_change` in
/// drivers/tty/tty_jobctrl.c): with SIGTTIN, or with EIO where that is blocked. Nothing is read, and nothing
/// waited for.
fn reading_is_refused() -> bool {
    let signal = SigSet::from(Signal::SIGTTIN);
    let Ok(before) = signal.thread_swap_mask(nix::sys::signal::SigmaskHow::SIG_BLOCK) else { return false };
    let terminal =
        File::options().read(true).custom_flags(libc::O_NONBLOCK | libc::O_NOCTTY).open("/dev/tty");
    let refused = terminal.is_ok_and(|mut terminal| {
        terminal.read(&mut []).is_err_and(|error| error.raw_os_error() == Some(Errno::EIO as i32))
    });
    // A mask that was in force a moment ago can be restored.
    let _ = before.thread_set_mask();
    refused
}

/// The first columns of a text that fit.
pub(crate) fn clipped(text: &str, width: usize) -> String {
    text.chars().take(width).collect()
}

/// A text whose lines are no longer than `width`: broken between words, and what goes on stands a little
/// further in than the line began.
pub(crate) fn wrapped(text: &str, width: usize) -> String {
    let mut lines: Vec<String> = Vec::new();
    for line in text.split('\n') {
        if line.chars().count() <= width {
            lines.push(line.to_owned());
            continue;
        }
        let spaces = line.chars().take_while(|character| *character == ' ').count();
        // A line that begins far to the right leaves too little room below it.
        let indent = " ".repeat((spaces + 2).min(width / 2));
        let mut current = String::new();
        let mut rest = line;
        while rest.chars().count() + current.chars().count() > width {
            let room = width.saturating_sub(current.chars().count()).max(1);
            let end = rest.char_indices().nth(room).map_or(rest.len(), |(index, _)| index);
            // At the last space that fits, behind the indent; a word that is longer than a line is cut.
            let text_begins = rest.len() - rest.trim_start().len();
            let space = rest[..end].rfind(' ').filter(|space| *space > text_begins);
            let space = if rest[end..].starts_with(' ') { Some(end) } else { space };
            let cut = space.unwrap_or(end);
            lines.push(format!("{current}{}", rest[..cut].trim_end()));
            rest = rest[cut..].trim_start();
            current.clone_from(&indent);
        }
        lines.push(format!("{current}{rest}"));
    }
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_variable_that_is_set_names_the_locale() {
        let utf8 = |all: &str, ctype: &str, lang: &str| names_utf8(&[all, ctype, lang].map(str::to_owned));
        assert!(utf8("", "", "de_DE.UTF-8") && utf8("C.utf8", "C", "C"));
        assert!(!utf8("C", "", "de_DE.UTF-8") && !utf8("", "POSIX", "en_US.UTF-8") && !utf8("", "", ""));
    }

    #[test]
    fn long_lines_are_broken_between_words_and_long_words_anywhere() {
        assert_eq!(wrapped("short\n", 20), "short\n");
        assert_eq!(wrapped("one two three four", 9), "one two\n  three\n  four");
        assert_eq!(wrapped("    one two three", 12), "    one two\n      three");
        assert_eq!(wrapped("abcdefghij", 4), "abcd\n  ef\n  gh\n  ij");
        assert_eq!(wrapped(&format!("{}x", " ".repeat(40)), 10).lines().last(), Some("     x"));
    }
}
