//! System calls and shared memory: all the unsafe code there is. Everything that leaves this folder is safe
//! to call.

pub(crate) mod bpf;
pub(crate) mod child;
pub(crate) mod mapping;
pub(crate) mod messages;
pub(crate) mod slots;
pub(crate) mod socket;
pub(crate) mod tuntap;
pub(crate) mod xdp;
