//! What is IPv4's alone: options and fragmentation.

pub(crate) mod fragment;
pub(crate) mod options;
