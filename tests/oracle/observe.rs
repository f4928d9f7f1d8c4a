//! A frame as canonical text: what is compared between the modes.
//!
//! Normalised, because it is random or a clock: the identification and flow label of what the router itself
//! originates (hashed with a secret in Linux), time stamps near now, and checksums, which are verified
//! instead.

use std::fmt::Write;
use std::time::{SystemTime, UNIX_EPOCH};

use nsrouter_wire::offload::{Gso, Offload};

use crate::packet::{self, A4, A6, Mac};
use crate::stations::{Where, is_own4, is_own6, router_mac};

fn mac(mac: Mac) -> String {
    match mac {
        packet::BROADCAST => "everybody".to_owned(),
        _ if mac == router_mac(Where::T1) => "router1".to_owned(),
        _ if mac == router_mac(Where::T2) => "router2".to_owned(),
        [2, 0x51, 0, 0, 0, n] => format!("t1.{n}"),
        [2, 0x52, 0, 0, 0, n] => format!("t2.{n}"),
        _ => mac.map(|byte| format!("{byte:02x}")).join(":"),
    }
}

fn a4(bytes: &[u8]) -> A4 {
    bytes.try_into().expect("four bytes")
}

fn a6(bytes: &[u8]) -> A6 {
    bytes.try_into().expect("sixteen bytes")
}

fn ip4(address: A4) -> std::net::Ipv4Addr {
    address.into()
}

fn ip6(address: A6) -> std::net::Ipv6Addr {
    address.into()
}

/// Bytes as hexadecimal; of many the first, how many, and a digest of all.
fn hex(bytes: &[u8]) -> String {
    const SHOWN: usize = 72;
    let mut text: String = bytes.iter().take(SHOWN).map(|byte| format!("{byte:02x}")).collect();
    if bytes.len() > SHOWN {
        let digest = bytes.iter().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
            (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
        });
        write!(text, "..({} bytes, {digest:016x})", bytes.len()).expect("a string");
    }
    text
}

/// Milliseconds since midnight, Universal Time, as the time-stamp option counts them (RFC 791 section 3.1).
pub fn midnight_ms() -> u32 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_millis() % 86_400_000;
    u32::try_from(since).expect("less than a day")
}

fn is_now(stamp: u32) -> bool {
    let distance = stamp.abs_diff(midnight_ms());
    distance.min(86_400_000 - distance.min(86_400_000)) < 60_000
}

fn is_error4(kind: u8) -> bool {
    matches!(kind, 3 | 4 | 5 | 11 | 12)
}

/// The options with the time stamps of now taken out.
fn mask_stamps(bytes: &[u8]) -> Vec<u8> {
    let mut masked = bytes.to_vec();
    let mut at = 0;
    while at + 4 <= masked.len() {
        match masked[at] {
            0 => break,
            1 => at += 1,
            68 => {
                let end = (at + usize::from(masked[at + 1])).min(masked.len());
                let step = if masked[at + 3] & 15 == 0 { 4 } else { 8 };
                let mut stamp = at + step;
                while stamp + 4 <= end {
                    let value = u32::from_be_bytes(a4(&masked[stamp..stamp + 4]));
                    if is_now(value) {
                        masked[stamp..stamp + 4].copy_from_slice(&[0xaa; 4]);
                    }
                    stamp += step;
                }
                at = end.max(at + 2);
            }
            _ => at += usize::from(masked[at + 1]).max(2),
        }
    }
    masked
}

/// Whose checksums are how: verified, or the pseudo-header's part of them where the rest is left to an
/// interface.
#[derive(Clone, Copy)]
struct Sums {
    is_pending: bool,
    /// The router's own packets may have it either way: it is the interface of the kernel's sockets that
    /// decides.
    is_own: bool,
}

impl Sums {
    fn describe(self, pseudo: &[u8], body: &[u8], field: usize) -> &'static str {
        let is_right = if self.is_pending {
            body[field..field + 2] == (!packet::checksum(pseudo, &[])).to_be_bytes()
        } else {
            packet::checksum(pseudo, body) == 0
        };
        match (is_right, self.is_pending && !self.is_own) {
            (false, _) => "BAD",
            (true, true) => "pending",
            (true, false) => "ok",
        }
    }
}

fn l4(text: &mut String, protocol: u8, pseudo: &[u8], body: &[u8], sums: Sums) {
    match protocol {
        packet::ICMP | packet::ICMPV6 if body.len() >= 8 => {
            let with = if protocol == packet::ICMP { &[] } else { pseudo };
            write!(text, " icmp type {} code {} sum {}", body[0], body[1], sums.describe(with, body, 2))
                .expect("a string");
            // The time stamp message (RFC 792): receive and transmit time.
            let mut rest = body[4..].to_vec();
            if protocol == packet::ICMP && body[0] == 14 && rest.len() == 16 {
                for at in [8, 12] {
                    if is_now(u32::from_be_bytes(a4(&rest[at..at + 4]))) {
                        rest[at..at + 4].copy_from_slice(&[0xaa; 4]);
                    }
                }
            }
            // A quoted packet may have had its time stamps filled in.
            let quoted = 4 + usize::from(rest.get(4).copied().unwrap_or(0) & 15) * 4;
            if protocol == packet::ICMP && is_error4(body[0]) && rest.len() >= quoted && quoted > 24 {
                let masked = mask_stamps(&rest[24..quoted]);
                if masked != rest[24..quoted] {
                    // Its header's checksum covers them.
                    rest[14..16].copy_from_slice(&[0xaa; 2]);
                }
                rest[24..quoted].copy_from_slice(&masked);
            }
            write!(text, " rest {} body {}", hex(&rest[..4]), hex(&rest[4..])).expect("a string");
        }
        packet::UDP if body.len() >= 8 => {
            let sum = if body[6..8] == [0, 0] { "none" } else { sums.describe(pseudo, body, 6) };
            write!(text, " udp {} sum {sum} {}", hex(&body[..6]), hex(&body[8..])).expect("a string");
        }
        packet::TCP if body.len() >= 20 => {
            let sum = sums.describe(pseudo, body, 16);
            write!(text, " tcp {} sum {sum} {}", hex(&body[..16]), hex(&body[18..])).expect("a string");
        }
        packet::FRAGMENT if sums.is_own && body.len() >= 8 => {
            write!(text, " fragment {} id * {}", hex(&body[..4]), hex(&body[8..])).expect("a string");
        }
        _ => write!(text, " protocol {protocol} {}", hex(body)).expect("a string"),
    }
}

fn ipv4(text: &mut String, packet: &[u8], is_pending: bool) {
    let header_bytes = usize::from(packet[0] & 15) * 4;
    let total = usize::from(u16::from_be_bytes([packet[2], packet[3]]));
    if header_bytes < 20 || total < header_bytes || total > packet.len() {
        write!(text, " malformed {}", hex(packet)).expect("a string");
        return;
    }
    let (src, dst) = (a4(&packet[12..16]), a4(&packet[16..20]));
    let is_own = is_own4(src);
    let fragment = u16::from_be_bytes([packet[6], packet[7]]);
    // A large packet of the router's own is cut into fragments of one identification, whatever it is.
    let id = if is_own { "*".to_owned() } else { hex(&packet[4..6]) };
    let sum = if packet::checksum(&[], &packet[..header_bytes]) == 0 { "ok" } else { "BAD" };
    write!(
        text,
        " {} > {} tos {:#x} len {total} id {id} frag {fragment:#x} ttl {} sum {sum}",
        ip4(src),
        ip4(dst),
        packet[1],
        packet[8]
    )
    .expect("a string");
    if header_bytes > 20 {
        write!(text, " options {}", hex(&mask_stamps(&packet[20..header_bytes]))).expect("a string");
    }
    let body = &packet[header_bytes..total];
    if fragment & 0x3fff == 0 {
        l4(
            text,
            packet[9],
            &packet::pseudo4(src, dst, packet[9], body.len()),
            body,
            Sums { is_pending, is_own },
        );
    } else {
        write!(text, " fragment of protocol {} {}", packet[9], hex(body)).expect("a string");
    }
    if packet.len() > total {
        write!(text, " PADDING {}", packet.len() - total).expect("a string");
    }
}

fn ipv6(text: &mut String, packet: &[u8], is_pending: bool) {
    let payload = usize::from(u16::from_be_bytes([packet[4], packet[5]]));
    if packet.len() < 40 + payload {
        write!(text, " malformed {}", hex(packet)).expect("a string");
        return;
    }
    let (src, dst) = (a6(&packet[8..24]), a6(&packet[24..40]));
    let is_own = is_own6(src);
    let class = (packet[0] & 15) << 4 | packet[1] >> 4;
    let flow = u32::from_be_bytes([0, packet[1] & 15, packet[2], packet[3]]);
    let flow = if is_own { "*".to_owned() } else { format!("{flow:#x}") };
    write!(
        text,
        " {} > {} class {class:#x} flow {flow} len {payload} hops {}",
        ip6(src),
        ip6(dst),
        packet[7]
    )
    .expect("a string");
    let body = &packet[40..40 + payload];
    l4(text, packet[6], &packet::pseudo6(src, dst, packet[6], body.len()), body, Sums { is_pending, is_own });
    if packet.len() > 40 + payload {
        write!(text, " PADDING {}", packet.len() - 40 - payload).expect("a string");
    }
}

/// One frame on one line.
pub fn frame(data: &[u8], offload: Offload) -> String {
    if data.len() < 14 {
        return format!("short {}", hex(data));
    }
    let source: Mac = data[6..12].try_into().expect("six bytes");
    let destination: Mac = data[..6].try_into().expect("six bytes");
    let mut text = format!("{} > {}:", mac(source), mac(destination));
    if offload.gso != Gso::None {
        write!(text, " GSO packet {:?} of {}", offload.gso, offload.gso_size).expect("a string");
    }
    let kind = u16::from_be_bytes([data[12], data[13]]);
    match kind {
        packet::IPV4 if data.len() >= 34 => ipv4(&mut text, &data[14..], offload.checksum.is_some()),
        packet::IPV6 if data.len() >= 54 => ipv6(&mut text, &data[14..], offload.checksum.is_some()),
        packet::ARP if data.len() >= 42 => write!(
            text,
            " arp {} sender {} {} target {} {}",
            data[21],
            mac(data[22..28].try_into().expect("six bytes")),
            ip4(a4(&data[28..32])),
            mac(data[32..38].try_into().expect("six bytes")),
            ip4(a4(&data[38..42])),
        )
        .expect("a string"),
        _ => write!(text, " type {kind:#06x} {}", hex(&data[14..])).expect("a string"),
    }
    text
}
