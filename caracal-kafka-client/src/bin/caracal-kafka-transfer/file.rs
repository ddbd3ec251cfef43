//! A back-up on disk: `records`, a stream of frames, and `manifest.json`, written last.
//!
//! A frame is the body's length (4 bytes), the partition (4), and the body: timestamp in milliseconds since 1970 (8;
//! -1 for none), key, value, the number of headers (4), and each header's name and value. Keys, values and names have
//! their length before them (4; -1 for null). All numbers are big-endian. A partition's digest is SHA-256 over its
//! bodies in order, each with its length before it, so it does not depend on how partitions are interleaved.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::{self, BufReader, Read as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use rdkafka::Message;
use rdkafka::message::Headers as _;
use ring::digest::{Context, SHA256};
use serde::{Deserialize, Serialize};

use crate::failure::Failure;

/// The version of the manifest and of the frames.
pub(crate) const FORMAT: u32 = 1;

/// Brokers take records of some MiB; a longer frame is damage.
const BODY_MAX: usize = 256 << 20;

const MANIFEST: &str = "manifest.json";
const RECORDS: &str = "records";

/// What a back-up says of itself.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub(crate) struct Manifest {
    pub(crate) format: u32,
    pub(crate) cluster: String,
    pub(crate) topic: String,
    /// The topic's sizes and settings, as whoever asked for the back-up knows them.
    pub(crate) facts: serde_json::Value,
    pub(crate) partitions: Vec<PartitionEntry>,
    pub(crate) records: u64,
    /// Bytes of the file `records`.
    pub(crate) bytes: u64,
    /// Over all partitions.
    pub(crate) sha256: String,
    pub(crate) schemas: Vec<SchemaEntry>,
}

/// One partition.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub(crate) struct PartitionEntry {
    pub(crate) partition: i32,
    pub(crate) records: u64,
    /// The first offset that was read, and the one that was not any more.
    pub(crate) from: i64,
    pub(crate) to: i64,
    pub(crate) sha256: String,
}

/// A schema that records name by its id.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub(crate) struct SchemaEntry {
    pub(crate) id: u32,
    pub(crate) subjects: Vec<String>,
    pub(crate) schema: String,
}

/// Digests of partitions, growing.
#[derive(Default)]
pub(crate) struct Digests(BTreeMap<i32, (u64, Option<Context>)>);

impl Digests {
    /// A body, with its length before it.
    pub(crate) fn add(&mut self, partition: i32, length_and_body: [&[u8]; 2]) {
        let entry = self.0.entry(partition).or_default();
        entry.0 += 1;
        let context = entry.1.get_or_insert_with(|| Context::new(&SHA256));
        length_and_body.iter().for_each(|part| context.update(part));
    }

    /// Number of records and digest of each partition that has any.
    pub(crate) fn finish(self) -> BTreeMap<i32, (u64, String)> {
        let finished = |context: Option<Context>| {
            hex(context.unwrap_or_else(|| Context::new(&SHA256)).finish().as_ref())
        };
        self.0
            .into_iter()
            .map(|(partition, (records, context))| (partition, (records, finished(context))))
            .collect()
    }
}

/// The digest over all partitions; those without a record do not count.
pub(crate) fn whole(partitions: &BTreeMap<i32, (u64, String)>) -> String {
    let mut context = Context::new(&SHA256);
    for (partition, (records, digest)) in partitions {
        context.update(&partition.to_be_bytes());
        context.update(&records.to_be_bytes());
        context.update(digest.as_bytes());
    }
    hex(context.finish().as_ref())
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Appends a record's frame.
pub(crate) fn encode<M: Message>(message: &M, into: &mut Vec<u8>) {
    let begin = into.len();
    into.extend_from_slice(&[0; 4]);
    into.extend_from_slice(&message.partition().to_be_bytes());
    into.extend_from_slice(&message.timestamp().to_millis().unwrap_or(-1).to_be_bytes());
    bytes(message.key(), into);
    bytes(message.payload(), into);
    let headers = message.headers();
    let count = headers.map_or(0, |headers| u32::try_from(headers.count()).unwrap_or(u32::MAX));
    into.extend_from_slice(&count.to_be_bytes());
    for header in headers.iter().flat_map(|headers| headers.iter()) {
        bytes(Some(header.key.as_bytes()), into);
        bytes(header.value, into);
    }
    let length = u32::try_from(into.len() - begin - 8).unwrap_or(u32::MAX);
    into[begin..begin + 4].copy_from_slice(&length.to_be_bytes());
}

fn bytes(value: Option<&[u8]>, into: &mut Vec<u8>) {
    let length = value.map_or(-1, |value| i32::try_from(value.len()).unwrap_or(i32::MAX));
    into.extend_from_slice(&length.to_be_bytes());
    into.extend_from_slice(value.unwrap_or_default());
}

/// A record out of a body.
#[derive(Debug, PartialEq)]
pub(crate) struct Body<'b> {
    pub(crate) timestamp: i64,
    pub(crate) key: Option<&'b [u8]>,
    pub(crate) value: Option<&'b [u8]>,
    pub(crate) headers: Vec<(&'b str, Option<&'b [u8]>)>,
}

impl<'b> Body<'b> {
    /// None for bytes that are no body.
    pub(crate) fn parse(mut bytes: &'b [u8]) -> Option<Self> {
        let timestamp = i64::from_be_bytes(take(&mut bytes)?);
        let (key, value) = (slice(&mut bytes)?, slice(&mut bytes)?);
        let count = u32::from_be_bytes(take(&mut bytes)?);
        let mut headers = Vec::new();
        for _ in 0..count {
            let name = std::str::from_utf8(slice(&mut bytes)??).ok()?;
            headers.push((name, slice(&mut bytes)?));
        }
        bytes.is_empty().then_some(Self { timestamp, key, value, headers })
    }
}

fn take<const N: usize>(bytes: &mut &[u8]) -> Option<[u8; N]> {
    let (head, rest) = bytes.split_first_chunk::<N>()?;
    *bytes = rest;
    Some(*head)
}

fn slice<'b>(bytes: &mut &'b [u8]) -> Option<Option<&'b [u8]>> {
    let length = i32::from_be_bytes(take(bytes)?);
    if length < 0 {
        return Some(None);
    }
    let (head, rest) = bytes.split_at_checked(usize::try_from(length).ok()?)?;
    *bytes = rest;
    Some(Some(head))
}

/// One frame of a chunk.
pub(crate) struct Frame<'c> {
    pub(crate) length: &'c [u8],
    pub(crate) partition: i32,
    pub(crate) body: &'c [u8],
    /// What follows it.
    pub(crate) rest: &'c [u8],
}

/// The first frame of a chunk; none at the chunk's end.
pub(crate) fn frame(chunk: &[u8]) -> Option<Frame<'_>> {
    let (length, rest) = chunk.split_at_checked(4)?;
    let (partition, rest) = rest.split_first_chunk::<4>()?;
    let size = usize::try_from(u32::from_be_bytes(length.try_into().ok()?)).ok()?;
    let (body, rest) = rest.split_at_checked(size)?;
    Some(Frame { length, partition: i32::from_be_bytes(*partition), body, rest })
}

/// Where a topic's back-up lies.
#[derive(Clone, Debug)]
pub(crate) struct Place(PathBuf);

impl Place {
    pub(crate) fn at(path: &Path) -> Self {
        Self(path.to_owned())
    }

    /// Begins a back-up: readable by its owner alone, never over another one.
    pub(crate) fn begin(&self) -> Result<File, Failure> {
        let manifest = self.0.join(MANIFEST);
        if manifest.exists() {
            return Err(Failure::usage(format!(
                "{} holds a back-up already: choose another folder",
                self.0.display()
            )));
        }
        std::fs::create_dir_all(&self.0)
            .map_err(|error| Failure::file("making the folder", &self.0, &error))?;
        let path = self.0.join(RECORDS);
        // What a back-up that was cut short has left is of no use to anybody.
        let opened = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&path);
        opened.map_err(|error| Failure::file("making", &path, &error))
    }

    /// Ends it: from now on it is one.
    pub(crate) fn end(&self, manifest: &Manifest) -> Result<(), Failure> {
        let (path, new) = (self.0.join(MANIFEST), self.0.join("manifest.json.new"));
        let failed = |error: io::Error| Failure::file("writing", &path, &error);
        let text =
            serde_json::to_vec_pretty(manifest).map_err(|error| Failure::cluster(error.to_string()))?;
        let mut file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(&new)
            .map_err(failed)?;
        file.write_all(&text).and_then(|()| file.sync_all()).map_err(failed)?;
        std::fs::rename(&new, &path).map_err(failed)
    }

    pub(crate) fn manifest(&self) -> Result<Manifest, Failure> {
        let path = self.0.join(MANIFEST);
        let text = std::fs::read(&path).map_err(|error| {
            if self.0.join(RECORDS).exists() && error.kind() == io::ErrorKind::NotFound {
                let what = "holds records but no manifest: the back-up was cut short, make it again";
                return Failure::usage(format!("{} {what}", self.0.display()));
            }
            Failure::file("reading", &path, &error)
        })?;
        let manifest: Manifest = serde_json::from_slice(&text)
            .map_err(|error| Failure::usage(format!("{}: {error}", path.display())))?;
        if manifest.format != FORMAT {
            let text = format!("{}: format {}, this version reads {FORMAT}", path.display(), manifest.format);
            return Err(Failure::usage(text));
        }
        Ok(manifest)
    }

    pub(crate) fn frames(&self) -> Result<Frames, Failure> {
        let path = self.0.join(RECORDS);
        let file = File::open(&path).map_err(|error| Failure::file("reading", &path, &error))?;
        Ok(Frames { input: BufReader::with_capacity(1 << 20, file), path, body: Vec::new(), length: [0; 4] })
    }

    /// Holds the records against the manifest, before anything is made of them.
    pub(crate) fn check(&self, manifest: &Manifest) -> Result<(), Failure> {
        let (mut digests, mut frames) = (Digests::default(), self.frames()?);
        while let Some(partition) = frames.next()? {
            digests.add(partition, [&frames.length, &frames.body]);
        }
        let found = digests.finish();
        let records: u64 = found.values().map(|(records, _)| records).sum();
        if records != manifest.records {
            return Err(Failure::usage(format!(
                "{} holds {records} records, its manifest says {}: it was cut short or added to",
                frames.path.display(),
                manifest.records
            )));
        }
        if whole(&found) != manifest.sha256 {
            return Err(Failure::usage(format!(
                "{} is not what its manifest says (SHA-256 differs): it was damaged or changed",
                frames.path.display()
            )));
        }
        Ok(())
    }
}

/// The frames of a back-up, one after the other.
pub(crate) struct Frames {
    input: BufReader<File>,
    path: PathBuf,
    pub(crate) body: Vec<u8>,
    pub(crate) length: [u8; 4],
}

impl Frames {
    /// Reads the next body; gives its partition, none at the end.
    pub(crate) fn next(&mut self) -> Result<Option<i32>, Failure> {
        let cut = |path: &Path| {
            Failure::usage(format!("{} ends in the middle of a record: it was cut short", path.display()))
        };
        let mut head = [0; 8];
        let mut read = 0;
        while read < head.len() {
            match self.input.read(&mut head[read..]) {
                Ok(0) if read == 0 => return Ok(None),
                Ok(0) => return Err(cut(&self.path)),
                Ok(more) => read += more,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(Failure::file("reading", &self.path, &error)),
            }
        }
        let (length, partition) = head.split_at(4);
        self.length.copy_from_slice(length);
        let size = usize::try_from(u32::from_be_bytes(self.length)).unwrap_or(usize::MAX);
        if size > BODY_MAX {
            return Err(Failure::usage(format!(
                "{} is damaged: a record of {size} bytes",
                self.path.display()
            )));
        }
        self.body.resize(size, 0);
        self.input.read_exact(&mut self.body).map_err(|error| match error.kind() {
            io::ErrorKind::UnexpectedEof => cut(&self.path),
            _ => Failure::file("reading", &self.path, &error),
        })?;
        Ok(partition.try_into().ok().map(i32::from_be_bytes))
    }

    pub(crate) fn record(&self) -> Result<Body<'_>, Failure> {
        Body::parse(&self.body)
            .ok_or_else(|| Failure::usage(format!("{} is damaged: no record", self.path.display())))
    }
}

/// The schema's id in Confluent's wire format: a zero byte, then four bytes.
pub(crate) fn schema_id(bytes: Option<&[u8]>) -> Option<u32> {
    match bytes? {
        [0, a, b, c, d, ..] => Some(u32::from_be_bytes([*a, *b, *c, *d])),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rdkafka::Timestamp;
    use rdkafka::message::{Header, OwnedHeaders, OwnedMessage};

    use super::*;

    fn message(partition: i32, key: Option<&[u8]>, value: Option<&[u8]>) -> OwnedMessage {
        let headers = OwnedHeaders::new()
            .insert(Header { key: "a", value: Some("1") })
            .insert(Header { key: "a", value: None::<&str> });
        let owned = |bytes: Option<&[u8]>| bytes.map(<[u8]>::to_vec);
        let time = Timestamp::CreateTime(1_700_000_000_123);
        OwnedMessage::new(owned(value), owned(key), "t".to_owned(), time, partition, 9, Some(headers))
    }

    fn manifest(records: &[OwnedMessage], folder: &Path) -> Manifest {
        let (mut digests, mut chunk) = (Digests::default(), Vec::new());
        for record in records {
            encode(record, &mut chunk);
        }
        let mut rest = chunk.as_slice();
        while let Some(found) = frame(rest) {
            digests.add(found.partition, [found.length, found.body]);
            rest = found.rest;
        }
        let place = Place::at(folder);
        place.begin().unwrap().write_all(&chunk).unwrap();
        let found = digests.finish();
        let manifest = Manifest {
            format: FORMAT,
            cluster: "c".to_owned(),
            topic: "t".to_owned(),
            facts: serde_json::json!({}),
            partitions: Vec::new(),
            records: u64::try_from(records.len()).unwrap(),
            bytes: u64::try_from(chunk.len()).unwrap(),
            sha256: whole(&found),
            schemas: Vec::new(),
        };
        place.end(&manifest).unwrap();
        manifest
    }

    #[test]
    fn what_was_written_is_read_and_checked() {
        let folder = tempfile::tempdir().unwrap();
        let records =
            [message(0, Some(b"k"), None), message(3, None, Some(b"")), message(0, None, Some(b"v"))];
        let written = manifest(&records, folder.path());
        let place = Place::at(folder.path());
        assert_eq!(place.manifest().unwrap(), written);
        place.check(&written).unwrap();
        let mut frames = place.frames().unwrap();
        assert_eq!(frames.next().unwrap(), Some(0));
        let body = frames.record().unwrap();
        assert_eq!((body.timestamp, body.key, body.value), (1_700_000_000_123, Some(&b"k"[..]), None));
        assert_eq!(body.headers, [("a", Some(&b"1"[..])), ("a", None)]);
        assert_eq!(frames.next().unwrap(), Some(3));
        assert_eq!(frames.record().unwrap().value, Some(&b""[..]));
        assert!(place.begin().unwrap_err().text.contains("already"));
    }

    #[test]
    fn interleaving_does_not_count_and_everything_else_does() {
        let of = |records: &[OwnedMessage]| manifest(records, tempfile::tempdir().unwrap().path()).sha256;
        let (a, b, c) =
            (message(0, None, Some(b"a")), message(1, None, Some(b"b")), message(0, None, Some(b"c")));
        let one = of(&[a.clone(), b.clone(), c.clone()]);
        assert_eq!(one, of(&[a.clone(), c.clone(), b.clone()]));
        assert_ne!(one, of(&[c.clone(), b.clone(), a.clone()]), "order in a partition");
        assert_ne!(one, of(&[a.clone(), b.clone(), message(1, None, Some(b"c"))]), "the partition");
        assert_ne!(one, of(&[a, b, message(0, Some(b""), Some(b"c"))]), "a key that is empty is not none");
    }

    #[test]
    fn damage_is_found_before_anything_is_made_of_it() {
        let folder = tempfile::tempdir().unwrap();
        let records = [message(0, Some(b"k"), Some(b"value")), message(0, None, Some(b"v"))];
        let written = manifest(&records, folder.path());
        let place = Place::at(folder.path());
        let path = folder.path().join(RECORDS);
        let whole = std::fs::read(&path).unwrap();
        let put = |bytes: &[u8]| {
            OpenOptions::new().write(true).truncate(true).open(&path).unwrap().write_all(bytes).unwrap();
        };
        put(&whole[..whole.len() - 1]);
        assert!(place.check(&written).unwrap_err().text.contains("cut short"));
        let mut shorter = Vec::new();
        encode(&records[0], &mut shorter);
        put(&shorter);
        assert!(place.check(&written).unwrap_err().text.contains("1 records, its manifest says 2"));
        let mut flipped = whole.clone();
        flipped[26] ^= 1;
        put(&flipped);
        assert!(place.check(&written).unwrap_err().text.contains("SHA-256"));
        std::fs::remove_file(folder.path().join(MANIFEST)).unwrap();
        assert!(place.manifest().unwrap_err().text.contains("was cut short, make it again"));
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_never_panic(bytes: Vec<u8>) {
            let _ = Body::parse(&bytes);
            let _ = frame(&bytes);
        }
    }
}
