//! The raw generator: complete Ethernet frames with UDP in them, sent by an AF_PACKET socket past the host's
//! IP stack and queues, a batch per system call, at a rate or as fast as it goes.
//!
//! It counts the frames that it puts on its interface, as the interface's own counters do: frames sent, and
//! frames dropped because the link was full.

use std::io::{IoSlice, IoSliceMut};
use std::net::{IpAddr, Ipv6Addr, SocketAddr, UdpSocket};
use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::ifaddrs::getifaddrs;
use nix::libc;
use nix::sys::prctl::set_timerslack;
use nix::sys::socket::sockopt::{self, SetStruct};
use nix::sys::socket::{
    AddressFamily, LinkAddr, MsgFlags, MultiHeaders, SockFlag, SockType, bind, recvmmsg, sendmmsg,
    setsockopt, socket,
};
use nsrouter_wire::checksum::Sum;
use nsrouter_wire::eth::{self, MacAddr};
use nsrouter_wire::protocol;
use nsrouter_wire::{ipv4, ipv6};

use super::error::TrafficError;
use crate::plan::Pin;

/// The most frames per system call.
const BATCH: usize = 32;
/// The most datagrams that the receiver takes per system call.
const RECEIVE_BATCH: usize = 64;
/// Room for a datagram at an MTU of 1500.
const DATAGRAM_BYTES: usize = 1536;
/// A paced sender sleeps this long at a time, so its bursts are the frames due after that time.
const PACE: Duration = Duration::from_micros(40);
/// How often an idle receiver checks whether the load has ended.
const CHECK_INTERVAL: Duration = Duration::from_millis(50);
/// The receive buffer that is requested; the machine's rmem_max may allow less.
const RECEIVE_BUFFER_BYTES: usize = 4 << 20;
/// The source port of the datagrams.
const SOURCE_PORT: u16 = 40_000;
/// TTL and hop limit.
const TTL: u8 = 64;
/// Bytes of a UDP header.
const UDP_HEADER_BYTES: u16 = 8;
/// The bytes of the payload.
const FILLER: u8 = 0x6e;

/// PACKET_QDISC_BYPASS (packet(7)): frames go straight to the driver.
#[derive(Clone, Copy)]
struct QdiscBypass;
nix::setsockopt_impl!(
    QdiscBypass,
    libc::SOL_PACKET,
    libc::PACKET_QDISC_BYPASS,
    libc::c_int,
    SetStruct<libc::c_int>
);

/// The MAC addresses and the source of all frames.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Path {
    pub(crate) from_mac: MacAddr,
    pub(crate) to_mac: MacAddr,
    pub(crate) from: IpAddr,
}

impl Path {
    /// A frame without FCS whose UDP payload has that length, with valid checksums.
    pub(crate) fn frame(&self, to: SocketAddr, payload_bytes: u16) -> Vec<u8> {
        let udp_bytes = UDP_HEADER_BYTES + payload_bytes;
        let mut datagram = Vec::with_capacity(usize::from(udp_bytes));
        datagram.extend(SOURCE_PORT.to_be_bytes());
        datagram.extend(to.port().to_be_bytes());
        datagram.extend(udp_bytes.to_be_bytes());
        datagram.extend([0, 0]);
        datagram.resize(usize::from(udp_bytes), FILLER);
        let mut frame = vec![0; eth::HEADER_BYTES];
        let (ether_type, sum) = match (self.from, to.ip()) {
            (IpAddr::V4(source), IpAddr::V4(destination)) => {
                let mut header = [0; ipv4::HEADER_BYTES];
                ipv4::Fields {
                    traffic_class: 0,
                    total_bytes: 20 + udp_bytes,
                    // With DF the identification does not matter (RFC 6864 section 4.1).
                    identification: 0,
                    flags_offset: ipv4::DONT_FRAGMENT,
                    ttl: TTL,
                    protocol: protocol::UDP,
                    source,
                    destination,
                }
                .write(&mut header);
                frame.extend(header);
                let (source, destination) = (source.octets(), destination.octets());
                (eth::TYPE_IPV4, Sum::new().pseudo_ipv4(source, destination, protocol::UDP, udp_bytes))
            }
            (source, destination) => {
                let v6 = |address: IpAddr| match address {
                    IpAddr::V4(v4) => v4.to_ipv6_mapped(),
                    IpAddr::V6(v6) => v6,
                };
                let (source, destination) = (v6(source), v6(destination));
                let mut header = [0; ipv6::HEADER_BYTES];
                ipv6::Fields {
                    traffic_class: 0,
                    payload_bytes: udp_bytes,
                    next_header: protocol::UDP,
                    hop_limit: TTL,
                    source,
                    destination,
                }
                .write(&mut header);
                frame.extend(header);
                let (source, destination) = (source.octets(), destination.octets());
                let bytes = u32::from(udp_bytes);
                (eth::TYPE_IPV6, Sum::new().pseudo_ipv6(source, destination, protocol::UDP, bytes))
            }
        };
        eth::write(&mut frame, self.to_mac, self.from_mac, ether_type);
        // A sum of zero is sent as 0xffff: zero says that there is none (RFC 768).
        let sum = match sum.bytes(&datagram).finish() {
            0 => 0xffff,
            sum => sum,
        };
        datagram[6..8].copy_from_slice(&sum.to_be_bytes());
        frame.extend(datagram);
        frame
    }
}

/// A socket that sends whole frames on one interface.
pub(crate) struct Sender {
    socket: OwnedFd,
    pin: Pin,
}

impl Sender {
    /// Opens it in the calling thread's namespace, for a sending thread on `pin`.
    pub(crate) fn open(ifname: &str, pin: Pin) -> nix::Result<Sender> {
        let link = getifaddrs()?
            .filter(|found| found.interface_name == ifname)
            .find_map(|found| found.address?.as_link_addr().copied())
            .ok_or(Errno::ENODEV)?;
        // Without a protocol the socket receives nothing, so no frame is copied for it.
        let socket = socket(AddressFamily::Packet, SockType::Raw, SockFlag::SOCK_CLOEXEC, None)?;
        setsockopt(&socket, QdiscBypass, &1)?;
        // The address that getifaddrs gives has the interface in it and the protocol 0.
        bind(socket.as_raw_fd(), &link)?;
        Ok(Sender { socket, pin })
    }

    /// Sends the frames over and over until `over`, `rate` of them per second or as fast as it can, and
    /// counts those that it put on the interface.
    pub(crate) fn send(
        &self,
        frames: &[Vec<u8>],
        rate: Option<f64>,
        sent: &AtomicU64,
        over: &AtomicBool,
    ) -> nix::Result<()> {
        self.pin.pin_thread();
        // The default slack makes a sleep 50 us longer.
        set_timerslack(1)?;
        let slices: Vec<[IoSlice<'_>; 1]> = frames.iter().map(|frame| [IoSlice::new(frame)]).collect();
        // A batch may begin at any frame, so the first ones follow again after the last.
        let slices: Vec<_> = slices.iter().cycle().take(slices.len() + BATCH).copied().collect();
        let addresses: [Option<LinkAddr>; BATCH] = [None; BATCH];
        let mut headers = MultiHeaders::preallocate(BATCH, None);
        let (start, mut next, mut total) = (Instant::now(), 0, 0u64);
        while !over.load(Ordering::Relaxed) {
            let due = match rate {
                None => BATCH,
                Some(rate) => {
                    let behind = rate * start.elapsed().as_secs_f64() - total as f64;
                    if behind < 1.0 {
                        thread::sleep(PACE);
                        continue;
                    }
                    // At least 1 here, and the batch bounds it.
                    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
                    let due = behind.min(BATCH as f64) as usize;
                    due
                }
            };
            let batch = &slices[next..next + due];
            let fd = self.socket.as_raw_fd();
            let taken = match sendmmsg(fd, &mut headers, batch, &addresses[..due], [], MsgFlags::empty()) {
                Ok(results) => results.count(),
                Err(Errno::ENOBUFS) => 0,
                Err(Errno::EAGAIN | Errno::EINTR) => continue,
                Err(errno) => return Err(errno),
            };
            // The link had no room for the next frame: the interface counts it as dropped, so it was offered.
            let offered = (taken + 1).min(due);
            next = (next + offered) % frames.len();
            total += offered as u64;
            sent.store(total, Ordering::Relaxed);
        }
        Ok(())
    }
}

/// A UDP socket on all of the host's addresses.
pub(crate) struct Receiver {
    socket: UdpSocket,
    pin: Pin,
}

impl Receiver {
    /// Opens it in the calling thread's namespace, for a receiving thread on `pin`.
    pub(crate) fn open(v4: bool, pin: Pin) -> std::io::Result<Receiver> {
        let any: IpAddr = if v4 { IpAddr::from([0; 4]) } else { Ipv6Addr::UNSPECIFIED.into() };
        let socket = UdpSocket::bind(SocketAddr::new(any, 0))?;
        setsockopt(&socket, sockopt::RcvBuf, &RECEIVE_BUFFER_BYTES)?;
        socket.set_read_timeout(Some(CHECK_INTERVAL))?;
        Ok(Receiver { socket, pin })
    }

    /// A socket that is never read: the host receives the datagrams and drops them, at little cost and
    /// without an ICMP error.
    pub(crate) fn sink(v4: bool) -> std::io::Result<Receiver> {
        let sink = Receiver::open(v4, Pin::default())?;
        setsockopt(&sink.socket, sockopt::RcvBuf, &0)?;
        Ok(sink)
    }

    pub(crate) fn port(&self) -> std::io::Result<u16> {
        self.socket.local_addr().map(|address| address.port())
    }

    /// Counts datagrams until `over`.
    pub(crate) fn count(&self, received: &AtomicU64, over: &AtomicBool) {
        self.pin.pin_thread();
        let mut room = vec![0; RECEIVE_BATCH * DATAGRAM_BYTES];
        let mut headers = MultiHeaders::<()>::preallocate(RECEIVE_BATCH, None);
        while !over.load(Ordering::Relaxed) {
            let mut slices: Vec<[IoSliceMut<'_>; 1]> =
                room.chunks_mut(DATAGRAM_BYTES).map(|chunk| [IoSliceMut::new(chunk)]).collect();
            let fd = self.socket.as_raw_fd();
            // An error is the timeout, after which only `over` is checked.
            if let Ok(got) = recvmmsg(fd, &mut headers, &mut slices, MsgFlags::MSG_WAITFORONE, None) {
                received.fetch_add(got.count() as u64, Ordering::Relaxed);
            }
        }
    }
}

/// Sends for that long: how many frames were offered, and how long it took.
pub(crate) fn burst(
    sender: &Sender,
    frames: &[Vec<u8>],
    rate: Option<f64>,
    length: Duration,
) -> Result<(u64, Duration), TrafficError> {
    let (sent, over) = (AtomicU64::new(0), AtomicBool::new(false));
    thread::scope(|scope| {
        let start = Instant::now();
        let sending = scope.spawn(|| sender.send(frames, rate, &sent, &over));
        while start.elapsed() < length && !sending.is_finished() {
            thread::sleep(length.saturating_sub(start.elapsed()).min(CHECK_INTERVAL));
        }
        over.store(true, Ordering::Relaxed);
        let result = sending.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        let elapsed = start.elapsed();
        result.map_err(|errno| TrafficError::Socket(errno.into()))?;
        Ok((sent.load(Ordering::Relaxed), elapsed))
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::plan::{Family, Scenario};

    fn path(from: &str) -> Path {
        let [from_mac, to_mac] = [1, 2].map(|last| MacAddr([2, 0, 0, 0, 0, last]));
        Path { from_mac, to_mac, from: from.parse().unwrap() }
    }

    #[test]
    fn a_frame_is_as_long_as_it_says() {
        let to: SocketAddr = "10.10.252.1:9".parse().unwrap();
        for size in [64, 594, 1518] {
            let payload = Scenario::udp_payload(size, Family::V4).unwrap();
            let frame = path("10.10.251.1").frame(to, payload);
            assert_eq!(frame.len(), usize::from(size) - 4, "all but the FCS");
            assert_eq!(u16::from_be_bytes([frame[16], frame[17]]), size - 18, "the IP length");
            assert_eq!(frame[..6], [2, 0, 0, 0, 0, 2]);
        }
        let to: SocketAddr = "[fd00:252::1]:9".parse().unwrap();
        let payload = Scenario::udp_payload(82, Family::V6).unwrap();
        assert_eq!(path("fd00:251::1").frame(to, payload).len(), 78);
    }

    /// A sum over what carries its own checksum is zero when complemented.
    #[test]
    fn checksums_are_right() {
        let sum = |parts: [&[u8]; 3]| parts.iter().fold(Sum::new(), |sum, part| sum.bytes(part)).finish();
        let v4 = path("10.10.251.1").frame("10.10.252.1:9".parse().unwrap(), 18);
        assert_eq!(sum([&v4[14..34], &[], &[]]), 0);
        assert_eq!(sum([&v4[26..34], &[0, 17, 0, 26], &v4[34..]]), 0);
        let v6 = path("fd00:251::1").frame("[fd00:252::1]:9".parse().unwrap(), 17);
        assert_eq!(sum([&v6[22..54], &[0, 17, 0, 25], &v6[54..]]), 0);
    }

    #[test]
    fn a_receiver_counts() {
        let receiver = Receiver::open(true, Pin::default()).unwrap();
        let port = receiver.port().unwrap();
        let (received, over) = (AtomicU64::new(0), AtomicBool::new(false));
        thread::scope(|scope| {
            scope.spawn(|| receiver.count(&received, &over));
            let sender = UdpSocket::bind("127.0.0.1:0").unwrap();
            for _ in 0..100 {
                sender.send_to(&[0; 18], ("127.0.0.1", port)).unwrap();
            }
            let deadline = Instant::now() + Duration::from_secs(5);
            while received.load(Ordering::Relaxed) < 100 && Instant::now() < deadline {
                thread::sleep(Duration::from_millis(1));
            }
            over.store(true, Ordering::Relaxed);
        });
        assert_eq!(received.load(Ordering::Relaxed), 100);
    }
}
