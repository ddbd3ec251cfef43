//! `consume`: prints records.

use std::io::{BufWriter, Write as _};

use rdkafka::Message as _;
use rdkafka::message::BorrowedMessage;

use crate::arguments::Options;
use crate::avro::Decoder;
use crate::failure::Failure;
use crate::line::{Encoding, Line};
use crate::link::{Link, consumed};
use crate::reader::{Flow, From, read, spans};
use crate::registry::Registry;

/// How records are printed.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Format {
    /// A line of JSON.
    Json,
    /// Key, tab, value; without a key the value alone.
    Text,
    /// The value's bytes, and nothing between two of them.
    Raw,
}

impl Format {
    pub(crate) fn parse(text: Option<&str>) -> Result<Self, Failure> {
        match text {
            None | Some("json") => Ok(Self::Json),
            Some("text") => Ok(Self::Text),
            Some("raw") => Ok(Self::Raw),
            Some(other) => Err(Failure::usage(format!("`{other}` is no format: json, text or raw"))),
        }
    }
}

fn encoding(text: Option<&str>) -> Result<Option<Encoding>, Failure> {
    match text {
        None | Some("auto") => Ok(None),
        Some("text") => Ok(Some(Encoding::Text)),
        Some("base64") => Ok(Some(Encoding::Base64)),
        Some(other) => Err(Failure::usage(format!("`{other}` is no encoding: auto, text or base64"))),
    }
}

pub(crate) fn run(options: &mut Options) -> Result<(), Failure> {
    let (profile, topic) = (options.path("--profile")?, options.needed("--topic")?);
    let format = Format::parse(options.one("--format")?.as_deref())?;
    let forced = encoding(options.one("--encoding")?.as_deref())?;
    let from = From::parse(options.one("--from")?.as_deref().unwrap_or("beginning"))?;
    let (until, count) = (options.parsed::<i64>("--until")?, options.parsed::<u64>("--count")?);
    let (follow, uncommitted) = (options.switch("--follow"), options.switch("--uncommitted"));
    let chosen = options.all("--partition");
    options.finish()?;
    if follow && until.is_some() {
        return Err(Failure::usage("`--follow` has no end, and `--until` names one".to_owned()));
    }
    let link = Link::open(&profile)?;
    let consumer = link.consumer(uncommitted)?;
    let partitions = chosen_of(&chosen, consumed(&consumer, &topic)?, &topic)?;
    let mut spans = spans(&consumer, &topic, &partitions, from)?;
    if let Some(until) = until {
        spans.iter_mut().for_each(|span| span.to = span.to.min(until));
    }
    if count == Some(0) {
        return Ok(());
    }
    let registry = if format == Format::Raw { None } else { Registry::of(&link.profile)? };
    let mut decoder = Decoder::new(registry);
    let mut out = BufWriter::with_capacity(64 << 10, std::io::stdout().lock());
    let mut printed = 0;
    read(&consumer, &topic, &spans, follow, |message| {
        print(message, format, &mut decoder, forced, &mut out)?;
        printed += 1;
        if follow {
            out.flush().map_err(Failure::output)?;
        }
        Ok(if count == Some(printed) { Flow::Stop } else { Flow::Go })
    })?;
    out.flush().map_err(Failure::output)
}

fn chosen_of(chosen: &[String], there: Vec<i32>, topic: &str) -> Result<Vec<i32>, Failure> {
    if chosen.is_empty() {
        return Ok(there);
    }
    let number = |text: &String| {
        text.parse().ok().filter(|id| there.contains(id)).ok_or_else(|| {
            Failure::usage(format!(
                "topic `{topic}` has no partition `{text}`: it has {}, counted from 0",
                there.len()
            ))
        })
    };
    chosen.iter().map(number).collect()
}

fn print(
    message: &BorrowedMessage<'_>,
    format: Format,
    decoder: &mut Decoder,
    forced: Option<Encoding>,
    out: &mut impl std::io::Write,
) -> Result<(), Failure> {
    if format == Format::Raw {
        return out.write_all(message.payload().unwrap_or_default()).map_err(Failure::output);
    }
    let line = Line::of(message, decoder, forced)?;
    let text = match format {
        Format::Text => {
            let word = |json: &serde_json::Value| match json {
                serde_json::Value::String(text) => text.clone(),
                serde_json::Value::Null => String::new(),
                other => other.to_string(),
            };
            match line.key {
                serde_json::Value::Null => word(&line.value),
                ref key => format!("{}\t{}", word(key), word(&line.value)),
            }
        }
        _ => serde_json::to_string(&line).map_err(|error| Failure::cluster(error.to_string()))?,
    };
    writeln!(out, "{text}").map_err(Failure::output)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn partitions_are_chosen_from_those_that_are_there() {
        let text = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>();
        assert_eq!(chosen_of(&[], vec![0, 1], "t").unwrap(), [0, 1]);
        assert_eq!(chosen_of(&text(&["1"]), vec![0, 1], "t").unwrap(), [1]);
        for wrong in ["2", "-1", "x"] {
            assert!(chosen_of(&text(&[wrong]), vec![0, 1], "t").unwrap_err().text.contains("it has 2"));
        }
        assert!(Format::parse(Some("xml")).unwrap_err().text.contains("json, text or raw"));
        assert!(encoding(Some("xml")).is_err() && encoding(Some("auto")).unwrap().is_none());
    }
}
