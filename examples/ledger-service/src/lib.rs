//! A service that keeps a ledger of metering events: each is booked once, whatever comes twice.
//!
//! The example is about its test, `tests/ledger.rs`: from nothing to a service on a secured cluster, in one file.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use caracal_kafka_client::events::{MeteringEvent, Uuid};
use caracal_kafka_client::{ConsumerOptions, Group, Handled, Kafka, Received, Shutdown};

/// What each agent has used, by the events that were booked.
#[derive(Clone, Debug, Default)]
pub struct Ledger {
    booked: Arc<Mutex<HashMap<Uuid, (String, i64)>>>,
}

impl Ledger {
    /// Books an event; one that is booked already changes nothing.
    pub fn book(&self, event: &MeteringEvent) {
        let entry = (event.agent_id.clone(), event.quantity);
        self.booked.lock().unwrap_or_else(PoisonError::into_inner).entry(event.event_id).or_insert(entry);
    }

    /// How many events are booked.
    pub fn len(&self) -> usize {
        self.booked.lock().unwrap_or_else(PoisonError::into_inner).len()
    }

    /// Whether nothing is booked.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// What an agent has used in all.
    pub fn total(&self, agent: &str) -> i64 {
        let booked = self.booked.lock().unwrap_or_else(PoisonError::into_inner);
        booked.values().filter(|(booked, _)| booked == agent).map(|(_, quantity)| quantity).sum()
    }
}

/// Books every metering event until it is told to stop.
///
/// # Errors
/// When the cluster refuses the service, or is gone for good.
pub async fn serve(
    kafka: &Kafka,
    ledger: Ledger,
    shutdown: Shutdown,
) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    let events = kafka.consumer::<MeteringEvent>(Group::named("ledger"), ConsumerOptions::default()).await?;
    let handler = move |received: Arc<Received<MeteringEvent>>| {
        ledger.book(&received.event);
        async { Handled::Done }
    };
    events.run(handler, shutdown).await?;
    Ok(())
}
