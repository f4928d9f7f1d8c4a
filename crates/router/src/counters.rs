//! What a worker counts, in one table for a port and one for the router: name, unit, help; and the packet
//! accounting, by which every frame has a fate.
//!
//! Who counts what: [`Router`](crate::Router) counts each frame that it is given as `received`, and its
//! verdict as if that will succeed: `Send` and `Reply` count as sent, `ToHost` as to host, `Hold` as held.
//! What it hands to [`Originate`](crate::Originate) counts as originated and then likewise. Whoever transmits
//! corrects what did not happen, with [`Counters::unsent`] and [`Counters::unheld`], and counts as received
//! and dropped ([`Counters::received_dropped`]) what it discards before the router sees it.
//!
//! A new counter is one line in a table below; whoever iterates over the table shows it.

use nsrouter_wire::frame::PortId;

use crate::drop::DropReason;

/// What a counter counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Unit {
    /// Frames; a GSO packet is one, as it is to the kernel's counters.
    Frames,
    /// Bytes.
    Bytes,
    /// Packets of the router's own.
    Packets,
    /// Look-ups in the forwarding table.
    Lookups,
}

impl Unit {
    /// The unit as a metric's unit is written.
    pub const fn name(self) -> &'static str {
        match self {
            Unit::Frames => "frames",
            Unit::Bytes => "bytes",
            Unit::Packets => "packets",
            Unit::Lookups => "lookups",
        }
    }
}

/// The side of the packet accounting that a counter stands on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Accounting {
    /// Frames whose fate is to be accounted for.
    Gained,
    /// Frames whose fate is this; drops stand here too, by [`DropReason`].
    Spent,
    /// Frames that have no fate yet: a gauge, which goes down again.
    Pending,
    /// No part of it.
    Apart,
}

/// A counter of a `T`: what it is called and means, and where it is.
#[derive(Debug)]
pub struct Counter<T> {
    /// The metric name: snake_case, the same in code, status and metrics.
    pub name: &'static str,
    /// What is counted.
    pub unit: Unit,
    /// Its side of the packet accounting.
    pub accounting: Accounting,
    /// What it means, as a sentence.
    pub help: &'static str,
    value: fn(&T) -> u64,
    value_mut: fn(&mut T) -> &mut u64,
}

impl<T> Counter<T> {
    /// The counter's value.
    pub fn value(&self, counters: &T) -> u64 {
        (self.value)(counters)
    }

    /// The counter's value, to be changed.
    pub fn value_mut<'a>(&self, counters: &'a mut T) -> &'a mut u64 {
        (self.value_mut)(counters)
    }
}

/// A struct whose counters are public fields of the same names, and the table of them.
macro_rules! counters {
    (
        $(#[$about:meta])* $vis:vis struct $Name:ident { $($(#[$meta:meta])* $field_vis:vis $field:ident: $type:ty,)* }
        $($counter:ident $unit:ident $accounting:ident $help:literal;)*
    ) => {
        $(#[$about])*
        $vis struct $Name {
            $($(#[$meta])* $field_vis $field: $type,)*
            $(#[doc = $help] pub $counter: u64,)*
        }

        impl $Name {
            /// Every counter.
            pub const TABLE: [Counter<$Name>; [$($help),*].len()] = [$(Counter {
                name: stringify!($counter),
                unit: Unit::$unit,
                accounting: Accounting::$accounting,
                help: $help,
                value: |counters| counters.$counter,
                value_mut: |counters| &mut counters.$counter,
            }),*];
        }
    };
}

counters! {
    /// Frames and bytes of one port.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    pub struct PortCounters {}
    rx_frames Frames Apart "Frames received.";
    rx_bytes Bytes Apart "Bytes received, Ethernet headers included, frame check sequences not.";
    tx_frames Frames Apart "Frames sent.";
    tx_bytes Bytes Apart "Bytes sent, Ethernet headers included, frame check sequences not.";
    rx_lost Frames Apart "Frames that the kernel lost before the router saw them, as the port's ring reports.";
    tx_dropped Frames Apart "Frames that were to be sent and were dropped.";
}

impl PortCounters {
    fn add(&mut self, other: &PortCounters) {
        for counter in &PortCounters::TABLE {
            *counter.value_mut(self) += counter.value(other);
        }
    }
}

counters! {
    /// What one worker did.
    #[derive(Debug, Default, PartialEq, Eq)]
    pub struct Counters {
        /// By slot; the counters of a slot that is empty are zero.
        pub ports: Vec<PortCounters>,
        /// Ports that were removed, all together.
        pub departed: PortCounters,
        /// The host port; its bytes have no link-layer header.
        pub host: PortCounters,
        /// Frames dropped, by reason.
        drops: Drops,
    }
    received Frames Gained "Frames received on all ports, the host port included.";
    originated Frames Gained "Frames that the router made itself: ICMP errors, fragments, segments, solicitations.";
    sent Frames Spent "Frames sent by a link port: forwarded, replied or originated.";
    to_host Frames Spent "Frames handed to the host port.";
    consumed Frames Spent "Frames that served their purpose on arrival, or were replaced by originated ones.";
    held Frames Pending "Frames that wait for a neighbour's MAC address now.";
    icmp_errors Packets Apart "ICMP errors and redirects originated.";
    icmp_rate_limited Packets Apart "ICMP errors not sent because of a rate limit.";
    originate_no_buffer Packets Apart "Packets that the router should have originated and had no buffer for.";
    lookups Lookups Apart "Look-ups in the forwarding table.";
}

/// Frames dropped, by the discriminant of the reason.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Drops([u64; DropReason::COUNT]);

impl Default for Drops {
    fn default() -> Self {
        Drops([0; DropReason::COUNT])
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
        *self = Counters { ports, ..*source };
    }
}

impl Counters {
    /// All zero, with room for `ports` link ports.
    pub fn new(ports: usize) -> Self {
        Counters { ports: vec![PortCounters::default(); ports], ..Counters::default() }
    }

    /// Makes room for the port of this slot.
    pub fn grow(&mut self, slot: PortId) {
        if slot != PortId::HOST && self.ports.len() <= slot.index() {
            self.ports.resize(slot.index() + 1, PortCounters::default());
        }
    }

    /// Adds the counters of a port that was removed to those of all that were, so that the sums stay; the
    /// slot's begin anew. No frame may be on its way out by the port any more: what is corrected later would
    /// be the next port's.
    pub fn retire(&mut self, slot: PortId) {
        if let Some(counters) = self.ports.get_mut(slot.index()) {
            self.departed.add(&std::mem::take(counters));
        }
    }

    /// Frames dropped for `reason`.
    #[inline]
    pub fn drops(&self, reason: DropReason) -> u64 {
        self.drops.0[reason as usize]
    }

    /// Frames dropped for any reason.
    pub fn dropped_total(&self) -> u64 {
        self.drops.0.iter().sum()
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
        for (mine, theirs) in self.drops.0.iter_mut().zip(&other.drops.0) {
            *mine += theirs;
        }
        for counter in &Counters::TABLE {
            *counter.value_mut(self) += counter.value(other);
        }
    }

    /// Frames gained, and frames spent, pending or dropped.
    fn account(&self) -> (u64, u64) {
        Counters::TABLE.iter().fold((0, self.dropped_total()), |(gained, spent), counter| {
            let value = counter.value(self);
            match counter.accounting {
                Accounting::Gained => (gained + value, spent),
                Accounting::Spent | Accounting::Pending => (gained, spent + value),
                Accounting::Apart => (gained, spent),
            }
        })
    }

    /// The packet accounting: received + originated = sent + to host + consumed + held + dropped.
    ///
    /// # Errors
    /// The sentence names both sides when they differ.
    pub fn check_conservation(&self) -> Result<(), String> {
        let (gained, spent) = self.account();
        if gained == spent {
            return Ok(());
        }
        let side = |of: fn(Accounting) -> bool| {
            let counters = Counters::TABLE.iter().filter(|counter| of(counter.accounting));
            let terms: Vec<_> =
                counters.map(|counter| format!("{} {}", counter.name, counter.value(self))).collect();
            terms.join(" + ")
        };
        Err(format!(
            "the counters do not add up: {} = {gained}, but {} + dropped {} = {spent}",
            side(|accounting| accounting == Accounting::Gained),
            side(|accounting| matches!(accounting, Accounting::Spent | Accounting::Pending)),
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
        self.drops.0[reason as usize] += 1;
    }

    /// A frame that was counted as received nowhere yet and is discarded before the router sees it.
    pub fn received_dropped(&mut self, port: PortId, bytes: usize, reason: DropReason) {
        self.count_rx(port, bytes);
        self.count_drop(reason);
    }

    /// Takes back `frames` of together `bytes` that were counted as sent by `port` (or to the host) and did
    /// not leave: they are drops.
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
        self.drops.0[reason as usize] += frames;
    }

    /// Takes back a frame of `bytes` that was counted as sent by `port` (or to the host) and is cut into
    /// segments instead: it is consumed, and its segments are to be counted as originated.
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
        let (gained, spent) = self.account();
        self.drops.0[reason as usize] += gained.saturating_sub(spent);
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

    #[test]
    fn every_counter_has_a_name_of_its_own_and_a_sentence_and_is_merged() {
        fn check<T: Default>(table: &[Counter<T>], add: fn(&mut T, &T)) {
            let mut counters = T::default();
            for (value, counter) in (1..).zip(table) {
                *counter.value_mut(&mut counters) = value;
            }
            let mut sum = T::default();
            add(&mut sum, &counters);
            add(&mut sum, &counters);
            for (value, counter) in (1..).zip(table) {
                assert_eq!(counter.value(&counters), value, "{}", counter.name);
                assert_eq!(counter.value(&sum), 2 * value, "{}", counter.name);
                assert!(counter.help.ends_with('.'), "{}", counter.name);
                assert_eq!(table.iter().filter(|other| other.name == counter.name).count(), 1);
            }
        }
        check(&Counters::TABLE, Counters::add);
        check(&PortCounters::TABLE, PortCounters::add);
    }

    /// Frames and bytes in, out and lost, of all ports together.
    fn port_sums(counters: &Counters) -> [u64; 6] {
        let mut sum = counters.departed;
        counters.ports.iter().chain([&counters.host]).for_each(|port| sum.add(port));
        PortCounters::TABLE.each_ref().map(|counter| counter.value(&sum))
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
