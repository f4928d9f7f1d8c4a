//! How frames enter and leave: kernel mechanisms, a folder each, behind two small traits.
//!
//! A [`port`] has a receive half and a transmit half. Frames are lent where the kernel left them, rewritten
//! in place, and sent from there; the next `recv` gives their memory back.
//!
//! | module | contents |
//! |---|---|
//! | [`port`] | the traits of the two halves, and what passes through them |
//! | [`backend`] | the description of a backend; [`BACKENDS`] lists them all |
//! | [`packet`] | AF_PACKET: a TPACKET_V2 receive ring, `sendmmsg` out, virtio-net headers both ways |
//! | [`tap`] | the other end of a host's TAP interface: no veth, whole GSO packets both ways |
//! | [`xdp`] | AF_XDP: rings over one memory area, sent on without a copy |
//! | [`tun`] | the host port: raw IP packets from and to local programs on the router |
//! | [`tuntap`] | what TUN and TAP share |
//! | [`memory`] | an in-process ring for tests and benchmarks |
//! | [`vnet`] | a virtio-net header's bytes as [`nsrouter_wire::offload::Offload`] and back |
//! | [`guard`] | a program that drops in the kernel what the router owns |
//! | [`probe`] | facilities of the kernel beside the backends, tried for real |
//! | [`limits`] | the memory and the file descriptors that this process can still have |
//! | `sys` | system calls and shared memory: all the unsafe code there is |
//!
//! ```
//! use nsrouter_rings::memory::{self, Stored};
//! use nsrouter_rings::port::{Burst, Capabilities, Receive, Transmit};
//! use nsrouter_wire::frame::PortId;
//! use nsrouter_wire::offload::Offload;
//!
//! // Two ports in memory; packet::open, tap::open and xdp::open return the same two halves.
//! let capabilities = Capabilities { checksum: true, tso: true, uso: true };
//! let (mut rx, _, left) = memory::port(PortId(0), 64, capabilities)?;
//! let (_, mut tx, right) = memory::port(PortId(1), 64, capabilities)?;
//! left.put(Stored { bytes: vec![0xff; 60], offload: Offload::default() });
//!
//! // A repeater: whatever enters by the left port leaves by the right one.
//! loop {
//!     let mut burst = Burst::new();
//!     rx.recv(64, &mut burst)?;
//!     if burst.is_empty() {
//!         break; // A worker would poll `rx.fd()` here.
//!     }
//!     let sent = tx.send(&mut burst);
//!     assert_eq!((sent.frames, sent.full), (1, 0));
//! }
//! assert_eq!(right.take().unwrap().bytes, [0xff; 60]);
//! # Ok::<(), std::io::Error>(())
//! ```

#![deny(unsafe_code)]

#[allow(unsafe_code, reason = "here and nowhere else")]
mod sys;

pub mod backend;
pub mod guard;
pub mod limits;
pub mod memory;
pub mod packet;
mod parallel;
pub mod port;
pub mod probe;
pub mod tap;
pub mod tun;
pub mod tuntap;
pub mod vnet;
pub mod xdp;

use crate::backend::Backend;

/// All backends, in the order in which `auto` tries them; the first one is the default where nothing is
/// tried.
pub static BACKENDS: [&Backend; 3] = [&packet::BACKEND, &tap::BACKEND, &xdp::BACKEND];

/// Holds the example of the README to what compiles.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
