//! A lab in words: the picture of its links, tables of counters, the line that keeps itself current.

use comfy_table::presets::{ASCII_BORDERS_ONLY_CONDENSED, UTF8_BORDERS_ONLY};
use comfy_table::{CellAlignment, Table};
use nsrouter_bench::export::terminal::{Look, fit};
use nsrouter_engine::status::{PortStatus, Status, drop_sentence};
use nsrouter_lab::records::State;
use nsrouter_lab::topology::{Endpoint, Role, Topology};
use serde::Serialize;

/// A running lab and its engine, as `status --json` and `--json` print it.
#[derive(Debug, Serialize)]
pub(crate) struct LabReport<'a> {
    /// The lab's name.
    pub(crate) lab: &'a str,
    /// Whether it lives in namespaces of nsrouter's own.
    pub(crate) private: bool,
    /// The process that keeps it.
    pub(crate) pid: i32,
    /// Its nodes' namespaces by node name; `null` for a router in the namespace that nsrouter was started in.
    pub(crate) namespaces: std::collections::BTreeMap<&'a str, Option<&'a str>>,
    /// Its engine.
    pub(crate) engine: &'a Status,
}

/// A lab's record and its engine's state, together.
pub(crate) fn of_lab<'a>(state: &'a State, engine: &'a Status) -> LabReport<'a> {
    LabReport {
        lab: &state.name,
        private: state.private,
        pid: state.owner.pid,
        namespaces: state.nodes.iter().map(|node| (node.name.as_str(), node.namespace.as_deref())).collect(),
        engine,
    }
}

/// A number with its thousands apart.
pub(crate) fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// One line a link: who is joined to whom, with names and addresses. `taps`: what joins hosts to routers are
/// TAP devices.
pub(crate) fn picture(topology: &Topology, taps: bool, look: Look) -> String {
    let end = |end: &Endpoint| {
        let addresses: Vec<String> = end.addresses.iter().map(ToString::to_string).collect();
        let mac = end.mac.map(|mac| format!(" {mac}")).unwrap_or_default();
        format!("[{} {}{mac}]", end.ifname, addresses.join(" "))
    };
    let is_router = |name: &str| topology.node(name).is_some_and(|node| node.role == Role::Router);
    let rows: Vec<[String; 5]> = topology
        .links
        .iter()
        .map(|link| {
            // Hosts on the left, as everybody draws it.
            let (left, right) = if is_router(&link.a.node) && !is_router(&link.b.node) {
                (&link.b, &link.a)
            } else {
                (&link.a, &link.b)
            };
            let kind =
                if taps && is_router(&left.node) != is_router(&right.node) { "-tap--" } else { "-veth-" };
            [left.node.clone(), end(left), kind.to_owned(), end(right), right.node.clone()]
        })
        .collect();
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
    let (node, left, right) = (width(0), width(1), width(3));
    let wide: String = rows
        .iter()
        .map(|[a, b, kind, c, d]| format!("  {a:>node$} {b:<left$} -{kind}- {c:<right$} {d}\n"))
        .collect();
    if look.has_room_for(&wide) {
        return wide;
    }
    // Each end on a line of its own.
    rows.iter().map(|[a, b, kind, c, d]| format!("  {a} -{kind}- {d}\n    {a} {b}\n    {d} {c}\n")).collect()
}

/// The ports' counters as a table: a line a port, or two where that is too wide.
pub(crate) fn ports(status: &Status, look: Look) -> Table {
    let ports = || status.ports.iter().chain(&status.host_ports);
    let state = |port: &PortStatus| if port.up { "up" } else { "down" }.to_owned();
    let mut wide = table(look);
    wide.set_header([
        "port",
        "link",
        "rx frames",
        "rx bytes",
        "rx lost",
        "tx frames",
        "tx bytes",
        "tx dropped",
    ]);
    wide.add_rows(ports().map(|port| {
        let counters =
            [port.rx_frames, port.rx_bytes, port.rx_lost, port.tx_frames, port.tx_bytes, port.tx_dropped];
        [port.name.clone(), state(port)].into_iter().chain(counters.map(grouped))
    }));
    align(&mut wide, 2);
    if look.has_room_for(&wide.to_string()) {
        return wide;
    }
    let mut narrow = table(look);
    narrow.set_header(["port", "link", "", "frames", "bytes", "lost"]);
    for port in ports() {
        let received = [port.rx_frames, port.rx_bytes, port.rx_lost].map(grouped);
        let sent = [port.tx_frames, port.tx_bytes, port.tx_dropped].map(grouped);
        narrow.add_row([port.name.clone(), state(port), "rx".to_owned()].into_iter().chain(received));
        narrow.add_row(["", "", "tx"].map(str::to_owned).into_iter().chain(sent));
    }
    align(&mut narrow, 3);
    // A space stands between columns in any case.
    let last = narrow.column_count().saturating_sub(1);
    for (number, column) in narrow.column_iter_mut().enumerate() {
        column.set_padding((u16::from(number == 0), u16::from(number == last)));
    }
    fit(&mut narrow, look);
    narrow
}

fn table(look: Look) -> Table {
    let mut table = Table::new();
    table.load_style(if look.ascii { ASCII_BORDERS_ONLY_CONDENSED } else { UTF8_BORDERS_ONLY });
    table
}

/// Columns of numbers, behind so many of words.
fn align(table: &mut Table, words: usize) {
    for column in table.column_iter_mut().skip(words) {
        column.set_cell_alignment(CellAlignment::Right);
    }
}

/// What was received, forwarded and dropped, and why.
pub(crate) fn account(status: &Status) -> String {
    let totals = &status.totals;
    let mut text = format!(
        "received {}, sent {}, to local programs {}, consumed {}, originated {}, pending {}, dropped {}\n",
        grouped(totals.received),
        grouped(totals.sent),
        grouped(totals.to_host),
        grouped(totals.consumed),
        grouped(totals.originated),
        grouped(totals.held),
        grouped(totals.dropped),
    );
    if status.workers.len() > 1 {
        let workers = status.workers.iter().enumerate().map(|(number, worker)| {
            let cpu = worker.cpu.map(|cpu| format!(" on CPU {cpu}")).unwrap_or_default();
            let ended = if worker.ended { " and ended" } else { "" };
            format!("worker {number}{cpu} received {}{ended}", grouped(worker.received))
        });
        text.push_str(&format!("{}\n", workers.collect::<Vec<_>>().join(", ")));
    }
    for (reason, frames) in &status.drops {
        let sentence = drop_sentence(reason).unwrap_or_default();
        text.push_str(format!("  {reason:<24} {:>12}  {sentence}", grouped(*frames)).trim_end());
        text.push('\n');
    }
    let lost: u64 = status.ports.iter().chain(&status.host_ports).map(|port| port.rx_lost).sum();
    if lost > 0 {
        text.push_str(&format!(
            "  {:<24} {:>12}  The receive ring was full, so the router never saw them.\n",
            "lost",
            grouped(lost)
        ));
    }
    let events = &status.events;
    if events.icmp_errors + events.icmp_rate_limited > 0 {
        let (sent, limited) = (grouped(events.icmp_errors), grouped(events.icmp_rate_limited));
        text.push_str(&format!("ICMP errors sent {sent}, suppressed by rate limit {limited}\n"));
    }
    if events.originate_no_buffer > 0 {
        let count = grouped(events.originate_no_buffer);
        text.push_str(&format!("packets not originated for lack of a buffer: {count}\n"));
    }
    if events.neighbours_evicted > 0 {
        let count = grouped(events.neighbours_evicted);
        text.push_str(&format!(
            "neighbours evicted from a full table: {count} (`--set neighbours=N` raises the limit)\n"
        ));
    }
    for warning in &status.warnings {
        text.push_str(&format!("  warning: {warning}\n"));
    }
    text
}

/// Packets a second in and out of each port between two looks, for the line that keeps itself current.
pub(crate) fn rates(before: &Status, now: &Status, seconds: f64) -> String {
    let per_second = |new: u64, old: u64| {
        let frames = u32::try_from(new.saturating_sub(old)).unwrap_or(u32::MAX);
        let rate = f64::from(frames) / seconds.max(0.001);
        // Whole packets are what a person reads.
        format!("{rate:.0}")
    };
    let ports: Vec<String> = now
        .ports
        .iter()
        .zip(&before.ports)
        .map(|(new, old)| {
            format!(
                "{} in {} out {}",
                new.name,
                per_second(new.rx_frames, old.rx_frames),
                per_second(new.tx_frames, old.tx_frames)
            )
        })
        .collect();
    format!("packets/s: {}", ports.join(" | "))
}

#[cfg(test)]
mod tests {
    use nsrouter_engine::status::WorkerStatus;

    use super::*;
    use crate::output::terminal::wrapped;

    #[test]
    fn thousands_stand_apart() {
        assert_eq!([0, 999, 1000, 1_234_567].map(grouped), ["0", "999", "1,000", "1,234,567"]);
    }

    #[test]
    fn several_workers_are_told_of_one_is_not() {
        let worker = WorkerStatus { received: 1000, cpu: Some(1), ended: true };
        let mut status = Status { workers: vec![worker.clone()], ..Status::default() };
        assert!(!account(&status).contains("worker"));
        status.workers.push(WorkerStatus { cpu: None, ended: false, ..worker });
        let line = "worker 0 on CPU 1 received 1,000 and ended, worker 1 received 1,000\n";
        assert!(account(&status).contains(line), "{}", account(&status));
    }

    #[test]
    fn the_picture_has_hosts_left_and_the_router_right() {
        let picture = picture(&Topology::default_lab(), false, Look::default());
        let lines: Vec<&str> = picture.lines().collect();
        assert_eq!(lines.len(), 2);
        assert!(lines[0].trim_start().starts_with("t1 [t1-eth0 10.10.251.1/24"), "{picture}");
        assert!(lines[0].ends_with("router") && lines[0].contains("02:01:02:03:04:01"), "{picture}");
    }

    #[test]
    fn pictures_and_tables_fit_from_sixty_columns_up() {
        let port = PortStatus {
            name: "eth-with-15-chr".into(),
            rx_frames: 123_456_789,
            rx_bytes: 123_456_789_012,
            tx_bytes: 123_456_789_012,
            ..PortStatus::default()
        };
        let status = Status { ports: vec![port.clone(), port], ..Status::default() };
        for width in [60, 80, 100] {
            let look = Look { width: Some(width), ascii: true };
            // Text is broken where it is written, a table is not.
            let picture = picture(&Topology::default_lab(), false, look);
            let text = format!("{}\n{}", wrapped(&picture, width), ports(&status, look));
            assert!(text.lines().all(|line| line.chars().count() <= width), "{width}:\n{text}");
            assert!(text.is_ascii() && text.contains("123,456,789,012"), "{text}");
        }
        assert_eq!(ports(&status, Look::default()).lines().count(), 6);
    }
}
