//! AF_XDP socket set-up (include/uapi/linux/if_xdp.h, net/xdp/xsk.c).

use std::io;
use std::os::fd::{AsFd, AsRawFd};
use std::ptr::NonNull;

use crate::sys::socket;

/// Chunks of a user-memory area and their size in bytes.
const CHUNKS: usize = 16;
const CHUNK_BYTES: usize = 4096;

struct Area(NonNull<libc::c_void>);

impl Drop for Area {
    fn drop(&mut self) {
        // SAFETY: the mapping that `try_bind` made, unmapped once.
        unsafe { libc::munmap(self.0.as_ptr(), CHUNKS * CHUNK_BYTES) };
    }
}

// SAFETY: a structure of integers.
unsafe impl socket::OptionValue for libc::xdp_umem_reg {}

/// Makes an AF_XDP socket with a small memory area and binds it to queue 0 in copy mode, then closes it.
pub(crate) fn try_bind(ifindex: u32) -> io::Result<()> {
    let fd = socket::open(libc::AF_XDP, libc::SOCK_RAW, 0)?;
    // SAFETY: a fresh anonymous mapping; its failure is checked.
    let base = unsafe {
        libc::mmap(
            std::ptr::null_mut(),
            CHUNKS * CHUNK_BYTES,
            libc::PROT_READ | libc::PROT_WRITE,
            libc::MAP_PRIVATE | libc::MAP_ANONYMOUS,
            -1,
            0,
        )
    };
    if base == libc::MAP_FAILED {
        return Err(io::Error::last_os_error());
    }
    let area = Area(NonNull::new(base).ok_or_else(|| io::Error::from_raw_os_error(libc::ENOMEM))?);
    // SAFETY: all zero is a valid xdp_umem_reg.
    let mut register: libc::xdp_umem_reg = unsafe { std::mem::zeroed() };
    register.addr = area.0.as_ptr() as u64;
    register.len = (CHUNKS * CHUNK_BYTES) as u64;
    register.chunk_size = u32::try_from(CHUNK_BYTES).unwrap_or(u32::MAX);
    socket::set_option(fd.as_fd(), libc::SOL_XDP, libc::XDP_UMEM_REG, register)?;
    for ring in [libc::XDP_UMEM_FILL_RING, libc::XDP_UMEM_COMPLETION_RING, libc::XDP_RX_RING] {
        socket::set_option(fd.as_fd(), libc::SOL_XDP, ring, 16u32)?;
    }
    // SAFETY: all zero is a valid sockaddr_xdp.
    let mut address: libc::sockaddr_xdp = unsafe { std::mem::zeroed() };
    address.sxdp_family = u16::try_from(libc::AF_XDP).unwrap_or(0);
    address.sxdp_flags = libc::XDP_COPY;
    address.sxdp_ifindex = ifindex;
    let length = libc::socklen_t::try_from(size_of::<libc::sockaddr_xdp>()).unwrap_or(0);
    // SAFETY: the pointer is to a live sockaddr_xdp of the stated length.
    let rc = unsafe { libc::bind(fd.as_raw_fd(), (&raw const address).cast(), length) };
    let outcome = if rc < 0 { Err(io::Error::last_os_error()) } else { Ok(()) };
    // The socket goes before the memory that it uses.
    drop(fd);
    drop(area);
    outcome
}
