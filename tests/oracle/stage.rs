//! Where a scene is played: a lab whose hosts are silent, with a tap on the hosts' side of both links in
//! their place.
//!
//! The taps answer the router's ARP requests and solicitations for every station 3..=249 of both subnets, so
//! a scene sends from any station, and gets answers. No two scenes of a lab share a source: Linux limits ICMP
//! errors by destination, and neighbours are learned afresh.
//!
//! Nothing waits for time to pass. The end of a scene is known by markers, frames that cross the router after
//! those of the scene, and in userspace mode by the counters, which are to reach exactly what the scene says
//! they will.

use std::time::{Duration, Instant};

use nix::sched::sched_getcpu;
use nsrouter_linux::affinity;
use nsrouter_wire::offload::Offload;
use serde_json::Value;

use crate::common::{Lab, Tap, wait_for};
use crate::moved::{Moved, accounting, counters, parse_moved, print_moved, transmitted};
use crate::observe;
use crate::packet::{self, A4, A6, ARP, IPV4, IPV6, Ip4, Ip6, Mac};
use crate::question::Question;
use crate::stations::Where::{self, T1, T2};
use crate::stations::{FIRST, SILENT, router_mac, router4, station_mac, station4, station6};

/// The station that sends the markers of each link.
const MARKER: u8 = 1;
const MARKER_PORT: u16 = 0x4d4b;
/// Probes go to 10.PROBED.*.1.
const PROBED: u8 = 88;
/// How long the counters may take to come to what they must be.
const COUNTERS_PATIENCE: Duration = Duration::from_secs(30);

/// The stage and the scene that is on it.
pub struct Stage<'l> {
    lab: &'l Lab,
    taps: [Tap; 2],
    /// What each side saw in this scene.
    seen: [Vec<String>; 2],
    /// How many of those are no questions.
    answers: [usize; 2],
    /// The station that introduces itself next in [`Stage::settle`].
    last_guest: u8,
    /// This scene's station number.
    pub n: u8,
    /// Frames of the scene as they came, in place of `seen`.
    gathered: Option<Vec<Vec<u8>>>,
    /// How often the router was configured, and the last of it that a probe has shown to be in force.
    configured: u8,
    in_force: u8,
    /// Whether the router's questions for neighbours are part of what is seen.
    shows_questions: bool,
    /// Stations whose MAC address is another than [`station_mac`].
    moved_stations: Vec<(Where, u8, Mac)>,
    /// What the counters must be, the neighbours' questions and answers and the markers included.
    expected: Moved,
    marker: u32,
    /// Frames that came to the taps.
    arrived: u64,
    /// Frames that had left by the router's ports before any of those.
    left_before: u64,
}

impl<'l> Stage<'l> {
    /// Takes the hosts' place.
    pub fn new(lab: &'l Lab) -> Stage<'l> {
        // What a veth carries waits in a queue of the sender's CPU: on one CPU frames cannot overtake each
        // other.
        let here = sched_getcpu().expect("this thread is on a CPU");
        affinity::pin(&[here]).expect("it may be used");
        for (node, interface) in [("t1", "t1-eth0"), ("t2", "t2-eth0")] {
            let silence = format!(
                "ip addr flush dev {interface} && echo 1 > /proc/sys/net/ipv6/conf/{interface}/disable_ipv6"
            );
            lab.succeed(node, &["sh", "-c", &silence]);
        }
        let taps = [lab.tap("t1", "t1-eth0"), lab.tap("t2", "t2-eth0")];
        let mut stage = Stage {
            lab,
            taps,
            seen: [Vec::new(), Vec::new()],
            answers: [0; 2],
            last_guest: SILENT - 1,
            n: FIRST,
            gathered: None,
            configured: 0,
            in_force: 0,
            shows_questions: false,
            moved_stations: Vec::new(),
            expected: Moved::new(),
            marker: 0,
            arrived: 0,
            left_before: 0,
        };
        stage.sync();
        let engine = stage.rest();
        stage.left_before = transmitted(&engine) - stage.arrived;
        stage.expected = counters(&engine);
        stage
    }

    /// Whether our own router forwards; only to set a lab up, never to choose what to send.
    pub fn lab(&self) -> &Lab {
        self.lab
    }

    /// Whether the router has several workers, so that frames of different flows may overtake each other.
    fn has_workers(&self) -> bool {
        self.lab.mode.split(':').nth(2).is_some()
    }

    /// Gives the link to t2 this MTU, where the lab was not made with it.
    pub fn narrow(&self, mtu: u64) {
        if self.lab.backend() != "tap" {
            self.lab.succeed("router", &["ip", "link", "set", "eth-t2", "mtu", &mtu.to_string()]);
        }
        wait_for("the router sees the new MTU", || {
            // In kernel mode the kernel knows at once.
            let now = self.lab.status()["engine"]["ports"][1]["mtu"].as_u64();
            (!self.lab.is_userspace() || now == Some(mtu)).then_some(())
        });
    }

    /// This scene's station on a link.
    pub fn a4(&self, at: Where) -> A4 {
        station4(at, self.n)
    }

    /// The same, IPv6.
    pub fn a6(&self, at: Where) -> A6 {
        station6(at, self.n)
    }

    /// This scene's MAC address on a link.
    pub fn mac(&self, at: Where) -> Mac {
        station_mac(at, self.n)
    }

    /// A header from this scene's station at t1 to the one at t2.
    pub fn ip4(&self) -> Ip4 {
        Ip4::new(self.a4(T1), self.a4(T2))
    }

    /// The same, IPv6.
    pub fn ip6(&self) -> Ip6 {
        Ip6::new(self.a6(T1), self.a6(T2))
    }

    /// Questions for neighbours belong to this scene.
    pub fn show_questions(&mut self) {
        self.shows_questions = true;
    }

    /// A station has another MAC address from here on.
    pub fn move_station(&mut self, at: Where, n: u8, mac: Mac) {
        self.moved_stations.push((at, n, mac));
    }

    /// Keeps the frames of the scene as they come, in place of comparing them, until [`Stage::gathered`].
    pub fn gather(&mut self) {
        self.gathered = Some(Vec::new());
    }

    /// The frames since [`Stage::gather`].
    pub fn gathered(&mut self) -> Vec<Vec<u8>> {
        self.gathered.take().unwrap_or_default()
    }

    /// Something that a scene found out by itself, to be compared between the modes.
    pub fn note(&mut self, at: Where, what: String) {
        self.seen[at.index()].push(what);
    }

    /// Runs `ip` in the router's namespace with each of these arguments, and waits until the router forwards
    /// by it.
    ///
    /// A userspace router takes changes over together and a little later. The last one made is a route of
    /// ours, and probes along it tell when it is in force: they are ICMP errors, and no error answers an
    /// error.
    pub fn configure(&mut self, arguments: &[&str]) {
        self.configured += 1;
        let k = self.configured;
        let ours =
            format!("route add 10.{PROBED}.{k}.0/24 via {}", std::net::Ipv4Addr::from(station4(T2, MARKER)));
        let commands: Vec<String> =
            arguments.iter().chain([&ours.as_str()]).map(|arguments| format!("ip {arguments}")).collect();
        self.lab.succeed("router", &["sh", "-c", &commands.join(" && ")]);
        wait_for("the router is configured", || {
            let packet = Ip4::new(station4(T1, MARKER), [10, PROBED, k, 1]).icmp(3, 1, [0; 4], b"probe");
            let frame = packet::eth(router_mac(T1), station_mac(T1, MARKER), IPV4, &packet);
            self.frame(T1, &frame);
            self.sync();
            if self.has_workers() {
                // The probe is of another flow than the markers.
                self.rest();
            }
            let outcome = if self.in_force == k { "sent" } else { "no_route" };
            self.expect(&[("received", 1), (outcome, 1)]);
            (self.in_force == k).then_some(())
        });
    }

    /// Sends any frame from a link's host side.
    pub fn frame(&mut self, at: Where, bytes: &[u8]) {
        self.taps[at.index()].send(bytes);
    }

    /// Sends a frame that has work left for an offload.
    pub fn offloaded(&mut self, at: Where, bytes: &[u8], offload: Offload) {
        self.taps[at.index()].send_offloaded(bytes, offload);
    }

    /// Sends an IPv4 packet from t1 to the router.
    pub fn send4(&mut self, packet: &[u8]) {
        let frame = packet::eth(router_mac(T1), self.mac(T1), IPV4, packet);
        self.frame(T1, &frame);
    }

    /// Sends an IPv6 packet from t1 to the router.
    pub fn send6(&mut self, packet: &[u8]) {
        let frame = packet::eth(router_mac(T1), self.mac(T1), IPV6, packet);
        self.frame(T1, &frame);
    }

    /// Waits until all that was sent has crossed the router, and what it did at once has come.
    pub fn sync(&mut self) {
        // Twice: the answers that the first round gave to the router's questions may let frames go.
        for _ in 0..2 {
            self.marker += 1;
            for (from, to) in [(T1, T2), (T2, T1)] {
                let payload = self.marker.to_be_bytes();
                let packet = Ip4::new(station4(from, MARKER), station4(to, MARKER)).udp(
                    MARKER_PORT,
                    MARKER_PORT,
                    &payload,
                );
                let frame = packet::eth(router_mac(from), station_mac(from, MARKER), IPV4, &packet);
                self.frame(from, &frame);
            }
            self.expect(&[("received", 2), ("sent", 2)]);
            let mut arrived = [false; 2];
            let wanted = self.marker;
            wait_for("the markers cross the router", || {
                for at in [T1, T2] {
                    arrived[at.index()] |= self.drain(at).contains(&wanted);
                }
                (arrived == [true; 2]).then_some(())
            });
        }
    }

    /// Looks until this many frames of the scene, questions aside, have come to a side; what comes with time
    /// only.
    pub fn until(&mut self, at: Where, frames: usize) {
        wait_for("the frames that the scene waits for", || {
            self.drain(T1);
            self.drain(T2);
            (self.answers[at.index()] >= frames).then_some(())
        });
    }

    /// Frames of the scene, questions aside, that have come to a side.
    pub fn count(&self, at: Where) -> usize {
        self.answers[at.index()]
    }

    /// Waits until the router has made up its mind about all that neighbours have said so far.
    ///
    /// A userspace router learns beside its hot path, in the order of what was heard: when it knows a station
    /// that introduces itself now, it has dealt with all before.
    pub fn settle(&mut self) {
        self.sync();
        let n = self.last_guest;
        self.last_guest -= 1;
        let (mac, address) = (station_mac(T1, n), station4(T1, n));
        let request = packet::arp(1, (mac, address), ([0; 6], router4(T1)));
        self.frame(T1, &packet::eth(packet::BROADCAST, mac, ARP, &request));
        self.expect(&[("received", 1), ("sent", 1)]);
        let name = std::net::Ipv4Addr::from(address).to_string();
        if self.lab.is_userspace() {
            wait_for("the router knows a guest", || {
                let engine = self.lab.status()["engine"].clone();
                let neighbours = engine["neighbours"].as_array().expect("a list of neighbours");
                neighbours.iter().any(|neighbour| neighbour["address"] == name).then_some(())
            });
        }
        self.sync();
    }

    fn expect(&mut self, moves: &[(&str, i64)]) {
        for (name, count) in moves {
            *self.expected.entry((*name).to_owned()).or_default() += count;
        }
    }

    /// Takes what has come to a side: notes it, answers questions, and gives the markers.
    fn drain(&mut self, at: Where) -> Vec<u32> {
        let mut markers = Vec::new();
        for (data, offload) in self.taps[at.index()].take() {
            self.arrived += 1;
            if data.len() >= 46 && data[12..14] == [8, 0] && data[34..36] == MARKER_PORT.to_be_bytes() {
                markers.push(u32::from_be_bytes(data[42..46].try_into().expect("four bytes")));
            } else if data.len() >= 34 && data[12..14] == [8, 0] && data[30..32] == [10, PROBED] {
                self.in_force = data[32];
            } else if let Some(question) = Question::parse(at, &data) {
                self.expect(&[("originated", 1), ("sent", 1)]);
                if self.shows_questions && (question.station == self.n || question.station >= SILENT) {
                    self.seen[at.index()].push(observe::frame(&data, offload));
                }
                self.answer(at, &question);
            } else if is_report(&data) && data[6..12] == router_mac(at) {
                self.expect(&[("originated", 1), ("sent", 1)]);
            } else if !is_housekeeping(&data) && !self.is_for_a_guest(&data) {
                self.answers[at.index()] += 1;
                match &mut self.gathered {
                    Some(gathered) => gathered.push(data),
                    None => self.seen[at.index()].push(observe::frame(&data, offload)),
                }
            }
        }
        markers
    }

    fn is_for_a_guest(&self, data: &[u8]) -> bool {
        data[..5] == station_mac(T1, 0)[..5] && (self.last_guest + 1..SILENT).contains(&data[5])
    }

    fn answer(&mut self, at: Where, question: &Question) {
        if question.station >= SILENT {
            return;
        }
        let moved =
            self.moved_stations.iter().rev().find(|(side, n, _)| (*side, *n) == (at, question.station));
        let mac = moved.map_or(station_mac(at, question.station), |(_, _, mac)| *mac);
        let answer = question.answer(mac);
        self.frame(at, &answer);
        self.expect(&[("received", 1), ("consumed", 1)]);
    }

    /// The engine's state once it has come to rest.
    fn rest(&mut self) -> Value {
        let mut last = Value::Null;
        wait_for("the counters come to rest", || {
            std::thread::sleep(Duration::from_millis(20));
            self.drain(T1);
            self.drain(T2);
            let now = self.lab.status()["engine"].clone();
            let is_same = now["totals"] == last["totals"] && now["ports"] == last["ports"];
            last = now;
            is_same.then(|| last.clone())
        })
    }

    /// Whether every frame that left the router has come to a tap.
    fn has_all(&mut self, engine: &Value) -> bool {
        self.drain(T1);
        self.drain(T2);
        transmitted(engine) == self.left_before + self.arrived
    }

    /// Ends the scene: what both sides saw, and whether the counters moved as `moved` says.
    pub fn end(&mut self, moved: &str) -> (Vec<String>, Result<(), String>) {
        self.sync();
        let outcome = if self.lab.is_userspace() {
            self.check_counters(moved)
        } else {
            wait_for("all that left the router arrives", || {
                let engine = self.lab.status()["engine"].clone();
                self.has_all(&engine).then_some(())
            });
            Ok(())
        };
        let mut lines = Vec::new();
        for at in [T1, T2] {
            lines.extend(self.seen[at.index()].drain(..).map(|line| format!("{at:?} {line}")));
        }
        self.shows_questions = false;
        self.answers = [0; 2];
        (lines, outcome)
    }

    fn check_counters(&mut self, moved: &str) -> Result<(), String> {
        let moved = parse_moved(moved);
        accounting(&moved).map_err(|error| format!("what the scene expects cannot be: {error}"))?;
        for (name, count) in &moved {
            self.expect(&[(name, *count)]);
        }
        let deadline = Instant::now() + COUNTERS_PATIENCE;
        loop {
            let engine = self.lab.status()["engine"].clone();
            let has_all = self.has_all(&engine);
            let mut difference = counters(&engine);
            accounting(&difference)?;
            for (name, count) in &self.expected {
                *difference.entry(name.clone()).or_default() -= count;
            }
            difference.retain(|_, count| *count != 0);
            if difference.is_empty() && has_all {
                return Ok(());
            }
            if Instant::now() > deadline {
                // The next scene is judged by what it does itself.
                let engine = self.rest();
                self.expected = counters(&engine);
                for (name, count) in moved {
                    *difference.entry(name).or_default() += count;
                }
                return Err(format!("counters moved: {}", print_moved(&difference)));
            }
            std::thread::sleep(Duration::from_millis(2));
        }
    }
}

/// Whether this is a multicast listener report of version 2.
fn is_report(data: &[u8]) -> bool {
    data.len() >= 63 && data[12..14] == [0x86, 0xdd] && data[20] == 0 && data[62] == 143
}

/// What hosts and routers say of themselves beside all traffic: multicast listener reports and router
/// advertisements or solicitations, whose times are random. Scenes about those look for them themselves.
fn is_housekeeping(data: &[u8]) -> bool {
    is_report(data) || data.len() >= 34 && data[12..14] == [8, 0] && data[23] == 2
}
