//! What can fail when a packet port is opened.

use std::io;
use std::os::fd::BorrowedFd;

use crate::limits::hint_of;
use crate::sys::socket::{self, OptionValue};

/// Opening a packet port failed; one variant a step.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// `socket(AF_PACKET, SOCK_RAW)`.
    #[error(
        "cannot open a packet socket ({hint}): {0}",
        hint = hint_of(.0, "it takes CAP_NET_RAW in the router's namespace")
    )]
    Socket(#[source] io::Error),
    /// One of the socket options that the ring needs.
    #[error("the kernel refuses the packet socket option {option}: {source}")]
    Option {
        /// The option's name in packet(7).
        option: &'static str,
        /// What setsockopt said.
        source: io::Error,
    },
    /// `PACKET_RX_RING`.
    #[error("cannot make a receive ring of {slots} slots (is locked memory limited?): {source}")]
    Ring {
        /// Slots asked for.
        slots: u32,
        /// What setsockopt said.
        source: io::Error,
    },
    /// Mapping the ring.
    #[error("cannot map the receive ring: {0}")]
    Map(#[source] io::Error),
    /// Binding to the interface.
    #[error("cannot bind a packet socket to interface index {ifindex} (is it still there and up?): {source}")]
    Bind {
        /// The interface.
        ifindex: u32,
        /// What bind said.
        source: io::Error,
    },
    /// `PACKET_FANOUT`: several sockets that share an interface's frames.
    #[error("cannot share the frames of interface index {ifindex} among {queues} sockets: {source}")]
    Fanout {
        /// The interface.
        ifindex: u32,
        /// Sockets that were to share.
        queues: usize,
        /// What the system call said.
        source: io::Error,
    },
}

/// Sets a packet socket option, which is named in the error.
pub(super) fn set(
    fd: BorrowedFd<'_>,
    option: &'static str,
    name: libc::c_int,
    value: impl OptionValue,
) -> Result<(), OpenError> {
    socket::set_option(fd, libc::SOL_PACKET, name, value)
        .map_err(|source| OpenError::Option { option, source })
}
