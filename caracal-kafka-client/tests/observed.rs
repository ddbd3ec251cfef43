//! What is seen from outside: spans with the trace that a record carries, statistics, Prometheus text.

use std::io::{self, Write};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Result, ensure};
use caracal_kafka_client::events::{Event as _, MeteringEvent};
use caracal_kafka_client::{
    ConsumerOptions, Group, Kafka, ProducerOptions, Received, RecordOptions, Shutdown, TraceContext,
};

const PATIENCE: Duration = Duration::from_secs(60);

/// What was logged, by any thread.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).extend(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_handlers_words_stand_in_the_trace_of_its_record() -> Result<()> {
    let log = Log::default();
    let writer = log.clone();
    let subscriber = tracing_subscriber::fmt().with_ansi(false).with_max_level(tracing::Level::DEBUG);
    let subscriber = subscriber.with_writer(move || writer.clone()).finish();
    tracing::subscriber::set_global_default(subscriber)?;

    let memory = Kafka::in_memory().await?;
    let kafka = memory.kafka();
    let trace = TraceContext::root();
    let out = kafka.producer::<MeteringEvent>(ProducerOptions::default()).await?;
    let options = RecordOptions::default().with_trace(&trace);
    drop(out.enqueue_with(&MeteringEvent::sample(1), &options).await?.await);

    let (shutdown, trigger) = Shutdown::by_hand();
    let trigger = Mutex::new(Some(trigger));
    let handler = move |received: Arc<Received<MeteringEvent>>| {
        let trigger = trigger.lock().unwrap_or_else(PoisonError::into_inner).take();
        async move {
            tracing::info!("the handler speaks");
            let carried = TraceContext::of(&received.headers).map(|carried| carried.to_string());
            tracing::info!(carried);
            drop(trigger);
            Ok::<(), io::Error>(())
        }
    };
    let group = Group::named("caracal-observed");
    let consumer = kafka.consumer::<MeteringEvent>(group, ConsumerOptions::default()).await?;
    let report = tokio::time::timeout(PATIENCE, consumer.run(handler, shutdown)).await??;
    ensure!(report.handled == 1, "{report:?}");

    let text = String::from_utf8(log.0.lock().unwrap_or_else(PoisonError::into_inner).clone())?;
    let said = text.lines().find(|line| line.contains("the handler speaks")).unwrap_or_default().to_owned();
    let names = if cfg!(feature = "otel-names") {
        [
            "otel.kind=\"consumer\"",
            "messaging.system=\"kafka\"",
            "messaging.consumer.group.name=\"caracal-observed\"",
            "messaging.destination.name=\"caracal.metering.events\"",
        ]
    } else {
        ["process{", "group=\"caracal-observed\"", "topic=\"caracal.metering.events\"", "offset=0"]
    };
    let ids =
        [format!("trace_id=\"{}\"", trace.trace_id()), format!("parent_span_id=\"{}\"", trace.span_id())];
    for part in names.iter().copied().chain(ids.iter().map(String::as_str)) {
        ensure!(said.contains(part), "no {part} in: {said}");
    }
    ensure!(text.contains(&trace.to_string()), "the handler did not see the trace:\n{text}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn statistics_count_what_was_written_and_read() -> Result<()> {
    let kafka = Kafka::in_memory().await?.kafka();
    let out = kafka.producer::<MeteringEvent>(ProducerOptions::default()).await?;
    let events: Vec<_> = (0..20).map(MeteringEvent::sample).collect();
    ensure!(out.send_all(&events).await.all_written(), "not written");
    let group = Group::named("caracal-observed");
    let mut consumer = kafka.consumer::<MeteringEvent>(group, ConsumerOptions::default()).await?;
    for _ in 0..20 {
        let received = tokio::time::timeout(PATIENCE, consumer.recv()).await??;
        consumer.commit(&received).await?;
    }
    let until = tokio::time::Instant::now() + PATIENCE;
    loop {
        // Statistics come where records do.
        let _ = tokio::time::timeout(Duration::from_millis(200), consumer.recv()).await;
        let clients = kafka.statistics();
        let of = |kind: &str| clients.iter().find(|client| client.kind == kind).cloned().unwrap_or_default();
        let (writer, reader) = (of("producer"), of("consumer"));
        let ends: u64 = reader.partitions.iter().filter_map(|partition| partition.end).sum();
        if writer.sent_messages == 20 && reader.received_messages == 20 && ends == 20 {
            ensure!(writer.brokers.iter().any(|broker| broker.up), "{writer:?}");
            ensure!(
                reader.partitions.iter().all(|partition| partition.topic == MeteringEvent::TOPIC),
                "{reader:?}"
            );
            let text = kafka.prometheus();
            ensure!(text.contains("caracal_kafka_client_sent_messages_total{client="), "{text}");
            break;
        }
        ensure!(tokio::time::Instant::now() < until, "{clients:?}");
    }
    consumer.close(Duration::from_secs(5)).await;
    Ok(())
}
