//! From verdict to ring: bursts leave by their ports, in order, and what a ring refuses is a counted drop.
//!
//! Where a port lacks the offload that a frame needs, the frame is segmented and summed in software here.

use arrayvec::ArrayVec;
use nsrouter_rings::port::{BURST_FRAMES, Burst, Capabilities, Sent, Transmit};
use nsrouter_router::{Counters, DropReason};
use nsrouter_wire::frame::{Frame, PortId};
use nsrouter_wire::offload::{Gso, Offload};
use nsrouter_wire::segment::{LINK_L3, Segments, complete_checksum};

/// The transmit halves of all ports.
pub(crate) struct Egress {
    links: Vec<Box<dyn Transmit>>,
    host: Option<Box<dyn Transmit>>,
    /// One segment at a time is built here.
    scratch: Box<[u8]>,
}

/// Largest frame that software segmentation makes: an IP packet of the largest size with Ethernet header.
const SEGMENT_BYTES: usize = 65_536 + 18;

impl Egress {
    pub(crate) fn new(links: Vec<Box<dyn Transmit>>, host: Option<Box<dyn Transmit>>) -> Egress {
        Egress { links, host, scratch: vec![0; SEGMENT_BYTES].into() }
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
            // Nearly always: one flow, or one way between two ports.
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

    /// Has each port send what it took and the kernel did not take yet. For whoever sleeps next: nothing else would.
    pub(crate) fn flush(&mut self, counters: &mut Counters) {
        for (link, number) in self.links.iter_mut().zip(0..) {
            account(PortId(number), link.flush(), counters);
        }
    }

    /// Sends frames by one port.
    pub(crate) fn send(&mut self, port: PortId, frames: &mut [Frame<'_>], counters: &mut Counters) {
        let transmit =
            if port == PortId::HOST { self.host.as_mut() } else { self.links.get_mut(port.index()) };
        let Some(transmit) = transmit else {
            return counters.unsent(port, DropReason::PortDown, frames.len() as u64, total_bytes(frames));
        };
        let capabilities = transmit.capabilities();
        if frames.iter().all(|frame| is_covered(frame.offload, capabilities)) {
            return account(port, transmit.send(frames), counters);
        }
        for frame in frames {
            if is_covered(frame.offload, capabilities) {
                account(port, transmit.send(std::slice::from_mut(frame)), counters);
            } else {
                send_in_software(transmit.as_mut(), port, frame, &mut self.scratch, counters);
            }
        }
    }
}

fn total_bytes(frames: &[Frame<'_>]) -> u64 {
    frames.iter().map(|frame| frame.len() as u64).sum()
}

/// Counts what a ring refused as drops.
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

fn is_covered(offload: Offload, capabilities: Capabilities) -> bool {
    let gso = match offload.gso {
        Gso::None => true,
        Gso::Tcp4 { .. } | Gso::Tcp6 { .. } => capabilities.tso,
        Gso::Udp => capabilities.uso,
    };
    gso && (offload.checksum.is_none() || capabilities.checksum)
}

/// Does for one frame what its port does not: sums it, or cuts it and sums the segments.
///
/// A frame that is cut is consumed, and its segments are originated: so the law of counters holds.
fn send_in_software(
    transmit: &mut dyn Transmit,
    port: PortId,
    frame: &mut Frame<'_>,
    scratch: &mut [u8],
    counters: &mut Counters,
) {
    let bytes = frame.len() as u64;
    if frame.offload.gso == Gso::None {
        if complete_checksum(frame) {
            account(port, transmit.send(std::slice::from_mut(frame)), counters);
        } else {
            counters.unsent(port, DropReason::TxError, 1, bytes);
        }
        return;
    }
    let l3 = if port == PortId::HOST { 0 } else { LINK_L3 };
    let Ok(mut segments) = Segments::new(frame.data(), l3, frame.offload) else {
        return counters.unsent(port, DropReason::TxError, 1, bytes);
    };
    counters.replaced(port, bytes);
    while let Some(len) = segments.write_next(scratch) {
        counters.originated += 1;
        counters.count_tx(port, len);
        if let Some(segment) = Frame::new(scratch, 0, len, frame.ingress, Offload::default()) {
            account(port, transmit.send(&mut [segment]), counters);
        }
    }
}
