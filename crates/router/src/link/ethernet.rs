//! The first step: the Ethernet header. Is the frame for this station, and what does it carry (IEEE 802.3,
//! 802.1Q)?

use nsrouter_wire::eth;
use nsrouter_wire::frame::Frame;

use crate::drop::DropReason;
use crate::packet::{self, L3, LinkDestination};
use crate::port::Port;
use crate::tables::Tables;

/// What the Ethernet header of a frame for this station says.
pub(crate) struct Arrival<'t> {
    /// The ingress port.
    pub(crate) port: &'t Port,
    /// This station, or a group.
    pub(crate) destination: LinkDestination,
    /// What the frame carries, behind priority tags.
    pub(crate) ether_type: u16,
}

/// Checks port and destination, and removes priority tags.
#[inline]
pub(crate) fn input<'t>(frame: &mut Frame<'_>, tables: &'t Tables) -> Result<Arrival<'t>, DropReason> {
    let Some(port) = tables.port(frame.ingress).filter(|port| port.up) else {
        return Err(DropReason::PortDown);
    };
    let Some(header) = eth::Header::parse(frame.data()) else { return Err(DropReason::EthShort) };
    let destination = match header.destination() {
        own if own == port.mac => LinkDestination::Router,
        group if group.is_multicast() => LinkDestination::Group,
        _ => return Err(DropReason::EthNotOurs),
    };
    let ether_type = match header.ether_type() {
        eth::TYPE_VLAN | eth::TYPE_QINQ => remove_priority_tags(frame).ok_or(DropReason::Vlan)?,
        ether_type => ether_type,
    };
    Ok(Arrival { port, destination, ether_type })
}

/// Makes room for an Ethernet header before a host packet; false when the buffer has no headroom for it.
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

/// Removes priority tags (IEEE 802.1Q clause 6.9: a tag of VLAN id 0 gives a frame a priority and no VLAN),
/// several too, as Linux `__netif_receive_skb_core` does. Returns the `EtherType` behind them, or `None` when
/// a tag names a VLAN or is cut short.
#[cold]
fn remove_priority_tags(frame: &mut Frame<'_>) -> Option<u16> {
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
        packet::pull_front(frame, TAG_BYTES);
    }
}
