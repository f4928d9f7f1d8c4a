//! The one way out. All that nsrouter prints goes through here, so that a reader who has left, a terminal that was closed and
//! a full disk are met in one place, and never with a panic.

use std::cell::Cell;
use std::fmt::Arguments;
use std::fs::File;
use std::io::{self, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::FileTypeExt;
use std::sync::atomic::{AtomicBool, Ordering};

use nix::libc;

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

/// Whether nobody reads standard output any more. What would go on printing for ever ends then.
pub(crate) fn is_closed() -> bool {
    CLOSED.load(Ordering::Relaxed)
}

/// Writes to standard output and flushes it. Where the reader has left, that is no error: a command that has little more to do
/// than to print ends soon, and one that also judges or keeps something has still its exit code to give.
pub(crate) fn write(text: Arguments<'_>) -> Result<(), OutputError> {
    write_bytes(text.to_string().as_bytes())
}

/// The same for bytes that need not be text.
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
    // One write a line, so that lines of several processes do not mix.
    let _ = io::stderr().lock().write_all(format!("{text}\n").as_bytes());
}

/// Whether an error means that the reader has left: a pipe without a reader, or a terminal that was closed, which gives EIO
/// (tty_write in drivers/tty/tty_io.c). A file that gives EIO is a broken disk.
fn is_departure(error: &io::Error, is_device: impl FnOnce() -> bool) -> bool {
    error.kind() == io::ErrorKind::BrokenPipe || error.raw_os_error() == Some(libc::EIO) && is_device()
}

fn is_device(out: &impl AsFd) -> bool {
    let file = out.as_fd().try_clone_to_owned().map(File::from);
    file.and_then(|file| file.metadata()).is_ok_and(|metadata| metadata.file_type().is_char_device())
}

/// Output of a process that has more to do than to print, such as to keep a lab: it goes on where output fails.
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
            errln!("nsrouter: {}", crate::failure::sentence(&error.into()));
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
}
