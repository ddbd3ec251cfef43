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
use crate::admin::{AdminError, BrokerEndpoint};
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

/// How long leaders may move: a broker's session in ZooKeeper ends after 18 s.
const MOVING: Duration = Duration::from_secs(30);

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
    let controllers = access.controllers();
    try_join_all(
        controllers.iter().map(|listener| refused_without_certificate(&listener.endpoint, &bare_control)),
    )
    .await?;
    let refused = listeners.len() + ensemble.len() + controllers.len();
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
    let id = registry::client(world)?.lookup(&subject.subject, &subject.schema).await?;
    let id = id.ok_or_else(|| StepError::Proof { what: format!("{} has no schema", subject.subject) })?.id;
    let schema = Schema::parse_str(&subject.schema).map_err(|error| encoding(&error))?;
    let event = proof_event();
    let value = frame(id, &schema, &event)?;
    let key = Bytes::from(event.key().to_owned());
    let topic = subject.topic.as_str();
    let offset = settled(&format!("an acknowledged event on {topic}"), || async {
        let mut writer = leader(world, producer, topic).await?;
        let (key, value) = (Some(key.clone()), Some(value.clone()));
        Ok(records::produce(&mut writer, topic, 0, key, value, Deadline::after(LOOK)).await?)
    })
    .await?;
    let found = settled(&format!("the event at offset {offset} of {topic}"), || async {
        let mut reader = leader(world, consumer, topic).await?;
        let wait = Duration::from_secs(5);
        Ok(records::fetch(&mut reader, topic, 0, offset, wait, Deadline::after(LOOK)).await?)
    })
    .await?;
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

/// Repeats what fails only because leaders are still moving, as they do right after a broker was started.
///
/// An event that was written although its acknowledgement was lost is written twice; that bills nobody.
async fn settled<T, F>(what: &str, mut attempt: impl FnMut() -> F) -> Result<T, StepError>
where
    F: Future<Output = Result<T, StepError>>,
{
    let outcome = wait_for(what, MOVING, Duration::from_millis(200), || {
        let attempt = attempt();
        async move {
            match attempt.await {
                Ok(done) => Probe::Ready(done),
                Err(error) if is_moving(&error) => Probe::NotYet(chain(&error)),
                Err(error) => Probe::Failed(error),
            }
        }
    })
    .await;
    outcome.map_err(|error| match error {
        WaitError::Failed(error) => error,
        timed_out @ WaitError::TimedOut { .. } => StepError::Proof { what: timed_out.to_string() },
    })
}

/// Whether trying again may help: a leader that has moved, is being chosen or lacks followers, or a broker
/// that has closed the connection.
fn is_moving(error: &StepError) -> bool {
    let wire = match error {
        StepError::Wire(error) => error,
        StepError::Admin(AdminError::Wire(error)) => &**error,
        StepError::Admin(AdminError::Unreachable { .. } | AdminError::NoController { .. }) => return true,
        _ => return false,
    };
    wire.kind.is_absence() || matches!(&wire.kind, WireErrorKind::Api(error) if error.retriable)
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

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;
    use crate::plan::NodePlan;
    use crate::wire::ApiError;

    fn api(node: &NodePlan, code: i16) -> StepError {
        let error = ApiError::from_code(code, None, "topic t, partition 0").unwrap();
        Endpoint::of(node, &node.listeners[0]).error("write a record", error.into()).into()
    }

    #[tokio::test]
    async fn a_moving_leader_is_asked_again_and_a_refusal_is_not() {
        let plan = crate::plan::tests::default_plan();
        let node = &plan.nodes[0];
        // LEADER_NOT_AVAILABLE, NOT_LEADER_OR_FOLLOWER, NOT_ENOUGH_REPLICAS.
        let codes = [5, 6, 19];
        let asked = Cell::new(0);
        let done = settled("a write", || async {
            let at = asked.replace(asked.get() + 1);
            codes.get(at).map_or(Ok(at), |code| Err(api(node, *code)))
        });
        assert_eq!(done.await.unwrap(), 3);
        // TOPIC_AUTHORIZATION_FAILED and UNKNOWN_SERVER_ERROR.
        for code in [29, -1] {
            asked.set(0);
            let refused = settled::<(), _>("a write", || async {
                asked.set(asked.get() + 1);
                Err(api(node, code))
            });
            refused.await.unwrap_err();
            assert_eq!(asked.get(), 1, "{code}");
        }
    }
}
