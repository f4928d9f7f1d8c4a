//! `nsrouter check`: does the running lab forward as it should? The seed's list of tests, for every pair of nodes that the
//! lab's record names, in both address families. Needs no program but this one.

use std::fmt::Write as _;
use std::io;
use std::net::{IpAddr, SocketAddr, TcpListener};
use std::process::ExitCode;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::Context;
use nsrouter_bench::traffic::{Answer, EchoOptions, TraceOptions, echo, trace, verified};
use nsrouter_engine::control::serve;
use nsrouter_lab::Error;
use nsrouter_lab::enter::{self, Entered};
use nsrouter_lab::records::{NodeState, State};
use nsrouter_lab::topology::{HOST_PORT, Role};
use nsrouter_linux::netns::Netns;
use serde::Serialize;

use crate::dataplane::socket;
use crate::options::which;
use crate::output::{self, out};

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
/// Where a ping already failed, the transfer that goes the same way takes no longer.
const HOPELESS_WITHIN: Duration = Duration::from_secs(3);
/// Hosts after it that each host sends large packets, traces and transfers to: in a large lab all pairs would take minutes,
/// and the kernel's limits on ICMP errors (icmp_ratelimit, icmp_msgs_per_sec) would be met.
const NEAR: usize = 3;
/// Tests at once: most of a ping's time is waiting for a reply too many, and transfers share the processors.
const PINGS_AT_ONCE: usize = 32;
const TRANSFERS_AT_ONCE: usize = 4;
/// Rows that a person sees without scrolling; after more of them failures are told once more.
const SCREENFUL: usize = 40;
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
    /// Only the way between these two nodes.
    #[arg(long, value_name = "NODE,NODE", value_parser = two_nodes)]
    between: Option<[String; 2]>,
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
            let host_port = serve::ask_status(&socket::path(&state.dir())).map(|status| status.host_port);
            let mute = host_port.ok().filter(|port| !port.available).map(|port| port.reason);
            of_lab(&state, mute, args.between, args.json)
        }
    }
}

fn two_nodes(text: &str) -> Result<[String; 2], String> {
    match text.split(',').collect::<Vec<_>>()[..] {
        [one, two] if !one.is_empty() && !two.is_empty() && one != two => {
            Ok([one.to_owned(), two.to_owned()])
        }
        _ => Err("write two nodes, as in t1,t2".to_owned()),
    }
}

/// Runs the tests and prints each as it is done. Success only where none failed. `mute` says why the router's own programs
/// have no way to the network, where they have none.
fn of_lab(
    state: &State,
    mute: Option<String>,
    between: Option<[String; 2]>,
    json: bool,
) -> anyhow::Result<ExitCode> {
    for node in between.iter().flatten() {
        state.node(node)?;
    }
    let lab = Lab::of(state, mute, between)?;
    let tests = lab.tests();
    if let (Some([one, two]), true) = (&lab.between, tests.is_empty()) {
        return Err(Error::Usage(format!("there is nothing to test between {one} and {two}")).into());
    }
    let width = tests.iter().map(|test| test.name.chars().count()).max().unwrap_or(0);
    let mut told: Vec<String> = Vec::new();
    let mut lost = Ok(());
    let rows = run_all(&tests, |row| {
        if !json && lost.is_ok() {
            lost = out!("{}", line(row, width, &mut told));
        }
    });
    lost?;
    let passed = rows.iter().all(|row| !matches!(row.outcome, Outcome::Fail { .. }));
    if json {
        output::json(&Report { lab: &state.name, mode: &state.mode, passed, rows: &rows })?;
    } else {
        out!("{}", summary(state, &rows))?;
    }
    Ok(if passed { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// When a test is run: one phase after the other, those of a phase several at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// Between neighbours, which learn each other's MAC address by it.
    Neighbours,
    /// Between hosts.
    Pings,
    /// More of that, and traces.
    More,
    /// Transfers.
    Transfers,
}

const PHASES: [(Phase, usize); 4] = [
    (Phase::Neighbours, PINGS_AT_ONCE),
    (Phase::Pings, PINGS_AT_ONCE),
    (Phase::More, PINGS_AT_ONCE),
    (Phase::Transfers, TRANSFERS_AT_ONCE),
];

/// A test that can be run, in one address family.
struct Test<'a> {
    phase: Phase,
    name: String,
    family: &'static str,
    /// The plain ping that goes the same way, by its place in the list.
    ping: Option<usize>,
    /// Runs it; told whether that ping failed.
    run: Box<dyn Fn(bool) -> Outcome + Send + Sync + 'a>,
}

/// Runs the tests, and shows each as it is done; the rows come in the order of the tests.
fn run_all(tests: &[Test<'_>], mut show: impl FnMut(&Row)) -> Vec<Row> {
    let mut rows: Vec<Option<Row>> = tests.iter().map(|_| None).collect();
    for (phase, at_once) in PHASES {
        let of_phase: Vec<usize> = (0..tests.len()).filter(|index| tests[*index].phase == phase).collect();
        let failed = |index: usize| {
            let outcome = rows[index].as_ref().map(|row| &row.outcome);
            matches!(outcome, Some(Outcome::Fail { .. }))
        };
        let hopeless: Vec<bool> =
            of_phase.iter().map(|index| tests[*index].ping.is_some_and(failed)).collect();
        let next = AtomicUsize::new(0);
        let (tell, told) = mpsc::channel();
        let done: Vec<(usize, Row)> = thread::scope(|scope| {
            for _ in 0..at_once.min(of_phase.len()) {
                let (tell, next, of_phase, hopeless) = (tell.clone(), &next, &of_phase, &hopeless);
                scope.spawn(move || {
                    while let Some((&index, &hopeless)) = {
                        let turn = next.fetch_add(1, Ordering::Relaxed);
                        of_phase.get(turn).zip(hopeless.get(turn))
                    } {
                        let test = &tests[index];
                        let outcome = (test.run)(hopeless);
                        let row = Row { test: test.name.clone(), family: test.family, outcome };
                        // The other end stays until all have told.
                        let _ = tell.send((index, row));
                    }
                });
            }
            drop(tell);
            told.iter().inspect(|(_, row)| show(row)).collect()
        });
        for (index, row) in done {
            rows[index] = Some(row);
        }
    }
    rows.into_iter().flatten().collect()
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

/// Address families.
const FAMILIES: [&str; 2] = ["IPv4", "IPv6"];

fn family_of(address: IpAddr) -> &'static str {
    FAMILIES[usize::from(address.is_ipv6())]
}

/// A node of the lab, ready to run things in.
struct Node<'a> {
    record: &'a NodeState,
    namespace: Netns,
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
    between: Option<[String; 2]>,
}

/// A host, another one, and an address of the other one's.
struct Pair<'a> {
    from: &'a Node<'a>,
    to: &'a Node<'a>,
    address: IpAddr,
    /// Whether more than a ping goes this way.
    is_near: bool,
}

/// Two nodes on one link, in one family.
struct Neighbours<'a> {
    host: &'a Node<'a>,
    host_address: IpAddr,
    router: &'a Node<'a>,
    router_address: IpAddr,
}

impl<'a> Lab<'a> {
    fn of(state: &'a State, mute: Option<String>, between: Option<[String; 2]>) -> anyhow::Result<Self> {
        let nodes = state.nodes.iter().map(|record| {
            let namespace = match &record.namespace {
                Some(name) => Netns::named(name),
                None => Netns::current(),
            };
            let namespace = namespace.with_context(|| {
                format!("cannot open the namespace of {}; run as the user who started the lab", record.name)
            })?;
            Ok(Node { record, namespace })
        });
        Ok(Lab { state, nodes: nodes.collect::<anyhow::Result<_>>()?, mute, between })
    }

    /// The tests, in the order in which they are reported.
    fn tests(&self) -> Vec<Test<'_>> {
        let mut tests: Vec<Test<'_>> = Vec::new();
        let mut host_pings = Vec::new();
        for n in self.neighbours() {
            let (host, router) = (n.host.name(), n.router.name());
            tests.push(Test {
                phase: Phase::Neighbours,
                name: format!("ping {router} to {host}"),
                family: family_of(n.host_address),
                ping: None,
                run: Box::new(move |_| self.unless_mute(|| ping(n.router, n.host_address, PING_BYTES))),
            });
            host_pings.push(tests.len());
            tests.push(Test {
                phase: Phase::Neighbours,
                name: format!("ping {host} to {router}"),
                family: family_of(n.router_address),
                ping: None,
                run: Box::new(move |_| ping(n.host, n.router_address, PING_BYTES)),
            });
        }
        let mut near = Vec::new();
        for Pair { from, to, address, is_near } in self.pairs() {
            let (name, family) = (format!("ping {} to {}", from.name(), to.name()), family_of(address));
            let plain = tests.len();
            tests.push(Test {
                phase: Phase::Pings,
                name: name.clone(),
                family,
                ping: None,
                run: Box::new(move |_| ping(from, address, PING_BYTES)),
            });
            if !is_near {
                continue;
            }
            near.push((from, to, address, plain));
            let mtu = from.record.ports.iter().map(|port| port.mtu).min().unwrap_or(0);
            let headers = if address.is_ipv4() { V4_ECHO_HEADERS } else { V6_ECHO_HEADERS };
            let payload = usize::try_from(mtu).unwrap_or(0).saturating_sub(headers);
            for (how, bytes) in
                [(format!("{mtu} bytes unfragmented"), payload), ("in fragments".into(), FRAGMENTED_BYTES)]
            {
                tests.push(Test {
                    phase: Phase::More,
                    name: format!("{name}, {how}"),
                    family,
                    ping: Some(plain),
                    run: Box::new(move |_| ping(from, address, bytes)),
                });
            }
        }
        for &(from, to, address, plain) in &near {
            tests.push(Test {
                phase: Phase::More,
                name: format!("traceroute {} to {}", from.name(), to.name()),
                family: family_of(address),
                ping: Some(plain),
                run: Box::new(move |_| self.traceroute(from, address)),
            });
        }
        for (from, to, address, plain) in near {
            let mib = TRANSFER_BYTES >> 20;
            tests.push(Test {
                phase: Phase::Transfers,
                name: format!("TCP {} to {}, {mib} MiB compared", from.name(), to.name()),
                family: family_of(address),
                ping: Some(plain),
                run: Box::new(move |hopeless| transfer(from, to, address, TRANSFER_BYTES, hopeless)),
            });
        }
        for (n, plain) in self.neighbours().into_iter().zip(host_pings) {
            let mib = HOST_TRANSFER_BYTES >> 20;
            tests.push(Test {
                phase: Phase::Transfers,
                name: format!("TCP {} to {}, {mib} MiB compared", n.host.name(), n.router.name()),
                family: family_of(n.router_address),
                ping: Some(plain),
                run: Box::new(move |hopeless| {
                    self.unless_mute(|| {
                        transfer(n.host, n.router, n.router_address, HOST_TRANSFER_BYTES, hopeless)
                    })
                }),
            });
        }
        tests
    }

    /// Whether the way between two nodes is to be tested.
    fn is_asked_for(&self, one: &Node<'_>, two: &Node<'_>) -> bool {
        self.between
            .as_ref()
            .is_none_or(|[a, b]| [[a.as_str(), b], [b.as_str(), a]].contains(&[one.name(), two.name()]))
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
                let roles = (host.record.role, router.record.role);
                if roles != (Role::Host, Role::Router) || !self.is_asked_for(host, router) {
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

    /// Addresses of routers on a host's links.
    fn first_routers(&self, host: &Node<'_>) -> Vec<IpAddr> {
        let links =
            self.state.topology.links.iter().flat_map(|link| [(&link.a, &link.b), (&link.b, &link.a)]);
        let ends = links.filter(|(own, _)| own.node == host.name()).map(|(_, other)| other);
        ends.flat_map(|end| end.addresses.iter().map(|net| net.addr())).collect()
    }

    /// Every ordered pair of hosts, with each address of the second whose family the first has too.
    fn pairs(&self) -> Vec<Pair<'_>> {
        let hosts: Vec<&Node<'_>> = self.nodes.iter().filter(|node| node.record.role == Role::Host).collect();
        let mut found = Vec::new();
        for (first, &from) in hosts.iter().enumerate() {
            for (second, &to) in hosts.iter().enumerate().filter(|(second, _)| *second != first) {
                if !self.is_asked_for(from, to) {
                    continue;
                }
                // Behind the last host comes the first.
                let distance = (second + hosts.len() - first) % hosts.len();
                let is_near = self.between.is_some() || distance <= NEAR;
                let reachable = |to: &IpAddr| from.addresses().any(|own| own.is_ipv4() == to.is_ipv4());
                let addresses = to.addresses().filter(reachable);
                found.extend(addresses.map(|address| Pair { from, to, address, is_near }));
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
        let first_hops: Vec<IpAddr> =
            self.first_routers(from).into_iter().filter(|router| router.is_ipv4() == to.is_ipv4()).collect();
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
fn transfer(from: &Node<'_>, to: &Node<'_>, address: IpAddr, bytes: u64, hopeless: bool) -> Outcome {
    let within = if hopeless { HOPELESS_WITHIN } else { TRANSFER_WITHIN };
    match try_transfer(from, to, address, bytes, Instant::now() + within) {
        Ok(outcome) => outcome,
        Err(error) => Outcome::Fail { detail: format!("{address}: {error}") },
    }
}

fn try_transfer(
    from: &Node<'_>,
    to: &Node<'_>,
    address: IpAddr,
    bytes: u64,
    deadline: Instant,
) -> io::Result<Outcome> {
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

/// A row as a line. Why a test was skipped is said once; `told` are the reasons that were.
fn line(row: &Row, width: usize, told: &mut Vec<String>) -> String {
    let (word, detail) = match &row.outcome {
        Outcome::Pass { detail } => ("pass", detail.as_str()),
        Outcome::Fail { detail } => ("FAIL", detail.as_str()),
        Outcome::Skipped { detail } if told.contains(detail) => ("skip", ""),
        Outcome::Skipped { detail } => {
            told.push(detail.clone());
            ("skip", detail.as_str())
        }
    };
    let text = format!("{word}  {}  {:<width$}  {detail}", row.family, row.test);
    format!("{}\n", text.trim_end())
}

/// What came of all of them.
fn summary(state: &State, rows: &[Row]) -> String {
    let mut text = String::new();
    let failures: Vec<&Row> = rows.iter().filter(|row| matches!(row.outcome, Outcome::Fail { .. })).collect();
    let skipped = rows.iter().filter(|row| matches!(row.outcome, Outcome::Skipped { .. })).count();
    if rows.len() > SCREENFUL && !failures.is_empty() {
        text.push_str("\nWhat failed:\n");
        text.extend(failures.iter().map(|row| line(row, 0, &mut Vec::new())));
    }
    let verdict = match (failures.len(), rows.len() - skipped) {
        (0, run) => format!("all {run} tests passed"),
        (failed, run) => format!("{failed} of {run} tests failed"),
    };
    let skipped = if skipped > 0 { format!(", {skipped} skipped") } else { String::new() };
    text + &format!("lab {} ({}): {verdict}{skipped}\n", state.name, state.mode)
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
