//! AF_XDP: an XDP program redirects frames, before the kernel's own input path, into memory of this process,
//! and a frame that was received on one port is sent on another from where it lies.
//!
//! Each worker has a queue of its own on every interface. Where a worker's ports are few they share one
//! memory area; where they are many each has its own (`plan.rs`). Each chunk of an area has a home: the port
//! in whose fill ring it goes. A received frame is lent in its chunk. An [`XdpTx`] that finds the frame it is
//! to send in its area sends it from there and marks the chunk as in flight; the home port gives the chunk to
//! the kernel again only when the frame's loan is over and the mark is gone. Any other frame (one that the
//! router made, a segment, one from another area) is copied into a chunk of the sending port's own.
//!
//! There is no offload metadata: checksums are complete and no frame is larger than the MTU, both ways. So
//! hosts have to send complete frames (their links' offloads are off), and this is the backend for many small
//! packets rather than for bulk TCP. Every frame comes here and none goes to the kernel; those that are not
//! the router's to forward are counted. Source: Documentation/networking/af_xdp.rst, net/xdp/xsk.c.

mod area;
mod chunk;
mod error;
mod plan;
mod program;
mod rx;
mod settings;
mod tx;

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;

pub use self::chunk::MAX_MTU;
pub use self::error::OpenError;
pub use self::rx::XdpRx;
pub use self::settings::Settings;
pub use self::tx::XdpTx;

use self::area::SharedArea;
use self::plan::Plan;
use self::program::{Redirect, redirect};
use crate::backend::{Backend, BackendError};
use crate::port::{BURST_FRAMES, Interface, QueuePair};
use crate::sys::bpf::{PASS, load_classifier, set_xsk};
use crate::sys::socket::{self, Buffer, Interfaces};
use crate::sys::xdp::area::{Area, Chunk};
use crate::sys::xdp::{self, Entries};

/// AF_XDP as a backend.
pub(crate) static BACKEND: Backend = Backend {
    name: "xdp",
    summary: "AF_XDP sockets on the router's veth ends; the hosts send complete frames no larger than the MTU",
    facility: "AF_XDP",
    requirements: "root over the machine (CAP_BPF) and a kernel with CONFIG_XDP_SOCKETS",
    automatic: Some("it carries small packets fastest"),
    complete_frames: true,
    interface_queues: true,
    // What the router owns is redirected before the kernel sees it.
    needs_guard: false,
    max_mtu: MAX_MTU,
    // Many small packets are lost where a worker waits its turn behind the programs that receive them.
    nice: Some(-20),
    probe: |ifindex| Ok(probe(ifindex)?),
    open: open_backend,
    open_device: None,
    // A socket a queue, and the program.
    descriptors: |ports, queues| (queues + 1) * ports,
    memory: Some(|mtus, queues| {
        let mtu = mtus.iter().copied().max().unwrap_or(0);
        Ok(Plan::new(mtus.len(), queues, mtu, Settings::default())?.demand())
    }),
};

/// Opens ports of the default size, sorted by interface.
fn open_backend(interfaces: &[Interface], queues: usize) -> Result<Vec<Vec<QueuePair>>, BackendError> {
    let mut ports: Vec<Vec<QueuePair>> = interfaces.iter().map(|_| Vec::new()).collect();
    for queue in open(interfaces, u32::try_from(queues)?, Settings::default())? {
        for (port, halves) in ports.iter_mut().zip(queue) {
            port.push(QueuePair::new(halves));
        }
    }
    Ok(ports)
}

/// Opens ports on the first `queues` queues of interfaces that have as many, in the network namespace of the
/// calling thread: for each queue the ports in the order of the interfaces.
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
        SharedArea::map(plan.chunk_bytes, chunks).map_err(|source| OpenError::Area { chunks, source })?;
    let entries = plan.entries();
    let mut first_socket: Option<Arc<OwnedFd>> = None;
    let mut ports = Vec::new();
    for (interface, redirect) in interfaces.iter().zip(redirects) {
        let fd = Arc::new(xdp::open().map_err(OpenError::Socket)?);
        if first_socket.is_none() {
            xdp::register(fd.as_fd(), area.area()).map_err(OpenError::Register)?;
        }
        let copies = pool.split_off(pool.len() - plan.copies);
        let home = pool.split_off(pool.len() - plan.home);
        let first = home.first().map_or(0, Chunk::index);
        let rings = xdp::rings(fd.as_fd(), entries, first, plan.home).map_err(|source| OpenError::Rings {
            rx: entries.rx,
            tx: entries.tx,
            source,
        })?;
        let shared = first_socket.as_ref().map(|first| first.as_fd());
        xdp::bind(fd.as_fd(), interface.ifindex, queue, shared)
            .map_err(|source| OpenError::Bind { ifindex: interface.ifindex, source })?;
        tune(fd.as_fd(), settings);
        let program = Arc::clone(&redirect.link);
        // It has its chunks before the first frame can come.
        let rx = XdpRx::new(interface.port, area.clone(), rings.rx, home, program, Arc::clone(&fd));
        set_xsk(&redirect.map, queue, &fd).map_err(OpenError::Program)?;
        let limit = u32::try_from(plan.in_flight).unwrap_or(u32::MAX);
        let link = tx::Link { ifindex: interface.ifindex, interfaces: Arc::clone(links) };
        let tx = XdpTx::new(area.clone(), (rings.tx, rings.completion), copies, limit, link, Arc::clone(&fd));
        first_socket.get_or_insert(fd);
        ports.push((rx, tx));
    }
    Ok(ports)
}

/// Sets options that make a socket faster, where they are supported.
fn tune(fd: BorrowedFd<'_>, settings: Settings) {
    // A kernel before 6.17 sends 32 frames a call whatever we ask for.
    let _ = xdp::set_send_budget(fd, u32::try_from(BURST_FRAMES).unwrap_or(32));
    socket::set_buffer(fd, Buffer::Send, settings.send_buffer_bytes);
}

/// Loads a program, makes an AF_XDP socket with a small memory area and binds it to queue 0 of an interface
/// in copy mode; all of it is gone on return.
fn probe(ifindex: u32) -> Result<(), OpenError> {
    load_classifier(&PASS).map_err(OpenError::Program)?;
    let fd = xdp::open().map_err(OpenError::Socket)?;
    let (area, chunks) = Area::map(4096, 16).map_err(|source| OpenError::Area { chunks: 16, source })?;
    xdp::register(fd.as_fd(), &area).map_err(OpenError::Register)?;
    let _rings = xdp::rings(fd.as_fd(), Entries { rx: 16, tx: 16 }, 0, chunks.len())
        .map_err(|source| OpenError::Rings { rx: 16, tx: 16, source })?;
    xdp::bind(fd.as_fd(), ifindex, 0, None).map_err(|source| OpenError::Bind { ifindex, source })
}
