//! The receive half: frames are lent from the chunks in which the kernel left them, and the chunks come back.

use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;

use arrayvec::ArrayVec;
use nsrouter_wire::frame::{Frame, PortId};
use nsrouter_wire::offload::Offload;

use crate::port::{BURST_FRAMES, Burst, Receive, Received};
use crate::sys::socket;
use crate::sys::xdp;
use crate::sys::xdp::area::Chunk;
use crate::sys::xdp::rx::RxRings;
use crate::xdp::area::SharedArea;

/// The receive half of an xdp port.
#[derive(Debug)]
pub struct XdpRx {
    port: PortId,
    /// With the last of these goes the program. Before the socket, so that nothing is redirected into none.
    _redirect: Arc<OwnedFd>,
    area: SharedArea,
    rings: RxRings,
    /// Chunks whose frames are lent.
    lent: ArrayVec<Chunk, BURST_FRAMES>,
    /// Chunks whose loan is over while they are in flight, oldest first.
    away: VecDeque<Chunk>,
    /// Chunks that are free, the last used one last.
    spare: Vec<Chunk>,
    lost_before: u64,
    fd: Arc<OwnedFd>,
}

impl XdpRx {
    /// The receive half of a socket that is bound, whose frames go into the chunks of `home`; the kernel has
    /// them when this returns. `redirect` keeps the program attached.
    pub(super) fn new(
        port: PortId,
        area: SharedArea,
        rings: RxRings,
        home: Vec<Chunk>,
        redirect: Arc<OwnedFd>,
        fd: Arc<OwnedFd>,
    ) -> XdpRx {
        let away = VecDeque::with_capacity(home.len());
        let mut rx = XdpRx {
            port,
            _redirect: redirect,
            area,
            rings,
            lent: ArrayVec::new(),
            away,
            spare: home,
            lost_before: 0,
            fd,
        };
        rx.refill();
        rx
    }

    /// Takes back the chunks of the last burst, and those that have come back from being sent.
    fn reclaim(&mut self) {
        for chunk in self.lent.take() {
            if self.area.is_in_flight(&chunk) { self.away.push_back(chunk) } else { self.spare.push(chunk) }
        }
        // In the order in which they went, nearly: one that is late is asked again after the others.
        for _ in 0..self.away.len().min(2 * BURST_FRAMES) {
            let Some(chunk) = self.away.pop_front() else { break };
            if self.area.is_in_flight(&chunk) { self.away.push_back(chunk) } else { self.spare.push(chunk) }
        }
    }

    /// Gives the kernel as many free chunks as it takes.
    fn refill(&mut self) {
        while let Some(chunk) = self.spare.pop() {
            if let Err(chunk) = self.rings.give(chunk) {
                self.spare.push(chunk);
                break;
            }
        }
        self.rings.publish();
    }
}

impl Receive for XdpRx {
    fn recv<'r>(&'r mut self, max: usize, burst: &mut Burst<'r>) -> io::Result<Received> {
        self.reclaim();
        self.refill();
        let mut received = Received::default();
        let mut places: ArrayVec<(usize, usize), BURST_FRAMES> = ArrayVec::new();
        let limit = max.min(burst.remaining_capacity()).min(BURST_FRAMES);
        let mut taken = 0;
        while taken < limit {
            let arrival = self.rings.take(self.area.area());
            taken += usize::from(arrival.is_some());
            match arrival {
                Some(Some(arrival)) => {
                    places.push((arrival.start, arrival.len));
                    self.lent.push(arrival.chunk);
                }
                Some(None) => received.unsupported_frames += 1,
                None => break,
            }
        }
        if taken > 0 {
            self.rings.release();
        }
        for (chunk, (start, len)) in self.lent.iter_mut().zip(places) {
            match Frame::new(chunk.bytes_mut(), start, len, self.port, Offload::default()) {
                Some(frame) => burst.push(frame),
                None => received.unsupported_frames += 1,
            }
        }
        Ok(received)
    }

    fn fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }

    fn polls_without_syscall(&self) -> bool {
        true
    }

    fn take_error(&mut self) -> io::Result<()> {
        socket::take_error(self.fd.as_fd())
    }

    fn take_lost_frames(&mut self) -> u64 {
        // It fails only for a bad descriptor. A frame that finds no chunk is counted in rx_dropped.
        let Ok(statistics) = xdp::statistics(self.fd.as_fd()) else { return 0 };
        let lost = statistics.rx_dropped + statistics.rx_ring_full;
        lost - std::mem::replace(&mut self.lost_before, lost).min(lost)
    }
}
