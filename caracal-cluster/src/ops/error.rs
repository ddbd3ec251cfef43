//! Why an operation did not do what it should.

use super::nearest;
use crate::admin::AdminError;
use crate::credentials::CredentialsError;
use crate::dir::DirError;
use crate::lifecycle::StepError;
use crate::lifecycle::access::AccessError;
use crate::lifecycle::cluster::ClusterError;
use crate::registry::RegistryError;
use crate::wait::WaitError;
use crate::wire::{ApiError, WireError};
use crate::zookeeper::ZkError;

/// Why an operation did not do what it should.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpsError {
    /// The cluster cannot be resolved or locked.
    #[error(transparent)]
    Cluster(#[from] ClusterError),
    /// Our own way to it.
    #[error(transparent)]
    Access(#[from] AccessError),
    /// Its brokers.
    #[error(transparent)]
    Admin(#[from] AdminError),
    /// One connection.
    #[error(transparent)]
    Wire(#[from] WireError),
    /// Its ensemble.
    #[error(transparent)]
    ZooKeeper(#[from] ZkError),
    /// Its registry.
    #[error(transparent)]
    Registry(#[from] RegistryError),
    /// Its nodes' processes.
    #[error(transparent)]
    Step(#[from] StepError),
    /// One item that the cluster refused.
    #[error("{0}")]
    Item(ApiError),
    /// There is nothing of that name.
    #[error("there is no {kind} `{name}`{hint}")]
    NoSuch {
        /// What kind of thing.
        kind: &'static str,
        /// The name.
        name: String,
        /// The nearest names, or what there is.
        hint: String,
    },
    /// It was refused before anything was changed.
    #[error("{why}")]
    Refused {
        /// Why, and what to do instead.
        why: String,
    },
    /// Some items of many.
    #[error("{what}:{}", listed(items))]
    Items {
        /// What they have in common.
        what: String,
        /// Each with its reason.
        items: Vec<String>,
    },
    /// Something did not come about in time.
    #[error("waited {waited_seconds} s for {awaited}, in vain; last seen: {last}{explanation}")]
    Awaited {
        /// What was awaited.
        awaited: String,
        /// For how long.
        waited_seconds: u64,
        /// The last status.
        last: String,
        /// The end of a log, or what to do.
        explanation: String,
    },
    /// A file of the caller's that cannot be read.
    #[error("{path} cannot be read")]
    File {
        /// The file.
        path: String,
        /// The cause.
        #[source]
        source: std::io::Error,
    },
    /// A file of the caller's that says something else than it should.
    #[error("{path}: {why}")]
    Unusable {
        /// The file.
        path: String,
        /// What is wrong.
        why: String,
    },
}

impl OpsError {
    /// A name that does not exist, with the nearest that does.
    pub(crate) fn no_such<'a>(
        kind: &'static str,
        name: &str,
        known: impl IntoIterator<Item = &'a str>,
    ) -> Self {
        Self::NoSuch { kind, name: name.to_owned(), hint: nearest::hint(name, known) }
    }

    /// A wait that failed, with what to say when it was in vain.
    pub(crate) fn waited(error: WaitError<Self>, explanation: &str) -> Self {
        match error {
            WaitError::Failed(error) => error,
            WaitError::TimedOut { what, elapsed, last } => Self::Awaited {
                awaited: what,
                waited_seconds: elapsed.as_secs(),
                last,
                explanation: explanation.to_owned(),
            },
        }
    }

    /// A refusal.
    pub(crate) fn refused(why: impl Into<String>) -> Self {
        Self::Refused { why: why.into() }
    }
}

impl From<DirError> for OpsError {
    fn from(error: DirError) -> Self {
        ClusterError::from(error).into()
    }
}

impl From<CredentialsError> for OpsError {
    fn from(error: CredentialsError) -> Self {
        AccessError::from(error).into()
    }
}

impl From<ApiError> for OpsError {
    fn from(error: ApiError) -> Self {
        Self::Item(error)
    }
}

fn listed(items: &[String]) -> String {
    items.iter().map(|item| ["\n  - ", item].concat()).collect()
}
