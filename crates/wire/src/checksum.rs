//! The Internet checksum: RFC 1071 sums over bytes, RFC 1624 updates of a single field.

/// A ones' complement sum under way.
///
/// Words are added as they lie in memory: the sum of swapped words is the swapped sum (RFC 1071 section 2 B),
/// so only the result is put in order.
#[derive(Clone, Copy, Debug, Default)]
pub struct Sum(u64);

impl Sum {
    /// Nothing summed yet.
    #[inline]
    pub const fn new() -> Self {
        Sum(0)
    }

    /// Adds bytes that begin at an even offset. An odd last byte is padded with zero, so only the last piece
    /// of a message may have an odd length.
    #[inline]
    #[must_use]
    pub fn bytes(self, bytes: &[u8]) -> Self {
        // 32-bit words into 64 bits: 2^32 of them fit without a carry, which is more than any frame has.
        let mut sum = self.0;
        let mut blocks = bytes.chunks_exact(32);
        for block in &mut blocks {
            for word in block.chunks_exact(4) {
                sum += u64::from(u32::from_ne_bytes([word[0], word[1], word[2], word[3]]));
            }
        }
        let mut words = blocks.remainder().chunks_exact(4);
        for word in &mut words {
            sum += u64::from(u32::from_ne_bytes([word[0], word[1], word[2], word[3]]));
        }
        sum += match *words.remainder() {
            [a] => u64::from(u16::from_ne_bytes([a, 0])),
            [a, b] => u64::from(u16::from_ne_bytes([a, b])),
            [a, b, c] => u64::from(u32::from_ne_bytes([a, b, c, 0])),
            _ => 0,
        };
        Sum(sum)
    }

    /// Adds one 16-bit word, given as its value.
    #[inline]
    #[must_use]
    pub fn word(self, value: u16) -> Self {
        Sum(self.0 + u64::from(value.to_be()))
    }

    /// Adds the pseudo-header of RFC 793 section 3.1: addresses, protocol and the length of the L4 message in
    /// bytes.
    #[inline]
    #[must_use]
    pub fn pseudo_ipv4(self, source: [u8; 4], destination: [u8; 4], protocol: u8, bytes: u16) -> Self {
        self.bytes(&source).bytes(&destination).word(u16::from(protocol)).word(bytes)
    }

    /// Adds the pseudo-header of RFC 8200 section 8.1.
    #[inline]
    #[must_use]
    pub fn pseudo_ipv6(self, source: [u8; 16], destination: [u8; 16], protocol: u8, bytes: u32) -> Self {
        self.bytes(&source).bytes(&destination).word(u16::from(protocol)).bytes(&bytes.to_be_bytes())
    }

    /// The 16-bit sum, not complemented: what a pending checksum field holds.
    #[inline]
    #[must_use]
    pub fn fold(self) -> u16 {
        let mut sum = self.0;
        // 64 bits to at most 33, to at most 18, to at most 17, to 16.
        sum = (sum >> 32) + (sum & 0xffff_ffff);
        sum = (sum >> 16) + (sum & 0xffff);
        sum = (sum >> 16) + (sum & 0xffff);
        sum = (sum >> 16) + (sum & 0xffff);
        #[allow(clippy::cast_possible_truncation)] // 16 bits are left
        let folded = sum as u16;
        u16::from_be(folded)
    }

    /// The checksum: the complement of the sum.
    #[inline]
    #[must_use]
    pub fn finish(self) -> u16 {
        !self.fold()
    }
}

/// The checksum of one message whose checksum field is zero; over a message with its checksum in place, zero.
#[inline]
pub fn checksum(bytes: &[u8]) -> u16 {
    Sum::new().bytes(bytes).finish()
}

/// The checksum after a 16-bit field changed from `old` to `new` (RFC 1624 equation 3).
///
/// Right also where the older equation of RFC 1141 gives 0xffff in place of 0x0000: what is stored equals a
/// full recomputation for every message that is not all zeros.
#[inline]
#[must_use]
pub fn update(checksum: u16, old: u16, new: u16) -> u16 {
    let sum = u32::from(!checksum) + u32::from(!old) + u32::from(new);
    let sum = (sum >> 16) + (sum & 0xffff);
    let sum = (sum >> 16) + (sum & 0xffff);
    #[allow(clippy::cast_possible_truncation)] // 16 bits are left
    let folded = sum as u16;
    !folded
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn rfc_1071_section_3_example() {
        let bytes = [0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7];
        assert_eq!(Sum::new().bytes(&bytes).fold(), 0xddf2);
        assert_eq!(checksum(&bytes), !0xddf2);
    }

    #[test]
    fn rfc_1624_section_4_example() {
        // The field goes from 0x5555 to 0x3285; RFC 1141's equation would give 0xffff.
        assert_eq!(update(0xdd2f, 0x5555, 0x3285), 0x0000);
    }

    fn slow(bytes: &[u8]) -> u16 {
        let mut sum = 0u64;
        for pair in bytes.chunks(2) {
            sum += u64::from(pair[0]) << 8 | pair.get(1).map_or(0, |b| u64::from(*b));
        }
        while sum > 0xffff {
            sum = (sum >> 16) + (sum & 0xffff);
        }
        !(sum as u16)
    }

    proptest! {
        #[test]
        fn sum_equals_the_definition(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            prop_assert_eq!(checksum(&bytes), slow(&bytes));
        }

        #[test]
        fn update_equals_recomputation(
            mut words in proptest::collection::vec(prop_oneof![Just(0u16), Just(0xffff), any::<u16>()], 2..12),
            index in any::<proptest::sample::Index>(),
            new in prop_oneof![Just(0u16), Just(0xffff), any::<u16>()],
        ) {
            let bytes = |words: &[u16]| words.iter().flat_map(|w| w.to_be_bytes()).collect::<Vec<_>>();
            let changed = index.index(words.len());
            let before = slow(&bytes(&words));
            let old = std::mem::replace(&mut words[changed], new);
            // An IP header is never all zeros: its version is not. Only there the two zeros cannot be told
            // apart.
            prop_assume!(words.iter().any(|w| *w != 0));
            prop_assert_eq!(update(before, old, new), slow(&bytes(&words)));
        }
    }
}
