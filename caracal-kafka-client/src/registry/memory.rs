//! A registry in memory: what Confluent's interface says, without HTTP.

use std::sync::{Mutex, MutexGuard, PoisonError};

use serde_json::{Value, json};

use super::calls::{Fault, Found};
use crate::schema::{Mode, Schema, check};

/// Subjects and their versions. A new version has to read what the latest one wrote, as in a Caracal cluster.
#[derive(Debug, Default)]
pub(crate) struct Memory {
    /// By id from 1.
    schemas: Mutex<Vec<Entry>>,
}

#[derive(Clone, Debug)]
struct Entry {
    subject: String,
    version: usize,
    text: String,
    references: Value,
}

impl Entry {
    fn is(&self, subject: &str, body: &Value) -> bool {
        self.subject == subject && self.text == text(body) && self.references == references(body)
    }

    fn found(&self, id: usize) -> Result<Found, Fault> {
        let found = json!({
            "subject": self.subject, "version": self.version, "id": id, "schemaType": "AVRO", "schema": self.text,
            "references": self.references,
        });
        serde_json::from_value(found).map_err(|error| Fault::Failed(error.to_string()))
    }
}

impl Memory {
    pub(super) fn find(&self, subject: &str, body: &Value) -> Result<Found, Fault> {
        let entries = self.lock();
        match (1..).zip(entries.iter()).find(|(_, entry)| entry.is(subject, body)) {
            Some((id, entry)) => entry.found(id),
            None if entries.iter().any(|entry| entry.subject == subject) => {
                Err(Fault::NoSchema(format!("subject `{subject}` has no such schema")))
            }
            None => Err(no_subject(subject)),
        }
    }

    pub(super) fn register(&self, subject: &str, body: &Value) -> Result<Found, Fault> {
        if let Ok(found) = self.find(subject, body) {
            return Ok(found);
        }
        let latest = self.latest(subject).ok();
        let plain = references(body) == json!([]);
        // What refers to others is compared by the schemas' readers alone, where it is used.
        if let Some(older) = latest.as_ref().and_then(|latest| latest.schema.as_deref()).filter(|_| plain) {
            let report = check(&[older], &text(body), Mode::Backward)
                .map_err(|error| Fault::Useless(error.to_string()))?;
            if !report.is_compatible() {
                return Err(Fault::Useless(format!("it may not follow the latest version: {report}")));
            }
        } else if plain {
            Schema::parse(&text(body)).map_err(|error| Fault::Useless(error.to_string()))?;
        }
        let mut entries = self.lock();
        let version = entries.iter().filter(|entry| entry.subject == subject).count() + 1;
        let entry =
            Entry { subject: subject.to_owned(), version, text: text(body), references: references(body) };
        entries.push(entry.clone());
        entry.found(entries.len())
    }

    pub(super) fn latest(&self, subject: &str) -> Result<Found, Fault> {
        let entries = self.lock();
        let newest = (1..).zip(entries.iter()).filter(|(_, entry)| entry.subject == subject).last();
        newest.map_or_else(|| Err(no_subject(subject)), |(id, entry)| entry.found(id))
    }

    pub(super) fn by_id(&self, id: u32) -> Result<Found, Fault> {
        let entries = self.lock();
        let at = usize::try_from(id).ok().and_then(|id| id.checked_sub(1));
        match at.and_then(|at| entries.get(at)) {
            Some(entry) => entry.found(id as usize),
            None => Err(Fault::NoSchema(format!("there is no schema {id}"))),
        }
    }

    pub(super) fn by_version(&self, subject: &str, version: u32) -> Result<Found, Fault> {
        let entries = self.lock();
        let is = |entry: &Entry| entry.subject == subject && u32::try_from(entry.version) == Ok(version);
        match (1..).zip(entries.iter()).find(|(_, entry)| is(entry)) {
            Some((id, entry)) => entry.found(id),
            None => Err(Fault::NoSubject(format!("subject `{subject}` has no version {version}"))),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Entry>> {
        // A list that is only added to: whole after a panic elsewhere.
        self.schemas.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn no_subject(subject: &str) -> Fault {
    Fault::NoSubject(format!("there is no subject `{subject}`"))
}

fn text(body: &Value) -> String {
    body["schema"].as_str().unwrap_or_default().to_owned()
}

fn references(body: &Value) -> Value {
    body.get("references").cloned().unwrap_or_else(|| json!([]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_that_cannot_read_the_one_before_it_is_refused() {
        let memory = Memory::default();
        let record = |fields: &str| json!({ "schema": format!(r#"{{"type":"record","name":"R","fields":[{fields}]}}"#) });
        let first = record(r#"{"name":"a","type":"string"}"#);
        assert!(matches!(memory.find("s", &first), Err(Fault::NoSubject(_))));
        let id = memory.register("s", &first).expect("the first").id;
        assert_eq!(memory.register("s", &first).expect("the same").id, id);
        let wrong = record(r#"{"name":"a","type":"string"},{"name":"b","type":"long"}"#);
        assert!(matches!(memory.register("s", &wrong), Err(Fault::Useless(_))));
        assert!(matches!(memory.find("s", &wrong), Err(Fault::NoSchema(_))));
        let right = record(r#"{"name":"a","type":"string"},{"name":"b","type":"long","default":0}"#);
        let second = memory.register("s", &right).expect("it reads the first");
        assert_eq!((second.version, memory.latest("s").expect("there").id), (Some(2), second.id));
        assert!(matches!(memory.by_id(3), Err(Fault::NoSchema(_))));
        assert!(matches!(memory.register("t", &json!({ "schema": "{" })), Err(Fault::Useless(_))));
    }
}
