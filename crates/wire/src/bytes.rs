//! Lengths as the 16-bit fields of headers say them.

/// A length in bytes for a 16-bit field. No packet in a buffer of the router's own is longer; what is longer
/// says the largest length there is, which no receiver takes for whole.
#[inline]
pub fn length16(bytes: usize) -> u16 {
    u16::try_from(bytes).unwrap_or(u16::MAX)
}
