//! The XDP program that redirects a port's frames into our sockets, and its attachment to an interface.

use std::os::fd::OwnedFd;
use std::sync::Arc;

use super::OpenError;
use crate::sys::bpf::{
    self, Instruction, XDP_FLAGS_DRV_MODE, XDP_FLAGS_SKB_MODE, create_xsk_map, link_xdp, load_xdp,
};

/// The way from an interface into our sockets.
pub(super) struct Redirect {
    /// The socket of each queue.
    pub(super) map: OwnedFd,
    /// The attached program goes when nobody holds this any more.
    pub(super) link: Arc<OwnedFd>,
}

/// Attaches the program that redirects an interface's frames into the socket of their queue. Where there is none yet they
/// go to the kernel.
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

/// An ethertype as the program finds it in a frame: loaded as a number of this machine.
fn ethertype(number: u16) -> i32 {
    i32::from(u16::from_ne_bytes(number.to_be_bytes()))
}

/// IPv4, ARP and IPv6 go to the socket of their queue, everything else to the kernel.
fn redirect_program(map: i32) -> [Instruction; 18] {
    let op = Instruction::new;
    [
        op(0xbf, 6, 1, 0, 0),                 //      r6 = r1: struct xdp_md
        op(0x61, 2, 1, 0, 0),                 //      r2 = data
        op(0x61, 3, 1, 4, 0),                 //      r3 = data_end
        op(0xbf, 4, 2, 0, 0),                 //      r4 = r2
        op(0x07, 4, 0, 0, 14),                //      r4 += 14: an Ethernet header
        op(0x2d, 4, 3, 4, 0),                 //      if r4 > r3 goto pass
        op(0x69, 5, 2, 12, 0),                //      r5 = ethertype
        op(0x15, 5, 0, 4, ethertype(0x0800)), //      if r5 == IPv4 goto ours
        op(0x15, 5, 0, 3, ethertype(0x0806)), //      if r5 == ARP goto ours
        op(0x15, 5, 0, 2, ethertype(0x86dd)), //      if r5 == IPv6 goto ours
        Instruction::return_value(PASS),      // pass:
        Instruction::exit(),
        op(0x61, 2, 6, 16, 0),  // ours: r2 = rx_queue_index
        op(0x18, 1, 1, 0, map), //      r1 = map (two instructions long)
        op(0, 0, 0, 0, 0),
        op(0xb7, 3, 0, 0, PASS), //      r3 = what to do where there is no socket
        op(0x85, 0, 0, 0, REDIRECT_MAP), //      r0 = bpf_redirect_map(r1, r2, r3)
        Instruction::exit(),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_program_s_jumps_lead_where_they_should() {
        let program = redirect_program(7);
        let target = |at: usize| at + 1 + usize::try_from(program[at].offset).unwrap_or(usize::MAX);
        assert_eq!(target(5), 10, "too short: pass");
        assert!([7, 8, 9].map(target).iter().all(|at| *at == 12), "ours");
        assert_eq!(program[13].immediate, 7);
    }
}
