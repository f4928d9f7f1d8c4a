//! `nsrouter check`: does the running lab forward as it should? The seed's list of tests, for every pair of nodes that the
//! lab's record names, in both address families. Needs no program but this one.

use std::fmt::Write as _;
use std::io;
use std::net::{IpAddr, SocketAddr, TcpListener};
use std::process::ExitCode;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::Context;
use comfy_table::{Table, presets};
use indicatif::ProgressBar;
use nsrouter_bench::traffic::{Answer, EchoOptions, TraceOptions, echo, trace, verified};
use nsrouter_engine::control::serve;
use nsrouter_lab::enter::{self, Entered};
use nsrouter_lab::state::{NodeState, State};
use nsrouter_lab::{Error, HOST_PORT, NodeNs, Role};
use serde::Serialize;

use crate::output::{out, outln};
use crate::status::socket_of;
use crate::which;

/// Echo requests a row.
const ECHOES: u32 = 5;
/// From one request to the next.
const ECHO_INTERVAL: Duration = Duration::from_millis(10);
/// How long a reply may take. A lab's round trip is below a millisecond; the first one resolves neighbours.
const PATIENCE: Duration = Duration::from_secs(1);
/// How long to listen for a second answer to the same request.
const LINGER: Duration = Duration::from_millis(60);
/// No ping and no trace takes longer, answered or not.
const PROBE_WITHIN: Duration = Duration::from_secs(3);
/// No transfer takes longer.
const TRANSFER_WITHIN: Duration = Duration::from_secs(20);
/// Bytes of a TCP transfer between hosts, and between a host and a router's own program.
const TRANSFER_BYTES: u64 = 32 << 20;
const HOST_TRANSFER_BYTES: u64 = 4 << 20;
/// How often the sign of life on a terminal moves.
const SPIN: Duration = Duration::from_millis(100);
/// ICMP payload of an ordinary ping.
const PING_BYTES: usize = 56;
/// ICMP payload that needs three fragments on a link of 1500 bytes.
const FRAGMENTED_BYTES: usize = 4000;
/// IP and ICMP headers of an echo request, in bytes.
const V4_ECHO_HEADERS: usize = 28;
const V6_ECHO_HEADERS: usize = 48;

/// What `check` takes.
#[derive(clap::Args, Debug)]
pub(crate) struct Args {
    #[command(flatten)]
    which: which::Args,
    /// Print JSON.
    #[arg(short, long)]
    json: bool,
}

/// Tests the lab of that name, or the only one.
pub(crate) fn run(args: Args) -> anyhow::Result<ExitCode> {
    match enter::join(args.which.lab())? {
        (Entered::Done(code), _) => Ok(ExitCode::from(code)),
        (Entered::Here, state) => {
            let state = state.ok_or(Error::NoLabs)?;
            // An engine that does not answer is no reason not to test: what it should do will fail.
            let host_port = serve::ask_status(&socket_of(&state.dir())).map(|status| status.host_port);
            let mute = host_port.ok().filter(|port| !port.available).map(|port| port.reason);
            of_lab(&state, mute, args.json)
        }
    }
}

/// Runs all tests and prints them. Success only where none failed. `mute` says why the router's own programs have no way to
/// the network, where they have none.
pub(crate) fn of_lab(state: &State, mute: Option<String>, json: bool) -> anyhow::Result<ExitCode> {
    let rows = Lab::of(state, mute)?.rows();
    let passed = rows.iter().all(|row| !matches!(row.outcome, Outcome::Fail { .. }));
    if json {
        let report = Report { lab: &state.name, mode: &state.mode, passed, rows: &rows };
        outln!("{}", serde_json::to_string_pretty(&report)?)?;
    } else {
        out!("{}", table(state, &rows, passed))?;
    }
    Ok(if passed { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// What came of a test.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "outcome", rename_all = "lowercase")]
enum Outcome {
    /// It holds.
    Pass { detail: String },
    /// It does not.
    Fail { detail: String },
    /// It cannot be tried here, and nothing is wrong with the forwarding.
    Skipped { detail: String },
}

/// One test in one address family.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
struct Row {
    test: String,
    family: &'static str,
    #[serde(flatten)]
    outcome: Outcome,
}

#[derive(Serialize)]
struct Report<'a> {
    lab: &'a str,
    mode: &'a str,
    passed: bool,
    rows: &'a [Row],
}

/// Address families, in the order of the table's columns.
const FAMILIES: [&str; 2] = ["IPv4", "IPv6"];

fn family_of(address: IpAddr) -> &'static str {
    FAMILIES[usize::from(address.is_ipv6())]
}

/// A node of the lab, ready to run things in.
struct Node<'a> {
    record: &'a NodeState,
    namespace: NodeNs,
}

impl Node<'_> {
    fn name(&self) -> &str {
        &self.record.name
    }

    fn addresses(&self) -> impl Iterator<Item = IpAddr> {
        self.record.ports.iter().flat_map(|port| port.addresses.iter().map(|net| net.addr()))
    }
}

struct Lab<'a> {
    state: &'a State,
    nodes: Vec<Node<'a>>,
    mute: Option<String>,
}

/// Two nodes on one link, in one family.
struct Neighbours<'a> {
    host: &'a Node<'a>,
    host_address: IpAddr,
    router: &'a Node<'a>,
    router_address: IpAddr,
}

impl<'a> Lab<'a> {
    fn of(state: &'a State, mute: Option<String>) -> anyhow::Result<Self> {
        let nodes = state.nodes.iter().map(|record| {
            let namespace = match &record.namespace {
                Some(name) => NodeNs::named(name),
                None => NodeNs::current(),
            };
            let namespace = namespace.with_context(|| {
                format!("cannot open the namespace of {}; run as the user who started the lab", record.name)
            })?;
            Ok(Node { record, namespace })
        });
        Ok(Lab { state, nodes: nodes.collect::<anyhow::Result<_>>()?, mute })
    }

    /// Runs the tests, one after the other.
    fn rows(&self) -> Vec<Row> {
        let neighbours = self.neighbours();
        let pairs = self.pairs();
        let bar = ProgressBar::new_spinner();
        bar.enable_steady_tick(SPIN);
        let mut rows = Vec::new();
        let mut add = |test: String, address: IpAddr, run: &dyn Fn() -> Outcome| {
            bar.set_message(format!("{test}, {}", family_of(address)));
            rows.push(Row { test, family: family_of(address), outcome: run() });
        };
        for n in &neighbours {
            let (host, router) = (n.host.name(), n.router.name());
            add(format!("ping {router} to {host}"), n.host_address, &|| {
                self.unless_mute(|| ping(n.router, n.host_address, PING_BYTES))
            });
            add(format!("ping {host} to {router}"), n.router_address, &|| {
                ping(n.host, n.router_address, PING_BYTES)
            });
        }
        for &(from, to, address) in &pairs {
            let name = format!("ping {} to {}", from.name(), to.name());
            add(name.clone(), address, &|| ping(from, address, PING_BYTES));
            let mtu = from.record.ports.iter().map(|port| port.mtu).min().unwrap_or(0);
            let headers = if address.is_ipv4() { V4_ECHO_HEADERS } else { V6_ECHO_HEADERS };
            let payload = usize::try_from(mtu).unwrap_or(0).saturating_sub(headers);
            add(format!("{name}, {mtu} bytes unfragmented"), address, &|| ping(from, address, payload));
            add(format!("{name}, in fragments"), address, &|| ping(from, address, FRAGMENTED_BYTES));
        }
        for &(from, to, address) in &pairs {
            let name = format!("traceroute {} to {}", from.name(), to.name());
            add(name, address, &|| self.traceroute(from, address));
        }
        for &(from, to, address) in &pairs {
            let name = format!("TCP {} to {}, {} MiB compared", from.name(), to.name(), TRANSFER_BYTES >> 20);
            add(name, address, &|| transfer(from, to, address, TRANSFER_BYTES));
        }
        for n in &neighbours {
            let (host, router) = (n.host.name(), n.router.name());
            let name = format!("TCP {host} to {router}, {} MiB compared", HOST_TRANSFER_BYTES >> 20);
            add(name, n.router_address, &|| {
                self.unless_mute(|| transfer(n.host, n.router, n.router_address, HOST_TRANSFER_BYTES))
            });
        }
        bar.finish_and_clear();
        rows
    }

    /// Every host and router on one link, in the families that both have there.
    fn neighbours(&self) -> Vec<Neighbours<'_>> {
        let node = |name: &str| self.nodes.iter().find(|node| node.name() == name);
        let mut found = Vec::new();
        for link in &self.state.topology.links {
            for (host_end, router_end) in [(&link.a, &link.b), (&link.b, &link.a)] {
                let (Some(host), Some(router)) = (node(&host_end.node), node(&router_end.node)) else {
                    continue;
                };
                if host.record.role != Role::Host || router.record.role != Role::Router {
                    continue;
                }
                for net in &host_end.addresses {
                    let on_link = router_end.addresses.iter().find(|other| net.contains(&other.addr()));
                    if let Some(other) = on_link {
                        found.push(Neighbours {
                            host,
                            host_address: net.addr(),
                            router,
                            router_address: other.addr(),
                        });
                    }
                }
            }
        }
        found
    }

    /// Every ordered pair of hosts, with each address of the second whose family the first has too.
    fn pairs(&self) -> Vec<(&Node<'_>, &Node<'_>, IpAddr)> {
        let hosts = || self.nodes.iter().filter(|node| node.record.role == Role::Host);
        let mut found = Vec::new();
        for from in hosts() {
            for to in hosts().filter(|to| to.name() != from.name()) {
                let reachable = |to: &IpAddr| from.addresses().any(|own| own.is_ipv4() == to.is_ipv4());
                found.extend(to.addresses().filter(reachable).map(|address| (from, to, address)));
            }
        }
        found
    }

    /// Runs a test that a router's own programs take part in, unless they have no way to the network: a userspace router owns
    /// its addresses itself, and lends them to the kernel only through the host port.
    fn unless_mute(&self, test: impl FnOnce() -> Outcome) -> Outcome {
        match &self.mute {
            None => test(),
            Some(reason) => Outcome::Skipped { detail: format!("{HOST_PORT}: {reason}") },
        }
    }

    /// A trace passes where the first hop is the sender's router, every further one a router of the lab, and the last the
    /// destination itself.
    fn traceroute(&self, from: &Node<'_>, to: IpAddr) -> Outcome {
        let deadline = Instant::now() + PROBE_WITHIN;
        let max_hops =
            u8::try_from(self.state.topology.routers().count()).unwrap_or(u8::MAX).saturating_add(2);
        let options = TraceOptions { max_hops, tries: 3, patience: PATIENCE, payload_bytes: 32, deadline };
        let way = match from.namespace.run(|| trace(to, &options)).and_then(|result| result) {
            Ok(way) => way,
            Err(error) => return Outcome::Fail { detail: error.to_string() },
        };
        let first_hops: Vec<IpAddr> = self
            .neighbours()
            .iter()
            .filter(|n| n.host.name() == from.name() && n.host_address.is_ipv4() == to.is_ipv4())
            .map(|n| n.router_address)
            .collect();
        let routers: Vec<IpAddr> = self
            .nodes
            .iter()
            .filter(|node| node.record.role == Role::Router)
            .flat_map(Node::addresses)
            .collect();
        judge_trace(&way, to, &first_hops, &routers)
    }
}

fn judge_trace(way: &[Answer], to: IpAddr, first_hops: &[IpAddr], routers: &[IpAddr]) -> Outcome {
    let words: Vec<String> = way
        .iter()
        .map(|answer| match answer {
            Answer::Router(address) => address.to_string(),
            Answer::Destination(address) => format!("{address} (there)"),
            Answer::Unreachable(address) => format!("{address} (unreachable)"),
            Answer::Nobody => "*".into(),
        })
        .collect();
    let detail = words.join(" > ");
    let right = match way {
        [Answer::Router(first), between @ .., Answer::Destination(last)] => {
            first_hops.contains(first)
                && *last == to
                && between.iter().all(|hop| matches!(hop, Answer::Router(router) if routers.contains(router)))
        }
        _ => false,
    };
    if right { Outcome::Pass { detail } } else { Outcome::Fail { detail } }
}

fn ping(from: &Node<'_>, to: IpAddr, payload_bytes: usize) -> Outcome {
    let options = EchoOptions {
        count: ECHOES,
        payload_bytes,
        interval: ECHO_INTERVAL,
        patience: PATIENCE,
        linger: LINGER,
        deadline: Instant::now() + PROBE_WITHIN,
    };
    let report = match from.namespace.run(|| echo(to, &options)).and_then(|result| result) {
        Ok(report) => report,
        Err(error) => return Outcome::Fail { detail: format!("{to}: {error}") },
    };
    if report.clean() {
        let mut round_trips = report.round_trips;
        round_trips.sort();
        let median = round_trips.get(round_trips.len() / 2).copied().unwrap_or_default();
        return Outcome::Pass {
            detail: format!("{}/{}, {} us", report.answered, report.sent, median.as_micros()),
        };
    }
    let mut detail = format!("{to}: {} of {} answered", report.answered, report.sent);
    for (count, what) in [
        (report.surplus, "answered twice or by another address"),
        (report.corrupt, "came back changed"),
        (report.refused, "refused"),
    ] {
        if count > 0 {
            // Writing to a String cannot fail.
            let _ = write!(detail, ", {count} {what}");
        }
    }
    Outcome::Fail { detail }
}

/// Sends a pattern over TCP and compares every byte that arrives.
fn transfer(from: &Node<'_>, to: &Node<'_>, address: IpAddr, bytes: u64) -> Outcome {
    match try_transfer(from, to, address, bytes) {
        Ok(outcome) => outcome,
        Err(error) => Outcome::Fail { detail: format!("{address}: {error}") },
    }
}

fn try_transfer(from: &Node<'_>, to: &Node<'_>, address: IpAddr, bytes: u64) -> io::Result<Outcome> {
    let deadline = Instant::now() + TRANSFER_WITHIN;
    // A socket stays in the namespace in which it was made, whoever uses it later.
    let listener = to.namespace.run(|| TcpListener::bind(SocketAddr::new(address, 0)))??;
    let there = listener.local_addr()?;
    let seed = bytes ^ u64::from(there.port());
    let (sent, received) = thread::scope(|scope| {
        let receiver = scope.spawn(|| verified::receive(&listener, seed, deadline));
        let sent =
            from.namespace.run(|| verified::send(there, bytes, seed, deadline)).and_then(|result| result);
        let received = receiver.join().unwrap_or_else(|_| Err(io::Error::other("the receiver panicked")));
        (sent, received)
    });
    // A sender that fails explains more than a receiver that waited for it.
    sent?;
    let received = received?;
    let detail = match received.first_difference {
        Some(offset) => format!("byte {offset} of {} is not what was sent", received.bytes),
        None if received.bytes != bytes => format!("{} of {bytes} bytes arrived", received.bytes),
        None => {
            let gigabits = bytes as f64 * 8e-9 / received.elapsed.as_secs_f64().max(1e-9);
            return Ok(Outcome::Pass { detail: format!("same bytes, {gigabits:.1} Gb/s") });
        }
    };
    Ok(Outcome::Fail { detail })
}

/// The rows, a test a line and a family a column, then what failed or was skipped, in full.
fn table(state: &State, rows: &[Row], passed: bool) -> String {
    let mut tests: Vec<&str> = Vec::new();
    for row in rows {
        if !tests.contains(&row.test.as_str()) {
            tests.push(&row.test);
        }
    }
    let mut table = Table::new();
    table.load_preset(presets::UTF8_FULL_CONDENSED);
    table.set_header(["test", FAMILIES[0], FAMILIES[1]]);
    for test in tests {
        let cell = |family: &str| {
            let row = rows.iter().find(|row| row.test == test && row.family == family);
            row.map_or("-".to_owned(), |row| match &row.outcome {
                Outcome::Pass { detail } => format!("pass  {detail}"),
                Outcome::Fail { .. } => "FAIL".into(),
                Outcome::Skipped { .. } => "skipped".into(),
            })
        };
        table.add_row([test.to_owned(), cell(FAMILIES[0]), cell(FAMILIES[1])]);
    }
    let mut text = format!("{table}\n");
    let mut skipped: Vec<&str> = Vec::new();
    let mut failures = 0;
    for row in rows {
        match &row.outcome {
            Outcome::Pass { .. } => {}
            Outcome::Skipped { detail } => {
                if !skipped.contains(&detail.as_str()) {
                    skipped.push(detail);
                }
            }
            Outcome::Fail { detail } => {
                failures += 1;
                text += &format!("FAIL  {}, {}: {detail}\n", row.test, row.family);
            }
        }
    }
    for reason in skipped {
        text += &format!("skipped: {reason}\n");
    }
    let verdict = if passed { "all hold".to_owned() } else { format!("{failures} of {} fail", rows.len()) };
    text += &format!("lab {} ({}): {verdict}\n", state.name, state.mode);
    text
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn ip(last: u8) -> IpAddr {
        IpAddr::from([10, 0, 0, last])
    }

    #[test]
    fn a_trace_needs_its_router_first_and_the_destination_last() {
        let passes = |way: &[Answer]| {
            matches!(judge_trace(way, ip(9), &[ip(1)], &[ip(1), ip(2)]), Outcome::Pass { .. })
        };
        let (there, one, two) = (Answer::Destination(ip(9)), Answer::Router(ip(1)), Answer::Router(ip(2)));
        assert!(passes(&[one, there]));
        assert!(passes(&[one, two, there]));
        // Not through the router, another router, a stranger between, not to the end, silence.
        assert!(!passes(&[there]));
        assert!(!passes(&[two, there]));
        assert!(!passes(&[one, Answer::Router(ip(7)), there]));
        assert!(!passes(&[one, two]));
        assert!(!passes(&[one, Answer::Nobody, there]));
        assert!(!passes(&[one, Answer::Destination(ip(8))]));
        assert!(!passes(&[one, Answer::Unreachable(ip(9))]));
    }

    #[test]
    fn json_rows_say_test_family_outcome_and_detail() {
        let row = Row {
            test: "ping a to b".into(),
            family: family_of(ip(1)),
            outcome: Outcome::Skipped { detail: "why".into() },
        };
        let json = serde_json::to_value(row).unwrap();
        let expect = serde_json::json!({
            "test": "ping a to b", "family": "IPv4", "outcome": "skipped", "detail": "why",
        });
        assert_eq!(json, expect);
    }
}
