//! The router's questions for neighbours, and the stations' answers (RFC 826, RFC 4861 section 4).

use crate::packet::{self, A4, A6, ARP, IPV6, Ip6, Mac};
use crate::stations::{Where, router_mac};

/// The router asks for a neighbour.
pub struct Question {
    pub station: u8,
    family: Family,
    asker: Mac,
}

pub enum Family {
    V4 { asker: A4, target: A4 },
    V6 { asker: A6, target: A6 },
}

impl Question {
    pub fn parse(at: Where, data: &[u8]) -> Option<Question> {
        let asker: Mac = data.get(6..12)?.try_into().ok()?;
        if asker != router_mac(at) {
            return None;
        }
        match u16::from_be_bytes([data[12], data[13]]) {
            ARP if data.len() >= 42 && data[21] == 1 => {
                let [sender, target]: [A4; 2] = [28, 38].map(|at| data[at..at + 4].try_into().expect("four"));
                Some(Question { station: target[3], family: Family::V4 { asker: sender, target }, asker })
            }
            IPV6 if data.len() >= 78 && data[20] == packet::ICMPV6 && data[54] == 135 => {
                let [sender, target]: [A6; 2] =
                    [22, 62].map(|at| data[at..at + 16].try_into().expect("sixteen"));
                Some(Question { station: target[15], family: Family::V6 { asker: sender, target }, asker })
            }
            _ => None,
        }
    }

    pub fn answer(&self, mac: Mac) -> Vec<u8> {
        match self.family {
            Family::V4 { asker, target } => {
                packet::eth(self.asker, mac, ARP, &packet::arp(2, (mac, target), (self.asker, asker)))
            }
            Family::V6 { asker, target } => {
                let advertisement = advertisement(target, asker, 0x60, Some(mac));
                packet::eth(self.asker, mac, IPV6, &advertisement)
            }
        }
    }
}

/// A neighbour advertisement about its source, with these flags in the top bits (RFC 4861 section 4.4).
pub fn advertisement(source: A6, destination: A6, flags: u8, mac: Option<Mac>) -> Vec<u8> {
    let mut rest = source.to_vec();
    if let Some(mac) = mac {
        rest.extend([2, 1]);
        rest.extend(mac);
    }
    Ip6 { hops: 255, ..Ip6::new(source, destination) }.icmp(136, 0, [flags, 0, 0, 0], &rest)
}
