//! Generic netlink: messages as bytes, and requests to one family of the kernel.
//!
//! Sources: include/uapi/linux/netlink.h and genetlink.h; RFC 3549 section 2.3.

use std::io;
use std::os::fd::{AsRawFd, OwnedFd};

use nix::sys::socket::{
    AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType, connect, recv, send, socket,
};

const NLMSG_ERROR: u16 = 2;
const NLM_F_REQUEST: u16 = 1;
const NLM_F_ACK: u16 = 4;
/// struct nlmsghdr.
const NLMSG_HEADER_BYTES: usize = 16;
/// struct genlmsghdr.
const GENL_HEADER_BYTES: usize = 4;
/// The flag of an attribute that contains attributes.
pub(crate) const NESTED: u16 = 0x8000;

/// The family that knows the other families, and the request for one of them.
const GENL_ID_CTRL: u16 = 16;
const CTRL_CMD_GETFAMILY: u8 = 3;
const CTRL_ATTR_FAMILY_ID: u16 = 1;
const CTRL_ATTR_FAMILY_NAME: u16 = 2;

/// Room for one datagram from the kernel, in bytes: more than NLMSG_GOODSIZE, which answers to single
/// requests fit.
const DATAGRAM_BYTES: usize = 1 << 16;

/// A socket for requests to one family, in the network namespace of the thread that opened it.
pub(crate) struct Family {
    socket: OwnedFd,
    id: u16,
}

impl Family {
    /// Opens a socket and looks up the family; `None` where this kernel does not have it.
    pub(crate) fn open(name: &str) -> io::Result<Option<Self>> {
        let kind = SockProtocol::NetlinkGeneric;
        let socket = socket(AddressFamily::Netlink, SockType::Raw, SockFlag::SOCK_CLOEXEC, kind)?;
        connect(socket.as_raw_fd(), &NetlinkAddr::new(0, 0))?;
        let request = attribute(CTRL_ATTR_FAMILY_NAME, &terminated(name));
        let answer = match exchange(&socket, GENL_ID_CTRL, CTRL_CMD_GETFAMILY, &request) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            answer => answer?,
        };
        let id = attributes(&answer).find(|(kind, _)| *kind == CTRL_ATTR_FAMILY_ID);
        let id = id.and_then(|(_, id)| id.try_into().ok()).map(u16::from_ne_bytes);
        Ok(id.map(|id| Self { socket, id }))
    }

    /// Sends one request and waits for its acknowledgement. The attributes of the answer; none where there is
    /// only the acknowledgement.
    pub(crate) fn ask(&self, command: u8, attributes: &[u8]) -> io::Result<Vec<u8>> {
        exchange(&self.socket, self.id, command, attributes)
    }
}

fn exchange(socket: &OwnedFd, family: u16, command: u8, attributes: &[u8]) -> io::Result<Vec<u8>> {
    send(socket.as_raw_fd(), &request(family, command, attributes), MsgFlags::empty())?;
    let mut answer = Vec::new();
    let mut buffer = vec![0; DATAGRAM_BYTES];
    loop {
        let len = recv(socket.as_raw_fd(), &mut buffer, MsgFlags::empty())?;
        for message in messages(&buffer[..len]) {
            match message {
                Message::Acknowledged => return Ok(answer),
                Message::Refused(errno) => return Err(io::Error::from_raw_os_error(errno)),
                Message::Answer(attributes) => answer = attributes.to_vec(),
                Message::Malformed => {
                    return Err(io::Error::new(io::ErrorKind::InvalidData, "a malformed netlink message"));
                }
            }
        }
    }
}

/// A request with its headers. Sequence number and port are 0: each socket has one request at a time.
fn request(family: u16, command: u8, attributes: &[u8]) -> Vec<u8> {
    let len = NLMSG_HEADER_BYTES + GENL_HEADER_BYTES + attributes.len();
    let mut request = Vec::from(u32::try_from(len).unwrap_or(u32::MAX).to_ne_bytes());
    request.extend(family.to_ne_bytes());
    request.extend((NLM_F_REQUEST | NLM_F_ACK).to_ne_bytes());
    request.extend([0; 8]);
    request.extend([command, 1, 0, 0]);
    request.extend(attributes);
    request
}

/// A string attribute's value: C strings end with a zero.
pub(crate) fn terminated(text: &str) -> Vec<u8> {
    text.bytes().chain([0]).collect()
}

/// One attribute (struct nlattr), padded to a multiple of four bytes.
pub(crate) fn attribute(kind: u16, value: &[u8]) -> Vec<u8> {
    let len = u16::try_from(4 + value.len()).unwrap_or(u16::MAX);
    let mut bytes = Vec::from(len.to_ne_bytes());
    bytes.extend(kind.to_ne_bytes());
    bytes.extend(value);
    bytes.resize(bytes.len().next_multiple_of(4), 0);
    bytes
}

/// The kinds, without [`NESTED`], and values of the attributes one after the other; ends at the first
/// malformed one.
pub(crate) fn attributes(mut bytes: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
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
    /// The attributes of an answer, which comes before the acknowledgement.
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
    let payload = bytes.get(NLMSG_HEADER_BYTES..len)?;
    let message = if kind == NLMSG_ERROR {
        // struct nlmsgerr: a negative error number, or 0 for success.
        match i32::from_ne_bytes(*payload.first_chunk()?) {
            0 => Message::Acknowledged,
            errno => Message::Refused(errno.checked_neg()?),
        }
    } else {
        Message::Answer(payload.get(GENL_HEADER_BYTES..)?)
    };
    Some((message, len))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use proptest::prelude::*;

    use super::*;

    fn bytes_of(kind: u16, payload: &[u8]) -> Vec<u8> {
        let mut bytes = Vec::from(u32::try_from(16 + payload.len()).unwrap().to_ne_bytes());
        bytes.extend(kind.to_ne_bytes());
        bytes.extend([0; 10]);
        bytes.extend(payload);
        bytes
    }

    #[test]
    fn attributes_are_padded_and_found_again() {
        let bytes = [attribute(NESTED | 3, b"abcde"), attribute(7, b"")].concat();
        assert_eq!(bytes.len(), 12 + 4);
        let read: Vec<(u16, &[u8])> = attributes(&bytes).collect();
        assert_eq!(read, [(3, &b"abcde"[..]), (7, &b""[..])]);
        assert_eq!(attributes(&bytes[..6]).count(), 0, "cut short");
        assert_eq!(attributes(&[0; 4]).count(), 0, "a length below that of the header");
    }

    #[test]
    fn messages_follow_each_other_in_a_datagram() {
        let datagram = [bytes_of(20, b"\x0b\x01\0\0abcd"), bytes_of(NLMSG_ERROR, &[0; 4])].concat();
        assert_eq!(
            messages(&datagram).collect::<Vec<_>>(),
            [Message::Answer(b"abcd"), Message::Acknowledged]
        );
        let refused = bytes_of(NLMSG_ERROR, &(-95_i32).to_ne_bytes());
        assert_eq!(messages(&refused).collect::<Vec<_>>(), [Message::Refused(95)]);
        assert_eq!(messages(&datagram[..10]).collect::<Vec<_>>(), [Message::Malformed]);
        assert_eq!(messages(&[]).collect::<Vec<_>>(), [Message::Malformed], "never none");
    }

    #[test]
    fn an_unknown_family_is_none() {
        assert!(Family::open("no_such_family").unwrap().is_none());
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
