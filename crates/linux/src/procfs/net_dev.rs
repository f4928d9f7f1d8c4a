//! `/proc/net/dev`: the counters of every interface of a namespace.

/// The counters of one interface (struct rtnl_link_stats64; dev_seq_printf_stats() of net/core/net-procfs.c).
///
/// A GSO packet counts as one packet. Bytes are those of Ethernet frames without FCS.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct InterfaceCounters {
    /// Bytes received.
    pub rx_bytes: u64,
    /// Packets received.
    pub rx_packets: u64,
    /// Packets received with an error.
    pub rx_errors: u64,
    /// Packets dropped after reception, for want of room or of a handler.
    pub rx_dropped: u64,
    /// Bytes transmitted.
    pub tx_bytes: u64,
    /// Packets transmitted.
    pub tx_packets: u64,
    /// Packets that could not be transmitted because of an error.
    pub tx_errors: u64,
    /// Packets dropped before transmission: the queue of the interface was full.
    pub tx_dropped: u64,
}

/// Parses the table: the name and counters of each interface, in the kernel's order. A line without sixteen
/// numbers, as the two of headings, is skipped. Nothing is allocated.
///
/// ```
/// use nsrouter_linux::procfs::net_dev::interfaces;
///
/// let table = "Inter-|   Receive ...\n face |bytes    packets ...\n  \
///              eth0: 1000 10 0 1 0 0 0 0 2000 20 0 3 0 0 0 0\n";
/// let (name, counters) = interfaces(table).next().unwrap();
/// assert_eq!((name, counters.rx_packets, counters.tx_dropped), ("eth0", 10, 3));
/// ```
pub fn interfaces(table: &str) -> impl Iterator<Item = (&str, InterfaceCounters)> {
    table.lines().filter_map(|line| {
        let (name, columns) = line.split_once(':')?;
        let mut columns = columns.split_ascii_whitespace();
        // bytes packets errs drop fifo frame compressed multicast | bytes packets errs drop fifo colls
        // carrier compressed
        let mut numbers = [0; 16];
        for number in &mut numbers {
            *number = columns.next()?.parse().ok()?;
        }
        let [rx_bytes, rx_packets, rx_errors, rx_dropped, _, _, _, _, rest @ ..] = numbers;
        let [tx_bytes, tx_packets, tx_errors, tx_dropped, ..] = rest;
        let counters = InterfaceCounters {
            rx_bytes,
            rx_packets,
            rx_errors,
            rx_dropped,
            tx_bytes,
            tx_packets,
            tx_errors,
            tx_dropped,
        };
        Some((name.trim_start(), counters))
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const TABLE: &str = "\
Inter-|   Receive                                                |  Transmit
 face |bytes    packets errs drop fifo frame compressed multicast|bytes    packets errs drop fifo colls carrier compressed
    lo:      70       7    0    0    0     0          0         0       70       7    0    0    0     0       0          0
eth-t1:1000      10    1    2    3     4          5         6     2000      20    7    8    9    10      11         12
";

    #[test]
    fn columns_are_told_apart() {
        let rows: Vec<_> = interfaces(TABLE).collect();
        let lo = InterfaceCounters {
            rx_bytes: 70,
            rx_packets: 7,
            tx_bytes: 70,
            tx_packets: 7,
            ..Default::default()
        };
        let eth = InterfaceCounters {
            rx_bytes: 1000,
            rx_packets: 10,
            rx_errors: 1,
            rx_dropped: 2,
            tx_bytes: 2000,
            tx_packets: 20,
            tx_errors: 7,
            tx_dropped: 8,
        };
        assert_eq!(rows, [("lo", lo), ("eth-t1", eth)]);
    }

    #[test]
    fn a_table_cut_short_loses_its_last_line() {
        assert_eq!(interfaces(&TABLE[..TABLE.len() - 20]).count(), 1);
        assert_eq!(interfaces("").count(), 0);
    }

    proptest! {
        #[test]
        fn no_text_panics(text in "(.{0,10}[: \n]([0-9]{0,21} ){0,18}\n?){0,4}") {
            for (name, _) in interfaces(&text) {
                prop_assert!(!name.contains(':'));
            }
        }
    }
}
