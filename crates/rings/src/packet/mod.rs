//! AF_PACKET: a TPACKET_V2 receive ring with small slots, and `sendmmsg` straight from the memory that the
//! frame lies in.
//!
//! A frame that fits into its slot is read and rewritten in place. A larger one (a GSO packet of up to 512
//! KiB) is marked `TP_STATUS_COPY` in ring order while its whole skb waits on the socket's receive queue; it
//! is fetched with `recvmmsg` into one of a few bounce buffers. So small packets cost no system call on the
//! way in, large ones do not spread over a huge ring, and the order is kept. Every COPY slot takes exactly
//! one message from the queue, or the two would slip against each other.
//!
//! TPACKET_V2 shows each frame at once; V3 holds blocks back for a timer. The virtio-net header
//! (`PACKET_VNET_HDR`) carries checksum and segmentation state both ways; it must be on before the ring is
//! made. Source: net/packet/af_packet.c, Documentation/networking/packet_mmap.rst.

mod bounce;
mod error;
mod rx;
mod settings;
mod slot;
mod tx;

use std::io;
use std::os::fd::BorrowedFd;

use nsrouter_wire::frame::PortId;

pub use self::error::OpenError;
pub use self::rx::PacketRx;
pub use self::settings::Settings;
pub use self::tx::PacketTx;

use crate::backend::{Backend, BackendError};
use crate::port::{Interface, QueuePair, Receive};
use crate::sys::socket;
use crate::{guard, parallel};

/// AF_PACKET as a backend.
pub(crate) static BACKEND: Backend = Backend {
    name: "packet",
    summary: "AF_PACKET rings on the router's veth ends: whole GSO packets, any user",
    facility: "AF_PACKET ring",
    requirements: "CAP_NET_RAW in the router's namespace and a kernel with CONFIG_PACKET",
    automatic: Some("it carries whole GSO packets, which xdp cannot"),
    complete_frames: false,
    interface_queues: false,
    needs_guard: true,
    max_mtu: u32::MAX,
    // GSO packets come in larger bursts, and faster, where a worker waits its turn behind the programs on its
    // CPU.
    nice: None,
    probe: |ifindex| {
        let settings = Settings { slots: 32, ..Settings::default() };
        Ok(open(ifindex, PortId(0), settings).map(drop)?)
    },
    open: open_backend,
    open_device: None,
    // A socket each way, and the guards.
    descriptors: |ports, queues| 2 * queues * ports + guard::descriptors(ports),
    memory: None,
};

/// Opens ports of the default size, several at once: binding each socket waits for an RCU grace period.
pub(crate) fn open_backend(
    interfaces: &[Interface],
    queues: usize,
) -> Result<Vec<Vec<QueuePair>>, BackendError> {
    let opened = parallel::map(interfaces, |interface| {
        open_queues(interface.ifindex, interface.port, Settings::default(), queues)
    });
    opened.into_iter().map(|port| Ok(port?.into_iter().map(QueuePair::new).collect())).collect()
}

/// Opens a port on interface `ifindex`, in the network namespace of the calling thread.
///
/// # Errors
/// [`OpenError`], one variant a step.
pub fn open(ifindex: u32, port: PortId, settings: Settings) -> Result<(PacketRx, PacketTx), OpenError> {
    let rx = PacketRx::open(port, settings)?;
    rx.bind(ifindex)?;
    Ok((rx, PacketTx::open(ifindex, settings)?))
}

/// Opens a port with `queues` pairs of halves that share its frames by flow: both directions of a flow, and
/// everything of it that is no fragment, come by the same one, in order.
///
/// What is a fragment is shared by its addresses alone. A queue that is closed leaves its flows to the
/// others.
///
/// # Errors
/// [`OpenError`], one variant a step.
pub fn open_queues(
    ifindex: u32,
    port: PortId,
    settings: Settings,
    queues: usize,
) -> Result<Vec<(PacketRx, PacketTx)>, OpenError> {
    if queues <= 1 {
        return Ok(vec![open(ifindex, port, settings)?]);
    }
    let opened: Vec<PacketRx> =
        (0..queues).map(|_| PacketRx::open(port, settings)).collect::<Result<_, _>>()?;
    let fanout = |source| OpenError::Fanout { ifindex, queues, source };
    let mut group = None;
    // A socket has to be bound before it can join. It receives nothing before all have joined, or each would
    // receive all.
    for rx in &opened {
        socket::attach_drop_filter(rx.fd()).map_err(fanout)?;
        rx.bind(ifindex)?;
        group = Some(join(rx.fd(), group).map_err(fanout)?);
    }
    for rx in &opened {
        socket::detach_filter(rx.fd()).map_err(fanout)?;
    }
    opened.into_iter().map(|rx| Ok((rx, PacketTx::open(ifindex, settings)?))).collect()
}

/// Joins a fanout group, or founds one that no other process can have the number of; returns its number.
///
/// The hash is of addresses, protocol and ports, and the same both ways (fanout_demux_hash,
/// __skb_get_hash_symmetric).
fn join(fd: BorrowedFd<'_>, group: Option<u32>) -> io::Result<u32> {
    let found = if group.is_none() { libc::PACKET_FANOUT_FLAG_UNIQUEID } else { 0 };
    let kind = libc::PACKET_FANOUT_HASH | libc::PACKET_FANOUT_FLAG_IGNORE_OUTGOING | found;
    socket::set_option(fd, libc::SOL_PACKET, libc::PACKET_FANOUT, group.unwrap_or(0) | kind << 16)?;
    // The number is in the lower half; what kind it is, in the upper.
    let told: u32 = socket::get_option(fd, libc::SOL_PACKET, libc::PACKET_FANOUT, 0)?;
    Ok(told & 0xffff)
}
