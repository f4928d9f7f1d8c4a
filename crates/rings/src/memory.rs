//! A ring in this process's own memory, for tests and benchmarks: no kernel, no privileges.

use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::{Arc, Mutex, PoisonError};

use nsrouter_wire::frame::{Frame, PortId};
use nsrouter_wire::offload::Offload;

use crate::port::{Burst, Capabilities, Receive, Received, Refusal, Sent, Transmit};

/// Bytes of headroom before each lent frame.
const HEADROOM_BYTES: usize = 128;

/// A frame with the metadata that travels beside it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stored {
    /// The bytes from the Ethernet header on (IP header on a host port).
    pub bytes: Vec<u8>,
    /// Its offload metadata.
    pub offload: Offload,
}

type Queue = VecDeque<Stored>;

/// The far end of a memory port: sends frames to it, and takes those that it sent.
#[derive(Debug)]
pub struct Wire {
    inbound: Arc<Mutex<Queue>>,
    outbound: Arc<Mutex<Queue>>,
    signal: OwnedFd,
}

/// The receive half of a memory port.
#[derive(Debug)]
pub struct MemoryRx {
    port: PortId,
    inbound: Arc<Mutex<Queue>>,
    readable: OwnedFd,
    lent: Vec<(Vec<u8>, Offload)>,
}

/// The transmit half of a memory port, with room for `capacity` frames.
#[derive(Debug)]
pub struct MemoryTx {
    outbound: Arc<Mutex<Queue>>,
    capacity: usize,
    capabilities: Capabilities,
}

fn lock(queue: &Mutex<Queue>) -> std::sync::MutexGuard<'_, Queue> {
    queue.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Makes a memory port whose outbound queue holds `capacity` frames.
///
/// # Errors
/// That of pipe2(2).
pub fn port(
    port: PortId,
    capacity: usize,
    capabilities: Capabilities,
) -> io::Result<(MemoryRx, MemoryTx, Wire)> {
    let (readable, signal) =
        nix::unistd::pipe2(nix::fcntl::OFlag::O_NONBLOCK | nix::fcntl::OFlag::O_CLOEXEC)?;
    let inbound = Arc::new(Mutex::new(Queue::default()));
    let outbound = Arc::new(Mutex::new(Queue::default()));
    Ok((
        MemoryRx { port, inbound: Arc::clone(&inbound), readable, lent: Vec::new() },
        MemoryTx { outbound: Arc::clone(&outbound), capacity, capabilities },
        Wire { inbound, outbound, signal },
    ))
}

impl Wire {
    /// Puts a frame on the wire towards the port.
    pub fn put(&self, frame: Stored) {
        lock(&self.inbound).push_back(frame);
        // The pipe only has to be readable; a full one already is.
        let _ = nix::unistd::write(&self.signal, &[0]);
    }

    /// Takes the oldest frame that the port sent.
    pub fn take(&self) -> Option<Stored> {
        lock(&self.outbound).pop_front()
    }
}

impl Receive for MemoryRx {
    fn recv<'r>(&'r mut self, max: usize, burst: &mut Burst<'r>) -> io::Result<Received> {
        self.lent.clear();
        let mut drained = [0; 256];
        while nix::unistd::read(&self.readable, &mut drained).is_ok_and(|n| n == drained.len()) {}
        {
            let mut queue = lock(&self.inbound);
            while self.lent.len() < max.min(burst.remaining_capacity()) {
                let Some(stored) = queue.pop_front() else { break };
                let mut buffer = vec![0; HEADROOM_BYTES + stored.bytes.len()];
                buffer[HEADROOM_BYTES..].copy_from_slice(&stored.bytes);
                self.lent.push((buffer, stored.offload));
            }
        }
        for (buffer, offload) in &mut self.lent {
            let len = buffer.len() - HEADROOM_BYTES;
            if let Some(frame) = Frame::new(buffer, HEADROOM_BYTES, len, self.port, *offload) {
                burst.push(frame);
            }
        }
        Ok(Received::default())
    }

    fn fd(&self) -> BorrowedFd<'_> {
        self.readable.as_fd()
    }

    fn polls_without_syscall(&self) -> bool {
        true
    }

    fn take_error(&mut self) -> io::Result<()> {
        Ok(())
    }

    fn take_lost_frames(&mut self) -> u64 {
        0
    }
}

impl Transmit for MemoryTx {
    fn capabilities(&self) -> Capabilities {
        self.capabilities
    }

    fn send(&mut self, frames: &mut [Frame<'_>]) -> Sent {
        let mut sent = Sent::default();
        let mut queue = lock(&self.outbound);
        for frame in frames {
            if queue.len() >= self.capacity {
                sent.refuse(Refusal::Full, frame.len());
            } else {
                queue.push_back(Stored { bytes: frame.data().to_vec(), offload: frame.offload });
                sent.frames += 1;
            }
        }
        sent
    }
}
