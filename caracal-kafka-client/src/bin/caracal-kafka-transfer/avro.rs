//! JSON to and from Avro, by the registry's schemas.
//!
//! JSON is plain: a union's value stands for itself, bytes and fixed are arrays of numbers (or, on the way in, text),
//! decimals are texts (`"12.50"`), other logical types the numbers or texts below them. A field that the schema does not have is refused, not dropped.

use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, HashMap};

use apache_avro::Schema;
use apache_avro::reader::datum::GenericDatumReader;
use apache_avro::types::Value;
use apache_avro::writer::datum::GenericDatumWriter;
use serde_json::Value as Json;

use crate::decimal;
use crate::failure::Failure;
use crate::file::schema_id;
use crate::registry::Registry;

/// Reads values by the schemas that they name.
pub(crate) struct Decoder {
    registry: Option<Registry>,
    known: HashMap<u32, Option<(Schema, Names)>>,
}

/// The named types of a schema, by full name.
type Names = BTreeMap<String, Schema>;

impl Decoder {
    pub(crate) fn new(registry: Option<Registry>) -> Self {
        Self { registry, known: HashMap::new() }
    }

    /// The value and its schema's id; none for bytes that are not framed Avro of a known schema.
    pub(crate) fn decode(&mut self, bytes: &[u8]) -> Result<Option<(u32, Json)>, Failure> {
        let (Some(registry), Some(id)) = (&self.registry, schema_id(Some(bytes))) else { return Ok(None) };
        let known = match self.known.entry(id) {
            Entry::Occupied(known) => known.into_mut(),
            Entry::Vacant(place) => {
                let schema = registry.by_id(id)?.and_then(|text| Schema::parse_str(&text).ok());
                place.insert(schema.map(|schema| {
                    let mut names = Names::new();
                    named(&schema, &mut names);
                    (schema, names)
                }))
            }
        };
        let Some((schema, names)) = known else { return Ok(None) };
        let mut datum = &bytes[5..];
        let read =
            GenericDatumReader::builder(schema).build().and_then(|reader| reader.read_value(&mut datum));
        // Something else may begin as a frame does; then it is shown as the bytes that it is.
        let json = read.ok().filter(|_| datum.is_empty()).and_then(|value| shown(value, schema, names));
        Ok(json.map(|json| (id, json)))
    }
}

/// A value as JSON, with its decimals as texts.
fn shown(value: Value, schema: &Schema, names: &Names) -> Option<Json> {
    match (value, schema) {
        (value, Schema::Ref { name }) => shown(value, names.get(&name.to_string())?, names),
        (Value::Union(at, value), Schema::Union(union)) => {
            shown(*value, union.variants().get(usize::try_from(at).ok()?)?, names)
        }
        (Value::Record(fields), Schema::Record(record)) => {
            let fields = fields.into_iter().zip(&record.fields);
            let shown =
                fields.map(|((name, value), field)| Some((name, shown(value, &field.schema, names)?)));
            shown.collect::<Option<serde_json::Map<_, _>>>().map(Json::Object)
        }
        (Value::Array(items), Schema::Array(array)) => items
            .into_iter()
            .map(|item| shown(item, &array.items, names))
            .collect::<Option<_>>()
            .map(Json::Array),
        (Value::Map(entries), Schema::Map(map)) => {
            let shown = entries.into_iter().map(|(key, value)| Some((key, shown(value, &map.types, names)?)));
            shown.collect::<Option<serde_json::Map<_, _>>>().map(Json::Object)
        }
        (Value::Decimal(number), Schema::Decimal(decimal)) => {
            let bytes = Vec::<u8>::try_from(&number).ok()?;
            // What is longer than 38 digits stays the bytes that it is.
            Some(decimal::text(&bytes, decimal.scale).map_or_else(|| bytes.into(), Json::String))
        }
        (value, _) => Json::try_from(value).ok(),
    }
}

/// Writes values by one schema.
pub(crate) struct Encoder {
    id: u32,
    schema: Schema,
    names: Names,
}

impl Encoder {
    pub(crate) fn new(id: u32, text: &str) -> Result<Self, Failure> {
        let schema = Schema::parse_str(text).map_err(|error| {
            Failure::cluster(format!("the registry's schema {id} cannot be read: {error}"))
        })?;
        let mut names = Names::new();
        named(&schema, &mut names);
        Ok(Self { id, schema, names })
    }

    /// The framed datum.
    pub(crate) fn encode(&self, json: &Json) -> Result<Vec<u8>, String> {
        let value = self.value(json, &self.schema, "")?;
        let mut bytes = vec![0];
        bytes.extend_from_slice(&self.id.to_be_bytes());
        let datum = GenericDatumWriter::builder(&self.schema)
            .build()
            .and_then(|writer| writer.write_value_to_vec(value));
        bytes.extend(datum.map_err(|_| "it does not fit its schema".to_owned())?);
        Ok(bytes)
    }

    fn value(&self, json: &Json, schema: &Schema, path: &str) -> Result<Value, String> {
        let whole = |name: &str| {
            json.as_i64().ok_or_else(|| format!("{}: {name} must be a whole number", place(path)))
        };
        match schema {
            Schema::Ref { name } => {
                let known = self.names.get(&name.to_string());
                self.value(json, known.ok_or_else(|| format!("{}: no schema {name}", place(path)))?, path)
            }
            Schema::Record(record) => {
                let Json::Object(fields) = json else { return Err(misfit(json, "an object", path)) };
                let known = |name: &String| record.fields.iter().any(|field| field.name == *name);
                if let Some(odd) = fields.keys().find(|name| !known(name)) {
                    let names: Vec<&str> = record.fields.iter().map(|field| field.name.as_str()).collect();
                    return Err(format!("{}: no field `{odd}`; there is: {}", place(path), names.join(", ")));
                }
                let mut values = Vec::new();
                for field in &record.fields {
                    let path = format!("{path}/{}", field.name);
                    let json = fields.get(&field.name).or(field.default.as_ref());
                    let json = json.ok_or_else(|| format!("{path}: is missing and has no default"))?;
                    values.push((field.name.clone(), self.value(json, &field.schema, &path)?));
                }
                Ok(Value::Record(values))
            }
            Schema::Union(union) => self.branch(json, union.variants(), path),
            Schema::Array(array) => {
                let Json::Array(items) = json else { return Err(misfit(json, "an array", path)) };
                let items = items.iter().enumerate();
                let items = items.map(|(at, item)| self.value(item, &array.items, &format!("{path}/{at}")));
                Ok(Value::Array(items.collect::<Result<_, _>>()?))
            }
            Schema::Map(map) => {
                let Json::Object(entries) = json else { return Err(misfit(json, "an object", path)) };
                let entries = entries.iter().map(|(key, value)| {
                    Ok((key.clone(), self.value(value, &map.types, &format!("{path}/{key}"))?))
                });
                Ok(Value::Map(entries.collect::<Result<_, String>>()?))
            }
            Schema::Int | Schema::Date | Schema::TimeMillis => {
                let number = i32::try_from(whole("an int")?);
                let number = number.map_err(|_| format!("{}: too large for an int", place(path)))?;
                Ok(match schema {
                    Schema::Date => Value::Date(number),
                    Schema::TimeMillis => Value::TimeMillis(number),
                    _ => Value::Int(number),
                })
            }
            Schema::Long => whole("a long").map(Value::Long),
            Schema::TimeMicros => whole("a time").map(Value::TimeMicros),
            Schema::TimestampMillis => whole("a timestamp").map(Value::TimestampMillis),
            Schema::TimestampMicros => whole("a timestamp").map(Value::TimestampMicros),
            Schema::TimestampNanos => whole("a timestamp").map(Value::TimestampNanos),
            Schema::LocalTimestampMillis => whole("a timestamp").map(Value::LocalTimestampMillis),
            Schema::LocalTimestampMicros => whole("a timestamp").map(Value::LocalTimestampMicros),
            Schema::LocalTimestampNanos => whole("a timestamp").map(Value::LocalTimestampNanos),
            _ => simple(json, schema, path),
        }
    }

    /// The first branch that takes the value. What every branch refuses is told with the reason of the last.
    fn branch(&self, json: &Json, variants: &[Schema], path: &str) -> Result<Value, String> {
        let mut why = format!("{}: an empty union", place(path));
        for (at, variant) in variants.iter().enumerate() {
            match self.value(json, variant, path) {
                Ok(value) => return Ok(Value::Union(u32::try_from(at).unwrap_or(0), Box::new(value))),
                Err(error) => why = error,
            }
        }
        Err(why)
    }
}

/// Values without parts.
fn simple(json: &Json, schema: &Schema, path: &str) -> Result<Value, String> {
    let wanted = |what: &str| misfit(json, what, path);
    match schema {
        Schema::Null => json.is_null().then_some(Value::Null).ok_or_else(|| wanted("null")),
        Schema::Boolean => json.as_bool().map(Value::Boolean).ok_or_else(|| wanted("true or false")),
        Schema::Float => {
            let number = json.as_f64().ok_or_else(|| wanted("a number"))?;
            #[expect(clippy::cast_possible_truncation, reason = "a float is what the schema has")]
            Ok(Value::Float(number as f32))
        }
        Schema::Double => json.as_f64().map(Value::Double).ok_or_else(|| wanted("a number")),
        Schema::String => {
            json.as_str().map(|text| Value::String(text.to_owned())).ok_or_else(|| wanted("a text"))
        }
        Schema::Bytes => bytes(json).map(Value::Bytes).ok_or_else(|| wanted("a text or an array of bytes")),
        Schema::Fixed(fixed) => match bytes(json) {
            Some(bytes) if bytes.len() == fixed.size => Ok(Value::Fixed(fixed.size, bytes)),
            _ => Err(wanted(&format!("{} bytes", fixed.size))),
        },
        Schema::Enum(kind) => {
            let text = json.as_str().ok_or_else(|| wanted("a text"))?;
            let at = kind.symbols.iter().position(|symbol| symbol == text);
            let at = at.and_then(|at| u32::try_from(at).ok());
            let known = || format!("{}: `{text}` is none of {}", place(path), kind.symbols.join(", "));
            at.map(|at| Value::Enum(at, text.to_owned())).ok_or_else(known)
        }
        Schema::Uuid(_) => {
            let text = json.as_str().ok_or_else(|| wanted("a UUID"))?;
            Value::String(text.to_owned()).resolve(schema).map_err(|_| {
                format!("{}: a UUID is wanted (8-4-4-4-12 hexadecimal digits), not another text", place(path))
            })
        }
        Schema::Decimal(decimal) => {
            let bytes = match json {
                Json::String(text) => decimal::bytes(text, decimal.scale),
                Json::Number(number) => decimal::bytes(&number.to_string(), decimal.scale),
                other => bytes(other),
            };
            let wanted = || wanted(&format!("a decimal of at most {} places, as a text,", decimal.scale));
            bytes.map(|bytes| Value::Decimal(bytes.into())).ok_or_else(wanted)
        }
        // Durations: the library knows how.
        other => {
            let plain = match (json.as_str(), bytes(json)) {
                (Some(text), _) => Value::String(text.to_owned()),
                (None, Some(bytes)) => Value::Bytes(bytes),
                _ => return Err(wanted("a text or an array of bytes")),
            };
            plain.resolve(other).map_err(|_| wanted("what its logical type takes"))
        }
    }
}

fn bytes(json: &Json) -> Option<Vec<u8>> {
    match json {
        Json::String(text) => Some(text.as_bytes().to_vec()),
        Json::Array(items) => {
            items.iter().map(|item| item.as_u64().and_then(|number| u8::try_from(number).ok())).collect()
        }
        _ => None,
    }
}

fn place(path: &str) -> &str {
    if path.is_empty() { "the value" } else { path }
}

/// The value itself is not repeated: it may be anybody's data.
fn misfit(json: &Json, wanted: &str, path: &str) -> String {
    let found = match json {
        Json::Null => "null",
        Json::Bool(_) => "true or false",
        Json::Number(_) => "a number",
        Json::String(_) => "a text",
        Json::Array(_) => "an array",
        Json::Object(_) => "an object",
    };
    format!("{}: {wanted} is wanted, not {found}", place(path))
}

fn named(schema: &Schema, names: &mut Names) {
    if let Some(name) = schema.name()
        && !matches!(schema, Schema::Ref { .. })
    {
        names.insert(name.to_string(), schema.clone());
    }
    match schema {
        Schema::Record(record) => record.fields.iter().for_each(|field| named(&field.schema, names)),
        Schema::Union(union) => union.variants().iter().for_each(|variant| named(variant, names)),
        Schema::Array(array) => named(&array.items, names),
        Schema::Map(map) => named(&map.types, names),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SCHEMA: &str = r#"{"type":"record","name":"R","namespace":"n","fields":[
        {"name":"id","type":"string"},
        {"name":"uuid","type":["null",{"type":"string","logicalType":"uuid"}],"default":null},
        {"name":"at","type":{"type":"long","logicalType":"timestamp-millis"}},
        {"name":"kind","type":{"type":"enum","name":"K","symbols":["A","B"]}},
        {"name":"other","type":["null","K"],"default":null},
        {"name":"tags","type":{"type":"map","values":"string"},"default":{}},
        {"name":"raw","type":"bytes","default":""},
        {"name":"cost","type":["null",{"type":"bytes","logicalType":"decimal","precision":18,"scale":3}],"default":null},
        {"name":"next","type":["null","R"],"default":null}]}"#;

    fn encoded(json: &str) -> Result<Vec<u8>, String> {
        Encoder::new(7, SCHEMA).unwrap().encode(&serde_json::from_str(json).unwrap())
    }

    #[test]
    fn json_goes_there_and_back() {
        let text = r#"{"id":"x","at":5,"kind":"B","other":"A","tags":{"a":"b"},"raw":[1,2],"cost":"-12.5","next":{"id":"y","at":6,"kind":"A"}}"#;
        let bytes = encoded(text).unwrap();
        assert_eq!(bytes[..5], [0, 0, 0, 0, 7]);
        let mut decoder = Decoder::new(None);
        assert_eq!(decoder.decode(&bytes).unwrap(), None, "without a registry there is no schema");
        let schema = Schema::parse_str(SCHEMA).unwrap();
        let value =
            GenericDatumReader::builder(&schema).build().unwrap().read_value(&mut &bytes[5..]).unwrap();
        let mut names = Names::new();
        named(&schema, &mut names);
        let json = shown(value, &schema, &names).unwrap();
        assert_eq!(json["cost"], "-12.500");
        assert_eq!(
            (&json["kind"], &json["next"]["id"], &json["raw"][1]),
            (&"B".into(), &"y".into(), &2.into())
        );
        assert_eq!(json["next"]["tags"], serde_json::json!({}));
    }

    #[test]
    fn what_does_not_fit_is_told_where_and_without_the_value() {
        let base = r#""id":"secret","at":5,"kind":"A""#;
        for (text, part) in [
            (r#"{"id":"secret","at":5}"#.to_owned(), "/kind: is missing"),
            (format!("{{{base},\"more\":1}}"), "no field `more`; there is: id, uuid, at"),
            (format!("{{{base},\"tags\":{{\"a\":1}}}}"), "/tags/a: a text is wanted, not a number"),
            (
                r#"{"id":"secret","at":"now","kind":"A"}"#.to_owned(),
                "/at: a timestamp must be a whole number",
            ),
            (r#"{"id":"x","at":5,"kind":"C"}"#.to_owned(), "none of A, B"),
            (format!("{{{base},\"uuid\":\"secret\"}}"), "/uuid: a UUID is wanted"),
            (format!("{{{base},\"cost\":\"1.2345\"}}"), "/cost: a decimal of at most 3 places"),
            ("[]".to_owned(), "the value: an object is wanted, not an array"),
        ] {
            let why = encoded(&text).unwrap_err();
            assert!(why.contains(part) && !why.contains("secret"), "{part} is not in {why}");
        }
    }
}
