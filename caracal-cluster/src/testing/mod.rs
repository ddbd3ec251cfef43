//! The fixture of integration tests: one call gives a secured cluster, and nothing of it outlives its last user.
//!
//! [`SecureCluster::shared`] gives the cluster that all tests of this user share, of this program and of others
//! (`cargo test`, nextest); whoever comes first starts it. Tests do not meet there, because each works in a
//! [`Namespace`] of its own. [`SecureCluster::exclusive`] starts one for a single test, which may then strike its
//! nodes. Both are plain data: paths, addresses and a lock on a file. No socket and no task outlives a call, so a
//! cluster may be kept beyond the executor of the test that got it.
//!
//! A cluster ends when the last process that has it ends, in whatever way: after a panic, Ctrl-C or `kill -9` too.
//! A small shell waits for that (`flock` and a process table below `/proc`, so Linux); where there is none, and for
//! containers, the next start does it, or [`SecureCluster::prune`].
//!
//! ```no_run
//! use caracal_cluster::testing::SecureCluster;
//!
//! # async fn test() -> Result<(), Box<dyn std::error::Error>> {
//! let cluster = SecureCluster::shared().await?;
//! let orders = cluster.unique_topic("orders").await?;
//! let writer = orders.profile("producer")?; // for `Kafka::connect`
//! let reader = orders.profile("consumer")?;
//! assert!(orders.name().ends_with("orders"));
//! # Ok(())
//! # }
//! ```
//!
//! The first run on a machine fetches Kafka and the registry with Maven, as `cargo xtask cluster up` does.

mod error;
mod home;
mod need;
mod node;
mod space;

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use caracal_kafka_contract::profile::ConnectionProfile;

pub use self::error::FixtureError;
pub use self::home::{FIXTURES_DIR_VARIABLE, LINGER_VARIABLE, Swept};
use self::home::{Home, Homes, Lease, linger};
pub use self::need::Need;
pub use self::node::Node;
pub use self::space::{Namespace, UniqueTopic};
use crate::admin::Admin;
use crate::lifecycle::cluster::Cluster;
use crate::lifecycle::commands::{self, Selection};
use crate::lifecycle::engine::Reporter;
use crate::names::UserName;
use crate::ops::Operated;
use crate::plan::NodePlan;
use crate::spec::Metadata;

/// Shared clusters that this process has, each with its kind: kept until the process ends, so that a cluster
/// does not come and go between two tests.
static KEPT: Mutex<Vec<(String, SecureCluster)>> = Mutex::new(Vec::new());

/// A secured cluster for a test, shared or exclusive.
#[derive(Clone, Debug)]
pub struct SecureCluster {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    home: Home,
    operated: Operated,
    shared: bool,
    /// The last clone takes it along: then the guard ends the cluster.
    lease: Mutex<Option<Lease>>,
}

impl SecureCluster {
    /// The shared cluster of the default kind: one secured KRaft node with a schema registry, as processes.
    ///
    /// # Errors
    /// [`FixtureError`]; what is missing on the machine is named.
    pub async fn shared() -> Result<Self, FixtureError> {
        Need::default().shared().await
    }

    /// A cluster of the default kind for one test alone.
    ///
    /// # Errors
    /// [`FixtureError`].
    pub async fn exclusive() -> Result<Self, FixtureError> {
        Need::default().exclusive().await
    }

    /// Another kind of cluster.
    pub fn builder() -> Need {
        Need::default()
    }

    /// Ends what is left of clusters whose users are all gone, at once; those that somebody holds are untouched.
    ///
    /// # Errors
    /// [`FixtureError`] when a node cannot be ended or a folder not be removed.
    pub async fn prune() -> Result<Vec<Swept>, FixtureError> {
        Homes::discover()?.sweep(true, false).await
    }

    /// What [`Self::prune`] would end.
    ///
    /// # Errors
    /// [`FixtureError`].
    pub async fn would_prune() -> Result<Vec<Swept>, FixtureError> {
        Homes::discover()?.sweep(true, true).await
    }

    /// Where and what it is: `native, Kafka 4.3.1 (KRaft, 1 broker), registry apicurio 3.3.3`.
    pub fn description(&self) -> String {
        let record = &self.cluster().record;
        let mode = match record.metadata {
            Metadata::Kraft => "KRaft",
            Metadata::Zookeeper => "ZooKeeper",
        };
        let brokers =
            if record.brokers == 1 { "1 broker".to_owned() } else { format!("{} brokers", record.brokers) };
        let registry = match self.registry_url() {
            Some(_) => format!("registry {} {}", record.registry, record.registry_version),
            None => "no registry".to_owned(),
        };
        format!("{}, Kafka {} ({mode}, {brokers}), {registry}", record.runtime, record.kafka_version)
    }

    /// The cluster's name, which no other one of this machine has.
    pub fn name(&self) -> &str {
        self.inner.home.name.as_str()
    }

    /// Whether other tests use it too.
    pub fn is_shared(&self) -> bool {
        self.inner.shared
    }

    /// `host:port` of each broker, for clients with log-in and certificate.
    pub fn bootstrap(&self) -> &[String] {
        &self.cluster().plan.endpoints.bootstrap
    }

    /// Where the registry's Confluent-compatible interface begins; none for a cluster without one.
    pub fn registry_url(&self) -> Option<&str> {
        self.cluster().plan.endpoints.registry_url.as_deref()
    }

    /// The users that have client files.
    pub fn users(&self) -> Vec<&str> {
        let users = self.cluster().plan.users.iter().filter(|user| user.certificate.is_some());
        users.map(|user| user.name.as_str()).collect()
    }

    /// The file by which a service finds the cluster as a user (`CARACAL_KAFKA_PROFILE`).
    ///
    /// # Errors
    /// [`FixtureError::Name`] for what can be no user's name.
    pub fn profile_path(&self, user: &str) -> Result<PathBuf, FixtureError> {
        let user: UserName = user.parse()?;
        Ok(self.cluster().dir.client(&user).join("profile.toml"))
    }

    /// The same, read. It has no namespace: on a shared cluster take [`Namespace::profile`].
    ///
    /// # Errors
    /// [`FixtureError::Profile`] names the users that there are.
    pub fn profile(&self, user: &str) -> Result<ConnectionProfile, FixtureError> {
        ConnectionProfile::load(self.profile_path(user)?).map_err(|source| FixtureError::Profile {
            user: user.to_owned(),
            known: self.users().join(", "),
            source: Box::new(source),
        })
    }

    /// Names of one's own on it: topics, groups, transactional ids and subjects that no other test meets.
    ///
    /// # Errors
    /// [`FixtureError`] when the brokers refuse the rules for it.
    pub async fn namespace(&self) -> Result<Namespace, FixtureError> {
        Namespace::make(self.clone()).await
    }

    /// A namespace with one topic of three partitions in it, which `producer` writes and `consumer` reads.
    ///
    /// # Errors
    /// [`FixtureError`].
    pub async fn unique_topic(&self, name: &str) -> Result<UniqueTopic, FixtureError> {
        let space = self.namespace().await?;
        let topic = space.topic(name, 3).await?;
        Ok(UniqueTopic::new(space, topic))
    }

    /// An administrator. It opens its own connections, in the executor of whoever calls it.
    ///
    /// # Errors
    /// When the administrator's credentials cannot be read.
    pub fn admin(&self) -> Result<Admin, FixtureError> {
        Ok(self.inner.operated.admin()?)
    }

    /// Every node.
    pub fn nodes(&self) -> Vec<Node> {
        self.cluster().plan.nodes.iter().map(|node| Node::new(self.clone(), node)).collect()
    }

    /// One node; its name may leave the cluster's prefix out (`kafka-1`, `schema-registry`).
    ///
    /// # Errors
    /// [`FixtureError::Ops`] with the nearest name.
    pub fn node(&self, name: &str) -> Result<Node, FixtureError> {
        let nodes: Vec<&NodePlan> = self.inner.operated.nodes(&[name.to_owned()])?;
        let no_such = || crate::ops::OpsError::no_such("node", name, []);
        nodes.first().map(|node| Node::new(self.clone(), node)).ok_or_else(|| no_such().into())
    }

    /// Ends an exclusive cluster now and removes all of it; of a shared one only this test's part is given back.
    ///
    /// Without it the cluster ends as well, when its last clone is dropped, but nobody waits for that.
    ///
    /// # Errors
    /// [`FixtureError`] when a node cannot be ended or a folder not be removed.
    pub async fn shutdown(self) -> Result<(), FixtureError> {
        if self.inner.shared {
            return Ok(());
        }
        let lease = self.inner.lease.lock().unwrap_or_else(PoisonError::into_inner).take();
        match lease {
            Some(lease) => self.inner.home.end(lease).await,
            None => Ok(()),
        }
    }

    fn cluster(&self) -> &Cluster {
        self.inner.operated.cluster()
    }

    fn operated(&self) -> &Operated {
        &self.inner.operated
    }

    fn selection(&self) -> Result<Selection, FixtureError> {
        Ok(Selection::named(self.inner.home.root()?, Some(self.inner.home.name.clone())))
    }

    /// Whether every node runs.
    fn is_whole(&self) -> bool {
        let (cluster, runtime) = (self.cluster(), self.cluster().runtime());
        cluster.plan.nodes.iter().all(|node| runtime.observe(node).is_running())
    }

    /// Takes up what lies in a home.
    fn open(home: Home, lease: Lease, shared: bool) -> Result<Self, FixtureError> {
        let cluster = Cluster::existing(&home.root()?, Some(&home.name))?;
        let inner = Inner { home, operated: Operated::of(cluster), shared, lease: Mutex::new(Some(lease)) };
        Ok(Self { inner: Arc::new(inner) })
    }

    /// Starts one in a home of its own.
    async fn start(homes: &Homes, need: &Need, shared: bool) -> Result<Self, FixtureError> {
        let (home, lease) = homes.make(if shared { linger() } else { Duration::ZERO })?;
        let spec_file = need.write(&home)?;
        let overrides = need.overrides();
        let selection =
            Selection { spec_file: Some(spec_file), overrides, ..Selection::named(home.root()?, None) };
        commands::up(&selection, &Reporter::silent(), std::future::pending())
            .await
            .map_err(|error| FixtureError::Up(Box::new(error)))?;
        Self::open(home, lease, shared)
    }

    async fn exclusive_of(need: &Need) -> Result<Self, FixtureError> {
        let homes = Homes::discover()?;
        homes.sweep(false, false).await?;
        let cluster = Self::start(&homes, need, false).await?;
        cluster.tell("exclusive");
        Ok(cluster)
    }

    async fn shared_of(need: &Need) -> Result<Self, FixtureError> {
        let kind = need.digest();
        let kept = {
            let kept = KEPT.lock().unwrap_or_else(PoisonError::into_inner);
            kept.iter().find(|(known, _)| *known == kind).map(|(_, cluster)| cluster.clone())
        };
        if let Some(cluster) = kept.filter(Self::is_whole) {
            cluster.tell("shared");
            return Ok(cluster);
        }
        let homes = Homes::discover()?;
        let mut slot = homes.slot(&kind).await?;
        let joined = match slot.named().map(|name| homes.home(&name)) {
            Some(home) => match home.try_join()? {
                // One that has lost a node is left to those who have it, and to its guard.
                Some(lease) => Self::open(home, lease, true).ok().filter(Self::is_whole),
                None => None,
            },
            None => None,
        };
        let cluster = match joined {
            Some(cluster) => cluster,
            None => {
                homes.sweep(false, false).await?;
                let cluster = Self::start(&homes, need, true).await?;
                slot.name(&cluster.inner.home.name)?;
                cluster
            }
        };
        drop(slot);
        let mut kept = KEPT.lock().unwrap_or_else(PoisonError::into_inner);
        kept.retain(|(known, _)| *known != kind);
        kept.push((kind, cluster.clone()));
        drop(kept);
        cluster.tell("shared");
        Ok(cluster)
    }

    /// The line by which the output of a failed test says what it ran on.
    #[expect(
        clippy::print_stderr,
        reason = "the harness shows it with the test that fails, and else swallows it"
    )]
    fn tell(&self, how: &str) {
        eprintln!("SecureCluster: {how}, {}; {}", self.description(), self.cluster().dir.path().display());
    }
}
