//! Kernel mode: the kernel's own ip_forward does the work. What is left to us is to say which switches that
//! takes, and to read the kernel's counters.
//!
//! The account is of IP packets, from the counters of RFC 4293 as Linux keeps them (`/proc/net/snmp`, `netstat` and
//! `snmp6`), in the names of the userspace router where they mean the same. Those counters leave some fates out, so
//! what is missing has a line of its own, `unaccounted`, and the two sides of the account are equal.

mod links;

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use nsrouter_router::DropReason;

use crate::kernel::links::{Link, Links};
use crate::port::Port;
use crate::status::drops::{self, KernelDrop};
use crate::status::{Events, HostPort, PortStatus, Status, Totals};

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
    /// A netlink socket, or what was asked by it.
    #[error("cannot ask the kernel for the router's links by netlink: {0}")]
    Links(#[source] io::Error),
}

/// Kernel forwarding in one network namespace.
#[derive(Debug)]
pub struct Kernel {
    ports: Vec<Port>,
    links: Links,
    device: File,
    ip: File,
    ip_more: File,
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
    /// [`KernelError`] where /proc or netlink does not tell.
    pub fn new(ports: Vec<Port>) -> Result<Kernel, KernelError> {
        Ok(Kernel {
            ports,
            links: Links::open().map_err(KernelError::Links)?,
            device: open("dev")?,
            ip: open("snmp")?,
            ip_more: open("netstat")?,
            // A kernel without IPv6 has no such file, and then nothing to count.
            ip6: open("snmp6").ok(),
        })
    }

    /// The counters, links and addresses as they are now.
    ///
    /// # Errors
    /// [`KernelError`] when the kernel can no longer be asked.
    pub fn status(&self) -> Result<Status, KernelError> {
        let devices = parse_devices(&read(&self.device, "net/dev")?);
        let links = self.links.all().map_err(KernelError::Links)?;
        let mut ip = parse_snmp(&read(&self.ip, "net/snmp")?);
        ip.extend(parse_snmp(&read(&self.ip_more, "net/netstat")?));
        if let Some(file) = &self.ip6 {
            ip.extend(parse_snmp6(&read(file, "net/snmp6")?));
        }
        let (totals, drops) = account(&ip);
        let ports = self.ports.iter().map(|port| row(port, links.get(&port.name), devices.get(&port.name)));
        Ok(Status {
            mode: "kernel".to_owned(),
            backend: "ip_forward".to_owned(),
            host_port: HostPort { available: true, ..HostPort::default() },
            ports: ports.collect(),
            totals,
            drops,
            events: events(&ip),
            ..Status::default()
        })
    }
}

/// A port's row: what the kernel says of the link now, and what it counts on it; a link that is gone is down.
fn row(port: &Port, link: Option<&Link>, device: Option<&Vec<u64>>) -> PortStatus {
    let field = |index: usize| device.and_then(|fields| fields.get(index)).copied().unwrap_or(0);
    let addresses = link.map(|link| link.addresses.as_slice()).unwrap_or_default();
    PortStatus {
        name: port.name.clone(),
        up: link.is_some_and(|link| link.up),
        mac: port.mac.to_string(),
        mtu: link.map_or(port.mtu, |link| link.mtu),
        addresses: addresses.iter().map(ToString::to_string).collect(),
        rx_bytes: field(0),
        rx_frames: field(1),
        rx_lost: field(3),
        tx_bytes: field(8),
        tx_frames: field(9),
        tx_dropped: field(11),
    }
}

/// Counters by name: `Ip.InReceives`, `IpExt.InNoRoutes`, `Ip6InReceives`.
type Counted = BTreeMap<String, u64>;

fn sum(counted: &Counted, names: &[&str]) -> u64 {
    names.iter().filter_map(|name| counted.get(*name)).sum()
}

/// Kernel counters that mean what a drop reason of the userspace router means.
const SHARED: &[(DropReason, &[&str])] = &[
    (DropReason::Ip4Checksum, &["IpExt.InCsumErrors"]),
    (DropReason::Ip4TotalLength, &["IpExt.InTruncatedPkts"]),
    (DropReason::Ip6PayloadLength, &["Ip6InTruncatedPkts"]),
    (DropReason::NoRoute, &["IpExt.InNoRoutes", "Ip6InNoRoutes"]),
    (DropReason::TooBig, &["Ip.FragFails", "Ip6FragFails"]),
    (DropReason::ProtocolUnreachable, &["Ip.InUnknownProtos", "Ip6InUnknownProtos"]),
];

/// Counters of the kernel's drops that the userspace router has no reason for.
const OWN: [(KernelDrop, &[&str]); 6] = [
    (drops::HEADER_ERRORS, &["Ip.InHdrErrors", "Ip6InHdrErrors"]),
    (drops::ADDRESS_ERRORS, &["Ip.InAddrErrors", "Ip6InAddrErrors"]),
    (drops::RP_FILTER, &["TcpExt.IPReversePathFilter"]),
    (drops::IN_DISCARDS, &["Ip.InDiscards", "Ip6InDiscards"]),
    (drops::OUT_DISCARDS, &["Ip.OutDiscards", "Ip6OutDiscards"]),
    (drops::UNACCOUNTED, &[]),
];

/// The packet accounting, whose two sides are equal.
fn account(ip: &Counted) -> (Totals, BTreeMap<String, u64>) {
    let shared = SHARED.iter().map(|(reason, fields)| (reason.name(), sum(ip, fields)));
    let own = OWN.iter().map(|(drop, fields)| (drop.name, sum(ip, fields)));
    let mut drops: BTreeMap<String, u64> =
        shared.chain(own).map(|(name, packets)| (name.to_owned(), packets)).collect();
    // ip_rcv_core() of net/ipv4/ip_input.c counts a wrong checksum in both.
    if let Some(packets) = drops.get_mut(drops::HEADER_ERRORS.name) {
        *packets = packets.saturating_sub(sum(ip, &["IpExt.InCsumErrors"]));
    }
    let made = sum(ip, &["Ip.FragCreates", "Ip6FragCreates"]);
    let replaced = sum(ip, &["Ip.FragOKs", "Ip6FragOKs"]);
    // Fragments for this host that became part of a packet, or wait to.
    let merged =
        sum(ip, &["Ip.ReasmReqds", "Ip6ReasmReqds"]).saturating_sub(sum(ip, &["Ip.ReasmOKs", "Ip6ReasmOKs"]));
    let requests = sum(ip, &["Ip.OutRequests", "Ip6OutRequests"]);
    let sent = if ip.contains_key("Ip.OutTransmits") {
        sum(ip, &["Ip.OutTransmits", "Ip6OutTransmits"])
    } else {
        // Before Linux 6.8.
        (requests + sum(ip, &["Ip.ForwDatagrams", "Ip6OutForwDatagrams"]) + made).saturating_sub(replaced)
    };
    let mut totals = Totals {
        received: sum(ip, &["Ip.InReceives", "Ip6InReceives"]),
        originated: requests + made,
        sent,
        to_host: sum(ip, &["Ip.InDelivers", "Ip6InDelivers"]),
        consumed: replaced + merged,
        held: 0,
        dropped: drops.values().sum(),
    };
    let inward = totals.received + totals.originated;
    let outward = totals.sent + totals.to_host + totals.consumed + totals.dropped;
    let missing = inward.saturating_sub(outward);
    drops.insert(drops::UNACCOUNTED.name.to_owned(), missing);
    totals.dropped += missing;
    // Segments of a packet larger than the link takes, and copies of multicasts, are sent without being made.
    totals.originated += outward.saturating_sub(inward);
    drops.retain(|_, packets| *packets > 0);
    (totals, drops)
}

/// What is counted beside the fate of packets.
fn events(ip: &Counted) -> Events {
    let errors = [
        "Icmp.OutDestUnreachs",
        "Icmp.OutTimeExcds",
        "Icmp.OutParmProbs",
        "Icmp.OutRedirects",
        "Icmp6OutDestUnreachs",
        "Icmp6OutPktTooBigs",
        "Icmp6OutTimeExcds",
        "Icmp6OutParmProblems",
        "Icmp6OutRedirects",
    ];
    let limited = ["Icmp.OutRateLimitGlobal", "Icmp.OutRateLimitHost", "Icmp6OutRateLimitHost"];
    Events { icmp_errors: sum(ip, &errors), icmp_rate_limited: sum(ip, &limited), ..Events::default() }
}

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

    fn counted(fields: &[(&str, u64)]) -> Counted {
        fields.iter().map(|(name, count)| ((*name).to_owned(), *count)).collect()
    }

    /// received + originated, and where it went.
    fn sides(totals: &Totals) -> (u64, u64) {
        let outward = totals.sent + totals.to_host + totals.consumed + totals.held + totals.dropped;
        (totals.received + totals.originated, outward)
    }

    #[test]
    fn the_account_adds_up_in_the_userspace_router_s_names() {
        let (totals, drops) = account(&counted(&[
            ("Ip.InReceives", 100),
            ("Ip.InHdrErrors", 7),
            ("IpExt.InCsumErrors", 2),
            ("IpExt.InNoRoutes", 3),
            ("Ip6InNoRoutes", 1),
            ("Ip.InDelivers", 10),
            ("Ip.OutTransmits", 85),
            ("Ip.OutRequests", 10),
            ("Ip.OutNoRoutes", 9),
            ("Ip.FragOKs", 1),
            ("Ip.FragCreates", 3),
        ]));
        assert_eq!(sides(&totals), (113, 113));
        let expected = [("header_errors", 5), ("ip4_checksum", 2), ("no_route", 4), ("unaccounted", 6)];
        assert_eq!(drops, counted(&expected));
        assert_eq!((totals.consumed, totals.dropped), (1, 17));
    }

    #[test]
    fn what_is_sent_unmade_was_made() {
        let (totals, drops) = account(&counted(&[("Ip.InReceives", 1), ("Ip.OutTransmits", 44)]));
        assert_eq!((sides(&totals), totals.originated, drops.len()), ((44, 44), 43, 0));
        // A kernel that does not count what it transmits.
        let (totals, drops) = account(&counted(&[("Ip.InReceives", 2), ("Ip.ForwDatagrams", 1)]));
        assert_eq!((sides(&totals), totals.sent, drops), ((2, 2), 1, counted(&[("unaccounted", 1)])));
    }

    #[test]
    fn every_drop_of_the_kernel_s_is_counted() {
        let counted: Vec<KernelDrop> = OWN.iter().map(|(drop, _)| *drop).collect();
        assert_eq!(counted, drops::KERNEL_DROPS);
    }

    #[test]
    fn the_own_namespace_can_be_read() {
        let kernel = Kernel::new(vec![]).expect("proc is mounted");
        let status = kernel.status().expect("and tells");
        assert_eq!((status.mode.as_str(), status.ports.len()), ("kernel", 0));
    }
}
