//! From a datum to a service's type, by a plan. Memory is charged before it is taken, and nothing is
//! followed deeper than [`DEPTH`].

use caracal_kafka_contract::schema::Kind;
use serde::de::value::{SeqDeserializer, StrDeserializer, U64Deserializer};
use serde::de::{
    DeserializeOwned, DeserializeSeed, EnumAccess, IntoDeserializer as _, MapAccess, SeqAccess,
    VariantAccess, Visitor,
};

use super::plan::{Node, Number, ReadPlan, Record, Step};
use super::{Misfit, names_branch};
use crate::events::Uuid;

/// Levels of records, arrays and maps within each other.
const DEPTH: u16 = 128;

/// What the values of any datum may take in memory, by the estimate of the plan.
const ALLOWANCE: usize = 20 << 20;

/// What they may take for each byte of a large datum.
const A_BYTE: usize = 8;

impl ReadPlan {
    /// Reads one value, which has to use all of `datum`.
    ///
    /// # Errors
    /// The datum is not one of the writer's schema, asks for more memory than a datum of its size may, or
    /// holds a value that the type has no place for.
    pub(crate) fn decode<T: DeserializeOwned>(&self, datum: &[u8]) -> Result<T, Misfit> {
        let allowance = ALLOWANCE.max(datum.len().saturating_mul(A_BYTE));
        let mut input = Input { rest: datum, allowance, depth: 0 };
        let value = T::deserialize(Reader { plan: self, node: self.root, input: &mut input })?;
        if input.rest.is_empty() {
            Ok(value)
        } else {
            Err(Misfit::new(format!("{} bytes are left over behind it", input.rest.len())))
        }
    }
}

struct Input<'d> {
    rest: &'d [u8],
    allowance: usize,
    depth: u16,
}

#[cold]
fn ends() -> Misfit {
    Misfit::new("the bytes end before the value does")
}

impl<'d> Input<'d> {
    #[inline]
    fn take(&mut self, size: usize) -> Result<&'d [u8], Misfit> {
        let (taken, rest) = self.rest.split_at_checked(size).ok_or_else(ends)?;
        self.rest = rest;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], Misfit> {
        let (taken, rest) = self.rest.split_first_chunk().ok_or_else(ends)?;
        self.rest = rest;
        Ok(*taken)
    }

    #[inline]
    fn long(&mut self) -> Result<i64, Misfit> {
        // Most lengths and branches take one byte.
        match self.rest {
            [byte, rest @ ..] if *byte < 0x80 => {
                self.rest = rest;
                Ok(i64::from(byte >> 1) ^ -i64::from(byte & 1))
            }
            _ => self.longer(),
        }
    }

    fn longer(&mut self) -> Result<i64, Misfit> {
        let mut value = 0_u64;
        for (at, byte) in self.rest.iter().enumerate() {
            if at == 9 && *byte > 1 {
                break;
            }
            value |= u64::from(byte & 0x7f) << (7 * at);
            if *byte < 0x80 {
                self.rest = &self.rest[at + 1..];
                return Ok((value >> 1).cast_signed() ^ -(value & 1).cast_signed());
            }
        }
        Err(if self.rest.len() > 9 { Misfit::new("a number is longer than 64 bits") } else { ends() })
    }

    fn int(&mut self) -> Result<i32, Misfit> {
        i32::try_from(self.long()?).map_err(|_| Misfit::new("a number is longer than 32 bits"))
    }

    #[inline]
    fn size(&mut self) -> Result<usize, Misfit> {
        usize::try_from(self.long()?).map_err(|_| Misfit::new("a length is below zero"))
    }

    #[inline]
    fn bytes(&mut self) -> Result<&'d [u8], Misfit> {
        let size = self.size()?;
        self.take(size)
    }

    #[inline]
    fn text(&mut self) -> Result<&'d str, Misfit> {
        std::str::from_utf8(self.bytes()?).map_err(|_| Misfit::new("a text is not UTF-8"))
    }

    fn boolean(&mut self) -> Result<bool, Misfit> {
        match self.array()? {
            [0] => Ok(false),
            [1] => Ok(true),
            [_] => Err(Misfit::new("a truth value is neither 0 nor 1")),
        }
    }

    fn charge(&mut self, items: usize, size: usize) -> Result<(), Misfit> {
        let left = items.checked_mul(size).and_then(|cost| self.allowance.checked_sub(cost));
        self.allowance = left
            .ok_or_else(|| Misfit::new("its values would take more memory than a record of its size may"))?;
        Ok(())
    }

    /// Items of the next block; none is the end.
    fn block(&mut self, size: usize) -> Result<usize, Misfit> {
        let count = self.long()?;
        if count < 0 {
            // The block's size, for those who skip it.
            self.size()?;
        }
        let count = usize::try_from(count.unsigned_abs()).map_err(|_| Misfit::new("a block is too long"))?;
        self.charge(count, size)?;
        Ok(count)
    }

    #[inline]
    fn choice(&mut self, of: usize) -> Result<usize, Misfit> {
        let at = self.size()?;
        if at < of {
            Ok(at)
        } else {
            Err(Misfit::new("the number of a branch or symbol is not in the schema"))
        }
    }

    #[inline]
    fn descend(&mut self) -> Result<(), Misfit> {
        self.depth += 1;
        if self.depth > DEPTH { Err(Misfit::new("it is nested too deeply")) } else { Ok(()) }
    }
}

/// Reads one value.
struct Reader<'i, 'd> {
    plan: &'d ReadPlan,
    node: usize,
    input: &'i mut Input<'d>,
}

impl<'i, 'd> Reader<'i, 'd> {
    #[inline]
    fn node(&self) -> &'d Node {
        &self.plan.nodes[self.node]
    }

    #[inline]
    fn to(self, node: usize) -> Self {
        Self { node, ..self }
    }

    /// Behind the writer's union.
    #[inline]
    fn settled(self) -> Result<Self, Misfit> {
        let mut this = self;
        while let Node::Union(branches) = this.node() {
            let at = this.input.choice(branches.len())?;
            this = this.to(branches[at]);
        }
        Ok(this)
    }

    /// Behind the reader's union too.
    #[inline]
    fn bare(self) -> Result<Self, Misfit> {
        match self.node() {
            Node::Branch { node, .. } => Ok(self.to(*node)),
            Node::Union(_) => self.chosen(),
            _ => Ok(self),
        }
    }

    fn chosen(self) -> Result<Self, Misfit> {
        let settled = self.settled()?;
        match settled.node() {
            Node::Branch { node, .. } => Ok(settled.to(*node)),
            _ => Ok(settled),
        }
    }

    fn symbol(&mut self, symbols: &'d [Box<str>]) -> Result<&'d str, Misfit> {
        let at = self.input.choice(symbols.len())?;
        Ok(&symbols[at])
    }

    fn skip(&mut self, node: usize) -> Result<(), Misfit> {
        match &self.plan.nodes[node] {
            Node::Null => {}
            Node::Boolean => drop(self.input.boolean()?),
            Node::Int(_) => drop(self.input.int()?),
            Node::Long(_) => drop(self.input.long()?),
            Node::Float(_) => drop(self.input.take(4)?),
            Node::Double => drop(self.input.take(8)?),
            Node::Bytes | Node::Text { .. } => drop(self.input.bytes()?),
            Node::Fixed(size) => drop(self.input.take(*size)?),
            Node::Enum(symbols) => drop(self.input.choice(symbols.len())?),
            Node::Array { items: part, size } | Node::Map { values: part, size } => {
                let keyed = matches!(self.plan.nodes[node], Node::Map { .. });
                self.input.descend()?;
                loop {
                    let count = self.input.block(*size)?;
                    if count == 0 {
                        break;
                    }
                    for _ in 0..count {
                        if keyed {
                            self.input.bytes()?;
                        }
                        self.skip(*part)?;
                    }
                }
                self.input.depth -= 1;
            }
            Node::Record(record) => {
                self.input.descend()?;
                for step in &record.steps {
                    match step {
                        Step::Read { node, .. } | Step::Skip { node } => self.skip(*node)?,
                        Step::Default { .. } => {}
                    }
                }
                self.input.depth -= 1;
            }
            Node::Union(branches) => {
                let at = self.input.choice(branches.len())?;
                self.skip(branches[at])?;
            }
            Node::Branch { node, .. } => self.skip(*node)?,
        }
        Ok(())
    }

    /// Has a container's visitor read it, one level deeper.
    fn deeper<R>(self, read: impl FnOnce(&mut Self) -> Result<R, Misfit>) -> Result<R, Misfit> {
        let mut this = self;
        this.input.descend()?;
        let read = read(&mut this)?;
        this.input.depth -= 1;
        Ok(read)
    }

    fn list<V: Visitor<'d>>(self, items: usize, size: usize, visitor: V) -> Result<V::Value, Misfit> {
        self.deeper(|this| {
            let mut blocks = Blocks::new(this, items, size);
            let value = visitor.visit_seq(&mut blocks)?;
            blocks.finish()?;
            Ok(value)
        })
    }

    fn map<V: Visitor<'d>>(self, values: usize, size: usize, visitor: V) -> Result<V::Value, Misfit> {
        self.deeper(|this| {
            let mut blocks = Blocks::new(this, values, size);
            let value = visitor.visit_map(&mut blocks)?;
            blocks.finish()?;
            Ok(value)
        })
    }

    fn record<V: Visitor<'d>>(
        self,
        record: &'d Record,
        fields: Option<&'static [&'static str]>,
        visitor: V,
    ) -> Result<V::Value, Misfit> {
        self.deeper(|this| {
            let mut steps = Steps { reader: this, steps: &record.steps, pending: None };
            if fields.is_some_and(|fields| record.is_in_order(fields)) {
                // Without a look at the names.
                let value = visitor.visit_seq(&mut steps)?;
                steps.finish()?;
                return Ok(value);
            }
            let value = visitor.visit_map(&mut steps)?;
            steps.finish()?;
            Ok(value)
        })
    }
}

macro_rules! as_any {
    ($($method:ident)*) => {$(
        fn $method<V: Visitor<'d>>(self, visitor: V) -> Result<V::Value, Misfit> {
            self.deserialize_any(visitor)
        }
    )*};
}

impl<'i, 'd> serde::Deserializer<'d> for Reader<'i, 'd> {
    type Error = Misfit;

    fn is_human_readable(&self) -> bool {
        false
    }

    as_any!(
        deserialize_bool deserialize_i8 deserialize_i16 deserialize_i32 deserialize_u8 deserialize_u16 deserialize_u32
        deserialize_u64 deserialize_f32 deserialize_f64 deserialize_char deserialize_unit deserialize_map
        deserialize_identifier
    );

    // What most fields are takes the short way.

    #[inline]
    fn deserialize_str<V: Visitor<'d>>(self, visitor: V) -> Result<V::Value, Misfit> {
        let this = self.bare()?;
        match this.node() {
            Node::Text { .. } => visitor.visit_borrowed_str(this.input.text()?),
            _ => this.deserialize_any(visitor),
        }
    }

    #[inline]
    fn deserialize_string<V: Visitor<'d>>(self, visitor: V) -> Result<V::Value, Misfit> {
        self.deserialize_str(visitor)
    }

    #[inline]
    fn deserialize_i64<V: Visitor<'d>>(self, visitor: V) -> Result<V::Value, Misfit> {
        match self.node() {
            Node::Long(Number::I64) => visitor.visit_i64(self.input.long()?),
            _ => self.deserialize_any(visitor),
        }
    }

    fn deserialize_any<V: Visitor<'d>>(self, visitor: V) -> Result<V::Value, Misfit> {
        let mut this = self.bare()?;
        match this.node() {
            Node::Null => visitor.visit_unit(),
            Node::Boolean => visitor.visit_bool(this.input.boolean()?),
            Node::Int(number) => {
                let value = this.input.int()?;
                match number {
                    Number::I32 => visitor.visit_i32(value),
                    Number::I64 => visitor.visit_i64(value.into()),
                    // Promoted as the specification has it, rounding included.
                    Number::F32 => visitor.visit_f32(value as f32),
                    Number::F64 => visitor.visit_f64(value.into()),
                }
            }
            Node::Long(number) => {
                let value = this.input.long()?;
                match number {
                    Number::F32 => visitor.visit_f32(value as f32),
                    Number::F64 => visitor.visit_f64(value as f64),
                    Number::I32 | Number::I64 => visitor.visit_i64(value),
                }
            }
            Node::Float(number) => {
                let value = f32::from_le_bytes(this.input.array()?);
                match number {
                    Number::F64 => visitor.visit_f64(value.into()),
                    _ => visitor.visit_f32(value),
                }
            }
            Node::Double => visitor.visit_f64(f64::from_le_bytes(this.input.array()?)),
            Node::Bytes => visitor.visit_borrowed_bytes(this.input.bytes()?),
            Node::Fixed(size) => visitor.visit_borrowed_bytes(this.input.take(*size)?),
            Node::Text { .. } => visitor.visit_borrowed_str(this.input.text()?),
            Node::Enum(symbols) => visitor.visit_borrowed_str(this.symbol(symbols)?),
            Node::Array { items, size } => this.list(*items, *size, visitor),
            Node::Map { values, size } => this.map(*values, *size, visitor),
            Node::Record(record) => this.record(record, None, visitor),
            Node::Union(_) | Node::Branch { .. } => Err(Misfit::new("a union in a union")),
        }
    }

    fn deserialize_option<V: Visitor<'d>>(self, visitor: V) -> Result<V::Value, Misfit> {
        let this = self.settled()?;
        let null = match this.node() {
            Node::Branch { node, .. } => matches!(this.plan.nodes[*node], Node::Null),
            node => matches!(node, Node::Null),
        };
        if null { visitor.visit_none() } else { visitor.visit_some(this) }
    }

    fn deserialize_bytes<V: Visitor<'d>>(self, visitor: V) -> Result<V::Value, Misfit> {
        let this = self.bare()?;
        match this.node() {
            Node::Text { uuid: true } => {
                let id: Uuid = this.input.text()?.parse().map_err(|_| Misfit::new("a text is no UUID"))?;
                visitor.visit_bytes(id.as_bytes())
            }
            _ => this.deserialize_any(visitor),
        }
    }

    fn deserialize_byte_buf<V: Visitor<'d>>(self, visitor: V) -> Result<V::Value, Misfit> {
        self.deserialize_bytes(visitor)
    }

    fn deserialize_unit_struct<V: Visitor<'d>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value, Misfit> {
        let this = self.bare()?;
        match this.node() {
            Node::Record(_) => {
                let node = this.node;
                let mut this = this;
                this.skip(node)?;
                visitor.visit_unit()
            }
            _ => this.deserialize_any(visitor),
        }
    }

    fn deserialize_newtype_struct<V: Visitor<'d>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value, Misfit> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_seq<V: Visitor<'d>>(self, visitor: V) -> Result<V::Value, Misfit> {
        let this = self.bare()?;
        // Bytes, for types that take them one by one.
        let bytes = match this.node() {
            Node::Bytes => this.input.bytes()?,
            Node::Fixed(size) => this.input.take(*size)?,
            _ => return this.deserialize_any(visitor),
        };
        visitor.visit_seq(SeqDeserializer::new(bytes.iter().copied()))
    }

    fn deserialize_tuple<V: Visitor<'d>>(self, _: usize, visitor: V) -> Result<V::Value, Misfit> {
        self.deserialize_seq(visitor)
    }

    fn deserialize_tuple_struct<V: Visitor<'d>>(
        self,
        _: &'static str,
        _: usize,
        visitor: V,
    ) -> Result<V::Value, Misfit> {
        self.deserialize_seq(visitor)
    }

    fn deserialize_struct<V: Visitor<'d>>(
        self,
        _: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Misfit> {
        let this = self.bare()?;
        match this.node() {
            Node::Record(record) => this.record(record, Some(fields), visitor),
            _ => this.deserialize_any(visitor),
        }
    }

    fn deserialize_enum<V: Visitor<'d>>(
        self,
        _: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Misfit> {
        let mut this = self.settled()?;
        match this.node() {
            Node::Enum(symbols) => {
                let symbol: StrDeserializer<'_, Misfit> = this.symbol(symbols)?.into_deserializer();
                visitor.visit_enum(symbol)
            }
            Node::Text { .. } => {
                let text: StrDeserializer<'_, Misfit> = this.input.text()?.into_deserializer();
                visitor.visit_enum(text)
            }
            Node::Branch { kind, number, node, .. } => {
                let named = variants.iter().find(|variant| names_branch(variant, kind));
                let symbol = matches!((&**kind, named), (Kind::Enum(_), None));
                // An enumeration within a union, as `Option<State>` is.
                if symbol {
                    return this.to(*node).deserialize_enum("", variants, visitor);
                }
                visitor.visit_enum(Variant { named: named.copied(), number: *number, reader: this.to(*node) })
            }
            _ => Err(Misfit::new("the schema has no union where the service's type has an enumeration")),
        }
    }

    fn deserialize_ignored_any<V: Visitor<'d>>(self, visitor: V) -> Result<V::Value, Misfit> {
        let mut this = self;
        this.skip(this.node)?;
        visitor.visit_unit()
    }
}

/// The items of an array, or the entries of a map.
struct Blocks<'r, 'i, 'd> {
    reader: &'r mut Reader<'i, 'd>,
    part: usize,
    size: usize,
    /// Of this block.
    left: usize,
    ended: bool,
}

impl<'r, 'i, 'd> Blocks<'r, 'i, 'd> {
    const fn new(reader: &'r mut Reader<'i, 'd>, part: usize, size: usize) -> Self {
        Self { reader, part, size, left: 0, ended: false }
    }

    fn advance(&mut self) -> Result<bool, Misfit> {
        if self.left == 0 && !self.ended {
            self.left = self.reader.input.block(self.size)?;
            self.ended = self.left == 0;
        }
        if self.ended {
            return Ok(false);
        }
        self.left -= 1;
        Ok(true)
    }

    fn part(&mut self) -> Reader<'_, 'd> {
        Reader { plan: self.reader.plan, node: self.part, input: self.reader.input }
    }

    /// A visitor that takes a fixed number of items leaves the end behind.
    fn finish(mut self) -> Result<(), Misfit> {
        if self.advance()? {
            Err(Misfit::new("there are more items than the service's type takes"))
        } else {
            Ok(())
        }
    }
}

impl<'d> SeqAccess<'d> for &mut Blocks<'_, '_, 'd> {
    type Error = Misfit;

    fn next_element_seed<T: DeserializeSeed<'d>>(&mut self, seed: T) -> Result<Option<T::Value>, Misfit> {
        if self.advance()? { seed.deserialize(self.part()).map(Some) } else { Ok(None) }
    }

    fn size_hint(&self) -> Option<usize> {
        Some(self.left)
    }
}

impl<'d> MapAccess<'d> for &mut Blocks<'_, '_, 'd> {
    type Error = Misfit;

    fn next_key_seed<K: DeserializeSeed<'d>>(&mut self, seed: K) -> Result<Option<K::Value>, Misfit> {
        if !self.advance()? {
            return Ok(None);
        }
        let key = self.reader.input.text()?;
        seed.deserialize(serde::de::value::BorrowedStrDeserializer::new(key)).map(Some)
    }

    fn next_value_seed<V: DeserializeSeed<'d>>(&mut self, seed: V) -> Result<V::Value, Misfit> {
        seed.deserialize(self.part())
    }
}

/// The fields of a record.
struct Steps<'r, 'i, 'd> {
    reader: &'r mut Reader<'i, 'd>,
    steps: &'d [Step],
    /// Its name was asked for, its value not yet.
    pending: Option<&'d Step>,
}

impl<'d> Steps<'_, '_, 'd> {
    /// The next step that the reader sees.
    fn advance(&mut self) -> Result<Option<&'d Step>, Misfit> {
        while let Some((step, rest)) = self.steps.split_first() {
            self.steps = rest;
            match step {
                Step::Skip { node } => self.reader.skip(*node)?,
                Step::Read { .. } | Step::Default { .. } => return Ok(Some(step)),
            }
        }
        Ok(None)
    }

    fn value<T: DeserializeSeed<'d>>(&mut self, step: &'d Step, seed: T) -> Result<T::Value, Misfit> {
        let plan = self.reader.plan;
        match step {
            Step::Read { name, node } | Step::Default { name, node, bytes: _ } => {
                let read = match step {
                    Step::Default { bytes, .. } => {
                        let (allowance, depth) = (self.reader.input.allowance, self.reader.input.depth);
                        let mut input = Input { rest: bytes, allowance, depth };
                        seed.deserialize(Reader { plan, node: *node, input: &mut input })
                    }
                    _ => seed.deserialize(Reader { plan, node: *node, input: self.reader.input }),
                };
                read.map_err(|error| error.within(name))
            }
            Step::Skip { .. } => Err(Misfit::new("a field that is skipped has no value")),
        }
    }

    /// What a visitor did not ask for.
    fn finish(mut self) -> Result<(), Misfit> {
        while let Some(step) = self.advance()? {
            if let Step::Read { node, .. } = step {
                self.reader.skip(*node)?;
            }
        }
        Ok(())
    }
}

impl<'d> SeqAccess<'d> for &mut Steps<'_, '_, 'd> {
    type Error = Misfit;

    fn next_element_seed<T: DeserializeSeed<'d>>(&mut self, seed: T) -> Result<Option<T::Value>, Misfit> {
        match self.advance()? {
            Some(step) => self.value(step, seed).map(Some),
            None => Ok(None),
        }
    }
}

impl<'d> MapAccess<'d> for &mut Steps<'_, '_, 'd> {
    type Error = Misfit;

    fn next_key_seed<K: DeserializeSeed<'d>>(&mut self, seed: K) -> Result<Option<K::Value>, Misfit> {
        let Some(step) = self.advance()? else { return Ok(None) };
        self.pending = Some(step);
        match step {
            Step::Read { name, .. } | Step::Default { name, .. } => {
                seed.deserialize(serde::de::value::BorrowedStrDeserializer::new(name)).map(Some)
            }
            Step::Skip { .. } => Ok(None),
        }
    }

    fn next_value_seed<V: DeserializeSeed<'d>>(&mut self, seed: V) -> Result<V::Value, Misfit> {
        let step = self.pending.take().ok_or_else(|| Misfit::new("a value was asked for before its name"))?;
        self.value(step, seed)
    }
}

/// A branch of a union as a variant of the service's enumeration.
struct Variant<'i, 'd> {
    named: Option<&'static str>,
    number: usize,
    reader: Reader<'i, 'd>,
}

impl<'i, 'd> EnumAccess<'d> for Variant<'i, 'd> {
    type Error = Misfit;
    type Variant = Reader<'i, 'd>;

    fn variant_seed<V: DeserializeSeed<'d>>(self, seed: V) -> Result<(V::Value, Reader<'i, 'd>), Misfit> {
        let variant = match self.named {
            Some(name) => seed.deserialize(StrDeserializer::<Misfit>::new(name))?,
            None => seed.deserialize(U64Deserializer::<Misfit>::new(self.number as u64))?,
        };
        Ok((variant, self.reader))
    }
}

impl<'d> VariantAccess<'d> for Reader<'_, 'd> {
    type Error = Misfit;

    fn unit_variant(self) -> Result<(), Misfit> {
        let mut this = self;
        this.skip(this.node)
    }

    fn newtype_variant_seed<T: DeserializeSeed<'d>>(self, seed: T) -> Result<T::Value, Misfit> {
        seed.deserialize(self)
    }

    fn tuple_variant<V: Visitor<'d>>(self, len: usize, visitor: V) -> Result<V::Value, Misfit> {
        serde::Deserializer::deserialize_tuple(self, len, visitor)
    }

    fn struct_variant<V: Visitor<'d>>(
        self,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Misfit> {
        serde::Deserializer::deserialize_struct(self, "", fields, visitor)
    }
}
