//! What a link does for its senders, through ethtool's generic netlink family.
//!
//! Messages are written by hand: two requests do not pay for another library. Source:
//! Documentation/networking/ethtool-netlink.rst, include/uapi/linux/ethtool_netlink.h, net/ethtool/features.c.

use std::io;

use rtnetlink::sys::protocols::NETLINK_GENERIC;
use rtnetlink::sys::{Socket, SocketAddr};

use crate::Error;

/// What makes a sender leave work to the link: pending checksums, with them frames larger than the MTU, and VLAN tags that
/// stand beside a frame.
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

/// SCTP chunks of several packets in one frame, for which a virtio-net header has no word: a packet socket loses it
/// (`virtio_net_hdr_from_skb`).
const SCTP_SEGMENTATION: &str = "tx-sctp-segmentation";

const NLMSG_ERROR: u16 = 2;
const NLM_F_REQUEST_ACK: u16 = 1 | 4;
const NLMSG_HEADER_BYTES: usize = 16;
const GENL_HEADER_BYTES: usize = 4;
const NESTED: u16 = 0x8000;

/// Generic netlink's own family, and asking it for another.
const GENL_ID_CTRL: u16 = 16;
const CTRL_CMD_GETFAMILY: u8 = 3;
const CTRL_ATTR_FAMILY_ID: u16 = 1;
const CTRL_ATTR_FAMILY_NAME: u16 = 2;

const ETHTOOL_MSG_FEATURES_SET: u8 = 12;
const FEATURES_HEADER: u16 = 1;
const FEATURES_WANTED: u16 = 3;
const HEADER_DEV_NAME: u16 = 2;
const BITSET_BITS: u16 = 3;
const BITS_BIT: u16 = 1;
const BIT_NAME: u16 = 2;

/// Has every frame that is sent by `ifname` complete and no larger than the MTU: the sender's kernel computes checksums
/// and cuts segments.
///
/// # Errors
/// What the kernel refused.
pub(crate) fn complete_frames(ifname: &str) -> Result<(), Error> {
    features_off(ifname, &OFFLOADS).map_err(Error::step(format!("switch the offloads of {ifname} off")))
}

/// Has `ifname` send no frame whose segmentation a packet socket cannot tell of. Where the kernel refuses, only SCTP in
/// bulk is the slower for it.
pub(crate) fn nameable_frames(ifname: &str) {
    let _ = features_off(ifname, &[SCTP_SEGMENTATION]);
}

fn features_off(ifname: &str, features: &[&str]) -> io::Result<()> {
    let mut socket = Socket::new(NETLINK_GENERIC)?;
    socket.bind_auto()?;
    socket.connect(&SocketAddr::new(0, 0))?;
    let name = attribute(CTRL_ATTR_FAMILY_NAME, b"ethtool\0");
    let family = ask(&socket, GENL_ID_CTRL, CTRL_CMD_GETFAMILY, &name)?
        .and_then(|attributes| find(&attributes, CTRL_ATTR_FAMILY_ID))
        .ok_or_else(|| io::Error::from(io::ErrorKind::Unsupported))?;
    // A bit that is named without a value is to be off; those that are not named stay.
    let bits: Vec<u8> = features
        .iter()
        .flat_map(|feature| attribute(NESTED | BITS_BIT, &attribute(BIT_NAME, &terminated(feature))))
        .collect();
    let mut request = attribute(NESTED | FEATURES_HEADER, &attribute(HEADER_DEV_NAME, &terminated(ifname)));
    request.extend(attribute(NESTED | FEATURES_WANTED, &attribute(NESTED | BITSET_BITS, &bits)));
    ask(&socket, family, ETHTOOL_MSG_FEATURES_SET, &request)?;
    Ok(())
}

fn terminated(text: &str) -> Vec<u8> {
    text.bytes().chain([0]).collect()
}

/// One attribute, padded to a multiple of four bytes (struct nlattr).
fn attribute(kind: u16, value: &[u8]) -> Vec<u8> {
    let len = u16::try_from(4 + value.len()).unwrap_or(u16::MAX);
    let mut bytes = Vec::from(len.to_ne_bytes());
    bytes.extend(kind.to_ne_bytes());
    bytes.extend(value);
    bytes.resize(bytes.len().next_multiple_of(4), 0);
    bytes
}

/// The value of an attribute that is a 16-bit number.
fn find(mut attributes: &[u8], wanted: u16) -> Option<u16> {
    while let [l0, l1, k0, k1, rest @ ..] = attributes {
        let len = usize::from(u16::from_ne_bytes([*l0, *l1])).max(4);
        if u16::from_ne_bytes([*k0, *k1]) == wanted {
            return Some(u16::from_ne_bytes([*rest.first()?, *rest.get(1)?]));
        }
        attributes = attributes.get(len.next_multiple_of(4)..)?;
    }
    None
}

/// Sends one request and reads until it is acknowledged; the attributes of the answer, if there was one.
fn ask(socket: &Socket, family: u16, command: u8, attributes: &[u8]) -> io::Result<Option<Vec<u8>>> {
    let len = NLMSG_HEADER_BYTES + GENL_HEADER_BYTES + attributes.len();
    let mut request = Vec::from(u32::try_from(len).unwrap_or(u32::MAX).to_ne_bytes());
    request.extend(family.to_ne_bytes());
    request.extend(NLM_F_REQUEST_ACK.to_ne_bytes());
    // Sequence number and port: one request at a time, by a socket of its own.
    request.extend([0; 8]);
    request.extend([command, 1, 0, 0]);
    request.extend(attributes);
    socket.send(&request, 0)?;
    let mut answer = None;
    loop {
        let (datagram, _) = socket.recv_from_full()?;
        let mut rest = datagram.as_slice();
        while let Some((kind, payload, next)) = message(rest) {
            if kind == NLMSG_ERROR {
                let code = payload.first_chunk().map_or(0, |code| i32::from_ne_bytes(*code));
                return if code == 0 { Ok(answer) } else { Err(io::Error::from_raw_os_error(-code)) };
            }
            answer = payload.get(GENL_HEADER_BYTES..).map(<[u8]>::to_vec);
            rest = next;
        }
    }
}

/// The first message of a datagram: its type, what follows its header, and the messages behind it.
fn message(datagram: &[u8]) -> Option<(u16, &[u8], &[u8])> {
    let len = usize::try_from(u32::from_ne_bytes(*datagram.first_chunk()?)).ok()?;
    let kind = u16::from_ne_bytes([*datagram.get(4)?, *datagram.get(5)?]);
    let payload = datagram.get(NLMSG_HEADER_BYTES..len)?;
    Some((kind, payload, datagram.get(len.next_multiple_of(4)..).unwrap_or_default()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attributes_are_padded_and_found_again() {
        let mut bytes = attribute(7, b"odd\0\0");
        assert_eq!(bytes.len(), 12);
        bytes.extend(attribute(CTRL_ATTR_FAMILY_ID, &20u16.to_ne_bytes()));
        assert_eq!(find(&bytes, CTRL_ATTR_FAMILY_ID), Some(20));
        assert_eq!(find(&bytes, 9), None);
    }

    #[test]
    fn messages_follow_each_other_in_a_datagram() {
        let one = |kind: u16, payload: u32| {
            let mut bytes = Vec::from(20u32.to_ne_bytes());
            bytes.extend(kind.to_ne_bytes());
            bytes.extend([0; 10]);
            bytes.extend(payload.to_ne_bytes());
            bytes
        };
        let datagram = [one(5, 1), one(NLMSG_ERROR, 0)].concat();
        let (kind, payload, rest) = message(&datagram).expect("a message");
        assert_eq!((kind, payload), (5, &1u32.to_ne_bytes()[..]));
        assert_eq!(message(rest).map(|(kind, ..)| kind), Some(NLMSG_ERROR));
        assert_eq!(message(&datagram[..10]), None);
    }
}
