//! Medians, bootstrap intervals and ratios of few, noisy samples.
//!
//! Rounds of a benchmark are few (3 to 30), skewed by whatever else the machine does, and drift together: the
//! modes of one round ran within seconds of each other. So there are medians, never means, and ratios are
//! resampled by round, which preserves what the modes of a round have in common.

pub(crate) mod histogram;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use serde::Serialize;

/// The number of resamples: the ends of a 95% interval are the 250th value from either side. The tests make
/// hundreds of intervals, for which a tenth of the draws is enough.
const RESAMPLES: usize = if cfg!(test) { 1_000 } else { 10_000 };

/// The fewest rounds for a verdict. Of two modes that do not differ, one wins every one of `n` rounds with
/// probability `2^(1-n)`: 1 in 4 for three rounds, 1 in 16 for five, and a resampled interval cannot be wider
/// than what it resamples.
pub const ROUNDS_FOR_A_VERDICT: usize = 5;

/// A value and the interval in which 95% of the resampled values lie, both in the unit of the samples.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Estimate {
    /// The median of the samples themselves.
    pub median: f64,
    /// The 2.5% and 97.5% quantiles of the resampled medians.
    pub ci95: [f64; 2],
}

/// A ratio of two medians, and whether it differs from 1.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Ratio {
    /// The ratio and its interval; no unit.
    #[serde(flatten)]
    pub estimate: Estimate,
    /// Whether the interval excludes 1 and there were at least [`ROUNDS_FOR_A_VERDICT`] rounds.
    pub differs: bool,
}

/// The quantile `q` (0 to 1) of values in ascending order, interpolated linearly between neighbours (the
/// "type 7" definition, R's default). `None` of an empty slice.
pub fn quantile(sorted: &[f64], q: f64) -> Option<f64> {
    let last = sorted.len().checked_sub(1)?;
    let position = q.clamp(0.0, 1.0) * last as f64;
    // In 0..=last, because of the clamp.
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
    let below = position.floor() as usize;
    let above = (below + 1).min(last);
    let (low, high) = (*sorted.get(below)?, *sorted.get(above)?);
    Some(low + (high - low) * (position - below as f64))
}

/// The median of values in any order. `None` of an empty slice.
pub fn median(values: &[f64]) -> Option<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    quantile(&sorted, 0.5)
}

/// The median with its percentile-bootstrap interval (Efron and Tibshirani, An Introduction to the Bootstrap,
/// 13.3). The same seed gives the same interval. `None` of an empty slice.
pub fn bootstrap_median(samples: &[f64], seed: u64) -> Option<Estimate> {
    let median_of_all = median(samples)?;
    let ci95 = resampled_interval(seed, |rng| {
        let drawn: Vec<f64> =
            (0..samples.len()).map(|_| samples[rng.random_range(0..samples.len())]).collect();
        median(&drawn)
    })?;
    Some(Estimate { median: median_of_all, ci95 })
}

/// The ratio of the median of `of` to the median of `to`. Both are given as (round, value); where both have
/// the same rounds, these are resampled together, otherwise (a round of one of them failed) each on its own.
///
/// `None` where one is empty or the median of `to` is not positive.
pub fn bootstrap_ratio(of: &[(u32, f64)], to: &[(u32, f64)], seed: u64) -> Option<Ratio> {
    let values = |pairs: &[(u32, f64)]| pairs.iter().map(|&(_, value)| value).collect::<Vec<f64>>();
    let paired = of.len() == to.len() && of.iter().zip(to).all(|(a, b)| a.0 == b.0);
    resampled_ratio(&values(of), &values(to), paired, seed)
}

/// The ratio of two runs' medians. Their rounds have nothing in common, so each is resampled on its own.
pub fn bootstrap_ratio_of_runs(of: &[f64], to: &[f64], seed: u64) -> Option<Ratio> {
    resampled_ratio(of, to, false, seed)
}

fn resampled_ratio(of: &[f64], to: &[f64], paired: bool, seed: u64) -> Option<Ratio> {
    let ratio_of = |of: &[f64], to: &[f64]| {
        let (of, to) = (median(of)?, median(to)?);
        (to > 0.0).then(|| of / to)
    };
    let median_of_all = ratio_of(of, to)?;
    let ci95 = resampled_interval(seed, |rng| {
        let mut indexes = |len: usize| (0..len).map(|_| rng.random_range(0..len)).collect::<Vec<usize>>();
        let drawn_of = indexes(of.len());
        let drawn_to = if paired { drawn_of.clone() } else { indexes(to.len()) };
        let drawn = |values: &[f64], at: &[usize]| at.iter().map(|&i| values[i]).collect::<Vec<f64>>();
        ratio_of(&drawn(of, &drawn_of), &drawn(to, &drawn_to))
    })?;
    let enough = of.len().min(to.len()) >= ROUNDS_FOR_A_VERDICT;
    let differs = enough && !(ci95[0] <= 1.0 && 1.0 <= ci95[1]);
    Some(Ratio { estimate: Estimate { median: median_of_all, ci95 }, differs })
}

/// The 95% interval of a statistic over [`RESAMPLES`] draws; draws without a value are left out.
fn resampled_interval(seed: u64, mut draw: impl FnMut(&mut StdRng) -> Option<f64>) -> Option<[f64; 2]> {
    let mut rng = StdRng::seed_from_u64(seed);
    let mut values: Vec<f64> = (0..RESAMPLES).filter_map(|_| draw(&mut rng)).collect();
    values.sort_by(f64::total_cmp);
    Some([quantile(&values, 0.025)?, quantile(&values, 0.975)?])
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn close(a: f64, b: f64) -> bool {
        (a - b).abs() < 1e-12
    }

    /// Normal deviates by the Box-Muller transform.
    fn normal(rng: &mut StdRng, mean: f64, sigma: f64) -> f64 {
        let (u, v): (f64, f64) = (1.0 - rng.random::<f64>(), rng.random());
        mean + sigma * (-2.0 * u.ln()).sqrt() * (std::f64::consts::TAU * v).cos()
    }

    #[test]
    fn quantiles_of_known_lists() {
        assert_eq!(quantile(&[], 0.5), None);
        assert!(close(quantile(&[7.0], 0.99).unwrap(), 7.0));
        let hundred: Vec<f64> = (0..=100).map(f64::from).collect();
        for percent in [0, 1, 25, 50, 90, 99, 100] {
            assert!(close(quantile(&hundred, f64::from(percent) / 100.0).unwrap(), f64::from(percent)));
        }
        assert!(close(quantile(&[1.0, 2.0], 0.25).unwrap(), 1.25));
        assert!(close(median(&[3.0, 1.0, 2.0]).unwrap(), 2.0));
        assert!(close(median(&[4.0, 1.0, 3.0, 2.0]).unwrap(), 2.5));
    }

    #[test]
    fn median_is_deaf_to_an_outlier() {
        let estimate = bootstrap_median(&[10.0, 10.1, 9.9, 10.05, 9.95, 10.02, 1000.0], 1).unwrap();
        assert!(close(estimate.median, 10.02));
        assert!(estimate.ci95[0] > 9.8 && estimate.ci95[1] <= 1000.0);
    }

    #[test]
    fn constant_samples_have_an_interval_of_no_width() {
        let estimate = bootstrap_median(&[5.0; 9], 3).unwrap();
        assert!(close(estimate.median, 5.0) && close(estimate.ci95[0], 5.0) && close(estimate.ci95[1], 5.0));
        assert_eq!(bootstrap_median(&[], 3), None);
    }

    #[test]
    fn the_seed_decides() {
        let samples = [1.0, 2.0, 4.0, 8.0, 16.0, 32.0];
        assert_eq!(bootstrap_median(&samples, 9), bootstrap_median(&samples, 9));
    }

    /// Of many samples from a distribution whose median is known, about 95% of the intervals must hold it.
    /// Also for a skewed one (log-normal), which a mean with its standard error would get wrong.
    #[test]
    fn intervals_cover_the_true_median() {
        for (name, skewed) in [("normal", false), ("log-normal", true)] {
            let mut rng = StdRng::seed_from_u64(42);
            let trials = 120;
            let mut held = 0;
            for trial in 0..trials {
                let samples: Vec<f64> = (0..21)
                    .map(|_| {
                        let x = normal(&mut rng, 0.0, 1.0);
                        if skewed { x.exp() } else { x }
                    })
                    .collect();
                let truth = if skewed { 1.0 } else { 0.0 };
                let ci95 = bootstrap_median(&samples, trial).unwrap().ci95;
                held += u32::from(ci95[0] <= truth && truth <= ci95[1]);
            }
            let share = f64::from(held) / 120.0;
            // The seed decides, so this is no chance: one that holds it always is too wide.
            assert!((0.88..=0.99).contains(&share), "{name}: {share} of the intervals hold the median");
        }
    }

    #[test]
    fn paired_rounds_cancel_drift() {
        // Both modes drift by a factor of 4 over the rounds, the ratio stays at a half.
        let to: Vec<(u32, f64)> = (0..9).map(|round| (round, 2f64.powf(f64::from(round) / 4.0))).collect();
        let of: Vec<(u32, f64)> = to.iter().map(|&(round, value)| (round, value / 2.0)).collect();
        let ratio = bootstrap_ratio(&of, &to, 5).unwrap();
        assert!(close(ratio.estimate.median, 0.5));
        assert!(close(ratio.estimate.ci95[0], 0.5) && close(ratio.estimate.ci95[1], 0.5));
        assert!(ratio.differs);
        // Unpaired, the drift is noise.
        let shorter = &of[..8];
        let ratio = bootstrap_ratio(shorter, &to, 5).unwrap();
        assert!(ratio.estimate.ci95[1] - ratio.estimate.ci95[0] > 0.1);
    }

    #[test]
    fn equal_modes_rarely_differ_and_unequal_ones_do() {
        let mut rng = StdRng::seed_from_u64(7);
        let (mut false_alarms, mut found) = (0, 0);
        for trial in 0..60 {
            let mut series = |mean: f64| {
                (0..15).map(|round| (round, normal(&mut rng, mean, 0.1))).collect::<Vec<(u32, f64)>>()
            };
            let (one, same, faster) = (series(1.0), series(1.0), series(1.3));
            false_alarms += u32::from(bootstrap_ratio(&same, &one, trial).unwrap().differs);
            found += u32::from(bootstrap_ratio(&faster, &one, trial).unwrap().differs);
        }
        assert!(false_alarms <= 8, "{false_alarms} of 60 equal pairs were said to differ");
        assert!(found >= 58, "{found} of 60 pairs a third apart were told apart");
    }

    #[test]
    fn no_verdict_from_few_rounds_or_from_zero() {
        let pairs = |value: f64, n: u32| (0..n).map(|round| (round, value)).collect::<Vec<(u32, f64)>>();
        assert!(!bootstrap_ratio(&pairs(1.0, 3), &pairs(2.0, 3), 1).unwrap().differs);
        assert!(bootstrap_ratio(&pairs(1.0, 5), &pairs(2.0, 5), 1).unwrap().differs);
        assert_eq!(bootstrap_ratio(&pairs(1.0, 5), &pairs(0.0, 5), 1), None);
        assert_eq!(bootstrap_ratio(&[], &pairs(1.0, 5), 1), None);
    }
}
