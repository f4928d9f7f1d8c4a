//! Software segmentation equals the kernel's: the same GSO packets are cut by both, and compared byte for
//! byte.
//!
//! In a lab whose hosts' interfaces have no offloads a GSO packet that is sent by one of them is cut by the
//! kernel (`validate_xmit_skb`), and its segments come out at the router's end of the link.

use nsrouter_wire::offload::{Gso, Offload, PendingChecksum};
use nsrouter_wire::segment::{LINK_L3, Segments};

use crate::common::{Lab, Tap, wait_for};
use crate::packet::{self, IPV4, IPV6, Ip4, Ip6, Mac, TCP, UDP, checksum, eth, pattern, pseudo4, pseudo6};
use crate::stations::Where::{T1, T2};
use crate::stations::{station4, station6};

/// How the lab is made.
pub const OPTIONS: &[&str] = &["--no-host-offloads"];

/// Unused addresses, so that no host receives the segments.
const TO: Mac = [2, 9, 9, 9, 9, 9];
const FROM: Mac = [2, 8, 8, 8, 8, 8];

const FIN: u8 = 0x01;
const PSH: u8 = 0x08;
const ACK: u8 = 0x10;
const URG: u8 = 0x20;
const ECE: u8 = 0x40;
const CWR: u8 = 0x80;
/// No-operation twice, then a time stamp (RFC 7323 section 3.2).
const TIME_STAMPS: [u8; 12] = [1, 1, 8, 10, 0, 1, 2, 3, 4, 5, 6, 7];

/// What a GSO packet is made of.
#[derive(Clone, Copy, Debug)]
struct Kind {
    is_v6: bool,
    is_tcp: bool,
    flags: u8,
    options: &'static [u8],
    /// IPv4 options, or an IPv6 extension header.
    is_extended: bool,
    ecn: bool,
}

impl Kind {
    fn protocol(self) -> u8 {
        if self.is_tcp { TCP } else { UDP }
    }

    fn pseudo(self, bytes: usize) -> Vec<u8> {
        if self.is_v6 {
            pseudo6(station6(T1, 20), station6(T2, 20), self.protocol(), bytes)
        } else {
            pseudo4(station4(T1, 20), station4(T2, 20), self.protocol(), bytes)
        }
    }

    /// The header that stands before `payload_bytes`, with this in its checksum field.
    fn l4(self, payload_bytes: usize, sum: u16) -> Vec<u8> {
        if !self.is_tcp {
            let len = u16::try_from(8 + payload_bytes).expect("at most 64 KiB");
            return [[0, 5], [0, 6], len.to_be_bytes(), sum.to_be_bytes()].concat();
        }
        let words = u8::try_from(5 + self.options.len() / 4).expect("at most 60 bytes");
        // The sequence number wraps around within the GSO packet.
        let mut header =
            vec![0, 5, 0, 6, 0xff, 0xff, 0xf0, 0, 0, 0, 0x20, 0, words << 4, self.flags, 0xff, 0xff];
        header.extend(sum.to_be_bytes());
        header.extend([0, 7]);
        header.extend(self.options);
        header
    }

    fn gso(self) -> Gso {
        match (self.is_tcp, self.is_v6) {
            (true, false) => Gso::Tcp4 { ecn: self.ecn },
            (true, true) => Gso::Tcp6 { ecn: self.ecn },
            (false, _) => Gso::Udp,
        }
    }

    /// A GSO packet as an interface with offloads would be given it: the checksum is the pseudo-header's sum.
    fn gso_packet(self, payload: &[u8], gso_size: u16) -> (Vec<u8>, Offload) {
        let l4_bytes = self.l4(payload.len(), 0).len() + payload.len();
        let body =
            [self.l4(payload.len(), !checksum(&self.pseudo(l4_bytes), &[])), payload.to_vec()].concat();
        let (kind, packet) = if self.is_v6 {
            let ip = Ip6 { class: 0x2e, flow: 0x1_2345, ..Ip6::new(station6(T1, 20), station6(T2, 20)) };
            // A destination options header of nothing but padding (RFC 8200 section 4.6).
            let ip =
                if self.is_extended { ip.extended(60, self.protocol(), &[1, 4, 0, 0, 0, 0]) } else { ip };
            (IPV6, Ip6 { upper: self.protocol(), ..ip }.with(&body))
        } else {
            let options = if self.is_extended { vec![148, 4, 0, 0] } else { Vec::new() };
            // The identification wraps around too.
            let ip = Ip4 {
                tos: 0x2e,
                id: 0xfffe,
                fragment: packet::DF,
                options,
                ..Ip4::new(station4(T1, 20), station4(T2, 20))
            };
            (IPV4, Ip4 { protocol: self.protocol(), ..ip }.with(&body))
        };
        let frame = eth(TO, FROM, kind, &packet);
        let start = frame.len() - body.len();
        let header_bytes = frame.len() - payload.len();
        let fits = |value: usize| u16::try_from(value).expect("headers are short");
        let checksum = PendingChecksum { start: fits(start), offset: if self.is_tcp { 16 } else { 6 } };
        let offload =
            Offload { checksum: Some(checksum), gso: self.gso(), gso_size, header_bytes: fits(header_bytes) };
        (frame, offload)
    }

    /// Changes the first bytes of the second segment's payload so that its checksum comes out as zero.
    fn zero_second_checksum(self, payload: &mut [u8], gso_size: u16) {
        let bytes = usize::from(gso_size);
        assert!(!self.is_tcp && payload.len() >= 2 * bytes, "a UDP datagram's length is all that differs");
        let segment = &mut payload[bytes..2 * bytes];
        segment[..2].fill(0);
        let datagram = [self.l4(bytes, 0), segment.to_vec()].concat();
        let missing = checksum(&self.pseudo(datagram.len()), &datagram);
        segment[..2].copy_from_slice(&missing.to_be_bytes());
    }
}

fn cut_by_us(frame: &[u8], offload: Offload) -> Vec<Vec<u8>> {
    let mut segments = Segments::new(frame, LINK_L3, offload).expect("a GSO packet");
    let mut cut = Vec::new();
    while let Some(bytes) = segments.next_len() {
        let mut segment = vec![0xaa; bytes];
        assert_eq!(segments.write_next(&mut segment), Some(bytes));
        cut.push(segment);
    }
    cut
}

fn cut_by_the_kernel(
    host: &mut Tap,
    router: &mut Tap,
    frame: &[u8],
    offload: Offload,
    count: usize,
) -> Vec<Vec<u8>> {
    host.send_offloaded(frame, offload);
    let mut cut = Vec::new();
    wait_for("the kernel's segments", || {
        for (segment, left) in router.take() {
            if segment[..12] == [TO, FROM].concat() {
                assert_eq!(left, Offload::default(), "the kernel has left nothing to do");
                cut.push(segment);
            }
        }
        (cut.len() >= count).then_some(())
    });
    cut
}

fn compare(taps: &mut [Tap; 2], kind: Kind, payload: &[u8], gso_size: u16) -> usize {
    let (frame, offload) = kind.gso_packet(payload, gso_size);
    let ours = cut_by_us(&frame, offload);
    let [host, router] = taps;
    let kernel = cut_by_the_kernel(host, router, &frame, offload, ours.len());
    let what = format!("{kind:?}, {} bytes in segments of {gso_size}", payload.len());
    assert_eq!(kernel.len(), ours.len(), "{what}");
    for (number, (kernel, ours)) in kernel.iter().zip(&ours).enumerate() {
        assert_eq!(kernel, ours, "segment {number} of {what}");
    }
    ours.len()
}

/// The case: every kind of GSO packet, cut by both.
pub fn equals_the_kernel(lab: &Lab) {
    let mut taps = [lab.tap("t1", "t1-eth0"), lab.tap("router", "eth-t1")];
    let mut kinds = Vec::new();
    for is_v6 in [false, true] {
        for is_extended in [false, true] {
            let udp = Kind { is_v6, is_tcp: false, flags: 0, options: &[], is_extended, ecn: false };
            kinds.push(udp);
            for flags in [ACK, ACK | PSH, ACK | PSH | FIN, ACK | ECE, ACK | CWR | PSH, ACK | CWR | ECE | URG]
            {
                for options in [&[][..], &TIME_STAMPS] {
                    kinds.push(Kind { is_tcp: true, flags, options, ecn: flags & (CWR | ECE) == CWR, ..udp });
                }
            }
        }
    }
    let mut segments = 0;
    for kind in &kinds {
        for (payload_bytes, gso_size) in
            [(1, 1400), (1400, 1400), (1401, 1400), (2800, 1400), (4099, 1000), (5000, 999), (60_000, 1400)]
        {
            // The kernel does not take a GSO packet of one segment, unless it can tell from the shortest of
            // headers.
            let is_plain = kind.options.is_empty() && !kind.is_extended;
            if is_plain || payload_bytes > usize::from(gso_size) {
                segments += compare(&mut taps, *kind, &pattern(payload_bytes), gso_size);
            }
        }
        if !kind.is_tcp {
            let mut payload = pattern(3000);
            kind.zero_second_checksum(&mut payload, 1000);
            segments += compare(&mut taps, *kind, &payload, 1000);
            let (frame, offload) = kind.gso_packet(&payload, 1000);
            let second = &cut_by_us(&frame, offload)[1];
            assert_eq!(
                second[second.len() - 1002..][..2],
                [0xff; 2],
                "zero would say that there is no checksum"
            );
        }
    }
    assert_eq!(kinds.len(), 52);
    assert!(segments > 3000, "{segments}");
}
