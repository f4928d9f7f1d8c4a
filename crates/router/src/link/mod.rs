//! The link layer: Ethernet headers in and out, and ARP.

pub(crate) mod arp;
pub(crate) mod ethernet;
pub(crate) mod output;
