//! Where outcomes wait for whoever asks for them. A slot a record instead of a channel a record: no
//! allocation, and none that one thread makes and another one frees.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::task::{Poll, Waker};

use slab::Slab;

/// Few enough to be small, enough that the sending and the reporting thread seldom meet.
const SHARDS: usize = 16;

/// What became of a record, without what its handle knows anyway.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum Outcome {
    Written { partition: i32, offset: i64 },
    NotWritten(Box<str>),
    Unknown(Box<str>),
}

#[derive(Debug)]
struct Slot {
    /// Which of the outbox's clients the record was given to.
    client: u32,
    state: State,
}

#[derive(Debug)]
enum State {
    /// Not known yet; whoever waits for it.
    Pending(Option<Waker>),
    /// Not known yet, and nobody will ask.
    Unasked,
    Known(Outcome),
}

// A cache line each: two threads in two shards do not slow each other down.
#[derive(Debug, Default)]
#[repr(align(64))]
struct Shard(Mutex<Slab<Slot>>);

/// All slots of an outbox. A slot's number is given to librdkafka with the record.
#[derive(Debug, Default)]
pub(crate) struct Slots {
    shards: [Shard; SHARDS],
    turn: AtomicUsize,
}

impl Slots {
    /// A slot for a record that is about to be given to this client.
    pub(crate) fn open(&self, client: u32) -> usize {
        let shard = self.turn.fetch_add(1, Ordering::Relaxed) % SHARDS;
        self.shard(shard).insert(Slot { client, state: State::Pending(None) }) * SHARDS + shard
    }

    /// The record was not sent after all.
    pub(crate) fn take_back(&self, slot: usize) {
        let _ = self.shard(slot % SHARDS).try_remove(slot / SHARDS);
    }

    /// The outcome is known. It is counted before anybody can see it, for whoever sees the last one may drop the
    /// outbox and read the counts at once; `wake` is for whoever waits. Hands it back when nobody will ask for it;
    /// an error when it was settled before.
    pub(crate) fn settle(
        &self,
        client: u32,
        slot: usize,
        outcome: Outcome,
        count: impl FnOnce(),
        wake: impl FnOnce(Waker),
    ) -> Result<Option<Outcome>, ()> {
        let mut shard = self.shard(slot % SHARDS);
        let Some(found) = shard.get_mut(slot / SHARDS) else { return Err(()) };
        if found.client != client || matches!(found.state, State::Known(_)) {
            return Err(());
        }
        count();
        match std::mem::replace(&mut found.state, State::Known(outcome)) {
            State::Pending(waker) => {
                drop(shard);
                if let Some(waker) = waker {
                    wake(waker);
                }
                Ok(None)
            }
            State::Unasked | State::Known(_) => Ok(known(shard.try_remove(slot / SHARDS))),
        }
    }

    /// What this client never settled ends so. The slots stay taken by their handles, so that a late
    /// outcome finds its own or none.
    pub(crate) fn abandon(&self, client: u32, outcome: &Outcome) {
        for shard in 0..SHARDS {
            let mut shard = self.shard(shard);
            let unasked = |slot: &Slot| slot.client == client && matches!(slot.state, State::Unasked);
            shard.retain(|_, slot| !unasked(slot));
            let mut wakers = Vec::new();
            for (_, slot) in shard.iter_mut() {
                if slot.client == client
                    && let State::Pending(waker) = &mut slot.state
                {
                    wakers.extend(waker.take());
                    slot.state = State::Known(outcome.clone());
                }
            }
            drop(shard);
            wakers.into_iter().for_each(Waker::wake);
        }
    }

    /// The outcome, which ends the slot; or the waker is kept.
    pub(crate) fn poll(&self, slot: usize, waker: &Waker) -> Poll<Outcome> {
        let mut shard = self.shard(slot % SHARDS);
        match shard.get_mut(slot / SHARDS).map(|slot| &mut slot.state) {
            Some(State::Pending(known)) => {
                if !known.as_ref().is_some_and(|known| known.will_wake(waker)) {
                    *known = Some(waker.clone());
                }
                Poll::Pending
            }
            Some(State::Known(_)) => match known(shard.try_remove(slot / SHARDS)) {
                Some(outcome) => Poll::Ready(outcome),
                None => Poll::Ready(Outcome::Unknown("its slot was emptied".into())),
            },
            Some(State::Unasked) | None => Poll::Ready(Outcome::Unknown("it was asked for before".into())),
        }
    }

    /// Nobody will ask. Hands back an outcome that was known and not asked for.
    pub(crate) fn forget(&self, slot: usize) -> Option<Outcome> {
        let mut shard = self.shard(slot % SHARDS);
        let found = shard.get_mut(slot / SHARDS)?;
        if matches!(found.state, State::Pending(_)) {
            found.state = State::Unasked;
            return None;
        }
        known(shard.try_remove(slot / SHARDS))
    }

    /// Slots in use.
    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        (0..SHARDS).map(|shard| self.shard(shard).len()).sum()
    }

    fn shard(&self, shard: usize) -> MutexGuard<'_, Slab<Slot>> {
        // Each operation leaves a whole slab behind, so a panic elsewhere spoils nothing.
        self.shards[shard].0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn known(slot: Option<Slot>) -> Option<Outcome> {
    match slot?.state {
        State::Known(outcome) => Some(outcome),
        State::Pending(_) | State::Unasked => None,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const WRITTEN: Outcome = Outcome::Written { partition: 1, offset: 2 };

    #[test]
    fn every_order_of_events_ends_the_slot() {
        let slots = Slots::default();
        let waker = Waker::noop();
        let asked = slots.open(0);
        assert!(slots.poll(asked, waker).is_pending());
        assert_eq!(slots.settle(0, asked, WRITTEN, || (), Waker::wake), Ok(None));
        assert_eq!(slots.poll(asked, waker), Poll::Ready(WRITTEN));
        let forgotten = slots.open(0);
        assert_eq!(slots.forget(forgotten), None);
        assert_eq!(
            slots.settle(0, forgotten, WRITTEN, || (), Waker::wake),
            Ok(Some(WRITTEN)),
            "nobody asks any more"
        );
        let late = slots.open(0);
        assert_eq!(slots.settle(0, late, WRITTEN, || (), Waker::wake), Ok(None));
        assert_eq!(slots.settle(0, late, WRITTEN, || (), Waker::wake), Err(()), "it was settled");
        assert_eq!(slots.forget(late), Some(WRITTEN));
        let unsent = slots.open(0);
        slots.take_back(unsent);
        assert_eq!(slots.len(), 0);
    }

    #[test]
    fn what_a_client_leaves_behind_ends_and_the_others_stays() {
        let slots = Slots::default();
        let unknown = Outcome::Unknown("gone".into());
        let (old, unasked, new) = (slots.open(1), slots.open(1), slots.open(2));
        assert_eq!(slots.forget(unasked), None);
        slots.abandon(1, &unknown);
        assert_eq!(slots.settle(1, old, WRITTEN, || (), Waker::wake), Err(()), "too late");
        assert_eq!(slots.poll(old, Waker::noop()), Poll::Ready(unknown));
        let again = slots.open(2);
        assert_eq!(slots.settle(1, again, WRITTEN, || (), Waker::wake), Err(()), "another client's");
        assert!(slots.poll(new, Waker::noop()).is_pending());
        assert_eq!(slots.len(), 2);
    }

    #[test]
    fn an_outcome_that_is_seen_is_counted() {
        let (slots, counted) = (Slots::default(), AtomicUsize::new(0));
        for so_far in 1..=2_000 {
            let slot = slots.open(0);
            std::thread::scope(|threads| {
                threads.spawn(|| {
                    let count = || {
                        // Time enough for the other thread, if it could see the outcome by now.
                        std::thread::yield_now();
                        counted.fetch_add(1, Ordering::Release);
                    };
                    assert_eq!(slots.settle(0, slot, WRITTEN, count, Waker::wake), Ok(None));
                });
                while slots.poll(slot, Waker::noop()).is_pending() {
                    std::thread::yield_now();
                }
                assert_eq!(counted.load(Ordering::Acquire), so_far);
            });
        }
    }

    proptest! {
        #[test]
        fn slots_do_not_mix(orders in prop::collection::vec(any::<prop::sample::Index>(), 1..200)) {
            let slots = Slots::default();
            let mut open: Vec<(usize, i64)> = Vec::new();
            for (at, which) in orders.iter().enumerate() {
                let offset = i64::try_from(at).expect("few");
                open.push((slots.open(0), offset));
                if at % 3 == 0 {
                    let (slot, offset) = open.swap_remove(which.index(open.len()));
                    let outcome = Outcome::Written { partition: 0, offset };
                    prop_assert_eq!(slots.settle(0, slot, outcome.clone(), || (), Waker::wake), Ok(None));
                    prop_assert_eq!(slots.poll(slot, Waker::noop()), Poll::Ready(outcome));
                }
            }
            prop_assert_eq!(slots.len(), open.len());
        }
    }
}
