//! Reader against writer: the specification's "Schema Resolution", every mismatch with its place.

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::rc::Rc;

use super::model::{EnumType, FixedType, Kind, Logical, Name, NodeId, RecordType, Schema};
use super::{Direction, SchemaError};

/// Pairs of types inside each other. No schema that people write comes near it.
const DEPTH_MAX: usize = 200;

/// One place where two versions do not get along.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct Incompatibility {
    /// Who reads what.
    pub direction: Direction,
    /// Which of the old versions, from 0 for the oldest.
    pub version: usize,
    /// The rule.
    pub rule: Rule,
    /// Where, as a JSON pointer (RFC 6901) into the *reader's* schema: the new version's, when the
    /// direction is backward. Behind a union of the writer's it goes on with the branch's number.
    pub path: String,
    /// What does not fit.
    pub what: String,
    /// What to do.
    pub next: &'static str,
}

impl fmt::Display for Incompatibility {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { direction, version, rule, path, what, next } = self;
        let path = if path.is_empty() { "the root" } else { path };
        write!(f, "{rule} at {path}: {what} ({direction}, old version {version}); {next}")
    }
}

/// What a reader needs. The texts are those of Avro's Java library, which registries show.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
#[non_exhaustive]
pub enum Rule {
    /// Two of the reader's fields claim one of the writer's, or one claims two, by their aliases.
    AmbiguousField,
    /// A field that the writer does not have needs a default.
    FieldWithoutDefault,
    /// Fixed types have the same size.
    FixedSize,
    /// Decimals have the same precision and scale, times the same unit. Java does not look.
    LogicalType,
    /// An enumeration knows each symbol of the writer's, or has a default.
    MissingSymbols,
    /// A union has a branch for each type that the writer may write.
    MissingUnionBranch,
    /// Records, enumerations and fixed types have the same name, or an alias for it.
    NameMismatch,
    /// The types are the same, or the writer's can be promoted.
    TypeMismatch,
}

impl Rule {
    /// Its name in Java, or one in that manner.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::AmbiguousField => "AMBIGUOUS_FIELD",
            Self::FieldWithoutDefault => "READER_FIELD_MISSING_DEFAULT_VALUE",
            Self::FixedSize => "FIXED_SIZE_MISMATCH",
            Self::LogicalType => "LOGICAL_TYPE_MISMATCH",
            Self::MissingSymbols => "MISSING_ENUM_SYMBOLS",
            Self::MissingUnionBranch => "MISSING_UNION_BRANCH",
            Self::NameMismatch => "NAME_MISMATCH",
            Self::TypeMismatch => "TYPE_MISMATCH",
        }
    }

    const fn next(self) -> &'static str {
        match self {
            Self::AmbiguousField => "drop the alias that is too much",
            Self::FieldWithoutDefault => "give the field a default",
            Self::FixedSize => "keep the size, or add a field of the new size beside it",
            Self::LogicalType => {
                "keep it, or add a field with the new one beside it: the bytes would be read as other values"
            }
            Self::MissingSymbols => {
                "keep the symbols, and give the enum a default so that later ones can be added"
            }
            Self::MissingUnionBranch => "keep the branch, or add one that reads it",
            Self::NameMismatch => "keep the name, or put the old one, in full, among the `aliases`",
            Self::TypeMismatch => {
                "keep the type, widen it (int to long, float or double; string to bytes and back), or add a field beside it"
            }
        }
    }
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Compares the types of a reader's schema with those of a writer's, each pair once.
#[derive(Debug)]
pub struct Resolver<'s> {
    reader: &'s Schema,
    writer: &'s Schema,
    /// `None` while the pair is being compared: a recursive type fits unless something else in it
    /// does not.
    known: HashMap<(NodeId, NodeId), Option<Rc<Outcome>>>,
}

/// What is wrong with one pair, and with the pairs in it.
#[derive(Debug, Default)]
struct Outcome {
    own: Vec<Incompatibility>,
    parts: Vec<Rc<Self>>,
    /// The bytes could not be read; otherwise they would be read as something else.
    unreadable: bool,
}

impl Outcome {
    fn found(path: &str, rule: Rule, what: String) -> Self {
        let mut outcome = Self::default();
        outcome.add(path, rule, what);
        outcome
    }

    fn add(&mut self, path: &str, rule: Rule, what: String) {
        self.unreadable |= rule != Rule::LogicalType;
        self.own.push(Incompatibility {
            direction: Direction::Backward,
            version: 0,
            rule,
            path: path.to_owned(),
            what,
            next: rule.next(),
        });
    }

    fn part(&mut self, part: Rc<Self>) {
        self.unreadable |= part.unreadable;
        self.parts.push(part);
    }

    /// Each pair's findings once, however often it occurs.
    fn flatten(self: &Rc<Self>, seen: &mut HashSet<*const Self>, into: &mut Vec<Incompatibility>) {
        if seen.insert(Rc::as_ptr(self)) {
            into.extend_from_slice(&self.own);
            for part in &self.parts {
                part.flatten(seen, into);
            }
        }
    }
}

type Compared = Result<Rc<Outcome>, SchemaError>;

impl<'s> Resolver<'s> {
    /// A resolver for this pair.
    pub fn new(reader: &'s Schema, writer: &'s Schema) -> Self {
        Self { reader, writer, known: HashMap::new() }
    }

    /// Everything that keeps the reader's schema from reading what the writer's wrote.
    ///
    /// # Errors
    /// [`SchemaError`]: types are nested deeper than 200 levels.
    pub fn incompatibilities(&mut self) -> Result<Vec<Incompatibility>, SchemaError> {
        let outcome = self.compare(self.reader.root(), self.writer.root(), "", 0)?;
        let mut found = Vec::new();
        outcome.flatten(&mut HashSet::new(), &mut found);
        Ok(found)
    }

    /// Which of a reader's union branches reads what the writer's type wrote: one of the same type
    /// and name before one of the same type, before one that it can be promoted to.
    ///
    /// # Errors
    /// As [`incompatibilities`](Self::incompatibilities).
    pub fn branch(&mut self, branches: &[NodeId], writer: NodeId) -> Result<Option<usize>, SchemaError> {
        self.branch_at(branches, writer, "", 0)
    }

    /// The number of the writer's field that a reader's field is read from.
    ///
    /// # Errors
    /// There is more than one, by aliases; their names.
    pub fn field(
        reader: &RecordType,
        writer: &RecordType,
        number: usize,
    ) -> Result<Option<usize>, Vec<String>> {
        let field = &reader.fields[number];
        let names = std::iter::once(&field.name).chain(&field.aliases);
        let mut found: Vec<usize> =
            names.filter_map(|name| writer.fields.iter().position(|field| field.name == *name)).collect();
        found.dedup();
        match found[..] {
            [] => Ok(None),
            [one] => Ok(Some(one)),
            _ => Err(found.into_iter().map(|at| writer.fields[at].name.clone()).collect()),
        }
    }

    fn compare(&mut self, reader: NodeId, writer: NodeId, path: &str, depth: usize) -> Compared {
        if depth > DEPTH_MAX {
            return Err(SchemaError::new(path, format!("types are nested deeper than {DEPTH_MAX} levels")));
        }
        match self.known.get(&(reader, writer)) {
            Some(Some(known)) => return Ok(Rc::clone(known)),
            Some(None) => return Ok(Rc::default()),
            None => {}
        }
        self.known.insert((reader, writer), None);
        let outcome = Rc::new(self.kinds(reader, writer, path, depth)?);
        self.known.insert((reader, writer), Some(Rc::clone(&outcome)));
        Ok(outcome)
    }

    fn kinds(
        &mut self,
        reader: NodeId,
        writer: NodeId,
        path: &str,
        depth: usize,
    ) -> Result<Outcome, SchemaError> {
        let (ours, theirs) = (self.reader.node(reader), self.writer.node(writer));
        let mut outcome = match (&ours.kind, &theirs.kind) {
            (_, Kind::Union(branches)) => {
                return self.writers_union(reader, branches, path, depth);
            }
            (Kind::Union(branches), _) => return self.readers_union(branches, writer, path, depth),
            (Kind::Array(ours), Kind::Array(theirs)) => {
                let part = self.compare(*ours, *theirs, &format!("{path}/items"), depth + 1)?;
                Outcome { unreadable: part.unreadable, parts: vec![part], own: vec![] }
            }
            (Kind::Map(ours), Kind::Map(theirs)) => {
                let part = self.compare(*ours, *theirs, &format!("{path}/values"), depth + 1)?;
                Outcome { unreadable: part.unreadable, parts: vec![part], own: vec![] }
            }
            (Kind::Fixed(ours), Kind::Fixed(theirs)) => fixed(ours, theirs, path),
            (Kind::Enum(ours), Kind::Enum(theirs)) => symbols(ours, theirs, path),
            (Kind::Record(ours), Kind::Record(theirs)) => self.records(ours, theirs, path, depth)?,
            (ours, theirs) if promotes(theirs, ours) => Outcome::default(),
            (ours, theirs) => {
                let what = format!("{} where the writer has {}", ours.word(), theirs.word());
                Outcome::found(path, Rule::TypeMismatch, what)
            }
        };
        if let (Some(ours), Some(theirs)) = (&ours.logical, &theirs.logical)
            && !outcome.unreadable
            && other_meaning(ours, theirs)
        {
            let what = format!("{} where the writer has {}", ours.describe(), theirs.describe());
            outcome.add(path, Rule::LogicalType, what);
        }
        Ok(outcome)
    }

    /// Each of the writer's branches has to be readable, for any may be written.
    fn writers_union(
        &mut self,
        reader: NodeId,
        branches: &[NodeId],
        path: &str,
        depth: usize,
    ) -> Result<Outcome, SchemaError> {
        let mut outcome = Outcome::default();
        let union = matches!(self.reader.node(reader).kind, Kind::Union(_));
        for (at, branch) in branches.iter().enumerate() {
            // A plain reader's own path is the place to look at; in a union it is the branch.
            let path = if union { format!("{path}/{at}") } else { path.to_owned() };
            outcome.part(self.compare(reader, *branch, &path, depth + 1)?);
        }
        Ok(outcome)
    }

    fn readers_union(
        &mut self,
        branches: &[NodeId],
        writer: NodeId,
        path: &str,
        depth: usize,
    ) -> Result<Outcome, SchemaError> {
        if let Some(at) = self.branch_at(branches, writer, path, depth)? {
            let mut outcome = Outcome::default();
            outcome.part(self.compare(branches[at], writer, &format!("{path}/{at}"), depth + 1)?);
            return Ok(outcome);
        }
        let theirs = &self.writer.node(writer).kind;
        let mut what = format!("no branch reads the writer's {}", describe(theirs));
        // Why the obvious one does not.
        for (at, branch) in branches.iter().enumerate() {
            let ours = &self.reader.node(*branch).kind;
            if ours.word() == theirs.word() {
                let part = self.compare(*branch, writer, &format!("{path}/{at}"), depth + 1)?;
                let mut found = Vec::new();
                part.flatten(&mut HashSet::new(), &mut found);
                if let Some(first) = found.first() {
                    what = format!("{what}: {} at {}, {}", first.rule, first.path, first.what);
                }
            }
        }
        Ok(Outcome::found(path, Rule::MissingUnionBranch, what))
    }

    fn branch_at(
        &mut self,
        branches: &[NodeId],
        writer: NodeId,
        path: &str,
        depth: usize,
    ) -> Result<Option<usize>, SchemaError> {
        let theirs = &self.writer.node(writer).kind;
        let mut best: Option<(u8, usize)> = None;
        for (at, branch) in branches.iter().enumerate() {
            let ours = &self.reader.node(*branch).kind;
            let rank = match (ours.name(), theirs.name()) {
                _ if ours.word() != theirs.word() => 2,
                (Some(ours), Some(theirs)) => u8::from(ours.full != theirs.full),
                _ => 0,
            };
            if best.is_none_or(|(found, _)| rank < found)
                && !self.compare(*branch, writer, &format!("{path}/{at}"), depth + 1)?.unreadable
            {
                best = Some((rank, at));
            }
        }
        Ok(best.map(|(_, at)| at))
    }

    fn records(
        &mut self,
        ours: &RecordType,
        theirs: &RecordType,
        path: &str,
        depth: usize,
    ) -> Result<Outcome, SchemaError> {
        let mut outcome = Outcome::default();
        names(&ours.name, &theirs.name, path, &mut outcome);
        let mut claimed = HashSet::new();
        for (at, field) in ours.fields.iter().enumerate() {
            let path = format!("{path}/fields/{at}");
            let name = &field.name;
            match Self::field(ours, theirs, at) {
                Ok(Some(from)) if claimed.insert(from) => {
                    let writer = theirs.fields[from].schema;
                    outcome.part(self.compare(field.schema, writer, &format!("{path}/type"), depth + 1)?);
                }
                Ok(Some(from)) => {
                    let what = format!(
                        "`{name}` and another field both take the writer's `{}`",
                        theirs.fields[from].name
                    );
                    outcome.add(&path, Rule::AmbiguousField, what);
                }
                Ok(None) if field.default.is_some() => {}
                Ok(None) => {
                    let what = format!("the writer has no `{name}`, and it has no default");
                    outcome.add(&path, Rule::FieldWithoutDefault, what);
                }
                Err(several) => {
                    let what = format!("`{name}` could be each of the writer's {}", several.join(", "));
                    outcome.add(&path, Rule::AmbiguousField, what);
                }
            }
        }
        Ok(outcome)
    }
}

fn describe(kind: &Kind) -> String {
    match kind.name() {
        Some(name) => format!("{} `{}`", kind.word(), name.full),
        None => kind.word().to_owned(),
    }
}

/// Names without their namespace, as the specification has it.
fn names(ours: &Name, theirs: &Name, path: &str, outcome: &mut Outcome) {
    if ours.short() != theirs.short() && !ours.aliases.contains(&theirs.full) {
        let what = format!("`{}` where the writer has `{}`", ours.full, theirs.full);
        outcome.add(&format!("{path}/name"), Rule::NameMismatch, what);
    }
}

fn fixed(ours: &FixedType, theirs: &FixedType, path: &str) -> Outcome {
    let mut outcome = Outcome::default();
    names(&ours.name, &theirs.name, path, &mut outcome);
    if ours.size != theirs.size {
        let what = format!("{} bytes where the writer has {}", ours.size, theirs.size);
        outcome.add(&format!("{path}/size"), Rule::FixedSize, what);
    }
    outcome
}

fn symbols(ours: &EnumType, theirs: &EnumType, path: &str) -> Outcome {
    let mut outcome = Outcome::default();
    names(&ours.name, &theirs.name, path, &mut outcome);
    let missing: Vec<&str> =
        theirs.symbols.iter().filter(|symbol| !ours.symbols.contains(symbol)).map(String::as_str).collect();
    if !missing.is_empty() && ours.default.is_none() {
        let what = format!("the enum lacks {} of the writer's, and has no default", missing.join(", "));
        outcome.add(&format!("{path}/symbols"), Rule::MissingSymbols, what);
    }
    outcome
}

/// The same primitive type, or one that the writer's is promoted to.
fn promotes(writer: &Kind, reader: &Kind) -> bool {
    use Kind::{Boolean, Bytes, Double, Float, Int, Long, Null, String};
    matches!(
        (writer, reader),
        (Null, Null)
            | (Boolean, Boolean)
            | (Int, Int | Long | Float | Double)
            | (Long, Long | Float | Double)
            | (Float, Float | Double)
            | (Double, Double)
            | (String | Bytes, String | Bytes)
    )
}

/// A UUID is its text whatever it is called, so only numbers can change their meaning.
fn other_meaning(ours: &Logical, theirs: &Logical) -> bool {
    ours != theirs && !matches!(ours, Logical::Uuid) && !matches!(theirs, Logical::Uuid)
}
