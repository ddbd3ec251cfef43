//! What a service would set up by hand, on the same settings as the typed client's.

use anyhow::{Context as _, Result};
use caracal_kafka_client::events::{MeteringEvent, TimestampMillis};
use caracal_kafka_client::profile::ConnectionProfile;
use rdkafka::ClientConfig;
use schema_registry_converter::async_impl::schema_registry::SrSettings;

/// Events to draw from: enough that a batch does not repeat itself, few enough to stay in a cache.
const POOL: u64 = 4096;

/// What every contender sends.
pub(crate) fn pool() -> Vec<MeteringEvent> {
    (0..POOL).map(MeteringEvent::sample).collect()
}

/// A new event, as a service makes one: owned texts, a time, a number.
pub(crate) fn build(pool: &[MeteringEvent], number: usize) -> MeteringEvent {
    MeteringEvent {
        occurred_at: TimestampMillis(1_735_689_600_000 + number as i64),
        quantity: number as i64,
        ..pool[number % pool.len()].clone()
    }
}

/// The connection, as the typed client's own is.
pub(crate) fn config(profile: &ConnectionProfile) -> Result<ClientConfig> {
    let password = std::fs::read_to_string(profile.password_file()).context("the password")?;
    let path = |path: std::path::PathBuf| path.to_string_lossy().into_owned();
    let mut config = ClientConfig::new();
    config
        .set("bootstrap.servers", profile.kafka.bootstrap.join(","))
        .set("security.protocol", "sasl_ssl")
        .set("ssl.ca.location", path(profile.ca_file()))
        .set("ssl.certificate.location", path(profile.certificate_file()))
        .set("ssl.key.location", path(profile.key_file()))
        .set("sasl.mechanism", profile.kafka.sasl.mechanism.as_str())
        .set("sasl.username", &profile.kafka.sasl.username)
        .set("sasl.password", password.trim_end_matches('\n'));
    Ok(config)
}

/// A producer's settings, as the typed client's own are.
pub(crate) fn producing(profile: &ConnectionProfile) -> Result<ClientConfig> {
    let mut config = config(profile)?;
    config
        .set("acks", "all")
        .set("enable.idempotence", "true")
        .set("compression.type", "snappy")
        .set("linger.ms", "5")
        .set("partitioner", "murmur2_random");
    Ok(config)
}

/// The registry, for the converter.
pub(crate) fn registry(profile: &ConnectionProfile) -> Result<SrSettings> {
    let registry = profile.registry.as_ref().context("the profile names no registry")?;
    Ok(SrSettings::new_builder(registry.url.clone()).no_proxy().build()?)
}
