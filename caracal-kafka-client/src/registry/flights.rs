//! One answer for all who ask the same at the same time.

use std::collections::HashMap;
use std::fmt;
use std::hash::Hash;
use std::sync::{Mutex, MutexGuard, PoisonError};

use futures::FutureExt as _;
use futures::future::{BoxFuture, Shared};

type Flight<V, E> = Shared<BoxFuture<'static, Result<V, E>>>;

/// Questions that were asked, and their answers. A failed one is told to all who wait for it and asked
/// again by the next. Whoever is cancelled leaves the question to the others.
pub(super) struct Flights<K, V, E> {
    flights: Mutex<HashMap<K, Flight<V, E>>>,
    /// Whether an answer holds for ever.
    kept: bool,
}

impl<K, V, E> fmt::Debug for Flights<K, V, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Flights").field("kept", &self.kept).finish_non_exhaustive()
    }
}

impl<K: Clone + Eq + Hash, V: Clone + Send + Sync + 'static, E: Clone + Send + Sync + 'static>
    Flights<K, V, E>
{
    /// Answers hold for ever.
    pub(super) fn kept() -> Self {
        Self { flights: Mutex::default(), kept: true }
    }

    /// An answer holds for those who waited for it.
    pub(super) fn passing() -> Self {
        Self { flights: Mutex::default(), kept: false }
    }

    pub(super) async fn get<F>(&self, key: K, ask: impl FnOnce() -> F) -> Result<V, E>
    where
        F: Future<Output = Result<V, E>> + Send + 'static,
    {
        let flight = self.lock().entry(key.clone()).or_insert_with(|| ask().boxed().shared()).clone();
        let answer = flight.clone().await;
        if !self.kept || answer.is_err() {
            let mut flights = self.lock();
            if flights.get(&key).is_some_and(|known| known.ptr_eq(&flight)) {
                flights.remove(&key);
            }
        }
        answer
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<K, Flight<V, E>>> {
        // Entries are put in and taken out as a whole: sound after a panic elsewhere.
        self.flights.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU32, Ordering};
    use std::time::Duration;

    use futures::future::join_all;

    use super::*;

    async fn answer(calls: Arc<AtomicU32>, good: bool) -> Result<u32, u32> {
        // Long enough for all to have asked.
        let _ = tokio::time::timeout(Duration::from_millis(50), std::future::pending::<()>()).await;
        let call = calls.fetch_add(1, Ordering::Relaxed);
        if good { Ok(call) } else { Err(call) }
    }

    #[tokio::test]
    async fn a_failure_is_shared_and_then_asked_again() {
        let (flights, calls) = (Flights::kept(), Arc::new(AtomicU32::new(0)));
        let ask = |good| {
            flights.get("k", {
                let calls = Arc::clone(&calls);
                move || answer(calls, good)
            })
        };
        assert_eq!(join_all((0..50).map(|_| ask(false))).await, vec![Err(0); 50]);
        assert_eq!(join_all((0..50).map(|_| ask(true))).await, vec![Ok(1); 50]);
        assert_eq!(ask(true).await, Ok(1), "it holds");
    }

    #[tokio::test]
    async fn one_who_is_cancelled_leaves_the_answer_to_the_others() {
        let (flights, calls) = (Flights::passing(), Arc::new(AtomicU32::new(0)));
        let ask = || {
            flights.get("k", {
                let calls = Arc::clone(&calls);
                move || answer(calls, true)
            })
        };
        let mut first = Box::pin(ask());
        assert!(futures::poll!(first.as_mut()).is_pending());
        let second = ask();
        drop(first);
        assert_eq!(second.await, Ok(0));
        assert_eq!(ask().await, Ok(1), "it holds for those who waited");
    }
}
