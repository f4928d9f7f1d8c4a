//! AF_XDP: frames are redirected before the kernel's own input path into memory that is ours, and what was received on
//! one port is sent on another from where it lies.
//!
//! All ports of a worker (which has a queue of its own of each interface) share one memory area. Each chunk of it has a home, the port in whose fill ring it goes. A
//! received frame is lent in its chunk; a [`XdpTx`] that finds the frame it is to send in the area takes it as it is and
//! marks the chunk as in flight, and the home port gives the chunk to the kernel again only when the frame's loan is over
//! and the mark is gone. Any other frame (one that the router made, a segment, one of another kind of port) is copied into
//! a chunk of the sending port's own.
//!
//! There is no metadata here: checksums are complete and no frame is larger than the MTU, both ways. So hosts have to
//! send complete frames (their links' offloads are off), and this is the mechanism for many small packets rather than
//! for bulk TCP. Frames other than IPv4, IPv6 and ARP are not ours to route, and pass on to the kernel.
//! Source: Documentation/networking/af_xdp.rst, net/xdp/xsk.c.

mod program;
mod receive;
pub(crate) mod ring;
mod transmit;

use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use arrayvec::ArrayVec;
use nsrouter_wire::frame::PortId;

pub use self::receive::XdpRx;
pub use self::transmit::XdpTx;

use self::program::{Redirect, redirect};
use self::receive::refill;
use self::transmit::Unsent;
use crate::port::BURST_FRAMES;
use crate::sys::bpf::set_xsk;
use crate::sys::socket::{self, Buffer};
use crate::sys::umem::{Area, Chunk};
use crate::sys::xdp::{self, Rings};

/// How xdp ports are set up; [`Settings::default`] is what measured best.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Entries of each ring, a power of two: frames that may wait for us. Where they hold less than a sender's TCP window,
    /// every window costs some retransmits.
    pub entries: u32,
    /// Frames that may be on their way out by one port, at most `entries`.
    pub in_flight: u32,
    /// Bytes that may be on their way out (`SO_SNDBUF`); without CAP_NET_ADMIN over the machine no more than
    /// `net.core.wmem_max`.
    pub send_buffer_bytes: u32,
}

impl Default for Settings {
    fn default() -> Self {
        Settings { entries: 8192, in_flight: 1024, send_buffer_bytes: 8 << 20 }
    }
}

/// An interface that is to be a port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Interface {
    /// Its index in the calling thread's network namespace.
    pub ifindex: u32,
    /// The port that it is to be.
    pub port: PortId,
    /// Its MTU in bytes.
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
        max: usize,
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
    #[error("cannot open an AF_XDP socket (it takes CAP_NET_RAW, and a kernel with CONFIG_XDP_SOCKETS): {0}")]
    Socket(#[source] io::Error),
    /// `XDP_UMEM_REG`.
    #[error("cannot register memory with an AF_XDP socket (is locked memory limited?): {0}")]
    Register(#[source] io::Error),
    /// Making or mapping the rings.
    #[error("cannot make AF_XDP rings of {entries} entries: {source}")]
    Rings {
        /// Entries asked for, each ring.
        entries: u32,
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
    #[error("cannot load the XDP program (it takes CAP_BPF over the whole machine): {0}")]
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
/// Chunks of each port for frames that have to be copied.
const COPIES: usize = 512;

/// Opens ports on the first `queues` queues of interfaces that have as many, in the network namespace of the calling
/// thread. The ports of one queue, which are next to each other in the result, share one memory area.
///
/// # Errors
/// [`OpenError`], one variant a step.
pub fn open(
    interfaces: &[Interface],
    queues: u32,
    settings: Settings,
) -> Result<Vec<Vec<(XdpRx, XdpTx)>>, OpenError> {
    let redirects: Vec<Redirect> =
        interfaces.iter().map(|interface| redirect(interface.ifindex, queues)).collect::<Result<_, _>>()?;
    (0..queues).map(|queue| open_queue(interfaces, &redirects, queue, settings)).collect()
}

fn open_queue(
    interfaces: &[Interface],
    redirects: &[Redirect],
    queue: u32,
    settings: Settings,
) -> Result<Vec<(XdpRx, XdpTx)>, OpenError> {
    let mtu = interfaces.iter().map(|interface| interface.mtu).max().unwrap_or(0);
    let chunk_bytes = chunk_bytes(mtu)?;
    // Enough that a port is never out of chunks, were all that may be on their way out by any port its own.
    let limit = settings.in_flight.min(settings.entries);
    let home = settings.entries as usize + limit as usize * interfaces.len();
    let chunks = (home + COPIES) * interfaces.len();
    let (area, mut pool) =
        Area::map(chunk_bytes, chunks).map_err(|source| OpenError::Area { chunks, source })?;
    let in_flight: Arc<[AtomicBool]> = (0..chunks).map(|_| AtomicBool::new(false)).collect();
    let mut first_socket: Option<Arc<OwnedFd>> = None;
    let mut ports = Vec::new();
    for (interface, redirect) in interfaces.iter().zip(redirects) {
        let fd = Arc::new(xdp::open().map_err(OpenError::Socket)?);
        if first_socket.is_none() {
            xdp::register(fd.as_fd(), &area).map_err(OpenError::Register)?;
        }
        let copies = pool.split_off(pool.len() - COPIES);
        let mut spare = pool.split_off(pool.len() - home);
        let first = spare.first().map_or(0, Chunk::index);
        let rings = xdp::rings(fd.as_fd(), settings.entries, first, home)
            .map_err(|source| OpenError::Rings { entries: settings.entries, source })?;
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
            away: VecDeque::with_capacity(home),
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
            limit,
            frame_bytes: interface.mtu as usize + LINK_BYTES,
            fd: Arc::clone(&fd),
        };
        first_socket.get_or_insert(fd);
        ports.push((receive, transmit));
    }
    Ok(ports)
}

fn chunk_bytes(mtu: u32) -> Result<usize, OpenError> {
    let frame = mtu as usize + LINK_BYTES;
    let max = CHUNK_BYTES[1] - HEADROOM_BYTES - LINK_BYTES;
    let fitting = CHUNK_BYTES.into_iter().find(|bytes| bytes - HEADROOM_BYTES >= frame);
    fitting.ok_or(OpenError::Mtu { mtu, max })
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
        assert_eq!(chunk_bytes(3822).ok(), Some(4096));
        assert!(matches!(chunk_bytes(3823), Err(OpenError::Mtu { mtu: 3823, max: 3822 })));
    }
}
