//! [`SchemaRegistry`]: a registry asked by hand, for tools that know schemas by their texts.

use std::time::Duration;

use serde_json::{Value, json};

use super::calls::{Calls, Fault, segment};
use crate::connection::Connection;
use crate::credentials::Credentials;
use crate::error::ConnectError;

/// A write goes through the registry's journal, and a tool has more patience than a service.
const PATIENCE: Duration = Duration::from_secs(30);

/// A connection's schema registry, reached with the same log-in and certificates as by its producers and
/// consumers. Subjects are as they are: no namespace is put before them, and nothing is remembered.
///
/// ```no_run
/// use caracal_kafka_client::SchemaRegistry;
/// use caracal_kafka_client::profile::ConnectionProfile;
///
/// # async fn show() -> Result<(), Box<dyn std::error::Error>> {
/// if let Some(registry) = SchemaRegistry::of(ConnectionProfile::discover()?)? {
///     let latest = registry.latest("caracal.metering.events-value").await?;
///     println!("{latest:?}");
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct SchemaRegistry {
    calls: Calls,
}

impl SchemaRegistry {
    /// The registry that the connection names; `None` where it names none. Its files are read here.
    ///
    /// # Errors
    /// [`ConnectError`]: a file is missing, open to others or wrong.
    pub fn of(connection: impl Into<Connection>) -> Result<Option<Self>, ConnectError> {
        let connection = connection.into();
        let Some(endpoint) = &connection.profile.registry else { return Ok(None) };
        let credentials = Credentials::read(&connection)?;
        let calls = Calls::new(&endpoint.url, &credentials, String::new(), PATIENCE)?;
        Ok(Some(Self { calls }))
    }

    /// The text of a schema by the id that records carry; `None`: there is none.
    ///
    /// # Errors
    /// [`ConnectError::Registry`]: the registry does not answer, or refuses.
    pub async fn by_id(&self, id: u32) -> Result<Option<String>, ConnectError> {
        let found = self.there(self.calls.by_id(id).await)?;
        Ok(found.and_then(|found| found.schema))
    }

    /// The subjects that hold a schema, sorted.
    ///
    /// # Errors
    /// As [`by_id`](Self::by_id).
    pub async fn subjects_of(&self, id: u32) -> Result<Vec<String>, ConnectError> {
        let found = self.there(self.calls.get(&format!("/schemas/ids/{id}/versions")).await)?;
        let entries = found.as_ref().and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
        let mut subjects: Vec<String> =
            entries.iter().filter_map(|entry| Some(entry.get("subject")?.as_str()?.to_owned())).collect();
        subjects.sort();
        subjects.dedup();
        Ok(subjects)
    }

    /// Id and text of a subject's latest version; `None`: there is no such subject.
    ///
    /// # Errors
    /// As [`by_id`](Self::by_id).
    pub async fn latest(&self, subject: &str) -> Result<Option<(u32, String)>, ConnectError> {
        let asked = self.calls.get(&format!("/subjects/{}/versions/latest", segment(subject))).await;
        Ok(self.there(asked)?.and_then(|found| {
            let id = u32::try_from(found.get("id")?.as_u64()?).ok()?;
            Some((id, found.get("schema")?.as_str()?.to_owned()))
        }))
    }

    /// Registers an Avro schema, and gives its id; an equal one keeps its own.
    ///
    /// # Errors
    /// As [`by_id`](Self::by_id).
    pub async fn register(&self, subject: &str, schema: &str) -> Result<u32, ConnectError> {
        let registered = self.calls.register(subject, &json!({ "schema": schema }), false).await;
        let id = registered.map_err(|fault| self.failed(&fault))?.id;
        id.ok_or_else(|| self.failed(&Fault::Failed("its answer has no id".into())))
    }

    fn there<T>(&self, asked: Result<T, Fault>) -> Result<Option<T>, ConnectError> {
        match asked {
            Ok(found) => Ok(Some(found)),
            Err(Fault::NoSubject(_) | Fault::NoSchema(_)) => Ok(None),
            Err(fault) => Err(self.failed(&fault)),
        }
    }

    fn failed(&self, fault: &Fault) -> ConnectError {
        ConnectError::Registry { url: self.calls.url.clone(), why: fault.to_string() }
    }
}
