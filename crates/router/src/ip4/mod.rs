//! The steps of an IPv4 packet.

pub(crate) mod forward;
pub(crate) mod fragment;
pub(crate) mod icmp_error;
pub(crate) mod input;
pub(crate) mod local;
pub(crate) mod option_list;
pub(crate) mod options;
pub(crate) mod redirect;
