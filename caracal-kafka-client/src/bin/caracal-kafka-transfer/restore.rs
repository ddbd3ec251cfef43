//! `restore`: a back-up's records into a topic that is there and empty.

use std::collections::BTreeMap;
use std::time::Instant;

use crate::arguments::Options;
use crate::backup::{everything, keep};
use crate::failure::Failure;
use crate::file::{Manifest, Place, schema_id, whole};
use crate::link::Link;
use crate::progress::{Progress, millis, rate};
use crate::registry::Registry;
use crate::writer::{Outgoing, Writer};

pub(crate) fn run(options: &mut Options) -> Result<(), Failure> {
    let begun = Instant::now();
    let (profile, topic, from) =
        (options.path("--profile")?, options.needed("--topic")?, options.path("--from")?);
    let checked = options.switch("--checked");
    let (verify, json, quiet) =
        (!options.switch("--no-verify"), options.switch("--json"), options.switch("--quiet"));
    options.finish()?;
    let place = Place::at(&from);
    let manifest = place.manifest()?;
    if !checked {
        place.check(&manifest)?;
    }
    let link = Link::open(&profile)?;
    let writer = Writer::open(&link, &topic)?;
    empty(&writer, &topic, &manifest)?;
    let ids = ids(&link, &manifest, &topic)?;
    let written = write(writer, &topic, &place, &manifest, &ids, quiet)?;
    let took = begun.elapsed();
    if verify {
        verified(&link, &topic, &manifest, &ids, quiet)?;
    }
    let rate = rate(written, took);
    let renamed = ids.iter().filter(|(old, new)| old != new).count();
    if !json {
        let said = if verify { "read back, SHA-256 is equal" } else { "not read back" };
        return crate::print(&format!(
            "{topic}: {written} records restored, {said} ({rate} records a second)\n  sha256 {}\n",
            manifest.sha256
        ));
    }
    let report = serde_json::json!({
        "format": 1, "command": "topics restore", "cluster": link.profile.cluster, "topic": topic, "folder": from,
        "records": written, "schemas": ids.len(), "renamed_schemas": renamed, "verified": verify,
        "sha256": manifest.sha256, "records_per_second": rate, "millis": millis(begun),
    });
    crate::print(&format!("{report}\n"))
}

/// Holds a back-up against its manifest.
pub(crate) fn check(options: &mut Options) -> Result<(), Failure> {
    let place = Place::at(&options.path("--from")?);
    options.finish()?;
    place.check(&place.manifest()?)
}

/// A topic that holds anything is somebody's. Asked over the writer's connections: a consumer would need its own.
fn empty(writer: &Writer, topic: &str, manifest: &Manifest) -> Result<(), Failure> {
    let held = writer.held()?;
    if held > 0 {
        return Err(Failure::usage(format!(
            "topic `{topic}` is not empty ({held} records): restore into another one (--as), or delete it first"
        )));
    }
    let least = manifest.partitions.len();
    let there = writer.partitions.len();
    if there < least {
        return Err(Failure::usage(format!("topic `{topic}` has {there} partitions, the back-up {least}")));
    }
    Ok(())
}

/// The target registry's id of each schema.
fn ids(link: &Link, manifest: &Manifest, topic: &str) -> Result<BTreeMap<u32, u32>, Failure> {
    if manifest.schemas.is_empty() {
        return Ok(BTreeMap::new());
    }
    let Some(registry) = Registry::of(&link.profile)? else {
        return Err(Failure::usage(
            "the back-up has schemas, and this cluster's profile names no registry".to_owned(),
        ));
    };
    let mut ids = BTreeMap::new();
    for entry in &manifest.schemas {
        let own = |suffix: &str| {
            let subject = format!("{}{suffix}", manifest.topic);
            entry.subjects.contains(&subject).then(|| format!("{topic}{suffix}"))
        };
        let subject = own("-value").or_else(|| own("-key")).or_else(|| entry.subjects.first().cloned());
        let subject = subject.unwrap_or_else(|| format!("{topic}-value"));
        ids.insert(entry.id, registry.register(&subject, &entry.schema)?);
    }
    Ok(ids)
}

fn write(
    mut writer: Writer,
    topic: &str,
    place: &Place,
    manifest: &Manifest,
    ids: &BTreeMap<u32, u32>,
    quiet: bool,
) -> Result<u64, Failure> {
    let mut progress = Progress::new("writing", manifest.records, quiet);
    let mut frames = place.frames()?;
    let changed = ids.iter().any(|(old, new)| old != new);
    while let Some(partition) = frames.next()? {
        let record = frames.record()?;
        let renamed = |bytes: Option<&[u8]>| if changed { renamed(bytes, ids) } else { None };
        let (key, value) = (renamed(record.key), renamed(record.value));
        writer.send(Outgoing {
            partition: Some(partition),
            timestamp: (record.timestamp >= 0).then_some(record.timestamp),
            key: key.as_deref().or(record.key),
            value: value.as_deref().or(record.value),
            headers: &record.headers,
        })?;
        progress.at(writer.sent);
    }
    progress.end();
    writer.finish().map_err(|failure| Failure {
        text: format!("{}; topic `{topic}` is half restored: delete it before you try again", failure.text),
        ..failure
    })
}

/// The same bytes with the target's schema id; none where they need none.
fn renamed(bytes: Option<&[u8]>, ids: &BTreeMap<u32, u32>) -> Option<Vec<u8>> {
    let new = ids.get(&schema_id(bytes)?)?;
    let mut bytes = bytes?.to_vec();
    bytes.get_mut(1..5)?.copy_from_slice(&new.to_be_bytes());
    Some(bytes)
}

/// Reads the topic back: as it would be backed up, with the schema ids of where it came from.
fn verified(
    link: &Link,
    topic: &str,
    manifest: &Manifest,
    ids: &BTreeMap<u32, u32>,
    quiet: bool,
) -> Result<(), Failure> {
    let consumer = link.consumer(false)?;
    let spans = everything(&consumer, topic)?;
    let back: BTreeMap<u32, u32> =
        ids.iter().filter(|(old, new)| old != new).map(|(old, new)| (*new, *old)).collect();
    let kept = keep(&consumer, topic, &spans, None, &back, quiet)?;
    let found = whole(&kept.partitions);
    if found == manifest.sha256 {
        return Ok(());
    }
    Err(Failure::cluster(format!(
        "topic `{topic}` holds {} records with SHA-256 {found}, the back-up {} with {}: does the topic set its own \
         times (message.timestamp.type), or does it drop old records already (retention.ms)?",
        kept.records(),
        manifest.records,
        manifest.sha256
    )))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_framed_values_of_known_schemas_change() {
        let ids = BTreeMap::from([(1, 2)]);
        assert_eq!(renamed(Some(&[0, 0, 0, 0, 1, 9]), &ids), Some(vec![0, 0, 0, 0, 2, 9]));
        assert_eq!(renamed(Some(&[0, 0, 0, 0, 3, 9]), &ids), None);
        assert_eq!(renamed(Some(b"plain"), &ids), None);
        assert_eq!(renamed(None, &ids), None);
    }
}
