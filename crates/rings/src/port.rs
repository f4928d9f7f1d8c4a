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

/// Frames that `recv` received and cannot lend.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Received {
    /// Frames of which a part was lost, because the kernel's queue for them was full. The caller counts them
    /// as received, and as dropped.
    pub truncated_frames: u64,
    /// Frames larger than this ring's buffers. Counted likewise.
    pub too_big_frames: u64,
    /// Frames with unknown offload metadata (a GSO type). Counted likewise.
    pub unsupported_frames: u64,
}

/// Why a frame that was received cannot be lent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unusable {
    /// [`Received::truncated_frames`].
    Truncated,
    /// [`Received::too_big_frames`].
    TooBig,
    /// [`Received::unsupported_frames`].
    Unsupported,
}

impl Received {
    /// Lends a frame with the burst, or counts why it cannot.
    #[inline]
    pub(crate) fn lend<'r>(&mut self, frame: Result<Frame<'r>, Unusable>, burst: &mut Burst<'r>) {
        match frame {
            Ok(frame) => burst.push(frame),
            Err(Unusable::Truncated) => self.truncated_frames += 1,
            Err(Unusable::TooBig) => self.too_big_frames += 1,
            Err(Unusable::Unsupported) => self.unsupported_frames += 1,
        }
    }
}

/// The half of a port by which frames enter.
pub trait Receive: Send {
    /// Lends up to `max` frames that wait in the ring, oldest first; none is not an error.
    ///
    /// The slots of the burst before go back to the kernel here: the exclusive borrow proves that no
    /// frame of it is alive.
    ///
    /// # Errors
    /// That of the system call.
    fn recv<'r>(&'r mut self, max: usize, burst: &mut Burst<'r>) -> io::Result<Received>;

    /// The descriptor that becomes readable when a frame waits.
    fn fd(&self) -> BorrowedFd<'_>;

    /// Whether `recv` makes no system call where no frame waits, so that a busy worker may poll it every
    /// round.
    fn polls_without_syscall(&self) -> bool;

    /// Takes the pending error that poll(2) reported off the descriptor.
    ///
    /// # Errors
    /// That error: `ENETDOWN` when the interface went down or away. Frames may come again later.
    fn take_error(&mut self) -> io::Result<()>;

    /// Frames that the kernel dropped since the last call because this ring was full.
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

impl std::fmt::Debug for QueuePair {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("QueuePair").finish_non_exhaustive()
    }
}

/// The offloads that the kernel performs for frames that leave by a port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Capabilities {
    /// Completes a pending L4 checksum.
    pub checksum: bool,
    /// Cuts TCP GSO packets.
    pub tso: bool,
    /// Cuts UDP GSO packets.
    pub uso: bool,
}

/// Why a port refused a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// A queue on the way out is full (EAGAIN; ENOBUFS, which is the queue of the interface or of its peer).
    Full,
    /// Larger than the interface allows (EMSGSIZE).
    TooBig,
    /// The interface is down or gone (ENETDOWN, ENXIO, ENODEV).
    Down,
    /// Any other error of the system call; ENOMEM also where the kernel could not cut a GSO packet
    /// (`__dev_queue_xmit`).
    Error,
}

/// The fate of a burst given to [`Transmit::send`].
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
    /// The offloads that the caller may leave pending in frames given to [`Transmit::send`].
    fn capabilities(&self) -> Capabilities;

    /// The largest MTU in bytes that this port supports, for its whole life. The router uses the smaller of
    /// this and the link's MTU.
    fn max_mtu(&self) -> u32 {
        u32::MAX
    }

    /// Sends the frames in order and consumes them all: each is sent, or counted as refused.
    ///
    /// Never waits: a full queue drops frames, because a frame that waits here would delay those of every
    /// other port.
    fn send(&mut self, frames: &mut [Frame<'_>]) -> Sent;

    /// Offers the kernel again the frames that an earlier [`Transmit::send`] put into a ring and that the
    /// kernel did not take. Called before the sender sleeps. Returns those that are refused only now; they
    /// counted as sent before.
    fn flush(&mut self) -> Sent {
        Sent::default()
    }
}
