//! A record's value as anybody may write it: Confluent's frame and the Avro datum in it, by the event's own schema and by
//! another writer's. What is read can be written, and is read again as the same.

#![no_main]

use std::sync::LazyLock;

use caracal_kafka_client::events::{AgentLifecycleEvent, Event, MeteringEvent, PolicyChangeEvent, PolicyDecision};
use caracal_kafka_client::{EventDecoder, EventEncoder};
use libfuzzer_sys::fuzz_target;

/// An older writer's, whose arrays, maps, unions and fixed values the reader has no field for.
const OLDER: &str = r#"{"type":"record","name":"MeteringEvent","namespace":"caracal.events","fields":[
  {"name":"event_id","type":{"type":"string","logicalType":"uuid"}},
  {"name":"gone","type":{"type":"array","items":{"type":"map","values":["null","long",{"type":"fixed","name":"F","size":4}]}}},
  {"name":"agent_id","type":"string"},
  {"name":"occurred_at","type":{"type":"long","logicalType":"timestamp-millis"}},
  {"name":"resource","type":"string"},
  {"name":"quantity","type":"int"},
  {"name":"unit","type":"string"},
  {"name":"cost","type":"null","default":null},
  {"name":"currency","type":["null","string"],"default":null},
  {"name":"mandate_id","type":["null","string"],"default":null},
  {"name":"correlation_id","type":["null","string"],"default":null},
  {"name":"attributes","type":{"type":"map","values":"string"},"default":{}}]}"#;

fn decoder<E: Event>() -> EventDecoder<E> {
    EventDecoder::of_own_schema(0).expect("the event's own schema")
}

static METERING: LazyLock<EventDecoder<MeteringEvent>> = LazyLock::new(|| {
    let mut decoder = decoder();
    // Whether the reader takes it is the resolver's matter; what it takes is fuzzed.
    let _ = decoder.learn(1, OLDER);
    decoder
});
static DECISION: LazyLock<EventDecoder<PolicyDecision>> = LazyLock::new(decoder);
static LIFECYCLE: LazyLock<EventDecoder<AgentLifecycleEvent>> = LazyLock::new(decoder);
static CHANGE: LazyLock<EventDecoder<PolicyChangeEvent>> = LazyLock::new(decoder);

fn again<E: Event + PartialEq + std::fmt::Debug>(decoder: &EventDecoder<E>, value: &[u8]) {
    let Ok(event) = decoder.decode(value) else { return };
    let mut written = Vec::new();
    EventEncoder::new(0).expect("a schema").encode(&event, &mut written).expect("what was read can be written");
    assert_eq!(decoder.decode(&written).expect("what was written can be read"), event);
}

fuzz_target!(|bytes: &[u8]| {
    let Some((choice, datum)) = bytes.split_first() else { return };
    // As it comes, which is seldom a frame, and framed.
    let _ = METERING.decode(bytes);
    let value = [&[0, 0, 0, 0, choice & 1], datum].concat();
    match choice >> 1 & 3 {
        0 => again(&METERING, &value),
        1 => again(&DECISION, &value),
        2 => again(&LIFECYCLE, &value),
        _ => again(&CHANGE, &value),
    }
});
