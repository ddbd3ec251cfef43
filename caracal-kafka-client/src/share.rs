//! A group member's share of its topic, and who is told when it changes.

use std::fmt;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;

/// What changed of a group member's share: partitions of its topic, by number.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum ShareChange<'a> {
    /// They are this member's from now on. No record of them was handed out yet.
    Assigned(&'a [i32]),
    /// They go to another member as soon as the hook returns. [`Consumer::run`](crate::Consumer::run) has let their
    /// handlers end and has committed by then.
    Revoked(&'a [i32]),
    /// They are another member's already, because this one did not poll in time or was out of reach: what is kept
    /// for them is out of date, and no commit for them is taken.
    Lost(&'a [i32]),
}

/// Is told what changes of a member's share: to fill and to write down what a service keeps by partition.
///
/// It is called by whoever polls, so for as long as it runs nothing is handed out and nothing of the rebalance goes
/// on; beyond the session's time-out the group goes on without this member. A panic is logged and changes nothing.
///
/// ```
/// use caracal_kafka_client::{ConsumerOptions, ShareChange, ShareHook};
///
/// let hook = ShareHook::new(|change| match change {
///     ShareChange::Assigned(partitions) => println!("load the totals of {partitions:?}"),
///     ShareChange::Revoked(partitions) => println!("store the totals of {partitions:?}"),
///     _ => println!("forget the totals: {change:?}"),
/// });
/// let options = ConsumerOptions { on_share_change: hook, ..ConsumerOptions::default() };
/// # drop(options);
/// ```
#[derive(Clone, Default)]
pub struct ShareHook(Option<Hook>);

type Hook = Arc<dyn Fn(ShareChange<'_>) + Send + Sync>;

impl ShareHook {
    /// One that calls this.
    pub fn new(hook: impl Fn(ShareChange<'_>) + Send + Sync + 'static) -> Self {
        Self(Some(Arc::new(hook)))
    }

    pub(crate) fn tell(&self, change: ShareChange<'_>) {
        let Some(hook) = &self.0 else { return };
        // It stands between librdkafka and the answer that the group waits for.
        if std::panic::catch_unwind(AssertUnwindSafe(|| hook(change))).is_err() {
            tracing::error!("the hook panicked that was told {change:?}");
        }
    }
}

impl fmt::Debug for ShareHook {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.is_some() { "ShareHook(set)" } else { "ShareHook(none)" })
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::*;

    #[test]
    fn a_hook_that_panics_stops_nobody() {
        let calls = Arc::new(AtomicU32::new(0));
        let counted = Arc::clone(&calls);
        let hook = ShareHook::new(move |change| {
            counted.fetch_add(1, Ordering::Relaxed);
            assert!(matches!(change, ShareChange::Assigned(_)), "on purpose");
        });
        hook.tell(ShareChange::Revoked(&[1]));
        hook.tell(ShareChange::Assigned(&[1]));
        assert_eq!(calls.load(Ordering::Relaxed), 2);
        ShareHook::default().tell(ShareChange::Lost(&[1]));
    }
}
