//! `produce`: writes what stands on standard input.

use std::io::{BufRead as _, Read as _};
use std::time::Instant;

use crate::arguments::Options;
use crate::avro::Encoder;
use crate::consume::Format;
use crate::failure::Failure;
use crate::line::{Encoding, HeaderLine, Line, header_value, plain};
use crate::link::Link;
use crate::progress::millis;
use crate::registry::Registry;
use crate::writer::{Outgoing, Writer};

/// A record larger than this is refused by every broker that was not told otherwise.
const RAW_MAX: u64 = 100 << 20;

/// What the command line says of every record.
struct Defaults {
    key: Option<String>,
    headers: Vec<HeaderLine>,
    partition: Option<i32>,
    timestamp: Option<i64>,
    separator: Option<String>,
}

/// How values become bytes.
enum Values {
    Avro { encoder: Box<Encoder>, subject: String },
    Plain,
}

pub(crate) fn run(options: &mut Options) -> Result<(), Failure> {
    let begun = Instant::now();
    let (profile, topic) = (options.path("--profile")?, options.needed("--topic")?);
    let format = Format::parse(options.one("--format")?.as_deref())?;
    let encoding = options.one("--encoding")?;
    let headers = options.all("--header").iter().map(|text| header(text)).collect::<Result<Vec<_>, _>>()?;
    let defaults = Defaults {
        key: options.one("--key")?,
        headers,
        partition: options.parsed("--partition")?,
        timestamp: options.parsed("--timestamp")?,
        separator: options.one("--key-separator")?.filter(|text| !text.is_empty()),
    };
    let (count, json) = (options.parsed::<u64>("--count")?, options.switch("--json"));
    let dry_run = options.switch("--dry-run");
    options.finish()?;
    let link = Link::open(&profile)?;
    let values = values(&link, &topic, format, encoding.as_deref())?;
    let mut writer = Writer::open(&link, &topic)?;
    writer.dry_run = dry_run;
    let outcome = match format {
        Format::Raw => raw(&mut writer, &defaults),
        _ => lines(&mut writer, format, &defaults, &values, count),
    };
    // What was handed over before a bad line is written all the same, and said.
    let written = writer.finish()?;
    outcome.map_err(|failure| Failure {
        text: format!(
            "{}; {written} records before it {}",
            failure.text,
            if dry_run { "are good" } else { "were written" }
        ),
        ..failure
    })?;
    let (cluster, millis) = (&link.profile.cluster, millis(begun));
    let subject = match &values {
        Values::Avro { subject, .. } => Some(subject),
        Values::Plain => None,
    };
    if !json {
        let said = if dry_run { "would be written" } else { "written" };
        return crate::print(&format!("{written} records {said} to {topic} ({millis} ms)\n"));
    }
    let report = serde_json::json!({
        "format": 1, "command": "produce", "cluster": cluster, "topic": topic, "records": written,
        "dry_run": dry_run, "subject": subject, "millis": millis,
    });
    crate::print(&format!("{report}\n"))
}

fn header(text: &str) -> Result<HeaderLine, Failure> {
    let (name, value) = text
        .split_once('=')
        .filter(|(name, _)| !name.is_empty())
        .ok_or_else(|| Failure::usage(format!("`{text}` is no header: write NAME=VALUE")))?;
    Ok(HeaderLine { name: name.to_owned(), value: Some(value.to_owned()), encoding: None })
}

/// Avro where the registry has a schema for the topic, unless text is asked for.
fn values(link: &Link, topic: &str, format: Format, encoding: Option<&str>) -> Result<Values, Failure> {
    let must = match encoding {
        Some("text") => return Ok(Values::Plain),
        Some("avro") => true,
        None | Some("auto") => false,
        Some(other) => return Err(Failure::usage(format!("`{other}` is no encoding: auto, avro or text"))),
    };
    if format == Format::Raw {
        return Ok(Values::Plain);
    }
    let subject = format!("{topic}-value");
    let found = match Registry::of(&link.profile)? {
        Some(registry) => registry.latest(&subject)?,
        None => None,
    };
    match found {
        Some((id, text)) => Ok(Values::Avro { encoder: Box::new(Encoder::new(id, &text)?), subject }),
        None if must => Err(Failure::usage(format!(
            "the registry has no subject `{subject}`: `cargo xtask schemas register` makes it, or use --encoding text"
        ))),
        None => Ok(Values::Plain),
    }
}

fn raw(writer: &mut Writer, defaults: &Defaults) -> Result<(), Failure> {
    let mut value = Vec::new();
    let read = std::io::stdin().lock().take(RAW_MAX + 1).read_to_end(&mut value);
    read.map_err(|error| Failure::usage(format!("standard input cannot be read: {error}")))?;
    if value.len() as u64 > RAW_MAX {
        return Err(Failure::usage(format!("a value is larger than {RAW_MAX} bytes")));
    }
    let line = Line { key: defaults.key.clone().into(), ..Line::default() };
    send(writer, defaults, &line, Some(value))
}

fn lines(
    writer: &mut Writer,
    format: Format,
    defaults: &Defaults,
    values: &Values,
    count: Option<u64>,
) -> Result<(), Failure> {
    let mut input = std::io::stdin().lock();
    let (mut text, mut number) = (String::new(), 0_u64);
    while count.is_none_or(|count| writer.sent < count) {
        text.clear();
        number += 1;
        let wrong = |why: String| Failure::usage(format!("line {number}: {why}"));
        let read = input.read_line(&mut text).map_err(|error| wrong(error.to_string()))?;
        if read == 0 {
            break;
        }
        let text = text.trim_end_matches(['\n', '\r']);
        if format == Format::Json && text.trim().is_empty() {
            continue;
        }
        let line = if format == Format::Json {
            Line::parse(text).map_err(wrong)?
        } else {
            split(text, defaults, values).map_err(wrong)?
        };
        let value = value_of(&line, values).map_err(wrong)?;
        send(writer, defaults, &line, value)
            .map_err(|failure| Failure { text: format!("line {number}: {}", failure.text), ..failure })?;
    }
    Ok(())
}

/// A line of text: maybe a key, and a value, which is JSON where it is to become Avro.
fn split(text: &str, defaults: &Defaults, values: &Values) -> Result<Line, String> {
    let parts = defaults.separator.as_deref().and_then(|separator| text.split_once(separator));
    let (key, value) = parts.map_or((None, text), |(key, value)| (Some(key), value));
    let value = match values {
        Values::Avro { .. } => {
            serde_json::from_str(value).map_err(|error| format!("the value is no JSON: {error}"))?
        }
        Values::Plain => value.into(),
    };
    Ok(Line { key: key.into(), value, ..Line::default() })
}

fn value_of(line: &Line, values: &Values) -> Result<Option<Vec<u8>>, String> {
    match (values, line.value_encoding) {
        _ if line.value.is_null() => Ok(None),
        (Values::Avro { encoder, subject }, None | Some(Encoding::Avro)) => {
            encoder.encode(&line.value).map(Some).map_err(|why| format!("{why} (schema of `{subject}`)"))
        }
        (Values::Plain, Some(Encoding::Avro)) => {
            Err("the value is to be Avro, and the topic has no schema in the registry".to_owned())
        }
        (_, encoding) => plain(&line.value, encoding),
    }
}

fn send(
    writer: &mut Writer,
    defaults: &Defaults,
    line: &Line,
    value: Option<Vec<u8>>,
) -> Result<(), Failure> {
    let wrong = |what: &'static str| move |why: String| Failure::usage(format!("{what}: {why}"));
    if line.key_encoding == Some(Encoding::Avro) {
        return Err(Failure::usage("the key: Avro keys cannot be written, give it as base64".to_owned()));
    }
    let key = plain(&line.key, line.key_encoding).map_err(wrong("the key"))?;
    let key = key.or_else(|| defaults.key.as_ref().map(|key| key.as_bytes().to_vec()));
    let headers: Vec<(&str, Option<Vec<u8>>)> = line
        .headers
        .iter()
        .chain(&defaults.headers)
        .map(|header| Ok((header.name.as_str(), header_value(header).map_err(wrong("a header"))?)))
        .collect::<Result<_, Failure>>()?;
    let headers: Vec<(&str, Option<&[u8]>)> =
        headers.iter().map(|(name, value)| (*name, value.as_deref())).collect();
    let partition = line.partition.or(defaults.partition);
    if let Some(odd) = partition.filter(|id| !writer.partitions.contains(id)) {
        let there = writer.partitions.len();
        return Err(Failure::usage(format!(
            "there is no partition {odd}: the topic has {there}, counted from 0"
        )));
    }
    let timestamp = line.timestamp.or(defaults.timestamp);
    writer.send(Outgoing {
        partition,
        timestamp,
        key: key.as_deref(),
        value: value.as_deref(),
        headers: &headers,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn defaults(separator: Option<&str>) -> Defaults {
        Defaults {
            key: None,
            headers: Vec::new(),
            partition: None,
            timestamp: None,
            separator: separator.map(str::to_owned),
        }
    }

    #[test]
    fn a_line_of_text_may_have_a_key() {
        let line = split("k|v|w", &defaults(Some("|")), &Values::Plain).unwrap();
        assert_eq!((line.key, line.value), ("k".into(), "v|w".into()));
        assert_eq!(split("k|v", &defaults(None), &Values::Plain).unwrap().value, "k|v");
        assert!(split("v", &defaults(Some("|")), &Values::Plain).unwrap().key.is_null());
        assert!(header("a=b=c").is_ok_and(|header| header.value.as_deref() == Some("b=c")));
        assert!(header("a").unwrap_err().text.contains("NAME=VALUE"));
    }

    #[test]
    fn avro_is_written_only_where_there_is_a_schema() {
        let encoder =
            Encoder::new(3, r#"{"type":"record","name":"R","fields":[{"name":"a","type":"int"}]}"#).unwrap();
        let avro = Values::Avro { encoder: Box::new(encoder), subject: "t-value".to_owned() };
        let line =
            |value: serde_json::Value, value_encoding| Line { value, value_encoding, ..Line::default() };
        let written = value_of(&line(serde_json::json!({"a": 1}), None), &avro).unwrap();
        assert_eq!(written, Some(vec![0, 0, 0, 0, 3, 2]));
        assert!(value_of(&line(serde_json::json!({"b": 1}), None), &avro).unwrap_err().contains("`t-value`"));
        assert_eq!(value_of(&line("x".into(), Some(Encoding::Text)), &avro).unwrap(), Some(b"x".to_vec()));
        assert_eq!(value_of(&line(serde_json::Value::Null, Some(Encoding::Avro)), &avro).unwrap(), None);
        assert!(value_of(&line("x".into(), Some(Encoding::Avro)), &Values::Plain).is_err());
    }
}
