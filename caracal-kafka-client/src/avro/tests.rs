//! apache-avro reads what is written here and writes what is read here.

use std::collections::{BTreeMap, HashMap};

use apache_avro::reader::datum::GenericDatumReader;
use apache_avro::writer::datum::GenericDatumWriter;
use proptest::prelude::*;
use serde::de::{DeserializeOwned, IgnoredAny};
use serde::{Deserialize, Serialize};

use super::*;
use crate::events::{AgentLifecycleEvent, Event, MeteringEvent, PolicyChangeEvent, PolicyDecision, Uuid};
use crate::schema::Schema;

fn schema(text: &str) -> Schema {
    Schema::parse(text).expect("a schema")
}

fn written<T: Serialize>(text: &str, value: &T) -> Vec<u8> {
    let mut bytes = Vec::new();
    encode(&schema(text), value, &mut bytes).expect("written");
    bytes
}

fn read<T: DeserializeOwned>(reader: &str, writer: &str, bytes: &[u8]) -> Result<T, Misfit> {
    ReadPlan::new(&schema(reader), &schema(writer)).expect("compatible").decode(bytes)
}

/// By ours and by the judge's, in both directions.
fn agrees<E: Event + PartialEq + fmt::Debug>(event: &E) {
    let judge = apache_avro::Schema::parse_str(E::SCHEMA).expect("a schema");
    let ours = written(E::SCHEMA, event);
    let theirs = GenericDatumWriter::builder(&judge)
        .build()
        .and_then(|writer| writer.write_ser_to_vec(event))
        .expect("written");
    assert_eq!(ours, theirs);
    let read_by_judge = GenericDatumReader::builder(&judge)
        .build()
        .and_then(|reader| reader.read_deser::<E>(&mut ours.as_slice()))
        .expect("read");
    assert_eq!(&read_by_judge, event);
    assert_eq!(&read::<E>(E::SCHEMA, E::SCHEMA, &theirs).expect("read"), event);
}

const EVERYTHING: &str = r#"{"type":"record","name":"All","namespace":"t","fields":[
    {"name":"flag","type":"boolean"}, {"name":"small","type":"int"}, {"name":"large","type":"long"},
    {"name":"single","type":"float"}, {"name":"double","type":"double"}, {"name":"bytes","type":"bytes"},
    {"name":"text","type":"string"}, {"name":"four","type":{"type":"fixed","name":"Four","size":4}},
    {"name":"suit","type":{"type":"enum","name":"Suit","symbols":["HEARTS","SPADES"]}},
    {"name":"list","type":{"type":"array","items":["null","long"]}},
    {"name":"table","type":{"type":"map","values":{"type":"array","items":"string"}}},
    {"name":"either","type":["null","string",{"type":"record","name":"Inner","fields":[{"name":"n","type":"long"}]}]},
    {"name":"next","type":["null","All"]}]}"#;

#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Serialize)]
#[serde(rename_all = "UPPERCASE")]
enum Suit {
    Hearts,
    Spades,
}

#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
struct Inner {
    n: i64,
}

#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
enum Either {
    String(String),
    Inner(Inner),
}

#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
struct All {
    flag: bool,
    small: i32,
    large: i64,
    single: f32,
    double: f64,
    bytes: Vec<u8>,
    text: String,
    four: [u8; 4],
    suit: Suit,
    list: Vec<Option<i64>>,
    table: BTreeMap<String, Vec<String>>,
    either: Option<Either>,
    next: Option<Box<Self>>,
}

fn all() -> impl Strategy<Value = All> {
    let scalars = (any::<bool>(), any::<i32>(), any::<i64>(), -1e9_f32..1e9, -1e9_f64..1e9);
    let texts = (prop::collection::vec(any::<u8>(), 0..20), "\\PC{0,12}", any::<[u8; 4]>());
    let lists = (
        prop::collection::vec(any::<Option<i64>>(), 0..6),
        prop::collection::btree_map("[a-z]{0,4}", prop::collection::vec("[a-z]{0,3}", 0..3), 0..4),
    );
    let either = prop_oneof![
        Just(None),
        "[a-z]{0,5}".prop_map(|text| Some(Either::String(text))),
        any::<i64>().prop_map(|n| Some(Either::Inner(Inner { n }))),
    ];
    let suit = prop_oneof![Just(Suit::Hearts), Just(Suit::Spades)];
    let leaf = (scalars, texts, lists, either, suit).prop_map(
        |((flag, small, large, single, double), (bytes, text, four), (list, table), either, suit)| All {
            flag,
            small,
            large,
            single,
            double,
            bytes,
            text,
            four,
            suit,
            list,
            table,
            either,
            next: None,
        },
    );
    leaf.prop_recursive(4, 4, 1, |inner| {
        (inner.clone(), inner).prop_map(|(outer, inner)| All { next: Some(Box::new(inner)), ..outer })
    })
}

proptest! {
    #[test]
    fn any_value_survives_and_the_judge_reads_it(value in all()) {
        let bytes = written(EVERYTHING, &value);
        prop_assert_eq!(&read::<All>(EVERYTHING, EVERYTHING, &bytes).expect("read"), &value);
        let judge = apache_avro::Schema::parse_str(EVERYTHING).expect("a schema");
        let mut rest = bytes.as_slice();
        let theirs = GenericDatumReader::builder(&judge).build().and_then(|reader| reader.read_value(&mut rest));
        prop_assert!(rest.is_empty());
        let again = GenericDatumWriter::builder(&judge)
            .build()
            .and_then(|writer| writer.write_value_to_vec(theirs.expect("the judge reads it")))
            .expect("written");
        // Not by bytes: the judge keeps no order of entries.
        prop_assert_eq!(read::<All>(EVERYTHING, EVERYTHING, &again).expect("read"), value);
    }

    #[test]
    fn the_judge_agrees_on_every_event(seed: u64) {
        agrees(&MeteringEvent::sample(seed));
        agrees(&PolicyDecision::sample(seed));
        agrees(&AgentLifecycleEvent::sample(seed));
        agrees(&PolicyChangeEvent::sample(seed));
    }

    #[test]
    fn arbitrary_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
        let _ = read::<All>(EVERYTHING, EVERYTHING, &bytes);
        let _ = read::<IgnoredAny>(EVERYTHING, EVERYTHING, &bytes);
    }

    /// What both take, both understand alike; and a skipped datum is as long as a read one.
    #[test]
    fn a_damaged_value_is_an_error_or_what_the_judge_reads(
        value in all(), at: prop::sample::Index, byte: u8, cut: prop::sample::Index,
    ) {
        let mut bytes = written(EVERYTHING, &value);
        let at = at.index(bytes.len());
        bytes[at] = byte;
        bytes.truncate(cut.index(bytes.len()) + 1);
        let ours = read::<All>(EVERYTHING, EVERYTHING, &bytes);
        let skipped = read::<IgnoredAny>(EVERYTHING, EVERYTHING, &bytes);
        if ours.is_ok() {
            prop_assert!(skipped.is_ok());
            let judge = apache_avro::Schema::parse_str(EVERYTHING).expect("a schema");
            let theirs = GenericDatumReader::builder(&judge)
                .build()
                .and_then(|reader| reader.read_value(&mut bytes.as_slice()));
            prop_assert!(theirs.is_ok(), "{theirs:?}");
        }
    }

    #[test]
    fn a_cut_value_is_an_error(value in all(), cut: prop::sample::Index) {
        let mut bytes = written(EVERYTHING, &value);
        bytes.truncate(cut.index(bytes.len()));
        prop_assert!(read::<All>(EVERYTHING, EVERYTHING, &bytes).is_err());
    }
}

/// Fields in another order, fewer and more of them, an alias, promotions, a default of every kind.
#[test]
fn a_writers_value_becomes_a_readers() {
    let writer = r#"{"type":"record","name":"R","fields":[
        {"name":"gone","type":{"type":"map","values":{"type":"array","items":["null","string"]}}},
        {"name":"count","type":"int"}, {"name":"old_name","type":"string"}, {"name":"some","type":"string"}]}"#;
    let reader = r#"{"type":"record","name":"R","fields":[
        {"name":"name","aliases":["old_name"],"type":"string"}, {"name":"some","type":["null","string"]},
        {"name":"count","type":"double"},
        {"name":"note","type":"string","default":"none"}, {"name":"raw","type":"bytes","default":"\u00ff"},
        {"name":"list","type":{"type":"array","items":"long"},"default":[1,-2]},
        {"name":"table","type":{"type":"map","values":"int"},"default":{"a":1}},
        {"name":"maybe","type":["null","long"],"default":null}]}"#;
    #[derive(Serialize)]
    struct Old {
        gone: HashMap<String, Vec<Option<String>>>,
        count: i32,
        old_name: &'static str,
        some: &'static str,
    }
    #[derive(Debug, Deserialize, PartialEq)]
    struct New {
        count: f64,
        name: String,
        some: Option<String>,
        note: String,
        #[serde(with = "bytes")]
        raw: Vec<u8>,
        list: Vec<i64>,
        table: HashMap<String, i32>,
        maybe: Option<i64>,
    }
    mod bytes {
        pub(super) fn deserialize<'d, D: serde::Deserializer<'d>>(from: D) -> Result<Vec<u8>, D::Error> {
            serde::Deserialize::deserialize(from)
        }
    }
    let gone = HashMap::from([("k".to_owned(), vec![None, Some("x".to_owned())])]);
    let bytes = written(writer, &Old { gone, count: 7, old_name: "n", some: "s" });
    let found: New = read(reader, writer, &bytes).expect("read");
    let expected = New {
        count: 7.0,
        name: "n".into(),
        some: Some("s".into()),
        note: "none".into(),
        raw: vec![0xff],
        list: vec![1, -2],
        table: HashMap::from([("a".into(), 1)]),
        maybe: None,
    };
    assert_eq!(found, expected);
}

#[test]
fn a_type_without_a_field_of_the_schema_writes_its_default() {
    let text = r#"{"type":"record","name":"R","fields":[
        {"name":"a","type":"string","default":"x"}, {"name":"b","type":"long"}]}"#;
    #[derive(Serialize)]
    struct Less {
        b: i64,
    }
    #[derive(Debug, Deserialize, PartialEq)]
    struct Whole {
        a: String,
        b: i64,
    }
    let found: Whole = read(text, text, &written(text, &Less { b: 3 })).expect("read");
    assert_eq!(found, Whole { a: "x".into(), b: 3 });
    #[derive(Serialize)]
    struct More {
        b: i64,
        c: i64,
    }
    let refused = encode(&schema(text), &More { b: 1, c: 2 }, &mut Vec::new()).expect_err("no such field");
    assert_eq!(refused.to_string(), "c: the schema has no such field");
}

/// Rust's order of fields is not the schema's.
#[test]
fn fields_in_another_order_are_put_right() {
    let text = r#"{"type":"record","name":"R","fields":[
        {"name":"a","type":"long"}, {"name":"b","type":"string"}, {"name":"c","type":"long"}]}"#;
    #[derive(Debug, Deserialize, PartialEq, Serialize)]
    struct Turned {
        c: i64,
        b: String,
        a: i64,
    }
    let value = Turned { c: 3, b: "two".into(), a: 1 };
    let bytes = written(text, &value);
    assert_eq!(bytes, [2, 6, b't', b'w', b'o', 6]);
    assert_eq!(read::<Turned>(text, text, &bytes).expect("read"), value);
}

#[test]
fn what_does_not_fit_names_the_field_and_no_value() {
    #[derive(Serialize)]
    struct Wide {
        large: u64,
    }
    let text = r#"{"type":"record","name":"R","fields":[{"name":"large","type":"int"}]}"#;
    let refused =
        encode(&schema(text), &Wide { large: 424_242_424_242 }, &mut Vec::new()).expect_err("too wide");
    assert_eq!(refused.to_string(), "large: the number is out of the range that the schema has for it");
}

/// Two times 2^63 nothings, a list within a list without end, a length that is not there.
#[test]
fn hostile_bytes_ask_for_more_than_they_are() {
    let nulls = r#"{"type":"array","items":"null"}"#;
    let mut bytes = Vec::new();
    put_long(&mut bytes, i64::MAX);
    let refused = read::<Vec<()>>(nulls, nulls, &bytes).expect_err("too many").to_string();
    assert!(refused.contains("memory"), "{refused}");
    let refused = read::<IgnoredAny>(nulls, nulls, &bytes).expect_err("too many").to_string();
    assert!(refused.contains("memory"), "{refused}");
    let list = r#"{"type":"record","name":"L","fields":[{"name":"in","type":{"type":"array","items":"L"}}]}"#;
    #[derive(Debug, Deserialize)]
    struct L {
        #[expect(dead_code, reason = "only read")]
        r#in: Vec<Self>,
    }
    let refused = read::<L>(list, list, &[2; 5000]).expect_err("too deep").to_string();
    assert!(refused.contains("deep"), "{refused}");
    let refused = read::<String>(r#""string""#, r#""string""#, &[0xfe, 0xff, 0xff, 0xff, 0x0f, b'x']);
    assert!(refused.expect_err("cut").to_string().contains("end before"));
}

#[test]
fn decimals_and_uuids_are_what_their_schema_says() {
    let text = r#"{"type":"record","name":"R","fields":[
        {"name":"price","type":{"type":"bytes","logicalType":"decimal","precision":18,"scale":6}},
        {"name":"wide","type":{"type":"fixed","name":"W","size":8,"logicalType":"decimal","precision":18}},
        {"name":"id","type":{"type":"string","logicalType":"uuid"}},
        {"name":"short","type":{"type":"fixed","name":"U","size":16,"logicalType":"uuid"}}]}"#;
    struct Raw(Vec<u8>);
    impl Serialize for Raw {
        fn serialize<S: serde::Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
            to.serialize_bytes(&self.0)
        }
    }
    #[derive(Serialize)]
    struct Out {
        price: Raw,
        wide: Raw,
        id: Raw,
        short: &'static str,
    }
    #[derive(Deserialize)]
    struct In {
        price: Vec<u8>,
        wide: [u8; 8],
        id: String,
        short: [u8; 16],
    }
    let id: [u8; 16] = std::array::from_fn(|at| at as u8 * 17);
    let shown = "00112233-4455-6677-8899-aabbccddeeff";
    let out =
        Out { price: Raw(vec![0xfe, 1]), wide: Raw(vec![0xff, 0x85]), id: Raw(id.to_vec()), short: shown };
    let found: In = read(text, text, &written(text, &out)).expect("read");
    assert_eq!((found.price, found.id.as_str(), found.short), (vec![0xfe, 1], shown, id));
    assert_eq!(found.wide, [0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x85], "the sign is repeated");
    let bytes = |text: &str| text.parse::<Uuid>().ok().map(|id| *id.as_bytes());
    assert_eq!(bytes(shown), Some(id));
    assert_eq!(bytes("00112233-4455-6677-8899-aabbccddeef"), None);
    assert_eq!(bytes("00112233x4455-6677-8899-aabbccddeeff"), None);
}
