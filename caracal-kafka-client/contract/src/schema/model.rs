//! A schema as a graph: names are resolved, so a recursive type is a cycle.

use serde_json::Value;

/// An Avro schema. Cheap to walk, immutable.
#[derive(Clone, Debug, PartialEq)]
pub struct Schema {
    pub(super) nodes: Vec<Node>,
    pub(super) root: NodeId,
}

impl Schema {
    /// The outermost type.
    pub const fn root(&self) -> NodeId {
        self.root
    }

    /// The type behind an id of this very schema.
    ///
    /// # Panics
    /// On an id of another schema that has more types.
    pub fn node(&self, id: NodeId) -> &Node {
        &self.nodes[id.0]
    }

    /// How many types it has, each named one counted once.
    pub const fn len(&self) -> usize {
        self.nodes.len()
    }

    /// Never: a schema has at least its root.
    pub const fn is_empty(&self) -> bool {
        self.nodes.is_empty()
    }

    /// The full name of the outermost type, where it has one.
    pub fn name(&self) -> Option<&Name> {
        self.node(self.root).kind.name()
    }
}

/// A type's place in its [`Schema`].
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct NodeId(pub(super) usize);

impl NodeId {
    /// Its number, below [`Schema::len`].
    pub const fn index(self) -> usize {
        self.0
    }
}

/// One type.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Node {
    /// What its bytes are.
    pub kind: Kind,
    /// What they mean beyond that, where this crate knows it.
    pub logical: Option<Logical>,
}

/// The types of the specification.
#[derive(Clone, Debug, PartialEq)]
#[expect(missing_docs, reason = "the names are the specification's")]
#[expect(clippy::exhaustive_enums, reason = "Avro has had these fourteen since 2009")]
pub enum Kind {
    Null,
    Boolean,
    Int,
    Long,
    Float,
    Double,
    Bytes,
    String,
    Array(NodeId),
    Map(NodeId),
    Union(Vec<NodeId>),
    Fixed(FixedType),
    Enum(EnumType),
    Record(RecordType),
}

impl Kind {
    /// The specification's word for it.
    pub const fn word(&self) -> &'static str {
        match self {
            Self::Null => "null",
            Self::Boolean => "boolean",
            Self::Int => "int",
            Self::Long => "long",
            Self::Float => "float",
            Self::Double => "double",
            Self::Bytes => "bytes",
            Self::String => "string",
            Self::Array(_) => "array",
            Self::Map(_) => "map",
            Self::Union(_) => "union",
            Self::Fixed(_) => "fixed",
            Self::Enum(_) => "enum",
            Self::Record(_) => "record",
        }
    }

    /// The name, of those that have one.
    pub const fn name(&self) -> Option<&Name> {
        match self {
            Self::Fixed(FixedType { name, .. })
            | Self::Enum(EnumType { name, .. })
            | Self::Record(RecordType { name, .. }) => Some(name),
            _ => None,
        }
    }
}

/// Name of a record, an enumeration or a fixed.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct Name {
    /// With its namespace, for example `caracal.events.MeteringEvent`.
    pub full: String,
    /// Older names, in full.
    pub aliases: Vec<String>,
}

impl Name {
    /// Without its namespace.
    pub fn short(&self) -> &str {
        self.full.rsplit('.').next().unwrap_or(&self.full)
    }
}

/// A fixed number of bytes.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct FixedType {
    /// Its name.
    pub name: Name,
    /// In bytes.
    pub size: usize,
}

/// An enumeration.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct EnumType {
    /// Its name.
    pub name: Name,
    /// Its symbols, by their number on the wire.
    pub symbols: Vec<String>,
    /// What a reader sees in place of a symbol that it does not know.
    pub default: Option<String>,
}

/// A record.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct RecordType {
    /// Its name.
    pub name: Name,
    /// Its fields, in the order of the wire.
    pub fields: Vec<Field>,
}

/// A field of a record.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Field {
    /// Its name.
    pub name: String,
    /// Older names.
    pub aliases: Vec<String>,
    /// Its type.
    pub schema: NodeId,
    /// What a reader takes when the writer had no such field.
    pub default: Option<Value>,
}

/// Logical types that change what a number means. One that a reader does not know, or that its
/// type cannot have, does not count (specification, "Logical Types").
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum Logical {
    /// A number of `precision` digits, of which `scale` stand behind the point.
    #[non_exhaustive]
    Decimal {
        /// Digits.
        precision: u64,
        /// Of those, behind the point.
        scale: u64,
    },
    /// A time or a date, by its logical type's name: `timestamp-millis`, `date`.
    Time(&'static str),
    /// A UUID, as text or as 16 bytes.
    Uuid,
}

impl Logical {
    /// What it is, for people.
    pub fn describe(&self) -> String {
        match self {
            Self::Decimal { precision, scale } => format!("decimal({precision}, {scale})"),
            Self::Time(name) => (*name).to_owned(),
            Self::Uuid => "uuid".to_owned(),
        }
    }
}
