//! From JSON text to [`Schema`].

use std::collections::{HashMap, HashSet};

use serde_json::{Map, Value};

use super::model::{EnumType, Field, FixedType, Kind, Logical, Name, Node, NodeId, RecordType, Schema};
use super::{SchemaError, default};

/// Longer texts are refused before they are looked at; the registry's own limit is of this order.
const TEXT_MAX: usize = 1 << 20;

impl Schema {
    /// Reads a schema that stands by itself.
    ///
    /// # Errors
    /// [`SchemaError`]: the text is not JSON, or breaks a rule of the specification (unknown type
    /// or name, duplicate definition, default that does not fit its type, union in a union).
    pub fn parse(text: &str) -> Result<Self, SchemaError> {
        Self::parse_with(text, &[] as &[&str])
    }

    /// Reads a schema that uses named types of others: the registry's "references". Those come in
    /// an order in which each uses only the ones before it.
    ///
    /// # Errors
    /// As [`parse`](Self::parse), for each of the texts.
    pub fn parse_with<S: AsRef<str>>(text: &str, references: &[S]) -> Result<Self, SchemaError> {
        let mut parser = Parser::default();
        for reference in references {
            parser.text(reference.as_ref())?;
        }
        let root = parser.text(text)?;
        let schema = Self { nodes: parser.nodes, root };
        // Defaults last: one may be of a type that is defined behind it.
        for (id, path) in parser.defaults {
            default::check_fields(&schema, id, &path)?;
        }
        Ok(schema)
    }
}

#[derive(Default)]
struct Parser {
    nodes: Vec<Node>,
    named: HashMap<String, NodeId>,
    /// Records whose defaults are still to be checked, and where they stand.
    defaults: Vec<(NodeId, String)>,
}

type Parsed<T> = Result<T, SchemaError>;

impl Parser {
    fn text(&mut self, text: &str) -> Parsed<NodeId> {
        if text.len() > TEXT_MAX {
            return Err(SchemaError::new(
                "",
                format!("it has {} bytes, and {TEXT_MAX} are the limit", text.len()),
            ));
        }
        // serde_json bounds the nesting (128), and with it every recursion in here.
        let json: Value = serde_json::from_str(text)
            .map_err(|error| SchemaError::new("", format!("it is not JSON: {error}")))?;
        self.schema(&json, "", "")
    }

    fn add(&mut self, kind: Kind, logical: Option<Logical>) -> NodeId {
        self.nodes.push(Node { kind, logical });
        NodeId(self.nodes.len() - 1)
    }

    fn schema(&mut self, json: &Value, namespace: &str, path: &str) -> Parsed<NodeId> {
        match json {
            Value::String(word) => self.word(word, namespace, path),
            Value::Array(branches) => self.union(branches, namespace, path),
            Value::Object(object) => self.object(object, namespace, path),
            _ => Err(SchemaError::new(path, "a schema is a name, an object or an array")),
        }
    }

    fn word(&mut self, word: &str, namespace: &str, path: &str) -> Parsed<NodeId> {
        if let Some(kind) = primitive(word) {
            return Ok(self.add(kind, None));
        }
        // A name without a dot is looked for in the enclosing namespace first, then in none.
        self.named.get(&qualify(word, namespace)).or_else(|| self.named.get(word)).copied().ok_or_else(|| {
            SchemaError::new(
                path,
                format!("`{word}` is no type, and none of that name is defined before it; define it, or add the schema that does as a reference"),
            )
        })
    }

    fn union(&mut self, branches: &[Value], namespace: &str, path: &str) -> Parsed<NodeId> {
        let mut seen = HashSet::new();
        let mut ids = Vec::with_capacity(branches.len());
        for (at, branch) in branches.iter().enumerate() {
            let path = format!("{path}/{at}");
            let id = self.schema(branch, namespace, &path)?;
            let kind = &self.nodes[id.0].kind;
            if matches!(kind, Kind::Union(_)) {
                return Err(SchemaError::new(&path, "a union may not hold another one: merge the two"));
            }
            let what = kind.name().map_or_else(|| kind.word().to_owned(), |name| name.full.clone());
            if !seen.insert(what.clone()) {
                return Err(SchemaError::new(&path, format!("`{what}` is in this union twice")));
            }
            ids.push(id);
        }
        Ok(self.add(Kind::Union(ids), None))
    }

    fn object(&mut self, object: &Map<String, Value>, namespace: &str, path: &str) -> Parsed<NodeId> {
        let word = match object.get("type") {
            Some(Value::String(word)) => word.as_str(),
            Some(nested) => return self.schema(nested, namespace, &format!("{path}/type")),
            None => return Err(SchemaError::new(path, "it has no `type`")),
        };
        match word {
            "array" => {
                let items = self.member(object, "items", namespace, path)?;
                Ok(self.add(Kind::Array(items), None))
            }
            "map" => {
                let values = self.member(object, "values", namespace, path)?;
                Ok(self.add(Kind::Map(values), None))
            }
            "fixed" => self.fixed(object, namespace, path),
            "enum" => self.enumeration(object, namespace, path),
            "record" | "error" => self.record(object, namespace, path),
            word => {
                let id = self.word(word, namespace, &format!("{path}/type"))?;
                // Only a primitive was made anew for this place; a named type keeps its own.
                if primitive(word).is_some() {
                    let logical = logical(object, &self.nodes[id.0].kind);
                    self.nodes[id.0].logical = logical;
                }
                Ok(id)
            }
        }
    }

    fn member(
        &mut self,
        object: &Map<String, Value>,
        key: &str,
        namespace: &str,
        path: &str,
    ) -> Parsed<NodeId> {
        let Some(json) = object.get(key) else {
            return Err(SchemaError::new(path, format!("it has no `{key}`")));
        };
        self.schema(json, namespace, &format!("{path}/{key}"))
    }

    /// Takes the name's place, so that the type can be used inside itself.
    fn define(&mut self, name: &Name, kind: Kind, path: &str) -> Parsed<NodeId> {
        let id = self.add(kind, None);
        if self.named.insert(name.full.clone(), id).is_some() {
            return Err(SchemaError::new(path, format!("`{}` is defined twice", name.full)));
        }
        Ok(id)
    }

    fn fixed(&mut self, object: &Map<String, Value>, namespace: &str, path: &str) -> Parsed<NodeId> {
        let (name, _) = name(object, namespace, path)?;
        let size = object.get("size").and_then(Value::as_u64).and_then(|size| usize::try_from(size).ok());
        let Some(size) = size.filter(|size| i32::try_from(*size).is_ok()) else {
            return Err(SchemaError::new(path, "a fixed needs a `size` in bytes, a whole number from 0"));
        };
        let kind = Kind::Fixed(FixedType { name: name.clone(), size });
        let logical = logical(object, &kind);
        let id = self.define(&name, kind, path)?;
        self.nodes[id.0].logical = logical;
        Ok(id)
    }

    fn enumeration(&mut self, object: &Map<String, Value>, namespace: &str, path: &str) -> Parsed<NodeId> {
        let (name, _) = name(object, namespace, path)?;
        let symbols = strings(object, "symbols", path)?
            .ok_or_else(|| SchemaError::new(path, "an enum needs its `symbols`"))?;
        let mut seen = HashSet::new();
        for (at, symbol) in symbols.iter().enumerate() {
            let path = format!("{path}/symbols/{at}");
            word_fits(symbol, &path)?;
            if !seen.insert(symbol) {
                return Err(SchemaError::new(&path, format!("the symbol `{symbol}` is there twice")));
            }
        }
        let default = match object.get("default") {
            None => None,
            Some(Value::String(symbol)) if seen.contains(symbol) => Some(symbol.clone()),
            Some(_) => {
                return Err(SchemaError::new(
                    &format!("{path}/default"),
                    "an enum's default is one of its symbols",
                ));
            }
        };
        self.define(&name.clone(), Kind::Enum(EnumType { name, symbols, default }), path)
    }

    fn record(&mut self, object: &Map<String, Value>, namespace: &str, path: &str) -> Parsed<NodeId> {
        let (name, namespace) = name(object, namespace, path)?;
        let Some(Value::Array(list)) = object.get("fields") else {
            return Err(SchemaError::new(path, "a record needs its `fields`, an array"));
        };
        let record = |fields| Kind::Record(RecordType { name: name.clone(), fields });
        let id = self.define(&name, record(Vec::new()), path)?;
        let mut fields: Vec<Field> = Vec::with_capacity(list.len());
        let mut seen = HashSet::new();
        for (at, json) in list.iter().enumerate() {
            let path = format!("{path}/fields/{at}");
            let field = self.field(json, &namespace, &path)?;
            if !seen.insert(field.name.clone()) {
                return Err(SchemaError::new(&path, format!("the field `{}` is there twice", field.name)));
            }
            fields.push(field);
        }
        self.nodes[id.0].kind = record(fields);
        self.defaults.push((id, path.to_owned()));
        Ok(id)
    }

    fn field(&mut self, json: &Value, namespace: &str, path: &str) -> Parsed<Field> {
        let Value::Object(object) = json else {
            return Err(SchemaError::new(path, "a field is an object with `name` and `type`"));
        };
        let Some(Value::String(name)) = object.get("name") else {
            return Err(SchemaError::new(path, "a field needs its `name`"));
        };
        word_fits(name, &format!("{path}/name"))?;
        let aliases = strings(object, "aliases", path)?.unwrap_or_default();
        let schema = self.member(object, "type", namespace, path)?;
        Ok(Field { name: name.clone(), aliases, schema, default: object.get("default").cloned() })
    }
}

fn primitive(word: &str) -> Option<Kind> {
    Some(match word {
        "null" => Kind::Null,
        "boolean" => Kind::Boolean,
        "int" => Kind::Int,
        "long" => Kind::Long,
        "float" => Kind::Float,
        "double" => Kind::Double,
        "bytes" => Kind::Bytes,
        "string" => Kind::String,
        _ => return None,
    })
}

/// A named type's name, and the namespace of what stands in it.
fn name(object: &Map<String, Value>, enclosing: &str, path: &str) -> Parsed<(Name, String)> {
    let Some(Value::String(given)) = object.get("name") else {
        return Err(SchemaError::new(path, "it needs a `name`"));
    };
    let given_namespace = object.get("namespace").and_then(Value::as_str);
    let full = qualify(given, given_namespace.unwrap_or(enclosing));
    for part in full.split('.') {
        word_fits(part, &format!("{path}/name"))?;
    }
    let (namespace, short) = full.rsplit_once('.').unwrap_or(("", &full));
    if primitive(short).is_some() {
        return Err(SchemaError::new(
            &format!("{path}/name"),
            format!("`{short}` is the name of a primitive type"),
        ));
    }
    let aliases = strings(object, "aliases", path)?.unwrap_or_default();
    let aliases = aliases.iter().map(|alias| qualify(alias, namespace)).collect();
    let namespace = namespace.to_owned();
    Ok((Name { full, aliases }, namespace))
}

/// A name with a dot stands for itself; another one is in the namespace.
fn qualify(name: &str, namespace: &str) -> String {
    // A leading dot says "no namespace".
    match name.strip_prefix('.') {
        Some(rest) => rest.to_owned(),
        None if name.contains('.') || namespace.is_empty() => name.to_owned(),
        None => format!("{namespace}.{name}"),
    }
}

fn word_fits(word: &str, path: &str) -> Parsed<()> {
    let mut letters = word.chars();
    let first = letters.next().is_some_and(|letter| letter.is_ascii_alphabetic() || letter == '_');
    if first && letters.all(|letter| letter.is_ascii_alphanumeric() || letter == '_') {
        return Ok(());
    }
    Err(SchemaError::new(path, "a name has letters, digits and underscores, and begins with no digit"))
}

fn strings(object: &Map<String, Value>, key: &str, path: &str) -> Parsed<Option<Vec<String>>> {
    let Some(json) = object.get(key) else { return Ok(None) };
    let list: Option<Vec<String>> = json
        .as_array()
        .map(|list| list.iter().map(|one| one.as_str().map(str::to_owned)).collect::<Option<_>>())
        .unwrap_or_default();
    list.map(Some).ok_or_else(|| SchemaError::new(&format!("{path}/{key}"), "it is an array of strings"))
}

/// The logical type, if it is one that `kind` can have; others do not count.
fn logical(object: &Map<String, Value>, kind: &Kind) -> Option<Logical> {
    let name = object.get("logicalType")?.as_str()?;
    match (name, kind) {
        ("decimal", Kind::Bytes | Kind::Fixed(_)) => {
            let precision = object.get("precision")?.as_u64()?;
            let scale = object.get("scale").map_or(Some(0), Value::as_u64)?;
            (precision > 0 && scale <= precision).then_some(Logical::Decimal { precision, scale })
        }
        ("uuid", Kind::String) => Some(Logical::Uuid),
        ("uuid", Kind::Fixed(fixed)) if fixed.size == 16 => Some(Logical::Uuid),
        ("date", Kind::Int) => Some(Logical::Time("date")),
        ("time-millis", Kind::Int) => Some(Logical::Time("time-millis")),
        ("duration", Kind::Fixed(fixed)) if fixed.size == 12 => Some(Logical::Time("duration")),
        (_, Kind::Long) => {
            const OF_LONG: [&str; 7] = [
                "time-micros",
                "timestamp-millis",
                "timestamp-micros",
                "timestamp-nanos",
                "local-timestamp-millis",
                "local-timestamp-micros",
                "local-timestamp-nanos",
            ];
            OF_LONG.into_iter().find(|known| *known == name).map(Logical::Time)
        }
        _ => None,
    }
}
