//! What the kernel's interface counters say: how many frames left one host and how many reached the other.
//!
//! Between the two stands the router alone. What a receiving program could not take in time is lost behind them, and is no
//! fault of the router's; on a machine with few processors that is most of the loss.

/// Frames that all interfaces of a namespace but `lo` have received and sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Frames {
    pub(crate) received: u64,
    pub(crate) sent: u64,
}

impl Frames {
    /// Of the calling thread's namespace.
    pub(crate) fn now() -> std::io::Result<Frames> {
        Ok(Frames::of(&std::fs::read_to_string("/proc/thread-self/net/dev")?))
    }

    /// Reads /proc/net/dev: two lines of titles, then `name: rx_bytes rx_packets ... tx_bytes tx_packets ...`, eight columns
    /// each way (proc_net(5)).
    fn of(table: &str) -> Frames {
        let mut frames = Frames { received: 0, sent: 0 };
        for (name, numbers) in table.lines().skip(2).filter_map(|line| line.split_once(':')) {
            if name.trim() == "lo" {
                continue;
            }
            let mut numbers = numbers.split_whitespace().map(|word| word.parse().unwrap_or(0));
            frames.received += numbers.nth(1).unwrap_or(0);
            frames.sent += numbers.nth(7).unwrap_or(0);
        }
        frames
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
            eth0: 1000      10    0    0    0     0          0         0     2000      20    0    0    0     0       0          0\n\
            eth1:1      1    0    0    0     0          0         0     2      2    0    0    0     0       0          0\n";
        assert_eq!(Frames::of(table), Frames { received: 11, sent: 22 });
        assert_eq!(Frames::of(""), Frames { received: 0, sent: 0 });
    }
}
