//! How a datum of one schema becomes a value of another: settled once a pair of schemas.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};

use caracal_kafka_contract::schema::{Kind, Logical, NodeId, RecordType, Resolver, Schema};

use super::{Misfit, json};

/// Which two schemas a part of a plan is about: a part that is skipped or a default has one only.
#[derive(Clone, Copy, Eq, Hash, PartialEq)]
enum Pair {
    Both,
    Writer,
    Reader,
}

/// A resolved pair of schemas.
#[derive(Debug)]
pub(crate) struct ReadPlan {
    pub(super) nodes: Vec<Node>,
    pub(super) root: usize,
}

/// The type that a reader sees a number as.
#[derive(Clone, Copy, Debug)]
pub(super) enum Number {
    I32,
    I64,
    F32,
    F64,
}

#[derive(Debug)]
pub(super) enum Node {
    Null,
    Boolean,
    Int(Number),
    Long(Number),
    Float(Number),
    Double,
    Bytes,
    Fixed(usize),
    Text {
        uuid: bool,
    },
    /// The reader's symbol for each of the writer's.
    Enum(Box<[Box<str>]>),
    Array {
        items: usize,
        size: usize,
    },
    Map {
        values: usize,
        size: usize,
    },
    Record(Record),
    /// The writer's branches.
    Union(Box<[usize]>),
    /// A branch of the reader's union, and its number among those that are not null.
    Branch {
        kind: Box<Kind>,
        number: usize,
        node: usize,
    },
}

#[derive(Debug)]
pub(super) struct Record {
    pub(super) steps: Box<[Step]>,
    /// The address of a type's list of field names that is known to be the steps' own.
    same: AtomicUsize,
}

#[derive(Debug)]
pub(super) enum Step {
    Read {
        name: Box<str>,
        node: usize,
    },
    /// The reader has no such field.
    Skip {
        node: usize,
    },
    /// The writer had no such field.
    Default {
        name: Box<str>,
        node: usize,
        bytes: Box<[u8]>,
    },
}

impl Record {
    /// Whether a type has exactly the fields that are read, in their order: then names need not be looked at.
    pub(super) fn is_in_order(&self, fields: &'static [&'static str]) -> bool {
        let address = fields.as_ptr() as usize;
        if fields.len() != self.steps.len() {
            return false;
        }
        if self.same.load(Ordering::Relaxed) == address {
            return true;
        }
        let same = self.steps.iter().zip(fields).all(|(step, field)| match step {
            Step::Read { name, .. } | Step::Default { name, .. } => **name == **field,
            Step::Skip { .. } => false,
        });
        if same {
            self.same.store(address, Ordering::Relaxed);
        }
        same
    }
}

impl ReadPlan {
    /// Resolves what `writer` wrote to what `reader` reads (specification, "Schema Resolution").
    ///
    /// # Errors
    /// The two do not fit; the incompatibilities, with their places.
    pub(crate) fn new(reader: &Schema, writer: &Schema) -> Result<Self, String> {
        let found = Resolver::new(reader, writer).incompatibilities().map_err(|error| error.to_string())?;
        if !found.is_empty() {
            let found: Vec<String> = found.iter().map(ToString::to_string).collect();
            return Err(found.join("; "));
        }
        let mut builder = Builder { reader, writer, nodes: Vec::new(), known: HashMap::new() };
        let root =
            builder.pair(Pair::Both, reader.root(), writer.root()).map_err(|error| error.to_string())?;
        let mut plan = Self { nodes: builder.nodes, root };
        plan.measure();
        Ok(plan)
    }

    /// What an item of each array and map takes in memory, about.
    fn measure(&mut self) {
        let mut known = vec![None; self.nodes.len()];
        for at in 0..self.nodes.len() {
            let (Node::Array { items: part, .. } | Node::Map { values: part, .. }) = self.nodes[at] else {
                continue;
            };
            let measured = self.size(part, &mut known);
            match &mut self.nodes[at] {
                Node::Array { size, .. } => *size = measured,
                // A key, and what a table leaves empty.
                Node::Map { size, .. } => *size = 2 * (TEXT + measured),
                _ => {}
            }
        }
    }

    fn size(&self, node: usize, known: &mut [Option<usize>]) -> usize {
        if let Some(known) = known[node] {
            return known;
        }
        // A type that holds itself does so behind a pointer.
        known[node] = Some(POINTER);
        let mut part = |node: usize| self.size(node, known);
        let size = match &self.nodes[node] {
            Node::Null | Node::Boolean => 1,
            Node::Int(_) | Node::Long(_) | Node::Float(_) | Node::Double => POINTER,
            Node::Bytes | Node::Text { .. } | Node::Array { .. } => TEXT,
            Node::Map { .. } => 2 * TEXT,
            Node::Fixed(size) => TEXT + size,
            Node::Enum(symbols) => TEXT + symbols.iter().map(|symbol| symbol.len()).max().unwrap_or_default(),
            Node::Record(record) => {
                let steps = record.steps.iter().map(|step| match step {
                    Step::Read { node, .. } => part(*node),
                    Step::Skip { .. } => 0,
                    Step::Default { node, bytes, .. } => part(*node).saturating_add(bytes.len() * TEXT),
                });
                steps.fold(0, usize::saturating_add)
            }
            Node::Union(branches) => {
                let largest = branches.iter().map(|node| part(*node)).max();
                largest.unwrap_or_default().saturating_add(POINTER)
            }
            Node::Branch { node, .. } => part(*node),
        }
        .clamp(1, LARGEST);
        known[node] = Some(size);
        size
    }
}

const POINTER: usize = 8;
const TEXT: usize = 24;
/// No type of a service is near this.
const LARGEST: usize = 1 << 20;

struct Builder<'s> {
    reader: &'s Schema,
    writer: &'s Schema,
    nodes: Vec<Node>,
    known: HashMap<(Pair, NodeId, NodeId), usize>,
}

impl<'s> Builder<'s> {
    fn schemas(&self, pair: Pair) -> (&'s Schema, &'s Schema) {
        match pair {
            Pair::Both => (self.reader, self.writer),
            Pair::Writer => (self.writer, self.writer),
            Pair::Reader => (self.reader, self.reader),
        }
    }

    fn pair(&mut self, pair: Pair, ours: NodeId, theirs: NodeId) -> Result<usize, Misfit> {
        if let Some(known) = self.known.get(&(pair, ours, theirs)) {
            return Ok(*known);
        }
        // Taken before its parts, for a type may hold itself.
        let at = self.nodes.len();
        self.nodes.push(Node::Null);
        self.known.insert((pair, ours, theirs), at);
        self.nodes[at] = self.node(pair, ours, theirs)?;
        Ok(at)
    }

    fn node(&mut self, pair: Pair, ours: NodeId, theirs: NodeId) -> Result<Node, Misfit> {
        let (reader, writer) = self.schemas(pair);
        let (our, their) = (reader.node(ours), writer.node(theirs));
        Ok(match (&our.kind, &their.kind) {
            (_, Kind::Union(branches)) => {
                let parts = branches.iter().map(|branch| self.pair(pair, ours, *branch));
                Node::Union(parts.collect::<Result<_, _>>()?)
            }
            (Kind::Union(branches), _) => self.branch(pair, branches, theirs)?,
            (Kind::Null, Kind::Null) => Node::Null,
            (Kind::Boolean, Kind::Boolean) => Node::Boolean,
            (our_kind, Kind::Int) => Node::Int(number(our_kind)?),
            (our_kind, Kind::Long) => Node::Long(number(our_kind)?),
            (our_kind, Kind::Float) => Node::Float(number(our_kind)?),
            (Kind::Double, Kind::Double) => Node::Double,
            (Kind::Bytes, Kind::Bytes | Kind::String) => Node::Bytes,
            (Kind::String, Kind::Bytes | Kind::String) => {
                Node::Text { uuid: our.logical == Some(Logical::Uuid) }
            }
            (Kind::Fixed(_), Kind::Fixed(of)) => Node::Fixed(of.size),
            (Kind::Enum(our), Kind::Enum(their)) => {
                let symbol = |theirs: &String| {
                    let known = our.symbols.iter().find(|symbol| *symbol == theirs);
                    known.or(our.default.as_ref()).map(|symbol| symbol.as_str().into()).ok_or_else(unfit)
                };
                Node::Enum(their.symbols.iter().map(symbol).collect::<Result<_, _>>()?)
            }
            (Kind::Array(our), Kind::Array(their)) => {
                Node::Array { items: self.pair(pair, *our, *their)?, size: 0 }
            }
            (Kind::Map(our), Kind::Map(their)) => {
                Node::Map { values: self.pair(pair, *our, *their)?, size: 0 }
            }
            (Kind::Record(our), Kind::Record(their)) => self.record(pair, our, their)?,
            _ => return Err(unfit()),
        })
    }

    fn branch(&mut self, pair: Pair, branches: &[NodeId], theirs: NodeId) -> Result<Node, Misfit> {
        let (reader, writer) = self.schemas(pair);
        let found = Resolver::new(reader, writer).branch(branches, theirs);
        let at = found.map_err(|error| Misfit::new(error.to_string()))?.ok_or_else(unfit)?;
        let kind = |id: &NodeId| &reader.node(*id).kind;
        let chosen = kind(&branches[at]);
        let number = branches[..at].iter().filter(|branch| !matches!(kind(branch), Kind::Null)).count();
        let node = self.pair(pair, branches[at], theirs)?;
        Ok(Node::Branch { kind: Box::new(chosen.clone()), number, node })
    }

    fn record(&mut self, pair: Pair, ours: &RecordType, theirs: &RecordType) -> Result<Node, Misfit> {
        let mut steps = Vec::with_capacity(theirs.fields.len());
        let mut sources = vec![None; theirs.fields.len()];
        let mut absent = Vec::new();
        for (number, field) in ours.fields.iter().enumerate() {
            match Resolver::field(ours, theirs, number).map_err(|_| unfit())? {
                Some(at) => sources[at] = Some(field),
                None => absent.push(field),
            }
        }
        for (theirs, source) in theirs.fields.iter().zip(sources) {
            steps.push(match source {
                Some(ours) => Step::Read {
                    name: ours.name.as_str().into(),
                    node: self.pair(pair, ours.schema, theirs.schema)?,
                },
                None => {
                    let alone = if pair == Pair::Reader { Pair::Reader } else { Pair::Writer };
                    Step::Skip { node: self.pair(alone, theirs.schema, theirs.schema)? }
                }
            });
        }
        let (reader, _) = self.schemas(pair);
        for field in absent {
            let default = field.default.as_ref().ok_or_else(unfit)?;
            let mut bytes = Vec::new();
            json::encode(reader, field.schema, default, &mut bytes)?;
            let alone = if pair == Pair::Writer { Pair::Writer } else { Pair::Reader };
            let node = self.pair(alone, field.schema, field.schema)?;
            steps.push(Step::Default { name: field.name.as_str().into(), node, bytes: bytes.into() });
        }
        Ok(Node::Record(Record { steps: steps.into(), same: AtomicUsize::new(0) }))
    }
}

fn number(reader: &Kind) -> Result<Number, Misfit> {
    match reader {
        Kind::Int => Ok(Number::I32),
        Kind::Long => Ok(Number::I64),
        Kind::Float => Ok(Number::F32),
        Kind::Double => Ok(Number::F64),
        _ => Err(unfit()),
    }
}

fn unfit() -> Misfit {
    Misfit::new("the two schemas do not fit")
}
