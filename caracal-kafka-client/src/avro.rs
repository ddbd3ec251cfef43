//! Avro's binary encoding straight from and to a service's own types, by the schema graphs of
//! `caracal_kafka_contract::schema`.
//!
//! apache-avro goes by way of a tree of values wherever a reader's schema differs from the writer's. One
//! mebibyte of datum can ask for gigabytes of such a tree, and building it costs several times what the
//! event itself does. Here a pair of schemas is resolved once into a [`ReadPlan`]; a datum is then read
//! in one pass, with its memory charged before it is taken. apache-avro is the judge in the tests.

mod json;
mod plan;
mod read;
mod write;

#[cfg(test)]
mod tests;

pub(crate) use plan::ReadPlan;
pub(crate) use write::encode;

use std::fmt;

/// Why a value and a schema, or a datum and a schema, do not fit. It names places, never values.
#[derive(Debug)]
pub(crate) struct Misfit(Box<Told>);

/// Behind a pointer, so that what does fit is not moved about with room for it.
#[derive(Debug)]
struct Told {
    what: Box<str>,
    /// Fields from the innermost to the outermost one.
    path: Vec<Box<str>>,
}

impl Misfit {
    #[cold]
    pub(crate) fn new(what: impl Into<Box<str>>) -> Self {
        Self(Box::new(Told { what: what.into(), path: Vec::new() }))
    }

    #[cold]
    fn within(mut self, field: &str) -> Self {
        self.0.path.push(field.into());
        self
    }
}

impl fmt::Display for Misfit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, field) in self.0.path.iter().rev().enumerate() {
            f.write_str(if at == 0 { "" } else { "." })?;
            f.write_str(field)?;
        }
        if !self.0.path.is_empty() {
            f.write_str(": ")?;
        }
        f.write_str(&self.0.what)
    }
}

impl std::error::Error for Misfit {}

impl serde::ser::Error for Misfit {
    fn custom<T: fmt::Display>(_: T) -> Self {
        // The text may repeat the value.
        Self::new("the value cannot be written")
    }
}

impl serde::de::Error for Misfit {
    fn custom<T: fmt::Display>(_: T) -> Self {
        // The text may repeat the value.
        Self::new("the value does not fit the type that the service has for it")
    }

    fn unknown_variant(_: &str, _: &'static [&'static str]) -> Self {
        Self::new("the service's enumeration lacks a symbol")
    }

    fn missing_field(field: &'static str) -> Self {
        Self::new(format!("the schema has no field `{field}`, and the service's type needs it"))
    }
}

/// Zigzag, then seven bits a byte (specification, "Binary Encoding").
fn put_long(out: &mut Vec<u8>, value: i64) {
    let mut rest = (value.cast_unsigned() << 1) ^ (value >> 63).cast_unsigned();
    while rest >= 0x80 {
        // The lowest seven bits, and the sign that more follow.
        out.push(0x80 | (rest & 0x7f) as u8);
        rest >>= 7;
    }
    out.push(rest as u8);
}

/// A length or a number of items.
fn put_size(out: &mut Vec<u8>, size: usize) -> Result<(), Misfit> {
    put_long(out, i64::try_from(size).map_err(|_| Misfit::new("it is too long"))?);
    Ok(())
}

/// The word by which an enumeration of the service's names a branch of a union.
fn names_branch(variant: &str, kind: &caracal_kafka_contract::schema::Kind) -> bool {
    match kind.name() {
        Some(name) => name.full == variant || name.short() == variant,
        None => kind.word().eq_ignore_ascii_case(variant),
    }
}
