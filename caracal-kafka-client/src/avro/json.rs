//! A field's default, which a schema has as JSON, in the binary encoding.

use caracal_kafka_contract::schema::{Kind, NodeId, Schema};
use serde_json::Value;

use super::{Misfit, put_long, put_size};

/// Writes `value` by the type `id`; a union's is of the first branch that it fits, as since Avro 1.12.
pub(super) fn encode(schema: &Schema, id: NodeId, value: &Value, out: &mut Vec<u8>) -> Result<(), Misfit> {
    let misfit = || Misfit::new("the default is no value of the type");
    match (&schema.node(id).kind, value) {
        (Kind::Null, Value::Null) => {}
        (Kind::Boolean, Value::Bool(value)) => out.push(u8::from(*value)),
        (Kind::Int | Kind::Long, Value::Number(number)) => {
            put_long(out, number.as_i64().ok_or_else(misfit)?);
        }
        (Kind::Float, Value::Number(number)) => {
            out.extend_from_slice(&(number.as_f64().ok_or_else(misfit)? as f32).to_le_bytes());
        }
        (Kind::Double, Value::Number(number)) => {
            out.extend_from_slice(&number.as_f64().ok_or_else(misfit)?.to_le_bytes());
        }
        (Kind::String, Value::String(text)) => {
            put_size(out, text.len())?;
            out.extend_from_slice(text.as_bytes());
        }
        (Kind::Bytes, Value::String(text)) => {
            let bytes = latin1(text).ok_or_else(misfit)?;
            put_size(out, bytes.len())?;
            out.extend(bytes);
        }
        (Kind::Fixed(of), Value::String(text)) => {
            let bytes = latin1(text).filter(|bytes| bytes.len() == of.size).ok_or_else(misfit)?;
            out.extend(bytes);
        }
        (Kind::Enum(of), Value::String(text)) => {
            let at = of.symbols.iter().position(|symbol| symbol == text).ok_or_else(misfit)?;
            put_size(out, at)?;
        }
        (Kind::Array(items), Value::Array(list)) => {
            if !list.is_empty() {
                put_size(out, list.len())?;
                list.iter().try_for_each(|item| encode(schema, *items, item, out))?;
            }
            out.push(0);
        }
        (Kind::Map(values), Value::Object(map)) => {
            if !map.is_empty() {
                put_size(out, map.len())?;
            }
            for (key, value) in map {
                put_size(out, key.len())?;
                out.extend_from_slice(key.as_bytes());
                encode(schema, *values, value, out)?;
            }
            out.push(0);
        }
        (Kind::Union(branches), value) => {
            let start = out.len();
            for (at, branch) in branches.iter().enumerate() {
                put_size(out, at)?;
                if encode(schema, *branch, value, out).is_ok() {
                    return Ok(());
                }
                out.truncate(start);
            }
            return Err(misfit());
        }
        (Kind::Record(record), Value::Object(map)) => {
            for field in &record.fields {
                let value = map.get(&field.name).or(field.default.as_ref()).ok_or_else(misfit)?;
                encode(schema, field.schema, value, out)?;
            }
        }
        _ => return Err(misfit()),
    }
    Ok(())
}

/// Bytes are written as the characters of the same number.
fn latin1(text: &str) -> Option<Vec<u8>> {
    text.chars().map(|letter| u8::try_from(u32::from(letter)).ok()).collect()
}
