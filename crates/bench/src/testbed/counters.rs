//! The kernel's counters inside a host: frames of its interfaces, packets and segments of its protocols.
//!
//! Between the interfaces of the two hosts there is the router alone. Later losses are the receiver's: its
//! program did not read fast enough; on a machine with few CPUs that is most of the loss.

use std::io;

use nsrouter_linux::procfs::{self, net_dev, snmp};

use super::{Host, TestbedError};

/// Counters that cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum CounterError {
    /// A file of /proc cannot be read.
    #[error("the kernel's counters cannot be read")]
    Read(#[source] io::Error),
    /// The kernel does not have the counter.
    #[error("the kernel of {host} has no counter {name}")]
    Missing {
        /// The host.
        host: String,
        /// The counter, as `/proc/net/snmp` or `snmp6` has it.
        name: &'static str,
    },
    /// The host cannot be entered.
    #[error(transparent)]
    Testbed(#[from] TestbedError),
}

/// The sums over all interfaces of a namespace but `lo`. A GSO packet counts as one frame; bytes are those of
/// frames without FCS.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Totals {
    pub(crate) rx_frames: u64,
    pub(crate) rx_bytes: u64,
    pub(crate) tx_frames: u64,
    /// Frames that an interface refused because nobody took them off the link in time.
    pub(crate) tx_dropped: u64,
}

impl Totals {
    /// Sums up the text of `/proc/net/dev`.
    pub(crate) fn of(table: &str) -> Totals {
        let interfaces = net_dev::interfaces(table).filter(|(name, _)| *name != "lo");
        interfaces.fold(Totals::default(), |sum, (_, counters)| Totals {
            rx_frames: sum.rx_frames + counters.rx_packets,
            rx_bytes: sum.rx_bytes + counters.rx_bytes,
            tx_frames: sum.tx_frames + counters.tx_packets,
            tx_dropped: sum.tx_dropped + counters.tx_dropped,
        })
    }

    /// Frames that the senders of this namespace put on its interfaces, those that were then dropped
    /// included.
    pub(crate) fn offered(&self) -> u64 {
        self.tx_frames + self.tx_dropped
    }
}

/// A counter of `/proc/net/snmp`, like `Tcp.RetransSegs`.
pub(crate) fn snmp(host: &Host, name: &'static str) -> Result<u64, CounterError> {
    counter(host, "snmp", snmp::counters, name)
}

/// A counter of `/proc/net/snmp6`, like `Ip6InReceives`.
pub(crate) fn snmp6(host: &Host, name: &'static str) -> Result<u64, CounterError> {
    counter(host, "snmp6", snmp::counters6, name)
}

fn counter(
    host: &Host,
    file: &str,
    parse: fn(&str) -> snmp::Counters,
    name: &'static str,
) -> Result<u64, CounterError> {
    let text = host.run(|| {
        let file = procfs::open_net(file).map_err(CounterError::Read)?;
        procfs::read_from_start(&file).map_err(CounterError::Read)
    })?;
    let missing = || CounterError::Missing { host: host.name.clone(), name };
    parse(&text).get(name).copied().ok_or_else(missing)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_interfaces_but_lo_are_summed() {
        let table = "Inter-|   Receive                                                |  Transmit\n \
            face |bytes    packets errs drop fifo frame compressed multicast|bytes    packets errs drop fifo colls carrier compressed\n    \
            lo:      70       7    0    0    0     0          0         0       70       7    0    0    0     0       0          0\n\
            eth0: 1000      10    0    0    0     0          0         0     2000      20    0    3    0     0       0          0\n\
            eth1:1      1    0    0    0     0          0         0     2      2    0    0    0     0       0          0\n";
        let totals = Totals::of(table);
        let expect = Totals { rx_frames: 11, rx_bytes: 1001, tx_frames: 22, tx_dropped: 3 };
        assert_eq!((totals, totals.offered()), (expect, 25));
        assert_eq!(Totals::of(""), Totals::default());
    }
}
