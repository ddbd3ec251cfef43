//! The decisions about records, without I/O and without a clock: which offset may be committed, which
//! record may be handled now, when it is tried again, when its partition has to wait. The same code
//! runs over librdkafka and over memory, and property tests drive it through every order of events.

mod ledger;
mod machine;
mod retry;

pub(crate) use ledger::Ledger;
pub(crate) use machine::{Action, Limits, Machine, Verdict};
pub(crate) use retry::Random;
pub use retry::RetryPolicy;

/// Time since some origin; the caller's clock.
pub(crate) type Moment = std::time::Duration;
