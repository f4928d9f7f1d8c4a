//! Standard output and standard error. All that nsrouter prints goes through here, so that a closed pipe, a
//! closed terminal and a full disk are handled in one place, and never by a panic.

pub(crate) mod failure;
pub(crate) mod greeting;
pub(crate) mod log;
pub(crate) mod removed;
pub(crate) mod report;
pub(crate) mod terminal;

use std::cell::Cell;
use std::fmt::Arguments;
use std::fs::File;
use std::io::{self, IsTerminal, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::FileTypeExt;
use std::sync::atomic::{AtomicBool, Ordering};

use nix::libc;
use nsrouter_bench::text::with_causes;
use serde::Serialize;

/// Writes to standard output; a `Result<(), OutputError>`.
macro_rules! out {
    ($($text:tt)*) => { $crate::output::write(format_args!($($text)*)) };
}

/// Writes a line to standard output; a `Result<(), OutputError>`.
macro_rules! outln {
    () => { $crate::output::write(format_args!("\n")) };
    ($($text:tt)*) => { $crate::output::write(format_args!("{}\n", format_args!($($text)*))) };
}

/// Writes a line to standard error. Where that fails there is nobody left to tell.
macro_rules! errln {
    ($($text:tt)*) => { $crate::output::write_error(format_args!($($text)*)) };
}

pub(crate) use {errln, out, outln};

/// Standard output takes no more, as on a full disk.
#[derive(Debug, thiserror::Error)]
#[error("cannot write to standard output")]
pub(crate) struct OutputError(#[source] io::Error);

/// Whether the reader of standard output has left.
static CLOSED: AtomicBool = AtomicBool::new(false);

/// Whether nobody reads standard output any more: output without an end stops then.
pub(crate) fn is_closed() -> bool {
    CLOSED.load(Ordering::Relaxed)
}

/// Writes text to standard output: foreign characters made harmless, lines broken where they do not fit.
/// Where the reader has left, that is no error: a command that has little more to do than to print ends soon,
/// and one that also judges or keeps something has still its exit code to give.
pub(crate) fn write(text: Arguments<'_>) -> Result<(), OutputError> {
    write_bytes(fitting(&text.to_string(), terminal::width(&io::stdout())).as_bytes())
}

/// Writes JSON to standard output, however wide.
pub(crate) fn json(value: &impl Serialize) -> Result<(), OutputError> {
    let text = serde_json::to_string_pretty(value).map_err(|error| OutputError(error.into()))?;
    write_bytes(format!("{}\n", harmless(&text)).as_bytes())
}

/// Renews the line that keeps itself current on the terminal that standard output is; not from the
/// background.
pub(crate) fn draw(line: &str) -> Result<(), OutputError> {
    if !terminal::is_in_foreground(io::stdout()) {
        return Ok(());
    }
    write_bytes(drawing(line, terminal::width(&io::stdout())).as_bytes())
}

/// Writes text in place of all that the terminal shows; where standard output is no terminal, or one that
/// belongs to another job, below what was there.
pub(crate) fn redraw(text: &str) -> Result<(), OutputError> {
    if io::stdout().is_terminal() && terminal::is_in_foreground(io::stdout()) {
        write_bytes(b"\x1b[H\x1b[2J")?;
    }
    out!("{text}")
}

/// A line that keeps itself current on standard error; an empty line takes it away.
pub(crate) fn draw_error(line: &str) {
    if terminal::is_in_foreground(io::stderr()) {
        let _ = io::stderr().lock().write_all(drawing(line, terminal::width(&io::stderr())).as_bytes());
    }
}

/// In the last column the cursor would already be on the next line.
fn drawing(line: &str, width: Option<usize>) -> String {
    let line = harmless(line);
    format!("\r\x1b[K{}", width.map_or(line.clone(), |width| terminal::clipped(&line, width - 1)))
}

/// Words that stand out on a terminal with colours.
const STRIKING: [(&str, &str); 3] = [("FAIL ", "31"), (" down ", "31"), ("warning: ", "33")];

fn fitting(text: &str, width: Option<usize>) -> String {
    let mut text = harmless(text);
    if let Some(width) = width {
        text = terminal::wrapped(&text, width);
    }
    if terminal::has_colours() {
        for (word, colour) in STRIKING {
            text = text.replace(word, &format!("\x1b[{colour}m{word}\x1b[0m"));
        }
    }
    text
}

/// A text with no characters that command a terminal or turn the direction of writing: names of labs, nodes,
/// interfaces and programs come from others. Written as JSON writes them, and so harmless within JSON too.
fn harmless(text: &str) -> String {
    let is_foreign = |character: char| {
        character.is_control() && !matches!(character, '\n' | '\t')
            || matches!(character, '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
    };
    let mut said = String::with_capacity(text.len());
    for character in text.chars() {
        if is_foreign(character) {
            said.push_str(&format!("\\u{:04x}", u32::from(character)));
        } else {
            said.push(character);
        }
    }
    said
}

/// Writes bytes as they are.
pub(crate) fn write_bytes(bytes: &[u8]) -> Result<(), OutputError> {
    if is_closed() {
        return Ok(());
    }
    let mut out = io::stdout().lock();
    match out.write_all(bytes).and_then(|()| out.flush()) {
        Err(error) if is_departure(&error, || is_device(&out)) => {
            CLOSED.store(true, Ordering::Relaxed);
            Ok(())
        }
        written => written.map_err(OutputError),
    }
}

/// See [`errln`].
pub(crate) fn write_error(text: Arguments<'_>) {
    let text = harmless(&text.to_string());
    let text = terminal::width(&io::stderr()).map_or(text.clone(), |width| terminal::wrapped(&text, width));
    // One write a line, so that lines of several processes do not mix.
    let _ = io::stderr().lock().write_all(format!("{text}\n").as_bytes());
}

/// Whether an error means that the reader has left: a pipe without a reader, or a terminal that was closed,
/// which gives EIO (tty_write in drivers/tty/tty_io.c). A file that gives EIO is a broken disk.
fn is_departure(error: &io::Error, is_device: impl FnOnce() -> bool) -> bool {
    error.kind() == io::ErrorKind::BrokenPipe || error.raw_os_error() == Some(libc::EIO) && is_device()
}

fn is_device(out: &impl AsFd) -> bool {
    let file = out.as_fd().try_clone_to_owned().map(File::from);
    file.and_then(|file| file.metadata()).is_ok_and(|metadata| metadata.file_type().is_char_device())
}

/// Output of a process that has more to do than to print, such as to keep a lab: it goes on where output
/// fails.
#[derive(Debug, Default)]
pub(crate) struct Lasting {
    failed: Cell<bool>,
}

impl Lasting {
    /// Takes note of a failure, and tells of the first one.
    pub(crate) fn note(&self, written: Result<(), OutputError>) {
        if let Err(error) = written
            && !self.failed.replace(true)
        {
            errln!("nsrouter: {}", with_causes(&error));
        }
    }

    /// Whether any output was lost other than by its reader's leaving.
    pub(crate) fn has_failed(&self) -> bool {
        self.failed.get()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_closed_terminal_is_a_departure_and_a_broken_disk_is_not() {
        let error = io::Error::from_raw_os_error;
        assert!(is_departure(&error(libc::EPIPE), || false));
        assert!(is_departure(&error(libc::EIO), || true));
        assert!(!is_departure(&error(libc::EIO), || false));
        assert!(!is_departure(&error(libc::ENOSPC), || true));
    }

    #[test]
    fn what_others_named_cannot_command_the_terminal() {
        assert_eq!(
            harmless("a\x1b[31mX\u{9b}2J\u{202e}\r\n\tü"),
            "a\\u001b[31mX\\u009b2J\\u202e\\u000d\n\tü"
        );
        let json = serde_json::to_string("\x1b\u{9b}\u{2066}").unwrap_or_default();
        assert_eq!(
            serde_json::from_str::<String>(&harmless(&json)).ok().as_deref(),
            Some("\x1b\u{9b}\u{2066}")
        );
        assert_eq!(drawing("packets \x1b[2J", Some(12)), "\r\x1b[Kpackets \\u0");
    }
}
