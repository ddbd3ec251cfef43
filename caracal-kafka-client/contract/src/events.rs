//! The four event types of Caracal, their topics and their schema files.
//!
//! The files under `schemas/` are the source; the Rust types repeat them and a test holds the two
//! together. Every optional field has a default, so a reader with the newer schema reads what was
//! written with the older one (`BACKWARD` compatibility). An enumeration has `UNKNOWN` as its
//! default symbol: a reader sees it in place of a symbol that is newer than itself.
//!
//! ```
//! use caracal_kafka_contract::events::{Event, EventType, MeteringEvent};
//!
//! let event = MeteringEvent::sample(7);
//! assert_eq!(event.key(), event.agent_id);
//! assert_eq!(MeteringEvent::TOPIC, "caracal.metering.events");
//! assert_eq!(EventType::Metering.subject(), "caracal.metering.events-value");
//! ```

use std::collections::BTreeMap;
use std::fmt;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

pub use crate::logical::{Decimal, LogicalError, Uuid};

/// Schema file of [`MeteringEvent`].
pub const METERING_EVENT_SCHEMA: &str = include_str!("../schemas/metering-event.avsc");
/// Schema file of [`PolicyDecision`].
pub const POLICY_DECISION_SCHEMA: &str = include_str!("../schemas/policy-decision.avsc");
/// Schema file of [`AgentLifecycleEvent`].
pub const AGENT_LIFECYCLE_EVENT_SCHEMA: &str = include_str!("../schemas/agent-lifecycle-event.avsc");
/// Schema file of [`PolicyChangeEvent`].
pub const POLICY_CHANGE_EVENT_SCHEMA: &str = include_str!("../schemas/policy-change-event.avsc");

/// Where records go that no consumer could handle, their bytes unchanged. It has no schema.
pub const TOPIC_DEAD_LETTERS: &str = "caracal.dlq";

/// A type that travels through Kafka as Avro: one record schema, one topic.
pub trait Event: Serialize + DeserializeOwned + Send + Sync + 'static {
    /// Full name of the Avro record, for example `caracal.events.MeteringEvent`.
    const RECORD: &'static str;
    /// Topic, without the namespace that a profile may add.
    const TOPIC: &'static str;
    /// The Avro schema that this type reads and writes, as JSON text.
    const SCHEMA: &'static str;
    /// Schemas of other subjects whose types [`SCHEMA`](Self::SCHEMA) uses by name, in an order in which
    /// each uses only those before it. None unless a type says so.
    const REFERENCES: &'static [SchemaReference] = &[];

    /// The record's key: what Kafka keeps in order. Caracal's events use the agent's id.
    fn key(&self) -> &str;
}

/// A schema that others use by name (the registry's "reference").
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
#[expect(clippy::exhaustive_structs, reason = "event types write it down as a constant")]
pub struct SchemaReference {
    /// Full name of the type, for example `caracal.common.Money`.
    pub name: &'static str,
    /// The subject that it is registered at, without the namespace that a profile may add.
    pub subject: &'static str,
    /// The schema that defines it, as JSON text.
    pub schema: &'static str,
}

/// The event types, for whoever declares topics and registers schemas.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
#[non_exhaustive]
pub enum EventType {
    /// [`MeteringEvent`]
    Metering,
    /// [`PolicyDecision`]
    PolicyDecision,
    /// [`AgentLifecycleEvent`]
    AgentLifecycle,
    /// [`PolicyChangeEvent`]
    PolicyChange,
}

impl EventType {
    /// Every event type, in the order in which the guide names their topics.
    pub const ALL: [Self; 4] =
        [Self::Metering, Self::PolicyDecision, Self::AgentLifecycle, Self::PolicyChange];

    /// Short name of the record, for example `MeteringEvent`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Metering => "MeteringEvent",
            Self::PolicyDecision => "PolicyDecision",
            Self::AgentLifecycle => "AgentLifecycleEvent",
            Self::PolicyChange => "PolicyChangeEvent",
        }
    }

    /// Full name of the Avro record, see [`Event::RECORD`].
    pub const fn record(self) -> &'static str {
        match self {
            Self::Metering => MeteringEvent::RECORD,
            Self::PolicyDecision => PolicyDecision::RECORD,
            Self::AgentLifecycle => AgentLifecycleEvent::RECORD,
            Self::PolicyChange => PolicyChangeEvent::RECORD,
        }
    }

    /// Topic without namespace, see [`Event::TOPIC`].
    pub const fn topic(self) -> &'static str {
        match self {
            Self::Metering => MeteringEvent::TOPIC,
            Self::PolicyDecision => PolicyDecision::TOPIC,
            Self::AgentLifecycle => AgentLifecycleEvent::TOPIC,
            Self::PolicyChange => PolicyChangeEvent::TOPIC,
        }
    }

    /// Subject of the topic's values in the schema registry (Confluent's `TopicNameStrategy`).
    pub fn subject(self) -> String {
        format!("{}-value", self.topic())
    }

    /// The schema as JSON text, see [`Event::SCHEMA`].
    pub const fn schema(self) -> &'static str {
        match self {
            Self::Metering => METERING_EVENT_SCHEMA,
            Self::PolicyDecision => POLICY_DECISION_SCHEMA,
            Self::AgentLifecycle => AGENT_LIFECYCLE_EVENT_SCHEMA,
            Self::PolicyChange => POLICY_CHANGE_EVENT_SCHEMA,
        }
    }
}

impl fmt::Display for EventType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Milliseconds since 1970-01-01 UTC: Avro's logical type `timestamp-millis`.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(transparent)]
pub struct TimestampMillis(pub i64);

impl TimestampMillis {
    /// The time now, by this machine's clock; times before 1970 become 0.
    pub fn now() -> Self {
        Self::from(std::time::SystemTime::now())
    }
}

impl From<std::time::SystemTime> for TimestampMillis {
    fn from(time: std::time::SystemTime) -> Self {
        let since = time.duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
        Self(i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
    }
}

/// An agent used a metered resource.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct MeteringEvent {
    /// Identifier of this event, unique for ever: what a consumer deduplicates by.
    pub event_id: Uuid,
    /// The agent the event is about; also the record's key.
    pub agent_id: String,
    /// When it happened.
    pub occurred_at: TimestampMillis,
    /// What was used, for example a model, a tool or an API.
    pub resource: String,
    /// How much of it, counted in `unit`.
    pub quantity: i64,
    /// Unit of `quantity`, for example tokens, requests, bytes, milliseconds.
    pub unit: String,
    /// Price in `currency`; `None` when it is priced later.
    pub cost: Option<Decimal<6>>,
    /// ISO 4217 code of `cost`.
    pub currency: Option<String>,
    /// The mandate under which the agent acted.
    pub mandate_id: Option<String>,
    /// Ties together the events of one request.
    pub correlation_id: Option<String>,
    /// Further dimensions for reports. Nothing secret belongs here.
    pub attributes: BTreeMap<String, String>,
}

/// The policy engine allowed or denied an agent's action.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct PolicyDecision {
    /// Identifier of this event, unique for ever: what a consumer deduplicates by.
    pub event_id: Uuid,
    /// The agent the event is about; also the record's key.
    pub agent_id: String,
    /// When it happened.
    pub occurred_at: TimestampMillis,
    /// What the agent asked to do.
    pub action: String,
    /// What it asked to do it to.
    pub resource: String,
    /// The decision.
    pub outcome: DecisionOutcome,
    /// The policy that decided.
    pub policy_id: String,
    /// Version of that policy, from 1.
    pub policy_version: i64,
    /// Why, for people.
    pub reason: Option<String>,
    /// How long the evaluation took, in microseconds.
    pub evaluation_micros: Option<i64>,
    /// The mandate that was presented.
    pub mandate_id: Option<String>,
    /// Ties together the events of one request.
    pub correlation_id: Option<String>,
}

/// Outcome of a [`PolicyDecision`].
#[derive(Clone, Copy, Debug, Deserialize, Eq, Hash, PartialEq, Serialize)]
#[non_exhaustive]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum DecisionOutcome {
    /// An outcome newer than this reader. Never treat it as `Allow`.
    Unknown,
    /// The agent may.
    Allow,
    /// The agent may not.
    Deny,
}

/// An agent entered another state of its life.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct AgentLifecycleEvent {
    /// Identifier of this event, unique for ever: what a consumer deduplicates by.
    pub event_id: Uuid,
    /// The agent the event is about; also the record's key.
    pub agent_id: String,
    /// When it happened.
    pub occurred_at: TimestampMillis,
    /// The state it is in now.
    pub state: AgentState,
    /// The state it was in before; `None` for a new agent.
    pub previous_state: Option<AgentState>,
    /// The user or service that caused the change.
    pub changed_by: String,
    /// Who answers for the agent.
    pub owner_id: Option<String>,
    /// Why, for people.
    pub reason: Option<String>,
    /// Ties together the events of one request.
    pub correlation_id: Option<String>,
}

/// State of an agent, see [`AgentLifecycleEvent`].
#[derive(Clone, Copy, Debug, Deserialize, Eq, Hash, PartialEq, Serialize)]
#[non_exhaustive]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum AgentState {
    /// A state newer than this reader.
    Unknown,
    /// Known, but may not act yet.
    Registered,
    /// May act within its mandates.
    Active,
    /// May not act for now.
    Suspended,
    /// Its authority was withdrawn; it never acts again under this id.
    Revoked,
    /// Its work is over.
    Retired,
}

/// A policy that governs an agent changed.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct PolicyChangeEvent {
    /// Identifier of this event, unique for ever: what a consumer deduplicates by.
    pub event_id: Uuid,
    /// The agent the event is about; also the record's key.
    pub agent_id: String,
    /// When it happened.
    pub occurred_at: TimestampMillis,
    /// The policy that changed.
    pub policy_id: String,
    /// Its version after the change, from 1.
    pub policy_version: i64,
    /// Its version before the change; `None` for a new policy.
    pub previous_version: Option<i64>,
    /// What happened to it.
    pub change: PolicyChangeKind,
    /// The user or service that changed it.
    pub changed_by: String,
    /// SHA-256 of the policy's text after the change, in lower-case hexadecimal.
    pub content_digest: Option<String>,
    /// Why, for people.
    pub reason: Option<String>,
    /// Ties together the events of one request.
    pub correlation_id: Option<String>,
}

/// What happened to a policy, see [`PolicyChangeEvent`].
#[derive(Clone, Copy, Debug, Deserialize, Eq, Hash, PartialEq, Serialize)]
#[non_exhaustive]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum PolicyChangeKind {
    /// A change newer than this reader.
    Unknown,
    /// It is new.
    Created,
    /// Its text changed.
    Updated,
    /// It came into force.
    Activated,
    /// It is no longer in force.
    Deactivated,
    /// It is gone.
    Deleted,
}

macro_rules! event {
    ($type:ident, $topic:literal, $schema:ident) => {
        impl Event for $type {
            const RECORD: &'static str = concat!("caracal.events.", stringify!($type));
            const TOPIC: &'static str = $topic;
            const SCHEMA: &'static str = $schema;

            fn key(&self) -> &str {
                &self.agent_id
            }
        }
    };
}

event!(MeteringEvent, "caracal.metering.events", METERING_EVENT_SCHEMA);
event!(PolicyDecision, "caracal.policy.decisions", POLICY_DECISION_SCHEMA);
event!(AgentLifecycleEvent, "caracal.agent.lifecycle", AGENT_LIFECYCLE_EVENT_SCHEMA);
event!(PolicyChangeEvent, "caracal.policy.changes", POLICY_CHANGE_EVENT_SCHEMA);

impl MeteringEvent {
    /// An event that depends on `seed` alone: for probes, documents and tests. Another seed is
    /// another agent, so another key.
    pub fn sample(seed: u64) -> Self {
        let mut draw = Draw::new(seed);
        Self {
            event_id: Uuid::from_bytes(draw.uuid_bytes()),
            agent_id: draw.agent(),
            occurred_at: draw.time(),
            resource: "model/claude".into(),
            quantity: draw.below(100_000),
            unit: "tokens".into(),
            cost: draw.sometimes().then(|| Decimal::from_units(draw.below(5_000_000).into())),
            currency: draw.sometimes().then(|| "EUR".into()),
            mandate_id: draw.sometimes().then(|| draw.uuid()),
            correlation_id: draw.sometimes().then(|| draw.uuid()),
            attributes: BTreeMap::from([("region".into(), "eu-central".into())]),
        }
    }
}

impl PolicyDecision {
    /// An event that depends on `seed` alone, see [`MeteringEvent::sample`].
    pub fn sample(seed: u64) -> Self {
        let mut draw = Draw::new(seed);
        let allowed = draw.sometimes();
        Self {
            event_id: Uuid::from_bytes(draw.uuid_bytes()),
            agent_id: draw.agent(),
            occurred_at: draw.time(),
            action: "invoke".into(),
            resource: "tool/payments".into(),
            outcome: if allowed { DecisionOutcome::Allow } else { DecisionOutcome::Deny },
            policy_id: draw.uuid(),
            policy_version: 1 + draw.below(50),
            reason: (!allowed).then(|| "spending limit reached".into()),
            evaluation_micros: draw.sometimes().then(|| draw.below(20_000)),
            mandate_id: draw.sometimes().then(|| draw.uuid()),
            correlation_id: draw.sometimes().then(|| draw.uuid()),
        }
    }
}

impl AgentLifecycleEvent {
    /// An event that depends on `seed` alone, see [`MeteringEvent::sample`].
    pub fn sample(seed: u64) -> Self {
        let mut draw = Draw::new(seed);
        let new = draw.sometimes();
        Self {
            event_id: Uuid::from_bytes(draw.uuid_bytes()),
            agent_id: draw.agent(),
            occurred_at: draw.time(),
            state: if new { AgentState::Registered } else { AgentState::Suspended },
            previous_state: (!new).then_some(AgentState::Active),
            changed_by: "operator@example.com".into(),
            owner_id: draw.sometimes().then(|| draw.uuid()),
            reason: (!new).then(|| "under review".into()),
            correlation_id: draw.sometimes().then(|| draw.uuid()),
        }
    }
}

impl PolicyChangeEvent {
    /// An event that depends on `seed` alone, see [`MeteringEvent::sample`].
    pub fn sample(seed: u64) -> Self {
        let mut draw = Draw::new(seed);
        let version = 1 + draw.below(50);
        Self {
            event_id: Uuid::from_bytes(draw.uuid_bytes()),
            agent_id: draw.agent(),
            occurred_at: draw.time(),
            policy_id: draw.uuid(),
            policy_version: version,
            previous_version: (version > 1).then_some(version - 1),
            change: if version > 1 { PolicyChangeKind::Updated } else { PolicyChangeKind::Created },
            changed_by: "operator@example.com".into(),
            content_digest: draw.sometimes().then(|| format!("{:016x}", draw.next()).repeat(4)),
            reason: draw.sometimes().then(|| "quarterly review".into()),
            correlation_id: draw.sometimes().then(|| draw.uuid()),
        }
    }
}

/// SplitMix64 (Steele, Lea, Flood 2014): enough for samples, and no dependency.
struct Draw {
    seed: u64,
    state: u64,
}

impl Draw {
    const fn new(seed: u64) -> Self {
        Self { seed, state: seed }
    }

    const fn next(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, bound: u32) -> i64 {
        // The remainder is below a u32, so it always fits.
        i64::try_from(self.next() % u64::from(bound)).unwrap_or_default()
    }

    const fn sometimes(&mut self) -> bool {
        self.next() & 1 == 1
    }

    /// The whole seed stands in the id: two seeds never share a key.
    fn agent(&self) -> String {
        format!("agent-{:016x}", self.seed)
    }

    fn time(&mut self) -> TimestampMillis {
        // From 2025-01-01, within a year.
        TimestampMillis(1_735_689_600_000 + self.below(31_536_000) * 1000)
    }

    /// Version 4 (RFC 9562, section 5.4).
    fn uuid_bytes(&mut self) -> [u8; 16] {
        let high = self.next() & !0xf000 | 0x4000;
        let low = self.next() & !(0b11 << 62) | 0b10 << 62;
        (u128::from(high) << 64 | u128::from(low)).to_be_bytes()
    }

    fn uuid(&mut self) -> String {
        Uuid::from_bytes(self.uuid_bytes()).to_string()
    }
}
