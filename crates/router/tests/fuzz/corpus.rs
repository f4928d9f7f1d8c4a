//! Frames of every kind that the router looks at, and the ways to spoil them.

use etherparse::{IpNumber, PacketBuilder};
use nsrouter_router::MacAddr;
use nsrouter_wire::arp;
use nsrouter_wire::eth;
use nsrouter_wire::frame::PortId;
use nsrouter_wire::icmp;
use nsrouter_wire::ipv4;
use nsrouter_wire::ipv6;
use nsrouter_wire::mld;
use nsrouter_wire::offload::{Gso, Offload, PendingChecksum};
use nsrouter_wire::protocol;
use rand::RngExt;
use rand::rngs::SmallRng;

use super::case::Case;
use super::lab::{HOSTS, PORTS};

const V4: [[u8; 4]; 16] = [
    [10, 10, 251, 1],
    [10, 10, 251, 2],
    [10, 10, 252, 1],
    [10, 10, 252, 2],
    [10, 10, 252, 77],
    [10, 10, 252, 255],
    [10, 1, 0, 1],
    [10, 2, 0, 1],
    [10, 3, 0, 1],
    [10, 9, 0, 1],
    [192, 0, 2, 1],
    [127, 0, 0, 1],
    [224, 0, 0, 1],
    [255, 255, 255, 255],
    [0, 0, 0, 0],
    [10, 8, 0, 1],
];

const V6: [&str; 18] = [
    "fd00:251::1",
    "fd00:251::2",
    "fd00:251::",
    "fd00:252::1",
    "fd00:252::2",
    "fd00:252::77",
    "fe80::11",
    "fe80::1:2ff:fe03:401",
    "fd01::1",
    "fd02::1",
    "fd03::1",
    "fd09::1",
    "2001:db8::1",
    "ff02::1",
    "ff02::2",
    "ff02::1:ff00:2",
    "::",
    "::1",
];

fn v6(text: &str) -> [u8; 16] {
    text.parse::<std::net::Ipv6Addr>().map(|address| address.octets()).unwrap_or_default()
}

fn pick<T: Copy>(random: &mut SmallRng, from: &[T]) -> T {
    from[random.random_range(0..from.len())]
}

/// Well-formed frames from t1, one or more of each kind.
pub(crate) fn frames() -> Vec<Vec<u8>> {
    let mut all = Vec::new();
    let link = || PacketBuilder::ethernet2(HOSTS[0], PORTS[0]);
    let long = vec![7; 1300];
    for (index, destination) in V4.iter().enumerate() {
        for source in [V4[0], V4[4]] {
            let payload: &[u8] = if index % 4 == 0 { &long } else { b"payload" };
            let mut push = |build: &dyn Fn(&mut Vec<u8>)| {
                let mut frame = Vec::new();
                build(&mut frame);
                all.push(frame);
            };
            let ip = || link().ipv4(source, *destination, 64);
            push(&|frame| {
                let _ = ip().udp(1, 2).write(frame, payload);
            });
            push(&|frame| {
                let _ = ip().tcp(1, 2, 3, 4).write(frame, payload);
            });
            push(&|frame| {
                let _ = ip().icmpv4_echo_request(1, 2).write(frame, payload);
            });
            push(&|frame| {
                let _ = ip().write(frame, IpNumber(99), payload);
            });
        }
        let mut frame = vec![0; 60];
        eth::write(&mut frame, MacAddr::BROADCAST, MacAddr(HOSTS[0]), eth::TYPE_ARP);
        let packet = arp::Packet {
            operation: if index % 3 == 0 { arp::REPLY } else { arp::REQUEST },
            sender_mac: MacAddr(HOSTS[0]),
            sender: V4[index % 3].into(),
            target_mac: MacAddr::ZERO,
            target: (*destination).into(),
        };
        if let Some(body) = frame[14..].first_chunk_mut() {
            packet.write(body);
        }
        all.push(frame);
    }
    // Multicast listener queries of both versions and a report, behind a router alert.
    let queries = [24, 28].map(|bytes| (icmp::v6::LISTENER_QUERY, bytes));
    for (kind, bytes) in queries.into_iter().chain([(icmp::v6::LISTENER_REPORT, 24)]) {
        for (to, last) in [("ff02::1", 1), ("ff02::2", 2)] {
            let mut payload = mld::HOP_BY_HOP.to_vec();
            payload.extend([kind, 0, 0, 0, 0, 100, 0, 0]);
            payload.extend(if last == 1 { [0; 16] } else { v6(to) });
            payload.resize(mld::HOP_BY_HOP.len() + bytes, 0);
            let mut frame = Vec::new();
            let link = PacketBuilder::ethernet2(HOSTS[0], [0x33, 0x33, 0, 0, 0, last]);
            let _ = link.ipv6(v6("fe80::11"), v6(to), 1).write(&mut frame, IpNumber(99), &payload);
            // The builder knows headers of its own making only.
            frame[20] = protocol::HOP_BY_HOP;
            all.push(frame);
        }
    }
    for destination in V6 {
        for (kind, body_bytes) in [(128u8, 20), (133, 8), (134, 16), (135, 32), (136, 32), (137, 40), (1, 60)]
        {
            let mut body = vec![0; body_bytes];
            body[0] = kind;
            if body_bytes == 32 {
                let target = if kind == 135 { v6("fd00:251::2") } else { v6("fd00:251::1") };
                body[8..24].copy_from_slice(&target);
                body[24..26].copy_from_slice(&[kind - 134, 1]);
                body[26..].copy_from_slice(&HOSTS[0]);
            }
            for source in ["fd00:251::1", "fe80::11", "::"] {
                let mut frame = Vec::new();
                let hops = if kind >= 133 { 255 } else { 64 };
                let _ = link().ipv6(v6(source), v6(destination), hops).write(&mut frame, IpNumber(58), &body);
                all.push(frame);
            }
        }
        for payload in [&b"payload"[..], &long] {
            let ip = || link().ipv6(v6("fd00:251::1"), v6(destination), 64);
            let mut frame = Vec::new();
            let _ = ip().udp(1, 2).write(&mut frame, payload);
            all.push(frame);
            let mut frame = Vec::new();
            let _ = ip().tcp(1, 2, 3, 4).write(&mut frame, payload);
            all.push(frame);
            let mut frame = Vec::new();
            let _ = ip().write(&mut frame, IpNumber(99), payload);
            all.push(frame);
        }
    }
    all
}

/// One frame, spoiled in a few places; most get right checksums again, so that they get past them.
pub(crate) fn mutate(corpus: &[Vec<u8>], random: &mut SmallRng) -> Case {
    let mut frame = corpus[random.random_range(0..corpus.len())].clone();
    for _ in 0..random.random_range(0..4) {
        spoil(&mut frame, random);
    }
    if random.random_ratio(9, 10) {
        repair(&mut frame);
    }
    if random.random_ratio(1, 16) && frame.len() >= 14 {
        add_tags(&mut frame, random);
    }
    let mut offload = Offload::default();
    if random.random_ratio(1, 8) {
        offload = wild_offload(random);
    }
    let ingress = match random.random_range(0..16) {
        0 => PortId(1),
        1 | 2 => PortId::HOST,
        3 => PortId(random.random_range(0..5)),
        _ => PortId(0),
    };
    if ingress == PortId::HOST && frame.len() >= 14 {
        frame.drain(..14);
    }
    Case { ingress, offload, frame }
}

fn wild_offload(random: &mut SmallRng) -> Offload {
    let start = pick(random, &[0, 14, 20, 34, 40, 54, 60, 65_535]);
    let checksum = random
        .random_ratio(1, 2)
        .then_some(PendingChecksum { start, offset: pick(random, &[0, 2, 6, 16, 65_535]) });
    let gso = pick(random, &[Gso::None, Gso::Tcp4 { ecn: false }, Gso::Tcp6 { ecn: true }, Gso::Udp]);
    let gso_size = if gso == Gso::None { 0 } else { pick(random, &[0, 1, 100, 536, 1448, 65_535]) };
    Offload { checksum, gso, gso_size, header_bytes: pick(random, &[0, 54, 66, 65_535]) }
}

fn spoil(frame: &mut Vec<u8>, random: &mut SmallRng) {
    if frame.len() < 35 {
        return;
    }
    // Headers matter more than payload.
    let at = if random.random_ratio(3, 4) {
        random.random_range(12..frame.len().min(90))
    } else {
        random.random_range(0..frame.len())
    };
    let is_v6 = frame[12] == 0x86;
    match random.random_range(0..14) {
        0 => frame[at] ^= 1 << random.random_range(0..8),
        1 => frame[at] = random.random(),
        2 => frame[at] = pick(random, &[0, 1, 0x7f, 0x80, 0xff]),
        3 => frame.truncate(random.random_range(0..frame.len())),
        4 => frame.resize(frame.len() + random.random_range(1..40), random.random()),
        5 if is_v6 => frame[21] = random.random_range(0..3),
        5 => frame[22] = random.random_range(0..3),
        6 if is_v6 && frame.len() > 54 => {
            let address = v6(pick(random, &V6));
            let side = pick(random, &[22, 38]);
            frame[side..side + 16].copy_from_slice(&address);
        }
        6 => {
            let address = pick(random, &V4);
            let side = pick(random, &[26, 30]);
            if let Some(place) = frame.get_mut(side..side + 4) {
                place.copy_from_slice(&address);
            }
        }
        7 if is_v6 => add_extension(frame, random),
        7 => add_options(frame, random),
        8 => {
            let group =
                pick(random, &[[0xff; 6], [0x33, 0x33, 0, 0, 0, 1], PORTS[0], PORTS[1], [2, 9, 9, 9, 9, 9]]);
            frame[..6].copy_from_slice(&group);
        }
        9 if !is_v6 => frame[20] = pick(random, &[0, 0x20, 0x40, 0x60, 0x80]),
        10 if !is_v6 => frame[21] = random.random(),
        11 => {
            frame[if is_v6 { 20 } else { 23 }] = pick(random, &[0, 1, 6, 17, 43, 44, 50, 51, 58, 59, 60, 255])
        }
        12 => frame[12..14]
            .copy_from_slice(&pick(random, &[[8, 0], [8, 6], [0x86, 0xdd], [0x81, 0], [0x88, 0xa8], [0, 4]])),
        _ => {
            let count = random.random_range(1..8).min(frame.len() - at);
            let from = random.random_range(0..frame.len() - count);
            frame.copy_within(from..from + count, at);
        }
    }
}

/// Tags of a priority mostly, and of a VLAN now and then.
fn add_tags(frame: &mut Vec<u8>, random: &mut SmallRng) {
    for _ in 0..random.random_range(1..4) {
        let kind = pick(random, &[[0x81, 0], [0x88, 0xa8]]);
        let control = pick(random, &[[0, 0], [0xe0, 0], [0x70, 0], [0, 5]]);
        frame.splice(12..12, [kind, control].concat());
    }
}

fn add_options(frame: &mut Vec<u8>, random: &mut SmallRng) {
    let words = random.random_range(1..=10);
    let mut options = vec![1; words * 4];
    let mut at = 0;
    while at + 4 <= options.len() {
        let kind = pick(random, &[7u8, 68, 131, 137, 148, 0, 1, 130]);
        let bytes = random.random_range(2..=12).min(options.len() - at);
        options[at] = kind;
        options[at + 1] = u8::try_from(bytes).unwrap_or(2);
        options[at + 2] = pick(random, &[0, 4, 5, 8, 9, 255]);
        options[at + 3] = pick(random, &[0, 1, 3, 0xf0, 0xf1]);
        at += bytes;
    }
    frame.splice(34..34, options);
    frame[14] = 0x45 + u8::try_from(words).unwrap_or(0);
}

fn add_extension(frame: &mut Vec<u8>, random: &mut SmallRng) {
    if frame.len() < 54 {
        return;
    }
    let kind = pick(random, &[0u8, 43, 44, 51, 60]);
    let mut extension = [frame[20], 0, 0, 0, 0, 0, 0, 0];
    match kind {
        0 => extension[2..6].copy_from_slice(&[5, 2, 0, 0]),
        44 => extension[3] = pick(random, &[0, 1, 8, 9]),
        _ => extension[1] = pick(random, &[0, 0, 0, 1, 255]),
    }
    frame[20] = kind;
    frame.splice(54..54, extension);
}

/// Makes lengths and checksums right again where the headers allow.
fn repair(frame: &mut [u8]) {
    if frame.len() < 34 {
        return;
    }
    let bytes = u16::try_from(frame.len() - 14).unwrap_or(u16::MAX);
    match frame[14] >> 4 {
        4 if frame[12..14] == [8, 0] => {
            let header = usize::from(frame[14] & 0x0f) * 4;
            frame[16..18].copy_from_slice(&bytes.to_be_bytes());
            if let Some(header) = frame.get_mut(14..14 + header) {
                ipv4::fill_checksum(header);
            }
            if frame[23] == 1
                && let Some(message) = frame.get_mut(14 + header..)
            {
                icmp::v4_fill(message);
            }
        }
        6 if frame[12..14] == [0x86, 0xdd] && frame.len() >= 54 => {
            frame[18..20].copy_from_slice(&bytes.saturating_sub(40).to_be_bytes());
            let Some(header) = ipv6::Header::parse(&frame[14..]) else { return };
            let (source, destination) = (header.source(), header.destination());
            if let Some(upper) = ipv6::upper_layer(&frame[14..])
                && upper.protocol == 58
                && let Some(message) = frame.get_mut(14 + upper.offset..)
            {
                icmp::v6_fill(message, source, destination);
            }
        }
        _ => {}
    }
}
