//! A histogram of times in classes of equal ratio: small enough to store whole, fine enough to draw.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// Classes per factor of two: each is 9% wide.
const CLASSES_AN_OCTAVE: f64 = 8.0;
/// The lower end of the first class, in seconds.
const LEAST: f64 = 1e-9;

/// The count of values in each class.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Histogram {
    /// By class: class `n` ends at `1 ns * 2^(n / 8)`.
    counts: BTreeMap<u16, u64>,
}

impl Histogram {
    /// Counts a value, in seconds.
    pub fn record(&mut self, seconds: f64) {
        let class = ((seconds / LEAST).max(1.0).log2() * CLASSES_AN_OCTAVE).ceil();
        // At most 8 times the exponent's range.
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
        let class = class.clamp(0.0, f64::from(u16::MAX)) as u16;
        *self.counts.entry(class).or_default() += 1;
    }

    /// Adds another's counts.
    pub fn add(&mut self, other: &Histogram) {
        for (class, count) in &other.counts {
            *self.counts.entry(*class).or_default() += count;
        }
    }

    /// The upper end of each class that is not empty, in seconds, and its count.
    pub fn classes(&self) -> impl Iterator<Item = (f64, u64)> {
        let end = |class: u16| LEAST * 2f64.powf(f64::from(class) / CLASSES_AN_OCTAVE);
        self.counts.iter().map(move |(class, count)| (end(*class), *count))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_value_is_in_the_class_that_ends_just_above_it() {
        for value in [1e-9, 17e-6, 33e-6, 1e-3, 0.7] {
            let mut histogram = Histogram::default();
            histogram.record(value);
            let (end, count) = histogram.classes().next().unwrap();
            assert!(count == 1 && end >= value * 0.999_999 && end < value * 1.1, "{value} is in {end}");
        }
    }

    #[test]
    fn counts_add_up() {
        let mut one = Histogram::default();
        (1..=100).for_each(|n| one.record(f64::from(n) * 1e-6));
        let mut two = one.clone();
        two.add(&one);
        two.record(0.0);
        assert_eq!(two.classes().map(|(_, count)| count).sum::<u64>(), 201);
        assert!(two.classes().map(|(end, _)| end).is_sorted());
    }
}
