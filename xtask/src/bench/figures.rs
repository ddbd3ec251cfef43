//! Times of several runs, and what they come to.

use std::time::Duration;

use serde::Serialize;

/// Wall times in seconds, to the millisecond, in the order of running.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(transparent)]
pub(crate) struct Times(Vec<f64>);

impl Times {
    /// Adds one run.
    pub(crate) fn push(&mut self, took: Duration) {
        self.0.push(rounded(took.as_secs_f64()));
    }

    /// The middle one, the mean of two middle ones; none without a run.
    pub(crate) fn median(&self) -> Option<f64> {
        median(&self.0)
    }

    /// The middle of the ratios of runs that were made in turns.
    pub(crate) fn median_ratio(&self, to: &Self) -> Option<f64> {
        let ratios: Vec<f64> = self.0.iter().zip(&to.0).map(|(ours, theirs)| ours / theirs).collect();
        median(&ratios).map(|ratio| (ratio * 10_000.0).round() / 10_000.0)
    }
}

fn median(values: &[f64]) -> Option<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let middle = sorted.len() / 2;
    match sorted.len() {
        0 => None,
        odd if odd % 2 == 1 => Some(sorted[middle]),
        _ => Some(rounded(f64::midpoint(sorted[middle - 1], sorted[middle]))),
    }
}

fn rounded(seconds: f64) -> f64 {
    (seconds * 1000.0).round() / 1000.0
}

/// Whether a figure keeps its bound; one that was not measured does not.
pub(crate) fn within(figure: Option<f64>, bound: f64) -> bool {
    figure.is_some_and(|figure| figure <= bound)
}

/// A reproducible sequence (SplitMix64): the moments of a soak test can be had again by their seed.
#[derive(Clone, Debug)]
pub(crate) struct Sequence(u64);

impl Sequence {
    /// The sequence of a seed.
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The next number below `limit`, which is not 0.
    pub(crate) fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % limit
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn times(seconds: &[f64]) -> Times {
        let mut times = Times::default();
        for second in seconds {
            times.push(Duration::from_secs_f64(*second));
        }
        times
    }

    #[test]
    fn a_median_is_the_middle() {
        assert_eq!(times(&[3.0, 1.0, 2.0]).median(), Some(2.0));
        assert_eq!(times(&[4.0, 1.0, 2.0, 3.0]).median(), Some(2.5));
        assert_eq!(times(&[]).median(), None);
    }

    #[test]
    fn ratios_are_taken_pair_by_pair() {
        let ratio = times(&[1.0, 1.0, 9.0]).median_ratio(&times(&[2.0, 4.0, 3.0]));
        assert_eq!(ratio, Some(0.5));
        assert!(within(ratio, 0.5) && !within(ratio, 0.4) && !within(None, 1.0));
    }

    #[test]
    fn a_seed_gives_its_sequence_again() {
        let draw = |seed| {
            let mut sequence = Sequence::new(seed);
            [(); 8].map(|()| sequence.below(1000))
        };
        assert_eq!(draw(7), draw(7));
        assert_ne!(draw(7), draw(8));
        assert!(draw(7).iter().all(|number| *number < 1000));
    }
}
