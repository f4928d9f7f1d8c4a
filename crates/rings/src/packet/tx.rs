//! The transmit half: `sendmmsg` from the memory that the frames lie in, with virtio-net headers.

use std::io;
use std::os::fd::{AsFd, OwnedFd};

use arrayvec::ArrayVec;
use nsrouter_wire::frame::Frame;

use crate::packet::error::{OpenError, set};
use crate::packet::settings::Settings;
use crate::port::{BURST_FRAMES, Capabilities, Refusal, Sent, Transmit};
use crate::sys::messages::{MAX_MESSAGES, send_each};
use crate::sys::socket::{self, Buffer};
use crate::vnet::{self, VNET_HEADER_BYTES};

// A burst is one system call.
const _: () = assert!(BURST_FRAMES <= MAX_MESSAGES);

/// The transmit half of a packet port.
#[derive(Debug)]
pub struct PacketTx {
    fd: OwnedFd,
}

impl PacketTx {
    /// Opens a socket that sends by this interface and receives nothing.
    pub(super) fn open(ifindex: u32, settings: Settings) -> Result<PacketTx, OpenError> {
        let fd = socket::open(libc::AF_PACKET, libc::SOCK_RAW, 0).map_err(OpenError::Socket)?;
        let descriptor = fd.as_fd();
        set(descriptor, "PACKET_VNET_HDR", libc::PACKET_VNET_HDR, 1)?;
        socket::set_buffer(descriptor, Buffer::Send, settings.send_buffer_bytes);
        socket::bind_packet(descriptor, ifindex, 0).map_err(|source| OpenError::Bind { ifindex, source })?;
        Ok(PacketTx { fd })
    }
}

impl Transmit for PacketTx {
    fn capabilities(&self) -> Capabilities {
        // The kernel does in software what the interface does not.
        Capabilities { checksum: true, tso: true, uso: true }
    }

    fn send(&mut self, frames: &mut [Frame<'_>]) -> Sent {
        let mut sent = Sent::default();
        for batch in frames.chunks(BURST_FRAMES) {
            let headers: ArrayVec<[u8; VNET_HEADER_BYTES], BURST_FRAMES> =
                batch.iter().map(|frame| vnet::emit(&frame.offload)).collect();
            let mut done = 0;
            while done < batch.len() {
                let rest = headers[done..]
                    .iter()
                    .zip(&batch[done..])
                    .map(|(header, frame)| (&header[..], frame.data()));
                match send_each(self.fd.as_fd(), rest) {
                    Ok(count) if count > 0 => {
                        sent.frames += count as u64;
                        done += count;
                    }
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                    outcome => {
                        let refusal =
                            outcome.map_or_else(|error| Refusal::from_error(&error), |_| Refusal::Error);
                        sent.refuse(refusal, batch[done].len());
                        done += 1;
                    }
                }
            }
        }
        sent
    }
}
