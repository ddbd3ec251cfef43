//! What encoding and decoding take in memory. One test, alone in its process: the counters are global.

use std::alloc::System;
use std::collections::{BTreeMap, HashMap};
use std::fmt::Debug;

use caracal_kafka_client::events::{Event, MeteringEvent};
use caracal_kafka_client::{EventDecoder, EventEncoder};
use serde::{Deserialize, Serialize};
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

const MIB: usize = 1 << 20;

/// Everything that can ask for more memory than it has bytes.
#[derive(Debug, Deserialize, Serialize)]
struct Greedy {
    nulls: Vec<()>,
    flags: Vec<bool>,
    numbers: Vec<i64>,
    texts: Vec<String>,
    options: Vec<Option<Wide>>,
    table: HashMap<String, String>,
    tree: BTreeMap<String, Vec<String>>,
    nested: Vec<Vec<Vec<String>>>,
}

/// 240 bytes in memory, and one on the wire where it is absent.
#[derive(Debug, Deserialize, Serialize)]
struct Wide {
    a: [i64; 10],
    b: [i64; 10],
    c: [i64; 10],
}

impl Event for Greedy {
    const RECORD: &'static str = "Greedy";
    const TOPIC: &'static str = "greedy";
    const SCHEMA: &'static str = r#"{"type":"record","name":"Greedy","fields":[
        {"name":"nulls","type":{"type":"array","items":"null"}},
        {"name":"flags","type":{"type":"array","items":"boolean"}},
        {"name":"numbers","type":{"type":"array","items":"long"}},
        {"name":"texts","type":{"type":"array","items":"string"}},
        {"name":"options","type":{"type":"array","items":["null",
            {"type":"record","name":"Wide","fields":[
                {"name":"a","type":{"type":"array","items":"long"}}, {"name":"b","type":{"type":"array","items":"long"}},
                {"name":"c","type":{"type":"array","items":"long"}}]}]}},
        {"name":"table","type":{"type":"map","values":"string"}},
        {"name":"tree","type":{"type":"map","values":{"type":"array","items":"string"}}},
        {"name":"nested","type":{"type":"array","items":{"type":"array","items":{"type":"array","items":"string"}}}}]}"#;

    fn key(&self) -> &str {
        ""
    }
}

fn long(value: i64) -> Vec<u8> {
    let mut rest = ((value << 1) ^ (value >> 63)).cast_unsigned();
    let mut bytes = Vec::new();
    while rest >= 0x80 {
        bytes.push((rest & 0x7f) as u8 | 0x80);
        rest >>= 7;
    }
    bytes.push(rest as u8);
    bytes
}

/// A mebibyte that puts all it has into one field: `count` items, each of the same bytes.
fn greedy(field: usize, count: usize, item: impl Fn(usize) -> Vec<u8>) -> Vec<u8> {
    let mut value = vec![0, 0, 0, 0, 7];
    for at in 0..8 {
        if at == field {
            value.extend(long(i64::try_from(count).expect("fits")));
            let mut number = 0;
            while value.len() < MIB {
                value.extend(item(number));
                number += 1;
            }
        }
        value.push(0);
    }
    value
}

fn takes_at_most_64_mib<E: Event + Debug>(decoder: &EventDecoder<E>, value: &[u8], what: &str) {
    let region = Region::new(ALLOCATOR);
    let decoded = decoder.decode(value).map(drop);
    // All that was ever asked for, which is no less than what was held at once.
    let taken = region.change().bytes_allocated;
    assert!(taken <= 64 * MIB, "{what}: {} MiB, {decoded:?}", taken / MIB);
}

#[test]
fn a_reused_buffer_is_all_that_encoding_takes_and_decoding_is_bounded() {
    let encoder = EventEncoder::<MeteringEvent>::new(7).expect("a schema");
    let events: Vec<MeteringEvent> = (0..1000).map(MeteringEvent::sample).collect();
    let mut buffer = Vec::with_capacity(4096);
    let region = Region::new(ALLOCATOR);
    for event in &events {
        encoder.encode(event, &mut buffer).expect("encoded");
    }
    let change = region.change();
    assert_eq!((change.allocations, change.reallocations), (0, 0), "{change:?}");

    let decoder = EventDecoder::<Greedy>::of_own_schema(7).expect("a schema");
    for claimed in [1000, MIB, 20 * MIB, 1 << 40] {
        for (field, what) in ["nulls", "flags", "numbers", "texts", "options"].into_iter().enumerate() {
            takes_at_most_64_mib(&decoder, &greedy(field, claimed, |_| vec![0]), what);
        }
        let entry = |at: usize| [vec![6], format!("{at:03x}").as_bytes()[..3].to_vec(), vec![0]].concat();
        takes_at_most_64_mib(&decoder, &greedy(5, claimed, entry), "table");
        takes_at_most_64_mib(&decoder, &greedy(6, claimed, entry), "tree");
        takes_at_most_64_mib(&decoder, &greedy(7, claimed, |_| vec![2, 2, 0, 0, 0]), "nested");
        takes_at_most_64_mib(&decoder, &greedy(7, claimed, |_| vec![0]), "nested, empty");
    }
    // What is legal and large is read.
    let texts = vec!["0123456789".to_owned(); 90_000];
    let large = Greedy {
        nulls: Vec::new(),
        flags: Vec::new(),
        numbers: (0..20_000).collect(),
        texts,
        options: Vec::new(),
        table: HashMap::new(),
        tree: BTreeMap::new(),
        nested: Vec::new(),
    };
    EventEncoder::<Greedy>::new(7).expect("a schema").encode(&large, &mut buffer).expect("encoded");
    assert_eq!(decoder.decode(&buffer).expect("read").texts.len(), 90_000);
}
