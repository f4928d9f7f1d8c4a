//! What a step works with beside the packet: the tables, the time, the worker's own state, and the way out
//! for new frames.

use nsrouter_wire::frame::PortId;
use nsrouter_wire::ipv4;
use nsrouter_wire::offload::Offload;

use crate::counters::Counters;
use crate::events::Event;
use crate::ip6::listener::Listener;
use crate::ip6::schedule::Schedule;
use crate::limit::Limits;
use crate::packet::L3;
use crate::tables::Tables;
use crate::verdict::NextHop;

/// The time of a burst, given by the caller: the router never asks a clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Time {
    /// Monotonic, in nanoseconds since any fixed moment.
    pub mono_ns: u64,
    /// Milliseconds since midnight UT, for the IP timestamp option (RFC 791 section 3.1).
    pub utc_ms: u32,
}

/// Where what the router originates goes: fragments, ICMP errors, redirects, advertisements.
///
/// Everything is preallocated by the implementor; no call may block or allocate.
pub trait Originate {
    /// Lends a buffer of exactly `len` bytes with undefined content, or nothing when the pool is empty.
    /// Lending again without sending takes the first one back.
    fn buffer(&mut self, len: usize) -> Option<&mut [u8]>;

    /// Sends the buffer lent last. For [`PortId::HOST`] it begins at the IP header, otherwise it is a
    /// complete Ethernet frame.
    fn send(&mut self, egress: PortId, offload: Offload);

    /// Holds the buffer lent last until `next_hop` is resolved; its layout is that of
    /// [`Verdict::Hold`](crate::Verdict::Hold).
    fn hold(&mut self, next_hop: NextHop);

    /// Tells the control plane what was seen. Never blocks; may be lost under overload, as packets may.
    fn report(&mut self, event: Event);
}

/// What a worker's router remembers from packet to packet.
#[derive(Debug)]
pub(crate) struct State {
    pub(crate) counters: Counters,
    /// The limits that all workers share.
    pub(crate) limits: Limits,
    /// When router advertisements are due.
    pub(crate) schedule: Schedule,
    /// What multicast listener reports are due.
    pub(crate) listener: Listener,
    /// Where a segment of a GSO packet is built that must be fragmented.
    pub(crate) scratch: Box<[u8]>,
    /// The IPv4 identification of the last packet that the router made itself.
    identification: u16,
}

impl State {
    /// The state of worker number `worker`, with counters for `ports` link ports.
    pub(crate) fn new(worker: u16, ports: usize, seed: u64, limits: Limits) -> State {
        let seed = seed ^ u64::from(worker) << 48;
        State {
            counters: Counters::new(ports),
            limits,
            schedule: Schedule::new(worker, seed),
            listener: Listener::new(worker, ports, seed),
            scratch: vec![0; L3 + ipv4::MAX_BYTES].into(),
            identification: u16::try_from(seed & 0xffff).unwrap_or(0),
        }
    }

    /// The identification of the next IPv4 packet that the router makes itself.
    pub(crate) fn next_identification(&mut self) -> u16 {
        self.identification = self.identification.wrapping_add(1);
        self.identification
    }
}

/// What a step works with beside the packet.
pub(crate) struct Context<'a, O> {
    pub(crate) state: &'a mut State,
    pub(crate) tables: &'a Tables,
    pub(crate) now: Time,
    /// The port that the frame came in by; [`PortId::HOST`] too for what the router does without a frame.
    pub(crate) ingress: PortId,
    pub(crate) out: &'a mut O,
}
