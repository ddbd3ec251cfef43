//! The time by which failed records wait for their next attempt: the machine's, or a test's that stands still.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

#[derive(Debug)]
pub(crate) struct Clock {
    origin: Instant,
    stands_at: Mutex<Option<Duration>>,
}

impl Default for Clock {
    fn default() -> Self {
        Self { origin: Instant::now(), stands_at: Mutex::default() }
    }
}

impl Clock {
    /// Since some origin.
    pub(crate) fn now(&self) -> Duration {
        self.lock().unwrap_or_else(|| self.origin.elapsed())
    }

    /// Stands still from now on.
    #[cfg(feature = "in-memory")]
    pub(crate) fn pause(&self) {
        let now = self.now();
        *self.lock() = Some(now);
    }

    /// Goes on by so much at once, and stands still again.
    #[cfg(feature = "in-memory")]
    pub(crate) fn advance(&self, by: Duration) {
        let now = self.now();
        *self.lock() = Some(now + by);
    }

    fn lock(&self) -> MutexGuard<'_, Option<Duration>> {
        // A number, whole after a panic elsewhere.
        self.stands_at.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
