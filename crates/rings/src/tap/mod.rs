//! TAP: the host's interface is a TAP device, and this is the end that a cable would be plugged into.
//!
//! What the host sends is read here, and what is written here the host receives: no veth between, so no second device
//! to cross. Both ways each frame has a virtio-net header before it, with which GSO packets and pending checksums
//! pass as they are. There is one system call a frame each way, as the device is no socket; it saves more than that
//! costs for GSO packets, and less for small packets.
//!
//! The device belongs to the namespace in which /dev/net/tun was opened, whatever happens to it later, so [`open`] is
//! called in the host's. It goes away with its last descriptor where the process is killed, but where the halves are
//! dropped it stays for its namespace to take along: devices that go one by one wait for each other, some 20 ms each,
//! under a lock that the whole machine's networking shares. Source: drivers/net/tun.c,
//! Documentation/networking/tuntap.rst.

use std::fs::{File, OpenOptions};
use std::io::{self, IoSlice, Read, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use nsrouter_wire::frame::{Frame, PortId};

use crate::limits::way_out;
use crate::port::{BURST_FRAMES, Burst, Capabilities, Receive, Received, Refusal, Sent, Transmit};
use crate::sys::tun;
use crate::vnet::{self, VNET_HEADER_BYTES};

/// Bytes that may be on their way into the host's stack (`TUNSETSNDBUF`).
const SEND_BUFFER_BYTES: libc::c_int = 8 << 20;
/// Before the frame: the virtio-net header, and room to prepend into.
const HEADROOM_BYTES: usize = 126 + VNET_HEADER_BYTES;
/// The largest GSO frame by default (GSO_LEGACY_MAX_SIZE) with its Ethernet and VLAN headers.
/// A byte more, so that a buffer that is filled to its end tells of a larger frame.
const FRAME_BYTES: usize = 65_536 + 18 + 1;
/// A burst ends when it has brought this much: a few GSO packets stay in the second-level cache, and the many small
/// frames of a full burst are far from it.
const BURST_BYTES: usize = 192 << 10;

/// The largest MTU of a TAP interface: `MAX_MTU` less the Ethernet header (tun_net_initialize(), drivers/net/tun.c).
pub const MAX_MTU: u32 = 65_535 - 14;

/// Opening a TAP port, or the host port, failed; one variant a step.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// /dev/net/tun.
    #[error(
        "cannot open /dev/net/tun ({hint}): {0}",
        hint = way_out(.0, "it takes a kernel with CONFIG_TUN, and the right to open it")
    )]
    Open(#[source] io::Error),
    /// `TUNSETIFF`.
    #[error("cannot make the device {name} (it takes CAP_NET_ADMIN in its namespace): {source}")]
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
        hint = way_out(.0, "it takes /proc")
    )]
    Counters(#[source] io::Error),
}

/// Makes the TAP device `name` in the network namespace of the calling thread, and is its router's end: `queues` pairs of
/// halves that share its frames by flow.
///
/// The device remembers which queue sent it a flow's frames, and sends what answers them by the same one (tun_flow_update()).
/// As the hash is the same both ways, that is the queue by which it would be sent anyhow, and no flow moves.
///
/// The device is down and has no address yet.
///
/// # Errors
/// [`OpenError`], one variant a step.
pub fn open(name: &str, port: PortId, queues: usize) -> Result<Vec<(TapRx, TapTx)>, OpenError> {
    let told = Arc::new(AtomicU64::new(0));
    let mut halves = Vec::new();
    for _ in 0..queues.max(1) {
        let several = if queues > 1 { libc::IFF_MULTI_QUEUE } else { 0 };
        let (device, uso) = open_device(name, libc::IFF_TAP | several)?;
        // An open file of /proc/.../net shows the namespace in which it was opened, from wherever it is read.
        let counters = File::open("/proc/thread-self/net/dev").map_err(OpenError::Counters)?;
        let buffers = (0..BURST_FRAMES).map(|_| vec![0; HEADROOM_BYTES + FRAME_BYTES].into()).collect();
        let losses =
            Losses { name: name.to_owned(), counters, told: Arc::clone(&told), run: 0, suspected: false };
        let device = Arc::new(device);
        halves.push((TapRx { port, device: Arc::clone(&device), buffers, losses }, TapTx { device, uso }));
    }
    Ok(halves)
}

/// Makes a device of this kind (`IFF_TUN` or `IFF_TAP`), or another queue of it, whose frames have a virtio-net header
/// before them both ways; and whether it takes UDP GSO packets.
///
/// A device that may have several queues (`IFF_MULTI_QUEUE`) has 256 (`MAX_TAP_QUEUES`), whose queueing disciplines take
/// 25 MB of the kernel's memory and 40 ms to make, so it is one that may not, where one will do.
pub(crate) fn open_device(name: &str, kind: libc::c_int) -> Result<(File, bool), OpenError> {
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .custom_flags(libc::O_NONBLOCK)
        .open("/dev/net/tun")
        .map_err(OpenError::Open)?;
    let fd = OwnedFd::from(file);
    let flags = kind | libc::IFF_NO_PI | libc::IFF_VNET_HDR;
    tun::create(&fd, name, flags).map_err(|source| OpenError::Create { name: name.to_owned(), source })?;
    let option = |request| move |source| OpenError::Option { request, source };
    let header_bytes = libc::c_int::try_from(VNET_HEADER_BYTES).unwrap_or(0);
    tun::set_vnet_header(&fd, header_bytes).map_err(option("TUNSETVNETHDRSZ"))?;
    let tcp = libc::TUN_F_CSUM | libc::TUN_F_TSO4 | libc::TUN_F_TSO6 | libc::TUN_F_TSO_ECN;
    // Kernels before 6.2 have no USO: the host then cuts its datagrams itself, and what we send it is cut here.
    let uso = tun::set_offload(&fd, tcp | libc::TUN_F_USO4 | libc::TUN_F_USO6).is_ok();
    if !uso {
        tun::set_offload(&fd, tcp).map_err(option("TUNSETOFFLOAD"))?;
    }
    tun::set_send_buffer(&fd, SEND_BUFFER_BYTES).map_err(option("TUNSETSNDBUF"))?;
    Ok((File::from(fd), uso))
}

/// The receive half: what the host sends.
#[derive(Debug)]
pub struct TapRx {
    port: PortId,
    device: Arc<File>,
    buffers: Vec<Box<[u8]>>,
    losses: Losses,
}

/// The transmit half: what the host receives.
#[derive(Debug)]
pub struct TapTx {
    device: Arc<File>,
    uso: bool,
}

/// Frames that the host's interface dropped because its queue was full.
///
/// Only /proc tells of them, which is slow to read. But after a loss a whole queue of frames is there to be read, one
/// after the other: as long as there was no such run, nothing was lost and nothing need be read.
#[derive(Debug)]
struct Losses {
    name: String,
    counters: File,
    /// What was counted last, by whichever queue.
    told: Arc<AtomicU64>,
    /// Frames read in a row, without finding the queue empty.
    run: u32,
    /// There was a run that long since the counter was read.
    suspected: bool,
}

/// Runs shorter than this mean that no queue was full, were it only of the smallest size in use.
const SUSPICIOUS_RUN: u32 = 500;

impl Losses {
    fn read_frame(&mut self) {
        self.run = self.run.saturating_add(1);
        self.suspected |= self.run >= SUSPICIOUS_RUN;
    }

    fn take(&mut self) -> u64 {
        if !std::mem::take(&mut self.suspected) {
            return 0;
        }
        let mut text = [0; 8192];
        // A namespace with so many interfaces that this one is past the end is not one that a lab makes.
        let Ok(len) = self.counters.read_at(&mut text, 0) else { return 0 };
        let Some(dropped) = tx_dropped(&String::from_utf8_lossy(&text[..len]), &self.name) else { return 0 };
        dropped.saturating_sub(self.told.fetch_max(dropped, Ordering::Relaxed))
    }
}

/// The interface's dropped frames on its way out, in the text of /proc/net/dev (net/core/net-procfs.c).
fn tx_dropped(text: &str, name: &str) -> Option<u64> {
    let counters = text.lines().find_map(|line| line.trim_start().strip_prefix(name)?.strip_prefix(':'))?;
    // Eight columns of reception, then bytes, packets, errs, drop.
    counters.split_ascii_whitespace().nth(11)?.parse().ok()
}

impl Receive for TapRx {
    fn recv<'r>(&'r mut self, max: usize, burst: &mut Burst<'r>) -> io::Result<Received> {
        let mut received = Received::default();
        let mut bytes = 0;
        let limit = max.min(burst.remaining_capacity());
        for buffer in self.buffers.iter_mut().take(limit) {
            if bytes >= BURST_BYTES {
                break;
            }
            let start = HEADROOM_BYTES - VNET_HEADER_BYTES;
            let len = match (&*self.device).read(&mut buffer[start..]) {
                Ok(len) => len,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    self.losses.run = 0;
                    break;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => break,
                // What was read before the error is in the burst; the error will be there next time.
                Err(_) if !burst.is_empty() => break,
                Err(error) => return Err(error),
            };
            self.losses.read_frame();
            bytes += len;
            // A longer frame is cut off at the buffer's end, and nothing tells of it but this.
            if len == buffer.len() - start {
                received.too_big_frames += 1;
                continue;
            }
            match frame_in(buffer, HEADROOM_BYTES, len, self.port) {
                Some(frame) => burst.push(frame),
                None => received.unsupported_frames += 1,
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
        // poll(2) tells of an error only when the device is gone.
        Err(io::Error::from_raw_os_error(libc::ENODEV))
    }

    fn take_lost_frames(&mut self) -> u64 {
        self.losses.take()
    }
}

impl Drop for TapRx {
    fn drop(&mut self) {
        // Where it fails the device goes at once, which only takes longer.
        let _ = tun::set_persistent(self.device.as_fd());
    }
}

/// The frame that a read of `len` bytes put at `head` of a buffer, its virtio-net header before it; `None` when that
/// header is not there, or asks for what this router does not know.
pub(crate) fn frame_in(buffer: &mut [u8], head: usize, len: usize, port: PortId) -> Option<Frame<'_>> {
    let bytes = len.checked_sub(VNET_HEADER_BYTES)?;
    let offload = vnet::parse(buffer.get(head.checked_sub(VNET_HEADER_BYTES)?..head)?.try_into().ok()?)?;
    Frame::new(buffer, head, bytes, port, offload)
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

impl Transmit for TapTx {
    fn capabilities(&self) -> Capabilities {
        Capabilities { checksum: true, tso: true, uso: self.uso }
    }

    fn send(&mut self, frames: &mut [Frame<'_>]) -> Sent {
        write_each(&self.device, frames)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DEV: &str = "\
Inter-|   Receive                                                |  Transmit
 face |bytes    packets errs drop fifo frame compressed multicast|bytes    packets errs drop fifo colls carrier compressed
    lo:       0       0    0    0    0     0          0         0        0       0    0    0    0     0       0          0
t1-eth0: 500 5 1 2 3 4 5 6 700 7 8 99 10 11 12 13
";

    #[test]
    fn the_dropped_frames_of_an_interface_are_found() {
        assert_eq!(tx_dropped(DEV, "t1-eth0"), Some(99));
        assert_eq!(tx_dropped(DEV, "lo"), Some(0));
        assert_eq!(tx_dropped(DEV, "t1-eth"), None, "a name's beginning is not the name");
    }

    #[test]
    fn losses_are_asked_for_only_after_a_long_run() {
        let mut losses = Losses {
            name: "none".to_owned(),
            counters: File::open("/dev/null").expect("always there"),
            told: Arc::default(),
            run: 0,
            suspected: false,
        };
        (1..SUSPICIOUS_RUN).for_each(|_| losses.read_frame());
        assert!(!losses.suspected);
        losses.read_frame();
        assert!(losses.suspected);
        assert_eq!(losses.take(), 0);
        assert!(!losses.suspected, "it was asked for");
        losses.read_frame();
        assert!(losses.suspected, "the run goes on");
    }
}
