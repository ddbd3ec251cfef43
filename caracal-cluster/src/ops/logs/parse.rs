//! Lines of a log, in the shapes that nodes write.
//!
//! ```text
//! [2026-11-25 11:03:31,123] INFO text (logger)              ZooKeeper and brokers
//! 2026-11-25 11:03:31,123 INFO  [logger] (thread) text      the registry
//! ==== started by caracal at 2026-11-25T11:03:31Z           the start of a run
//! ```
//! Anything else belongs to the line before it.

use time::macros::format_description;
use time::{OffsetDateTime, PrimitiveDateTime};

use super::{Entry, Level};

/// Longest time in a log, in bytes: `2026-11-25 11:03:31,123`.
const TIME: usize = 23;

/// What begins a run in a console log.
const START: &str = "==== started by caracal at ";

/// Builds entries from lines.
#[derive(Debug)]
pub(super) struct Parser {
    node: String,
    open: Option<Entry>,
    last_time: Option<OffsetDateTime>,
    /// The line before was the start of a run: what the process prints next is no part of it.
    started: bool,
}

impl Parser {
    pub(super) fn new(node: &str) -> Self {
        Self { node: node.to_owned(), open: None, last_time: None, started: false }
    }

    /// Takes a line; gives the entry that it ended.
    pub(super) fn line(&mut self, line: &str) -> Option<Entry> {
        let line = line.trim_end_matches(['\r', '\n']);
        if let Some(entry) = self.begun(line) {
            self.last_time = entry.time.or(self.last_time);
            self.started = line.starts_with(START);
            return self.open.replace(entry);
        }
        match self.open.as_mut().filter(|_| !std::mem::take(&mut self.started)) {
            Some(open) => {
                open.message.push('\n');
                open.message.push_str(line);
                None
            }
            None => self.open.replace(self.entry(self.last_time, None, None, line)),
        }
    }

    /// The entry that no line has ended yet.
    pub(super) fn flush(&mut self) -> Option<Entry> {
        self.open.take()
    }

    fn begun(&self, line: &str) -> Option<Entry> {
        if let Some(at) = line.strip_prefix(START) {
            let time = OffsetDateTime::parse(at, &time::format_description::well_known::Rfc3339).ok();
            return Some(self.entry(time, Some(Level::Info), None, "started"));
        }
        match line.strip_prefix('[') {
            Some(rest) => self.reload4j(rest),
            None => self.quarkus(line),
        }
    }

    fn reload4j(&self, rest: &str) -> Option<Entry> {
        let (time, rest) = (moment(rest.get(..TIME)?)?, rest.get(TIME..)?.strip_prefix("] ")?);
        let (level, rest) = rest.split_once(' ')?;
        let level = level.parse().ok()?;
        // A message of several lines has its logger at the end of the last.
        let (message, logger) = match rest.strip_suffix(')').and_then(|rest| rest.rsplit_once(" (")) {
            Some((message, logger)) if !logger.contains(' ') => (message, Some(logger)),
            _ => (rest, None),
        };
        Some(self.entry(Some(time), Some(level), logger, message))
    }

    fn quarkus(&self, line: &str) -> Option<Entry> {
        let (time, rest) = (moment(line.get(..TIME)?)?, line.get(TIME..)?.strip_prefix(' ')?);
        let (level, rest) = rest.split_once(' ')?;
        let level = level.parse().ok()?;
        let (logger, rest) = rest.trim_start().strip_prefix('[')?.split_once("] ")?;
        let message = rest.strip_prefix('(').and_then(|rest| rest.split_once(") ")).map_or(rest, |(_, m)| m);
        Some(self.entry(Some(time), Some(level), Some(logger), message))
    }

    fn entry(
        &self,
        time: Option<OffsetDateTime>,
        level: Option<Level>,
        logger: Option<&str>,
        message: &str,
    ) -> Entry {
        let (node, logger) = (self.node.clone(), logger.map(str::to_owned));
        Entry { node, time, level, logger, message: message.to_owned() }
    }
}

fn moment(text: &str) -> Option<OffsetDateTime> {
    let shape = format_description!("[year]-[month]-[day] [hour]:[minute]:[second],[subsecond digits:3]");
    Some(PrimitiveDateTime::parse(text, shape).ok()?.assume_utc())
}
