//! Why a fixture did not do what it should.

use std::io;
use std::path::{Path, PathBuf};

use caracal_kafka_contract::profile::ProfileError;
use caracal_pki::store::StoreError;

use crate::admin::AdminError;
use crate::distribution::InstallError;
use crate::lifecycle::access::AccessError;
use crate::lifecycle::cluster::ClusterError;
use crate::lifecycle::commands::CommandError;
use crate::names::NameError;
use crate::ops::OpsError;
use crate::wait::WaitError;
use crate::wire::ApiError;

/// Why a fixture did not do what it should.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FixtureError {
    /// The cluster did not come up.
    #[error("the cluster of this test did not come up")]
    Up(#[source] Box<CommandError>),
    /// What was started cannot be found again.
    #[error(transparent)]
    Cluster(#[from] Box<ClusterError>),
    /// An operation on its nodes.
    #[error(transparent)]
    Ops(#[from] Box<OpsError>),
    /// Its brokers.
    #[error(transparent)]
    Admin(#[from] AdminError),
    /// Our own way to it.
    #[error(transparent)]
    Access(#[from] AccessError),
    /// The brokers refuse a topic or a rule.
    #[error("{0}")]
    Refused(ApiError),
    /// A user's connection profile.
    #[error("the profile of `{user}` cannot be read; the users of this cluster are {known}")]
    Profile {
        /// The user.
        user: String,
        /// The users that have one.
        known: String,
        /// The cause.
        #[source]
        source: Box<ProfileError>,
    },
    /// A name that cannot be one.
    #[error(transparent)]
    Name(#[from] NameError),
    /// There is no place for clusters of tests.
    #[error(transparent)]
    NoPlace(#[from] InstallError),
    /// Its folder is not private, or cannot be made.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A lock or a folder of the fixture.
    #[error("{action} {} failed", path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// The cause.
        #[source]
        source: io::Error,
    },
    /// Something did not come about in time.
    #[error("{0}")]
    Awaited(String),
    /// A blow to a node that others use too.
    #[error(
        "`{node}` belongs to a shared cluster, where {action} would fail other tests: take \
         `SecureCluster::exclusive()` for it"
    )]
    Shared {
        /// The node.
        node: String,
        /// What was asked for.
        action: &'static str,
    },
    /// A blow to a node that does not run.
    #[error("`{node}` does not run, so it cannot be {action}; `restart()` starts it")]
    NotRunning {
        /// The node.
        node: String,
        /// What was asked for.
        action: &'static str,
    },
    /// What a blocking call runs on could not be made.
    #[error("no executor could be made for a blocking call")]
    Executor(#[source] io::Error),
    /// A blocking call panicked.
    #[error("a blocking call panicked; its message stands above")]
    Panicked,
}

impl FixtureError {
    pub(super) fn io(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self + use<> {
        let path = path.to_owned();
        move |source| Self::Io { action, path, source }
    }
}

impl From<ClusterError> for FixtureError {
    fn from(error: ClusterError) -> Self {
        Self::Cluster(Box::new(error))
    }
}

impl From<OpsError> for FixtureError {
    fn from(error: OpsError) -> Self {
        Self::Ops(Box::new(error))
    }
}

impl From<WaitError<Self>> for FixtureError {
    fn from(error: WaitError<Self>) -> Self {
        match error {
            WaitError::Failed(error) => error,
            timed_out @ WaitError::TimedOut { .. } => Self::Awaited(timed_out.to_string()),
        }
    }
}
