//! What standard output is: how wide, which characters it shows, and whether it is ours to draw on.

use std::fs::File;
use std::io::{self, IsTerminal, Read};
use std::os::unix::fs::OpenOptionsExt;

use nix::errno::Errno;
use nix::libc;
use nix::sys::signal::{SigSet, Signal};
use nix::unistd::{getpgrp, tcgetpgrp};
use rustix::termios::tcgetwinsize;

/// Columns of the terminal that standard output is: as it says itself, else as `COLUMNS` says. None where it is no terminal:
/// then everything has the width that it needs.
pub(crate) fn width() -> Option<usize> {
    let out = io::stdout();
    if !out.is_terminal() {
        return None;
    }
    let own = tcgetwinsize(&out).map_or(0, |size| usize::from(size.ws_col));
    let columns = || std::env::var("COLUMNS").ok()?.parse::<usize>().ok();
    Some(own).filter(|width| *width > 0).or_else(columns).filter(|width| *width > 0)
}

/// Whether this process may draw on its terminal now: a job in the background would draw over what the user types. To be asked
/// each time, for jobs go to the background and come back.
pub(crate) fn is_in_foreground() -> bool {
    let Ok(foreground) = tcgetpgrp(io::stdout()) else {
        // Not the terminal of our session, so no shell of ours reads from it.
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
/// drivers/tty/tty_jobctrl.c): with SIGTTIN, or with EIO where that is blocked. Nothing is read, and nothing waited for.
fn reading_is_refused() -> bool {
    let signal = SigSet::from(Signal::SIGTTIN);
    let Ok(before) = signal.thread_swap_mask(nix::sys::signal::SigmaskHow::SIG_BLOCK) else { return false };
    let terminal =
        File::options().read(true).custom_flags(libc::O_NONBLOCK | libc::O_NOCTTY).open("/dev/tty");
    let refused = terminal.is_ok_and(|mut terminal| {
        terminal.read(&mut []).is_err_and(|error| error.raw_os_error() == Some(Errno::EIO as i32))
    });
    // The mask that was there a moment ago can be had again.
    let _ = before.thread_set_mask();
    refused
}

/// The first columns of a text that fit.
pub(crate) fn clipped(text: &str, width: usize) -> String {
    text.chars().take(width).collect()
}
