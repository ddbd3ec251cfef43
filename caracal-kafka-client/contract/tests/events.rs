//! Holds the Rust types to the schema files.

use std::collections::BTreeSet;

use apache_avro::Schema;
use apache_avro::reader::datum::GenericDatumReader;
use apache_avro::writer::datum::GenericDatumWriter;
use caracal_kafka_contract::events::{
    AgentLifecycleEvent, Event, EventType, MeteringEvent, PolicyChangeEvent, PolicyDecision,
};
use serde_json::Value;

fn json(text: &str) -> Value {
    serde_json::from_str(text).expect("a schema file is JSON")
}

fn schema(text: &str) -> Schema {
    Schema::parse_str(text).expect("a schema file is an Avro schema")
}

/// Through bytes and back by the Avro library, whose values of logical types are its own.
fn round_trip<E: Event>(event: &E, writer: &str) -> E {
    let writer = schema(writer);
    let bytes = GenericDatumWriter::builder(&writer)
        .build()
        .and_then(|to| to.write_ser_to_vec(event))
        .expect("the type serialises by its schema");
    let mut rest = bytes.as_slice();
    let event = GenericDatumReader::builder(&writer)
        .build()
        .and_then(|from| from.read_deser(&mut rest))
        .expect("what was written is read");
    assert!(rest.is_empty(), "{} bytes left over", rest.len());
    event
}

fn holds<E: Event + PartialEq + std::fmt::Debug>(kind: EventType, sample: fn(u64) -> E) {
    let file = json(E::SCHEMA);
    assert_eq!(file["namespace"], "caracal.events");
    assert_eq!(E::RECORD, format!("caracal.events.{}", file["name"].as_str().expect("a name")));
    assert_eq!((kind.record(), kind.topic(), kind.schema()), (E::RECORD, E::TOPIC, E::SCHEMA));
    assert_eq!(kind.record().rsplit('.').next(), Some(kind.name()));
    assert_eq!(kind.subject(), format!("{}-value", E::TOPIC));

    let in_file: BTreeSet<String> = file["fields"]
        .as_array()
        .expect("fields")
        .iter()
        .map(|field| field["name"].as_str().expect("a name").to_owned())
        .collect();
    let Value::Object(serialised) = serde_json::to_value(sample(1)).expect("JSON") else {
        panic!("{} is no record", E::RECORD)
    };
    assert_eq!(serialised.keys().cloned().collect::<BTreeSet<_>>(), in_file, "{}", E::RECORD);

    for seed in (0..200).chain([u64::MAX]) {
        let event = sample(seed);
        assert_eq!(event, sample(seed), "a sample depends on its seed alone");
        assert_eq!(round_trip(&event, E::SCHEMA), event, "{} of seed {seed}", E::RECORD);
        assert_ne!(event.key(), sample(seed.wrapping_add(1)).key());
    }
}

#[test]
fn metering_event_is_its_schema() {
    holds(EventType::Metering, MeteringEvent::sample);
}

#[test]
fn policy_decision_is_its_schema() {
    holds(EventType::PolicyDecision, PolicyDecision::sample);
}

#[test]
fn agent_lifecycle_event_is_its_schema() {
    holds(EventType::AgentLifecycle, AgentLifecycleEvent::sample);
}

#[test]
fn policy_change_event_is_its_schema() {
    holds(EventType::PolicyChange, PolicyChangeEvent::sample);
}

/// `key = agent id` and a time of logical type `timestamp-millis` hold for all four; every optional
/// field has a default, every enumeration a symbol for what is newer than the reader.
#[test]
fn schemas_can_evolve() {
    for kind in EventType::ALL {
        let file = json(kind.schema());
        let fields = file["fields"].as_array().expect("fields");
        let field = |name: &str| fields.iter().find(|field| field["name"] == name).cloned();
        assert_eq!(field("agent_id").expect("agent_id")["type"], "string", "{kind}");
        assert_eq!(
            field("occurred_at").expect("occurred_at")["type"]["logicalType"],
            "timestamp-millis",
            "{kind}"
        );
        assert_eq!(field("event_id").expect("event_id")["type"]["logicalType"], "uuid", "{kind}");
        for field in fields {
            if field["type"].is_array() {
                assert_eq!(field["type"][0], "null", "{kind}: {field}");
                assert_eq!(field.get("default"), Some(&Value::Null), "{kind}: {field}");
            }
            if field["type"]["type"] == "enum" {
                assert_eq!(field["type"]["default"], "UNKNOWN", "{kind}: {field}");
            }
            assert!(field["doc"].as_str().is_some_and(|doc| !doc.is_empty()), "{kind}: {field}");
        }
    }
}

/// What an older service wrote, before the optional fields existed, is still read.
#[test]
fn older_records_are_read_with_defaults() {
    #[derive(serde::Serialize)]
    struct Older {
        event_id: &'static str,
        agent_id: &'static str,
        occurred_at: i64,
        resource: &'static str,
        quantity: i64,
        unit: &'static str,
    }
    let mut file = json(MeteringEvent::SCHEMA);
    let fields = file["fields"].as_array_mut().expect("fields");
    fields.retain(|field| field.get("default").is_none());
    let (writer, reader) = (schema(&file.to_string()), schema(MeteringEvent::SCHEMA));
    let event_id = "9ec535ff-3e2a-45bd-91d3-0a01321b5a49";
    let older = Older { event_id, agent_id: "a", occurred_at: 5, resource: "r", quantity: 1, unit: "u" };
    let bytes = GenericDatumWriter::builder(&writer)
        .build()
        .and_then(|to| to.write_ser_to_vec(&older))
        .expect("written");
    let value = GenericDatumReader::builder(&writer)
        .reader_schema(&reader)
        .build()
        .and_then(|from| from.read_value(&mut bytes.as_slice()))
        .expect("read");
    let event: MeteringEvent = apache_avro::from_value(&value).expect("typed");
    assert_eq!((event.agent_id.as_str(), event.occurred_at.0), ("a", 5));
    assert_eq!((event.cost, event.attributes.len()), (None, 0));
}
