//! What is IPv6's alone: neighbour discovery, router advertisements, multicast listener discovery.

pub(crate) mod advertise;
pub(crate) mod mld;
pub(crate) mod nd;
