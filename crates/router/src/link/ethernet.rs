//! What changes in a packet on its way through: link-layer header, TTL or hop limit.

use nsrouter_wire::eth::{self, MacAddr};
use nsrouter_wire::frame::Frame;
use nsrouter_wire::ipv4;
use nsrouter_wire::offload::Gso;
use nsrouter_wire::segment;

use crate::port::Port;

/// Where the IP header begins: host packets get room for an Ethernet header before anything else happens to them.
pub(crate) const L3: usize = eth::HEADER_BYTES;

/// Addresses the frame from `port` to `destination` ([`MacAddr::ZERO`] while that is not known).
#[inline]
pub(crate) fn address(frame: &mut Frame<'_>, port: &Port, destination: MacAddr, ether_type: u16) {
    eth::write(frame.data_mut(), destination, port.mac, ether_type);
}

/// Takes one hop off the TTL, checksum included.
#[inline]
pub(crate) fn decrement_ttl(frame: &mut Frame<'_>) {
    if let Some(header) = frame.data_mut()[L3..].first_chunk_mut() {
        ipv4::decrement_ttl(header);
    }
}

/// Takes one hop off the hop limit.
#[inline]
pub(crate) fn decrement_hop_limit(frame: &mut Frame<'_>) {
    if let Some(hop_limit) = frame.data_mut().get_mut(L3 + 7) {
        *hop_limit = hop_limit.wrapping_sub(1);
    }
}

/// Completes a pending checksum of an unsegmented frame whose L4 message begins at `l4`; false when what is pending does
/// not lie within that message.
pub(crate) fn complete_checksum(frame: &mut Frame<'_>, l4: usize) -> bool {
    if frame.offload.gso != Gso::None {
        return false;
    }
    match frame.offload.checksum {
        None => true,
        Some(pending) => usize::from(pending.start) >= l4 && segment::complete_checksum(frame, L3),
    }
}

/// Grows a host packet by the room of an Ethernet header; false when the buffer has no headroom for it.
pub(crate) fn add_link_header(frame: &mut Frame<'_>) -> bool {
    if !frame.push_front(eth::HEADER_BYTES) {
        return false;
    }
    let bytes = 14;
    if let Some(pending) = &mut frame.offload.checksum {
        pending.start = pending.start.saturating_add(bytes);
    }
    if frame.offload.header_bytes > 0 {
        frame.offload.header_bytes = frame.offload.header_bytes.saturating_add(bytes);
    }
    true
}

/// Takes priority tags off (IEEE 802.1Q clause 6.9: a tag of VLAN id 0 gives a frame a priority and no VLAN), several too,
/// as Linux `__netif_receive_skb_core` does. The `EtherType` behind them, or `None` when a tag names a VLAN or is cut
/// short.
#[cold]
pub(crate) fn remove_priority_tags(frame: &mut Frame<'_>) -> Option<u16> {
    const TAG_BYTES: u16 = 4;
    const VLAN_ID: u16 = 0x0fff;
    let word = |data: &[u8], at: usize| Some(u16::from_be_bytes([*data.get(at)?, *data.get(at + 1)?]));
    loop {
        let ether_type = word(frame.data(), 12)?;
        if !matches!(ether_type, eth::TYPE_VLAN | eth::TYPE_QINQ) {
            return Some(ether_type);
        }
        let control = word(frame.data(), L3)?;
        if control & VLAN_ID != 0 || frame.len() < L3 + usize::from(TAG_BYTES) {
            return None;
        }
        // The addresses move up to what the tag was in front of.
        frame.data_mut().copy_within(..12, usize::from(TAG_BYTES));
        moved_front(frame, TAG_BYTES);
    }
}

/// Takes bytes off the front; what is pending of the frame counts from there.
fn moved_front(frame: &mut Frame<'_>, bytes: u16) {
    frame.pull_front(usize::from(bytes));
    if let Some(pending) = &mut frame.offload.checksum {
        pending.start = pending.start.saturating_sub(bytes);
    }
    frame.offload.header_bytes = frame.offload.header_bytes.saturating_sub(bytes);
}

/// Takes the Ethernet header off, for the host.
pub(crate) fn remove_link_header(frame: &mut Frame<'_>) {
    moved_front(frame, 14);
}
