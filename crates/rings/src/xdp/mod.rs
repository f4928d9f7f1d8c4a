//! AF_XDP: frames are redirected before the kernel's own input path into memory that is ours, and what was received on
//! one port is sent on another from where it lies.
//!
//! The ports of a worker (which has a queue of its own of each interface) share one memory area where they are few; each of
//! many has its own ([`Plan`]). Each chunk of it has a home, the port in whose fill ring it goes. A
//! received frame is lent in its chunk; a [`XdpTx`] that finds the frame it is to send in its area takes it as it is and
//! marks the chunk as in flight, and the home port gives the chunk to the kernel again only when the frame's loan is over
//! and the mark is gone. Any other frame (one that the router made, a segment, one from another area) is copied into
//! a chunk of the sending port's own.
//!
//! There is no metadata here: checksums are complete and no frame is larger than the MTU, both ways. So hosts have to
//! send complete frames (their links' offloads are off), and this is the mechanism for many small packets rather than
//! for bulk TCP. Every frame comes here, and none to the kernel: those that are not ours to route are counted.
//! Source: Documentation/networking/af_xdp.rst, net/xdp/xsk.c.

mod plan;
mod program;
mod rx;

mod tx;

use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use arrayvec::ArrayVec;
use nsrouter_wire::frame::PortId;

pub use self::plan::{Demand, Plan};
pub use self::rx::XdpRx;
pub use self::tx::XdpTx;

use self::program::{Redirect, redirect};
use self::rx::refill;
use self::tx::Unsent;
use crate::limits::way_out;
use crate::port::BURST_FRAMES;
use crate::sys::bpf::set_xsk;
use crate::sys::socket::{self, Buffer, Interfaces};
use crate::sys::xdp::area::{Area, Chunk};
use crate::sys::xdp::{self, Rings};

/// How xdp ports are set up; [`Settings::default`] is what measured best.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Frames that may wait at a port, at most. Where it holds less than a sender's TCP window, every window costs some
    /// retransmits.
    pub frames: u32,
    /// Frames that may be on their way out by one port, at most.
    pub in_flight: u32,
    /// Memory of one queue of a port, at most, in bytes: this process's and the kernel's.
    pub port_bytes: usize,
    /// Memory of all ports and queues of a router, in bytes, as long as each can do with its share of it.
    pub router_bytes: usize,
    /// Bytes that may be on their way out (`SO_SNDBUF`); without CAP_NET_ADMIN over the machine no more than
    /// `net.core.wmem_max`.
    pub send_buffer_bytes: u32,
}

impl Default for Settings {
    fn default() -> Self {
        Settings {
            frames: 8192,
            in_flight: 1024,
            port_bytes: 16 << 20,
            router_bytes: 512 << 20,
            send_buffer_bytes: 8 << 20,
        }
    }
}

/// An interface that is to be a port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Interface {
    /// Its index in the calling thread's network namespace.
    pub ifindex: u32,
    /// The port that it is to be.
    pub port: PortId,
    /// Its MTU in bytes. It may be raised later as far as a chunk has room ([`crate::port::Transmit::max_mtu`]).
    pub mtu: u32,
}

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
        hint = way_out(.0, "it takes CAP_NET_RAW, and a kernel with CONFIG_XDP_SOCKETS")
    )]
    Socket(#[source] io::Error),
    /// `XDP_UMEM_REG`.
    #[error("cannot register memory with an AF_XDP socket (is locked memory limited?): {0}")]
    Register(#[source] io::Error),
    /// Making or mapping the rings.
    #[error("cannot make AF_XDP rings of {inbound} entries in and {outbound} out: {source}")]
    Rings {
        /// Entries asked for, of the fill and the rx ring.
        inbound: u32,
        /// Entries asked for, of the tx and the completion ring.
        outbound: u32,
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
        hint = way_out(.0, "it takes CAP_BPF over the whole machine")
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

/// Bytes that the kernel leaves free in front of a frame (`XDP_PACKET_HEADROOM`).
const HEADROOM_BYTES: usize = 256;
/// Ethernet header and a VLAN tag.
const LINK_BYTES: usize = 18;
/// Chunk sizes that the kernel takes, smaller first.
const CHUNK_BYTES: [usize; 2] = [2048, 4096];
/// The largest MTU of an xdp port: its frames fit the largest chunk.
pub const MAX_MTU: u32 = 4096 - 256 - 18;

/// Opens ports on the first `queues` queues of interfaces that have as many, in the network namespace of the calling
/// thread: for each queue the ports in the order of the interfaces.
///
/// # Errors
/// [`OpenError`], one variant a step.
pub fn open(
    interfaces: &[Interface],
    queues: u32,
    settings: Settings,
) -> Result<Vec<Vec<(XdpRx, XdpTx)>>, OpenError> {
    let mtu = interfaces.iter().map(|interface| interface.mtu).max().unwrap_or(0);
    let plan = Plan::new(interfaces.len(), queues as usize, mtu, settings)?;
    let redirects: Vec<Redirect> =
        interfaces.iter().map(|interface| redirect(interface.ifindex, queues)).collect::<Result<_, _>>()?;
    let links = Arc::new(Interfaces::open().map_err(OpenError::Socket)?);
    let open_queue = |queue| {
        let mut ports = Vec::new();
        for (interfaces, redirects) in interfaces.chunks(plan.shared).zip(redirects.chunks(plan.shared)) {
            ports.extend(open_area(interfaces, redirects, &links, queue, &plan, settings)?);
        }
        Ok(ports)
    };
    (0..queues).map(open_queue).collect()
}

/// Opens one queue of ports that share an area.
fn open_area(
    interfaces: &[Interface],
    redirects: &[Redirect],
    links: &Arc<Interfaces>,
    queue: u32,
    plan: &Plan,
    settings: Settings,
) -> Result<Vec<(XdpRx, XdpTx)>, OpenError> {
    let chunks = (plan.home + plan.copies) * interfaces.len();
    let (area, mut pool) =
        Area::map(plan.chunk_bytes, chunks).map_err(|source| OpenError::Area { chunks, source })?;
    let in_flight: Arc<[AtomicBool]> = (0..chunks).map(|_| AtomicBool::new(false)).collect();
    let mut first_socket: Option<Arc<OwnedFd>> = None;
    let mut ports = Vec::new();
    for (interface, redirect) in interfaces.iter().zip(redirects) {
        let fd = Arc::new(xdp::open().map_err(OpenError::Socket)?);
        if first_socket.is_none() {
            xdp::register(fd.as_fd(), &area).map_err(OpenError::Register)?;
        }
        let copies = pool.split_off(pool.len() - plan.copies);
        let mut spare = pool.split_off(pool.len() - plan.home);
        let first = spare.first().map_or(0, Chunk::index);
        let (inbound, outbound) = (plan.inbound_entries(), plan.outbound_entries());
        let rings = xdp::rings(fd.as_fd(), inbound, outbound, first, plan.home)
            .map_err(|source| OpenError::Rings { inbound, outbound, source })?;
        let Rings { mut inbound, transmit, completion } = rings;
        let shared = first_socket.as_ref().map(|first| first.as_fd());
        xdp::bind(fd.as_fd(), interface.ifindex, queue, shared)
            .map_err(|source| OpenError::Bind { ifindex: interface.ifindex, source })?;
        tune(fd.as_fd(), settings);
        // Before the first frame can come.
        refill(&mut inbound, &mut spare);
        set_xsk(&redirect.map, queue, &fd).map_err(OpenError::Program)?;
        let receive = XdpRx {
            port: interface.port,
            _redirect: Arc::clone(&redirect.link),
            area: Arc::clone(&area),
            inbound,
            in_flight: Arc::clone(&in_flight),
            lent: ArrayVec::new(),
            away: VecDeque::with_capacity(plan.home),
            spare,
            lost_before: 0,
            fd: Arc::clone(&fd),
        };
        let transmit = XdpTx {
            area: Arc::clone(&area),
            ring: transmit,
            completion,
            in_flight: Arc::clone(&in_flight),
            first_copy: copies.first().map_or(0, Chunk::index),
            away: copies.iter().map(|_| None).collect(),
            copies,
            unsent: Unsent::default(),
            outstanding: 0,
            limit: u32::try_from(plan.in_flight).unwrap_or(u32::MAX),
            frame_bytes: plan.chunk_bytes - HEADROOM_BYTES,
            ifindex: interface.ifindex,
            interfaces: Arc::clone(links),
            fd: Arc::clone(&fd),
        };
        first_socket.get_or_insert(fd);
        ports.push((receive, transmit));
    }
    Ok(ports)
}

fn chunk_bytes(mtu: u32) -> Result<usize, OpenError> {
    let frame = mtu as usize + LINK_BYTES;
    let fitting = CHUNK_BYTES.into_iter().find(|bytes| bytes - HEADROOM_BYTES >= frame);
    fitting.ok_or(OpenError::Mtu { mtu, max: MAX_MTU })
}

/// What makes a socket faster, but is not to be had everywhere.
fn tune(fd: BorrowedFd<'_>, settings: Settings) {
    // A kernel before 6.17 sends 32 frames a call whatever we ask for.
    let _ = xdp::set_send_budget(fd, u32::try_from(BURST_FRAMES).unwrap_or(32));
    socket::set_buffer(fd, Buffer::Send, settings.send_buffer_bytes);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_of_an_mtu_fit_their_chunk() {
        assert_eq!(chunk_bytes(1500).ok(), Some(2048));
        assert_eq!(chunk_bytes(1774).ok(), Some(2048));
        assert_eq!(chunk_bytes(1775).ok(), Some(4096));
        assert_eq!(chunk_bytes(MAX_MTU).ok(), Some(4096));
        assert!(matches!(chunk_bytes(3823), Err(OpenError::Mtu { mtu: 3823, max: 3822 })));
    }
}
