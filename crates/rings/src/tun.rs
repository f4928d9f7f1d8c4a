//! The host port: a TUN device whose other end is the router's own kernel, so that programs in the router's
//! namespace talk through the router like everybody else.
//!
//! As with a TAP device each packet has a virtio-net header before it, so what TCP sends to and from the
//! router's programs passes as GSO packets, and nobody cuts them.

use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;

use nsrouter_wire::frame::{Frame, PortId};

use crate::port::{Burst, Capabilities, Receive, Received, Sent, Transmit};
use crate::tuntap::{OpenError, frame_in, open_device, write_each};
use crate::vnet::VNET_HEADER_BYTES;

/// Packets taken in one go. The host port is for pings and control traffic; bulk is not its purpose.
const BUFFERS: usize = 16;
/// Before the packet: its virtio-net header, in whose place comes the Ethernet header of a packet that leaves
/// by a link, and the virtio-net header for that.
const HEADROOM_BYTES: usize = 64;
/// The largest GSO packet by default (GSO_LEGACY_MAX_SIZE), which a TUN device does not go beyond, and a byte
/// more, so that a buffer that is filled to its end tells of a larger one.
const PACKET_BYTES: usize = 65_536 + 1;

/// Opens a TUN device of this name in the network namespace of the calling thread.
///
/// # Errors
/// [`OpenError`], one variant a step; most often /dev/net/tun is not there or the user may not open it.
pub fn open(name: &str) -> Result<(TunRx, TunTx), OpenError> {
    let (device, uso) = open_device(name, libc::IFF_TUN)?;
    let device = Arc::new(device);
    let buffers = (0..BUFFERS).map(|_| vec![0; HEADROOM_BYTES + PACKET_BYTES].into()).collect();
    Ok((TunRx { device: Arc::clone(&device), buffers }, TunTx { device, uso }))
}

/// The receive half: what programs in the router's namespace send.
#[derive(Debug)]
pub struct TunRx {
    device: Arc<File>,
    buffers: Vec<Box<[u8]>>,
}

/// The transmit half: what is for programs in the router's namespace. Its clones write to the same device.
#[derive(Clone, Debug)]
pub struct TunTx {
    device: Arc<File>,
    uso: bool,
}

impl Receive for TunRx {
    fn recv<'r>(&'r mut self, max: usize, burst: &mut Burst<'r>) -> io::Result<Received> {
        let mut received = Received::default();
        let limit = max.min(burst.remaining_capacity());
        for buffer in self.buffers.iter_mut().take(limit) {
            let start = HEADROOM_BYTES - VNET_HEADER_BYTES;
            match (&*self.device).read(&mut buffer[start..]) {
                Ok(len) => received.lend(frame_in(buffer, HEADROOM_BYTES, len, PortId::HOST), burst),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => break,
                // What was read before the error is in the burst; the error will be there next time.
                Err(_) if !burst.is_empty() => break,
                Err(error) => return Err(error),
            }
        }
        Ok(received)
    }

    fn fd(&self) -> BorrowedFd<'_> {
        self.device.as_fd()
    }

    fn polls_without_syscall(&self) -> bool {
        false
    }

    fn take_error(&mut self) -> io::Result<()> {
        // A TUN device tells of its end when it is read.
        Err(io::Error::from_raw_os_error(libc::ENETDOWN))
    }

    fn take_lost_frames(&mut self) -> u64 {
        0
    }
}

impl Transmit for TunTx {
    fn capabilities(&self) -> Capabilities {
        Capabilities { checksum: true, tso: true, uso: self.uso }
    }

    fn send(&mut self, frames: &mut [Frame<'_>]) -> Sent {
        write_each(&self.device, frames)
    }
}
