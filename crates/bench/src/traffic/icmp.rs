//! Raw ICMP sockets, and the few message fields that echo and trace read.
//!
//! A raw socket receives every ICMP message that reaches its namespace, duplicates and errors about packets
//! of other sockets included. A process that may enter a lab's namespaces has `CAP_NET_RAW` in them.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, ppoll};
use nix::sys::socket::{AddressFamily, SockFlag, SockProtocol, SockType, setsockopt, socket, sockopt};
use nsrouter_wire::icmp::{self, HEADER_BYTES, v4, v6};
use nsrouter_wire::{ipv4, ipv6};

/// The receive timeout of the socket.
const SOCKET_TIMEOUT: Duration = Duration::from_millis(100);

/// The kind of a message, for ICMP and ICMPv6 alike.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    EchoRequest,
    EchoReply,
    TimeExceeded,
    PortUnreachable,
    /// Every other destination unreachable, and Packet Too Big.
    Unreachable,
    /// Anything else, such as neighbour discovery.
    Other,
}

/// A message that arrived.
pub(super) struct Message<'a> {
    pub(super) from: IpAddr,
    pub(super) kind: Kind,
    /// The message from its ICMP header on.
    pub(super) bytes: &'a [u8],
    /// Whether the checksum is right; the kernel has verified that of ICMPv6.
    pub(super) checksum_good: bool,
}

/// A raw ICMP socket of the calling thread's namespace. `UdpSocket` is its safe interface: sending to and
/// receiving from an address is all it needs, and the kernel accepts port 0.
pub(super) struct IcmpSocket {
    socket: UdpSocket,
    v4: bool,
    buffer: Vec<u8>,
}

impl IcmpSocket {
    /// Opens the socket for the family of `target`.
    pub(super) fn open(target: IpAddr) -> io::Result<IcmpSocket> {
        let (family, protocol) = match target {
            IpAddr::V4(_) => (AddressFamily::Inet, SockProtocol::Icmp),
            IpAddr::V6(_) => (AddressFamily::Inet6, SockProtocol::IcmpV6),
        };
        let fd = socket(family, SockType::Raw, SockFlag::SOCK_CLOEXEC, protocol)?;
        // Within the usual rmem_max; enough for a few hundred small messages.
        setsockopt(&fd, sockopt::RcvBuf, &(1 << 18))?;
        let socket = UdpSocket::from(fd);
        socket.set_read_timeout(Some(SOCKET_TIMEOUT))?;
        Ok(IcmpSocket { socket, v4: target.is_ipv4(), buffer: vec![0; 1 << 16] })
    }

    fn readable_within(&self, time: Duration) -> io::Result<bool> {
        let mut fds = [PollFd::new(self.socket.as_fd(), PollFlags::POLLIN)];
        match ppoll(&mut fds, Some(time.into()), None) {
            Ok(ready) => Ok(ready > 0),
            Err(Errno::EINTR) => Ok(false),
            Err(errno) => Err(errno.into()),
        }
    }

    /// Sends an echo request. The kernel fills in the checksum of ICMPv6 (RFC 3542 section 3.1).
    pub(super) fn send_echo(
        &self,
        target: IpAddr,
        ident: u16,
        sequence: u16,
        payload: &[u8],
    ) -> io::Result<()> {
        let mut message = Vec::with_capacity(HEADER_BYTES + payload.len());
        message.extend([if self.v4 { v4::ECHO } else { v6::ECHO }, 0, 0, 0]);
        message.extend(ident.to_be_bytes());
        message.extend(sequence.to_be_bytes());
        message.extend(payload);
        if self.v4 {
            icmp::v4_fill(&mut message);
        }
        self.socket.send_to(&message, SocketAddr::new(target, 0)).map(drop)
    }

    /// The next message before `deadline`; `None` when that has passed. Messages that are too short are
    /// skipped.
    pub(super) fn receive(&mut self, deadline: Instant) -> io::Result<Option<Message<'_>>> {
        let (range, from) = loop {
            let Some(left) = deadline.checked_duration_since(Instant::now()).filter(|d| !d.is_zero()) else {
                return Ok(None);
            };
            // The socket's own timeout is counted in jiffies; ppoll(2) is exact but one more system call,
            // which would be part of every round trip. So the socket does the long waits, and ppoll the last
            // part.
            if left < SOCKET_TIMEOUT && !self.readable_within(left)? {
                return Ok(None);
            }
            let (len, from) = match self.socket.recv_from(&mut self.buffer) {
                Ok(received) => received,
                Err(e) if matches!(e.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) => {
                    continue;
                }
                Err(e) => return Err(e),
            };
            // A raw IPv4 socket delivers the IP header, a raw IPv6 socket does not.
            let start = if self.v4 { ipv4_header_bytes(&self.buffer[..len]) } else { Some(0) };
            if let Some(start) = start.filter(|start| start + HEADER_BYTES <= len) {
                break (start..len, from.ip());
            }
        };
        let bytes = &self.buffer[range];
        let kind = if self.v4 { v4_kind(bytes[0], bytes[1]) } else { v6_kind(bytes[0], bytes[1]) };
        let checksum_good = !self.v4 || icmp::v4_is_valid(bytes);
        Ok(Some(Message { from, kind, bytes, checksum_good }))
    }
}

impl Message<'_> {
    /// Identifier and sequence number of an echo.
    pub(super) fn echo_ids(&self) -> (u16, u16) {
        (
            u16::from_be_bytes([self.bytes[4], self.bytes[5]]),
            u16::from_be_bytes([self.bytes[6], self.bytes[7]]),
        )
    }

    /// The packet that an error message quotes: its destination, its protocol and the eight bytes after its
    /// IP header.
    pub(super) fn quoted(&self) -> Option<(IpAddr, u8, [u8; 8])> {
        let packet = self.bytes.get(HEADER_BYTES..)?;
        let (to, protocol, start) = if self.from.is_ipv4() {
            let to: [u8; 4] = packet.get(16..20)?.try_into().ok()?;
            (IpAddr::V4(Ipv4Addr::from(to)), packet[9], ipv4_header_bytes(packet)?)
        } else {
            let to: [u8; 16] = packet.get(24..40)?.try_into().ok()?;
            (IpAddr::V6(Ipv6Addr::from(to)), packet[6], ipv6::HEADER_BYTES)
        };
        Some((to, protocol, packet.get(start..start + 8)?.try_into().ok()?))
    }
}

fn v4_kind(kind: u8, code: u8) -> Kind {
    match (kind, code) {
        (v4::ECHO, _) => Kind::EchoRequest,
        (v4::ECHO_REPLY, _) => Kind::EchoReply,
        (v4::TIME_EXCEEDED, _) => Kind::TimeExceeded,
        (v4::UNREACHABLE, 3) => Kind::PortUnreachable,
        (v4::UNREACHABLE, _) => Kind::Unreachable,
        _ => Kind::Other,
    }
}

fn v6_kind(kind: u8, code: u8) -> Kind {
    match (kind, code) {
        (v6::ECHO, _) => Kind::EchoRequest,
        (v6::ECHO_REPLY, _) => Kind::EchoReply,
        (v6::TIME_EXCEEDED, _) => Kind::TimeExceeded,
        (v6::UNREACHABLE, 4) => Kind::PortUnreachable,
        (v6::UNREACHABLE | v6::TOO_BIG, _) => Kind::Unreachable,
        _ => Kind::Other,
    }
}

/// The length of the IPv4 header at the beginning of `packet`, in bytes; `None` where there is no valid one.
fn ipv4_header_bytes(packet: &[u8]) -> Option<usize> {
    let first = *packet.first()?;
    let bytes = usize::from(first & 0x0f) * 4;
    (first >> 4 == 4 && (ipv4::HEADER_BYTES..=packet.len()).contains(&bytes)).then_some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn header_lengths_that_lie_are_refused() {
        let mut packet = [0u8; 24];
        for (first, expect) in [(0x45, Some(20)), (0x46, Some(24)), (0x4f, None), (0x44, None), (0x65, None)]
        {
            packet[0] = first;
            assert_eq!(ipv4_header_bytes(&packet), expect);
        }
        assert_eq!(ipv4_header_bytes(&[]), None);
    }

    #[test]
    fn quotes_are_read_and_short_ones_refused() {
        let mut bytes = vec![11, 0, 0, 0, 0, 0, 0, 0, 0x45];
        bytes.resize(8 + 20 + 8, 0);
        bytes[8 + 9] = 17;
        bytes[8 + 16..8 + 20].copy_from_slice(&[10, 0, 0, 9]);
        bytes[8 + 20..].copy_from_slice(&[1, 2, 3, 4, 5, 6, 7, 8]);
        let from = IpAddr::V4(Ipv4Addr::LOCALHOST);
        let message = |bytes| Message { from, kind: Kind::TimeExceeded, bytes, checksum_good: true };
        let expect = (IpAddr::V4(Ipv4Addr::new(10, 0, 0, 9)), 17, [1, 2, 3, 4, 5, 6, 7, 8]);
        assert_eq!(message(&bytes).quoted(), Some(expect));
        assert_eq!(message(&bytes[..35]).quoted(), None);
        assert_eq!(message(&bytes[..8]).quoted(), None);
    }
}
