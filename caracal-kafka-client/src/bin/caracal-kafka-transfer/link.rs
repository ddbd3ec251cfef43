//! The way to a cluster by its profile: librdkafka's settings, and what went wrong in words.

use std::fs::File;
use std::io::Read as _;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use caracal_kafka_client::profile::ConnectionProfile;
use rdkafka::ClientConfig;
use rdkafka::client::ClientContext;
use rdkafka::consumer::{BaseConsumer, Consumer as _, ConsumerContext};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::DeliveryResult;
use rdkafka::metadata::Metadata;
use rdkafka::producer::{BaseProducer, Producer as _, ProducerContext};

use crate::failure::{Failure, shown};

/// How long one question to the cluster may take.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// A password is short; a wrong path must not fill the memory.
const PASSWORD_MAX: u64 = 4096;

/// The consumer group's name in the brokers' logs; nobody joins it and nothing is committed.
const GROUP: &str = "caracal-transfer";

/// One cluster as one principal.
pub(crate) struct Link {
    pub(crate) profile: ConnectionProfile,
    password: String,
}

impl Link {
    /// Reads a profile and what it names.
    pub(crate) fn open(path: &Path) -> Result<Self, Failure> {
        let profile = ConnectionProfile::load(path).map_err(|error| Failure::usage(error.to_string()))?;
        let file = profile.password_file();
        let failed = |error| Failure::file("reading the password file", &file, &error);
        let mut password = String::new();
        let opened = File::open(&file).map_err(failed)?;
        opened.take(PASSWORD_MAX).read_to_string(&mut password).map_err(failed)?;
        Ok(Self { password: password.trim_end_matches(['\r', '\n']).to_owned(), profile })
    }

    /// The settings of every client. The result holds the password and does not outlive a client's creation.
    fn base(&self) -> ClientConfig {
        let profile = &self.profile;
        let mut config = ClientConfig::new();
        config
            .set("client.id", "caracal-kafka-transfer")
            .set("bootstrap.servers", profile.kafka.bootstrap.join(","))
            .set("security.protocol", "sasl_ssl")
            .set("ssl.ca.location", profile.ca_file().to_string_lossy())
            .set("ssl.certificate.location", profile.certificate_file().to_string_lossy())
            .set("ssl.key.location", profile.key_file().to_string_lossy())
            .set("enable.ssl.certificate.verification", "true")
            .set("ssl.endpoint.identification.algorithm", "https")
            .set("sasl.mechanism", profile.kafka.sasl.mechanism.as_str())
            .set("sasl.username", &profile.kafka.sasl.username)
            .set("sasl.password", &self.password)
            .set("socket.keepalive.enable", "true");
        config
    }

    /// A consumer that reads where it is told and commits nothing.
    pub(crate) fn consumer(&self, uncommitted: bool) -> Result<BaseConsumer<Watch>, Failure> {
        let mut config = self.base();
        config
            .set("group.id", GROUP)
            .set("enable.auto.commit", "false")
            .set("enable.auto.offset.store", "false")
            .set("enable.partition.eof", "true")
            .set("auto.offset.reset", "error")
            .set("allow.auto.create.topics", "false")
            .set("check.crcs", "true")
            // Enough to have the next records at hand while these are written, and no more.
            .set("queued.max.messages.kbytes", "65536")
            .set("fetch.message.max.bytes", "4194304")
            .set("isolation.level", if uncommitted { "read_uncommitted" } else { "read_committed" });
        let consumer = config.create_with_context(Watch::default());
        consumer.map_err(|error| Failure::kafka("make a consumer", &error))
    }

    /// A producer: acks=all, idempotent, so that order per partition holds through retries.
    pub(crate) fn producer(&self) -> Result<BaseProducer<Watch>, Failure> {
        self.producer_with(Watch::default())
    }

    /// The same with another ear for what librdkafka tells.
    pub(crate) fn producer_with<C: ProducerContext>(&self, context: C) -> Result<BaseProducer<C>, Failure> {
        let mut config = self.base();
        config
            .set("acks", "all")
            .set("enable.idempotence", "true")
            // What the topics are declared with: a broker compresses nothing again.
            .set("compression.type", "snappy")
            // Batches as large as brokers take them: what a batch costs, it costs three brokers.
            .set("linger.ms", "50")
            .set("batch.num.messages", "100000")
            .set("message.timeout.ms", "60000")
            .set("message.max.bytes", "104857600")
            // Enough for several partitions' stretches of a back-up, so that all of them are written at once.
            .set("queue.buffering.max.messages", "400000")
            .set("queue.buffering.max.kbytes", "131072")
            // Java's default partitioner: the same key goes to the same partition whoever writes it.
            .set("partitioner", "murmur2_random");
        let producer = config.create_with_context(context);
        producer.map_err(|error| Failure::kafka("make a producer", &error))
    }
}

/// What librdkafka complained of last, and which deliveries failed.
#[derive(Clone, Default)]
pub(crate) struct Watch(Arc<Mutex<Seen>>);

#[derive(Default)]
struct Seen {
    complaint: Option<(Option<RDKafkaErrorCode>, String)>,
    delivered: u64,
    failed: u64,
    why: Option<String>,
}

impl Watch {
    fn with<T>(&self, act: impl FnOnce(&mut Seen) -> T) -> T {
        act(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Deliveries that succeeded.
    pub(crate) fn delivered(&self) -> u64 {
        self.with(|seen| seen.delivered)
    }

    /// The failure of any delivery.
    pub(crate) fn undelivered(&self) -> Result<(), Failure> {
        let (failed, why) = self.with(|seen| (seen.failed, seen.why.clone()));
        match why {
            None => Ok(()),
            Some(why) => Err(Failure::cluster(format!("{failed} records were not written: {why}"))),
        }
    }

    /// What is wrong, given what librdkafka complained of.
    fn explained(&self, doing: &str, error: &str) -> Failure {
        let Some((code, reason)) = self.with(|seen| seen.complaint.clone()) else {
            return Failure::cluster(format!(
                "cannot {doing}: {error}; `cargo xtask health` shows the brokers"
            ));
        };
        let text = format!("cannot {doing}: {error}; last seen: {reason}");
        match code {
            Some(RDKafkaErrorCode::Authentication) => Failure::authentication(text),
            Some(RDKafkaErrorCode::SSL) => Failure::tls(text),
            _ if reason.contains("SSL handshake") => Failure::tls(text),
            _ => Failure::cluster(text),
        }
    }
}

impl ClientContext for Watch {
    fn error(&self, error: KafkaError, reason: &str) {
        self.with(|seen| seen.complaint = Some((error.rdkafka_error_code(), reason.to_owned())));
    }
}

impl ConsumerContext for Watch {}

impl ProducerContext for Watch {
    type DeliveryOpaque = ();

    fn delivery(&self, result: &DeliveryResult<'_>, (): ()) {
        self.with(|seen| match result {
            Ok(_) => seen.delivered += 1,
            Err((error, _)) => {
                seen.failed += 1;
                seen.why.get_or_insert_with(|| shown(error));
            }
        });
    }
}

/// A client's answer about a topic: the numbers of its partitions.
pub(crate) fn partitions_of(metadata: &Metadata, topic: &str) -> Result<Vec<i32>, Failure> {
    let found = metadata.topics().iter().find(|found| found.name() == topic);
    let found = found.ok_or_else(|| Failure::usage(format!("there is no topic `{topic}`")))?;
    if let Some(code) = found.error() {
        let code = RDKafkaErrorCode::from(code);
        let text = format!("topic `{topic}` cannot be used: {code}");
        return Err(match code {
            RDKafkaErrorCode::UnknownTopicOrPartition => Failure::usage(text),
            _ => Failure::cluster(text),
        });
    }
    let mut ids: Vec<i32> = found.partitions().iter().map(rdkafka::metadata::MetadataPartition::id).collect();
    ids.sort_unstable();
    Ok(ids)
}

/// The partitions of a topic, by a consumer. Polled while it waits, so that complaints are heard.
pub(crate) fn consumed(consumer: &BaseConsumer<Watch>, topic: &str) -> Result<Vec<i32>, Failure> {
    let begun = Instant::now();
    loop {
        let asked = consumer.fetch_metadata(Some(topic), Duration::from_secs(2));
        let _ = consumer.poll(Duration::ZERO);
        match asked {
            Ok(metadata) => return partitions_of(&metadata, topic),
            Err(error) => give_up(consumer.context(), begun, &error)?,
        }
    }
}

/// The partitions of a topic, by a producer.
pub(crate) fn produced(producer: &BaseProducer<Watch>, topic: &str) -> Result<Vec<i32>, Failure> {
    let begun = Instant::now();
    loop {
        let asked = producer.client().fetch_metadata(Some(topic), Duration::from_secs(2));
        producer.poll(Duration::ZERO);
        match asked {
            Ok(metadata) => return partitions_of(&metadata, topic),
            Err(error) => give_up(producer.context(), begun, &error)?,
        }
    }
}

/// Ends the asking when its time is over, or when librdkafka says what waiting will not cure.
fn give_up(watch: &Watch, begun: Instant, error: &KafkaError) -> Result<(), Failure> {
    let failure = watch.explained("reach the brokers", &shown(error));
    let settled = failure.code != crate::failure::CLUSTER;
    if settled || begun.elapsed() >= PATIENCE { Err(failure) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_complaint_chooses_the_exit_code() {
        for (code, text, expected) in [
            (RDKafkaErrorCode::Authentication, "refused", crate::failure::AUTHENTICATION),
            (RDKafkaErrorCode::SSL, "SSL handshake failed", crate::failure::TLS),
            (RDKafkaErrorCode::AllBrokersDown, "3/3 brokers are down", crate::failure::CLUSTER),
        ] {
            let watch = Watch::default();
            watch.error(KafkaError::Global(code), text);
            let failure = watch.explained("read", "timed out");
            assert_eq!(failure.code, expected, "{}", failure.text);
            assert!(failure.text.contains(text), "{}", failure.text);
        }
    }
}
