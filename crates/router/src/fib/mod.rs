//! The forwarding information base: values by prefix of both families, as a map for the writer and as tries
//! for readers.

mod arena;
mod cell;
mod prefixes;
mod trie;
mod writer;

use std::net::{Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use ipnet::IpNet;

use crate::epoch::SharedEpoch;
use cell::Key;
pub use cell::MAX_VALUE;
pub(crate) use prefixes::PrefixMap;
use trie::Trie;
pub use writer::TrieFull;
use writer::Writer;

/// The readers' side. What a value means is the business of whoever wrote it.
#[derive(Debug, Default)]
pub struct Fib {
    trie: Trie,
}

impl Fib {
    /// The value of the longest prefix that covers `address`.
    #[inline]
    pub fn lookup4(&self, address: Ipv4Addr) -> Option<u32> {
        self.trie.lookup4(u32::from(address))
    }

    /// The value of the longest prefix that covers `address`.
    #[inline]
    pub fn lookup6(&self, address: Ipv6Addr) -> Option<u32> {
        self.trie.lookup6(u128::from(address))
    }

    /// What [`Fib::lookup6`] finds for each address (as its 128 bits), in their order. They wait for memory
    /// together: of a table that is larger than the caches this is nearly twice as fast. (Of IPv4 it is not,
    /// whose look-ups are so short that the CPU begins the next one by itself.)
    pub fn lookup6_each(&self, addresses: &[u128], found: impl FnMut(Option<u32>)) {
        self.trie.lookup6_each(addresses, found);
    }
}

/// Nodes that no lookup can find any more, though one that has begun may still be inside.
#[derive(Debug, Default)]
pub(crate) struct Retired(Vec<usize>);

/// The writer's side: every prefix with its value, and the [`Fib`] kept equal to that, in place.
#[derive(Debug, Default)]
pub struct FibWriter {
    fib: Arc<Fib>,
    writer: Writer,
    values: PrefixMap<u32>,
    epoch: SharedEpoch,
}

impl FibWriter {
    /// An empty table, whose changes move this epoch.
    pub(crate) fn new(epoch: SharedEpoch) -> FibWriter {
        FibWriter { epoch, ..FibWriter::default() }
    }

    /// The readers' side.
    pub fn fib(&self) -> Arc<Fib> {
        Arc::clone(&self.fib)
    }

    /// Whether there is no prefix.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Number of prefixes.
    pub fn len(&self) -> usize {
        self.values.len()
    }

    /// Bytes of memory that readers go through.
    pub fn fib_memory_bytes(&self) -> usize {
        self.writer.memory_bytes()
    }

    /// The value of exactly this prefix.
    pub fn get(&self, prefix: IpNet) -> Option<u32> {
        self.values.get(prefix).copied()
    }

    /// Every prefix with its value.
    pub fn iter(&self) -> impl Iterator<Item = (IpNet, u32)> {
        self.values.iter().map(|(prefix, value)| (prefix, *value))
    }

    /// Gives `prefix` a value (at most [`MAX_VALUE`]) and returns the one that it had. Readers see it at
    /// once.
    ///
    /// # Errors
    /// [`TrieFull`] when the value is larger than that, or no memory of the table's is left; nothing changed
    /// then.
    pub fn insert(&mut self, prefix: IpNet, value: u32) -> Result<Option<u32>, TrieFull> {
        if value > MAX_VALUE {
            return Err(TrieFull);
        }
        let had = self.get(prefix);
        if had == Some(value) {
            return Ok(had);
        }
        let (trie, writer) = (&self.fib.trie, &mut self.writer);
        self.epoch.change(|| writer.insert(trie, Key::from(prefix), value, had.is_none()))?;
        self.values.insert(prefix, value);
        Ok(had)
    }

    /// Takes `prefix` out and returns the value that it had. Readers see it at once.
    pub fn remove(&mut self, prefix: IpNet) -> Option<u32> {
        let value = self.values.remove(prefix)?;
        let cover = self.values.cover(prefix).map(|(length, value)| (length, *value));
        let (trie, writer) = (&self.fib.trie, &mut self.writer);
        self.epoch.change(|| writer.remove(trie, Key::from(prefix), cover));
        Some(value)
    }

    /// The memory of what was removed since last asked.
    pub(crate) fn take_retired(&mut self) -> Retired {
        Retired(self.writer.take_retired())
    }

    /// Lets that memory be used again; only when every reader has finished the lookups that it had begun
    /// before it was taken.
    pub(crate) fn reuse(&mut self, retired: Retired) {
        self.writer.reuse(&self.fib.trie, retired.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ipnet::{Ipv4Net, Ipv6Net};
    use prefix_trie::PrefixMap;
    use proptest::prelude::*;

    fn v4_net() -> impl Strategy<Value = Ipv4Net> {
        // Few distinct bits, so that prefixes nest and collide.
        (prop_oneof![Just(0x0a0a_0000u32), Just(0x0a0a_fb00), any::<u32>()], 0..=0x3ffu32, 0..=32u8)
            .prop_map(|(base, low, length)| Ipv4Net::new((base ^ low).into(), length).unwrap().trunc())
    }

    fn v6_net() -> impl Strategy<Value = Ipv6Net> {
        (0..4u128, 0..=0x3ffu128, 0..=128u8).prop_map(|(high, low, length)| {
            Ipv6Net::new((0xfd00 << 112 | high << 64 | low).into(), length).unwrap().trunc()
        })
    }

    proptest! {
        #[test]
        fn v4_equals_prefix_trie(
            steps in proptest::collection::vec((v4_net(), proptest::option::weighted(0.7, 0..100u32)), 1..80),
            probes in proptest::collection::vec(v4_net(), 1..40),
        ) {
            let mut oracle = PrefixMap::<Ipv4Net, u32>::new();
            let mut rib = FibWriter::default();
            let fib = rib.fib();
            for (net, value) in &steps {
                match value {
                    Some(value) => {
                        oracle.insert(*net, *value);
                        rib.insert(IpNet::V4(*net), *value).unwrap();
                    }
                    None => prop_assert_eq!(rib.remove(IpNet::V4(*net)), oracle.remove(net)),
                }
                let retired = rib.take_retired();
                rib.reuse(retired);
                for probe in probes.iter().chain([net]) {
                    for address in [probe.network(), probe.broadcast()] {
                        let expected = oracle.get_lpm(&address.into()).map(|(_, value)| *value);
                        prop_assert_eq!(fib.lookup4(address), expected, "{} after {}", address, net);
                    }
                }
            }
            prop_assert_eq!(rib.len(), oracle.iter().count());
        }

        #[test]
        fn v6_equals_prefix_trie(
            steps in proptest::collection::vec((v6_net(), proptest::option::weighted(0.7, 0..100u32)), 1..60),
        ) {
            let mut oracle = PrefixMap::<Ipv6Net, u32>::new();
            let mut rib = FibWriter::default();
            let fib = rib.fib();
            for (net, value) in &steps {
                match value {
                    Some(value) => {
                        oracle.insert(*net, *value);
                        rib.insert(IpNet::V6(*net), *value).unwrap();
                    }
                    None => prop_assert_eq!(rib.remove(IpNet::V6(*net)), oracle.remove(net)),
                }
                let retired = rib.take_retired();
                rib.reuse(retired);
            }
            for (probe, _) in &steps {
                for address in [probe.network(), probe.broadcast()] {
                    let expected = oracle.get_lpm(&address.into()).map(|(_, value)| *value);
                    prop_assert_eq!(fib.lookup6(address), expected, "{}", address);
                }
            }
            let addresses: Vec<u128> = steps.iter().map(|(probe, _)| probe.broadcast().into()).collect();
            let one_by_one: Vec<Option<u32>> = addresses.iter().map(|a| fib.lookup6((*a).into())).collect();
            let mut together = Vec::new();
            fib.lookup6_each(&addresses, |value| together.push(value));
            prop_assert_eq!(together, one_by_one);
        }
    }

    #[test]
    fn empty_again_after_everything_is_removed() {
        let mut rib = FibWriter::default();
        let nets = [
            "0.0.0.0/0",
            "10.0.0.0/8",
            "10.10.251.0/24",
            "10.10.251.2/32",
            "fd00:251::/64",
            "fd00:251::2/128",
        ];
        for (value, net) in (0..).zip(nets) {
            rib.insert(net.parse().unwrap(), value).unwrap();
        }
        let fib = rib.fib();
        assert_eq!(fib.lookup4([10, 10, 251, 2].into()), Some(3));
        assert_eq!(fib.lookup4([10, 10, 251, 3].into()), Some(2));
        assert_eq!(fib.lookup4([10, 10, 250, 3].into()), Some(1));
        assert_eq!(fib.lookup4([11, 10, 250, 3].into()), Some(0));
        assert_eq!(fib.lookup6("fd00:251::2".parse().unwrap()), Some(5));
        for net in nets {
            assert!(rib.remove(net.parse().unwrap()).is_some());
        }
        assert_eq!(rib.len(), 0);
        assert_eq!(fib.lookup4([10, 10, 251, 2].into()), None);
        assert_eq!(fib.lookup6("fd00:251::2".parse().unwrap()), None);
        assert!(rib.fib_memory_bytes() < 4 << 20, "{} bytes", rib.fib_memory_bytes());
    }
}
