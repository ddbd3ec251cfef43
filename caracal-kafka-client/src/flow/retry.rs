//! How often and after how long a record is tried again.

use std::time::Duration;

/// Attempts with growing pauses between them. The pause before attempt *n* is `first · factor^(n-2)`,
/// at most `longest`, shortened at random by up to `jitter` of itself so that many records that
/// failed together do not come back together.
///
/// ```
/// use std::time::Duration;
/// use caracal_kafka_client::RetryPolicy;
///
/// let policy = RetryPolicy::default().with_attempts(3).with_first_pause(Duration::from_millis(50));
/// assert_eq!(policy.attempts(), 3);
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct RetryPolicy {
    attempts: u32,
    first: Duration,
    longest: Duration,
    factor: f64,
    jitter: f64,
}

impl Default for RetryPolicy {
    /// Five attempts, pauses of 0.2, 0.4, 0.8 and 1.6 s, half of each at random.
    fn default() -> Self {
        Self {
            attempts: 5,
            first: Duration::from_millis(200),
            longest: Duration::from_secs(30),
            factor: 2.0,
            jitter: 0.5,
        }
    }
}

impl RetryPolicy {
    /// One attempt: what fails goes to the dead letters at once.
    pub fn never() -> Self {
        Self::default().with_attempts(1)
    }

    /// Attempts in all, the first one included; at least 1.
    pub const fn attempts(&self) -> u32 {
        self.attempts
    }

    /// This many attempts in all; 0 counts as 1.
    #[must_use]
    pub fn with_attempts(mut self, attempts: u32) -> Self {
        self.attempts = attempts.max(1);
        self
    }

    /// The pause before the second attempt.
    #[must_use]
    pub const fn with_first_pause(mut self, pause: Duration) -> Self {
        self.first = pause;
        self
    }

    /// No pause is longer.
    #[must_use]
    pub const fn with_longest_pause(mut self, pause: Duration) -> Self {
        self.longest = pause;
        self
    }

    /// By how much each pause is longer than the one before; below 1 counts as 1.
    #[must_use]
    pub const fn with_factor(mut self, factor: f64) -> Self {
        self.factor = if factor > 1.0 { factor } else { 1.0 };
        self
    }

    /// Which part of each pause is random, from 0 to 1.
    #[must_use]
    pub const fn with_jitter(mut self, jitter: f64) -> Self {
        self.jitter = if jitter > 0.0 { jitter.min(1.0) } else { 0.0 };
        self
    }

    /// The pause after this many failed attempts; `None` when there is no further one.
    pub(crate) fn pause(&self, failed: u32, random: &mut Random) -> Option<Duration> {
        (failed < self.attempts).then(|| self.any_pause(failed, random))
    }

    /// The pause after this many failures of something that is tried for ever.
    pub(crate) fn any_pause(&self, failed: u32, random: &mut Random) -> Duration {
        let steps = i32::try_from(failed.saturating_sub(1)).unwrap_or(i32::MAX);
        let longest = self.longest.as_secs_f64();
        // The power may be infinite, and the minimum brings it back.
        let whole = (self.first.as_secs_f64() * self.factor.powi(steps)).min(longest);
        Duration::try_from_secs_f64(whole * (1.0 - self.jitter * random.part())).unwrap_or(self.longest)
    }
}

/// SplitMix64 (Steele, Lea, Flood 2014): jitter needs no better, and a test can repeat it.
#[derive(Debug)]
pub(crate) struct Random(u64);

impl Random {
    #[cfg(test)]
    pub(crate) const fn seeded(seed: u64) -> Self {
        Self(seed)
    }

    /// Another one each time, from the seeds of the standard library's hash maps.
    pub(crate) fn new() -> Self {
        use std::hash::{BuildHasher as _, RandomState};
        Self(RandomState::new().hash_one(0))
    }

    pub(crate) const fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// From 0 to just below 1.
    fn part(&mut self) -> f64 {
        // 53 bits: what an f64 holds exactly.
        (self.next() >> 11) as f64 / (1u64 << 53) as f64
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn pauses_grow_and_end() {
        let policy = RetryPolicy::default().with_jitter(0.0);
        let random = &mut Random::seeded(1);
        let pauses: Vec<_> = (1..=5).map(|failed| policy.pause(failed, random)).collect();
        let expected = [200, 400, 800, 1600].map(|millis| Some(Duration::from_millis(millis)));
        assert_eq!(pauses[..4], expected);
        assert_eq!(pauses[4], None);
        assert_eq!(RetryPolicy::never().pause(1, random), None);
        assert_eq!(RetryPolicy::default().with_attempts(0).attempts(), 1);
    }

    proptest! {
        #[test]
        fn no_pause_leaves_its_bounds(failed in 1u32.., factor in -1.0f64..50.0, jitter in -1.0f64..2.0, seed: u64) {
            let policy = RetryPolicy::default().with_factor(factor).with_jitter(jitter);
            let pause = policy.any_pause(failed, &mut Random::seeded(seed));
            prop_assert!(pause <= Duration::from_secs(30));
            if jitter <= 0.0 {
                prop_assert!(pause >= Duration::from_millis(199));
            }
        }
    }
}
