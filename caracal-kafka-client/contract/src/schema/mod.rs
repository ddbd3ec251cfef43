//! Avro schemas without a codec: read into a graph, and compared for compatibility offline.
//!
//! [`check`] answers what a registry would be asked: may this version follow those? It goes by the
//! Avro specification's schema resolution (1.12.0, "Schema Resolution") and names every place that
//! does not fit, with the rule and what to do.
//!
//! Confluent's registry goes by `SchemaCompatibility` of Avro's Java library; a test holds this
//! module's verdicts to that class. They differ in one rule: Java looks at no logical type. Here a decimal of another
//! precision or scale is an incompatibility, as the specification has it, and so is another unit
//! of time: either would silently change every value by a power of ten.
//!
//! ```
//! use caracal_kafka_contract::schema::{Mode, Rule, check};
//!
//! let v1 = r#"{"type": "record", "name": "Booking", "fields": [{"name": "id", "type": "string"}]}"#;
//! let v2 = r#"{"type": "record", "name": "Booking", "fields": [
//!     {"name": "id", "type": "string"}, {"name": "amount", "type": "long"}]}"#;
//!
//! let report = check(&[v1], v2, Mode::Backward)?;
//! let finding = &report.incompatibilities[0];
//! assert_eq!((finding.rule, finding.path.as_str()), (Rule::FieldWithoutDefault, "/fields/1"));
//! // What was written with v2 can be read with v1, so the other direction has nothing to say.
//! assert!(check(&[v1], v2, Mode::Forward)?.is_compatible());
//! # Ok::<(), caracal_kafka_contract::schema::SchemaError>(())
//! ```

mod compare;
mod default;
mod model;
mod parse;

use std::fmt;
use std::str::FromStr;

pub use compare::{Incompatibility, Resolver, Rule};
pub use model::{EnumType, Field, FixedType, Kind, Logical, Name, Node, NodeId, RecordType, Schema};

/// Which schemas a new version has to get along with, as in Confluent's registry.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, PartialEq)]
#[non_exhaustive]
pub enum Mode {
    /// Readers with the new version read what the latest one wrote: update consumers first.
    #[default]
    Backward,
    /// As [`Backward`](Self::Backward), with every older version.
    BackwardTransitive,
    /// Readers with the latest version read what the new one writes: update producers first.
    Forward,
    /// As [`Forward`](Self::Forward), with every older version.
    ForwardTransitive,
    /// Both directions with the latest version: update in any order.
    Full,
    /// Both directions with every older version.
    FullTransitive,
    /// Nothing is compared; the schemas still have to be schemas.
    None,
}

impl Mode {
    /// All of them.
    pub const ALL: [Self; 7] = [
        Self::Backward,
        Self::BackwardTransitive,
        Self::Forward,
        Self::ForwardTransitive,
        Self::Full,
        Self::FullTransitive,
        Self::None,
    ];

    /// The registry's name for it, for example `BACKWARD_TRANSITIVE`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Backward => "BACKWARD",
            Self::BackwardTransitive => "BACKWARD_TRANSITIVE",
            Self::Forward => "FORWARD",
            Self::ForwardTransitive => "FORWARD_TRANSITIVE",
            Self::Full => "FULL",
            Self::FullTransitive => "FULL_TRANSITIVE",
            Self::None => "NONE",
        }
    }

    const fn transitive(self) -> bool {
        matches!(self, Self::BackwardTransitive | Self::ForwardTransitive | Self::FullTransitive)
    }

    const fn backward(self) -> bool {
        matches!(self, Self::Backward | Self::BackwardTransitive | Self::Full | Self::FullTransitive)
    }

    const fn forward(self) -> bool {
        matches!(self, Self::Forward | Self::ForwardTransitive | Self::Full | Self::FullTransitive)
    }
}

impl fmt::Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Mode {
    type Err = UnknownMode;

    fn from_str(name: &str) -> Result<Self, UnknownMode> {
        Self::ALL.into_iter().find(|mode| mode.as_str() == name).ok_or_else(|| UnknownMode(name.to_owned()))
    }
}

/// A name that is no [`Mode`].
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("`{0}` is no compatibility mode: use BACKWARD, FORWARD or FULL, each also with _TRANSITIVE, or NONE")]
pub struct UnknownMode(String);

/// Who reads what, see [`Incompatibility::direction`].
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
#[non_exhaustive]
pub enum Direction {
    /// The new version reads what the old one wrote.
    Backward,
    /// The old version reads what the new one writes.
    Forward,
}

impl fmt::Display for Direction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Backward => "the new version cannot read what the old one wrote",
            Self::Forward => "the old version cannot read what the new one writes",
        })
    }
}

/// What [`check`] found.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
#[must_use = "it says whether the versions get along"]
#[non_exhaustive]
pub struct Report {
    /// Every place that does not fit; none is compatible.
    pub incompatibilities: Vec<Incompatibility>,
}

impl Report {
    /// Whether nothing was found.
    pub const fn is_compatible(&self) -> bool {
        self.incompatibilities.is_empty()
    }
}

/// One line a finding.
impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_compatible() {
            return f.write_str("compatible");
        }
        let lines: Vec<String> = self.incompatibilities.iter().map(ToString::to_string).collect();
        f.write_str(&lines.join("\n"))
    }
}

/// Whether `new` may follow the versions `old`, the oldest of them first. Modes that are not
/// transitive look at the last of them only; a subject without versions takes any schema.
///
/// # Errors
/// [`SchemaError`]: one of the texts is not an Avro schema. That is not an incompatibility: no
/// registry would take it in any mode.
pub fn check<S: AsRef<str>>(old: &[S], new: &str, mode: Mode) -> Result<Report, SchemaError> {
    let parsed = Schema::parse(new)?;
    let mut report = Report::default();
    let first = if mode.transitive() { 0 } else { old.len().saturating_sub(1) };
    for (version, text) in old.iter().enumerate() {
        let older = Schema::parse(text.as_ref()).map_err(|error| error.of_version(version))?;
        if version < first {
            continue;
        }
        let mut compare = |reader, writer, direction| -> Result<(), SchemaError> {
            for mut found in Resolver::new(reader, writer).incompatibilities()? {
                (found.version, found.direction) = (version, direction);
                report.incompatibilities.push(found);
            }
            Ok(())
        };
        if mode.backward() {
            compare(&parsed, &older, Direction::Backward)?;
        }
        if mode.forward() {
            compare(&older, &parsed, Direction::Forward)?;
        }
    }
    Ok(report)
}

/// Why a text is not an Avro schema.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("{which}not an Avro schema at {at}: {why}", which = version.map(|version| format!("old version {version}: ")).unwrap_or_default(), at = if path.is_empty() { "its root" } else { path })]
#[non_exhaustive]
pub struct SchemaError {
    /// Where, as a JSON pointer (RFC 6901) into the text.
    pub path: String,
    /// What is wrong, and what to do.
    pub why: String,
    /// Which of [`check`]'s old versions it is, from 0; `None` is the new one.
    pub version: Option<usize>,
}

impl SchemaError {
    fn new(path: &str, why: impl Into<String>) -> Self {
        Self { path: path.to_owned(), why: why.into(), version: None }
    }

    fn of_version(self, version: usize) -> Self {
        Self { version: Some(version), ..self }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: &str = r#"{"type":"record","name":"R","fields":[{"name":"a","type":"int"}]}"#;
    const TWO: &str = r#"{"type":"record","name":"R","fields":[{"name":"a","type":"long"}]}"#;
    const THREE: &str = r#"{"type":"record","name":"R","fields":[{"name":"a","type":"long"},{"name":"b","type":"string","default":""}]}"#;
    const FOUR: &str =
        r#"{"type":"record","name":"R","fields":[{"name":"a","type":"long"},{"name":"b","type":"string"}]}"#;

    fn found(old: &[&str], new: &str, mode: Mode) -> Vec<(usize, Direction, String)> {
        let report = check(old, new, mode).expect("schemas");
        report
            .incompatibilities
            .into_iter()
            .map(|found| (found.version, found.direction, found.path))
            .collect()
    }

    #[test]
    fn modes_look_where_confluents_do() {
        let history = [ONE, TWO, THREE];
        assert_eq!(found(&history, FOUR, Mode::Backward), []);
        assert_eq!(found(&history, FOUR, Mode::Forward), []);
        let missing = |version| (version, Direction::Backward, "/fields/1".to_owned());
        assert_eq!(found(&history, FOUR, Mode::BackwardTransitive), [missing(0), missing(1)]);
        let narrowed = (0, Direction::Forward, "/fields/0/type".to_owned());
        assert_eq!(found(&history, FOUR, Mode::ForwardTransitive), std::slice::from_ref(&narrowed));
        assert_eq!(found(&history, FOUR, Mode::Full), []);
        assert_eq!(found(&history, FOUR, Mode::FullTransitive), [missing(0), narrowed, missing(1)]);
        assert_eq!(found(&history, r#""int""#, Mode::None), []);
        assert_eq!(found(&[], FOUR, Mode::FullTransitive), []);
    }

    #[test]
    fn a_text_that_is_no_schema_is_an_error_in_any_mode() {
        for mode in Mode::ALL {
            let new = check(&[ONE], r#"{"type":"record","name":"R"}"#, mode).expect_err("no fields");
            assert_eq!((new.version, new.path.as_str()), (None, ""), "{new}");
            let old = check(&[ONE, r#"{"type":"array","items":"strin"}"#], ONE, mode).expect_err("a typo");
            assert_eq!((old.version, old.path.as_str()), (Some(1), "/items"), "{old}");
        }
    }

    #[test]
    fn modes_have_the_registrys_names() {
        for mode in Mode::ALL {
            assert_eq!(mode.as_str().parse(), Ok(mode));
        }
        assert!("backward".parse::<Mode>().is_err_and(|error| error.to_string().contains("BACKWARD")));
    }
}
