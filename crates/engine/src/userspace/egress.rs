//! From verdict to ring: bursts leave by their ports, in order, and frames that a ring refuses are counted as
//! drops.
//!
//! Where a port lacks the offload that a frame needs, the frame is segmented and its checksum completed in
//! software here. So it is for offloads that no port has, as a virtio-net header cannot express them: GSO
//! packets in tunnels, and SCTP's checksum.

use arrayvec::ArrayVec;
use nsrouter_rings::port::{BURST_FRAMES, Burst, Capabilities, Sent, Transmit};
use nsrouter_router::{Counters, DropReason};
use nsrouter_wire::frame::{Frame, PortId};
use nsrouter_wire::offload::{Gso, Offload};
use nsrouter_wire::segment::{
    LINK_L3, SCTP_CHECKSUM_OFFSET, Segments, complete_checksum, is_jumbogram, is_tunnelled,
};

use crate::userspace::by_port::ByPort;

/// One worker's transmit queues of all ports.
pub(crate) struct Egress {
    queues: ByPort<Option<Box<dyn Transmit>>>,
    /// Segments are built here, as many as fit.
    scratch: Box<[u8]>,
}

/// Room for segments: all of a GSO packet of 64 KiB with their headers, and for one of the largest size in
/// any case.
const SCRATCH_BYTES: usize = 128 << 10;
/// Before each segment, for the header that a TAP device is given with it.
const HEADROOM_BYTES: usize = 16;
/// Segments that one GSO packet is cut into, at most. Linux's TCP sends no less than 48 bytes of header
/// options and payload at a time (`tcp_min_snd_mss`), of which 36 are payload at least: 1,821 segments of 64
/// KiB. A packet beyond that was made to keep the router busy.
const MAX_SEGMENTS: usize = 2048;

impl Egress {
    /// No queue yet.
    pub(crate) fn new() -> Egress {
        Egress { queues: ByPort::new(), scratch: vec![0; SCRATCH_BYTES].into() }
    }

    /// Takes over a port's queue.
    pub(crate) fn add(&mut self, port: PortId, queue: Box<dyn Transmit>) {
        *self.queues.entry(port) = Some(queue);
    }

    /// Gives a port's queue back, once the frames that it accepted are sent as far as the kernel takes them.
    pub(crate) fn remove(&mut self, port: PortId, counters: &mut Counters) -> Option<Box<dyn Transmit>> {
        let mut queue = self.queues.get_mut(port)?.take()?;
        account(port, queue.flush(), counters);
        Some(queue)
    }

    /// Whether the port has a queue.
    pub(crate) fn has(&mut self, port: PortId) -> bool {
        self.queues.get_mut(port).is_some_and(|queue| queue.is_some())
    }

    /// Sends the frames of a burst by the ports that stand beside them; `None`: the frame stays.
    pub(crate) fn send_burst(
        &mut self,
        mut burst: Burst<'_>,
        ports: &[Option<PortId>],
        counters: &mut Counters,
    ) {
        let Some(first) = ports.iter().flatten().next().copied() else { return };
        if ports.iter().all(|port| *port == Some(first)) {
            // Nearly always: one flow, or one direction between two ports.
            return self.send(first, &mut burst, counters);
        }
        let mut frames: ArrayVec<Option<(PortId, Frame<'_>)>, BURST_FRAMES> =
            burst.into_iter().zip(ports).map(|(frame, port)| port.map(|port| (port, frame))).collect();
        while let Some(port) = frames.iter().flatten().next().map(|(port, _)| *port) {
            let mut same: ArrayVec<Frame<'_>, BURST_FRAMES> = frames
                .iter_mut()
                .filter(|slot| slot.as_ref().is_some_and(|(to, _)| *to == port))
                .filter_map(|slot| slot.take().map(|(_, frame)| frame))
                .collect();
            self.send(port, &mut same, counters);
        }
    }

    /// The transmit queues, for the thread that closes them.
    pub(crate) fn into_queues(self) -> impl Iterator<Item = Box<dyn Transmit>> {
        self.queues.into_states().flatten()
    }

    /// Has each port send the frames that it accepted and the kernel did not take yet. To be called before a
    /// sleep, during which nothing else would.
    pub(crate) fn flush(&mut self, counters: &mut Counters) {
        for (port, queue) in self.queues.iter_mut() {
            if let Some(queue) = queue {
                account(port, queue.flush(), counters);
            }
        }
    }

    /// Sends frames by one port.
    pub(crate) fn send(&mut self, port: PortId, frames: &mut [Frame<'_>], counters: &mut Counters) {
        let Some(transmit) = self.queues.get_mut(port).and_then(Option::as_mut) else {
            return counters.unsent(port, DropReason::PortDown, frames.len() as u64, total_bytes(frames));
        };
        let capabilities = transmit.capabilities();
        let l3 = if port == PortId::HOST { 0 } else { LINK_L3 };
        if frames.iter().all(|frame| is_covered(frame, l3, capabilities)) {
            return account(port, transmit.send(frames), counters);
        }
        for frame in frames {
            if is_covered(frame, l3, capabilities) {
                account(port, transmit.send(std::slice::from_mut(frame)), counters);
            } else if frame.offload.gso == Gso::None {
                send_summed(transmit.as_mut(), port, frame, l3, counters);
            } else {
                send_segments(transmit.as_mut(), port, frame, l3, &mut self.scratch, counters);
            }
        }
    }
}

fn total_bytes(frames: &[Frame<'_>]) -> u64 {
    frames.iter().map(|frame| frame.len() as u64).sum()
}

/// Counts the frames that a ring refused as drops.
fn account(port: PortId, sent: Sent, counters: &mut Counters) {
    let refusals = [
        (sent.full, DropReason::TxFull),
        (sent.too_big, DropReason::TxTooBig),
        (sent.down, DropReason::PortDown),
        (sent.error, DropReason::TxError),
    ];
    let mut bytes = sent.refused_bytes;
    for (frames, reason) in refusals {
        if frames > 0 {
            // The bytes are known for all refusals together: they go with the first reason.
            counters.unsent(port, reason, frames, std::mem::take(&mut bytes));
        }
    }
}

/// Whether the port completes the offloads of a frame whose IP header begins at `l3`.
#[inline]
fn is_covered(frame: &Frame<'_>, l3: usize, capabilities: Capabilities) -> bool {
    let Offload { checksum, gso, .. } = frame.offload;
    match gso {
        Gso::None => checksum.is_none_or(|it| capabilities.checksum && it.offset != SCTP_CHECKSUM_OFFSET),
        Gso::Tcp4 { .. } | Gso::Tcp6 { .. } | Gso::Udp => {
            cuts(gso, checksum.is_some(), capabilities)
                && !is_tunnelled(frame.data(), l3, &frame.offload)
                && !is_jumbogram(frame.data(), l3)
        }
    }
}

/// Whether a port with these capabilities cuts GSO packets of this kind.
fn cuts(gso: Gso, has_checksum: bool, capabilities: Capabilities) -> bool {
    let cuts = match gso {
        Gso::None => true,
        Gso::Tcp4 { .. } | Gso::Tcp6 { .. } => capabilities.tso,
        Gso::Udp => capabilities.uso,
    };
    cuts && (capabilities.checksum || !has_checksum)
}

/// Completes a frame's checksum, and sends it.
#[cold]
fn send_summed(
    transmit: &mut dyn Transmit,
    port: PortId,
    frame: &mut Frame<'_>,
    l3: usize,
    counters: &mut Counters,
) {
    if complete_checksum(frame, l3) {
        account(port, transmit.send(std::slice::from_mut(frame)), counters);
    } else {
        counters.unsent(port, DropReason::BadOffload, 1, frame.len() as u64);
    }
}

/// Cuts a GSO packet, and sends the segments.
///
/// The packet is consumed, and its segments are originated: so the packet accounting adds up.
#[cold]
fn send_segments(
    transmit: &mut dyn Transmit,
    port: PortId,
    frame: &Frame<'_>,
    l3: usize,
    scratch: &mut [u8],
    counters: &mut Counters,
) {
    let bytes = frame.len() as u64;
    let Ok(mut segments) = Segments::new(frame.data(), l3, frame.offload) else {
        return counters.unsent(port, DropReason::BadOffload, 1, bytes);
    };
    // A port that cuts GSO packets is given smaller ones, which leaves less to do here.
    if cuts(frame.offload.gso, true, transmit.capabilities())
        && let Some(packets) = segments.clone().into_gso_packets()
    {
        segments = packets;
    }
    if segments.count() > MAX_SEGMENTS {
        return counters.unsent(port, DropReason::TooManySegments, 1, bytes);
    }
    counters.replaced(port, bytes);
    loop {
        let mut batch: ArrayVec<Frame<'_>, BURST_FRAMES> = ArrayVec::new();
        let mut rest = &mut *scratch;
        while let Some(len) = segments.next_len()
            && !batch.is_full()
            && let Some((buffer, left)) = rest.split_at_mut_checked(HEADROOM_BYTES + len)
        {
            rest = left;
            let offload = segments.next_offload(frame.offload);
            if segments.write_next(&mut buffer[HEADROOM_BYTES..]).is_none() {
                break;
            }
            batch.extend(Frame::new(buffer, HEADROOM_BYTES, len, frame.ingress, offload));
            counters.originated += 1;
            counters.count_tx(port, len);
        }
        if batch.is_empty() {
            return;
        }
        account(port, transmit.send(&mut batch), counters);
    }
}
