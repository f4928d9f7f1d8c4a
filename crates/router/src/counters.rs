//! Plain per-worker `u64`s, and the law that they add up.
//!
//! Who counts what: [`Router`](crate::Router) counts each frame that it is given as `received`, and its verdict as if
//! that will succeed: `Send` and `Reply` count as sent, `ToHost` as to host, `Hold` as held. What it hands to
//! [`Originate`](crate::Originate) counts as originated and then likewise. Whoever transmits corrects what did not
//! happen, with [`Counters::unsent`] and [`Counters::unheld`], and counts as received and dropped
//! ([`Counters::received_dropped`]) what it discards before the router sees it.

use nsrouter_wire::frame::PortId;

use crate::drop::DropReason;

/// Frames and bytes of one port.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PortCounters {
    /// Frames that came in.
    pub rx_frames: u64,
    /// Their bytes, Ethernet header included, FCS not.
    pub rx_bytes: u64,
    /// Frames that went out.
    pub tx_frames: u64,
    /// Their bytes.
    pub tx_bytes: u64,
    /// Frames that the kernel lost before we saw them, as the ring told; no part of the law.
    pub rx_lost: u64,
    /// Frames that were to go out here and did not: the sum of what [`Counters::unsent`] took back.
    pub tx_dropped: u64,
}

impl PortCounters {
    fn add(&mut self, other: &PortCounters) {
        self.rx_frames += other.rx_frames;
        self.rx_bytes += other.rx_bytes;
        self.tx_frames += other.tx_frames;
        self.tx_bytes += other.tx_bytes;
        self.rx_lost += other.rx_lost;
        self.tx_dropped += other.tx_dropped;
    }
}

/// What one worker did, in frames. A super-frame (GSO) is one frame, as it is to the kernel's counters.
#[derive(Debug, PartialEq, Eq)]
pub struct Counters {
    /// By slot; the counters of a slot that is empty are zero.
    pub ports: Vec<PortCounters>,
    /// Ports that were removed, all together.
    pub departed: PortCounters,
    /// The host port; its bytes have no link-layer header.
    pub host: PortCounters,
    /// Frames given to the router.
    pub received: u64,
    /// Frames that the router made itself: ICMP errors, fragments, solicitations.
    pub originated: u64,
    /// Frames out by a link port, forwarded, replied or originated.
    pub sent: u64,
    /// Frames handed to the host port.
    pub to_host: u64,
    /// Frames fully handled here, or replaced by originated ones.
    pub consumed: u64,
    /// Frames that await a neighbour's MAC address right now.
    pub held: u64,
    /// Frames dropped, by [`DropReason`].
    drops: [u64; DropReason::COUNT],
    /// ICMP errors originated; part of `originated`, no part of the law.
    pub icmp_errors: u64,
    /// ICMP errors not sent because of a rate limit; no part of the law.
    pub icmp_rate_limited: u64,
    /// What should have been originated but found no buffer; no part of the law.
    pub originate_no_buffer: u64,
    /// Route look-ups made; no part of the law.
    pub lookups: u64,
}

impl Default for Counters {
    fn default() -> Self {
        Counters::new(0)
    }
}

impl Clone for Counters {
    fn clone(&self) -> Counters {
        let mut copy = Counters::default();
        copy.clone_from(self);
        copy
    }

    /// Allocates only where there are more ports than before: a worker publishes its counters so.
    fn clone_from(&mut self, source: &Counters) {
        let mut ports = std::mem::take(&mut self.ports);
        ports.clone_from(&source.ports);
        let Counters {
            ports: _,
            departed,
            host,
            received,
            originated,
            sent,
            to_host,
            consumed,
            held,
            drops,
            icmp_errors,
            icmp_rate_limited,
            originate_no_buffer,
            lookups,
        } = *source;
        *self = Counters {
            ports,
            departed,
            host,
            received,
            originated,
            sent,
            to_host,
            consumed,
            held,
            drops,
            icmp_errors,
            icmp_rate_limited,
            originate_no_buffer,
            lookups,
        };
    }
}

impl Counters {
    /// All zero, with room for `ports` link ports.
    pub fn new(ports: usize) -> Self {
        Counters {
            ports: vec![PortCounters::default(); ports],
            departed: PortCounters::default(),
            host: PortCounters::default(),
            received: 0,
            originated: 0,
            sent: 0,
            to_host: 0,
            consumed: 0,
            held: 0,
            drops: [0; DropReason::COUNT],
            icmp_errors: 0,
            icmp_rate_limited: 0,
            originate_no_buffer: 0,
            lookups: 0,
        }
    }

    /// Makes room for the port of this slot.
    pub fn grow(&mut self, slot: PortId) {
        if slot != PortId::HOST && self.ports.len() <= slot.index() {
            self.ports.resize(slot.index() + 1, PortCounters::default());
        }
    }

    /// Adds the counters of a port that was removed to those of all that were, so that the sums stay; the slot's begin
    /// anew. No frame may be on its way out by the port any more: what is corrected later would be the next port's.
    pub fn retire(&mut self, slot: PortId) {
        if let Some(counters) = self.ports.get_mut(slot.index()) {
            self.departed.add(&std::mem::take(counters));
        }
    }

    /// Frames dropped for `reason`.
    #[inline]
    pub fn drops(&self, reason: DropReason) -> u64 {
        self.drops[reason as usize]
    }

    /// Frames dropped for any reason.
    pub fn dropped_total(&self) -> u64 {
        self.drops.iter().sum()
    }

    /// Merges another worker's counters into these.
    pub fn add(&mut self, other: &Counters) {
        if self.ports.len() < other.ports.len() {
            self.ports.resize(other.ports.len(), PortCounters::default());
        }
        for (mine, theirs) in self.ports.iter_mut().zip(&other.ports) {
            mine.add(theirs);
        }
        self.departed.add(&other.departed);
        self.host.add(&other.host);
        for (mine, theirs) in self.drops.iter_mut().zip(&other.drops) {
            *mine += theirs;
        }
        self.received += other.received;
        self.originated += other.originated;
        self.sent += other.sent;
        self.to_host += other.to_host;
        self.consumed += other.consumed;
        self.held += other.held;
        self.icmp_errors += other.icmp_errors;
        self.icmp_rate_limited += other.icmp_rate_limited;
        self.originate_no_buffer += other.originate_no_buffer;
        self.lookups += other.lookups;
    }

    /// The law of counters: received + originated = sent + to host + consumed + held + drops.
    ///
    /// # Errors
    /// The sentence names both sides when they differ.
    pub fn check_conservation(&self) -> Result<(), String> {
        let inward = self.received + self.originated;
        let outward = self.sent + self.to_host + self.consumed + self.held + self.dropped_total();
        if inward == outward {
            return Ok(());
        }
        Err(format!(
            "the counters do not add up: received {} + originated {} = {inward}, but sent {} + to host {} + \
             consumed {} + held {} + dropped {} = {outward}",
            self.received,
            self.originated,
            self.sent,
            self.to_host,
            self.consumed,
            self.held,
            self.dropped_total()
        ))
    }

    /// The counters of one port, the host port included; all zero for a port that is not there.
    pub fn port(&self, port: PortId) -> PortCounters {
        if port == PortId::HOST {
            self.host
        } else {
            self.ports.get(port.index()).copied().unwrap_or_default()
        }
    }

    /// Counts a frame of `bytes` that came in by `port`.
    #[inline]
    pub fn count_rx(&mut self, port: PortId, bytes: usize) {
        self.received += 1;
        if let Some(counters) = self.port_mut(port) {
            counters.rx_frames += 1;
            counters.rx_bytes += bytes as u64;
        }
    }

    /// Counts a frame of `bytes` that leaves by `port`, the host's included.
    #[inline]
    pub fn count_tx(&mut self, port: PortId, bytes: usize) {
        if port == PortId::HOST {
            self.to_host += 1;
        } else {
            self.sent += 1;
        }
        if let Some(counters) = self.port_mut(port) {
            counters.tx_frames += 1;
            counters.tx_bytes += bytes as u64;
        }
    }

    /// Counts a dropped frame.
    #[inline]
    pub fn count_drop(&mut self, reason: DropReason) {
        self.drops[reason as usize] += 1;
    }

    /// A frame that was counted as received nowhere yet and is discarded before the router sees it.
    pub fn received_dropped(&mut self, port: PortId, bytes: usize, reason: DropReason) {
        self.count_rx(port, bytes);
        self.count_drop(reason);
    }

    /// Takes back `frames` of together `bytes` that were counted as sent by `port` (or to the host) and did not
    /// leave: they are drops.
    pub fn unsent(&mut self, port: PortId, reason: DropReason, frames: u64, bytes: u64) {
        if port == PortId::HOST {
            self.to_host -= frames;
        } else {
            self.sent -= frames;
        }
        if let Some(counters) = self.port_mut(port) {
            counters.tx_frames -= frames;
            counters.tx_bytes -= bytes;
            counters.tx_dropped += frames;
        }
        self.drops[reason as usize] += frames;
    }

    /// Takes back a frame of `bytes` that was counted as sent by `port` (or to the host) and is cut into segments
    /// instead: it is consumed, and its segments are to be counted as originated.
    pub fn replaced(&mut self, port: PortId, bytes: u64) {
        if port == PortId::HOST {
            self.to_host -= 1;
        } else {
            self.sent -= 1;
        }
        if let Some(counters) = self.port_mut(port) {
            counters.tx_frames -= 1;
            counters.tx_bytes = counters.tx_bytes.saturating_sub(bytes);
        }
        self.consumed += 1;
    }

    /// Takes back a frame that was counted as held and is not held after all (pool overflow, worker stopped).
    pub fn unheld(&mut self, reason: DropReason) {
        self.held -= 1;
        self.count_drop(reason);
    }

    /// Counts what came in and has no verdict as dropped: for a router that was interrupted between the two.
    pub fn settle(&mut self, reason: DropReason) {
        let outward = self.sent + self.to_host + self.consumed + self.held + self.dropped_total();
        self.drops[reason as usize] += (self.received + self.originated).saturating_sub(outward);
    }

    #[inline]
    fn port_mut(&mut self, port: PortId) -> Option<&mut PortCounters> {
        if port == PortId::HOST { Some(&mut self.host) } else { self.ports.get_mut(port.index()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accounting_holds_through_corrections_and_merging() {
        let mut a = Counters::new(2);
        a.count_rx(PortId(0), 60);
        a.count_tx(PortId(1), 60);
        a.unsent(PortId(1), DropReason::TxFull, 1, 60);
        a.count_rx(PortId(1), 60);
        a.held += 1;
        a.unheld(DropReason::HoldOverflow);
        a.received_dropped(PortId(0), 60, DropReason::RxTruncated);
        assert_eq!(a.check_conservation(), Ok(()));
        assert_eq!((a.sent, a.held, a.dropped_total()), (0, 0, 3));
        assert_eq!(a.ports[1].tx_bytes, 0);
        let mut sum = Counters::default();
        sum.add(&a);
        sum.add(&a);
        assert_eq!(sum.received, 6);
        assert_eq!(sum.drops(DropReason::TxFull), 2);
        assert_eq!(sum.check_conservation(), Ok(()));
        sum.received += 1;
        assert!(sum.check_conservation().unwrap_err().contains("do not add up"));
        sum.settle(DropReason::WorkerStopped);
        assert_eq!((sum.check_conservation(), sum.drops(DropReason::WorkerStopped)), (Ok(()), 1));
    }

    /// Frames and bytes in, out and lost, of all ports together.
    fn port_sums(counters: &Counters) -> [u64; 6] {
        let mut sum = counters.departed;
        counters.ports.iter().chain([&counters.host]).for_each(|port| sum.add(port));
        [sum.rx_frames, sum.rx_bytes, sum.tx_frames, sum.tx_bytes, sum.rx_lost, sum.tx_dropped]
    }

    #[test]
    fn a_port_that_is_removed_leaves_its_counts_behind_and_a_slot_at_zero() {
        let mut workers = [Counters::new(1), Counters::new(1)];
        for counters in &mut workers {
            counters.grow(PortId(2));
            counters.grow(PortId(0));
            counters.grow(PortId::HOST);
            assert_eq!(counters.ports.len(), 3);
            counters.count_rx(PortId(2), 100);
            counters.count_tx(PortId(0), 100);
            counters.received_dropped(PortId(2), 60, DropReason::EthShort);
            counters.count_rx(PortId(0), 70);
            counters.count_tx(PortId(2), 70);
            counters.unsent(PortId(2), DropReason::TxFull, 1, 70);
            counters.ports[2].rx_lost = 5;
        }
        let mut before = Counters::default();
        workers.iter().for_each(|counters| before.add(counters));
        // One worker has heard of the removal, the other has not yet.
        workers[0].retire(PortId(2));
        let mut between = Counters::default();
        workers.iter().for_each(|counters| between.add(counters));
        workers[1].retire(PortId(2));
        workers.iter_mut().for_each(|counters| counters.retire(PortId(7)));
        let mut after = Counters::default();
        workers.iter().for_each(|counters| after.add(counters));
        for counters in [&before, &between, &after] {
            assert_eq!(counters.check_conservation(), Ok(()));
            assert_eq!(port_sums(counters), port_sums(&before));
            assert_eq!(port_sums(counters)[0], counters.received);
            assert_eq!(port_sums(counters)[2], counters.sent);
        }
        assert_eq!(after.port(PortId(2)), PortCounters::default());
        assert_eq!((after.departed.rx_frames, after.departed.rx_lost, after.departed.tx_dropped), (4, 10, 2));
        // The next port in the slot.
        after.count_rx(PortId(2), 60);
        after.count_drop(DropReason::EthShort);
        assert_eq!((after.port(PortId(2)).rx_frames, after.check_conservation()), (1, Ok(())));
    }
}
