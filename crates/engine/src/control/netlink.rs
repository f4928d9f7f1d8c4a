//! Netlink sockets (netlink(7)): one on which the kernel tells of changes, and a new one for every question.
//!
//! A question has a socket of its own, so a swarm of changes cannot crowd out its answer, no change is taken for a part of
//! it, and the kernel, which carries out one dump a socket, is never busy with another. The kernel answers as fast as
//! the answer is read, so silence means that the answer is lost: a question ends then, and is asked again.

use std::future::poll_fn;
use std::io;
use std::time::Duration;

use nix::sys::socket::{setsockopt, sockopt};
use rtnetlink::MulticastGroup;
use rtnetlink::packet_core::{NLM_F_DUMP, NLM_F_DUMP_INTR, NLM_F_REQUEST, NetlinkMessage, NetlinkPayload};
use rtnetlink::packet_route::RouteNetlinkMessage;
use rtnetlink::sys::protocols::NETLINK_ROUTE;
use rtnetlink::sys::{AsyncSocket, SocketAddr, TokioSocket};

/// Bytes of messages that may wait in the kernel: those of some 30,000 routes, which `ip -batch` writes in a tenth of a
/// second. Only used up while they wait.
const WAITING_BYTES: usize = 32 << 20;
/// The largest datagram: the kernel makes its answers of at most 32 KiB (netlink_dump(), net/netlink/af_netlink.c).
const DATAGRAM_BYTES: usize = 64 << 10;
/// How long a part of an answer may take.
const ANSWER: Duration = Duration::from_secs(2);
/// Bytes of a message's header (struct nlmsghdr, include/uapi/linux/netlink.h).
const HEADER_BYTES: usize = 16;
/// `NLMSG_ERROR`.
const ERROR: u16 = 2;
/// `NLMSG_DONE`.
const DONE: u16 = 3;

/// A list that can be asked for: the request's type and the bytes of its fixed part, of which the first is the address
/// family (include/uapi/linux/rtnetlink.h).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum List {
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

/// A question was not answered; one variant a step.
#[derive(Debug, thiserror::Error)]
pub(crate) enum QuestionError {
    /// Making the socket.
    #[error("no netlink socket can be made: {0}")]
    Socket(#[source] io::Error),
    /// Sending the question.
    #[error("the question cannot be sent: {0}")]
    Send(#[source] io::Error),
    /// Reading the answer.
    #[error("the answer cannot be read: {0}")]
    Receive(#[source] io::Error),
    /// The kernel said no.
    #[error("the kernel refuses: {0}")]
    Refused(#[source] io::Error),
    /// No more came.
    #[error("no answer came")]
    Late,
}

/// One message of a datagram.
#[derive(Clone, Copy, Debug)]
pub(super) struct Message<'a> {
    /// Its type (`RTM_...`).
    pub(super) kind: u16,
    /// `NLM_F_...`
    pub(super) flags: u16,
    sequence: u32,
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

    /// What the message says, if it is of a kind that is known.
    pub(super) fn parse(&self) -> Option<RouteNetlinkMessage> {
        match NetlinkMessage::deserialize(self.bytes).ok()?.payload {
            NetlinkPayload::InnerMessage(message) => Some(message),
            _ => None,
        }
    }

    /// What follows the header.
    pub(super) fn payload(&self) -> &'a [u8] {
        self.bytes.get(HEADER_BYTES..).unwrap_or_default()
    }

    /// The error number of an `NLMSG_ERROR` or `NLMSG_DONE`, which is negative or 0.
    fn error(&self) -> io::Result<()> {
        let code = self.payload().first_chunk().map_or(0, |bytes| i32::from_ne_bytes(*bytes));
        if code < 0 { Err(io::Error::from_raw_os_error(-code)) } else { Ok(()) }
    }
}

/// A netlink socket, and the datagram that was read last.
pub(super) struct Socket {
    socket: TokioSocket,
    datagram: Vec<u8>,
    /// Bytes of it that were taken.
    taken: usize,
}

impl Socket {
    fn open() -> io::Result<Socket> {
        let mut socket = TokioSocket::new(NETLINK_ROUTE)?;
        socket.socket_mut().bind_auto()?;
        Ok(Socket { socket, datagram: Vec::with_capacity(DATAGRAM_BYTES), taken: 0 })
    }

    /// A socket on which the kernel tells of changes. It is in the network namespace of the calling thread.
    pub(super) fn subscribe(groups: &[MulticastGroup]) -> io::Result<Socket> {
        let mut socket = Socket::open()?;
        let inner = socket.socket.socket_mut();
        // Beyond the system's limit where we may; otherwise up to it, and what is lost is asked for again.
        if setsockopt(inner, sockopt::RcvBufForce, &WAITING_BYTES).is_err() {
            let _ = setsockopt(inner, sockopt::RcvBuf, &WAITING_BYTES);
        }
        groups.iter().try_for_each(|group| inner.add_membership(*group as u32))?;
        Ok(socket)
    }

    /// Reads the next datagram in place of the one before. What is not the kernel's is left out.
    pub(super) async fn read(&mut self) -> io::Result<()> {
        self.datagram.clear();
        self.taken = 0;
        let Socket { socket, datagram, .. } = self;
        let sender = poll_fn(|context| socket.poll_recv_from(context, datagram)).await?;
        if sender.port_number() != 0 {
            self.datagram.clear();
        }
        Ok(())
    }

    /// The next message of the datagram that was read.
    pub(super) fn take(&mut self) -> Option<Message<'_>> {
        let (message, len) = Message::first(self.datagram.get(self.taken..)?)?;
        self.taken += len;
        Some(message)
    }
}

/// Asks for a list, both families' or one's (`AF_...`), and shows each message of the answer. False if the list changed while
/// it was read, so that something may be missing or be there twice (`NLM_F_DUMP_INTR`).
///
/// # Errors
/// [`QuestionError`], one variant a step; what was shown until then is a part of the answer.
pub(super) async fn ask(
    list: List,
    family: u8,
    mut show: impl FnMut(&Message<'_>),
) -> Result<bool, QuestionError> {
    const SEQUENCE: u32 = 1;
    let mut socket = Socket::open().map_err(QuestionError::Socket)?;
    let (kind, bytes) = list.request();
    let mut request = vec![0; HEADER_BYTES + bytes];
    let len = u32::try_from(request.len()).unwrap_or(0);
    request[..4].copy_from_slice(&len.to_ne_bytes());
    request[4..6].copy_from_slice(&kind.to_ne_bytes());
    request[6..8].copy_from_slice(&(NLM_F_REQUEST | NLM_F_DUMP).to_ne_bytes());
    request[8..12].copy_from_slice(&SEQUENCE.to_ne_bytes());
    request[HEADER_BYTES] = family;
    let kernel = SocketAddr::new(0, 0);
    poll_fn(|context| socket.socket.poll_send_to(context, &request, &kernel))
        .await
        .map_err(QuestionError::Send)?;
    let mut is_whole = true;
    loop {
        let read = tokio::time::timeout(ANSWER, socket.read()).await;
        read.map_err(|_| QuestionError::Late)?.map_err(QuestionError::Receive)?;
        while let Some(message) = socket.take() {
            if message.sequence != SEQUENCE {
                continue;
            }
            is_whole &= message.flags & NLM_F_DUMP_INTR == 0;
            match message.kind {
                DONE => return message.error().map(|()| is_whole).map_err(QuestionError::Refused),
                ERROR => message.error().map_err(QuestionError::Refused)?,
                _ => show(&message),
            }
        }
    }
}
