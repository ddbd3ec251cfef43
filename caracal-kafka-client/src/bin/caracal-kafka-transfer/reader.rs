//! Reads a topic from here to there, or on and on.

use std::time::{Duration, Instant};

use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::error::KafkaError;
use rdkafka::message::BorrowedMessage;
use rdkafka::{Message as _, Offset, TopicPartitionList};

use crate::failure::{Failure, shown};
use crate::link::{PATIENCE, Watch};

/// No record and no end of a partition for so long is trouble.
const SILENCE: Duration = Duration::from_secs(60);

/// Where reading begins.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum From {
    Beginning,
    End,
    Offset(i64),
    /// So many before the end.
    Last(i64),
    /// The first record of this time or later, in milliseconds since 1970.
    Time(i64),
}

impl From {
    pub(crate) fn parse(text: &str) -> Result<Self, Failure> {
        let wrong = || {
            Failure::usage(format!(
                "`{text}` is no place to begin: beginning, end, an offset, -N (the last N), or time:MS"
            ))
        };
        let number = |text: &str| text.parse::<i64>().map_err(|_| wrong());
        match text {
            "beginning" => Ok(Self::Beginning),
            "end" => Ok(Self::End),
            _ if text.starts_with("time:") => number(&text[5..]).map(Self::Time),
            _ => {
                number(text).map(|number| if number < 0 { Self::Last(-number) } else { Self::Offset(number) })
            }
        }
    }
}

/// A stretch of a partition: from an offset to the one that is not read any more.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Span {
    pub(crate) partition: i32,
    pub(crate) from: i64,
    pub(crate) to: i64,
}

impl Span {
    fn is_empty(&self) -> bool {
        self.from >= self.to
    }

    pub(crate) fn records(&self) -> u64 {
        u64::try_from(self.to - self.from).unwrap_or(0)
    }
}

/// What is there now of these partitions, from a place on.
pub(crate) fn spans(
    consumer: &BaseConsumer<Watch>,
    topic: &str,
    partitions: &[i32],
    from: From,
) -> Result<Vec<Span>, Failure> {
    let failed = |error: KafkaError| Failure::kafka(&format!("read the offsets of `{topic}`"), &error);
    let mut spans = Vec::new();
    for partition in partitions {
        let (low, high) = consumer.fetch_watermarks(topic, *partition, PATIENCE).map_err(failed)?;
        let begin = match from {
            From::Beginning => low,
            From::End => high,
            From::Offset(offset) => offset,
            From::Last(number) => high.saturating_sub(number),
            From::Time(millis) => at(consumer, topic, *partition, millis)?.unwrap_or(high),
        };
        spans.push(Span { partition: *partition, from: begin.clamp(low, high), to: high });
    }
    Ok(spans)
}

fn at(
    consumer: &BaseConsumer<Watch>,
    topic: &str,
    partition: i32,
    millis: i64,
) -> Result<Option<i64>, Failure> {
    let failed = |error: KafkaError| Failure::kafka("find offsets by their time", &error);
    let mut asked = TopicPartitionList::new();
    asked.add_partition_offset(topic, partition, Offset::Offset(millis)).map_err(failed)?;
    let found = consumer.offsets_for_times(asked, PATIENCE).map_err(failed)?;
    let found = found.find_partition(topic, partition).map(|found| found.offset());
    Ok(match found {
        Some(Offset::Offset(offset)) => Some(offset),
        _ => None,
    })
}

/// Whether reading goes on.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Flow {
    Go,
    Stop,
}

/// Hands over each record of the spans, partition by partition in order; with `follow` never ends by itself.
pub(crate) fn read(
    consumer: &BaseConsumer<Watch>,
    topic: &str,
    spans: &[Span],
    follow: bool,
    mut each: impl FnMut(&BorrowedMessage<'_>) -> Result<Flow, Failure>,
) -> Result<(), Failure> {
    let mut ends = Ends::of(spans, follow);
    if ends.is_done() {
        return Ok(());
    }
    let failed = |error: &KafkaError| Failure::kafka(&format!("read `{topic}`"), error);
    let mut assigned = TopicPartitionList::new();
    for span in spans.iter().filter(|span| follow || !span.is_empty()) {
        assigned
            .add_partition_offset(topic, span.partition, Offset::Offset(span.from))
            .map_err(|error| failed(&error))?;
    }
    consumer.assign(&assigned).map_err(|error| failed(&error))?;
    let mut heard = Instant::now();
    loop {
        match consumer.poll(Duration::from_millis(100)) {
            None if !follow && heard.elapsed() > SILENCE => {
                return Err(Failure::cluster(format!(
                    "`{topic}`: no record and no end for {} s; `cargo xtask health` shows the brokers",
                    SILENCE.as_secs()
                )));
            }
            None => continue,
            Some(Ok(message)) => {
                if ends.wants(message.partition(), message.offset()) && each(&message)? == Flow::Stop {
                    return Ok(());
                }
                ends.reached(message.partition(), message.offset() + 1);
            }
            Some(Err(KafkaError::PartitionEOF(partition))) => ends.reached(partition, i64::MAX),
            Some(Err(error)) if is_passing(&error) => continue,
            Some(Err(error)) => {
                return Err(Failure::cluster(format!("`{topic}` cannot be read: {}", shown(&error))));
            }
        }
        if !follow && ends.is_done() {
            return Ok(());
        }
        heard = Instant::now();
    }
}

/// What librdkafka tells of although it goes on by itself.
fn is_passing(error: &KafkaError) -> bool {
    use rdkafka::error::RDKafkaErrorCode as Code;
    matches!(
        error.rdkafka_error_code(),
        Some(Code::AllBrokersDown | Code::BrokerTransportFailure | Code::OperationTimedOut | Code::Resolve)
    )
}

/// How far each partition is.
struct Ends {
    /// By partition: the offset that is not wanted any more, and whether it was reached.
    ends: Vec<Option<(i64, bool)>>,
    left: usize,
    follow: bool,
}

impl Ends {
    fn of(spans: &[Span], follow: bool) -> Self {
        let most = spans.iter().map(|span| span.partition).max().unwrap_or(-1);
        let mut ends = vec![None; usize::try_from(most + 1).unwrap_or(0)];
        let mut left = 0;
        for span in spans {
            if let Some(end) = usize::try_from(span.partition).ok().and_then(|at| ends.get_mut(at)) {
                *end = Some((span.to, span.is_empty()));
                left += usize::from(!span.is_empty());
            }
        }
        Self { ends, left, follow }
    }

    fn end(&mut self, partition: i32) -> Option<&mut (i64, bool)> {
        usize::try_from(partition).ok().and_then(|at| self.ends.get_mut(at)).and_then(Option::as_mut)
    }

    /// Records that came after the end was looked up are somebody else's.
    fn wants(&mut self, partition: i32, offset: i64) -> bool {
        self.follow || self.end(partition).is_some_and(|(end, _)| offset < *end)
    }

    fn reached(&mut self, partition: i32, next: i64) {
        let Some((end, done)) = self.end(partition) else { return };
        if !*done && next >= *end {
            *done = true;
            self.left -= 1;
        }
    }

    fn is_done(&self) -> bool {
        self.left == 0 && !self.follow
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_read() {
        for (text, place) in [
            ("beginning", From::Beginning),
            ("end", From::End),
            ("7", From::Offset(7)),
            ("-5", From::Last(5)),
            ("time:99", From::Time(99)),
        ] {
            assert_eq!(From::parse(text).unwrap(), place);
        }
        assert!(From::parse("soon").unwrap_err().text.contains("no place to begin"));
    }

    #[test]
    fn a_partition_ends_by_offset_or_by_its_end_and_once() {
        let span = |partition, from, to| Span { partition, from, to };
        let mut ends = Ends::of(&[span(0, 0, 2), span(2, 5, 5), span(3, 1, 9)], false);
        assert!(!ends.is_done());
        assert!(ends.wants(0, 1) && !ends.wants(0, 2) && !ends.wants(2, 5) && !ends.wants(1, 0));
        ends.reached(0, 2);
        ends.reached(0, 3);
        assert!(!ends.is_done());
        ends.reached(3, i64::MAX);
        assert!(ends.is_done());
        assert!(Ends::of(&[span(0, 3, 3)], false).is_done());
        assert!(!Ends::of(&[span(0, 3, 3)], true).is_done());
    }
}
