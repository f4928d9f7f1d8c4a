//! What the host port writes is what the kernel makes of it: a GSO packet written to our TUN device is
//! forwarded by a kernel to another, which knows no offload, and a library that is not of this project reads
//! the segments there.
//!
//! In a network namespace of its own; passes without a look where the user may make none.
#![allow(clippy::unwrap_used)]

use std::process::Command;
use std::time::{Duration, Instant};

use nix::sched::{CloneFlags, unshare};
use nsrouter_rings::port::{Burst, Receive, Sent, Transmit};
use nsrouter_rings::tun;
use nsrouter_wire::checksum::Sum;
use nsrouter_wire::frame::{Frame, PortId};
use nsrouter_wire::ipv4::{self, Fields};
use nsrouter_wire::offload::{Gso, Offload, PendingChecksum};
use nsrouter_wire::protocol;
use nsrouter_wire::segment::Segments;
use tun_tap::{Iface, Mode};

const OURS: [u8; 4] = [10, 2, 0, 2];
const THEIRS: [u8; 4] = [10, 1, 0, 2];

/// A TCP packet with this payload, its checksum the pseudo-header's sum.
fn packet(source: [u8; 4], destination: [u8; 4], payload: &[u8]) -> Vec<u8> {
    let fields = Fields {
        traffic_class: 0,
        total_bytes: u16::try_from(40 + payload.len()).unwrap(),
        identification: 7,
        flags_offset: ipv4::DONT_FRAGMENT,
        ttl: 64,
        protocol: protocol::TCP,
        source: source.into(),
        destination: destination.into(),
    };
    let mut header = [0; 20];
    fields.write(&mut header);
    let mut tcp = vec![0, 5, 0, 6, 0, 0, 0, 1, 0, 0, 0, 1, 0x50, 0x18, 1, 0, 0, 0, 0, 0];
    tcp.extend(payload);
    let bytes = u16::try_from(tcp.len()).unwrap();
    let pseudo = Sum::new().pseudo_ipv4(source, destination, protocol::TCP, bytes).fold();
    tcp[16..18].copy_from_slice(&pseudo.to_be_bytes());
    [header.to_vec(), tcp].concat()
}

const PENDING: Offload = Offload {
    checksum: Some(PendingChecksum { start: 20, offset: 16 }),
    gso: Gso::Tcp4 { ecn: false },
    gso_size: 1000,
    header_bytes: 40,
};

/// Looks until `look` gives something.
fn wait_for<T>(mut look: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + Duration::from_secs(10);
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(Instant::now() < deadline, "not within ten seconds");
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// What is read is a TCP packet of the lab, and not the kernel's own chatter.
fn is_tcp(packet: &[u8]) -> bool {
    packet.first() == Some(&0x45) && packet.get(9) == Some(&protocol::TCP)
}

#[test]
fn the_kernel_cuts_what_our_tun_device_was_given_whole() {
    if unshare(CloneFlags::CLONE_NEWNET).is_err() {
        return;
    }
    let theirs = Iface::without_packet_info("theirs0", Mode::Tun).unwrap();
    theirs.set_non_blocking().unwrap();
    let (mut receive, mut transmit) = tun::open("ours0").unwrap();
    let set_up = "ip addr add 10.1.0.1/24 dev theirs0; ip addr add 10.2.0.1/24 dev ours0
        ip link set theirs0 up; ip link set ours0 up; echo 1 > /proc/sys/net/ipv4/ip_forward";
    assert!(Command::new("sh").args(["-e", "-c", set_up]).status().unwrap().success());

    let payload: Vec<u8> = (0..5500u16).map(|n| n.to_le_bytes()[0]).collect();
    let whole = packet(OURS, THEIRS, &payload);
    let mut buffer = whole.clone();
    let frame = Frame::new(&mut buffer, 0, whole.len(), PortId::HOST, PENDING).unwrap();
    assert_eq!(transmit.send(&mut [frame]), Sent { frames: 1, ..Sent::default() });
    // What the kernel should have made of it: the same with a hop less, in segments.
    let mut forwarded = whole;
    ipv4::decrement_ttl(forwarded.first_chunk_mut().unwrap());
    let mut segments = Segments::new(&forwarded, 0, PENDING).unwrap();
    while let Some(len) = segments.next_len() {
        let mut expected = vec![0; len];
        segments.write_next(&mut expected).unwrap();
        let mut buffer = [0; 2000];
        let len = wait_for(|| theirs.recv(&mut buffer).ok().filter(|len| is_tcp(&buffer[..*len])));
        assert_eq!(buffer[..len], expected);
    }

    // And back: whole again, with nothing pending, as the other device has no offloads.
    let mut answer = packet(THEIRS, OURS, &payload[..1000]);
    let sum = Sum::new().bytes(&answer[20..]).finish();
    answer[36..38].copy_from_slice(&sum.to_be_bytes());
    assert_eq!(theirs.send(&answer).unwrap(), answer.len());
    ipv4::decrement_ttl(answer.first_chunk_mut().unwrap());
    wait_for(|| {
        let mut burst = Burst::new();
        receive.recv(16, &mut burst).unwrap();
        let found = burst.iter().find(|frame| is_tcp(frame.data()))?;
        assert_eq!((found.data(), found.offload.gso), (&answer[..], Gso::None));
        Some(())
    });
}
