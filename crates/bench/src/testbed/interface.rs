//! What the kernel's interface counters say: how many frames left one host and how many reached the other.
//!
//! Between the two stands the router alone. What a receiving program could not take in time is lost behind them, and is no
//! fault of the router's; on a machine with few processors that is most of the loss.

use std::fs::File;
use std::io;

/// What all interfaces of a namespace but `lo` have received and sent. Frames count as the kernel hands them over: a
/// super-frame is one. Bytes are without FCS.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Totals {
    pub(crate) received_frames: u64,
    pub(crate) received_bytes: u64,
    pub(crate) sent_frames: u64,
    /// Refused by the interface: nobody took them off the link in time.
    pub(crate) send_drops: u64,
}

impl Totals {
    /// The table of the calling thread's namespace. It stays that namespace's, whoever reads it later.
    pub(crate) fn open() -> io::Result<File> {
        File::open("/proc/thread-self/net/dev")
    }

    /// Reads /proc/net/dev: two lines of titles, then `name: rx_bytes rx_packets ... tx_bytes tx_packets errs drop ...`,
    /// eight columns each way (proc_net(5)).
    pub(crate) fn of(table: &str) -> Totals {
        let mut totals = Totals::default();
        for (name, numbers) in table.lines().skip(2).filter_map(|line| line.split_once(':')) {
            if name.trim() == "lo" {
                continue;
            }
            let numbers: Vec<u64> =
                numbers.split_whitespace().map(|word| word.parse().unwrap_or(0)).collect();
            let column = |at: usize| numbers.get(at).copied().unwrap_or(0);
            totals.received_bytes += column(0);
            totals.received_frames += column(1);
            totals.sent_frames += column(9);
            totals.send_drops += column(11);
        }
        totals
    }

    /// Frames that a sender of this namespace got rid of, those that its interface then dropped included.
    pub(crate) fn offered(&self) -> u64 {
        self.sent_frames + self.send_drops
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_of_all_interfaces_but_lo() {
        let table = "Inter-|   Receive                                                |  Transmit\n \
            face |bytes    packets errs drop fifo frame compressed multicast|bytes    packets errs drop fifo colls carrier compressed\n    \
            lo:      70       7    0    0    0     0          0         0       70       7    0    0    0     0       0          0\n\
            eth0: 1000      10    0    0    0     0          0         0     2000      20    0    3    0     0       0          0\n\
            eth1:1      1    0    0    0     0          0         0     2      2    0    0    0     0       0          0\n";
        let totals = Totals::of(table);
        let expect = Totals { received_frames: 11, received_bytes: 1001, sent_frames: 22, send_drops: 3 };
        assert_eq!((totals, totals.offered()), (expect, 25));
        assert_eq!(Totals::of(""), Totals::default());
    }
}
