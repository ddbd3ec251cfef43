//! Why a step failed, for the person who reads it.

use std::error::Error;
use std::fmt::Write as _;

use super::access::AccessError;
use super::cluster::ClusterError;
use crate::admin::AdminError;
use crate::credentials::CredentialsError;
use crate::dir::DirError;
use crate::distribution::{InstallError, JavaError, VerifyError};
use crate::registry::RegistryError;
use crate::runtime::NodeError;
use crate::wire::WireError;
use crate::zookeeper::ZkError;
use crate::zookeeper::users::UserError;

/// Why a step failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StepError {
    /// The machine cannot carry the cluster.
    #[error("this machine cannot carry the cluster:{}", listed(problems))]
    Preflight {
        /// Each reason with what to do.
        problems: Vec<String>,
    },
    /// The cluster's directory.
    #[error(transparent)]
    Dir(#[from] DirError),
    /// The cluster itself.
    #[error(transparent)]
    Cluster(#[from] ClusterError),
    /// Certificates and passwords.
    #[error(transparent)]
    Credentials(#[from] CredentialsError),
    /// A distribution that cannot be had.
    #[error(transparent)]
    Install(#[from] InstallError),
    /// A distribution that is not what was locked.
    #[error(transparent)]
    Verify(#[from] VerifyError),
    /// No Java.
    #[error(transparent)]
    Java(#[from] JavaError),
    /// A process that cannot be started or stopped.
    #[error(transparent)]
    Node(#[from] NodeError),
    /// A node that ended while it was awaited.
    #[error("{node} ended while starting{}\n  {explanation}", exit(*code))]
    NodeDied {
        /// The node.
        node: String,
        /// Its exit code, where known.
        code: Option<i32>,
        /// Likely cause and the end of its log.
        explanation: String,
    },
    /// A failure that names nodes by their addresses.
    #[error("{}\n  {logs}", chain(source))]
    Explained {
        /// The failure.
        source: Box<Self>,
        /// Likely cause and the end of the log of each of these nodes.
        logs: String,
    },
    /// A node that did not become ready.
    #[error(
        "{node} did not become ready: waited {waited_seconds} s for {awaited}; last seen: {last}\n  {explanation}"
    )]
    NotReady {
        /// The node.
        node: String,
        /// What was awaited.
        awaited: String,
        /// For how long.
        waited_seconds: u64,
        /// The last status.
        last: String,
        /// Likely cause and the end of its log.
        explanation: String,
    },
    /// Something of a data directory's first content that cannot be made.
    #[error("{what} cannot be made: {why}")]
    Format {
        /// What.
        what: String,
        /// Why not.
        why: String,
    },
    /// Access to our own cluster.
    #[error(transparent)]
    Access(#[from] AccessError),
    /// ZooKeeper.
    #[error(transparent)]
    ZooKeeper(#[from] ZkError),
    /// A user in ZooKeeper.
    #[error(transparent)]
    User(#[from] UserError),
    /// Administration.
    #[error(transparent)]
    Admin(#[from] AdminError),
    /// A connection.
    #[error(transparent)]
    Wire(#[from] WireError),
    /// The registry.
    #[error(transparent)]
    Registry(#[from] RegistryError),
    /// Some items of many.
    #[error("{what}:{}", listed(items))]
    Items {
        /// What they have in common.
        what: String,
        /// Each with its reason.
        items: Vec<String>,
    },
    /// Something in the proof that must not be.
    #[error("the proof failed: {what}")]
    Proof {
        /// What.
        what: String,
    },
}

fn listed(items: &[String]) -> String {
    items.iter().fold(String::new(), |mut text, item| {
        let _ = write!(text, "\n  - {item}");
        text
    })
}

fn exit(code: Option<i32>) -> String {
    match code {
        Some(137) => " (killed by SIGKILL; when memory was short, by the kernel)".to_owned(),
        Some(code) => format!(" (exit code {code})"),
        None => String::new(),
    }
}

/// An error with every cause below it, each said once.
pub fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let line = cause.to_string();
        if !text.contains(&line) {
            text.push_str("\n  caused by: ");
            text.push_str(&line);
        }
        source = cause.source();
    }
    text
}
