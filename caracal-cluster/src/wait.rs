//! Waiting for a condition, with a deadline.
//!
//! Everything in this crate that waits does it here, so that each wait ends, and each time-out says
//! what was awaited, for how long, and what was seen last. A probe has three outcomes: ready, not yet
//! (with a status for the reader), or failed, which ends the wait at once.
//!
//! ```
//! use std::{cell::Cell, time::Duration};
//! use caracal_cluster::wait::{Probe, WaitError, wait_for};
//!
//! # tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap().block_on(async {
//! let calls = Cell::new(0);
//! let answer = wait_for("the third call", Duration::from_secs(5), Duration::from_millis(1), || async {
//!     calls.set(calls.get() + 1);
//!     if calls.get() < 3 { Probe::NotYet(format!("call {}", calls.get())) } else { Probe::Ready("here") }
//! });
//! let answer: Result<_, WaitError<std::io::Error>> = answer.await;
//! assert_eq!(answer.unwrap(), "here");
//! # });
//! ```

use std::{fmt, time::Duration};

use tokio::time::{Instant, sleep_until, timeout_at};

/// What one look at the awaited condition found.
#[derive(Debug)]
#[expect(clippy::exhaustive_enums, reason = "callers build it, and a fourth outcome would be another design")]
pub enum Probe<T, E> {
    /// The condition holds.
    Ready(T),
    /// It does not hold yet; the text says what was seen ("connection refused", "2 of 3 nodes").
    NotYet(String),
    /// It will never hold: waiting longer is pointless.
    Failed(E),
}

/// Why a wait ended without its condition.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum WaitError<E> {
    /// The deadline passed.
    #[error("waited {} for {what}, in vain; last seen: {last}", Elapsed(*elapsed))]
    TimedOut {
        /// What was awaited.
        what: String,
        /// How long.
        elapsed: Duration,
        /// The status of the last probe that finished.
        last: String,
    },
    /// A probe found that the condition cannot come about.
    #[error("{0}")]
    Failed(E),
}

impl<E> WaitError<E> {
    /// Whether the deadline passed (as opposed to a probe that failed).
    pub fn is_timeout(&self) -> bool {
        matches!(self, Self::TimedOut { .. })
    }

    /// The same error with its cause converted.
    pub fn map_failed<F>(self, convert: impl FnOnce(E) -> F) -> WaitError<F> {
        match self {
            Self::TimedOut { what, elapsed, last } => WaitError::TimedOut { what, elapsed, last },
            Self::Failed(error) => WaitError::Failed(convert(error)),
        }
    }
}

/// Calls `probe` until it is ready or fails, at most `deadline` long, with `interval` between the calls.
///
/// The first call is made at once. A probe that hangs is dropped when the deadline passes, so a probe
/// must be safe to cancel.
///
/// # Errors
/// [`WaitError::TimedOut`] after `deadline`; [`WaitError::Failed`] as soon as a probe says so.
pub async fn wait_for<T, E, F>(
    what: &str,
    deadline: Duration,
    interval: Duration,
    mut probe: impl FnMut() -> F,
) -> Result<T, WaitError<E>>
where
    F: Future<Output = Probe<T, E>>,
{
    let started = Instant::now();
    let end = started + deadline;
    let mut last = None;
    loop {
        match timeout_at(end, probe()).await {
            Ok(Probe::Ready(value)) => return Ok(value),
            Ok(Probe::Failed(error)) => return Err(WaitError::Failed(error)),
            Ok(Probe::NotYet(status)) => last = Some(status),
            Err(_) => {
                let last = match last {
                    Some(status) => format!("{status} (and then no answer)"),
                    None => "no answer to the first question".to_owned(),
                };
                return Err(timed_out(what, started, last));
            }
        }
        let next = Instant::now() + interval;
        if next >= end {
            // One more look at the very end would only blur what the deadline means.
            sleep_until(end).await;
            return Err(timed_out(what, started, last.unwrap_or_default()));
        }
        sleep_until(next).await;
    }
}

fn timed_out<E>(what: &str, started: Instant, last: String) -> WaitError<E> {
    WaitError::TimedOut { what: what.to_owned(), elapsed: started.elapsed(), last }
}

/// A duration as a person says it: `850 ms`, `12.3 s`, `4 min 5 s`.
pub(crate) struct Elapsed(pub(crate) Duration);

impl fmt::Display for Elapsed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = self.0.as_secs();
        match seconds {
            0 => write!(f, "{} ms", self.0.as_millis()),
            1..120 => write!(f, "{:.1} s", self.0.as_secs_f64()),
            _ => write!(f, "{} min {} s", seconds / 60, seconds % 60),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{cell::Cell, convert::Infallible, future::pending};

    use super::*;

    const LONG: Duration = Duration::from_secs(20);
    const TICK: Duration = Duration::from_millis(1);

    #[tokio::test]
    async fn a_time_out_says_what_how_long_and_the_last_status() {
        let calls = Cell::new(0);
        let error = wait_for("the quorum", Duration::from_millis(60), TICK, || async {
            calls.set(calls.get() + 1);
            Probe::<(), Infallible>::NotYet(format!("{} of 3 nodes", calls.get().min(2)))
        })
        .await
        .unwrap_err();
        assert!(error.is_timeout());
        let text = error.to_string();
        assert!(text.starts_with("waited 6") || text.starts_with("waited 7"), "{text}");
        assert!(text.ends_with(" ms for the quorum, in vain; last seen: 2 of 3 nodes"), "{text}");
        assert!(calls.get() > 2);
    }

    #[tokio::test]
    async fn a_failure_ends_the_wait_at_once() {
        let started = Instant::now();
        let error = wait_for("a node", LONG, TICK, || async { Probe::<(), _>::Failed("it died") }).await;
        assert_eq!(error.unwrap_err().to_string(), "it died");
        assert!(started.elapsed() < LONG / 4);
    }

    #[tokio::test]
    async fn a_probe_that_hangs_is_cut_off_and_the_status_before_it_is_kept() {
        let calls = Cell::new(0);
        let error = wait_for("an answer", Duration::from_millis(50), TICK, || async {
            calls.set(calls.get() + 1);
            if calls.get() == 1 {
                return Probe::<(), Infallible>::NotYet("connection refused".to_owned());
            }
            pending().await
        })
        .await
        .unwrap_err();
        assert!(error.to_string().ends_with("last seen: connection refused (and then no answer)"), "{error}");
        let error =
            wait_for::<(), Infallible, _>("x", Duration::from_millis(10), TICK, pending).await.unwrap_err();
        assert!(error.to_string().ends_with("no answer to the first question"), "{error}");
    }

    #[test]
    fn durations_read_as_a_person_says_them() {
        let said = [850, 12_345, 119_900, 245_000].map(|ms| Elapsed(Duration::from_millis(ms)).to_string());
        assert_eq!(said, ["850 ms", "12.3 s", "119.9 s", "4 min 5 s"]);
    }
}
