//! ARP for IPv4 over Ethernet (RFC 826).

use std::net::Ipv4Addr;

use crate::eth::MacAddr;

/// Bytes of an ARP packet for IPv4 over Ethernet.
pub const BYTES: usize = 28;
/// The operation of a question.
pub const REQUEST: u16 = 1;
/// The operation of an answer.
pub const REPLY: u16 = 2;

/// Hardware type Ethernet, protocol IPv4, address lengths 6 and 4.
const PREFIX: [u8; 6] = [0, 1, 8, 0, 6, 4];
/// The same with the hardware type of IEEE 802 networks: stations on Ethernet are to accept it (RFC 1042),
/// and Linux `arp_process` does.
const PREFIX_IEEE802: [u8; 6] = [0, 6, 8, 0, 6, 4];

/// What an ARP packet says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Packet {
    /// [`REQUEST`] or [`REPLY`].
    pub operation: u16,
    /// MAC address of the sender.
    pub sender_mac: MacAddr,
    /// IPv4 address of the sender; 0.0.0.0 in a probe (RFC 5227).
    pub sender: Ipv4Addr,
    /// MAC address of the target; no meaning in a request.
    pub target_mac: MacAddr,
    /// IPv4 address of the target.
    pub target: Ipv4Addr,
}

impl Packet {
    /// Reads a packet; `None` when it is too short or not for IPv4 over Ethernet.
    pub fn parse(bytes: &[u8]) -> Option<Packet> {
        let b = bytes.first_chunk::<BYTES>()?;
        if b[..6] != PREFIX && b[..6] != PREFIX_IEEE802 {
            return None;
        }
        Some(Packet {
            operation: u16::from_be_bytes([b[6], b[7]]),
            sender_mac: MacAddr([b[8], b[9], b[10], b[11], b[12], b[13]]),
            sender: Ipv4Addr::new(b[14], b[15], b[16], b[17]),
            target_mac: MacAddr([b[18], b[19], b[20], b[21], b[22], b[23]]),
            target: Ipv4Addr::new(b[24], b[25], b[26], b[27]),
        })
    }

    /// Writes the packet.
    pub fn write(&self, bytes: &mut [u8; BYTES]) {
        bytes[..6].copy_from_slice(&PREFIX);
        bytes[6..8].copy_from_slice(&self.operation.to_be_bytes());
        bytes[8..14].copy_from_slice(&self.sender_mac.0);
        bytes[14..18].copy_from_slice(&self.sender.octets());
        bytes[18..24].copy_from_slice(&self.target_mac.0);
        bytes[24..].copy_from_slice(&self.target.octets());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use pnet_packet::arp::ArpPacket;

    #[test]
    fn golden_bytes_both_ways_and_pnet_agrees() {
        let golden =
            [0, 1, 8, 0, 6, 4, 0, 2, 2, 1, 2, 3, 4, 1, 10, 10, 251, 2, 2, 1, 2, 3, 4, 0x11, 10, 10, 251, 1];
        let packet = Packet::parse(&golden).unwrap();
        assert_eq!(packet.operation, REPLY);
        assert_eq!(packet.sender, Ipv4Addr::new(10, 10, 251, 2));
        assert_eq!(packet.target_mac, MacAddr([2, 1, 2, 3, 4, 0x11]));
        let mut written = [0; BYTES];
        packet.write(&mut written);
        assert_eq!(written, golden);
        let oracle = ArpPacket::new(&golden).unwrap();
        assert_eq!(oracle.get_operation().0, packet.operation);
        assert_eq!(oracle.get_sender_hw_addr().octets(), packet.sender_mac.0);
        assert_eq!(oracle.get_sender_proto_addr(), packet.sender);
        assert_eq!(oracle.get_target_proto_addr(), packet.target);
        assert!(Packet::parse(&golden[..27]).is_none());
        let mut other = golden;
        other[1] = 6;
        assert_eq!(Packet::parse(&other), Some(packet));
        other[1] = 7;
        assert!(Packet::parse(&other).is_none());
    }
}
