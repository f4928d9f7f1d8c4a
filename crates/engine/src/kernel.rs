//! Kernel mode: the kernel's own ip_forward does the work. What is left to us is to say which switches that
//! takes, and to read the kernel's counters.

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use crate::Port;
use crate::status::{HostPort, PortStatus, Status, Totals};

/// Reading the kernel's counters failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum KernelError {
    /// A file of counters below /proc.
    #[error("cannot read the kernel's counters in {path} (is /proc mounted?): {source}")]
    Counters {
        /// The file.
        path: String,
        /// What the system said.
        source: io::Error,
    },
}

/// Kernel forwarding in one network namespace.
#[derive(Debug)]
pub struct Kernel {
    ports: Vec<Port>,
    device: File,
    ip: File,
    ip6: Option<File>,
}

fn open(name: &str) -> Result<File, KernelError> {
    // The thread's own view: a file opened here keeps telling of this namespace, whoever reads it later.
    let path = format!("/proc/thread-self/net/{name}");
    File::open(&path).map_err(|source| KernelError::Counters { path, source })
}

impl Kernel {
    /// Looks after the kernel's forwarding between `ports` in the network namespace of the calling thread.
    ///
    /// # Errors
    /// [`KernelError::Counters`] where /proc does not tell.
    pub fn new(ports: Vec<Port>) -> Result<Kernel, KernelError> {
        // A kernel without IPv6 has no such file, and then nothing to count.
        Ok(Kernel { ports, device: open("dev")?, ip: open("snmp")?, ip6: open("snmp6").ok() })
    }

    /// The counters as they are now.
    ///
    /// # Errors
    /// [`KernelError::Counters`] when a file can no longer be read.
    pub fn status(&self) -> Result<Status, KernelError> {
        let devices = parse_devices(&read(&self.device, "net/dev")?);
        let mut ip = parse_snmp(&read(&self.ip, "net/snmp")?);
        if let Some(file) = &self.ip6 {
            ip.extend(parse_snmp6(&read(file, "net/snmp6")?));
        }
        let count = |name: &str| ip.get(name).copied().unwrap_or(0);
        let drops: BTreeMap<String, u64> = DROPS
            .iter()
            .map(|(name, field)| ((*name).to_owned(), count(field)))
            .filter(|(_, frames)| *frames > 0)
            .collect();
        let totals = Totals {
            received: count("Ip.InReceives") + count("Ip6InReceives"),
            originated: count("Ip.OutRequests") + count("Ip6OutRequests"),
            sent: count("Ip.ForwDatagrams") + count("Ip6OutForwDatagrams"),
            to_host: count("Ip.InDelivers") + count("Ip6InDelivers"),
            dropped: drops.values().sum(),
            ..Totals::default()
        };
        let ports = self
            .ports
            .iter()
            .map(|port| {
                let device = devices.get(&port.name);
                let field = |index: usize| device.and_then(|fields| fields.get(index)).copied().unwrap_or(0);
                PortStatus {
                    name: port.name.clone(),
                    up: device.is_some(),
                    mac: port.mac.to_string(),
                    mtu: port.mtu,
                    addresses: port.addresses.iter().map(ToString::to_string).collect(),
                    rx_bytes: field(0),
                    rx_frames: field(1),
                    rx_lost: field(3),
                    tx_bytes: field(8),
                    tx_frames: field(9),
                    tx_dropped: field(11),
                }
            })
            .collect();
        Ok(Status {
            mode: "kernel".to_owned(),
            backend: "ip_forward".to_owned(),
            host_port: HostPort { available: true, ..HostPort::default() },
            ports,
            totals,
            drops,
            ..Status::default()
        })
    }
}

/// Names of the kernel's drop counters here, and where they stand (RFC 4293 names).
const DROPS: [(&str, &str); 12] = [
    ("ip4_header_errors", "Ip.InHdrErrors"),
    ("ip4_address_errors", "Ip.InAddrErrors"),
    ("ip4_in_discards", "Ip.InDiscards"),
    ("ip4_out_discards", "Ip.OutDiscards"),
    ("ip4_no_route", "Ip.OutNoRoutes"),
    ("ip4_fragment_failures", "Ip.FragFails"),
    ("ip6_header_errors", "Ip6InHdrErrors"),
    ("ip6_address_errors", "Ip6InAddrErrors"),
    ("ip6_too_big", "Ip6InTooBigErrors"),
    ("ip6_in_discards", "Ip6InDiscards"),
    ("ip6_out_discards", "Ip6OutDiscards"),
    ("ip6_no_route", "Ip6InNoRoutes"),
];

fn read(file: &File, name: &str) -> Result<String, KernelError> {
    let failed = |source| KernelError::Counters { path: name.to_owned(), source };
    let mut text = Vec::new();
    let mut chunk = [0; 4096];
    loop {
        let count = file.read_at(&mut chunk, text.len() as u64).map_err(failed)?;
        if count == 0 {
            break;
        }
        text.extend_from_slice(&chunk[..count]);
    }
    String::from_utf8(text).map_err(|error| failed(io::Error::new(io::ErrorKind::InvalidData, error)))
}

/// `/proc/net/dev`: interface name to its sixteen counters.
fn parse_devices(text: &str) -> BTreeMap<String, Vec<u64>> {
    text.lines()
        .filter_map(|line| line.split_once(':'))
        .map(|(name, counters)| {
            let counters = counters.split_whitespace().filter_map(|field| field.parse().ok()).collect();
            (name.trim().to_owned(), counters)
        })
        .collect()
}

/// `/proc/net/snmp`: pairs of lines, names and values; `Ip.InReceives` and so on.
fn parse_snmp(text: &str) -> BTreeMap<String, u64> {
    let lines: Vec<&str> = text.lines().collect();
    lines
        .chunks_exact(2)
        .filter_map(|pair| Some((pair[0].split_once(':')?, pair[1].split_once(':')?.1)))
        .flat_map(|((table, names), values)| {
            names
                .split_whitespace()
                .zip(values.split_whitespace())
                .filter_map(move |(name, value)| Some((format!("{table}.{name}"), value.parse().ok()?)))
        })
        .collect()
}

/// `/proc/net/snmp6`: a name and a value a line.
fn parse_snmp6(text: &str) -> BTreeMap<String, u64> {
    text.lines()
        .filter_map(|line| {
            let mut words = line.split_whitespace();
            Some((words.next()?.to_owned(), words.next()?.parse().ok()?))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernel_s_tables_are_read_by_name() {
        let devices = parse_devices(
            "Inter-|   Receive  |  Transmit\n face |bytes packets errs\n  eth-t1: 10 1 0 2 0 0 0 0 20 3 0 4 0 0 0 0\n",
        );
        assert_eq!(devices["eth-t1"][..4], [10, 1, 0, 2]);
        assert_eq!(devices["eth-t1"][8..12], [20, 3, 0, 4]);
        let ip = parse_snmp("Ip: Forwarding InReceives\nIp: 1 77\nIcmp: InMsgs\nIcmp: 5\n");
        assert_eq!((ip["Ip.InReceives"], ip["Icmp.InMsgs"]), (77, 5));
        assert_eq!(parse_snmp6("Ip6InReceives    \t9\n")["Ip6InReceives"], 9);
    }

    #[test]
    fn the_own_namespace_can_be_read() {
        let kernel = Kernel::new(vec![]).expect("proc is mounted");
        let status = kernel.status().expect("and tells");
        assert_eq!((status.mode.as_str(), status.ports.len()), ("kernel", 0));
    }
}
