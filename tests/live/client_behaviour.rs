//! The client's promises over real brokers: the same suite that its own tests run over memory.

#[path = "../support/behaviour.rs"]
mod behaviour;

use anyhow::Result;
use caracal_kafka_client::events::{AgentLifecycleEvent, Event, MeteringEvent, TOPIC_DEAD_LETTERS};

use crate::Test;
use crate::clients::kcat;
use crate::examples::Space;
use crate::tools::block;

pub(crate) const TESTS: &[Test] = &[
    ("client_behaviour::each_event_once_in_order_of_its_key", in_order),
    ("client_behaviour::what_fails_becomes_a_dead_letter", letters),
    ("client_behaviour::poison_stays_until_it_is_given_up", by_hand),
    ("client_behaviour::each_result_once", results),
    ("client_behaviour::a_close_counts_everything", close),
];

/// Topics of its own, with the schemas of both event types.
fn space() -> Result<Space> {
    let space = Space::new(&[MeteringEvent::TOPIC, AgentLifecycleEvent::TOPIC, TOPIC_DEAD_LETTERS])?;
    space.write::<MeteringEvent>(&[])?;
    space.write::<AgentLifecycleEvent>(&[])?;
    Ok(space)
}

/// Poison by kcat, as another program would write it.
fn poisoned() -> Result<Space> {
    let (space, (key, bytes)) = (space()?, behaviour::POISON);
    let topic = space.topic(MeteringEvent::TOPIC);
    kcat("admin")?.args(["-P", "-t", &topic, "-k", key]).input(bytes).run()?.succeeded()?;
    Ok(space)
}

fn in_order() -> Result<()> {
    let space = space()?;
    block(async { behaviour::each_event_once_in_order_of_its_key(&space.kafka().await?).await })?;
    space.gone()
}

fn letters() -> Result<()> {
    let space = poisoned()?;
    block(async { behaviour::what_fails_becomes_a_dead_letter(&space.kafka().await?).await })?;
    space.gone()
}

fn by_hand() -> Result<()> {
    let space = poisoned()?;
    block(async { behaviour::poison_stays_until_it_is_given_up(&space.kafka().await?).await })?;
    space.gone()
}

fn results() -> Result<()> {
    let space = space()?;
    block(async { behaviour::each_result_once(&space.kafka().await?).await })?;
    space.gone()
}

fn close() -> Result<()> {
    let space = space()?;
    block(async { behaviour::a_close_counts_everything(&space.kafka().await?).await })?;
    space.gone()
}
