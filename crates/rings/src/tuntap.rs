//! What TUN and TAP ports share: making a device, and frames with a virtio-net header before them, one a
//! system call.
//!
//! Source: drivers/net/tun.c, Documentation/networking/tuntap.rst.

use std::fs::{File, OpenOptions};
use std::io::{self, IoSlice, Write};
use std::os::fd::OwnedFd;
use std::os::unix::fs::OpenOptionsExt;

use nsrouter_wire::frame::{Frame, PortId};

use crate::limits::hint_of;
use crate::port::{Refusal, Sent, Unusable};
use crate::sys::tuntap;
use crate::vnet::{self, VNET_HEADER_BYTES};

/// Bytes that may be on their way into the host's stack (`TUNSETSNDBUF`).
const SEND_BUFFER_BYTES: libc::c_int = 8 << 20;
/// Opening a TAP port, or the host port, failed; one variant a step.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// /dev/net/tun.
    #[error(
        "cannot open /dev/net/tun ({hint}): {0}",
        hint = hint_of(.0, "it takes a kernel with CONFIG_TUN, and permission to open it")
    )]
    Open(#[source] io::Error),
    /// `TUNSETIFF`.
    #[error("cannot create the device {name} (it takes CAP_NET_ADMIN in its namespace): {source}")]
    Create {
        /// The interface's name.
        name: String,
        /// What the ioctl said.
        source: io::Error,
    },
    /// One of the ioctls that set it up.
    #[error("the kernel refuses {request} on a TUN or TAP device: {source}")]
    Option {
        /// The ioctl's name.
        request: &'static str,
        /// What it said.
        source: io::Error,
    },
    /// The file with the device's counters.
    #[error(
        "cannot open /proc/thread-self/net/dev ({hint}): {0}",
        hint = hint_of(.0, "it takes /proc")
    )]
    Counters(#[source] io::Error),
}

/// Makes a device of this kind (`IFF_TUN` or `IFF_TAP`), or another queue of it, whose frames have a
/// virtio-net header before them both ways; and whether it takes UDP GSO packets.
///
/// A device that may have several queues (`IFF_MULTI_QUEUE`) has 256 (`MAX_TAP_QUEUES`), whose queueing
/// disciplines take 25 MB of the kernel's memory and 40 ms to make, so it is one that may not, where one will
/// do.
pub(crate) fn open_device(name: &str, kind: libc::c_int) -> Result<(File, bool), OpenError> {
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .custom_flags(libc::O_NONBLOCK)
        .open("/dev/net/tun")
        .map_err(OpenError::Open)?;
    let fd = OwnedFd::from(file);
    let flags = kind | libc::IFF_NO_PI | libc::IFF_VNET_HDR;
    tuntap::create(&fd, name, flags).map_err(|source| OpenError::Create { name: name.to_owned(), source })?;
    let option = |request| move |source| OpenError::Option { request, source };
    let header_bytes = libc::c_int::try_from(VNET_HEADER_BYTES).unwrap_or(0);
    tuntap::set_vnet_header(&fd, header_bytes).map_err(option("TUNSETVNETHDRSZ"))?;
    let tcp = libc::TUN_F_CSUM | libc::TUN_F_TSO4 | libc::TUN_F_TSO6 | libc::TUN_F_TSO_ECN;
    // Kernels before 6.2 have no USO: the host then cuts its datagrams itself, and what we send it is cut
    // here.
    let uso = tuntap::set_offload(&fd, tcp | libc::TUN_F_USO4 | libc::TUN_F_USO6).is_ok();
    if !uso {
        tuntap::set_offload(&fd, tcp).map_err(option("TUNSETOFFLOAD"))?;
    }
    tuntap::set_send_buffer(&fd, SEND_BUFFER_BYTES).map_err(option("TUNSETSNDBUF"))?;
    Ok((File::from(fd), uso))
}

/// The frame that a read of `len` bytes put at `head` of a buffer, its virtio-net header before it.
///
/// # Errors
/// `TooBig` when the read filled the buffer: a longer frame is cut off at its end, and nothing tells of it but
/// this. `Unsupported` when the header is not there, or asks for what this router does not know.
#[inline]
pub(crate) fn frame_in(
    buffer: &mut [u8],
    head: usize,
    len: usize,
    port: PortId,
) -> Result<Frame<'_>, Unusable> {
    if head + len == buffer.len() + VNET_HEADER_BYTES {
        return Err(Unusable::TooBig);
    }
    let bytes = len.checked_sub(VNET_HEADER_BYTES).ok_or(Unusable::Unsupported)?;
    let offload = vnet::parse_before(buffer, head).ok_or(Unusable::Unsupported)?;
    Frame::new(buffer, head, bytes, port, offload).ok_or(Unusable::Unsupported)
}

/// Writes a frame with its virtio-net header, without waiting.
fn write(mut device: &File, frame: &mut Frame<'_>) -> io::Result<usize> {
    let header = vnet::emit(&frame.offload);
    let (buffer, head, len) = frame.buffer_mut();
    match head.checked_sub(VNET_HEADER_BYTES) {
        // One piece is cheaper than two.
        Some(start) => {
            buffer[start..head].copy_from_slice(&header);
            device.write(&buffer[start..head + len])
        }
        None => device.write_vectored(&[IoSlice::new(&header), IoSlice::new(&buffer[head..head + len])]),
    }
}

/// Writes the frames of a burst to a TUN or TAP device, one by one.
pub(crate) fn write_each(device: &File, frames: &mut [Frame<'_>]) -> Sent {
    let mut sent = Sent::default();
    for frame in frames {
        let outcome = loop {
            match write(device, frame) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                outcome => break outcome,
            }
        };
        match outcome {
            Ok(_) => sent.frames += 1,
            // The host has taken its interface down (tun_get_user).
            Err(error) if matches!(error.raw_os_error(), Some(libc::EIO | libc::EBADFD)) => {
                sent.refuse(Refusal::Down, frame.len());
            }
            Err(error) => sent.refuse(Refusal::from_error(&error), frame.len()),
        }
    }
    sent
}
