//! From a service's type to a datum. What a type has in the schema's order is written in place; only a
//! field that comes too early is kept aside.

use caracal_kafka_contract::schema::{Kind, Logical, NodeId, RecordType, Schema};
use serde::Serialize;
use serde::ser::{
    SerializeMap, SerializeSeq, SerializeStruct, SerializeStructVariant, SerializeTuple,
    SerializeTupleStruct, SerializeTupleVariant,
};

use super::{Misfit, json, names_branch, put_long, put_size};
use crate::events::Uuid;

/// Appends `value` to `out` as a datum of `schema`.
///
/// # Errors
/// A value that the schema has no place for. What was appended is of no use then.
pub(crate) fn encode<T: Serialize + ?Sized>(
    schema: &Schema,
    value: &T,
    out: &mut Vec<u8>,
) -> Result<(), Misfit> {
    value.serialize(Writer::at(schema, schema.root(), out))
}

/// Writes one value.
struct Writer<'s, 'o> {
    schema: &'s Schema,
    kind: &'s Kind,
    logical: Option<&'s Logical>,
    out: &'o mut Vec<u8>,
}

type Wrote = Result<(), Misfit>;

fn no_place(what: &str, kind: &Kind) -> Misfit {
    Misfit::new(format!("the schema has {} where the service's type has {what}", kind.word()))
}

const fn out_of_range() -> &'static str {
    "the number is out of the range that the schema has for it"
}

impl<'s, 'o> Writer<'s, 'o> {
    fn at(schema: &'s Schema, id: NodeId, out: &'o mut Vec<u8>) -> Self {
        let node = schema.node(id);
        Self { schema, kind: &node.kind, logical: node.logical.as_ref(), out }
    }

    /// Goes into the union's first branch that `fits`; elsewhere stays.
    fn choose(self, fits: impl Fn(&Kind, Option<&Logical>) -> bool, what: &str) -> Result<Self, Misfit> {
        let Kind::Union(branches) = self.kind else { return Ok(self) };
        let found = branches.iter().position(|branch| {
            let node = self.schema.node(*branch);
            fits(&node.kind, node.logical.as_ref())
        });
        let found = found.ok_or_else(|| no_place(what, self.kind))?;
        self.enter(found)
    }

    fn enter(self, at: usize) -> Result<Self, Misfit> {
        let Kind::Union(branches) = self.kind else { return Ok(self) };
        put_size(self.out, at)?;
        Ok(Self::at(self.schema, branches[at], self.out))
    }

    /// Into the branch of an enumeration's variant: by its name, else by its number among those that are not null.
    fn variant(self, number: u32, variant: &str) -> Result<Self, Misfit> {
        let Kind::Union(branches) = self.kind else { return Ok(self) };
        let kind = |id: &NodeId| &self.schema.node(*id).kind;
        let by_name = branches.iter().position(|branch| names_branch(variant, kind(branch)));
        let by_number = || {
            let mut some =
                branches.iter().enumerate().filter(|(_, branch)| !matches!(kind(branch), Kind::Null));
            some.nth(number as usize).map(|(at, _)| at)
        };
        let found = by_name.or_else(by_number).ok_or_else(|| no_place("one variant more", self.kind))?;
        self.enter(found)
    }

    fn integer(self, value: i64) -> Wrote {
        let fits = |kind: &Kind, _: Option<&Logical>| match kind {
            Kind::Int => i32::try_from(value).is_ok(),
            Kind::Long | Kind::Double | Kind::Float => true,
            _ => false,
        };
        let to = self.choose(fits, "a whole number")?;
        match to.kind {
            Kind::Int if i32::try_from(value).is_err() => return Err(Misfit::new(out_of_range())),
            Kind::Int | Kind::Long => put_long(to.out, value),
            // Only what a floating number has exactly.
            Kind::Double if value.unsigned_abs() <= 1 << 53 => {
                to.out.extend_from_slice(&(value as f64).to_le_bytes());
            }
            Kind::Float if value.unsigned_abs() <= 1 << 24 => {
                to.out.extend_from_slice(&(value as f32).to_le_bytes());
            }
            Kind::Double | Kind::Float => return Err(Misfit::new(out_of_range())),
            other => return Err(no_place("a whole number", other)),
        }
        Ok(())
    }

    fn sized(out: &mut Vec<u8>, bytes: &[u8]) -> Wrote {
        put_size(out, bytes.len())?;
        out.extend_from_slice(bytes);
        Ok(())
    }
}

impl<'s, 'o> serde::Serializer for Writer<'s, 'o> {
    type Ok = ();
    type Error = Misfit;
    type SerializeSeq = Items<'s, 'o>;
    type SerializeTuple = Items<'s, 'o>;
    type SerializeTupleStruct = Items<'s, 'o>;
    type SerializeTupleVariant = Items<'s, 'o>;
    type SerializeMap = Entries<'s, 'o>;
    type SerializeStruct = Fields<'s, 'o>;
    type SerializeStructVariant = Fields<'s, 'o>;

    fn is_human_readable(&self) -> bool {
        false
    }

    fn serialize_bool(self, value: bool) -> Wrote {
        let to = self.choose(|kind, _| matches!(kind, Kind::Boolean), "a truth value")?;
        let Kind::Boolean = to.kind else { return Err(no_place("a truth value", to.kind)) };
        to.out.push(u8::from(value));
        Ok(())
    }

    fn serialize_i8(self, value: i8) -> Wrote {
        self.integer(value.into())
    }

    fn serialize_i16(self, value: i16) -> Wrote {
        self.integer(value.into())
    }

    fn serialize_i32(self, value: i32) -> Wrote {
        self.integer(value.into())
    }

    fn serialize_i64(self, value: i64) -> Wrote {
        self.integer(value)
    }

    fn serialize_u8(self, value: u8) -> Wrote {
        self.integer(value.into())
    }

    fn serialize_u16(self, value: u16) -> Wrote {
        self.integer(value.into())
    }

    fn serialize_u32(self, value: u32) -> Wrote {
        self.integer(value.into())
    }

    fn serialize_u64(self, value: u64) -> Wrote {
        self.integer(i64::try_from(value).map_err(|_| Misfit::new(out_of_range()))?)
    }

    fn serialize_f32(self, value: f32) -> Wrote {
        let to = self.choose(|kind, _| matches!(kind, Kind::Float | Kind::Double), "a fraction")?;
        match to.kind {
            Kind::Float => to.out.extend_from_slice(&value.to_le_bytes()),
            Kind::Double => to.out.extend_from_slice(&f64::from(value).to_le_bytes()),
            other => return Err(no_place("a fraction", other)),
        }
        Ok(())
    }

    fn serialize_f64(self, value: f64) -> Wrote {
        let to = self.choose(|kind, _| matches!(kind, Kind::Double), "a fraction of double precision")?;
        let Kind::Double = to.kind else {
            return Err(no_place("a fraction of double precision", to.kind));
        };
        to.out.extend_from_slice(&value.to_le_bytes());
        Ok(())
    }

    fn serialize_char(self, value: char) -> Wrote {
        self.serialize_str(value.encode_utf8(&mut [0; 4]))
    }

    fn serialize_str(self, value: &str) -> Wrote {
        let fits = |kind: &Kind, logical: Option<&Logical>| match kind {
            Kind::String => true,
            Kind::Enum(of) => of.symbols.iter().any(|symbol| symbol == value),
            Kind::Fixed(of) => of.size == 16 && logical == Some(&Logical::Uuid),
            _ => false,
        };
        let to = self.choose(fits, "text")?;
        match to.kind {
            Kind::String => Self::sized(to.out, value.as_bytes()),
            Kind::Enum(of) => {
                let at = of.symbols.iter().position(|symbol| symbol == value);
                put_size(to.out, at.ok_or_else(|| Misfit::new("the schema lacks that symbol"))?)
            }
            Kind::Fixed(of) if of.size == 16 && to.logical == Some(&Logical::Uuid) => {
                let id: Uuid = value.parse().map_err(|_| Misfit::new("the text is no UUID"))?;
                to.out.extend_from_slice(id.as_bytes());
                Ok(())
            }
            other => Err(no_place("text", other)),
        }
    }

    fn serialize_bytes(self, value: &[u8]) -> Wrote {
        let fits = |kind: &Kind, logical: Option<&Logical>| match kind {
            Kind::Bytes => true,
            Kind::Fixed(of) => of.size == value.len() || matches!(logical, Some(Logical::Decimal { .. })),
            Kind::String => value.len() == 16 && logical == Some(&Logical::Uuid),
            _ => false,
        };
        let to = self.choose(fits, "bytes")?;
        match (to.kind, to.logical) {
            (Kind::Bytes, _) => Self::sized(to.out, value),
            (Kind::Fixed(of), _) if of.size == value.len() => {
                to.out.extend_from_slice(value);
                Ok(())
            }
            // Two's complement, the sign repeated before it.
            (Kind::Fixed(of), Some(Logical::Decimal { .. })) if value.len() < of.size => {
                let sign = value.first().map_or(0, |first| if first & 0x80 == 0 { 0 } else { 0xff });
                to.out.resize(to.out.len() + of.size - value.len(), sign);
                to.out.extend_from_slice(value);
                Ok(())
            }
            (Kind::Fixed(_), _) => Err(Misfit::new("the bytes are not as many as the schema has")),
            (Kind::String, Some(Logical::Uuid)) => {
                let bytes = <[u8; 16]>::try_from(value).map_err(|_| Misfit::new("a UUID has 16 bytes"))?;
                Self::sized(to.out, &Uuid::from_bytes(bytes).to_ascii())
            }
            (other, _) => Err(no_place("bytes", other)),
        }
    }

    fn serialize_none(self) -> Wrote {
        self.serialize_unit()
    }

    fn serialize_some<T: Serialize + ?Sized>(self, value: &T) -> Wrote {
        value.serialize(self)
    }

    fn serialize_unit(self) -> Wrote {
        let to = self.choose(|kind, _| matches!(kind, Kind::Null), "nothing")?;
        if let Kind::Null = to.kind { Ok(()) } else { Err(no_place("nothing", to.kind)) }
    }

    fn serialize_unit_struct(self, _: &'static str) -> Wrote {
        match self.kind {
            Kind::Record(of) if of.fields.is_empty() => Ok(()),
            _ => self.serialize_unit(),
        }
    }

    fn serialize_unit_variant(self, _: &'static str, number: u32, variant: &'static str) -> Wrote {
        let has = |kind: &Kind, _: Option<&Logical>| match kind {
            Kind::Enum(of) => of.symbols.iter().any(|symbol| symbol == variant),
            Kind::Null => kind.word().eq_ignore_ascii_case(variant),
            _ => false,
        };
        let to = self.choose(has, "a symbol")?;
        match to.kind {
            Kind::Enum(of) => {
                // Most types have the schema's order.
                let at = of.symbols.get(number as usize).filter(|symbol| *symbol == variant);
                let at = at.map(|_| number as usize);
                let at = at.or_else(|| of.symbols.iter().position(|symbol| symbol == variant));
                put_size(to.out, at.ok_or_else(|| Misfit::new("the schema lacks that symbol"))?)
            }
            Kind::String => Self::sized(to.out, variant.as_bytes()),
            Kind::Null => Ok(()),
            other => Err(no_place("a symbol", other)),
        }
    }

    fn serialize_newtype_struct<T: Serialize + ?Sized>(self, _: &'static str, value: &T) -> Wrote {
        value.serialize(self)
    }

    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        number: u32,
        variant: &'static str,
        value: &T,
    ) -> Wrote {
        value.serialize(self.variant(number, variant)?)
    }

    fn serialize_seq(self, len: Option<usize>) -> Result<Items<'s, 'o>, Misfit> {
        let fits = |kind: &Kind, _: Option<&Logical>| matches!(kind, Kind::Array(_) | Kind::Bytes);
        let to = self.choose(fits, "a list")?;
        Items::new(to, len)
    }

    fn serialize_tuple(self, len: usize) -> Result<Items<'s, 'o>, Misfit> {
        let fits = |kind: &Kind, _: Option<&Logical>| match kind {
            Kind::Array(_) | Kind::Bytes => true,
            Kind::Fixed(of) => of.size == len,
            _ => false,
        };
        let to = self.choose(fits, "a list")?;
        Items::new(to, Some(len))
    }

    fn serialize_tuple_struct(self, _: &'static str, len: usize) -> Result<Items<'s, 'o>, Misfit> {
        self.serialize_tuple(len)
    }

    fn serialize_tuple_variant(
        self,
        _: &'static str,
        number: u32,
        variant: &'static str,
        len: usize,
    ) -> Result<Items<'s, 'o>, Misfit> {
        Items::new(self.variant(number, variant)?, Some(len))
    }

    fn serialize_map(self, len: Option<usize>) -> Result<Entries<'s, 'o>, Misfit> {
        let to = self.choose(|kind, _| matches!(kind, Kind::Map(_) | Kind::Record(_)), "a map")?;
        match to.kind {
            Kind::Map(values) => {
                if let Some(len) = len.filter(|len| *len > 0) {
                    put_size(to.out, len)?;
                }
                Ok(Entries::Map { schema: to.schema, values: *values, left: len, out: to.out })
            }
            Kind::Record(of) => {
                Ok(Entries::Record { fields: Fields::new(to.schema, of, to.out), key: String::new() })
            }
            other => Err(no_place("a map", other)),
        }
    }

    fn serialize_struct(self, name: &'static str, _: usize) -> Result<Fields<'s, 'o>, Misfit> {
        let to = match self.kind {
            Kind::Union(branches) => {
                let kind = |id: &NodeId| &self.schema.node(*id).kind;
                let named = branches.iter().position(|branch| names_branch(name, kind(branch)));
                let any = || branches.iter().position(|branch| matches!(kind(branch), Kind::Record(_)));
                let at = named.or_else(any).ok_or_else(|| no_place("a record", self.kind))?;
                self.enter(at)?
            }
            _ => self,
        };
        let Kind::Record(of) = to.kind else { return Err(no_place("a record", to.kind)) };
        Ok(Fields::new(to.schema, of, to.out))
    }

    fn serialize_struct_variant(
        self,
        _: &'static str,
        number: u32,
        variant: &'static str,
        _: usize,
    ) -> Result<Fields<'s, 'o>, Misfit> {
        let to = self.variant(number, variant)?;
        let Kind::Record(of) = to.kind else { return Err(no_place("a record", to.kind)) };
        Ok(Fields::new(to.schema, of, to.out))
    }
}

/// Writes an array, or bytes one by one.
struct Items<'s, 'o> {
    schema: &'s Schema,
    /// `None`: bytes.
    items: Option<NodeId>,
    /// Items to come, where that was said; otherwise each is a block of its own.
    left: Option<usize>,
    out: &'o mut Vec<u8>,
}

impl<'s, 'o> Items<'s, 'o> {
    fn new(to: Writer<'s, 'o>, len: Option<usize>) -> Result<Self, Misfit> {
        let Writer { schema, kind, out, .. } = to;
        let items = match (kind, len) {
            (Kind::Array(items), len) => {
                if let Some(len) = len.filter(|len| *len > 0) {
                    put_size(out, len)?;
                }
                Some(*items)
            }
            (Kind::Bytes, Some(len)) => {
                put_size(out, len)?;
                None
            }
            (Kind::Fixed(of), Some(len)) if of.size == len => None,
            (other, _) => return Err(no_place("a list", other)),
        };
        Ok(Self { schema, items, left: len, out })
    }

    fn item<T: Serialize + ?Sized>(&mut self, value: &T) -> Wrote {
        match &mut self.left {
            Some(0) => return Err(Misfit::new("the list has more items than it said")),
            Some(left) => *left -= 1,
            None => put_long(self.out, 1),
        }
        if let Some(items) = self.items {
            return value.serialize(Writer::at(self.schema, items, self.out));
        }
        // By way of a number, which takes one byte or two.
        let start = self.out.len();
        value.serialize(Writer { schema: self.schema, kind: &Kind::Int, logical: None, out: self.out })?;
        let byte = match self.out[start..] {
            [one] if one & 1 == 0 => one >> 1,
            [low, high] if low & 1 == 0 && high <= 3 => (low & 0x7f) >> 1 | high << 6,
            _ => return Err(Misfit::new("the list is of something else than bytes")),
        };
        self.out.truncate(start);
        self.out.push(byte);
        Ok(())
    }

    fn finish(self) -> Wrote {
        if self.left.is_some_and(|left| left > 0) {
            return Err(Misfit::new("the list has fewer items than it said"));
        }
        if self.items.is_some() {
            self.out.push(0);
        }
        Ok(())
    }
}

macro_rules! items {
    ($($trait:ident $method:ident),*) => {$(
        impl $trait for Items<'_, '_> {
            type Ok = ();
            type Error = Misfit;

            fn $method<T: Serialize + ?Sized>(&mut self, value: &T) -> Wrote {
                self.item(value)
            }

            fn end(self) -> Wrote {
                self.finish()
            }
        }
    )*};
}

items!(
    SerializeSeq serialize_element,
    SerializeTuple serialize_element,
    SerializeTupleStruct serialize_field,
    SerializeTupleVariant serialize_field
);

/// Writes a map; or a record whose fields come as entries, as those of a flattened type do.
enum Entries<'s, 'o> {
    Map { schema: &'s Schema, values: NodeId, left: Option<usize>, out: &'o mut Vec<u8> },
    Record { fields: Fields<'s, 'o>, key: String },
}

impl SerializeMap for Entries<'_, '_> {
    type Ok = ();
    type Error = Misfit;

    fn serialize_key<T: Serialize + ?Sized>(&mut self, value: &T) -> Wrote {
        match self {
            Self::Map { schema, left, out, .. } => {
                match left {
                    Some(0) => return Err(Misfit::new("the map has more entries than it said")),
                    Some(left) => *left -= 1,
                    None => put_long(out, 1),
                }
                value.serialize(Writer { schema, kind: &Kind::String, logical: None, out })
            }
            Self::Record { fields, key } => {
                let mut text = Vec::new();
                let schema = fields.schema;
                value.serialize(Writer { schema, kind: &Kind::String, logical: None, out: &mut text })?;
                // Behind the length, whose last byte is the first one below 128.
                let start = text.iter().position(|byte| *byte < 0x80).map_or(0, |at| at + 1);
                *key = String::from_utf8_lossy(&text[start..]).into_owned();
                Ok(())
            }
        }
    }

    fn serialize_value<T: Serialize + ?Sized>(&mut self, value: &T) -> Wrote {
        match self {
            Self::Map { schema, values, out, .. } => value.serialize(Writer::at(schema, *values, out)),
            Self::Record { fields, key } => fields.field(key, value),
        }
    }

    fn end(self) -> Wrote {
        match self {
            Self::Map { left: Some(1..), .. } => Err(Misfit::new("the map has fewer entries than it said")),
            Self::Map { out, .. } => {
                out.push(0);
                Ok(())
            }
            Self::Record { fields, .. } => fields.finish(),
        }
    }
}

/// Writes a record.
struct Fields<'s, 'o> {
    schema: &'s Schema,
    of: &'s RecordType,
    /// The first field that is not written yet.
    next: usize,
    /// Fields that came too early, by their numbers.
    early: Vec<(usize, Vec<u8>)>,
    out: &'o mut Vec<u8>,
}

impl<'s, 'o> Fields<'s, 'o> {
    const fn new(schema: &'s Schema, of: &'s RecordType, out: &'o mut Vec<u8>) -> Self {
        Self { schema, of, next: 0, early: Vec::new(), out }
    }

    fn field<T: Serialize + ?Sized>(&mut self, name: &str, value: &T) -> Wrote {
        let write = |id: NodeId, out: &mut Vec<u8>| {
            value.serialize(Writer::at(self.schema, id, out)).map_err(|error| error.within(name))
        };
        match self.of.fields.get(self.next) {
            Some(field) if field.name == name => {
                write(field.schema, self.out)?;
                self.next += 1;
            }
            _ => {
                let at = self.of.fields.iter().position(|field| field.name == name);
                let at = at.filter(|at| *at > self.next && self.early.iter().all(|(known, _)| known != at));
                let at = at.ok_or_else(|| Misfit::new("the schema has no such field").within(name))?;
                let mut bytes = Vec::new();
                write(self.of.fields[at].schema, &mut bytes)?;
                self.early.push((at, bytes));
            }
        }
        if !self.early.is_empty() {
            self.catch_up();
        }
        Ok(())
    }

    fn catch_up(&mut self) {
        while let Some(at) = self.early.iter().position(|(at, _)| *at == self.next) {
            self.out.extend(self.early.swap_remove(at).1);
            self.next += 1;
        }
    }

    /// What the type has no field for takes the schema's default.
    fn finish(mut self) -> Wrote {
        while let Some(field) = self.of.fields.get(self.next) {
            let Some(default) = &field.default else {
                return Err(Misfit::new("the service's type has no such field, and the schema no default")
                    .within(&field.name));
            };
            json::encode(self.schema, field.schema, default, self.out)?;
            self.next += 1;
            self.catch_up();
        }
        Ok(())
    }
}

impl SerializeStruct for Fields<'_, '_> {
    type Ok = ();
    type Error = Misfit;

    fn serialize_field<T: Serialize + ?Sized>(&mut self, key: &'static str, value: &T) -> Wrote {
        self.field(key, value)
    }

    fn end(self) -> Wrote {
        self.finish()
    }
}

impl SerializeStructVariant for Fields<'_, '_> {
    type Ok = ();
    type Error = Misfit;

    fn serialize_field<T: Serialize + ?Sized>(&mut self, key: &'static str, value: &T) -> Wrote {
        self.field(key, value)
    }

    fn end(self) -> Wrote {
        self.finish()
    }
}
