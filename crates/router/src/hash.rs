//! Bit mixers for hash tables and flow hashes.

/// 2^64 over the golden ratio: a multiplier whose bits show no pattern (Knuth, section 6.4).
pub(crate) const GOLDEN_RATIO: u64 = 0x9e37_79b9_7f4a_7c15;

/// The finaliser of splitmix64: every input bit reaches every output bit.
pub(crate) fn mix(mut x: u64) -> u64 {
    x ^= x >> 30;
    x = x.wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x ^= x >> 27;
    x = x.wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ x >> 31
}

/// A hash under a seed, by one multiplication: nobody who does not know the seed can choose words that
/// collide.
#[inline]
pub(crate) fn spread(seed: u64, word: u64) -> u64 {
    let product = u128::from(word ^ seed) * u128::from(GOLDEN_RATIO ^ seed.rotate_left(32) | 1);
    let [high, low] = halves(product);
    high ^ low
}

/// The high and the low half.
#[inline]
pub(crate) fn halves(bits: u128) -> [u64; 2] {
    #[allow(clippy::cast_possible_truncation)] // both halves are kept
    [(bits >> 64) as u64, bits as u64]
}
