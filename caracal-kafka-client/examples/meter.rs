//! A producing service: meters something ten times a second until it is told to end, then accounts for every event.
//!
//! `CARACAL_KAFKA_PROFILE=... cargo run --example meter -- AGENT`; ends by Ctrl-C or SIGTERM.

#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a program, and these are its words")]

use std::time::Duration;

use caracal_kafka_client::events::MeteringEvent;
use caracal_kafka_client::profile::ConnectionProfile;
use caracal_kafka_client::{Delivery, Kafka, ProducerOptions, RecordOptions, Service, Shutdown};

/// How long records may take to be acknowledged when the service ends.
const END: Duration = Duration::from_secs(20);

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let agent = std::env::args().nth(1).ok_or("usage: meter AGENT")?;
    let kafka = Kafka::connect(ConnectionProfile::discover()?, Service::named("meter")).await?;
    let out = kafka.producer::<MeteringEvent>(ProducerOptions::default()).await?;
    let shutdown = Shutdown::on_signal()?;
    let options = RecordOptions::default().with_header("origin", "meter");
    let mut tick = tokio::time::interval(Duration::from_millis(100));
    let mut number = 0;
    while !shutdown.is_due() {
        tick.tick().await;
        let event = MeteringEvent { agent_id: agent.clone(), quantity: 1, ..MeteringEvent::sample(number) };
        number += 1;
        let delivery = out.enqueue_with(&event, &options).await?;
        // Not awaited in the loop: the next event does not wait for the broker.
        tokio::spawn(async move {
            match delivery.await {
                Delivery::Written(_) => {}
                Delivery::NotWritten(why) => eprintln!("{}: {why}", event.event_id),
                Delivery::Unknown(why) => eprintln!("{}: {why}", event.event_id),
            }
        });
    }
    let report = kafka.close(END).await;
    println!("{} written, {} not written, {} unknown", report.written, report.not_written, report.unknown);
    if report.all_written() { Ok(()) } else { Err("not every event was written".into()) }
}
