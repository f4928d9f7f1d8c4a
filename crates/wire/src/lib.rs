#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::cast_possible_truncation))]

pub mod arp;
pub mod bytes;
pub mod checksum;
mod crc32c;
pub mod eth;
pub mod frame;
pub mod icmp;
pub mod ipv4;
pub mod ipv6;
pub mod mld;
pub mod nd;
pub mod offload;
pub mod protocol;
pub mod segment;
mod tunnel;
