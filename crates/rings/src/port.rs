//! A port is two halves, so that a burst borrowed from one can leave by the other's port or by its own.

use std::io;
use std::os::fd::BorrowedFd;

use arrayvec::ArrayVec;
use nsrouter_wire::frame::{Frame, PortId};

/// Frames in a burst, at most. Large enough to spread the cost of a system call, small enough that the
/// frames are still in the first-level cache when they are sent.
pub const BURST_FRAMES: usize = 64;

/// An interface that is to become a port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Interface {
    /// Its index in the calling thread's network namespace.
    pub ifindex: u32,
    /// The port that it becomes.
    pub port: PortId,
    /// Its MTU in bytes. It may be raised later, as far as [`Transmit::max_mtu`] allows.
    pub mtu: u32,
}

/// Frames lent by a ring, in the order of their arrival. They live in the ring until its next `recv`.
pub type Burst<'r> = ArrayVec<Frame<'r>, BURST_FRAMES>;

/// What `recv` found beside the frames that it lends.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Received {
    /// Frames that arrived with a part of them lost, as the kernel's queue for them was full. They are not lent: the
    /// caller counts them as received, and dropped as truncated.
    pub truncated_frames: u64,
    /// Frames larger than this ring's buffers. Counted likewise.
    pub too_big_frames: u64,
    /// Frames whose offload metadata has no meaning to us (an unknown GSO type). Counted likewise.
    pub unsupported_frames: u64,
}

/// The half of a port by which frames enter.
pub trait Receive: Send {
    /// Lends up to `max` frames that wait in the ring, oldest first; none is not an error.
    ///
    /// The slots of the burst before go back to the kernel here: the exclusive borrow proves that no
    /// frame of it is alive.
    ///
    /// # Errors
    /// What the system call said.
    fn recv<'r>(&'r mut self, max: usize, burst: &mut Burst<'r>) -> io::Result<Received>;

    /// The descriptor that becomes readable when a frame waits.
    fn fd(&self) -> BorrowedFd<'_>;

    /// Whether `recv` makes no system call where no frame waits, so that a busy worker may poll it every round.
    fn polls_without_syscall(&self) -> bool;

    /// Takes the error off the descriptor that poll(2) told of.
    ///
    /// # Errors
    /// That error: `ENETDOWN` when the interface went down or away. Frames may come again later.
    fn take_error(&mut self) -> io::Result<()>;

    /// Frames that the kernel had to drop before this ring because it was full, since the last call.
    fn take_lost_frames(&mut self) -> u64;
}

/// One queue of a port, both ways: what one worker has of it.
pub struct QueuePair {
    /// Frames enter here.
    pub rx: Box<dyn Receive>,
    /// Frames leave here.
    pub tx: Box<dyn Transmit>,
}

impl QueuePair {
    /// The two halves that a backend opened.
    pub fn new((rx, tx): (impl Receive + 'static, impl Transmit + 'static)) -> QueuePair {
        QueuePair { rx: Box::new(rx), tx: Box::new(tx) }
    }
}

/// What the kernel does for a frame that leaves by this port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Capabilities {
    /// Completes a pending L4 checksum.
    pub checksum: bool,
    /// Cuts TCP GSO packets.
    pub tso: bool,
    /// Cuts UDP GSO packets.
    pub uso: bool,
}

/// Why a port did not take a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// A queue on the way out is full (EAGAIN; ENOBUFS, which is the queue of the interface or of its peer).
    Full,
    /// Larger than the interface allows (EMSGSIZE).
    TooBig,
    /// The interface is down or gone (ENETDOWN, ENXIO, ENODEV).
    Down,
    /// Anything else the system call said; ENOMEM also when the kernel could not cut a GSO packet (`__dev_queue_xmit`).
    Error,
}

/// What became of a burst that was to be sent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sent {
    /// Frames handed to the kernel.
    pub frames: u64,
    /// Refused: a queue was full.
    pub full: u64,
    /// Refused: larger than the interface allows.
    pub too_big: u64,
    /// Refused: the interface is down or gone.
    pub down: u64,
    /// Refused for another reason.
    pub error: u64,
    /// Bytes of the refused frames, all reasons together.
    pub refused_bytes: u64,
}

impl Sent {
    /// Counts one refused frame of `bytes` bytes.
    pub fn refuse(&mut self, refusal: Refusal, bytes: usize) {
        match refusal {
            Refusal::Full => self.full += 1,
            Refusal::TooBig => self.too_big += 1,
            Refusal::Down => self.down += 1,
            Refusal::Error => self.error += 1,
        }
        self.refused_bytes += bytes as u64;
    }
}

impl Refusal {
    /// The refusal that an errno of a send call stands for.
    pub fn from_error(error: &io::Error) -> Refusal {
        match error.raw_os_error() {
            Some(libc::EAGAIN | libc::ENOBUFS) => Refusal::Full,
            Some(libc::EMSGSIZE) => Refusal::TooBig,
            Some(libc::ENETDOWN | libc::ENXIO | libc::ENODEV) => Refusal::Down,
            _ => Refusal::Error,
        }
    }
}

/// The half of a port by which frames leave.
pub trait Transmit: Send {
    /// What the caller may leave undone in a frame that it gives to [`Transmit::send`].
    fn capabilities(&self) -> Capabilities;

    /// The largest MTU in bytes that this port can have, whatever its link's is: what the router tells of the port, and
    /// keeps to, is the smaller of the two. Holds for the port's whole life.
    fn max_mtu(&self) -> u32 {
        u32::MAX
    }

    /// Sends the frames in order and consumes them all: each is sent, or counted as refused.
    ///
    /// Never waits: where the way out is full a router drops, because a frame that waits here holds up
    /// every other port's.
    fn send(&mut self, frames: &mut [Frame<'_>]) -> Sent;

    /// Offers the kernel what an earlier [`Transmit::send`] put into a ring and the kernel did not take then. Called before
    /// the sender sleeps. Says what was refused only now; those frames counted as sent before.
    fn flush(&mut self) -> Sent {
        Sent::default()
    }
}
