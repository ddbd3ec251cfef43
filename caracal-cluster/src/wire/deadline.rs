//! A point in time by which something must have happened, and how long was waited for it.

use std::future::Future;
use std::time::Duration;

use tokio::time::Instant;

/// A deadline that remembers when the waiting began, so that a time-out can say how long it waited.
///
/// ```
/// use caracal_cluster::wire::Deadline;
/// use std::time::Duration;
///
/// let whole = Deadline::after(Duration::from_secs(30));
/// let one_call = whole.at_most(Duration::from_secs(5));
/// assert!(one_call.remaining() <= Duration::from_secs(5));
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Deadline {
    started: Instant,
    limit: Duration,
}

/// The deadline passed.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct Elapsed {
    /// How long was waited in all.
    pub waited: Duration,
}

impl Deadline {
    /// A deadline this far from now.
    pub fn after(limit: Duration) -> Self {
        Self { started: Instant::now(), limit }
    }

    /// The time that is left; zero when it has passed.
    pub fn remaining(self) -> Duration {
        self.limit.saturating_sub(self.started.elapsed())
    }

    /// Whether it has passed.
    pub fn is_over(self) -> bool {
        self.remaining().is_zero()
    }

    /// The time since the waiting began.
    pub fn elapsed(self) -> Duration {
        self.started.elapsed()
    }

    /// The sooner of this deadline and one this far from now.
    pub fn at_most(self, limit: Duration) -> Self {
        Self::after(limit.min(self.remaining()))
    }

    /// Awaits a future until the deadline.
    ///
    /// # Errors
    /// [`Elapsed`] when the deadline passed first; the future is dropped.
    pub async fn run<F: Future>(self, future: F) -> Result<F::Output, Elapsed> {
        tokio::time::timeout(self.remaining(), future).await.map_err(|_| Elapsed { waited: self.elapsed() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_deadline_cuts_off_and_says_how_long_it_waited() {
        let deadline = Deadline::after(Duration::from_millis(20));
        let elapsed = deadline.run(std::future::pending::<()>()).await.unwrap_err();
        assert!(elapsed.waited >= Duration::from_millis(20));
        assert!(deadline.is_over());
        assert_eq!(Deadline::after(Duration::from_secs(1)).run(async { 7 }).await, Ok(7));
    }

    #[test]
    fn the_sooner_limit_counts() {
        let short = Deadline::after(Duration::from_millis(5)).at_most(Duration::from_secs(9));
        assert!(short.remaining() <= Duration::from_millis(5));
    }
}
