//! `backup`: a topic's records into a folder; `digest`: what such a back-up would be known by.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::Write as _;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::{Duration, Instant};

use rdkafka::consumer::BaseConsumer;

use crate::arguments::Options;
use crate::failure::Failure;
use crate::file::{
    Body, Digests, FORMAT, Manifest, PartitionEntry, Place, SchemaEntry, encode, frame, schema_id, whole,
};
use crate::link::{Link, Watch, consumed};
use crate::progress::{Progress, millis, rate};
use crate::reader::{Flow, From, Span, read, spans};
use crate::registry::Registry;

/// Records are handed over in pieces of this size: one thread reads, another one hashes and writes.
const CHUNK: usize = 1 << 20;

/// Pieces that may wait for the disk.
const WAITING: usize = 8;

/// What the second thread found.
#[derive(Default)]
pub(crate) struct Kept {
    /// Number of records and digest, by partition.
    pub(crate) partitions: BTreeMap<i32, (u64, String)>,
    pub(crate) bytes: u64,
    ids: BTreeSet<u32>,
}

impl Kept {
    pub(crate) fn records(&self) -> u64 {
        self.partitions.values().map(|(records, _)| records).sum()
    }
}

pub(crate) fn run(options: &mut Options) -> Result<(), Failure> {
    let begun = Instant::now();
    let (profile, topic, to) =
        (options.path("--profile")?, options.needed("--topic")?, options.path("--to")?);
    let facts: serde_json::Value = options.parsed("--facts")?.unwrap_or_default();
    let (json, quiet) = (options.switch("--json"), options.switch("--quiet"));
    options.finish()?;
    let (link, place) = (Link::open(&profile)?, Place::at(&to));
    let consumer = link.consumer(false)?;
    let spans = everything(&consumer, &topic)?;
    let file = place.begin()?;
    let kept = keep(&consumer, &topic, &spans, Some(file), &BTreeMap::new(), quiet)?;
    let schemas = schemas(&link, &kept.ids)?;
    let took = begun.elapsed();
    let partitions = spans.iter().map(|span| entry(span, &kept)).collect();
    let manifest = Manifest {
        format: FORMAT,
        cluster: link.profile.cluster.clone(),
        topic,
        facts,
        partitions,
        records: kept.records(),
        bytes: kept.bytes,
        sha256: whole(&kept.partitions),
        schemas,
    };
    place.end(&manifest)?;
    report("topics backup", &manifest, &to, took, json)
}

/// What a back-up made now would be known by; keeps nothing.
pub(crate) fn digest(options: &mut Options) -> Result<(), Failure> {
    let begun = Instant::now();
    let (profile, topic, json) =
        (options.path("--profile")?, options.needed("--topic")?, options.switch("--json"));
    options.finish()?;
    let link = Link::open(&profile)?;
    let consumer = link.consumer(false)?;
    let spans = everything(&consumer, &topic)?;
    let kept = keep(&consumer, &topic, &spans, None, &BTreeMap::new(), true)?;
    let (records, sha256) = (kept.records(), whole(&kept.partitions));
    if !json {
        return crate::print(&format!("{sha256}  {topic} ({records} records)\n"));
    }
    let report = serde_json::json!({
        "format": 1, "command": "topics digest", "cluster": link.profile.cluster, "topic": topic,
        "records": records, "sha256": sha256, "millis": millis(begun),
    });
    crate::print(&format!("{report}\n"))
}

/// All that is there now.
pub(crate) fn everything(consumer: &BaseConsumer<Watch>, topic: &str) -> Result<Vec<Span>, Failure> {
    let partitions = consumed(consumer, topic)?;
    spans(consumer, topic, &partitions, From::Beginning)
}

fn entry(span: &Span, kept: &Kept) -> PartitionEntry {
    let (records, sha256) = kept.partitions.get(&span.partition).cloned().unwrap_or_default();
    PartitionEntry { partition: span.partition, records, from: span.from, to: span.to, sha256 }
}

/// Reads the spans, hashes their records and writes them, where there is a file. Schema ids are replaced by those in
/// `ids`, so that what was restored with others is compared with what it came from.
pub(crate) fn keep(
    consumer: &BaseConsumer<Watch>,
    topic: &str,
    spans: &[Span],
    file: Option<File>,
    ids: &BTreeMap<u32, u32>,
    quiet: bool,
) -> Result<Kept, Failure> {
    let whole: u64 = spans.iter().map(Span::records).sum();
    let mut progress = Progress::new("reading", whole, quiet);
    let (sender, receiver) = sync_channel(WAITING);
    std::thread::scope(|scope| {
        let worker = scope.spawn(move || work(&receiver, file, ids));
        let outcome = feed(consumer, topic, spans, &sender, &mut progress);
        // The end of what is sent is the worker's end.
        drop(sender);
        let kept =
            worker.join().map_err(|_| Failure::cluster("the writing thread ended by itself".to_owned()))?;
        progress.end();
        // A full disk ends the reading too; its own words are the cause.
        let kept = kept?;
        outcome.map(|()| kept)
    })
}

fn feed(
    consumer: &BaseConsumer<Watch>,
    topic: &str,
    spans: &[Span],
    sender: &SyncSender<Vec<u8>>,
    progress: &mut Progress,
) -> Result<(), Failure> {
    let gone = || Failure::cluster("the writing thread ended".to_owned());
    let (mut chunk, mut records) = (Vec::with_capacity(CHUNK + CHUNK / 8), 0);
    read(consumer, topic, spans, false, |message| {
        encode(message, &mut chunk);
        records += 1;
        progress.at(records);
        if chunk.len() >= CHUNK {
            let full = std::mem::replace(&mut chunk, Vec::with_capacity(CHUNK + CHUNK / 8));
            sender.send(full).map_err(|_| gone())?;
        }
        Ok(Flow::Go)
    })?;
    sender.send(chunk).map_err(|_| gone())
}

fn work(
    receiver: &Receiver<Vec<u8>>,
    mut file: Option<File>,
    ids: &BTreeMap<u32, u32>,
) -> Result<Kept, Failure> {
    let (mut digests, mut kept) = (Digests::default(), Kept::default());
    let full = |error: std::io::Error| Failure::cluster(format!("the records cannot be written: {error}"));
    for mut chunk in receiver {
        if !ids.is_empty() {
            rename(&mut chunk, ids);
        }
        let mut rest = chunk.as_slice();
        while let Some(found) = frame(rest) {
            digests.add(found.partition, [found.length, found.body]);
            if let Some(body) = Body::parse(found.body) {
                kept.ids.extend(schema_id(body.key).into_iter().chain(schema_id(body.value)));
            }
            rest = found.rest;
        }
        kept.bytes += chunk.len() as u64;
        if let Some(file) = &mut file {
            file.write_all(&chunk).map_err(full)?;
        }
    }
    if let Some(file) = &mut file {
        file.sync_all().map_err(full)?;
    }
    kept.partitions = digests.finish();
    Ok(kept)
}

/// Replaces schema ids inside of frames, in place.
fn rename(chunk: &mut [u8], ids: &BTreeMap<u32, u32>) {
    let mut places: Vec<(usize, u32)> = Vec::new();
    let (begin, mut rest) = (chunk.as_ptr() as usize, &*chunk);
    while let Some(found) = frame(rest) {
        if let Some(body) = Body::parse(found.body) {
            for part in [body.key, body.value].into_iter().flatten() {
                if let Some(new) = schema_id(Some(part)).and_then(|id| ids.get(&id)) {
                    places.push((part.as_ptr() as usize - begin + 1, *new));
                }
            }
        }
        rest = found.rest;
    }
    for (at, id) in places {
        chunk[at..at + 4].copy_from_slice(&id.to_be_bytes());
    }
}

/// The schemas that records name, as far as the registry knows them; other values that begin so are only bytes.
fn schemas(link: &Link, ids: &BTreeSet<u32>) -> Result<Vec<SchemaEntry>, Failure> {
    let Some(registry) = Registry::of(&link.profile)? else { return Ok(Vec::new()) };
    let mut schemas = Vec::new();
    for id in ids {
        if let Some(schema) = registry.by_id(*id)? {
            schemas.push(SchemaEntry { id: *id, subjects: registry.subjects_of(*id)?, schema });
        }
    }
    Ok(schemas)
}

fn report(
    command: &str,
    manifest: &Manifest,
    folder: &std::path::Path,
    took: Duration,
    json: bool,
) -> Result<(), Failure> {
    let rate = rate(manifest.records, took);
    let millis = u64::try_from(took.as_millis()).unwrap_or(u64::MAX);
    if !json {
        return crate::print(&format!(
            "{}: {} records, {} bytes, {} schemas into {} ({rate} records a second)\n  sha256 {}\n",
            manifest.topic,
            manifest.records,
            manifest.bytes,
            manifest.schemas.len(),
            folder.display(),
            manifest.sha256
        ));
    }
    let report = serde_json::json!({
        "format": 1, "command": command, "cluster": manifest.cluster, "topic": manifest.topic,
        "folder": folder, "records": manifest.records, "bytes": manifest.bytes,
        "schemas": manifest.schemas.len(), "sha256": manifest.sha256, "records_per_second": rate, "millis": millis,
    });
    crate::print(&format!("{report}\n"))
}

#[cfg(test)]
mod tests {
    use rdkafka::Timestamp;
    use rdkafka::message::OwnedMessage;

    use super::*;

    #[test]
    fn schema_ids_are_replaced_and_nothing_else() {
        let record = |key: &[u8], value: &[u8]| {
            let time = Timestamp::CreateTime(1);
            OwnedMessage::new(Some(value.to_vec()), Some(key.to_vec()), "t".to_owned(), time, 0, 0, None)
        };
        let framed = |id: u32| [&[0][..], &id.to_be_bytes(), b"datum"].concat();
        let made = |ids: [u32; 3]| {
            let mut chunk = Vec::new();
            encode(&record(&framed(ids[0]), &framed(ids[1])), &mut chunk);
            encode(&record(b"plain", &framed(ids[2])), &mut chunk);
            chunk
        };
        let mut chunk = made([7, 8, 9]);
        rename(&mut chunk, &BTreeMap::from([(7, 70), (9, 90)]));
        assert_eq!(chunk, made([70, 8, 90]));
        let (sender, receiver) = sync_channel(1);
        sender.send(made([7, 8, 9])).unwrap();
        drop(sender);
        let kept = work(&receiver, None, &BTreeMap::new()).unwrap();
        assert_eq!((kept.records(), kept.ids), (2, BTreeSet::from([7, 8, 9])));
    }
}
