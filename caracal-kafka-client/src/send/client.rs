//! A librdkafka producer with the thread that serves its outcomes.
//!
//! As rdkafka's `ThreadedProducer`, but it knows when a batch of outcomes is over: a task that waits for one outcome
//! after the other is woken once a batch, instead of running a few steps behind the thread that settles them, each step
//! of which costs both a switch. Where little is sent, each outcome still wakes at once.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::Waker;
use std::thread::JoinHandle;
use std::time::Duration;

use rdkafka::ClientConfig;
use rdkafka::config::FromClientConfigAndContext as _;
use rdkafka::error::KafkaError;
use rdkafka::producer::BaseProducer;

use super::deliveries::Deliveries;

/// How long the thread waits for outcomes where there are few.
const IDLE: Duration = Duration::from_millis(100);

/// How long a batch of outcomes is where there are many: by so much may one of them wake late.
const BATCH: Duration = Duration::from_millis(1);

/// So many outcomes in one wait are many.
const MANY: usize = 64;

/// Who is to be woken when a batch is over.
#[derive(Debug, Default)]
pub(super) struct Wakes {
    batched: AtomicBool,
    /// Outcomes of this batch.
    outcomes: AtomicUsize,
    late: Mutex<Vec<Waker>>,
    room: AtomicBool,
}

impl Wakes {
    /// Counts an outcome. Whether whoever waits for room is to be told by [`end`](Self::end).
    pub(super) fn outcome(&self, waiting: bool) -> bool {
        self.outcomes.fetch_add(1, Ordering::Relaxed);
        let late = self.batched.load(Ordering::Acquire);
        if late && waiting {
            self.room.store(true, Ordering::Release);
        }
        late
    }

    /// Wakes now, or at the end of the batch.
    pub(super) fn wake(&self, waker: Waker) {
        {
            let mut late = self.late();
            // Looked at under the lock, so that the end of the batch does not come in between.
            if self.batched.load(Ordering::Acquire) {
                // Most often it is one task that waits for one after the other.
                if !late.last().is_some_and(|last| last.will_wake(&waker)) {
                    late.push(waker);
                }
                return;
            }
        }
        waker.wake();
    }

    /// Ends the batch; whether the next wait is one too is decided by its outcomes. Returns how many there were,
    /// and whether somebody waits for room.
    fn end(&self, batched: impl FnOnce(usize) -> bool) -> (usize, bool) {
        let outcomes = self.outcomes.swap(0, Ordering::Relaxed);
        let late = {
            let mut late = self.late();
            self.batched.store(batched(outcomes), Ordering::Release);
            std::mem::take(&mut *late)
        };
        late.into_iter().for_each(Waker::wake);
        (outcomes, self.room.swap(false, Ordering::AcqRel))
    }

    fn late(&self) -> std::sync::MutexGuard<'_, Vec<Waker>> {
        // A list that is only added to and taken as a whole.
        self.late.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

pub(super) struct Client {
    producer: Arc<BaseProducer<Deliveries>>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Client {
    pub(super) fn new(config: &ClientConfig, deliveries: Deliveries) -> Result<Self, KafkaError> {
        let (wakes, shared) = (Arc::clone(&deliveries.wakes), Arc::clone(&deliveries.shared));
        let producer = Arc::new(BaseProducer::from_config_and_context(config, deliveries)?);
        let stop = Arc::new(AtomicBool::new(false));
        let (served, stopped) = (Arc::clone(&producer), Arc::clone(&stop));
        let serve = move || {
            let mut many = false;
            while !stopped.load(Ordering::Relaxed) {
                served.poll(if many { BATCH } else { IDLE });
                let (outcomes, room) = wakes.end(|outcomes| outcomes >= MANY);
                many = outcomes >= MANY;
                if room {
                    shared.room.notify_waiters();
                }
            }
            wakes.end(|_| false);
        };
        let builder = std::thread::Builder::new().name("caracal-outcomes".into());
        let thread = builder
            .spawn(serve)
            .map_err(|_| KafkaError::ClientCreation("no thread could be started for its outcomes".into()))?;
        Ok(Self { producer, stop, thread: Some(thread) })
    }

    /// The producer, for calls that block and so have a thread of their own.
    pub(super) const fn producer(&self) -> &Arc<BaseProducer<Deliveries>> {
        &self.producer
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            // It has the producer too, which must not go while outcomes are served.
            let _ = thread.join();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::task::Wake;

    use super::*;

    #[derive(Default)]
    struct Counted(AtomicUsize);

    impl Wake for Counted {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    #[test]
    fn one_task_is_woken_once_a_batch_and_at_once_where_there_is_none() {
        let wakes = Wakes::default();
        let (one, other) = (Arc::new(Counted::default()), Arc::new(Counted::default()));
        let count = |of: &Arc<Counted>| of.0.load(Ordering::Relaxed);
        assert!(!wakes.outcome(true), "no batch");
        wakes.wake(Arc::clone(&one).into());
        assert_eq!(count(&one), 1);
        assert_eq!(wakes.end(|_| true), (1, false));
        for _ in 0..5 {
            assert!(wakes.outcome(true));
            wakes.wake(Arc::clone(&one).into());
        }
        wakes.wake(Arc::clone(&other).into());
        assert_eq!((count(&one), count(&other)), (1, 0), "the batch is not over");
        assert_eq!(wakes.end(|_| false), (5, true), "and somebody waits for room");
        assert_eq!((count(&one), count(&other)), (2, 1));
        wakes.wake(Arc::clone(&one).into());
        assert_eq!(count(&one), 3);
    }
}
