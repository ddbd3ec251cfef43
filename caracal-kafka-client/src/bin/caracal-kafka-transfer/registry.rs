//! The client library's schema registry, one question at a time.

use caracal_kafka_client::profile::ConnectionProfile;
use caracal_kafka_client::{ConnectError, SchemaRegistry};

use crate::failure::Failure;

/// One registry. It blocks: records do not wait for schemas often.
pub(crate) struct Registry {
    registry: SchemaRegistry,
    runtime: tokio::runtime::Runtime,
}

impl Registry {
    /// The profile's registry; none where the profile names none.
    pub(crate) fn of(profile: &ConnectionProfile) -> Result<Option<Self>, Failure> {
        let Some(registry) = SchemaRegistry::of(profile.clone()).map_err(failure)? else { return Ok(None) };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime =
            runtime.map_err(|error| Failure::cluster(format!("no way to the registry: {error}")))?;
        Ok(Some(Self { registry, runtime }))
    }

    /// A schema by the id that records carry.
    pub(crate) fn by_id(&self, id: u32) -> Result<Option<String>, Failure> {
        self.runtime.block_on(self.registry.by_id(id)).map_err(failure)
    }

    /// The subjects that hold a schema.
    pub(crate) fn subjects_of(&self, id: u32) -> Result<Vec<String>, Failure> {
        self.runtime.block_on(self.registry.subjects_of(id)).map_err(failure)
    }

    /// The latest version of a subject: id and text.
    pub(crate) fn latest(&self, subject: &str) -> Result<Option<(u32, String)>, Failure> {
        self.runtime.block_on(self.registry.latest(subject)).map_err(failure)
    }

    /// Registers a schema; an equal one keeps its id.
    pub(crate) fn register(&self, subject: &str, schema: &str) -> Result<u32, Failure> {
        self.runtime.block_on(self.registry.register(subject, schema)).map_err(failure)
    }
}

/// What the registry did not do is the cluster's matter, all else that of the profile.
fn failure(error: ConnectError) -> Failure {
    match error {
        ConnectError::Registry { .. } => Failure::cluster(error.to_string()),
        other => Failure::usage(other.to_string()),
    }
}
