//! The offloads of a host's interface: which work the host leaves to its link.

use nsrouter_linux::ethtool;

use crate::error::Error;

/// What makes a sender leave work to the link: pending checksums, with them frames larger than the MTU, and
/// VLAN tags that are kept outside the frame.
const OFFLOADS: [&str; 8] = [
    "tx-checksum-ip-generic",
    "tx-checksum-sctp",
    "tx-tcp-segmentation",
    "tx-tcp6-segmentation",
    "tx-udp-segmentation",
    SCTP_SEGMENTATION,
    "tx-vlan-hw-insert",
    "tx-vlan-stag-hw-insert",
];

/// SCTP chunks of several packets in one frame. A virtio-net header cannot express it, so a packet socket
/// loses the information (`virtio_net_hdr_from_skb`).
const SCTP_SEGMENTATION: &str = "tx-sctp-segmentation";

/// Makes every frame that is sent on `ifname` complete and no larger than the MTU: the sender's kernel
/// computes checksums and segments.
///
/// # Errors
/// What the kernel refused.
pub(crate) fn complete_frames(ifname: &str) -> Result<(), Error> {
    ethtool::switch_off(ifname, &OFFLOADS)
        .map_err(Error::step(format!("switch the offloads of {ifname} off")))
}

/// Keeps `ifname` from sending frames whose segmentation a packet socket cannot express. Where the kernel
/// refuses, only bulk SCTP is affected.
pub(crate) fn expressible_frames(ifname: &str) {
    let _ = ethtool::switch_off(ifname, &[SCTP_SEGMENTATION]);
}
