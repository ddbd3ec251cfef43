//! Operations on a cluster that was made before: what the guide does with shells inside containers.
//!
//! Each is one procedure that the command line and tests call; none starts a JVM to ask something. They
//! read the same plan as `up` and reach the brokers through the same [`Access`].
//!
//! ```no_run
//! use caracal_cluster::dir::StateRoot;
//! use caracal_cluster::lifecycle::commands::Selection;
//! use caracal_cluster::ops::{Operated, health};
//!
//! # async fn look() -> Result<(), Box<dyn std::error::Error>> {
//! let selection = Selection::named(StateRoot::from_environment()?, None);
//! let report = health::look(&Operated::open(&selection)?, &health::Options::default()).await?;
//! assert!(report.healthy, "{:?}", report.checks);
//! # Ok(())
//! # }
//! ```

pub mod acls;
pub mod certs;
pub mod dashboard;
pub mod doctor;
mod error;
pub mod facts;
pub mod grafana;
pub mod groups;
pub mod health;
pub mod lag;
pub mod logs;
pub mod metrics;
pub mod nearest;
pub mod nodes;
pub mod practices;
pub mod restart;
pub mod schemas;
pub mod topics;
pub mod transfer;
pub mod users;

use std::time::Duration;

pub use self::error::OpsError;
use crate::admin::Admin;
use crate::dir::{DirLock, StateRoot};
use crate::lifecycle::access::Access;
use crate::lifecycle::cluster::{Cluster, Described};
use crate::lifecycle::commands::Selection;
use crate::plan::NodePlan;
use crate::wire::{Deadline, SharedSaltedPasswords};

/// How long one question to the cluster may take, in all.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// A cluster that was made before, and how we reach it.
#[derive(Clone, Debug)]
pub struct Operated {
    cluster: Cluster,
    passwords: SharedSaltedPasswords,
}

impl Operated {
    /// Resolves a cluster; takes no lock and changes nothing.
    ///
    /// # Errors
    /// When there is no such cluster, naming those that are there.
    pub fn open(selection: &Selection) -> Result<Self, OpsError> {
        Ok(Self::of(Cluster::existing(&selection.root, selection.name.as_ref())?))
    }

    /// A cluster that is resolved already.
    pub fn of(cluster: Cluster) -> Self {
        Self { cluster, passwords: SharedSaltedPasswords::default() }
    }

    /// The cluster.
    pub fn cluster(&self) -> &Cluster {
        &self.cluster
    }

    /// The way to it.
    pub fn access(&self) -> Access<'_> {
        Access::new(&self.cluster.dir, &self.cluster.plan, self.passwords.clone())
    }

    /// An administrator of it.
    ///
    /// # Errors
    /// When the administrator's credentials cannot be read.
    pub fn admin(&self) -> Result<Admin, OpsError> {
        Ok(self.access().admin()?)
    }

    /// The nodes of these names, in the order of the plan; all when no name is given. A name may leave the
    /// cluster's prefix out (`kafka-1`).
    ///
    /// # Errors
    /// [`OpsError::NoSuch`] with the nearest name.
    pub fn nodes(&self, names: &[String]) -> Result<Vec<&NodePlan>, OpsError> {
        chosen(&self.cluster, names)
    }
}

/// The listener that a cluster of this state root has planned at an address of this machine, as
/// `cluster node listener`.
pub fn planned_at(root: &StateRoot, address: &str) -> Option<String> {
    let (host, port) = address.rsplit_once(':')?;
    let port: u16 = port.parse().ok()?;
    if !matches!(host, "localhost" | "127.0.0.1" | "[::1]") {
        return None;
    }
    root.clusters().iter().find_map(|name| {
        let plan = crate::lifecycle::cluster::last_plan(&root.cluster(name))?;
        plan.nodes.iter().find_map(|node| {
            let listener = node.listeners.iter().find(|listener| listener.dial.port() == port)?;
            Some(format!("{} {}", node.name, listener.name))
        })
    })
}

/// As [`Operated::nodes`].
pub(crate) fn chosen<'a>(cluster: &'a Cluster, names: &[String]) -> Result<Vec<&'a NodePlan>, OpsError> {
    let plan = &cluster.plan;
    let whole = |name: &String| match plan.node(name) {
        Some(node) => Ok(&node.name),
        None => plan.node(&format!("{}-{name}", plan.cluster)).map(|node| &node.name).ok_or_else(|| {
            let prefix = format!("{}-", plan.cluster);
            let known = plan.nodes.iter().map(|node| short_of(node.name.as_str(), &prefix));
            OpsError::no_such("node", short_of(name, &prefix), known)
        }),
    };
    let wanted = names.iter().map(whole).collect::<Result<Vec<_>, _>>()?;
    let taken = |node: &&NodePlan| names.is_empty() || wanted.contains(&&node.name);
    Ok(plan.nodes.iter().filter(taken).collect())
}

fn short_of<'n>(name: &'n str, prefix: &str) -> &'n str {
    name.strip_prefix(prefix).unwrap_or(name)
}

/// A cluster that was made before, held by its lock unless nothing is to be changed.
pub(crate) fn taken(
    selection: &Selection,
    only_look: bool,
    command: &str,
) -> Result<(Operated, Option<DirLock>), OpsError> {
    if only_look {
        return Ok((Operated::open(selection)?, None));
    }
    let name = Cluster::expect_made(&selection.root, selection.name.as_ref())?;
    let (cluster, lock) = Cluster::for_change(&selection.root, Some(&name), &Described::default(), command)?;
    Ok((Operated::of(cluster), Some(lock)))
}

/// A deadline for one question.
pub(crate) fn soon() -> Deadline {
    Deadline::after(PATIENCE)
}

/// Milliseconds since a moment.
pub(crate) fn millis_since(begun: std::time::Instant) -> u64 {
    u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX)
}
