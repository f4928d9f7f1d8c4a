//! Netlink sockets (netlink(7)): one on which the kernel reports changes, and a new one for every list.
//!
//! A list is read by a socket of its own, so a swarm of changes cannot crowd out the answer, no change is
//! taken for a part of it, and the kernel, which carries out one dump a socket, is never busy with another.
//! The kernel answers as fast as the answer is read, so silence means that the answer is lost: the request
//! fails then, and is made again.

use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::time::Duration;

use nix::sys::socket::{
    AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType, bind, send, setsockopt, socket,
    sockopt,
};
use rtnetlink::MulticastGroup;
use rtnetlink::packet_core::{NLM_F_DUMP, NLM_F_DUMP_INTR, NLM_F_REQUEST, NetlinkMessage, NetlinkPayload};
use rtnetlink::packet_route::RouteNetlinkMessage;
use tokio::net::UnixDatagram;

/// Bytes of messages that may wait in the kernel: those of some 30,000 routes, which `ip -batch` writes in a
/// tenth of a second. Only used up while they wait.
const WAITING_BYTES: usize = 32 << 20;
/// The largest datagram: the kernel makes its answers of at most 32 KiB (netlink_dump(),
/// net/netlink/af_netlink.c).
const DATAGRAM_BYTES: usize = 64 << 10;
/// How long a part of an answer may take.
const ANSWER: Duration = Duration::from_secs(2);
/// Bytes of a message's header (struct nlmsghdr, include/uapi/linux/netlink.h).
const HEADER_BYTES: usize = 16;
/// `NLMSG_ERROR`.
const ERROR: u16 = 2;
/// `NLMSG_DONE`.
const DONE: u16 = 3;

/// A list of the kernel's: the request's type and the bytes of its fixed part, of which the first is the
/// address family (include/uapi/linux/rtnetlink.h).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum List {
    Links,
    Addresses,
    Routes,
    Neighbours,
    Rules,
    NextHops,
}

impl List {
    const fn request(self) -> (u16, usize) {
        match self {
            List::Links => (18, 16),
            List::Addresses => (22, 8),
            List::Routes => (26, 12),
            List::Neighbours => (30, 12),
            List::Rules => (34, 12),
            List::NextHops => (106, 8),
        }
    }
}

/// A list could not be read; one variant a step.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ListError {
    /// Opening the socket.
    #[error("no netlink socket can be made: {0}")]
    Socket(#[source] io::Error),
    /// Sending the request.
    #[error("the question cannot be sent: {0}")]
    Send(#[source] io::Error),
    /// Reading the answer.
    #[error("the answer cannot be read: {0}")]
    Receive(#[source] io::Error),
    /// The kernel refused.
    #[error("the kernel refuses: {0}")]
    Refused(#[source] io::Error),
    /// The answer broke off.
    #[error("no answer came")]
    Late,
}

/// One message of a datagram.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Message<'a> {
    /// Its type (`RTM_...`).
    pub(crate) kind: u16,
    /// `NLM_F_...`
    pub(crate) flags: u16,
    /// The number of the request that it answers; 0 where none.
    pub(crate) sequence: u32,
    /// Header included.
    bytes: &'a [u8],
}

impl<'a> Message<'a> {
    /// The first message of some bytes, and how many it takes up with its padding.
    fn first(bytes: &'a [u8]) -> Option<(Message<'a>, usize)> {
        let word = |at: usize| Some(u32::from_ne_bytes(*bytes.get(at..)?.first_chunk()?));
        let half = |at: usize| Some(u16::from_ne_bytes(*bytes.get(at..)?.first_chunk()?));
        let len = usize::try_from(word(0)?).ok().filter(|len| *len >= HEADER_BYTES)?;
        let message =
            Message { kind: half(4)?, flags: half(6)?, sequence: word(8)?, bytes: bytes.get(..len)? };
        Some((message, len.next_multiple_of(4)))
    }

    /// The message parsed, if it is of a known kind.
    pub(crate) fn parse(&self) -> Option<RouteNetlinkMessage> {
        match NetlinkMessage::deserialize(self.bytes).ok()?.payload {
            NetlinkPayload::InnerMessage(message) => Some(message),
            _ => None,
        }
    }

    /// The bytes after the header.
    pub(crate) fn payload(&self) -> &'a [u8] {
        self.bytes.get(HEADER_BYTES..).unwrap_or_default()
    }

    /// The error number of an `NLMSG_ERROR` or `NLMSG_DONE`, which is negative or 0.
    fn error(&self) -> io::Result<()> {
        let code = self.payload().first_chunk().map_or(0, |bytes| i32::from_ne_bytes(*bytes));
        if code < 0 { Err(io::Error::from_raw_os_error(-code)) } else { Ok(()) }
    }
}

/// A socket without a runtime: it stays in the network namespace in which it was opened.
#[derive(Debug)]
pub(crate) struct DetachedSocket(OwnedFd);

impl DetachedSocket {
    /// Opens one in the network namespace of the calling thread, on which the kernel reports changes of these
    /// groups.
    pub(crate) fn open(groups: &[MulticastGroup]) -> io::Result<DetachedSocket> {
        let flags = SockFlag::SOCK_NONBLOCK | SockFlag::SOCK_CLOEXEC;
        let fd = socket(AddressFamily::Netlink, SockType::Raw, flags, SockProtocol::NetlinkRoute)?;
        // Groups are counted from 1.
        let mask = groups.iter().fold(0, |mask, group| mask | 1 << (*group as u32 - 1));
        bind(fd.as_raw_fd(), &NetlinkAddr::new(0, mask))?;
        Ok(DetachedSocket(fd))
    }

    /// Hands the socket to the runtime that this is called in.
    pub(crate) fn into_socket(self) -> io::Result<Socket> {
        // To the runtime one socket of datagrams is as another.
        let socket = UnixDatagram::from_std(self.0.into())?;
        Ok(Socket { socket, buffer: vec![0; DATAGRAM_BYTES].into(), len: 0, taken: 0 })
    }
}

/// A netlink socket, and the datagram that was read last. Only the kernel, and programs that may administer
/// the network, can send to it (`netlink_allowed`).
pub(crate) struct Socket {
    socket: UnixDatagram,
    buffer: Box<[u8]>,
    /// Bytes of the datagram.
    len: usize,
    /// Bytes of it that were taken.
    taken: usize,
}

impl Socket {
    /// A socket on which the kernel reports changes, in the network namespace of the calling thread.
    pub(crate) fn subscribe(groups: &[MulticastGroup]) -> io::Result<Socket> {
        let DetachedSocket(fd) = DetachedSocket::open(groups)?;
        // Beyond the system's limit where we may; otherwise up to it, and what is lost is asked for again.
        if setsockopt(&fd, sockopt::RcvBufForce, &WAITING_BYTES).is_err() {
            let _ = setsockopt(&fd, sockopt::RcvBuf, &WAITING_BYTES);
        }
        DetachedSocket(fd).into_socket()
    }

    /// Requests a list, of both families or one; the messages of the answer have the number `sequence`.
    pub(crate) fn request(&self, list: List, family: u8, sequence: u32) -> io::Result<()> {
        let (kind, bytes) = list.request();
        let mut request = vec![0; HEADER_BYTES + bytes];
        let len = u32::try_from(request.len()).unwrap_or(0);
        request[..4].copy_from_slice(&len.to_ne_bytes());
        request[4..6].copy_from_slice(&kind.to_ne_bytes());
        request[6..8].copy_from_slice(&(NLM_F_REQUEST | NLM_F_DUMP).to_ne_bytes());
        request[8..12].copy_from_slice(&sequence.to_ne_bytes());
        request[HEADER_BYTES] = family;
        // The kernel takes a message at once, or not at all; without an address it goes to the kernel.
        send(self.socket.as_raw_fd(), &request, MsgFlags::empty())?;
        Ok(())
    }

    /// Reads the next datagram in place of the one before.
    pub(crate) async fn read(&mut self) -> io::Result<()> {
        (self.len, self.taken) = (0, 0);
        self.len = self.socket.recv(&mut self.buffer).await?;
        Ok(())
    }

    /// The next message of the datagram that was read.
    pub(crate) fn take(&mut self) -> Option<Message<'_>> {
        let (message, len) = Message::first(self.buffer.get(self.taken..self.len)?)?;
        self.taken += len;
        Some(message)
    }
}

/// Reads a list, of both families or one (`AF_...`), and shows each message of the answer. False if the list
/// changed while it was read, so that an entry may be missing or be there twice (`NLM_F_DUMP_INTR`).
///
/// # Errors
/// [`ListError`], one variant a step; the messages shown until then are a part of the answer.
pub(crate) async fn read_list(
    list: List,
    family: u8,
    mut show: impl FnMut(&Message<'_>),
) -> Result<bool, ListError> {
    const SEQUENCE: u32 = 1;
    let socket = DetachedSocket::open(&[]).and_then(DetachedSocket::into_socket);
    let mut socket = socket.map_err(ListError::Socket)?;
    socket.request(list, family, SEQUENCE).map_err(ListError::Send)?;
    let mut is_whole = true;
    loop {
        let read = tokio::time::timeout(ANSWER, socket.read()).await;
        read.map_err(|_| ListError::Late)?.map_err(ListError::Receive)?;
        while let Some(message) = socket.take() {
            if message.sequence != SEQUENCE {
                continue;
            }
            is_whole &= message.flags & NLM_F_DUMP_INTR == 0;
            match message.kind {
                DONE => return message.error().map(|()| is_whole).map_err(ListError::Refused),
                ERROR => message.error().map_err(ListError::Refused)?,
                _ => show(&message),
            }
        }
    }
}
