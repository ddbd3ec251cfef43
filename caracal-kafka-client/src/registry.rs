//! The schema registry: which id a schema has, and which schema an id has.
//!
//! A producer writes by *its own* schema unless asked otherwise, so it asks for the id of exactly that one
//! (not for the latest of the subject, whose id on other bytes would make records that nobody can read). A
//! consumer reads by the schema that the record names, and resolves it to its own. Each question is asked
//! once, however many ask it at once.

mod calls;
mod direct;
mod flights;
#[cfg(feature = "in-memory")]
mod memory;
mod subject;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::sync::{Arc, LazyLock, Mutex, PoisonError};

use caracal_kafka_contract::events::SchemaReference;
use serde_json::json;

use crate::avro::{self, ReadPlan};
use crate::credentials::Credentials;
use crate::error::ConnectError;
use crate::events::Event;
use crate::profile::ConnectionProfile;
use crate::schema::{Kind, Resolver, Schema};
use crate::wire;
use calls::{Calls, Fault, Found};
pub use direct::SchemaRegistry;
use flights::Flights;
#[cfg(feature = "in-memory")]
pub(crate) use memory::Memory;
pub use subject::{SubjectStrategy, WriterSchema};

/// One registry, for all producers and consumers of a connection.
#[derive(Debug)]
pub(crate) struct Registry {
    calls: Arc<Calls>,
    /// Writer schemas by id: an id never changes its schema.
    by_id: Flights<u32, Arc<Schema>, Fault>,
    /// Ids by subject and the schema's text.
    ids: Flights<Question, u32, String>,
    /// Newest versions: shared by those who ask at the same time, and asked again by those who come later.
    latest: Flights<String, (u32, Arc<Schema>), String>,
}

#[derive(Clone, Debug, Eq, Hash, PartialEq)]
struct Question {
    subject: String,
    schema: &'static str,
    register: bool,
    normalize: bool,
}

/// What a producer asks for.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Terms {
    pub(crate) choice: WriterSchema,
    pub(crate) register: bool,
    pub(crate) normalize: bool,
}

impl Registry {
    pub(crate) fn new(
        profile: &ConnectionProfile,
        credentials: &Credentials,
    ) -> Result<Option<Arc<Self>>, ConnectError> {
        let Some(endpoint) = &profile.registry else { return Ok(None) };
        let calls = Calls::new(&endpoint.url, credentials, profile.qualified(""), calls::TIMEOUT)?;
        Ok(Some(Self::by(calls)))
    }

    /// One without a network.
    #[cfg(feature = "in-memory")]
    pub(crate) fn in_memory(memory: Arc<Memory>) -> Arc<Self> {
        Self::by(Calls::in_memory(memory))
    }

    fn by(calls: Calls) -> Arc<Self> {
        Arc::new(Self {
            calls: Arc::new(calls),
            by_id: Flights::kept(),
            ids: Flights::kept(),
            latest: Flights::passing(),
        })
    }

    pub(crate) fn url(&self) -> &str {
        &self.calls.url
    }

    /// Asks for the schema types: a small answer that only a schema registry gives.
    pub(crate) async fn ping(&self) -> Result<(), ConnectError> {
        self.calls.ping().await
    }

    /// The schema to write `E` by, and its id.
    pub(crate) async fn encoder<E: Event>(
        &self,
        subject: &str,
        terms: Terms,
    ) -> Result<Encoder, ConnectError> {
        let failed = |why: String| self.fault(subject, why);
        let own = own::<E>().map_err(failed)?;
        let (id, schema) = match terms.choice {
            WriterSchema::Own => (self.id_of::<E>(subject, terms).await.map_err(failed)?, own),
            WriterSchema::Latest => {
                let (id, theirs) = self.latest(subject).await.map_err(failed)?;
                (id, writable::<E>(&own, theirs, id).map_err(failed)?)
            }
            WriterSchema::Id(id) => {
                let theirs = self.by_id(id).await.map_err(|fault| failed(fault.to_string()))?;
                (id, writable::<E>(&own, theirs, id).map_err(failed)?)
            }
        };
        Ok(Encoder { header: wire::header(id), schema, id })
    }

    pub(crate) fn fault(&self, subject: &str, why: String) -> ConnectError {
        ConnectError::Schema { subject: subject.to_owned(), url: self.calls.url.clone(), why }
    }

    /// The id under which `E`'s own schema is registered at `subject`.
    async fn id_of<E: Event>(&self, subject: &str, terms: Terms) -> Result<u32, String> {
        let Terms { register, normalize, .. } = terms;
        let question = Question { subject: subject.to_owned(), schema: E::SCHEMA, register, normalize };
        let calls = Arc::clone(&self.calls);
        let asked = question.clone();
        self.ids.get(question, async move || look_up::<E>(&calls, &asked).await).await
    }

    async fn latest(&self, subject: &str) -> Result<(u32, Arc<Schema>), String> {
        let (calls, name) = (Arc::clone(&self.calls), subject.to_owned());
        let ask = async move || {
            let found = calls.latest(&name).await.map_err(|fault| match fault {
                Fault::NoSubject(_) => no_subject("a schema"),
                other => other.to_string(),
            })?;
            let schema = calls.graph(&found).await.map_err(|fault| fault.to_string())?;
            Ok((id(&found)?, Arc::new(schema)))
        };
        self.latest.get(subject.to_owned(), ask).await
    }

    /// The schema that records with `id` were written with.
    pub(crate) async fn by_id(&self, id: u32) -> Result<Arc<Schema>, Fault> {
        let calls = Arc::clone(&self.calls);
        let ask = async move || {
            let found = calls.by_id(id).await?;
            Ok(Arc::new(calls.graph(&found).await?))
        };
        self.by_id.get(id, ask).await
    }
}

fn no_subject(what: &str) -> String {
    format!(
        "the subject does not exist; register {what}, which the cluster does on its start, for this client does not \
         unless `ProducerOptions::register_schema` asks it to"
    )
}

async fn look_up<E: Event>(calls: &Calls, asked: &Question) -> Result<u32, String> {
    let mut references = Vec::with_capacity(E::REFERENCES.len());
    for reference in E::REFERENCES {
        // Each may use those before it, and no others.
        let body = json!({ "schema": reference.schema, "schemaType": "AVRO", "references": references });
        let subject = calls.qualified(reference.subject);
        let version = calls.version(&subject, &body, asked).await.map_err(|why| {
            format!("the schema of `{}`, which it uses, at subject `{subject}`: {why}", reference.name)
        })?;
        references.push(json!({ "name": reference.name, "subject": subject, "version": version }));
    }
    let body = json!({ "schema": E::SCHEMA, "schemaType": "AVRO", "references": references });
    match calls.find(&asked.subject, &body, asked.normalize).await {
        Ok(found) => return id(&found),
        Err(Fault::NoSubject(_) | Fault::NoSchema(_)) => {}
        Err(fault) => return Err(fault.to_string()),
    }
    if asked.register {
        let registered = calls.register(&asked.subject, &body, asked.normalize).await;
        return id(&registered.map_err(|fault| format!("the schema of {} was refused: {fault}", E::RECORD))?);
    }
    // Registered by somebody who laid out the same schema differently?
    let latest = calls.latest(&asked.subject).await.map_err(|fault| match fault {
        Fault::NoSubject(_) => no_subject(&format!("the schema of {}", E::RECORD)),
        other => other.to_string(),
    })?;
    let theirs = calls.graph(&latest).await.map_err(|fault| fault.to_string())?;
    if theirs == *own::<E>()? {
        return id(&latest);
    }
    Err(format!(
        "it holds other versions of {}, but not the one that this service was built with; register that \
         version, or build the service with the registered one",
        E::RECORD
    ))
}

impl Calls {
    /// The version of a schema that others refer to.
    async fn version(
        &self,
        subject: &str,
        body: &serde_json::Value,
        asked: &Question,
    ) -> Result<u32, String> {
        match self.find(subject, body, asked.normalize).await {
            Ok(found) => return version(&found),
            Err(Fault::NoSubject(_) | Fault::NoSchema(_)) if asked.register => {}
            Err(fault) => return Err(fault.to_string()),
        }
        self.register(subject, body, asked.normalize).await.map_err(|fault| fault.to_string())?;
        // A registration answers with the id alone.
        version(&self.find(subject, body, asked.normalize).await.map_err(|fault| fault.to_string())?)
    }
}

fn id(found: &Found) -> Result<u32, String> {
    found.id.ok_or_else(|| "the registry's answer has no id".into())
}

fn version(found: &Found) -> Result<u32, String> {
    found.version.ok_or_else(|| "the registry's answer has no version".into())
}

/// `theirs`, when it reads everything that the service's own schema holds and has a place for each field.
fn writable<E: Event>(own: &Schema, theirs: Arc<Schema>, id: u32) -> Result<Arc<Schema>, String> {
    let found = Resolver::new(&theirs, own).incompatibilities().map_err(|error| error.to_string())?;
    if let Some(first) = found.first() {
        return Err(format!(
            "schema {id} cannot hold what this service writes as {}: {} at {}, {}",
            E::RECORD,
            first.rule,
            if first.path.is_empty() { "the root" } else { &first.path },
            first.what
        ));
    }
    if let (Kind::Record(own), Kind::Record(record)) =
        (&own.node(own.root()).kind, &theirs.node(theirs.root()).kind)
    {
        let lacks =
            own.fields.iter().find(|ours| record.fields.iter().all(|theirs| theirs.name != ours.name));
        if let Some(field) = lacks {
            return Err(format!(
                "schema {id} has no field `{}`, which this service writes: it would be lost; choose \
                 `WriterSchema::Own`, or build the service without it",
                field.name
            ));
        }
    }
    Ok(theirs)
}

/// Writes events of one type, framed.
#[derive(Clone)]
pub(crate) struct Encoder {
    header: [u8; wire::HEADER],
    schema: Arc<Schema>,
    pub(crate) id: u32,
}

impl Encoder {
    /// One whose schema nobody asked the registry for.
    pub(crate) fn new<E: Event>(id: u32) -> Result<Self, String> {
        Ok(Self { header: wire::header(id), schema: own::<E>()?, id })
    }

    /// Replaces what is in `into`; with enough room there it allocates nothing.
    pub(crate) fn encode<E: Event>(&self, event: &E, into: &mut Vec<u8>) -> Result<(), String> {
        into.clear();
        into.extend_from_slice(&self.header);
        avro::encode(&self.schema, event, into).map_err(|misfit| misfit.to_string())
    }
}

/// Reads events of one type, whatever version they were written with.
pub(crate) struct Decoder {
    reader: Arc<Schema>,
    /// Resolving a pair of schemas costs more than a record: once for each writer.
    by_writer: HashMap<u32, ReadPlan>,
}

impl Decoder {
    pub(crate) fn new<E: Event>() -> Result<Self, String> {
        Ok(Self { reader: own::<E>()?, by_writer: HashMap::new() })
    }

    pub(crate) fn knows(&self, id: u32) -> bool {
        self.by_writer.contains_key(&id)
    }

    /// Refuses a writer's schema that ours cannot read, once and by the schemas alone.
    pub(crate) fn learn(&mut self, id: u32, writer: &Schema) -> Result<(), String> {
        self.by_writer.insert(id, ReadPlan::new(&self.reader, writer)?);
        Ok(())
    }

    pub(crate) fn decode<E: Event>(&self, id: u32, datum: &[u8]) -> Result<E, String> {
        let Some(plan) = self.by_writer.get(&id) else { return Err(format!("schema {id} is not known")) };
        plan.decode(datum).map_err(|misfit| {
            format!("its bytes cannot be read as `{}` by its schema {id}: {misfit}", E::RECORD)
        })
    }
}

/// `E`'s own schema, parsed once in the life of the process.
pub(crate) fn own<E: Event>() -> Result<Arc<Schema>, String> {
    type Texts = (&'static str, &'static [SchemaReference]);
    static KNOWN: LazyLock<Mutex<HashMap<Texts, Arc<Schema>>>> = LazyLock::new(Mutex::default);
    // A map that is only added to: whole after a panic elsewhere.
    let mut known = KNOWN.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(schema) = known.get(&(E::SCHEMA, E::REFERENCES)) {
        return Ok(Arc::clone(schema));
    }
    let references: Vec<&str> = E::REFERENCES.iter().map(|reference| reference.schema).collect();
    let schema = Schema::parse_with(E::SCHEMA, &references).map_err(|error| error.to_string())?;
    // The Avro library's opinion too: what it refuses, other languages' services may not read.
    apache_avro::Schema::parse_str_with_list(E::SCHEMA, &references)
        .map_err(|error| format!("not an Avro schema: {error}"))?;
    let schema = Arc::new(schema);
    known.insert((E::SCHEMA, E::REFERENCES), Arc::clone(&schema));
    Ok(schema)
}
