//! The forwarding table: prefixes of both families to values, kept whole (for the writer) and as tries (for readers).

mod trie;

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

pub use trie::{MAX_VALUE, TrieFull};
use trie::{Trie, Writer};

/// The readers' side. What a value means is the business of whoever wrote it.
#[derive(Debug, Default)]
pub struct Fib {
    v4: Trie<4>,
    v6: Trie<16>,
}

impl Fib {
    /// The value of the longest prefix that covers `address`.
    #[inline]
    pub fn lookup4(&self, address: Ipv4Addr) -> Option<u32> {
        self.v4.lookup(address.octets())
    }

    /// The value of the longest prefix that covers `address`.
    #[inline]
    pub fn lookup6(&self, address: Ipv6Addr) -> Option<u32> {
        self.v6.lookup(address.octets())
    }

    /// Bytes of memory in use.
    pub fn memory_bytes(&self) -> usize {
        self.v4.memory_bytes() + self.v6.memory_bytes()
    }
}

/// The writer's side: every prefix with its value, and the [`Fib`] kept equal to that, in place.
#[derive(Debug, Default)]
pub struct Rib {
    fib: Arc<Fib>,
    writer4: Writer,
    writer6: Writer,
    v4: BTreeMap<(Ipv4Addr, u8), u32>,
    v6: BTreeMap<(Ipv6Addr, u8), u32>,
}

impl Rib {
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
        self.v4.len() + self.v6.len()
    }

    /// Gives `prefix` a value (at most [`MAX_VALUE`]), in place of any that it had. Readers see it at once.
    ///
    /// # Errors
    /// [`TrieFull`] when the value is larger than that, or no memory of the table's is left; nothing changed then.
    pub fn insert(&mut self, prefix: IpNet, value: u32) -> Result<(), TrieFull> {
        if value > MAX_VALUE {
            return Err(TrieFull);
        }
        match prefix {
            IpNet::V4(net) => {
                let key = (net.network(), net.prefix_len());
                let is_new = !self.v4.contains_key(&key);
                self.writer4.insert(&self.fib.v4, key.0.octets(), key.1, value, is_new)?;
                self.v4.insert(key, value);
            }
            IpNet::V6(net) => {
                let key = (net.network(), net.prefix_len());
                let is_new = !self.v6.contains_key(&key);
                self.writer6.insert(&self.fib.v6, key.0.octets(), key.1, value, is_new)?;
                self.v6.insert(key, value);
            }
        }
        Ok(())
    }

    /// Takes `prefix` out and returns the value that it had. Readers see it at once.
    pub fn remove(&mut self, prefix: IpNet) -> Option<u32> {
        match prefix {
            IpNet::V4(net) => {
                let value = self.v4.remove(&(net.network(), net.prefix_len()))?;
                let cover = (0..net.prefix_len()).rev().find_map(|length| {
                    let shorter = Ipv4Net::new_assert(net.network(), length).network();
                    Some((length, *self.v4.get(&(shorter, length))?))
                });
                self.writer4.remove(&self.fib.v4, net.network().octets(), net.prefix_len(), cover);
                Some(value)
            }
            IpNet::V6(net) => {
                let value = self.v6.remove(&(net.network(), net.prefix_len()))?;
                let cover = (0..net.prefix_len()).rev().find_map(|length| {
                    let shorter = Ipv6Net::new_assert(net.network(), length).network();
                    Some((length, *self.v6.get(&(shorter, length))?))
                });
                self.writer6.remove(&self.fib.v6, net.network().octets(), net.prefix_len(), cover);
                Some(value)
            }
        }
    }

    /// Lets the memory of removed prefixes be used again; only when every reader has finished
    /// the lookups that it had begun before the removals, that is once all workers have gone through a round.
    pub fn reclaim(&mut self) {
        self.writer4.reclaim();
        self.writer6.reclaim();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
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
            let mut rib = Rib::default();
            let fib = rib.fib();
            for (net, value) in &steps {
                match value {
                    Some(value) => {
                        oracle.insert(*net, *value);
                        rib.insert(IpNet::V4(*net), *value).unwrap();
                    }
                    None => prop_assert_eq!(rib.remove(IpNet::V4(*net)), oracle.remove(net)),
                }
                rib.reclaim();
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
            let mut rib = Rib::default();
            let fib = rib.fib();
            for (net, value) in &steps {
                match value {
                    Some(value) => {
                        oracle.insert(*net, *value);
                        rib.insert(IpNet::V6(*net), *value).unwrap();
                    }
                    None => prop_assert_eq!(rib.remove(IpNet::V6(*net)), oracle.remove(net)),
                }
                rib.reclaim();
            }
            for (probe, _) in &steps {
                for address in [probe.network(), probe.broadcast()] {
                    let expected = oracle.get_lpm(&address.into()).map(|(_, value)| *value);
                    prop_assert_eq!(fib.lookup6(address), expected, "{}", address);
                }
            }
        }
    }

    #[test]
    fn empty_again_after_everything_is_removed() {
        let mut rib = Rib::default();
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
        assert!(fib.memory_bytes() < 4 << 20, "{} bytes", fib.memory_bytes());
    }
}
