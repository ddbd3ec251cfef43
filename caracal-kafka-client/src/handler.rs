//! What a service writes: a handler, and what it says about a record.

use std::error::Error;
use std::future::Future;
use std::sync::Arc;

use crate::dead_letter::Failure;
use crate::record::Received;

/// What became of a record.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum Handled {
    /// It is handled, and may be committed.
    Done,
    /// It failed, and another attempt may help; after the last one it is a dead letter.
    Retry(Failure),
    /// It failed, and no attempt will help.
    DeadLetter(Failure),
}

impl<F: Error> From<Result<(), F>> for Handled {
    fn from(result: Result<(), F>) -> Self {
        match result {
            Ok(()) => Self::Done,
            Err(error) => Self::Retry(Failure::of(&error)),
        }
    }
}

/// Handles events of one type. A closure does: it may return a [`Handled`] or a `Result`, whose error
/// means [`Handled::Retry`].
///
/// A record may come more than once (after a crash, a rebalance, a failed attempt), so handling must
/// be idempotent, for example by `event_id`. A panic counts as a failed attempt.
pub trait Handler<E>: Send + Sync + 'static {
    /// Handles one record.
    fn handle(&self, received: Arc<Received<E>>) -> impl Future<Output = Handled> + Send + 'static;
}

impl<E, H, F> Handler<E> for H
where
    H: Fn(Arc<Received<E>>) -> F + Send + Sync + 'static,
    F: Future<Output: Into<Handled>> + Send + 'static,
{
    fn handle(&self, received: Arc<Received<E>>) -> impl Future<Output = Handled> + Send + 'static {
        let handled = self(received);
        async move { handled.await.into() }
    }
}

/// What a run did.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
#[non_exhaustive]
pub struct RunReport {
    /// Records whose handler ended well.
    pub handled: u64,
    /// Attempts that failed and were followed by another one.
    pub retried: u64,
    /// Records whose dead letter was acknowledged.
    pub dead_lettered: u64,
    /// Records whose handler was still at work when they were given up: they are seen again.
    pub abandoned: u64,
}
