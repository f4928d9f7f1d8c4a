//! The host port: a TUN device whose other end is the router's own kernel, so that programs in the router's
//! namespace talk through the router like everybody else.
//!
//! A plain TUN without a virtio-net header: frames that leave by it must be complete and no larger than its MTU.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::sync::Arc;

use nsrouter_wire::frame::{Frame, PortId};
use nsrouter_wire::offload::Offload;
use tun_tap::{Iface, Mode};

use crate::port::{Burst, Capabilities, Receive, Received, Refusal, Sent, Transmit};
use crate::sys::tun::borrow;

/// Packets taken in one go. The host port is for pings and control traffic; bulk is not its purpose.
const BUFFERS: usize = 16;
/// Headroom for the Ethernet header that a packet gets when it leaves by a link.
const HEADROOM_BYTES: usize = 64;
/// The largest packet that a TUN device can hand over.
const PACKET_BYTES: usize = 65_535;

/// Opens a TUN device of this name in the network namespace of the calling thread.
///
/// # Errors
/// What opening /dev/net/tun or naming the device said: `ENOENT` or `EACCES` where the user may not open it.
pub fn open(name: &str) -> io::Result<(TunRx, TunTx)> {
    let device = Arc::new(Iface::without_packet_info(name, Mode::Tun)?);
    device.set_non_blocking()?;
    let buffers = (0..BUFFERS).map(|_| vec![0; HEADROOM_BYTES + PACKET_BYTES].into()).collect();
    Ok((TunRx { device: Arc::clone(&device), buffers }, TunTx { device }))
}

/// The receive half: what programs in the router's namespace send.
#[derive(Debug)]
pub struct TunRx {
    device: Arc<Iface>,
    buffers: Vec<Box<[u8]>>,
}

/// The transmit half: what is for programs in the router's namespace. Its clones write to the same device.
#[derive(Clone, Debug)]
pub struct TunTx {
    device: Arc<Iface>,
}

impl Receive for TunRx {
    fn recv<'r>(&'r mut self, max: usize, burst: &mut Burst<'r>) -> io::Result<Received> {
        let limit = max.min(burst.remaining_capacity());
        for buffer in self.buffers.iter_mut().take(limit) {
            match self.device.recv(&mut buffer[HEADROOM_BYTES..]) {
                Ok(len) => {
                    burst.extend(Frame::new(buffer, HEADROOM_BYTES, len, PortId::HOST, Offload::default()))
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => break,
                // What was read before the error is in the burst; the error will be there next time.
                Err(_) if !burst.is_empty() => break,
                Err(error) => return Err(error),
            }
        }
        Ok(Received::default())
    }

    fn fd(&self) -> BorrowedFd<'_> {
        borrow(&self.device, self.device.as_raw_fd())
    }

    fn looks_are_free(&self) -> bool {
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
        Capabilities { checksum: false, tso: false, uso: false }
    }

    fn send(&mut self, frames: &mut [Frame<'_>]) -> Sent {
        let mut sent = Sent::default();
        for frame in frames {
            match self.device.send(frame.data()) {
                Ok(_) => sent.frames += 1,
                Err(error) if error.raw_os_error() == Some(libc::EIO) => {
                    sent.refuse(Refusal::Down, frame.len())
                }
                Err(error) => sent.refuse(Refusal::from_error(&error), frame.len()),
            }
        }
        sent
    }
}
