//! What can fail when xdp ports are opened.

use std::io;

use crate::limits::hint_of;

/// Opening xdp ports failed; one variant a step.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// An MTU whose frames fit no chunk.
    #[error("an MTU of {mtu} is more than the {max} that a frame in one AF_XDP chunk can have")]
    Mtu {
        /// The MTU asked for.
        mtu: u32,
        /// The largest possible one.
        max: u32,
    },
    /// The memory area.
    #[error("cannot map memory for {chunks} AF_XDP chunks: {source}")]
    Area {
        /// Chunks asked for.
        chunks: usize,
        /// What mmap said.
        source: io::Error,
    },
    /// `socket(AF_XDP)`.
    #[error(
        "cannot open an AF_XDP socket ({hint}): {0}",
        hint = hint_of(.0, "it takes CAP_NET_RAW, and a kernel with CONFIG_XDP_SOCKETS")
    )]
    Socket(#[source] io::Error),
    /// `XDP_UMEM_REG`.
    #[error("cannot register memory with an AF_XDP socket (is locked memory limited?): {0}")]
    Register(#[source] io::Error),
    /// Making or mapping the rings.
    #[error("cannot make AF_XDP rings of {rx} rx and {tx} tx entries: {source}")]
    Rings {
        /// Entries asked for, of the fill and the rx ring.
        rx: u32,
        /// Entries asked for, of the tx and the completion ring.
        tx: u32,
        /// What the system call said.
        source: io::Error,
    },
    /// Binding to the interface.
    #[error("cannot bind an AF_XDP socket to interface index {ifindex}: {source}")]
    Bind {
        /// The interface.
        ifindex: u32,
        /// What bind said.
        source: io::Error,
    },
    /// bpf(2): the map or the program.
    #[error(
        "cannot load the XDP program ({hint}): {0}",
        hint = hint_of(.0, "it takes CAP_BPF over the whole machine")
    )]
    Program(#[source] io::Error),
    /// Attaching the program, in the driver and behind it.
    #[error("cannot attach an XDP program to interface index {ifindex}: {source}")]
    Attach {
        /// The interface.
        ifindex: u32,
        /// What bpf(2) said.
        source: io::Error,
    },
}
