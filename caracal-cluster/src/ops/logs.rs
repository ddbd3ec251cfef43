//! The logs of all nodes as one: read, filtered, merged by time, followed.
//!
//! A node writes `logs/server.log` (rotated to `.1` and so on, the oldest highest) and what its process
//! itself prints, `logs/console.log`; a broker also keeps `logs/audit.log`, every refused request. Nodes run
//! with the time zone UTC, so their times can be merged as they stand.
//!
//! ```
//! use caracal_cluster::ops::logs::{Level, Pattern};
//!
//! assert!(Level::Warn > Level::Info);
//! assert_eq!("warn".parse::<Level>(), Ok(Level::Warn));
//! assert!("leader|follower".parse::<Pattern>().unwrap().matches("a FOLLOWER now"));
//! ```

mod follow;
mod parse;
mod read;

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use regex_lite::{Regex, RegexBuilder};
use serde::{Serialize, Serializer};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

pub use self::follow::follow;
pub use self::read::read;
use crate::dir::ClusterDir;
use crate::plan::NodePlan;

/// How grave a line is.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// Every step.
    Trace,
    /// For whoever searches a fault.
    Debug,
    /// What happens.
    Info,
    /// What should not, and was got over.
    Warn,
    /// What failed.
    Error,
    /// What ended the process.
    Fatal,
}

/// A text that is no level.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("`{0}` is no level: trace, debug, info, warn, error, fatal")]
pub struct UnknownLevel(String);

impl Level {
    /// The level in upper case, as logs have it.
    pub fn label(self) -> &'static str {
        match self {
            Self::Trace => "TRACE",
            Self::Debug => "DEBUG",
            Self::Info => "INFO",
            Self::Warn => "WARN",
            Self::Error => "ERROR",
            Self::Fatal => "FATAL",
        }
    }
}

impl FromStr for Level {
    type Err = UnknownLevel;

    fn from_str(text: &str) -> Result<Self, UnknownLevel> {
        const ALL: [Level; 6] =
            [Level::Trace, Level::Debug, Level::Info, Level::Warn, Level::Error, Level::Fatal];
        let wanted = text.to_ascii_uppercase();
        let wanted = if wanted == "WARNING" { "WARN" } else { wanted.as_str() };
        ALL.into_iter().find(|level| level.label() == wanted).ok_or_else(|| UnknownLevel(text.to_owned()))
    }
}

/// A regular expression, upper and lower case alike.
#[derive(Clone, Debug)]
pub struct Pattern(Regex);

impl Pattern {
    /// Whether it is somewhere in a text.
    pub fn matches(&self, text: &str) -> bool {
        self.0.is_match(text)
    }
}

impl FromStr for Pattern {
    type Err = PatternError;

    fn from_str(text: &str) -> Result<Self, PatternError> {
        let built = RegexBuilder::new(text).case_insensitive(true).size_limit(1 << 20).build();
        built.map(Self).map_err(|error| PatternError(error.to_string()))
    }
}

/// A text that is no regular expression.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("it is no regular expression: {0}")]
pub struct PatternError(String);

/// One line of a log, with the lines that belong to it (a stack trace).
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
pub struct Entry {
    /// Whose.
    pub node: String,
    /// When; none before the first time in a file.
    #[serde(serialize_with = "as_rfc3339")]
    pub time: Option<OffsetDateTime>,
    /// How grave; none where the line does not say.
    pub level: Option<Level>,
    /// Who said it inside the node: a logger's name.
    pub logger: Option<String>,
    /// The text, without time, level and logger.
    pub message: String,
}

impl fmt::Display for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (level, logger) = (self.level.map_or("", Level::label), self.logger.as_deref().unwrap_or(""));
        let (first, rest) = self.message.split_once('\n').unwrap_or((&self.message, ""));
        write!(f, "{level:<5} {first}")?;
        if !logger.is_empty() {
            write!(f, " ({logger})")?;
        }
        if rest.is_empty() { Ok(()) } else { write!(f, "\n{rest}") }
    }
}

fn as_rfc3339<S: Serializer>(at: &Option<OffsetDateTime>, serializer: S) -> Result<S::Ok, S::Error> {
    at.and_then(|at| at.format(&Rfc3339).ok()).serialize(serializer)
}

/// Which lines are wanted.
#[derive(Clone, Debug, Default)]
#[expect(clippy::exhaustive_structs, reason = "callers build it")]
pub struct Query {
    /// Only those from then on.
    pub since: Option<OffsetDateTime>,
    /// Only the last so many, of all nodes together.
    pub tail: Option<usize>,
    /// Only those that match.
    pub grep: Option<Pattern>,
    /// Only those at least as grave; what says no level counts as `info`.
    pub level: Option<Level>,
    /// The audit logs instead.
    pub audit: bool,
}

impl Query {
    /// Whether an entry is wanted.
    fn wants(&self, entry: &Entry) -> bool {
        let late_enough = self.since.is_none_or(|since| entry.time.is_some_and(|time| time >= since));
        let grave_enough = self.level.is_none_or(|least| entry.level.unwrap_or(Level::Info) >= least);
        let matching = |pattern: &Pattern| {
            pattern.matches(&entry.message) || entry.logger.as_ref().is_some_and(|name| pattern.matches(name))
        };
        late_enough && grave_enough && self.grep.as_ref().is_none_or(matching)
    }
}

/// The logs of one node.
#[derive(Clone, Debug)]
struct Source {
    node: String,
    files: Vec<PathBuf>,
}

impl Source {
    fn of(dir: &ClusterDir, node: &NodePlan, audit: bool) -> Self {
        let files = if audit {
            vec![dir.node_audit_log(&node.name)]
        } else {
            vec![dir.node_log(&node.name), dir.node_console(&node.name)]
        };
        Self { node: node.name.to_string(), files }
    }
}

#[cfg(test)]
mod tests;
