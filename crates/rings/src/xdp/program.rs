//! The XDP program that redirects a port's frames into AF_XDP sockets, and its attachment to an interface.

use std::os::fd::OwnedFd;
use std::sync::Arc;

use crate::sys::bpf::{
    self, Instruction, XDP_FLAGS_DRV_MODE, XDP_FLAGS_SKB_MODE, create_xsk_map, link_xdp, load_xdp,
};
use crate::xdp::error::OpenError;

/// The redirection of an interface into AF_XDP sockets.
pub(super) struct Redirect {
    /// The socket of each queue.
    pub(super) map: OwnedFd,
    /// The attached program goes when nobody holds this any more.
    pub(super) link: Arc<OwnedFd>,
}

/// Attaches the program that redirects an interface's frames into the socket of their queue. Where there is
/// none yet they go to the kernel.
pub(super) fn redirect(ifindex: u32, queues: u32) -> Result<Redirect, OpenError> {
    let map = create_xsk_map(queues).map_err(OpenError::Program)?;
    let program = load_xdp(&redirect_program(bpf::immediate_fd(&map))).map_err(OpenError::Program)?;
    let link = link_xdp(&program, ifindex, XDP_FLAGS_DRV_MODE)
        .or_else(|_| link_xdp(&program, ifindex, XDP_FLAGS_SKB_MODE))
        .map_err(|source| OpenError::Attach { ifindex, source })?;
    Ok(Redirect { map, link: Arc::new(link) })
}

/// `XDP_PASS` (include/uapi/linux/bpf.h): the frame goes on into the kernel.
const PASS: i32 = 2;
/// `bpf_redirect_map()`.
const REDIRECT_MAP: i32 = 51;

/// Every frame goes to the socket of its queue: the router counts the frames that it does not forward, as over the
/// other backends, and a frame with a priority tag is forwarded.
///
/// A tag beside the frame (`skb->vlan_tci`) is not visible here, and is lost with a redirect. So the senders have to
/// put it into the frame themselves (`tx-vlan-hw-insert` off at the other end of a veth).
fn redirect_program(map: i32) -> [Instruction; 6] {
    let op = Instruction::new;
    [
        op(0x61, 2, 1, 16, 0),  //      r2 = rx_queue_index of r1: struct xdp_md
        op(0x18, 1, 1, 0, map), //      r1 = map (two instructions long)
        op(0, 0, 0, 0, 0),
        op(0xb7, 3, 0, 0, PASS), //      r3 = what to do where there is no socket
        op(0x85, 0, 0, 0, REDIRECT_MAP), //      r0 = bpf_redirect_map(r1, r2, r3)
        Instruction::exit(),
    ]
}
