//! One event of each type there and back.

use std::error::Error;
use std::fmt::Debug;
use std::path::Path;
use std::time::{Duration, Instant, SystemTime};

use caracal_kafka_client::events::{
    AgentLifecycleEvent, Event, EventType, MeteringEvent, PolicyChangeEvent, PolicyDecision,
};
use caracal_kafka_client::profile::ConnectionProfile;
use caracal_kafka_client::{
    ConsumeFrom, ConsumerOptions, Delivery, Group, Kafka, Position, ProducerOptions, Service,
    librdkafka_version,
};
use serde::Serialize;
use tokio::time::{Instant as Deadline, timeout_at};

use crate::arguments::Arguments;

/// Version of the report's format.
const FORMAT: u32 = 1;

/// The agent of every event that only proves a cluster; what it meters is nothing, so nobody is billed.
const AGENT: &str = "caracal-proof";

#[derive(Debug, Serialize)]
pub(crate) struct Report {
    format: u32,
    client: String,
    pub(crate) round_trips: Vec<RoundTrip>,
    pub(crate) ok: bool,
}

/// `partition`, `offset` and `schema_id` are null for what did not come so far.
#[derive(Debug, Serialize)]
pub(crate) struct RoundTrip {
    pub(crate) event: &'static str,
    topic: String,
    partition: Option<i32>,
    offset: Option<i64>,
    schema_id: Option<u32>,
    ok: bool,
    pub(crate) millis: u64,
    pub(crate) error: Option<String>,
}

impl RoundTrip {
    fn new(kind: EventType, topic: String) -> Self {
        Self {
            event: kind.name(),
            topic,
            partition: None,
            offset: None,
            schema_id: None,
            ok: false,
            millis: 0,
            error: None,
        }
    }
}

impl Report {
    fn new(round_trips: Vec<RoundTrip>) -> Self {
        let ok = !round_trips.is_empty() && round_trips.iter().all(|trip| trip.ok);
        Self { format: FORMAT, client: librdkafka_version(), round_trips, ok }
    }

    /// Nothing could even be tried: each event says so, so that no reader takes silence for success.
    pub(crate) fn failed(why: &str) -> Self {
        let trip = |kind: EventType| RoundTrip {
            error: Some(why.to_owned()),
            ..RoundTrip::new(kind, kind.topic().to_owned())
        };
        Self::new(EventType::ALL.map(trip).into())
    }
}

type Failure = Box<dyn Error + Send + Sync>;

pub(crate) async fn all(arguments: &Arguments) -> Report {
    let deadline = Deadline::now() + arguments.timeout;
    let connected = tokio::try_join!(
        connect("producer", &arguments.producer_profile, arguments.timeout),
        connect("consumer", &arguments.consumer_profile, arguments.timeout),
    );
    let (writer, reader) = match connected {
        Ok(both) => both,
        Err(why) => return Report::failed(&why),
    };
    let seed = seed();
    let probe =
        Probe { writer, reader, deadline, seed, group: format!("{}-{seed:016x}", arguments.group_prefix) };
    let trips = tokio::join!(
        probe.trip(EventType::Metering, |seed| MeteringEvent {
            agent_id: AGENT.to_owned(),
            quantity: 0,
            ..MeteringEvent::sample(seed)
        }),
        probe.trip(EventType::PolicyDecision, |seed| PolicyDecision {
            agent_id: AGENT.to_owned(),
            ..PolicyDecision::sample(seed)
        }),
        probe.trip(EventType::AgentLifecycle, |seed| AgentLifecycleEvent {
            agent_id: AGENT.to_owned(),
            ..AgentLifecycleEvent::sample(seed)
        }),
        probe.trip(EventType::PolicyChange, |seed| PolicyChangeEvent {
            agent_id: AGENT.to_owned(),
            ..PolicyChangeEvent::sample(seed)
        }),
    );
    Report::new([trips.0, trips.1, trips.2, trips.3].into())
}

async fn connect(role: &str, path: &Path, deadline: Duration) -> Result<Kafka, String> {
    let told = |error: &dyn Error| format!("{role}: {}", chain(error));
    let profile = ConnectionProfile::load(path).map_err(|error| told(&error))?;
    Kafka::connect_within(profile, Service::named("caracal-kafka-probe"), deadline)
        .await
        .map_err(|error| told(&error))
}

/// Another one each run, so that no run reads what another one wrote.
fn seed() -> u64 {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    // The upper bits of the nanoseconds say nothing more; the process keeps twins apart.
    (now.as_nanos() as u64) ^ (u64::from(std::process::id()) << 40)
}

struct Probe {
    writer: Kafka,
    reader: Kafka,
    deadline: Deadline,
    seed: u64,
    group: String,
}

impl Probe {
    async fn trip<E>(&self, kind: EventType, sample: fn(u64) -> E) -> RoundTrip
    where
        E: Debug + Event + PartialEq,
    {
        let started = Instant::now();
        let mut trip = RoundTrip::new(kind, self.writer.profile().qualified(E::TOPIC));
        let event = sample(self.seed);
        let outcome = async {
            let at = self.write(&event, &mut trip).await?;
            self.read(&event, at).await
        };
        match timeout_at(self.deadline, outcome).await {
            Ok(Ok(())) => trip.ok = true,
            Ok(Err(error)) => trip.error = Some(chain(&*error)),
            Err(_) => {
                let step = if trip.offset.is_some() { "read back" } else { "written" };
                trip.error = Some(format!("not {step} after {:.1?}", started.elapsed()));
            }
        }
        trip.millis = u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX);
        trip
    }

    async fn write<E: Event>(&self, event: &E, trip: &mut RoundTrip) -> Result<Position, Failure> {
        let remaining = self.deadline.saturating_duration_since(Deadline::now());
        let options = ProducerOptions { delivery_timeout: remaining, ..ProducerOptions::default() };
        let producer = self.writer.producer::<E>(options).await?;
        trip.schema_id = Some(producer.schema_id());
        let delivery = producer.enqueue(event).await?.await;
        let report = producer.close(Duration::from_secs(5)).await;
        let at = match delivery {
            Delivery::Written(at) => at,
            Delivery::NotWritten(why) => return Err(why.into()),
            Delivery::Unknown(why) => return Err(why.into()),
        };
        (trip.partition, trip.offset) = (Some(at.partition), Some(at.offset));
        if (report.written, report.all_written()) != (1, true) {
            return Err(format!("the producer's own count is wrong: {report:?}").into());
        }
        Ok(at)
    }

    /// Reads exactly there, so that a long topic costs nothing, and commits: which needs the same
    /// right to the group as a service needs.
    async fn read<E>(&self, event: &E, at: Position) -> Result<(), Failure>
    where
        E: Debug + Event + PartialEq,
    {
        let options =
            ConsumerOptions { from: ConsumeFrom::Exactly(vec![at.clone()]), ..ConsumerOptions::default() };
        // One group a topic: members that choose their partitions themselves do not share one.
        let group = Group::named(format!("{}-{}", self.group, E::TOPIC));
        let mut consumer = self.reader.consumer::<E>(group, options).await?;
        let received = consumer.recv().await?;
        if received.position != at {
            return Err(format!("asked for {at}, got {}", received.position).into());
        }
        if received.key.as_deref() != Some(event.key().as_bytes()) {
            return Err(format!("the key at {at} is not the agent's id").into());
        }
        if received.event != *event {
            return Err(format!("the event at {at} is not the one that was written").into());
        }
        consumer.commit(&received).await?;
        consumer.close(Duration::from_secs(5)).await;
        Ok(())
    }
}

/// An error with its causes, none of which repeats the one before.
fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        next = cause.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_without_success_is_none() {
        assert!(!Report::new(Vec::new()).ok);
        let report = Report::failed("why");
        let json = serde_json::to_value(&report).expect("JSON");
        assert_eq!((json["format"].as_u64(), json["ok"].as_bool()), (Some(1), Some(false)));
        let trips = json["round_trips"].as_array().expect("a list");
        assert_eq!(trips.len(), EventType::ALL.len());
        for trip in trips {
            assert_eq!((trip["error"].as_str(), trip["ok"].as_bool()), (Some("why"), Some(false)));
            assert!(trip["offset"].is_null(), "{trip}");
        }
    }
}
