//! The steps of an IPv6 packet, neighbour discovery and multicast listener discovery.

pub(crate) mod advertise;
pub(crate) mod forward;
pub(crate) mod icmp_error;
pub(crate) mod input;
pub(crate) mod listener;
pub(crate) mod local;
pub(crate) mod mld;
pub(crate) mod nd;
pub(crate) mod redirect;
pub(crate) mod schedule;
