//! Level 1 of the proof, in every `up`: everybody who should gets in on every listener, nobody without a
//! certificate does, and one Avro event goes through producer, brokers, registry and consumer.

use std::time::Duration;

use apache_avro::Schema;
use apache_avro::reader::datum::GenericDatumReader;
use apache_avro::writer::datum::GenericDatumWriter;
use bytes::Bytes;
use caracal_kafka_contract::events::{Event as _, MeteringEvent};
use futures::future::try_join_all;
use futures::stream::{self, StreamExt as _, TryStreamExt as _};

use super::registry;
use crate::admin::BrokerEndpoint;
use crate::lifecycle::ClusterWorld;
use crate::lifecycle::engine::Observed;
use crate::lifecycle::error::{StepError, chain};
use crate::plan::{Ca, NodeRole, Role, UserPlan};
use crate::wait::{Probe, WaitError, wait_for};
use crate::wire::{
    Connection, Deadline, Endpoint, Login, TlsAlert, TlsConfig, WireError, WireErrorKind, records,
};
use crate::zookeeper::ZkError;
use crate::zookeeper::admin_words;

const LOOK: Duration = Duration::from_secs(10);

/// A broker fills its cache of users a moment after it has opened its ports.
const PATIENCE: Duration = Duration::from_secs(15);

/// Log-ins at once: enough to keep two cores busy.
const PARALLEL: usize = 8;

/// The key of the event that proves the cluster; its quantity is zero, so that nobody is billed for it.
pub(crate) const PROOF_AGENT: &str = "caracal-proof";

pub(in crate::lifecycle) async fn logins(world: &mut ClusterWorld) -> Result<Observed, StepError> {
    let access = world.access();
    let listeners: Vec<BrokerEndpoint> =
        ["INTERNAL", "EXTERNAL"].iter().flat_map(|listener| access.brokers(listener)).collect();
    let mut right = Vec::new();
    for user in &world.cluster.plan.users {
        let (tls, login) = (access.user_tls(user)?, access.login(user)?);
        right
            .extend(listeners.iter().map(|listener| (listener.endpoint.clone(), tls.clone(), login.clone())));
    }
    let logins = right.len();
    stream::iter(right)
        .map(|(endpoint, tls, login)| async move { log_in(&endpoint, &tls, &login).await })
        .buffer_unordered(PARALLEL)
        .try_collect::<Vec<()>>()
        .await?;
    let bare_data = access.tls_without_certificate(Ca::Data)?;
    let bare_control = access.tls_without_certificate(Ca::Control)?;
    try_join_all(
        listeners.iter().map(|listener| refused_without_certificate(&listener.endpoint, &bare_data)),
    )
    .await?;
    let ensemble = access.zookeepers();
    try_join_all(ensemble.iter().map(|endpoint| zookeeper_refuses(endpoint, &bare_control))).await?;
    let refused = listeners.len() + ensemble.len();
    Ok(Observed::Satisfied(format!(
        "{logins} log-ins accepted, {refused} handshakes without certificate refused"
    )))
}

async fn log_in(endpoint: &Endpoint, tls: &TlsConfig, login: &Login) -> Result<(), StepError> {
    let outcome = wait_for("a log-in", PATIENCE, Duration::from_millis(200), || async {
        match Connection::open(endpoint, tls, login, Deadline::after(LOOK)).await {
            Ok(_) => Probe::Ready(()),
            Err(error) if matches!(error.kind, WireErrorKind::AuthenticationFailed { .. }) => {
                Probe::NotYet(chain(&error))
            }
            Err(error) => Probe::Failed(error),
        }
    })
    .await;
    match outcome {
        Ok(()) => Ok(()),
        Err(WaitError::Failed(error)) => Err(error.into()),
        Err(WaitError::TimedOut { elapsed, last, .. }) => Err(StepError::Proof {
            what: format!(
                "{} could not log in at {endpoint} for {} s; last answer: {last}",
                login.principal(),
                elapsed.as_secs()
            ),
        }),
    }
}

/// Only an answer that says "certificate" is a refusal; a closed or silent port proves nothing.
async fn refused_without_certificate(endpoint: &Endpoint, bare: &TlsConfig) -> Result<(), StepError> {
    match Connection::open_unauthenticated(endpoint, bare, Deadline::after(LOOK)).await {
        Err(WireError { kind: WireErrorKind::TlsAlert(alert), .. }) if alert.is_about_our_certificate() => {
            Ok(())
        }
        Err(error) => Err(StepError::Proof {
            what: format!(
                "{endpoint} did not refuse a handshake without certificate but failed: {}",
                chain(&error)
            ),
        }),
        Ok(_) => Err(StepError::Proof {
            what: format!("{endpoint} let somebody without a certificate in: its TLS is not mutual"),
        }),
    }
}

/// ZooKeeper's Netty answers a missing certificate with a plain `handshake_failure`. That it is the
/// certificate and nothing else is known: with one, the same port has just answered.
async fn zookeeper_refuses(endpoint: &Endpoint, bare: &TlsConfig) -> Result<(), StepError> {
    let refused = |error: &WireError| match error.kind {
        WireErrorKind::TlsAlert(alert) => {
            alert.is_about_our_certificate() || alert == TlsAlert::HandshakeFailure
        }
        _ => false,
    };
    match admin_words::status(endpoint, bare, Deadline::after(LOOK)).await {
        Err(ZkError::Connection(error)) if refused(&error) => Ok(()),
        Err(error) => Err(StepError::Proof {
            what: format!(
                "{endpoint} did not refuse a handshake without certificate but failed: {}",
                chain(&error)
            ),
        }),
        Ok(_) => {
            Err(StepError::Proof { what: format!("{endpoint} answered somebody without a certificate") })
        }
    }
}

pub(in crate::lifecycle) async fn round_trip(world: &mut ClusterWorld) -> Result<Observed, StepError> {
    let Some(subject) = world.cluster.plan.subjects.iter().find(|s| s.record == record_name()) else {
        return Ok(Observed::Satisfied("no topic carries metering events; nothing was sent".to_owned()));
    };
    let access = world.access();
    let (Ok(producer), Ok(consumer)) = (access.user(Role::Producer), access.user(Role::Consumer)) else {
        return Ok(Observed::Satisfied("no producer or no consumer is planned; nothing was sent".to_owned()));
    };
    let topic = subject.topic.as_str();
    let id = registry::client(world)?.lookup(&subject.subject, &subject.schema).await?;
    let id = id.ok_or_else(|| StepError::Proof { what: format!("{} has no schema", subject.subject) })?.id;
    let schema = Schema::parse_str(&subject.schema).map_err(|error| encoding(&error))?;
    let event = proof_event();
    let value = frame(id, &schema, &event)?;
    let key = Bytes::from(event.key().to_owned());
    let mut writer = leader(world, producer, topic).await?;
    let offset =
        records::produce(&mut writer, topic, 0, Some(key), Some(value), Deadline::after(LOOK)).await?;
    let mut reader = leader(world, consumer, topic).await?;
    let wait = Duration::from_secs(5);
    let found = records::fetch(&mut reader, topic, 0, offset, wait, Deadline::after(LOOK)).await?;
    let record = found.iter().find(|record| record.offset == offset);
    let value = record.and_then(|record| record.value.as_ref()).ok_or_else(|| StepError::Proof {
        what: format!("the event written at offset {offset} of {topic} could not be read back"),
    })?;
    if decode(value, id, &schema)? != event {
        return Err(StepError::Proof {
            what: format!("the event at offset {offset} of {topic} came back changed"),
        });
    }
    let brokers = world.cluster.plan.nodes_of(NodeRole::Broker).count();
    Ok(Observed::Satisfied(format!(
        "{topic} partition 0 offset {offset}, schema {id}, acknowledged by the ISR of {brokers} brokers"
    )))
}

fn record_name() -> &'static str {
    caracal_kafka_contract::events::EventType::Metering.record()
}

fn proof_event() -> MeteringEvent {
    let mut event = MeteringEvent::sample(1);
    event.agent_id = PROOF_AGENT.to_owned();
    event.quantity = 0;
    event
}

async fn leader(world: &ClusterWorld, user: &UserPlan, topic: &str) -> Result<Connection, StepError> {
    Ok(world.access().as_user(user)?.connect_to_leader(topic, 0, Deadline::after(LOOK)).await?)
}

/// Confluent's wire format: a zero byte, the schema's id as 4 bytes big-endian, then the Avro datum.
fn frame(id: i32, schema: &Schema, event: &MeteringEvent) -> Result<Bytes, StepError> {
    let writer = GenericDatumWriter::builder(schema).build().map_err(|error| encoding(&error))?;
    let datum = writer.write_ser_to_vec(event).map_err(|error| encoding(&error))?;
    Ok(Bytes::from([&[0_u8][..], &id.to_be_bytes(), &datum].concat()))
}

fn decode(value: &[u8], id: i32, schema: &Schema) -> Result<MeteringEvent, StepError> {
    let framed =
        value.split_first_chunk::<5>().filter(|(head, _)| head[0] == 0 && head[1..] == id.to_be_bytes());
    let Some((_, mut datum)) = framed else {
        return Err(StepError::Proof { what: "the event came back without its schema's id".to_owned() });
    };
    let reader = GenericDatumReader::builder(schema).build().map_err(|error| encoding(&error))?;
    reader.read_deser(&mut datum).map_err(|error| encoding(&error))
}

fn encoding(error: &apache_avro::Error) -> StepError {
    StepError::Proof { what: format!("the event does not fit its schema: {error}") }
}
