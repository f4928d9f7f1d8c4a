//! State and counters of a running engine: ports, totals, drop reasons, neighbours. One shape for both modes.

pub(crate) mod drops;
pub(crate) mod routes;
pub(crate) mod userspace;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

pub use drops::drop_sentence;

/// The state of a forwarding engine at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Status {
    /// The mode: `kernel` or `userspace`.
    pub mode: String,
    /// The mechanism under the userspace router (`packet`), or `ip_forward`.
    pub backend: String,
    /// Threads that forward; none in kernel mode, where the senders' softirqs do.
    pub workers: Vec<WorkerStatus>,
    /// What keeps the kernel silent on the router's ports: `tcx`, or `tc` where there are many, with the
    /// sysctls, `sysctl` alone with the reason; `not needed` where the kernel gets nothing to see; empty in
    /// kernel mode.
    pub guard: String,
    /// Whether the router's own programs reach the network; in userspace mode through the host port.
    pub host_port: HostPort,
    /// The router's ports.
    pub ports: Vec<PortStatus>,
    /// What passed by the host port, one row a router, like a port's: received from the router's own
    /// programs, sent to them. With `ports` it makes up the totals. Empty where there is none, and in kernel
    /// mode.
    pub host_ports: Vec<PortStatus>,
    /// Prefixes in the userspace router's forwarding table, those of its own subnets and addresses included;
    /// nothing in kernel mode.
    pub routes: Option<usize>,
    /// The router's totals; they add up: received + originated = sent + to host + consumed + held + dropped.
    pub totals: Totals,
    /// Frames dropped, by reason; reasons that never occurred are left out.
    pub drops: BTreeMap<String, u64>,
    /// Events that the router counts beside the fate of frames.
    pub events: Events,
    /// Neighbours that the router knows.
    pub neighbours: Vec<NeighbourStatus>,
    /// Errors that the router recovered from: a port that went down, a worker that ended.
    #[serde(rename = "troubles")]
    pub warnings: Vec<String>,
}

impl Status {
    /// Two routers of one lab as one: lists behind each other, counters added.
    #[must_use]
    pub fn merge(mut self, other: Status) -> Status {
        self.workers.extend(other.workers);
        self.routes = self.routes.zip(other.routes).map(|(ours, others)| ours + others);
        self.ports.extend(other.ports);
        self.host_ports.extend(other.host_ports);
        self.neighbours.extend(other.neighbours);
        self.warnings.extend(other.warnings);
        for (reason, frames) in other.drops {
            *self.drops.entry(reason).or_default() += frames;
        }
        self.totals = Totals {
            received: self.totals.received + other.totals.received,
            originated: self.totals.originated + other.totals.originated,
            sent: self.totals.sent + other.totals.sent,
            to_host: self.totals.to_host + other.totals.to_host,
            consumed: self.totals.consumed + other.totals.consumed,
            held: self.totals.held + other.totals.held,
            dropped: self.totals.dropped + other.totals.dropped,
        };
        self.events = Events {
            icmp_errors: self.events.icmp_errors + other.events.icmp_errors,
            icmp_rate_limited: self.events.icmp_rate_limited + other.events.icmp_rate_limited,
            originate_no_buffer: self.events.originate_no_buffer + other.events.originate_no_buffer,
            neighbours_evicted: self.events.neighbours_evicted + other.events.neighbours_evicted,
            lookups: self.events.lookups + other.events.lookups,
        };
        self
    }
}

/// The routes of a userspace router.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct RouteList {
    /// The ports' own subnets, then the other routes by family and prefix; of a large table the first ones.
    pub routes: Vec<RouteStatus>,
    /// How many there are.
    pub total: usize,
}

/// One route.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct RouteStatus {
    /// The router whose it is, in a lab with several.
    pub router: Option<String>,
    /// Its destinations.
    pub prefix: String,
    /// Its kind, in words of ip-route(8): unicast, blackhole, unreachable, prohibit.
    pub kind: String,
    /// Where it leads; several share the flows.
    pub hops: Vec<HopStatus>,
    /// Preference: lower is better.
    pub metric: u32,
    /// The largest packet that may go by it, in bytes, where it says so.
    pub mtu: Option<u32>,
    /// Its origin: `connected` by a port's address, `configured` with the lab, `learned` from the kernel's
    /// main table.
    pub origin: String,
}

/// One next hop of a route.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct HopStatus {
    /// The gateway; nothing where destinations are on the link.
    pub via: Option<String>,
    /// The port; nothing where the route to the gateway decides.
    pub port: Option<String>,
    /// Its share of the flows.
    pub weight: u16,
}

/// How the router's own programs reach the network.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostPort {
    /// Whether they do.
    pub available: bool,
    /// The interface that they use; empty where the kernel forwards itself.
    pub interface: String,
    /// Why they do not.
    pub reason: String,
}

/// One thread that forwards.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct WorkerStatus {
    /// Frames that it received.
    pub received: u64,
    /// The CPU that it is pinned to.
    pub cpu: Option<usize>,
    /// It ended early, and the others carry on without it: the warnings say why.
    pub ended: bool,
}

/// One port of the router.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PortStatus {
    /// Interface name.
    pub name: String,
    /// Whether the link is up.
    pub up: bool,
    /// Link-layer address.
    pub mac: String,
    /// Largest IP packet in bytes.
    pub mtu: u32,
    /// The router's addresses on it, with prefix lengths.
    pub addresses: Vec<String>,
    /// Frames received; a GSO packet counts as one.
    pub rx_frames: u64,
    /// Bytes received, Ethernet headers included.
    pub rx_bytes: u64,
    /// Frames that the kernel lost before the router saw them.
    pub rx_lost: u64,
    /// Frames sent.
    pub tx_frames: u64,
    /// Bytes sent, Ethernet headers included.
    pub tx_bytes: u64,
    /// Frames that were to leave here and were dropped.
    pub tx_dropped: u64,
}

/// The router's totals, in frames; in kernel mode in IP packets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Totals {
    /// Received on all ports, the host port included; in kernel mode on the loopback interface too.
    pub received: u64,
    /// Made by the router itself: ICMP errors, fragments, ARP requests.
    pub originated: u64,
    /// Sent by a link port; in kernel mode what was handed to the link layer, which drops what waits in vain
    /// for a neighbour's MAC address.
    pub sent: u64,
    /// Handed to the router's own programs.
    pub to_host: u64,
    /// Replaced by other frames, or served their purpose on arrival.
    pub consumed: u64,
    /// Waiting for a neighbour's MAC address now.
    pub held: u64,
    /// Dropped, all reasons together.
    pub dropped: u64,
}

/// Events that a router counts beside the fate of frames; they are no part of the packet accounting.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Events {
    /// ICMP errors and redirects sent, of both families.
    pub icmp_errors: u64,
    /// ICMP errors that a rate limit kept back.
    pub icmp_rate_limited: u64,
    /// Packets that the router should have made, an ICMP error or a fragment, and had no buffer for.
    pub originate_no_buffer: u64,
    /// Neighbours that had to go, or were not taken in, because the neighbour table was full.
    pub neighbours_evicted: u64,
    /// Look-ups in the forwarding table; nothing in kernel mode.
    pub lookups: u64,
}

/// One neighbour.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct NeighbourStatus {
    /// The port that it is reached by.
    pub port: String,
    /// Its IP address.
    pub address: String,
    /// Its MAC address, once known.
    pub mac: Option<String>,
    /// RFC 4861 state in lower case: incomplete, reachable, stale, delay, probe, failed, permanent.
    pub state: String,
}
