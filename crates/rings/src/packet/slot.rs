//! One slot of the receive ring that the kernel has filled, and the frame in it (struct tpacket2_hdr).

use nsrouter_wire::frame::{Frame, PortId};

use crate::packet::bounce::{BOUNCE_FRAME_BYTES, BOUNCE_HEADROOM_BYTES, Copy};
use crate::port::Unusable;
use crate::sys::slots::STATUS_BYTES;
use crate::vnet::{self, VNET_HEADER_BYTES};

/// struct tpacket2_hdr and struct sockaddr_ll at the beginning of a slot: not part of the headroom.
const SLOT_HEADER_BYTES: usize = libc::TPACKET2_HDRLEN;
/// Bytes of the two MAC addresses that a frame begins with; a VLAN tag belongs behind them.
const MAC_ADDRESSES_BYTES: usize = 12;
const VLAN_TAG_BYTES: usize = 4;

/// A filled slot, its header read once.
pub(super) struct FilledSlot<'r> {
    bytes: &'r mut [u8],
    status: u32,
    wire_bytes: usize,
    captured_bytes: usize,
    /// Where the Ethernet header begins, from the beginning of `bytes`.
    mac: usize,
    vlan_tci: u16,
    vlan_tpid: u16,
}

impl<'r> FilledSlot<'r> {
    /// Reads struct tpacket2_hdr; offsets are its fields' less the status word's 4 bytes.
    #[inline]
    pub(super) fn read(status: u32, bytes: &'r mut [u8]) -> Self {
        let u32_at = |at: usize| u32::from_ne_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]);
        let u16_at = |at: usize| u16::from_ne_bytes([bytes[at], bytes[at + 1]]);
        FilledSlot {
            wire_bytes: u32_at(0) as usize,
            captured_bytes: u32_at(4) as usize,
            mac: usize::from(u16_at(8)).saturating_sub(STATUS_BYTES),
            vlan_tci: u16_at(20),
            vlan_tpid: u16_at(22),
            status,
            bytes,
        }
    }

    /// Whether the whole frame waits on the socket's receive queue, because the slot is too small for it.
    pub(super) fn is_copy(&self) -> bool {
        self.status & libc::TP_STATUS_COPY != 0
    }

    /// The frame: in `copy` for a slot that [`is_copy`](Self::is_copy), and in the slot itself for any other.
    #[inline]
    pub(super) fn into_frame(self, copy: Option<Copy<'r>>, port: PortId) -> Result<Frame<'r>, Unusable> {
        let (buffer, start, len) = if self.is_copy() {
            match copy {
                Some(Copy { buffer, message })
                    if !message.truncated
                        && message.bytes.checked_sub(VNET_HEADER_BYTES) == Some(self.wire_bytes) =>
                {
                    (buffer, BOUNCE_HEADROOM_BYTES, self.wire_bytes)
                }
                Some(_) if self.wire_bytes > BOUNCE_FRAME_BYTES => return Err(Unusable::TooBig),
                _ => return Err(Unusable::Truncated),
            }
        } else if self.captured_bytes < self.wire_bytes {
            // Larger than the slot, and the receive queue had no room for it: its payload is lost.
            return Err(Unusable::Truncated);
        } else {
            let header = SLOT_HEADER_BYTES - STATUS_BYTES;
            (&mut self.bytes[header..], self.mac.saturating_sub(header), self.captured_bytes)
        };
        let offload = vnet::parse_before(buffer, start).ok_or(Unusable::Unsupported)?;
        let mut frame = Frame::new(buffer, start, len, port, offload).ok_or(Unusable::Truncated)?;
        if self.status & libc::TP_STATUS_VLAN_VALID != 0 {
            restore_vlan_tag(&mut frame, self.vlan_tpid, self.vlan_tci);
        }
        Ok(frame)
    }
}

/// Puts the tag back that the kernel took out of the frame, so that the router sees what was on the wire.
fn restore_vlan_tag(frame: &mut Frame<'_>, tpid: u16, tci: u16) {
    if frame.len() < MAC_ADDRESSES_BYTES || !frame.push_front(VLAN_TAG_BYTES) {
        return;
    }
    let data = frame.data_mut();
    data.copy_within(VLAN_TAG_BYTES..VLAN_TAG_BYTES + MAC_ADDRESSES_BYTES, 0);
    data[MAC_ADDRESSES_BYTES..MAC_ADDRESSES_BYTES + 2].copy_from_slice(&tpid.to_be_bytes());
    data[MAC_ADDRESSES_BYTES + 2..MAC_ADDRESSES_BYTES + 4].copy_from_slice(&tci.to_be_bytes());
    if let Some(pending) = &mut frame.offload.checksum {
        pending.start = pending.start.saturating_add(4);
    }
}
