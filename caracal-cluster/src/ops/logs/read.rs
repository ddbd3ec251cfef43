//! What the logs hold at this moment.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, BufRead as _, BufReader};
use std::path::{Path, PathBuf};

use time::OffsetDateTime;

use super::parse::Parser;
use super::{Entry, Query, Source};
use crate::dir::ClusterDir;
use crate::plan::NodePlan;

/// Rotated files that a node may keep, with room for a description that keeps more.
const ROTATED: u32 = 99;

/// Entries of nodes, merged by time; of one moment, in the order of the nodes.
///
/// # Errors
/// When a log that is there cannot be read.
pub fn read(dir: &ClusterDir, nodes: &[&NodePlan], query: &Query) -> io::Result<Vec<Entry>> {
    let mut entries = Vec::new();
    for node in nodes {
        for file in &Source::of(dir, node, query.audit).files {
            entries.extend(of_file(node.name.as_str(), file, query)?);
        }
    }
    entries.sort_by_key(|entry| entry.time);
    if let Some(tail) = query.tail {
        entries.drain(..entries.len().saturating_sub(tail));
    }
    Ok(entries)
}

/// The wanted entries of a log and of what it was rotated to. The newest file comes first, and older ones
/// only while they can still hold something that is wanted.
fn of_file(node: &str, path: &Path, query: &Query) -> io::Result<Vec<Entry>> {
    let mut newest_first: Vec<VecDeque<Entry>> = Vec::new();
    let mut found = 0;
    for file in with_rotated(path) {
        let file = match File::open(&file) {
            Ok(file) => file,
            // Rotated away between looking and opening.
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Err(error) => return Err(error),
        };
        let modified = file.metadata()?.modified().map(OffsetDateTime::from).ok();
        if query.since.is_some_and(|since| modified.is_some_and(|at| at < since)) {
            break;
        }
        let entries = wanted(node, file, query)?;
        found += entries.len();
        newest_first.push(entries);
        if query.tail.is_some_and(|tail| found >= tail) {
            break;
        }
    }
    Ok(newest_first.into_iter().rev().flatten().collect())
}

fn with_rotated(path: &Path) -> impl Iterator<Item = PathBuf> {
    let rotated = |number: u32| {
        let mut name = path.as_os_str().to_owned();
        name.push(format!(".{number}"));
        PathBuf::from(name)
    };
    std::iter::once(path.to_owned()).chain((1..=ROTATED).map(rotated).take_while(|path| path.exists()))
}

fn wanted(node: &str, file: File, query: &Query) -> io::Result<VecDeque<Entry>> {
    let mut kept = VecDeque::new();
    let mut keep = |entry: Option<Entry>| {
        let Some(entry) = entry.filter(|entry| query.wants(entry)) else { return };
        if query.tail.is_some_and(|tail| kept.len() >= tail) {
            kept.pop_front();
        }
        if query.tail != Some(0) {
            kept.push_back(entry);
        }
    };
    let mut parser = Parser::new(node);
    let mut reader = BufReader::with_capacity(1 << 16, file);
    let mut bytes = Vec::new();
    while reader.read_until(b'\n', &mut bytes)? > 0 {
        keep(parser.line(&String::from_utf8_lossy(&bytes)));
        bytes.clear();
    }
    keep(parser.flush());
    Ok(kept)
}
