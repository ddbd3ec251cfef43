//! A real cluster as the engine's world: dispatches each step to the file that knows it.

use std::path::Path;

use time::OffsetDateTime;

use super::access::Access;
use super::cluster::Cluster;
use super::engine::{Applied, Observed, Reporter, Step, World};
use super::error::StepError;
use super::explained::explained;
use super::start_caches::StartCacheError;
use super::steps::{
    broker_state, distribution, files, format, later_users, nodes, preflight, proof, registry, users,
};
use crate::credentials::Credentials;
use crate::distribution::{Java, Shelf};
use crate::plan::{NodePlan, NodeRole};
use crate::runtime::Runtime;
use crate::runtime::start_cache::{Mode, StartCaches};
use crate::wire::SharedSaltedPasswords;

/// A cluster on this machine.
#[derive(Debug)]
pub struct ClusterWorld {
    pub(super) cluster: Cluster,
    pub(super) runtime: Runtime,
    pub(super) reporter: Reporter,
    pub(super) now: OffsetDateTime,
    passwords: SharedSaltedPasswords,
    start_caches: Mode,
}

impl ClusterWorld {
    /// The world of one cluster; events go to `reporter`.
    pub fn new(cluster: Cluster, reporter: Reporter) -> Self {
        Self {
            runtime: cluster.runtime(),
            cluster,
            reporter,
            now: OffsetDateTime::now_utc(),
            passwords: SharedSaltedPasswords::default(),
            start_caches: Mode::default(),
        }
    }

    /// The same with another use of start-up caches.
    #[must_use]
    pub(crate) fn with_start_caches(mut self, mode: Mode) -> Self {
        self.start_caches = mode;
        self
    }

    /// The cluster.
    pub fn cluster(&self) -> &Cluster {
        &self.cluster
    }

    pub(super) fn access(&self) -> Access<'_> {
        Access::new(&self.cluster.dir, &self.cluster.plan, self.passwords.clone())
    }

    pub(super) fn credentials(&self) -> Credentials<'_> {
        Credentials::new(&self.cluster.dir, &self.cluster.plan, self.now)
    }

    /// Whether a node that has ended wrote the cache that it was told to write.
    pub(super) fn has_recorded(&self, node: &NodePlan, work: &Path) -> Result<(), StartCacheError> {
        let Some(key) = self.runtime.start_caches().and_then(|caches| caches.key(node)) else {
            return Ok(());
        };
        if work.join(key.file()).is_file() {
            return Ok(());
        }
        Err(StartCacheError::NotWritten {
            node: node.name.to_string(),
            explanation: self.runtime.explain(node),
        })
    }

    /// Whether its nodes run in containers.
    pub(super) fn is_contained(&self) -> bool {
        self.cluster.plan.network.is_some()
    }

    pub(super) fn use_java(&mut self, java: &Java) {
        if let Runtime::Native(native) = &self.runtime {
            let caches = StartCaches::new(Shelf::of(&self.cluster.cache), java, self.start_caches.clone());
            let native = native.clone().with_java(java.program()).with_start_caches(caches);
            self.runtime = Runtime::Native(native);
        }
    }
}

impl World for ClusterWorld {
    type Error = StepError;

    async fn observe(&mut self, step: Step) -> Result<Observed, StepError> {
        let seen = self.look(step).await;
        seen.map_err(|error| explained(self, error))
    }

    async fn apply(&mut self, step: Step, observed: &Observed) -> Result<Applied, StepError> {
        let made = self.make(step, observed).await;
        made.map_err(|error| explained(self, error))
    }
}

impl ClusterWorld {
    async fn look(&mut self, step: Step) -> Result<Observed, StepError> {
        match step {
            Step::Preflight => preflight::observe(self).await,
            Step::Credentials => files::observe_credentials(self),
            Step::Distribution => distribution::observe(self).await,
            Step::Configuration => files::observe_configuration(self),
            Step::Format => format::observe(self),
            Step::Ensemble => nodes::observe(self, NodeRole::Zookeeper).await,
            Step::Controllers => nodes::observe(self, NodeRole::Controller).await,
            Step::Users => users::observe(self).await,
            Step::Brokers => nodes::observe(self, NodeRole::Broker).await,
            Step::LaterUsers => later_users::observe(self).await,
            Step::Acls => broker_state::observe_acls(self).await,
            Step::Topics => broker_state::observe_topics(self).await,
            Step::RegistryLaunch => nodes::observe_process(self, NodeRole::SchemaRegistry),
            Step::Clients => files::observe_clients(self),
            Step::Logins => proof::logins(self).await,
            Step::RegistryReady => registry::observe_ready(self).await,
            Step::Schemas => registry::observe_schemas(self).await,
            Step::RoundTrip => proof::round_trip(self).await,
        }
    }

    async fn make(&mut self, step: Step, observed: &Observed) -> Result<Applied, StepError> {
        match step {
            Step::Credentials => files::apply_credentials(self),
            Step::Distribution => distribution::apply(self).await,
            Step::Configuration => files::apply_configuration(self).await,
            Step::Format => format::apply(self),
            Step::Ensemble => nodes::apply(self, NodeRole::Zookeeper).await,
            Step::Controllers => nodes::apply(self, NodeRole::Controller).await,
            Step::Users => users::apply(self).await,
            Step::Brokers => nodes::apply(self, NodeRole::Broker).await,
            Step::LaterUsers => later_users::apply(self).await,
            Step::Acls => broker_state::apply_acls(self).await,
            Step::Topics => broker_state::apply_topics(self).await,
            Step::RegistryLaunch => nodes::launch(self, NodeRole::SchemaRegistry).await,
            Step::Clients => files::apply_clients(self),
            Step::RegistryReady => registry::apply_ready(self).await,
            Step::Schemas => registry::apply_schemas(self).await,
            // What looks is the proof itself; there is nothing to make.
            Step::Preflight | Step::Logins | Step::RoundTrip => {
                Err(StepError::Proof { what: format!("{}: {observed:?}", step.title()) })
            }
        }
    }
}
