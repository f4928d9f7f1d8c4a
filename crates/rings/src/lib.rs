//! How frames enter and leave: one kernel mechanism a file, behind two small traits.
//!
//! | file | what |
//! |---|---|
//! | [`port`] | the receive and the transmit half of a port |
//! | [`packet`] | AF_PACKET: a TPACKET_V2 receive ring, `sendmmsg` out, virtio-net headers both ways |
//! | [`tap`] | the other end of a host's TAP interface: no veth, whole GSO packets both ways |
//! | [`xdp`] | AF_XDP: rings over one memory area, sent on without a copy |
//! | [`tun`] | the host port: raw IP packets from and to the router's own programs |
//! | [`memory`] | an in-process ring for tests and benchmarks |
//! | [`vnet`] | a virtio-net header's bytes as [`nsrouter_wire::offload::Offload`] and back |
//! | [`guard`] | a program that keeps the kernel's hands off what the router owns |
//! | [`probe`] | what this kernel and user can do, tried for real |
//! | [`limits`] | the memory that can still be had, and what too few descriptors look like |
//! | `sys` | the system calls and the shared memory: all the unsafe code there is |

#![deny(unsafe_code)]

#[allow(unsafe_code, reason = "here and nowhere else")]
mod sys;

pub mod guard;
pub mod limits;
pub mod memory;
pub mod packet;
pub mod port;
pub mod probe;
pub mod tap;
pub mod tun;
pub mod tuntap;
pub mod vnet;
pub mod xdp;
