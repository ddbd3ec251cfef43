//! Whether a field's default is a value of its type.

use serde_json::Value;

use super::SchemaError;
use super::model::{Kind, NodeId, RecordType, Schema};

/// A union is tried branch by branch; this keeps a schema that is made for it from doing so for ever.
const STEPS_MAX: u32 = 100_000;

/// Checks the defaults of the record `id`, which stands at `path`.
pub(super) fn check_fields(schema: &Schema, id: NodeId, path: &str) -> Result<(), SchemaError> {
    let Kind::Record(RecordType { fields, .. }) = &schema.node(id).kind else { return Ok(()) };
    for (at, field) in fields.iter().enumerate() {
        let Some(default) = &field.default else { continue };
        if !fits(schema, field.schema, default, &mut { STEPS_MAX }) {
            return Err(SchemaError::new(
                &format!("{path}/fields/{at}/default"),
                format!(
                    "the default of `{}` is no value of its type, {}",
                    field.name,
                    schema.node(field.schema).kind.word()
                ),
            ));
        }
    }
    Ok(())
}

/// The recursion is along the default's own JSON, which serde_json bounds.
fn fits(schema: &Schema, id: NodeId, value: &Value, steps: &mut u32) -> bool {
    let Some(left) = steps.checked_sub(1) else { return false };
    *steps = left;
    let mut fits = |id: &NodeId, value: &Value| fits(schema, *id, value, steps);
    match (&schema.node(id).kind, value) {
        (Kind::Null, Value::Null)
        | (Kind::Boolean, Value::Bool(_))
        | (Kind::Float | Kind::Double, Value::Number(_))
        | (Kind::String, Value::String(_)) => true,
        (Kind::Int, Value::Number(number)) => number.as_i64().is_some_and(|n| i32::try_from(n).is_ok()),
        (Kind::Long, Value::Number(number)) => number.as_i64().is_some(),
        (Kind::Bytes, Value::String(text)) => latin1(text),
        (Kind::Fixed(fixed), Value::String(text)) => latin1(text) && text.chars().count() == fixed.size,
        (Kind::Enum(of), Value::String(text)) => of.symbols.contains(text),
        (Kind::Array(items), Value::Array(list)) => list.iter().all(|item| fits(items, item)),
        (Kind::Map(values), Value::Object(map)) => map.values().all(|value| fits(values, value)),
        // Any branch: since 1.12.0 a union's default is of the first branch that it fits.
        (Kind::Union(branches), value) => branches.iter().any(|branch| fits(branch, value)),
        (Kind::Record(record), Value::Object(map)) => record.fields.iter().all(|field| {
            map.get(&field.name).map_or(field.default.is_some(), |value| fits(&field.schema, value))
        }),
        _ => false,
    }
}

/// Bytes are written as the characters of the same number.
fn latin1(text: &str) -> bool {
    text.chars().all(|letter| u32::from(letter) < 256)
}
