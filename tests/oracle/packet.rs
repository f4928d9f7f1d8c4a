//! Raw bytes, right or wrong as a case wants them. Written beside `crates/wire`, not with it: what is under
//! test does not make its own test data.

/// An Ethernet address.
pub type Mac = [u8; 6];
/// An IPv4 address.
pub type A4 = [u8; 4];
/// An IPv6 address.
pub type A6 = [u8; 16];

pub const IPV4: u16 = 0x0800;
pub const IPV6: u16 = 0x86dd;
pub const ARP: u16 = 0x0806;
pub const BROADCAST: Mac = [0xff; 6];

pub const ICMP: u8 = 1;
pub const TCP: u8 = 6;
pub const UDP: u8 = 17;
pub const FRAGMENT: u8 = 44;
pub const ICMPV6: u8 = 58;
pub const NO_NEXT: u8 = 59;
/// For experiments (RFC 3692): no host speaks it.
pub const UNKNOWN: u8 = 253;

/// The ones' complement sum of RFC 1071, not complemented.
fn sum(bytes: &[u8], start: u32) -> u32 {
    let mut total = start;
    for pair in bytes.chunks(2) {
        total += u32::from(pair[0]) << 8 | u32::from(pair.get(1).copied().unwrap_or(0));
    }
    while total > 0xffff {
        total = (total & 0xffff) + (total >> 16);
    }
    total
}

/// The checksum of RFC 1071 over a pseudo-header and a body; 0 over bytes that hold their own right checksum.
pub fn checksum(pseudo: &[u8], body: &[u8]) -> u16 {
    !u16::try_from(sum(body, sum(pseudo, 0))).expect("folded")
}

/// The pseudo-header of TCP and UDP over IPv4 (RFC 768).
pub fn pseudo4(src: A4, dst: A4, protocol: u8, len: usize) -> Vec<u8> {
    let len = u16::try_from(len).unwrap_or(u16::MAX).to_be_bytes();
    [&src[..], &dst, &[0, protocol], &len].concat()
}

/// The pseudo-header of RFC 8200 section 8.1.
pub fn pseudo6(src: A6, dst: A6, protocol: u8, len: usize) -> Vec<u8> {
    let len = u32::try_from(len).expect("a packet's length").to_be_bytes();
    [&src[..], &dst, &len, &[0, 0, 0, protocol]].concat()
}

/// An Ethernet frame, without padding.
pub fn eth(dst: Mac, src: Mac, kind: u16, payload: &[u8]) -> Vec<u8> {
    [&dst[..], &src, &kind.to_be_bytes(), payload].concat()
}

/// Bytes that differ from each other.
pub fn pattern(len: usize) -> Vec<u8> {
    (0..len).map(|index| u8::try_from(index * 7 % 251).expect("a remainder")).collect()
}

/// An IPv4 header whose fields a case overrides; `None` stands for the right value.
#[derive(Clone)]
pub struct Ip4 {
    pub version: u8,
    pub ihl: Option<u8>,
    pub tos: u8,
    pub total: Option<u16>,
    pub id: u16,
    /// Flags and offset as on the wire: 0x4000 is DF, 0x2000 MF.
    pub fragment: u16,
    pub ttl: u8,
    pub protocol: u8,
    pub checksum: Option<u16>,
    pub src: A4,
    pub dst: A4,
    /// A multiple of four bytes.
    pub options: Vec<u8>,
}

pub const DF: u16 = 0x4000;
pub const MF: u16 = 0x2000;

impl Ip4 {
    pub fn new(src: A4, dst: A4) -> Ip4 {
        Ip4 {
            version: 4,
            ihl: None,
            tos: 0,
            total: None,
            id: 0x1234,
            fragment: 0,
            ttl: 64,
            protocol: UNKNOWN,
            checksum: None,
            src,
            dst,
            options: Vec::new(),
        }
    }

    /// The packet with this payload.
    pub fn with(&self, payload: &[u8]) -> Vec<u8> {
        let header_bytes = 20 + self.options.len();
        let ihl = self.ihl.unwrap_or(u8::try_from(header_bytes / 4).expect("at most 60 bytes"));
        let right = u16::try_from(header_bytes + payload.len()).expect("at most 65535 bytes");
        let mut header = vec![self.version << 4 | ihl, self.tos];
        header.extend(self.total.unwrap_or(right).to_be_bytes());
        header.extend(self.id.to_be_bytes());
        header.extend(self.fragment.to_be_bytes());
        header.extend([self.ttl, self.protocol, 0, 0]);
        header.extend(self.src);
        header.extend(self.dst);
        header.extend(&self.options);
        // Over as many bytes as the header says that it has, as a receiver would.
        let packet = [&header[..], payload].concat();
        let covered = (usize::from(ihl) * 4).min(packet.len());
        let right = checksum(&[], &packet[..covered]);
        header[10..12].copy_from_slice(&self.checksum.unwrap_or(right).to_be_bytes());
        [header, payload.to_vec()].concat()
    }

    /// The packet with a UDP datagram.
    pub fn udp(&self, from: u16, to: u16, payload: &[u8]) -> Vec<u8> {
        let body = udp(&pseudo4(self.src, self.dst, UDP, 8 + payload.len()), from, to, payload);
        Ip4 { protocol: UDP, ..self.clone() }.with(&body)
    }

    /// The packet with an ICMP message.
    pub fn icmp(&self, kind: u8, code: u8, rest: [u8; 4], payload: &[u8]) -> Vec<u8> {
        Ip4 { protocol: ICMP, ..self.clone() }.with(&icmp(&[], kind, code, rest, payload))
    }

    /// An echo request.
    pub fn echo(&self, payload: &[u8]) -> Vec<u8> {
        self.icmp(8, 0, [0x7e, 0x57, 0, 1], payload)
    }
}

/// A UDP datagram with its checksum.
pub fn udp(pseudo: &[u8], from: u16, to: u16, payload: &[u8]) -> Vec<u8> {
    let len = u16::try_from(8 + payload.len()).expect("at most 65535 bytes");
    let mut body = [from.to_be_bytes(), to.to_be_bytes(), len.to_be_bytes(), [0; 2]].concat();
    body.extend(payload);
    let sum = checksum(pseudo, &body);
    body[6..8].copy_from_slice(&sum.to_be_bytes());
    body
}

/// An ICMP or ICMPv6 message with its checksum.
pub fn icmp(pseudo: &[u8], kind: u8, code: u8, rest: [u8; 4], payload: &[u8]) -> Vec<u8> {
    let mut body = vec![kind, code, 0, 0];
    body.extend(rest);
    body.extend(payload);
    let sum = checksum(pseudo, &body);
    body[2..4].copy_from_slice(&sum.to_be_bytes());
    body
}

/// A TCP segment (RFC 9293 section 3.1) with its checksum, or with the pseudo-header's sum alone for an
/// offload.
pub fn tcp(pseudo: &[u8], from: u16, to: u16, flags: u8, payload: &[u8], pending: bool) -> Vec<u8> {
    let mut body = [from.to_be_bytes(), to.to_be_bytes()].concat();
    body.extend([0, 0, 0x10, 0, 0, 0, 0x20, 0, 0x50, flags, 0xff, 0xff, 0, 0, 0, 0]);
    body.extend(payload);
    let sum = if pending { !checksum(pseudo, &[]) } else { checksum(pseudo, &body) };
    body[16..18].copy_from_slice(&sum.to_be_bytes());
    body
}

/// An IPv6 header whose fields a case overrides.
#[derive(Clone)]
pub struct Ip6 {
    pub version: u8,
    pub class: u8,
    pub flow: u32,
    pub payload: Option<u16>,
    pub next: u8,
    pub hops: u8,
    pub src: A6,
    pub dst: A6,
    /// Extension headers, the first of which `next` names, as they are on the wire; their last next header is
    /// `upper`.
    pub extensions: Vec<u8>,
    /// What follows the extension headers.
    pub upper: u8,
}

impl Ip6 {
    pub fn new(src: A6, dst: A6) -> Ip6 {
        Ip6 {
            version: 6,
            class: 0,
            flow: 0,
            payload: None,
            next: 0,
            hops: 64,
            src,
            dst,
            extensions: Vec::new(),
            upper: UNKNOWN,
        }
    }

    /// The packet with this payload of protocol `upper`.
    pub fn with(&self, payload: &[u8]) -> Vec<u8> {
        let right = u16::try_from(self.extensions.len() + payload.len()).expect("at most 65535 bytes");
        let first = u32::from(self.version) << 28 | u32::from(self.class) << 20 | self.flow;
        let mut packet = first.to_be_bytes().to_vec();
        packet.extend(self.payload.unwrap_or(right).to_be_bytes());
        packet.push(if self.extensions.is_empty() { self.upper } else { self.next });
        packet.push(self.hops);
        packet.extend(self.src);
        packet.extend(self.dst);
        packet.extend(&self.extensions);
        packet.extend(payload);
        packet
    }

    /// One extension header `kind` of the given body (two bytes less than a multiple of eight) before
    /// `upper`.
    pub fn extended(&self, kind: u8, upper: u8, body: &[u8]) -> Ip6 {
        let units = u8::try_from((body.len() + 2) / 8 - 1).expect("short");
        let extensions = [&[upper, units][..], body].concat();
        Ip6 { next: kind, extensions, upper, ..self.clone() }
    }

    /// The packet with a UDP datagram.
    pub fn udp(&self, from: u16, to: u16, payload: &[u8]) -> Vec<u8> {
        let body = udp(&pseudo6(self.src, self.dst, UDP, 8 + payload.len()), from, to, payload);
        Ip6 { upper: UDP, ..self.clone() }.with(&body)
    }

    /// The packet with an ICMPv6 message.
    pub fn icmp(&self, kind: u8, code: u8, rest: [u8; 4], payload: &[u8]) -> Vec<u8> {
        let pseudo = pseudo6(self.src, self.dst, ICMPV6, 8 + payload.len());
        Ip6 { upper: ICMPV6, ..self.clone() }.with(&icmp(&pseudo, kind, code, rest, payload))
    }

    /// An echo request.
    pub fn echo(&self, payload: &[u8]) -> Vec<u8> {
        self.icmp(128, 0, [0x7e, 0x57, 0, 1], payload)
    }
}

/// An ARP packet for IPv4 over Ethernet (RFC 826).
pub fn arp(operation: u16, sender: (Mac, A4), target: (Mac, A4)) -> Vec<u8> {
    let fixed = [0, 1, 8, 0, 6, 4];
    [&fixed[..], &operation.to_be_bytes(), &sender.0, &sender.1, &target.0, &target.1].concat()
}

/// The solicited-node group of an address (RFC 4291 section 2.7.1).
pub fn solicited_node(target: A6) -> A6 {
    let mut group = [0xff, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0xff, 0, 0, 0];
    group[13..].copy_from_slice(&target[13..]);
    group
}

/// The Ethernet group of an IPv6 group (RFC 2464 section 7).
pub fn group_mac(group: A6) -> Mac {
    [0x33, 0x33, group[12], group[13], group[14], group[15]]
}
