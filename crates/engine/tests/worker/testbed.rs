//! A router between memory rings, its hosts' frames, and patience.

use std::io;
use std::os::fd::BorrowedFd;
use std::time::{Duration, Instant};

use nsrouter_engine::status::Status;
use nsrouter_engine::userspace::{OpenPort, Spin, Userspace, UserspaceConfig};
use nsrouter_engine::{MacAddr, NeighConfig, Port, PortId, Settings};
use nsrouter_rings::memory::{self, MemoryRx, Stored, Wire};
use nsrouter_rings::port::{Burst, Capabilities, QueuePair, Receive, Received};
use nsrouter_wire::offload::Offload;

pub(crate) const ROUTER: [[u8; 6]; 2] = [[2, 1, 2, 3, 4, 1], [2, 1, 2, 3, 4, 2]];
pub(crate) const HOST: [[u8; 6]; 2] = [[2, 9, 9, 9, 9, 1], [2, 9, 9, 9, 9, 2]];
pub(crate) const ALL: Capabilities = Capabilities { checksum: true, tso: true, uso: true };

/// A router between 10.0.1.0/24 and 10.0.2.0/24 whose ports hold `capacity` frames on their way out.
pub(crate) fn engine(capacity: usize) -> (Userspace, [Wire; 2]) {
    let (engine, wires) = engine_of(1, capacity);
    (engine, wires.try_into().unwrap())
}

/// The same with several workers; their wires are next to each other.
pub(crate) fn engine_of(workers: usize, capacity: usize) -> (Userspace, Vec<Wire>) {
    engine_with(2, workers, capacity)
}

/// The same with more networks: port N has 10.N/256.N%256.254/24, counted from 1.
pub(crate) fn engine_with(ports: u16, workers: usize, capacity: usize) -> (Userspace, Vec<Wire>) {
    let (ports, wires): (Vec<_>, Vec<_>) =
        (0..ports).map(|number| open_port(PortId(number), number, workers, capacity)).unzip();
    let config = UserspaceConfig {
        backend: "memory".to_owned(),
        ports,
        host: Err("none here".to_owned()),
        routes: Vec::new(),
        // The tests look at all that is sent.
        settings: Settings { mld_reports: false, ..Settings::default() },
        neighbours: NeighConfig { retransmit_ms: 20, ..NeighConfig::default() },
        spin: Spin::Never,
        cpus: Vec::new(),
        nice: None,
    };
    (Userspace::start(config).unwrap(), wires.into_iter().flatten().collect())
}

/// A port of network `number`, counted from 0, for that slot, and its wires, one a worker.
pub(crate) fn open_port(slot: PortId, number: u16, workers: usize, capacity: usize) -> (OpenPort, Vec<Wire>) {
    let mut wires = Vec::new();
    let queues = (0..workers).map(|_| {
        let (receive, transmit, wire) = memory::port(slot, capacity, ALL).unwrap();
        wires.push(wire);
        QueuePair::new((Fragile(receive), transmit))
    });
    let queues = queues.collect();
    let port = Port {
        name: format!("port{number}"),
        // The loopback interface: a link that is up wherever a test runs.
        ifindex: 1,
        mac: MacAddr(ROUTER[usize::from(number) % 2]),
        mtu: 1500,
        addresses: vec![format!("10.{}.{}.254/24", (number + 1) / 256, (number + 1) % 256).parse().unwrap()],
        up: true,
    };
    (OpenPort { port, queues, guard: None, far_link: None }, wires)
}

/// A ring on which a frame that begins with this byte is the end of its worker.
pub(crate) struct Fragile(MemoryRx);
pub(crate) const FATAL: u8 = 0xee;

impl Receive for Fragile {
    fn recv<'r>(&'r mut self, max: usize, burst: &mut Burst<'r>) -> io::Result<Received> {
        let received = self.0.recv(max, burst)?;
        assert!(burst.iter().all(|frame| frame.data().first() != Some(&FATAL)), "the worker's end");
        Ok(received)
    }

    fn fd(&self) -> BorrowedFd<'_> {
        self.0.fd()
    }

    fn polls_without_syscall(&self) -> bool {
        self.0.polls_without_syscall()
    }

    fn take_error(&mut self) -> io::Result<()> {
        self.0.take_error()
    }

    fn take_lost_frames(&mut self) -> u64 {
        self.0.take_lost_frames()
    }
}

pub(crate) fn ethernet(to: [u8; 6], from: [u8; 6], kind: u16, payload: &[u8]) -> Stored {
    let mut bytes = Vec::from(to);
    bytes.extend(from);
    bytes.extend(kind.to_be_bytes());
    bytes.extend(payload);
    Stored { bytes, offload: Offload::default() }
}

/// A UDP packet from the first network to the second, `ttl` as said.
pub(crate) fn packet(last: u8, ttl: u8, sequence: u16) -> Stored {
    packet_to([10, 0, 2, last], ttl, sequence)
}

/// A UDP packet from the first network to this address.
pub(crate) fn packet_to(to: [u8; 4], ttl: u8, sequence: u16) -> Stored {
    let mut bytes = Vec::new();
    etherparse::PacketBuilder::ethernet2(HOST[0], ROUTER[0])
        .ipv4([10, 0, 1, 1], to, ttl)
        .udp(1000, 2000)
        .write(&mut bytes, &sequence.to_be_bytes())
        .unwrap();
    Stored { bytes, offload: Offload::default() }
}

/// An ARP packet of `operation` from a host of that network to the router.
pub(crate) fn arp(network: u8, operation: u8) -> Stored {
    let side = usize::from(network % 2);
    let mut payload = vec![0, 1, 8, 0, 6, 4, 0, operation];
    payload.extend(HOST[side]);
    payload.extend([10, 0, network + 1, 1]);
    payload.extend(ROUTER[side]);
    payload.extend([10, 0, network + 1, 254]);
    ethernet(ROUTER[side], HOST[side], 0x0806, &payload)
}

pub(crate) fn poll<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + Duration::from_secs(10);
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(Instant::now() < deadline, "{what}: not within ten seconds");
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// Stops the engine and checks the packet accounting.
pub(crate) fn stop_engine(engine: Userspace) -> Status {
    let status = engine.stop();
    let totals = status.totals;
    assert_eq!(
        totals.received + totals.originated,
        totals.sent + totals.to_host + totals.consumed + totals.held + totals.dropped,
        "{status:#?}"
    );
    status
}

/// Has the host at the end of this wire ask for the router's MAC address; afterwards every worker knows the
/// host's.
pub(crate) fn introduce(engine: &Userspace, wire: &Wire, network: u8) {
    wire.put(arp(network, 1));
    assert_eq!(poll("an answer", || wire.take()).bytes[21], 2, "an ARP reply");
    let address = format!("10.0.{}.1", network + 1);
    poll("the host is known", || {
        let neighbours = engine.status().neighbours;
        neighbours.iter().any(|entry| entry.address == address && entry.mac.is_some()).then_some(())
    });
}

pub(crate) fn is_arp_request(frame: &Stored) -> bool {
    frame.bytes[12..14] == [8, 6] && frame.bytes[21] == 1
}

/// The next frame out of a wire that is no ARP request.
pub(crate) fn next_frame(wire: &Wire) -> Stored {
    poll("a frame", || wire.take().filter(|frame| !is_arp_request(frame)))
}
