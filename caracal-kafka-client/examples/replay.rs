//! A replay: reads metering events again from chosen places, outside of the group's sharing, and prints them.
//!
//! `CARACAL_KAFKA_PROFILE=... cargo run --example replay -- PARTITION@OFFSET...`; ends when nothing has come for three
//! seconds, or by Ctrl-C or SIGTERM. Nothing is committed: the services that work with the topic notice nothing.

#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a program, and these are its words")]

use std::time::Duration;

use caracal_kafka_client::events::{Event as _, MeteringEvent};
use caracal_kafka_client::profile::ConnectionProfile;
use caracal_kafka_client::{
    ConsumeFrom, ConsumerOptions, Group, Kafka, Position, ReceiveError, Service, Shutdown,
};

const QUIET: Duration = Duration::from_secs(3);

fn places(topic: &str) -> Option<Vec<Position>> {
    let place = |word: String| {
        let (partition, offset) = word.split_once('@')?;
        let topic = topic.to_owned();
        Some(Position { topic, partition: partition.parse().ok()?, offset: offset.parse().ok()? })
    };
    std::env::args().skip(1).map(place).collect::<Option<Vec<_>>>().filter(|places| !places.is_empty())
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let profile = ConnectionProfile::discover()?;
    let places =
        places(&profile.qualified(MeteringEvent::TOPIC)).ok_or("usage: replay PARTITION@OFFSET...")?;
    let kafka = Kafka::connect(profile, Service::named("replay")).await?;
    let options = ConsumerOptions { from: ConsumeFrom::Exactly(places), ..ConsumerOptions::default() };
    let mut events = kafka.consumer::<MeteringEvent>(Group::named("caracal-replay"), options).await?;
    let shutdown = Shutdown::on_signal()?;
    while !shutdown.is_due() {
        match tokio::time::timeout(QUIET, events.recv()).await {
            Ok(Ok(received)) => {
                let event = &received.event;
                println!("{}\t{}\t{}", received.position, event.event_id, event.agent_id);
            }
            // Given up here only: nobody commits it for the group.
            Ok(Err(ReceiveError::Undecodable { record, why, .. })) => {
                eprintln!("{}: {why}", record.position);
                return Err("a record cannot be read; replay from behind it".into());
            }
            Ok(Err(error)) => return Err(error.into()),
            Err(_) => break,
        }
    }
    events.close(Duration::from_secs(10)).await;
    Ok(())
}
