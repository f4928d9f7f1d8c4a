//! Frames that a TAP device dropped because its queue was full.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use nsrouter_linux::procfs::{self, net_dev};

/// Runs shorter than this mean that no queue was full, were it only of the smallest size in use.
const SUSPICIOUS_RUN: u32 = 500;

/// The losses of one queue of a device.
///
/// Only /proc tells of them, which is slow to read. But after a loss a whole queue of frames is there to be
/// read, one after the other: as long as there was no such run, nothing was lost and nothing need be read.
#[derive(Debug)]
pub(super) struct Losses {
    name: String,
    counters: File,
    /// The device's counter when any of its queues read it last.
    reported: Arc<AtomicU64>,
    /// Frames read in a row, without finding the queue empty.
    run: u32,
    /// There was a run that long since the counter was read.
    suspected: bool,
}

impl Losses {
    /// Those of the device `name` in the calling thread's network namespace. All queues of a device share
    /// `reported`.
    pub(super) fn open(name: &str, reported: &Arc<AtomicU64>) -> io::Result<Losses> {
        let counters = procfs::open_net("dev")?;
        Ok(Losses {
            name: name.to_owned(),
            counters,
            reported: Arc::clone(reported),
            run: 0,
            suspected: false,
        })
    }

    /// Notes that a frame was read.
    pub(super) fn frame_read(&mut self) {
        self.run = self.run.saturating_add(1);
        self.suspected |= self.run >= SUSPICIOUS_RUN;
    }

    /// Notes that the queue was found empty.
    pub(super) fn queue_empty(&mut self) {
        self.run = 0;
    }

    /// Frames lost since any of the device's queues was asked last. Allocates nothing: workers ask.
    pub(super) fn take(&mut self) -> u64 {
        if !std::mem::take(&mut self.suspected) {
            return 0;
        }
        let mut text = [0; 8192];
        // A namespace with so many interfaces that this one is past the end is not one that a lab makes.
        let Ok(len) = self.counters.read_at(&mut text, 0) else { return 0 };
        let text = String::from_utf8_lossy(&text[..len]);
        let Some((_, counters)) = net_dev::interfaces(&text).find(|(name, _)| *name == self.name) else {
            return 0;
        };
        counters.tx_dropped.saturating_sub(self.reported.fetch_max(counters.tx_dropped, Ordering::Relaxed))
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    fn losses(table: &str) -> Losses {
        let mut counters = tempfile::tempfile().expect("a file");
        counters.write_all(table.as_bytes()).expect("room for a table");
        Losses { name: "t1-eth0".to_owned(), counters, reported: Arc::default(), run: 0, suspected: false }
    }

    #[test]
    fn losses_are_read_only_after_a_long_run() {
        let mut losses = losses("t1-eth0: 500 5 1 2 3 4 5 6 700 7 8 99 10 11 12 13\n");
        (1..SUSPICIOUS_RUN).for_each(|_| losses.frame_read());
        assert_eq!(losses.take(), 0, "not read: the run was too short");
        losses.frame_read();
        assert_eq!(losses.take(), 99);
        assert_eq!(losses.take(), 0, "not read again");
        losses.frame_read();
        assert!(losses.suspected, "the run goes on");
        assert_eq!(losses.take(), 0, "read, and none since");
        losses.queue_empty();
        losses.frame_read();
        assert!(!losses.suspected, "another run");
    }

    #[test]
    fn the_losses_of_another_interface_are_not_taken() {
        let mut losses = losses("t1-eth: 500 5 1 2 3 4 5 6 700 7 8 99 10 11 12 13\n");
        losses.suspected = true;
        assert_eq!(losses.take(), 0, "a name's beginning is not the name");
    }
}
