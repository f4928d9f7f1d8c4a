//! Kernel mode: the kernel's own ip_forward forwards; its counters are read and told in the userspace
//! router's names.

mod accounting;
mod links;

use std::collections::BTreeMap;
use std::fs::File;
use std::io;

use nsrouter_linux::procfs::net_dev::{self, InterfaceCounters};
use nsrouter_linux::procfs::{self, snmp};

use crate::kernel::links::{Link, Links};
use crate::port::Port;
use crate::status::{HostPort, PortStatus, Status};

/// Reading the kernel's counters failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum KernelError {
    /// A file of counters below /proc.
    #[error("cannot read the kernel's counters in {path} (is /proc mounted?): {source}")]
    Counters {
        /// The file.
        path: String,
        /// The error of the system call.
        source: io::Error,
    },
    /// A netlink socket, or a list that was read by it.
    #[error("cannot ask the kernel for the router's links by netlink: {0}")]
    Links(#[source] io::Error),
}

/// Kernel forwarding in one network namespace.
#[derive(Debug)]
pub struct Kernel {
    ports: Vec<Port>,
    links: Links,
    dev: Table,
    snmp: Table,
    netstat: Table,
    snmp6: Option<Table>,
}

/// A table of counters below `/proc/net`.
#[derive(Debug)]
struct Table {
    path: String,
    file: File,
}

impl Table {
    fn open(name: &str) -> Result<Table, KernelError> {
        let path = procfs::net_path(name);
        match procfs::open_net(name) {
            Ok(file) => Ok(Table { path, file }),
            Err(source) => Err(KernelError::Counters { path, source }),
        }
    }

    fn read(&self) -> Result<String, KernelError> {
        let failed = |source| KernelError::Counters { path: self.path.clone(), source };
        procfs::read_from_start(&self.file).map_err(failed)
    }
}

impl Kernel {
    /// Watches the kernel's forwarding between `ports` in the network namespace of the calling thread.
    ///
    /// # Errors
    /// [`KernelError`] where /proc or netlink cannot be read.
    pub fn new(ports: Vec<Port>) -> Result<Kernel, KernelError> {
        Ok(Kernel {
            ports,
            links: Links::open().map_err(KernelError::Links)?,
            dev: Table::open("dev")?,
            snmp: Table::open("snmp")?,
            netstat: Table::open("netstat")?,
            // A kernel without IPv6 has no such table, and then nothing to count.
            snmp6: Table::open("snmp6").ok(),
        })
    }

    /// The counters, links and addresses as they are now.
    ///
    /// # Errors
    /// [`KernelError`] when the kernel can no longer be asked.
    pub fn status(&self) -> Result<Status, KernelError> {
        let table = self.dev.read()?;
        let interfaces: BTreeMap<&str, InterfaceCounters> = net_dev::interfaces(&table).collect();
        let links = self.links.all().map_err(KernelError::Links)?;
        let mut counters = snmp::counters(&self.snmp.read()?);
        counters.extend(snmp::counters(&self.netstat.read()?));
        if let Some(table) = &self.snmp6 {
            counters.extend(snmp::counters6(&table.read()?));
        }
        let (totals, drops) = accounting::account(&counters);
        let row = |port: &Port| {
            let count = interfaces.get(port.name.as_str()).copied().unwrap_or_default();
            row(port, links.get(&port.name), &count)
        };
        Ok(Status {
            mode: "kernel".to_owned(),
            backend: "ip_forward".to_owned(),
            host_port: HostPort { available: true, ..HostPort::default() },
            ports: self.ports.iter().map(row).collect(),
            totals,
            drops,
            events: accounting::events(&counters),
            ..Status::default()
        })
    }
}

/// A port's row: its link as the kernel has it now, and its counters; a link that is gone is down.
fn row(port: &Port, link: Option<&Link>, count: &InterfaceCounters) -> PortStatus {
    let addresses = link.map(|link| link.addresses.as_slice()).unwrap_or_default();
    PortStatus {
        name: port.name.clone(),
        up: link.is_some_and(|link| link.up),
        mac: port.mac.to_string(),
        mtu: link.map_or(port.mtu, |link| link.mtu),
        addresses: addresses.iter().map(ToString::to_string).collect(),
        rx_bytes: count.rx_bytes,
        rx_frames: count.rx_packets,
        rx_lost: count.rx_dropped,
        tx_bytes: count.tx_bytes,
        tx_frames: count.tx_packets,
        tx_dropped: count.tx_dropped,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_own_namespace_can_be_read() {
        let port = Port {
            name: "lo".to_owned(),
            ifindex: 1,
            mac: nsrouter_wire::eth::MacAddr([0; 6]),
            mtu: 0,
            addresses: Vec::new(),
            up: false,
        };
        let kernel = Kernel::new(vec![port]).expect("proc is mounted");
        let status = kernel.status().expect("and can be read");
        assert_eq!((status.mode.as_str(), status.ports.len()), ("kernel", 1));
        assert!(status.ports[0].mtu > 0, "{status:#?}");
    }
}
