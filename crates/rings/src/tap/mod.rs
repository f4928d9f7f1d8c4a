//! TAP: the host's interface is a TAP device, and this is the end that a cable would be plugged into.
//!
//! What the host sends is read here, and what is written here the host receives: no veth between, so no
//! second device to cross. Both ways each frame has a virtio-net header before it, with which GSO packets and
//! pending checksums pass as they are. There is one system call a frame each way, as the device is no socket;
//! it saves more than that costs for GSO packets, and less for small packets.
//!
//! The device belongs to the namespace in which /dev/net/tun was opened, whatever happens to it later, so
//! [`open`] is called in the host's. It goes away with its last descriptor where the process is killed, but
//! where the halves are dropped it stays for its namespace to take along: devices that go one by one wait for
//! each other, some 20 ms each, under a lock that the whole machine's networking shares. Source:
//! drivers/net/tun.c, Documentation/networking/tuntap.rst.

mod losses;

use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;

use nsrouter_wire::frame::{Frame, PortId};

use self::losses::Losses;
use crate::backend::Backend;
use crate::packet;
use crate::port::{BURST_FRAMES, Burst, Capabilities, QueuePair, Receive, Received, Sent, Transmit};
use crate::sys::tuntap::set_persistent;
use crate::tuntap::{OpenError, frame_in, open_device, write_each};
use crate::vnet::VNET_HEADER_BYTES;

/// Before the frame: the virtio-net header, and room to prepend into.
const HEADROOM_BYTES: usize = 126 + VNET_HEADER_BYTES;
/// The largest GSO frame by default (GSO_LEGACY_MAX_SIZE) with its Ethernet and VLAN headers.
/// A byte more, so that a buffer that is filled to its end tells of a larger frame.
const FRAME_BYTES: usize = 65_536 + 18 + 1;
/// A burst ends when it has brought this much: a few GSO packets stay in the second-level cache, and the many
/// small frames of a full burst are far from it.
const BURST_BYTES: usize = 192 << 10;

/// The largest MTU of a TAP interface: `MAX_MTU` less the Ethernet header (tun_net_initialize(),
/// drivers/net/tun.c).
pub const MAX_MTU: u32 = 65_535 - 14;

/// TAP as a backend.
pub(crate) static BACKEND: Backend = Backend {
    name: "tap",
    summary: "The hosts' interfaces are TAP devices whose other ends the router holds; no veths",
    facility: "TAP device",
    requirements: "/dev/net/tun (modprobe tun), which you may read and write",
    // It changes the links themselves, so it has to be asked for.
    automatic: None,
    complete_frames: false,
    interface_queues: false,
    needs_guard: true,
    max_mtu: MAX_MTU,
    nice: None,
    probe: |_| Ok(open(PROBE_NAME, PortId(0), 2).map(drop)?),
    // A link that is no TAP is a veth.
    open: packet::open_backend,
    open_device: Some(|name, port, queues| {
        Ok(open(name, port, queues)?.into_iter().map(QueuePair::new).collect())
    }),
    // The device and its counters.
    descriptors: |ports, queues| 2 * queues * ports,
    memory: None,
};

/// The device of a probe; it goes with the namespace that it is made in.
const PROBE_NAME: &str = "nsr-probe";

/// Makes the TAP device `name` in the network namespace of the calling thread, and is its router's end:
/// `queues` pairs of halves that share its frames by flow.
///
/// The device remembers which queue sent it a flow's frames, and sends what answers them by the same one
/// (tun_flow_update()). As the hash is the same both ways, that is the queue by which it would be sent
/// anyhow, and no flow moves.
///
/// The device is down and has no address yet.
///
/// # Errors
/// [`OpenError`], one variant a step.
pub fn open(name: &str, port: PortId, queues: usize) -> Result<Vec<(TapRx, TapTx)>, OpenError> {
    let reported = Arc::default();
    let mut halves = Vec::new();
    for _ in 0..queues.max(1) {
        let several = if queues > 1 { libc::IFF_MULTI_QUEUE } else { 0 };
        let (device, uso) = open_device(name, libc::IFF_TAP | several)?;
        let buffers = (0..BURST_FRAMES).map(|_| vec![0; HEADROOM_BYTES + FRAME_BYTES].into()).collect();
        let losses = Losses::open(name, &reported).map_err(OpenError::Counters)?;
        let device = Arc::new(device);
        halves.push((TapRx { port, device: Arc::clone(&device), buffers, losses }, TapTx { device, uso }));
    }
    Ok(halves)
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
                    self.losses.queue_empty();
                    break;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => break,
                // What was read before the error is in the burst; the error will be there next time.
                Err(_) if !burst.is_empty() => break,
                Err(error) => return Err(error),
            };
            self.losses.frame_read();
            bytes += len;
            received.lend(frame_in(buffer, HEADROOM_BYTES, len, self.port), burst);
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
        let _ = set_persistent(self.device.as_fd());
    }
}

impl Transmit for TapTx {
    fn capabilities(&self) -> Capabilities {
        Capabilities { checksum: true, tso: true, uso: self.uso }
    }

    fn send(&mut self, frames: &mut [Frame<'_>]) -> Sent {
        write_each(&self.device, frames)
    }
}
