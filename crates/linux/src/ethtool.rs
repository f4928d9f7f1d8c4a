//! The features of an interface, its offloads among them, over ethtool's generic netlink family.
//!
//! Interfaces are looked up in the network namespace of the calling thread. Sources:
//! Documentation/networking/ethtool-netlink.rst,
//! include/uapi/linux/ethtool_netlink.h, net/ethtool/features.c.

use std::io;

use crate::genetlink::Family;
use crate::netlink::{NESTED, attribute, attributes, terminated};

const ETHTOOL_MSG_FEATURES_GET: u8 = 11;
const ETHTOOL_MSG_FEATURES_SET: u8 = 12;
const FEATURES_HEADER: u16 = 1;
const FEATURES_WANTED: u16 = 3;
const FEATURES_ACTIVE: u16 = 4;
const HEADER_DEV_NAME: u16 = 2;
const BITSET_BITS: u16 = 3;
const BITS_BIT: u16 = 1;
const BIT_NAME: u16 = 2;

/// Why an interface's features could not be read or changed.
#[derive(Debug, thiserror::Error)]
pub enum EthtoolError {
    /// No generic netlink socket.
    #[error("cannot open a generic netlink socket: {0}")]
    Socket(#[source] io::Error),
    /// The kernel has no ethtool over netlink (before Linux 5.6).
    #[error("this kernel has no ethtool over netlink")]
    NoFamily,
    /// The request was refused.
    #[error("the kernel refused an ethtool request for {ifname}: {source}")]
    Refused {
        /// The interface.
        ifname: String,
        /// ENODEV where there is no such interface, EPERM without CAP_NET_ADMIN, EOPNOTSUPP where it has
        /// none.
        source: io::Error,
    },
}

impl From<EthtoolError> for io::Error {
    /// The kernel's error, for callers that say themselves what failed.
    fn from(error: EthtoolError) -> Self {
        match error {
            EthtoolError::Socket(source) | EthtoolError::Refused { source, .. } => source,
            EthtoolError::NoFamily => io::ErrorKind::Unsupported.into(),
        }
    }
}

fn open() -> Result<Family, EthtoolError> {
    Family::open("ethtool").map_err(EthtoolError::Socket)?.ok_or(EthtoolError::NoFamily)
}

fn ask(ifname: &str, command: u8, request: &[u8]) -> Result<Vec<u8>, EthtoolError> {
    let refused = |source| EthtoolError::Refused { ifname: ifname.to_owned(), source };
    open()?.ask(command, request).map_err(refused)
}

/// The names of the features that are on, as `ethtool -k` shows them: `tx-tcp-segmentation`, for example.
///
/// # Errors
/// [`EthtoolError`].
pub fn active_features(ifname: &str) -> Result<Vec<String>, EthtoolError> {
    ask(ifname, ETHTOOL_MSG_FEATURES_GET, &header(ifname)).map(|answer| active(&answer))
}

/// Switches `features` off, and leaves all others as they are. A feature that the interface does not have, or
/// that cannot be changed, is no error.
///
/// # Errors
/// [`EthtoolError`].
pub fn switch_off(ifname: &str, features: &[&str]) -> Result<(), EthtoolError> {
    let request = [header(ifname), wanted_off(features)].concat();
    ask(ifname, ETHTOOL_MSG_FEATURES_SET, &request).map(drop)
}

fn header(ifname: &str) -> Vec<u8> {
    attribute(NESTED | FEATURES_HEADER, &attribute(HEADER_DEV_NAME, &terminated(ifname)))
}

/// The bitset of changes: a bit that is named without a value is to be off, those that are not named stay.
fn wanted_off(features: &[&str]) -> Vec<u8> {
    let bits: Vec<u8> = features
        .iter()
        .flat_map(|feature| attribute(NESTED | BITS_BIT, &attribute(BIT_NAME, &terminated(feature))))
        .collect();
    attribute(NESTED | FEATURES_WANTED, &attribute(NESTED | BITSET_BITS, &bits))
}

/// The names in the bitset of active features of an answer.
fn active(answer: &[u8]) -> Vec<String> {
    let find = |within, wanted| attributes(within).find(|(kind, _)| *kind == wanted).map(|(_, value)| value);
    let bits = find(answer, FEATURES_ACTIVE).and_then(|set| find(set, BITSET_BITS)).unwrap_or_default();
    attributes(bits)
        .filter_map(|(_, bit)| find(bit, BIT_NAME))
        .map(|name| String::from_utf8_lossy(name).trim_end_matches('\0').to_owned())
        .collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_request_is_what_the_kernel_documents() {
        let bytes = wanted_off(&["rx-gro"]);
        // Wanted, bits, bit, name: lengths and kinds, little end first.
        let golden = [
            [24, 0, 3, 0x80, 20, 0, 3, 0x80, 16, 0, 1, 0x80],
            [11, 0, 2, 0, b'r', b'x', b'-', b'g', b'r', b'o', 0, 0],
        ];
        if cfg!(target_endian = "little") {
            assert_eq!(bytes, golden.concat());
        }
    }

    #[test]
    fn the_loopback_interface_has_features() {
        let features = active_features("lo").unwrap();
        assert!(features.iter().any(|name| name == "tx-tcp-segmentation"), "{features:?}");
        let error = active_features("no-such-link").unwrap_err();
        assert_eq!(io::Error::from(error).raw_os_error(), Some(nix::libc::ENODEV));
    }

    proptest! {
        #[test]
        fn no_answer_panics(bytes in proptest::collection::vec(any::<u8>(), 0..64)) {
            let set = attribute(FEATURES_ACTIVE, &attribute(BITSET_BITS, &attribute(BITS_BIT, &bytes)));
            let _ = (active(&bytes), active(&set));
        }
    }
}
