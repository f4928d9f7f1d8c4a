//! `sendmmsg` and `recvmmsg` over buffers that were set up once: no allocation a call.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};

use libc::{c_int, c_uint, iovec, mmsghdr};

/// Messages in one call, at most.
pub(crate) const MAX_MESSAGES: usize = 64;

/// What one message brought.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Arrived {
    /// Bytes written into the buffer.
    pub(crate) bytes: usize,
    /// The message was longer than the buffer.
    pub(crate) truncated: bool,
}

fn empty_message() -> mmsghdr {
    // SAFETY: all zero is a valid mmsghdr: no name, no buffers, no control data.
    unsafe { std::mem::zeroed() }
}

fn io_vector(base: *mut u8, bytes: usize) -> iovec {
    iovec { iov_base: base.cast(), iov_len: bytes }
}

/// Receives one message into each of `buffers` without waiting; returns how many came.
pub(crate) fn receive_each<'b>(
    fd: BorrowedFd<'_>,
    buffers: impl Iterator<Item = &'b mut [u8]>,
    arrived: &mut [Arrived],
) -> io::Result<usize> {
    let mut vectors = [const { iovec { iov_base: std::ptr::null_mut(), iov_len: 0 } }; MAX_MESSAGES];
    let mut messages: [mmsghdr; MAX_MESSAGES] = std::array::from_fn(|_| empty_message());
    let mut count = 0;
    for buffer in buffers.take(arrived.len().min(MAX_MESSAGES)) {
        vectors[count] = io_vector(buffer.as_mut_ptr(), buffer.len());
        messages[count].msg_hdr.msg_iov = &raw mut vectors[count];
        messages[count].msg_hdr.msg_iovlen = 1;
        count += 1;
    }
    // SAFETY: the first `count` headers each point at one vector in `vectors`, which points at a buffer
    // that is exclusively borrowed for this call; the kernel writes no further than their lengths.
    let got = unsafe {
        libc::recvmmsg(
            fd.as_raw_fd(),
            messages.as_mut_ptr(),
            c_uint::try_from(count).unwrap_or(0),
            libc::MSG_DONTWAIT,
            std::ptr::null_mut(),
        )
    };
    let got = usize::try_from(got).map_err(|_| io::Error::last_os_error())?;
    for (slot, message) in arrived.iter_mut().zip(&messages[..got]) {
        *slot = Arrived {
            bytes: usize::try_from(message.msg_len).unwrap_or(0),
            truncated: message.msg_hdr.msg_flags & libc::MSG_TRUNC != 0,
        };
    }
    Ok(got)
}

/// Sends each pair of a header and a frame as one message, without waiting.
///
/// Returns how many of the first [`MAX_MESSAGES`] were sent. A number smaller than asked for means that the
/// next one failed: only another call, which begins with it, says why (`sendmmsg(2)`, BUGS).
pub(crate) fn send_each<'f>(
    fd: BorrowedFd<'_>,
    frames: impl Iterator<Item = (&'f [u8], &'f [u8])>,
) -> io::Result<usize> {
    let mut vectors = [const { [iovec { iov_base: std::ptr::null_mut(), iov_len: 0 }; 2] }; MAX_MESSAGES];
    let mut messages: [mmsghdr; MAX_MESSAGES] = std::array::from_fn(|_| empty_message());
    let mut count = 0;
    for (header, data) in frames.take(MAX_MESSAGES) {
        // The type of a vector serves both ways; a send does not write.
        vectors[count] = [
            io_vector(header.as_ptr().cast_mut(), header.len()),
            io_vector(data.as_ptr().cast_mut(), data.len()),
        ];
        messages[count].msg_hdr.msg_iov = vectors[count].as_mut_ptr();
        messages[count].msg_hdr.msg_iovlen = 2;
        count += 1;
    }
    // SAFETY: the first `count` headers each point at two vectors in `vectors`, which point at slices that
    // are borrowed for this call; a send only reads them.
    let sent: c_int = unsafe {
        libc::sendmmsg(
            fd.as_raw_fd(),
            messages.as_mut_ptr(),
            c_uint::try_from(count).unwrap_or(0),
            libc::MSG_DONTWAIT,
        )
    };
    usize::try_from(sent).map_err(|_| io::Error::last_os_error())
}
