//! Neighbour discovery messages (RFC 4861 section 4) and their options, checked as section 4.6 asks.

use std::net::Ipv6Addr;

use crate::eth::MacAddr;

/// The hop limit that proves that a message came from this link (RFC 4861 section 7.1).
pub const HOP_LIMIT: u8 = 255;
/// Bytes of a solicitation or advertisement without options.
pub const NEIGHBOUR_BYTES: usize = 24;
/// Bytes of a solicitation or advertisement with one link-layer address option.
pub const NEIGHBOUR_WITH_MAC_BYTES: usize = 32;
/// Option: the sender's link-layer address.
pub const SOURCE_MAC: u8 = 1;
/// Option: the target's link-layer address.
pub const TARGET_MAC: u8 = 2;

/// The R flag of an advertisement: the sender is a router.
pub const FLAG_ROUTER: u8 = 0x80;
/// The S flag: an answer to a solicitation.
pub const FLAG_SOLICITED: u8 = 0x40;
/// The O flag: override a cached address.
pub const FLAG_OVERRIDE: u8 = 0x20;

/// The link-layer addresses that the options of a message name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Options {
    /// The sender's.
    pub source_mac: Option<MacAddr>,
    /// The target's.
    pub target_mac: Option<MacAddr>,
}

impl Options {
    /// Reads the options; `None` when one has length zero or does not fit, which makes the message invalid.
    pub fn parse(mut bytes: &[u8]) -> Option<Options> {
        let mut options = Options::default();
        while !bytes.is_empty() {
            let units = usize::from(*bytes.get(1)?);
            if units == 0 {
                return None;
            }
            let (option, rest) = bytes.split_at_checked(units * 8)?;
            if let (kind @ (SOURCE_MAC | TARGET_MAC), 1, Some(mac)) =
                (option[0], units, option[2..].first_chunk::<6>())
            {
                let slot = if kind == SOURCE_MAC { &mut options.source_mac } else { &mut options.target_mac };
                *slot = Some(MacAddr(*mac));
            }
            bytes = rest;
        }
        Some(options)
    }
}

/// Writes a neighbour solicitation or advertisement, checksum left at zero: `kind` is the ICMPv6 type,
/// `option` the number of the link-layer address option.
pub fn write_neighbour(
    message: &mut [u8; NEIGHBOUR_WITH_MAC_BYTES],
    kind: u8,
    flags: u8,
    target: Ipv6Addr,
    option: u8,
    mac: MacAddr,
) {
    message.fill(0);
    message[0] = kind;
    message[4] = flags;
    message[8..24].copy_from_slice(&target.octets());
    message[24] = option;
    message[25] = 1;
    message[26..].copy_from_slice(&mac.0);
}

/// The target of a neighbour solicitation or advertisement.
pub fn target(message: &[u8]) -> Option<Ipv6Addr> {
    let octets: &[u8; 16] = message.get(8..24)?.first_chunk()?;
    Some(Ipv6Addr::from(*octets))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn solicitation_golden_bytes() {
        let target_address: Ipv6Addr = "fd00:251::2".parse().unwrap();
        let mut message = [0xee; 32];
        write_neighbour(&mut message, 135, 0, target_address, SOURCE_MAC, MacAddr([2, 1, 2, 3, 4, 0x11]));
        let mut golden = vec![135, 0, 0, 0, 0, 0, 0, 0];
        golden.extend(target_address.octets());
        golden.extend([1, 1, 2, 1, 2, 3, 4, 0x11]);
        assert_eq!(message.as_slice(), golden);
        assert_eq!(target(&message), Some(target_address));
        let options = Options::parse(&message[24..]).unwrap();
        assert_eq!(options.source_mac, Some(MacAddr([2, 1, 2, 3, 4, 0x11])));
        assert_eq!(options.target_mac, None);
    }

    #[test]
    fn bad_options_make_the_message_invalid() {
        assert_eq!(Options::parse(&[1, 0, 0, 0, 0, 0, 0, 0]), None, "length zero");
        assert_eq!(Options::parse(&[1, 2, 0, 0, 0, 0, 0, 0]), None, "beyond the end");
        assert_eq!(Options::parse(&[1]), None, "half an option");
        // An option nobody knows is skipped (the nonce of RFC 3971 in a DAD probe).
        assert_eq!(Options::parse(&[14, 1, 0, 0, 0, 0, 0, 0]), Some(Options::default()));
    }
}
