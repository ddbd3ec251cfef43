//! The client library and a real registry: who asks how often, and at which subjects.

use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use caracal_kafka_client::events::{Event, MeteringEvent, SchemaReference};
use caracal_kafka_client::profile::ConnectionProfile;
use caracal_kafka_client::{
    ConsumeFrom, ConsumerOptions, Delivery, Group, Kafka, Position, ProducerOptions, Service,
    SubjectStrategy, WriterSchema,
};

use crate::Test;
use crate::cluster;
use crate::program::Program;
use crate::tools::block;

pub(crate) const TESTS: &[Test] = &[
    ("client_schemas::a_thousand_first_uses_are_one_request", a_thousand_first_uses_are_one_request),
    ("client_schemas::every_strategy_and_choice_is_written_and_read", every_strategy_and_choice),
    ("client_schemas::references_are_registered_and_found", references_are_registered_and_found),
];

const PATIENCE: Duration = Duration::from_secs(60);

fn profile(user: &str) -> Result<ConnectionProfile> {
    let file = cluster::shared()?.dir()?.client(&user.parse()?).join("profile.toml");
    Ok(ConnectionProfile::load(file)?)
}

async fn connect(profile: ConnectionProfile) -> Result<Kafka> {
    Ok(Kafka::connect(profile, Service::named("live-suite")).await?)
}

/// Passes everything on to `target`, and counts requests.
fn counting(target: String) -> Result<(u16, Arc<AtomicUsize>)> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let port = listener.local_addr()?.port();
    let count = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&count);
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let (Ok(client), Ok(server)) = (stream, TcpStream::connect(&target)) else { return };
            let (Ok(client_too), Ok(server_too)) = (client.try_clone(), server.try_clone()) else { return };
            let counted = Arc::clone(&counted);
            std::thread::spawn(move || {
                pass(client, server, |bytes| {
                    let requests = bytes.windows(11).filter(|window| window == b" HTTP/1.1\r\n").count();
                    counted.fetch_add(requests, Ordering::Relaxed);
                })
            });
            std::thread::spawn(move || pass(server_too, client_too, |_| {}));
        }
    });
    Ok((port, count))
}

fn pass(mut from: TcpStream, mut to: TcpStream, look: impl Fn(&[u8])) {
    let mut buffer = vec![0; 1 << 16];
    while let Ok(read @ 1..) = from.read(&mut buffer) {
        look(&buffer[..read]);
        if to.write_all(&buffer[..read]).is_err() {
            return;
        }
    }
}

fn a_thousand_first_uses_are_one_request() -> Result<()> {
    cluster::shared()?;
    let mut profile = profile("producer")?;
    let registry = profile.registry.as_mut().context("the profile names no registry")?;
    let url = registry.url.clone();
    let (host, path) = url
        .strip_prefix("http://")
        .and_then(|rest| rest.split_once('/'))
        .context("another kind of address")?;
    let (port, count) = counting(host.to_owned())?;
    registry.url = format!("http://127.0.0.1:{port}/{path}");
    block(async {
        let kafka = connect(profile).await?;
        let before = count.load(Ordering::Relaxed);
        let options = Arc::new(ProducerOptions::default());
        let asks: Vec<_> = (0..1000)
            .map(|_| {
                let (kafka, options) = (kafka.clone(), Arc::clone(&options));
                tokio::spawn(async move { kafka.schema_id::<MeteringEvent>(&options).await })
            })
            .collect();
        let mut ids = Vec::new();
        for ask in asks {
            ids.push(ask.await??);
        }
        ids.dedup();
        let asked = count.load(Ordering::Relaxed) - before;
        ensure!(ids.len() == 1 && asked == 1, "{asked} requests for 1000 first uses, ids {ids:?}");
        Ok(())
    })
}

/// Takes a subject away, first softly, then for good.
fn forget(subject: &str) -> Result<()> {
    let url = profile("producer")?.registry.context("the profile names no registry")?.url;
    for ending in ["", "?permanent=true"] {
        let address = format!("{url}/subjects/{subject}{ending}");
        Program::needed("curl")?
            .args(["-fsS", "-X", "DELETE", &address])
            .within(PATIENCE)
            .run()?
            .succeeded()?;
    }
    Ok(())
}

async fn written(kafka: &Kafka, options: ProducerOptions, event: &MeteringEvent) -> Result<(Position, u32)> {
    let out = kafka.producer::<MeteringEvent>(options).await?;
    let id = out.schema_id();
    let delivery = out.enqueue(event).await?.await;
    let report = out.close(Duration::from_secs(20)).await;
    let Delivery::Written(at) = delivery else { anyhow::bail!("{delivery:?}, {report:?}") };
    Ok((at, id))
}

fn every_strategy_and_choice() -> Result<()> {
    cluster::shared()?;
    let (writer, reader) = (profile("producer")?, profile("consumer")?);
    let event = MeteringEvent::sample(4711);
    let default = ProducerOptions::default;
    let own = |subject| ProducerOptions { subject, register_schema: true, ..default() };
    let subject = |strategy: SubjectStrategy| strategy.subject(MeteringEvent::TOPIC, MeteringEvent::RECORD);
    let tried = block(async {
        let (writer, reader) = tokio::try_join!(connect(writer), connect(reader))?;
        let id = writer.schema_id::<MeteringEvent>(&default()).await?;
        let all = [
            default(),
            own(SubjectStrategy::Record),
            own(SubjectStrategy::TopicRecord),
            ProducerOptions { normalize_schemas: true, ..default() },
            ProducerOptions { writer_schema: WriterSchema::Latest, ..default() },
            ProducerOptions { writer_schema: WriterSchema::Id(id), ..default() },
        ];
        for options in all {
            let shown = format!("{options:?}");
            let (at, id) = written(&writer, options, &event).await.context(shown.clone())?;
            let from = ConsumeFrom::Exactly(vec![at]);
            let options = ConsumerOptions { from, ..ConsumerOptions::default() };
            let group = Group::named("caracal-live-schemas");
            let mut consumer = reader.consumer::<MeteringEvent>(group, options).await?;
            let received = tokio::time::timeout(PATIENCE, consumer.recv()).await?.context(shown.clone())?;
            ensure!(received.event == event && received.schema_id == id, "{shown}: {received:?}");
            ensure!(consumer.close(Duration::from_secs(20)).await, "the consumer was not closed in time");
        }
        Ok(())
    });
    for strategy in [SubjectStrategy::Record, SubjectStrategy::TopicRecord] {
        forget(&subject(strategy))?;
    }
    tried
}

#[derive(serde::Deserialize, serde::Serialize)]
struct Payment {
    id: String,
    amount: Money,
}

#[derive(serde::Deserialize, serde::Serialize)]
struct Money {
    cents: i64,
}

impl Event for Payment {
    const RECORD: &'static str = "caracal.live.Payment";
    const TOPIC: &'static str = "caracal.live.payments";
    const SCHEMA: &'static str = r#"{"type":"record","name":"Payment","namespace":"caracal.live","fields":[
        {"name":"id","type":"string"}, {"name":"amount","type":"Money"}]}"#;
    const REFERENCES: &'static [SchemaReference] = &[SchemaReference {
        name: "caracal.live.Money",
        subject: "caracal.live.Money",
        schema: r#"{"type":"record","name":"Money","namespace":"caracal.live","fields":[
            {"name":"cents","type":"long"}]}"#,
    }];

    fn key(&self) -> &str {
        &self.id
    }
}

fn references_are_registered_and_found() -> Result<()> {
    cluster::shared()?;
    let profile = profile("producer")?;
    let found = block(async {
        let first = connect(profile.clone()).await?;
        let without = first.schema_id::<Payment>(&ProducerOptions::default()).await;
        let why = without.err().context("found although nobody registered it")?.to_string();
        ensure!(why.contains("caracal.live.Money"), "{why}");
        let register = ProducerOptions { register_schema: true, ..ProducerOptions::default() };
        let registered = first.schema_id::<Payment>(&register).await?;
        // Another connection remembers nothing, and reads what it refers to from the registry.
        let second = connect(profile).await?;
        let found = second.schema_id::<Payment>(&ProducerOptions::default()).await?;
        let by_id = ProducerOptions { writer_schema: WriterSchema::Id(found), ..ProducerOptions::default() };
        let by_id = second.schema_id::<Payment>(&by_id).await?;
        ensure!(registered == found && by_id == found, "{registered}, {found}, {by_id}");
        Ok(())
    });
    forget("caracal.live.payments-value")?;
    forget("caracal.live.Money")?;
    found
}
