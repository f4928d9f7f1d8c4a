//! What the neighbour table asks of the control plane.

use nsrouter_wire::frame::PortId;

use crate::drop::DropReason;
use crate::verdict::NextHop;

/// What the control plane does next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Send this frame, an ARP request or a neighbour solicitation.
    Probe {
        /// The egress port.
        port: PortId,
        /// The complete frame, Ethernet header included.
        frame: Vec<u8>,
    },
    /// Send the frames that are pending for this next hop, once the new map is published.
    Resolved(NextHop),
    /// Drop the frames that are pending for this next hop, for this reason.
    Failed(NextHop, DropReason),
}
