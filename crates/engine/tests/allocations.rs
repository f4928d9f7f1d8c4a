//! A live worker allocates nothing, whatever its frames are: forwarded, answered, refused with an error,
//! pending for a neighbour.
//!
//! The worker's thread alone is counted: the control plane, which may allocate, keeps up as well as the
//! machine lets it. The ports lend frames that were made before.
#![allow(clippy::unwrap_used)]

use std::alloc::System;
use std::cell::Cell;
use std::io::{self, PipeReader};
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use nsrouter_engine::userspace::{OpenPort, Spin, Userspace, UserspaceConfig};
use nsrouter_engine::{MacAddr, NeighConfig, Port, PortId, Settings};
use nsrouter_rings::port::{Burst, Capabilities, QueuePair, Receive, Received, Sent, Transmit};
use nsrouter_wire::frame::Frame;
use nsrouter_wire::offload::Offload;
use tracking_allocator::{
    AllocationGroupId, AllocationGroupToken, AllocationRegistry, AllocationTracker, Allocator,
};

#[global_allocator]
static ALLOCATOR: Allocator<System> = Allocator::system();

/// Allocations and reallocations of the worker's thread since it received for the first time.
static WORKER_ALLOCATIONS: AtomicU64 = AtomicU64::new(0);

thread_local! {
    /// Whether this thread's allocations are counted.
    static IS_COUNTED: Cell<bool> = const { Cell::new(false) };
}

/// Counts for the worker: no other thread enters a group.
struct CountWorker;

impl AllocationTracker for CountWorker {
    fn allocated(&self, _: usize, _: usize, _: usize, group: AllocationGroupId) {
        if group != AllocationGroupId::ROOT {
            WORKER_ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn deallocated(&self, _: usize, _: usize, _: usize, _: AllocationGroupId, _: AllocationGroupId) {}
}

/// Counts what the calling thread allocates from now on.
fn count_this_thread() {
    if !IS_COUNTED.replace(true) {
        let mut group = AllocationGroupToken::register().unwrap();
        // The thread never leaves the group.
        std::mem::forget(group.enter());
    }
}

const ROUTER: [[u8; 6]; 2] = [[2, 1, 2, 3, 4, 1], [2, 1, 2, 3, 4, 2]];
const HOST: [[u8; 6]; 2] = [[2, 9, 9, 9, 9, 1], [2, 9, 9, 9, 9, 2]];
const HEADROOM: usize = 128;
const FRAME_BYTES: usize = 60;
/// Frames in a burst, bursts that are looked at together, and their frames: in so many rounds a worker
/// publishes its counters twice.
const BURST: usize = 32;
const BURSTS: u64 = 2_500;
const FRAMES: u64 = 80_000;
/// The kind that does not leave.
const HELD: &str = "held";

/// What both ends of a test share.
#[derive(Default)]
struct Traffic {
    /// Looks for frames that are still to be made: each finds a burst but the last, by which all bursts are
    /// forwarded.
    looks: AtomicU64,
    /// Which of the kinds of frames comes.
    kind: AtomicUsize,
    /// Frames that left by any port.
    sent: AtomicU64,
}

/// Lends the same frames again and again.
struct Source {
    port: PortId,
    kinds: Vec<[u8; FRAME_BYTES]>,
    buffers: Vec<[u8; HEADROOM + FRAME_BYTES]>,
    traffic: Arc<Traffic>,
    never: PipeReader,
}

impl Receive for Source {
    fn recv<'r>(&'r mut self, max: usize, burst: &mut Burst<'r>) -> io::Result<Received> {
        count_this_thread();
        let looks = &self.traffic.looks;
        let before = looks.fetch_update(Ordering::AcqRel, Ordering::Acquire, |looks| looks.checked_sub(1));
        let Ok(2..) = before else { return Ok(Received::default()) };
        let kind = &self.kinds[self.traffic.kind.load(Ordering::Acquire)];
        for buffer in self.buffers.iter_mut().take(max) {
            buffer[HEADROOM..].copy_from_slice(kind);
            burst.extend(Frame::new(buffer, HEADROOM, FRAME_BYTES, self.port, Offload::default()));
        }
        Ok(Received::default())
    }

    fn fd(&self) -> BorrowedFd<'_> {
        self.never.as_fd()
    }

    fn polls_without_syscall(&self) -> bool {
        true
    }

    fn take_error(&mut self) -> io::Result<()> {
        Ok(())
    }

    fn take_lost_frames(&mut self) -> u64 {
        0
    }
}

struct Drain(Arc<Traffic>);

impl Transmit for Drain {
    fn capabilities(&self) -> Capabilities {
        Capabilities { checksum: true, tso: true, uso: true }
    }

    fn send(&mut self, frames: &mut [Frame<'_>]) -> Sent {
        self.0.sent.fetch_add(frames.len() as u64, Ordering::Relaxed);
        Sent { frames: frames.len() as u64, ..Sent::default() }
    }
}

fn udp(to: [u8; 4], ttl: u8) -> [u8; FRAME_BYTES] {
    let mut bytes = Vec::new();
    let builder = etherparse::PacketBuilder::ethernet2(HOST[0], ROUTER[0]).ipv4([10, 0, 1, 1], to, ttl);
    builder.udp(1000, 2000).write(&mut bytes, &[0; FRAME_BYTES - 42]).unwrap();
    bytes.try_into().unwrap()
}

fn echo() -> [u8; FRAME_BYTES] {
    let mut bytes = Vec::new();
    let builder =
        etherparse::PacketBuilder::ethernet2(HOST[0], ROUTER[0]).ipv4([10, 0, 1, 1], [10, 0, 1, 254], 64);
    builder.icmpv4_echo_request(1, 2).write(&mut bytes, &[0; FRAME_BYTES - 42]).unwrap();
    bytes.try_into().unwrap()
}

/// An ARP request of a host for the router's address.
fn arp(port: usize) -> [u8; FRAME_BYTES] {
    let network = u8::try_from(port).unwrap() + 1;
    let mut bytes = [&ROUTER[port][..], &HOST[port], &[8, 6, 0, 1, 8, 0, 6, 4, 0, 1], &HOST[port]].concat();
    bytes.extend([10, 0, network, 1, 0, 0, 0, 0, 0, 0, 10, 0, network, 254]);
    bytes.resize(FRAME_BYTES, 0);
    bytes.try_into().unwrap()
}

fn wait_for(what: &str, mut look: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(20);
    while !look() {
        assert!(Instant::now() < deadline, "{what}: not within twenty seconds");
        std::thread::yield_now();
    }
}

#[test]
fn a_live_worker_does_not_allocate() {
    AllocationRegistry::set_global_tracker(CountWorker).unwrap();
    AllocationRegistry::enable_tracking();
    let traffics: [Arc<Traffic>; 2] = Default::default();
    // What comes in by the first port; by the second come ARP requests, once.
    let kinds = [
        ("forwarded", udp([10, 0, 2, 1], 64)),
        ("answered", echo()),
        ("refused with an error", udp([10, 0, 2, 1], 1)),
        ("refused, no route", udp([99, 0, 0, 1], 64)),
        (HELD, udp([10, 0, 2, 77], 64)),
        ("answered, ARP", arp(0)),
    ];
    // Its write end stays open, so it never becomes readable.
    let (never, _writer) = io::pipe().unwrap();
    let ports = (0..2usize)
        .map(|number| {
            let kinds =
                if number == 0 { kinds.iter().map(|(_, frame)| *frame).collect() } else { vec![arp(1)] };
            let source = Source {
                port: PortId(u16::try_from(number).unwrap()),
                kinds,
                buffers: vec![[0; HEADROOM + FRAME_BYTES]; BURST],
                traffic: Arc::clone(&traffics[number]),
                never: never.try_clone().unwrap(),
            };
            let transmit = Box::new(Drain(Arc::clone(&traffics[number])));
            let port = Port {
                name: format!("port{number}"),
                // The loopback interface: a link that is up wherever a test runs.
                ifindex: 1,
                mac: MacAddr(ROUTER[number]),
                mtu: 1500,
                addresses: vec![format!("10.0.{}.254/24", number + 1).parse().unwrap()],
                up: true,
            };
            OpenPort {
                port,
                queues: vec![QueuePair { rx: Box::new(source), tx: transmit }],
                guard: None,
                far_link: None,
            }
        })
        .collect();
    let engine = Userspace::start(UserspaceConfig {
        backend: "test".to_owned(),
        ports,
        host: Err("none here".to_owned()),
        routes: Vec::new(),
        settings: Settings { icmp_interval_ms: 0, icmp_total_per_s: 0, ..Settings::default() },
        // The control plane asks for the neighbour that does not answer once, and then has nothing to do.
        neighbours: NeighConfig { retransmit_ms: 3_600_000, ..NeighConfig::default() },
        spin: Spin::Always,
        cpus: Vec::new(),
        nice: None,
    })
    .unwrap();
    let run = |port: usize, kind: usize, bursts: u64| {
        traffics[port].kind.store(kind, Ordering::Release);
        traffics[port].looks.store(bursts + 1, Ordering::Release);
        wait_for("frames are forwarded", || traffics[port].looks.load(Ordering::Acquire) == 0);
    };
    // Both hosts become known, and then each kind is met. What the control plane is told may be lost, as
    // packets may.
    let arp_kind = kinds.len() - 1;
    wait_for("both hosts are known", || {
        run(1, 0, 1);
        run(0, arp_kind, 1);
        engine.status().neighbours.iter().filter(|neighbour| neighbour.mac.is_some()).count() == 2
    });
    for kind in 0..kinds.len() {
        run(0, kind, 8);
    }
    for (kind, (what, _)) in kinds.iter().enumerate() {
        let sent: u64 = traffics.iter().map(|traffic| traffic.sent.load(Ordering::Relaxed)).sum();
        let before = WORKER_ALLOCATIONS.load(Ordering::Relaxed);
        run(0, kind, BURSTS);
        let allocations = WORKER_ALLOCATIONS.load(Ordering::Relaxed) - before;
        assert_eq!(allocations, 0, "{what}");
        let after: u64 = traffics.iter().map(|traffic| traffic.sent.load(Ordering::Relaxed)).sum();
        if *what != HELD {
            assert!(after - sent >= FRAMES, "{what}: {} frames left", after - sent);
        }
    }
    let status = engine.stop();
    assert!(status.drops["ttl_exceeded"] >= FRAMES, "{status:#?}");
    assert!(status.drops["hold_overflow"] >= FRAMES - 1_000, "{status:#?}");
}
