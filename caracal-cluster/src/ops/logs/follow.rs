//! What is added to the logs from now on.

use std::fs::{self, File};
use std::future::Future;
use std::io::{self, Read, Seek as _, SeekFrom};
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::time::Duration;

use super::parse::Parser;
use super::{Entry, Query, Source};
use crate::dir::ClusterDir;
use crate::plan::NodePlan;

/// How often the logs are looked at.
const INTERVAL: Duration = Duration::from_millis(100);

/// The most that is read of one log at a time, in bytes.
const PIECE: u64 = 1 << 20;

/// Gives every wanted entry that is added from now on to `told`, until `cancelled` or until `told` fails.
///
/// Survives rotation, and logs that begin only later. An entry is told once the next one has begun or
/// nothing was added to it for a moment.
///
/// # Errors
/// Those of reading, and those of `told`.
pub async fn follow(
    dir: &ClusterDir,
    nodes: &[&NodePlan],
    query: &Query,
    told: &mut dyn FnMut(&Entry) -> io::Result<()>,
    cancelled: impl Future<Output = ()>,
) -> io::Result<()> {
    let mut files: Vec<Followed> = nodes
        .iter()
        .flat_map(|node| {
            let source = Source::of(dir, node, query.audit);
            source.files.into_iter().map(move |path| Followed::at_end(&source.node, path))
        })
        .collect();
    let mut ticks = tokio::time::interval(INTERVAL);
    tokio::pin!(cancelled);
    loop {
        tokio::select! {
            biased;
            () = &mut cancelled => return Ok(()),
            _ = ticks.tick() => {}
        }
        let mut entries = Vec::new();
        for file in &mut files {
            file.added(&mut entries)?;
        }
        entries.sort_by_key(|entry: &Entry| entry.time);
        for entry in entries.iter().filter(|entry| query.wants(entry)) {
            told(entry)?;
        }
    }
}

/// One log, and how far it was read.
#[derive(Debug)]
struct Followed {
    path: PathBuf,
    open: Option<(File, u64)>,
    at: u64,
    /// A line whose end is not written yet.
    half: Vec<u8>,
    parser: Parser,
}

impl Followed {
    fn at_end(node: &str, path: PathBuf) -> Self {
        let mut followed = Self { path, open: None, at: 0, half: Vec::new(), parser: Parser::new(node) };
        if let Ok(file) = File::open(&followed.path)
            && let Ok(about) = file.metadata()
        {
            followed.at = about.len();
            followed.open = Some((file, about.ino()));
        }
        followed
    }

    fn added(&mut self, entries: &mut Vec<Entry>) -> io::Result<()> {
        let before = entries.len();
        let grew = self.read_on(entries)?;
        let there = fs::metadata(&self.path).ok();
        let moved = self.open.as_ref().map(|(_, inode)| *inode) != there.as_ref().map(MetadataExt::ino);
        let shrunk = there.as_ref().is_some_and(|there| there.len() < self.at);
        if there.is_some() && (moved || shrunk) {
            // What was written between the last look and the rotation was read just now.
            self.open = None;
            self.at = 0;
            self.half.clear();
            if let Ok(file) = File::open(&self.path) {
                let inode = file.metadata()?.ino();
                self.open = Some((file, inode));
            }
            self.read_on(entries)?;
        } else if !grew && entries.len() == before {
            entries.extend(self.parser.flush());
        }
        Ok(())
    }

    /// Reads what was added; says whether anything was.
    fn read_on(&mut self, entries: &mut Vec<Entry>) -> io::Result<bool> {
        let Some((file, _)) = &mut self.open else { return Ok(false) };
        let mut grew = false;
        loop {
            file.seek(SeekFrom::Start(self.at))?;
            let mut piece = Vec::new();
            let length = Read::by_ref(file).take(PIECE).read_to_end(&mut piece)?;
            if length == 0 {
                return Ok(grew);
            }
            grew = true;
            self.at += length as u64;
            self.half.append(&mut piece);
            while let Some(end) = self.half.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = self.half.drain(..=end).collect();
                entries.extend(self.parser.line(&String::from_utf8_lossy(&line)));
            }
        }
    }
}
