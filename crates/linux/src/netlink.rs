//! Netlink requests as bytes: a socket, messages and attributes.
//!
//! For the few requests that do not justify a library. Sources: include/uapi/linux/netlink.h, RFC 3549
//! section 2.3.

use std::io;
use std::os::fd::{AsRawFd, OwnedFd};

use nix::sys::socket::{
    AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType, connect, recv, send, socket,
};

const NLMSG_ERROR: u16 = 2;
const NLM_F_REQUEST: u16 = 0x001;
const NLM_F_ACK: u16 = 0x004;
/// `NLM_F_EXCL | NLM_F_CREATE`: create, and fail where it exists.
pub const CREATE_NEW: u16 = 0x200 | 0x400;
/// `NLA_F_NESTED`: the flag of an attribute that contains attributes.
pub const NESTED: u16 = 1 << 15;

/// struct nlmsghdr.
const HEADER_BYTES: usize = 16;
/// Room for one datagram from the kernel, in bytes: more than NLMSG_GOODSIZE, which answers to single
/// requests fit.
const DATAGRAM_BYTES: usize = 1 << 16;

/// What a netlink socket talks to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// Links, addresses, routes, traffic control: `NETLINK_ROUTE`.
    Route,
    /// Families registered by name: `NETLINK_GENERIC`.
    Generic,
}

/// A netlink socket, in the network namespace of the thread that opened it.
#[derive(Debug)]
pub struct NetlinkSocket {
    socket: OwnedFd,
}

impl NetlinkSocket {
    /// Opens a socket.
    ///
    /// # Errors
    /// That of socket(2) or connect(2).
    pub fn open(protocol: Protocol) -> io::Result<Self> {
        let protocol = match protocol {
            Protocol::Route => SockProtocol::NetlinkRoute,
            Protocol::Generic => SockProtocol::NetlinkGeneric,
        };
        let socket = socket(AddressFamily::Netlink, SockType::Raw, SockFlag::SOCK_CLOEXEC, protocol)?;
        connect(socket.as_raw_fd(), &NetlinkAddr::new(0, 0))?;
        Ok(Self { socket })
    }

    /// Sends one message of type `kind` and waits for its acknowledgement. `flags` are added to those of a
    /// request; `body` is the header of the protocol with the attributes after it. Returns the body of the
    /// answer, which is empty where there is only the acknowledgement.
    ///
    /// # Errors
    /// The kernel's; InvalidData where its answer is malformed.
    pub fn ask(&self, kind: u16, flags: u16, body: &[u8]) -> io::Result<Vec<u8>> {
        let fd = self.socket.as_raw_fd();
        send(fd, &request(kind, flags, body)?, MsgFlags::empty())?;
        let mut answer = Vec::new();
        let mut buffer = vec![0; DATAGRAM_BYTES];
        loop {
            let len = recv(fd, &mut buffer, MsgFlags::empty())?;
            for message in messages(&buffer[..len]) {
                match message {
                    Message::Acknowledged => return Ok(answer),
                    Message::Refused(errno) => return Err(io::Error::from_raw_os_error(errno)),
                    Message::Answer(body) => answer = body.to_vec(),
                    Message::Malformed => {
                        return Err(io::Error::new(
                            io::ErrorKind::InvalidData,
                            "a malformed netlink message",
                        ));
                    }
                }
            }
        }
    }
}

/// A request with its header. Sequence number and port are 0: each socket has one request at a time.
fn request(kind: u16, flags: u16, body: &[u8]) -> io::Result<Vec<u8>> {
    let len = u32::try_from(HEADER_BYTES + body.len()).map_err(io::Error::other)?;
    let mut request = Vec::from(len.to_ne_bytes());
    request.extend(kind.to_ne_bytes());
    request.extend((NLM_F_REQUEST | NLM_F_ACK | flags).to_ne_bytes());
    request.extend([0; 8]);
    request.extend(body);
    Ok(request)
}

/// The value of a string attribute, with the zero at its end.
pub fn terminated(text: &str) -> Vec<u8> {
    text.bytes().chain([0]).collect()
}

/// One attribute (struct nlattr), padded to a multiple of four bytes.
pub fn attribute(kind: u16, value: &[u8]) -> Vec<u8> {
    let len = u16::try_from(4 + value.len()).unwrap_or(u16::MAX);
    let mut bytes = Vec::from(len.to_ne_bytes());
    bytes.extend(kind.to_ne_bytes());
    bytes.extend(value);
    bytes.resize(bytes.len().next_multiple_of(4), 0);
    bytes
}

/// The kinds, without [`NESTED`], and values of the attributes one after the other; ends at the first
/// malformed one.
pub fn attributes(mut bytes: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    std::iter::from_fn(move || {
        let len = usize::from(u16::from_ne_bytes(bytes.get(..2)?.try_into().ok()?));
        let kind = u16::from_ne_bytes(bytes.get(2..4)?.try_into().ok()?) & !NESTED;
        let value = bytes.get(4..len)?;
        bytes = bytes.get(len.next_multiple_of(4)..).unwrap_or_default();
        Some((kind, value))
    })
}

/// A message from the kernel.
#[derive(Debug, PartialEq, Eq)]
enum Message<'a> {
    /// The request has been carried out.
    Acknowledged,
    /// It has not; the error number.
    Refused(i32),
    /// The body of an answer, which comes before the acknowledgement.
    Answer(&'a [u8]),
    /// Its length is wrong.
    Malformed,
}

/// The messages of a datagram, of which there is at least one.
fn messages(datagram: &[u8]) -> impl Iterator<Item = Message<'_>> {
    let mut rest = Some(datagram);
    std::iter::from_fn(move || {
        let bytes = rest?;
        let Some((message, len)) = message(bytes) else {
            rest = None;
            return Some(Message::Malformed);
        };
        rest = bytes.get(len.next_multiple_of(4)..).filter(|rest| !rest.is_empty());
        Some(message)
    })
}

/// The first message, and its length in bytes without padding.
fn message(bytes: &[u8]) -> Option<(Message<'_>, usize)> {
    let len = usize::try_from(u32::from_ne_bytes(*bytes.first_chunk()?)).ok()?;
    let kind = u16::from_ne_bytes([*bytes.get(4)?, *bytes.get(5)?]);
    let body = bytes.get(HEADER_BYTES..len)?;
    let message = if kind == NLMSG_ERROR {
        // struct nlmsgerr: a negative error number, or 0 for success.
        match i32::from_ne_bytes(*body.first_chunk()?) {
            0 => Message::Acknowledged,
            errno => Message::Refused(errno.checked_neg()?),
        }
    } else {
        Message::Answer(body)
    };
    Some((message, len))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use proptest::prelude::*;

    use super::*;

    fn bytes_of(kind: u16, body: &[u8]) -> Vec<u8> {
        request(kind, 0, body).unwrap()
    }

    #[test]
    fn attributes_are_padded_and_found_again() {
        assert_eq!(attribute(1, b"ingress\0")[..2], 12u16.to_ne_bytes());
        let bytes = [attribute(NESTED | 3, b"abcde"), attribute(7, b"")].concat();
        assert_eq!(bytes.len(), 12 + 4);
        let read: Vec<(u16, &[u8])> = attributes(&bytes).collect();
        assert_eq!(read, [(3, &b"abcde"[..]), (7, &b""[..])]);
        assert_eq!(attributes(&bytes[..6]).count(), 0, "cut short");
        assert_eq!(attributes(&[0; 4]).count(), 0, "a length below that of the header");
    }

    #[test]
    fn messages_follow_each_other_in_a_datagram() {
        let datagram = [bytes_of(20, b"abcd"), bytes_of(NLMSG_ERROR, &[0; 4])].concat();
        assert_eq!(
            messages(&datagram).collect::<Vec<_>>(),
            [Message::Answer(b"abcd"), Message::Acknowledged]
        );
        let refused = bytes_of(NLMSG_ERROR, &(-95_i32).to_ne_bytes());
        assert_eq!(messages(&refused).collect::<Vec<_>>(), [Message::Refused(95)]);
        assert_eq!(messages(&refused[..19]).collect::<Vec<_>>(), [Message::Malformed]);
        assert_eq!(messages(&[]).collect::<Vec<_>>(), [Message::Malformed], "never none");
    }

    #[test]
    fn a_request_says_its_length_type_and_flags() {
        let request = request(36, CREATE_NEW, &[1, 2, 3, 4]).unwrap();
        assert_eq!(request.len(), 20);
        assert_eq!(request[..4], 20u32.to_ne_bytes());
        assert_eq!(request[4..8], [36u16.to_ne_bytes(), 0x605u16.to_ne_bytes()].concat());
        assert_eq!(request[8..], [0, 0, 0, 0, 0, 0, 0, 0, 1, 2, 3, 4]);
    }

    proptest! {
        #[test]
        fn no_bytes_panic(bytes in proptest::collection::vec(any::<u8>(), 0..64), len in 0_u8..64) {
            // With a length that may be right, the rest is looked at too.
            let mut plausible = bytes.clone();
            plausible.iter_mut().zip(u32::from(len).to_ne_bytes()).for_each(|(to, from)| *to = from);
            for bytes in [bytes, plausible] {
                prop_assert!(messages(&bytes).count() <= 1 + bytes.len() / 16);
                prop_assert!(attributes(&bytes).count() <= bytes.len() / 4);
            }
        }
    }
}
