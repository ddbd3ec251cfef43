//! What a principal does at the brokers, and how it is seen whether it may.
//!
//! Kafka judges rights before it looks at anything else. So where an act would leave something behind, it is
//! made impossible on purpose (a partition that cannot exist, a user that does not), and the answer that
//! says just that means: it may.

use std::collections::BTreeMap;
use std::sync::PoisonError;
use std::time::Duration;

use bytes::Bytes;
use caracal_scram::Mechanism;
use kafka_protocol::ResponseError;
use kafka_protocol::messages::alter_user_scram_credentials_request::ScramCredentialDeletion;
use kafka_protocol::messages::create_acls_request::AclCreation;
use kafka_protocol::messages::create_topics_request::CreatableTopic;
use kafka_protocol::messages::describe_configs_request::DescribeConfigsResource;
use kafka_protocol::messages::describe_user_scram_credentials_request::UserName;
use kafka_protocol::messages::metadata_request::MetadataRequestTopic;
use kafka_protocol::messages::{
    AlterUserScramCredentialsRequest, CreateAclsRequest, CreateTopicsRequest, DescribeConfigsRequest,
    DescribeUserScramCredentialsRequest, MetadataRequest, TopicName,
};
use kafka_protocol::protocol::StrBytes;
use time::OffsetDateTime;
use tokio::sync::Mutex;

use crate::admin::{AclDrift, Admin, AdminError, Outcome};
use crate::lifecycle::chain;
use crate::plan::{NodeRole, TopicOwner, TopicPlan, UserPlan};
use crate::wire::{ApiError, Connection, Deadline, WireError, WireErrorKind, records};

use super::attempt::Context;
use super::judge::Seen;
use super::rights;

/// No topic has so many partitions; rights are judged before the partition is looked for.
const NO_PARTITION: i32 = i32::MAX;
/// `TOPIC` of `ConfigResource.Type`.
const TOPIC: i8 = 2;
// `CLUSTER`, `LITERAL`, `DESCRIBE` and `DENY` of Kafka's `org.apache.kafka.common.acl` and `.resource`.
const CLUSTER: i8 = 4;
const LITERAL: i8 = 3;
const DESCRIBE: i8 = 8;
const DENY: i8 = 2;
/// Above this version a topic's rights come by another request.
const METADATA: i16 = 12;

/// What is done.
#[derive(Clone, Debug)]
pub(super) enum Act {
    /// Deletes the credential of a user that does not exist.
    AlterUsers,
    /// Sends a rule that is invalid.
    AlterRules,
    /// Commits an offset and reads it back.
    Commit {
        group: String,
        topic: String,
    },
    /// Compares the cluster's rules with the plan's.
    CompareRules,
    /// Has the creation of a topic checked, not done.
    CreateTopic {
        name: String,
    },
    DescribeConfigs {
        topic: String,
    },
    /// Deletes what this run made, and what killed ones left.
    DropScratch,
    /// Gets an id for an idempotent producer.
    Idempotent,
    ListRules,
    /// Asks for the credentials of a user that does not exist.
    LookUpUser,
    /// Makes this run's topic.
    MakeScratch,
    /// Reads from the start of partition 0.
    Read {
        topic: String,
    },
    /// Asks for every right of its own.
    Rights {
        topic: String,
    },
    /// Writes a record and reads it back.
    RoundTrip {
        topic: String,
    },
    /// Gets an id for a transactional producer whose own id begins so.
    Transactional {
        id: String,
    },
    /// Writes to a partition that cannot exist.
    Write {
        topic: String,
    },
}

/// The administrator who tells where leaders and coordinators are, so that a principal need not be allowed
/// to ask.
#[derive(Debug)]
pub(super) struct Guide(pub(super) Mutex<Admin>);

impl Guide {
    async fn controller(&self, deadline: Deadline) -> Result<i32, AdminError> {
        const DOING: &str = "find the controller";
        let mut admin = self.0.lock().await;
        let connection = admin.controller(deadline).await?;
        let found = records::metadata(connection, Some(&[]), deadline).await?.controller;
        let none = || WireErrorKind::Protocol("the cluster names no controller".to_owned());
        found.ok_or_else(|| connection.error(DOING, none()).into())
    }

    async fn leader(&self, topic: &str, deadline: Deadline) -> Result<i32, AdminError> {
        let mut admin = self.0.lock().await;
        let controller = admin.controller(deadline).await?;
        Ok(records::leader(controller, topic, 0, deadline).await?)
    }

    /// The coordinator of a group.
    pub(super) async fn group(&self, group: &str, deadline: Deadline) -> Result<i32, AdminError> {
        let mut admin = self.0.lock().await;
        let controller = admin.controller(deadline).await?;
        Ok(records::find_coordinator(controller, group, deadline).await?)
    }

    /// The coordinator of a transactional id.
    pub(super) async fn transaction(&self, id: &str, deadline: Deadline) -> Result<i32, AdminError> {
        let mut admin = self.0.lock().await;
        let controller = admin.controller(deadline).await?;
        Ok(records::find_transaction_coordinator(controller, id, deadline).await?)
    }
}

impl From<AdminError> for Seen {
    fn from(error: AdminError) -> Self {
        match error {
            AdminError::Wire(error) => (*error).into(),
            other => Self::Broken(chain(&other)),
        }
    }
}

/// Connections that cells of one user leave to the next: a TLS handshake and a log-in for each of two hundred
/// cells would be most of the matrix's time.
#[derive(Debug, Default)]
pub(super) struct Pool(std::sync::Mutex<BTreeMap<(String, i32), Vec<Connection>>>);

impl Pool {
    fn take(&self, user: &str, broker: i32) -> Option<Connection> {
        let mut idle = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        idle.get_mut(&(user.to_owned(), broker))?.pop()
    }

    fn give_back(&self, user: &str, broker: i32, connection: Connection) {
        if connection.is_usable() {
            let mut idle = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            idle.entry((user.to_owned(), broker)).or_default().push(connection);
        }
    }
}

/// One cell's principal: its one connection is taken from the pool and returned to it.
struct Actor<'c> {
    context: &'c Context<'c>,
    user: &'c UserPlan,
    admin: Admin,
    held: Option<(i32, Connection)>,
}

impl Actor<'_> {
    async fn connection(&mut self, broker: i32, deadline: Deadline) -> Result<&mut Connection, AdminError> {
        let connection = match self.context.pool.take(self.user.name.as_str(), broker) {
            Some(connection) => connection,
            None => self.admin.connect(broker, deadline).await?,
        };
        Ok(&mut self.held.insert((broker, connection)).1)
    }

    async fn leader(&mut self, topic: &str, deadline: Deadline) -> Result<&mut Connection, AdminError> {
        let leader = self.context.guide.leader(topic, deadline).await?;
        self.connection(leader, deadline).await
    }

    async fn controller(&mut self, deadline: Deadline) -> Result<&mut Connection, AdminError> {
        let controller = self.context.guide.controller(deadline).await?;
        self.connection(controller, deadline).await
    }
}

impl Drop for Actor<'_> {
    fn drop(&mut self) {
        if let Some((broker, connection)) = self.held.take() {
            self.context.pool.give_back(self.user.name.as_str(), broker, connection);
        }
    }
}

impl Act {
    /// Does it as a user.
    pub(super) async fn run(
        &self,
        context: &Context<'_>,
        user: &crate::names::UserName,
        deadline: Deadline,
    ) -> Seen {
        let user = match context.user(user) {
            Ok(user) => user,
            Err(seen) => return seen,
        };
        let admin = match context.access.as_user(user) {
            Ok(admin) => admin,
            Err(error) => return Seen::Broken(chain(&error)),
        };
        let mut actor = Actor { context, user, admin, held: None };
        let seen = match self {
            Self::Write { topic } => write(&mut actor, topic, deadline).await,
            Self::Read { topic } => read(&mut actor, topic, deadline).await,
            Self::Rights { topic } => rights(&mut actor, topic, deadline).await,
            Self::RoundTrip { topic } => round_trip(&mut actor, topic, deadline).await,
            Self::Commit { group, topic } => commit(&mut actor, group, topic, deadline).await,
            Self::Idempotent => idempotent(&mut actor, deadline).await,
            // Two that begin under one id at once would be in each other's way.
            Self::Transactional { id } => {
                transactional(&mut actor, &format!("{id}-{}", user.name), deadline).await
            }
            Self::DescribeConfigs { topic } => describe_configs(&mut actor, topic, deadline).await,
            Self::CreateTopic { name } => create_topic(&mut actor, name, deadline).await,
            Self::MakeScratch => make_scratch(&mut actor, deadline).await,
            Self::DropScratch => drop_scratch(&mut actor, deadline).await,
            Self::LookUpUser => look_up_user(&mut actor, deadline).await,
            Self::AlterUsers => alter_users(&mut actor, deadline).await,
            Self::ListRules => {
                actor.admin.acls(deadline).await.map(|rules| accepted(format!("{} rules", rules.len())))
            }
            Self::AlterRules => alter_rules(&mut actor, deadline).await,
            Self::CompareRules => compare_rules(&mut actor, deadline).await,
        };
        seen.unwrap_or_else(Seen::from)
    }
}

type Tried = Result<Seen, AdminError>;

fn accepted(what: impl Into<String>) -> Seen {
    Seen::Accepted(what.into())
}

/// An error code as an error of the connection's, so that it is judged like every other.
fn refused(connection: &Connection, doing: &'static str, error: ApiError) -> Seen {
    connection.error(doing, error.into()).into()
}

fn is_code(error: &WireError, code: ResponseError) -> bool {
    matches!(&error.kind, WireErrorKind::Api(api) if api.code == code.code())
}

async fn write(actor: &mut Actor<'_>, topic: &str, deadline: Deadline) -> Tried {
    let connection = actor.leader(topic, deadline).await?;
    let value = Some(Bytes::from_static(b"never written"));
    match records::produce(connection, topic, NO_PARTITION, None, value, deadline).await {
        Ok(offset) => {
            Ok(Seen::Broken(format!("a record was written to partition {NO_PARTITION} at {offset}")))
        }
        Err(error) if is_code(&error, ResponseError::UnknownTopicOrPartition) => {
            Ok(accepted("may write: only the partition was refused, which does not exist"))
        }
        Err(error) => Err(error.into()),
    }
}

async fn read(actor: &mut Actor<'_>, topic: &str, deadline: Deadline) -> Tried {
    let connection = actor.leader(topic, deadline).await?;
    match records::fetch(connection, topic, 0, 0, Duration::ZERO, deadline).await {
        Ok(records) => Ok(accepted(format!("read {} records of partition 0", records.len()))),
        // Retention may have taken the first records away.
        Err(error) if is_code(&error, ResponseError::OffsetOutOfRange) => {
            Ok(accepted("may read: only the offset was refused, which is gone"))
        }
        Err(error) => Err(error.into()),
    }
}

async fn round_trip(actor: &mut Actor<'_>, topic: &str, deadline: Deadline) -> Tried {
    let value = Bytes::from(actor.context.names.salt.clone());
    let connection = actor.leader(topic, deadline).await?;
    let offset = records::produce(connection, topic, 0, None, Some(value.clone()), deadline).await?;
    let wait = Duration::from_secs(2);
    let found = records::fetch(connection, topic, 0, offset, wait, deadline).await?;
    let found = found.iter().find(|record| record.offset == offset).and_then(|record| record.value.as_ref());
    Ok(if found == Some(&value) {
        accepted(format!("offset {offset} came back unchanged"))
    } else {
        Seen::Broken(format!("what was written at offset {offset} did not come back"))
    })
}

async fn rights(actor: &mut Actor<'_>, topic: &str, deadline: Deadline) -> Tried {
    let asked = MetadataRequestTopic::default().with_name(Some(TopicName(text(topic))));
    let request = MetadataRequest::default()
        .with_topics(Some(vec![asked]))
        .with_allow_auto_topic_creation(false)
        .with_include_topic_authorized_operations(true);
    let connection = actor.controller(deadline).await?;
    let response = connection.call_as("ask for rights", &request, METADATA, deadline).await?;
    let Some(found) = response.topics.into_iter().next() else {
        return Ok(Seen::Broken("the answer lacks the topic".to_owned()));
    };
    Ok(match ApiError::from_code(found.error_code, None, format!("topic {topic}")) {
        Some(error) => refused(connection, "ask for rights", error),
        None => Seen::Found(operations(found.topic_authorized_operations)),
    })
}

/// Kafka's rights to a topic as words, in the alphabet's order. A bit's place is the operation's number
/// (`org.apache.kafka.common.acl.AclOperation`).
fn operations(bits: i32) -> String {
    const NAMES: [(u32, &str); 8] = [
        (7, "Alter"),
        (11, "AlterConfigs"),
        (5, "Create"),
        (6, "Delete"),
        (8, "Describe"),
        (10, "DescribeConfigs"),
        (3, "Read"),
        (4, "Write"),
    ];
    let known = NAMES.iter().fold(0, |known, (bit, _)| known | 1 << bit);
    let mut names: Vec<String> =
        NAMES.iter().filter(|(bit, _)| bits & 1 << bit != 0).map(|(_, name)| (*name).to_owned()).collect();
    if bits & !known != 0 {
        names.push(format!("unknown bits {:#x}", bits & !known));
    }
    names.join(", ")
}

async fn commit(actor: &mut Actor<'_>, group: &str, topic: &str, deadline: Deadline) -> Tried {
    let coordinator = actor.context.guide.group(group, deadline).await?;
    let connection = actor.connection(coordinator, deadline).await?;
    records::commit_offset(connection, group, topic, 0, 0, deadline).await?;
    let found = records::committed_offset(connection, group, topic, 0, deadline).await?;
    Ok(match found {
        Some(0) => accepted("offset 0 committed and read back"),
        other => Seen::Broken(format!("committed offset 0, read {other:?}")),
    })
}

async fn idempotent(actor: &mut Actor<'_>, deadline: Deadline) -> Tried {
    let connection = actor.controller(deadline).await?;
    let id = records::init_producer_id(connection, None, deadline).await?;
    Ok(accepted(format!("producer id {id}")))
}

async fn transactional(actor: &mut Actor<'_>, id: &str, deadline: Deadline) -> Tried {
    let coordinator = actor.context.guide.transaction(id, deadline).await?;
    let connection = actor.connection(coordinator, deadline).await?;
    let producer = records::init_producer_id(connection, Some(id), deadline).await?;
    Ok(accepted(format!("producer id {producer}")))
}

async fn describe_configs(actor: &mut Actor<'_>, topic: &str, deadline: Deadline) -> Tried {
    const DOING: &str = "read a topic's configuration";
    let resource = DescribeConfigsResource::default()
        .with_resource_type(TOPIC)
        .with_resource_name(text(topic))
        .with_configuration_keys(None);
    let request = DescribeConfigsRequest::default().with_resources(vec![resource]);
    let connection = actor.controller(deadline).await?;
    let response = connection.call_as(DOING, &request, i16::MAX, deadline).await?;
    let Some(found) = response.results.into_iter().next() else {
        return Ok(Seen::Broken("the answer lacks the topic".to_owned()));
    };
    Ok(match ApiError::from_code(found.error_code, None, format!("topic {topic}")) {
        Some(error) => refused(connection, DOING, error),
        None => accepted(format!("{} settings", found.configs.len())),
    })
}

async fn create_topic(actor: &mut Actor<'_>, name: &str, deadline: Deadline) -> Tried {
    const DOING: &str = "have a topic's creation checked";
    let topic = CreatableTopic::default()
        .with_name(TopicName(text(name)))
        .with_num_partitions(1)
        .with_replication_factor(1);
    let request = CreateTopicsRequest::default()
        .with_topics(vec![topic])
        .with_validate_only(true)
        .with_timeout_ms(deadline.remaining().as_millis().try_into().unwrap_or(i32::MAX));
    let connection = actor.controller(deadline).await?;
    let response = connection.call_as(DOING, &request, i16::MAX, deadline).await?;
    let code = response.topics.first().map_or(0, |result| result.error_code);
    Ok(match ApiError::from_code(code, None, format!("topic {name}")) {
        Some(error) => refused(connection, DOING, error),
        None => accepted("may create it (checked only)"),
    })
}

/// Asks for one user: asked for all, Kafka 3.9 never answers whoever may not know.
async fn look_up_user(actor: &mut Actor<'_>, deadline: Deadline) -> Tried {
    const DOING: &str = "look a user up";
    let name = UserName::default().with_name(text(&actor.context.names.scratch()));
    let request = DescribeUserScramCredentialsRequest::default().with_users(Some(vec![name]));
    let connection = actor.controller(deadline).await?;
    let response = connection.call_as(DOING, &request, i16::MAX, deadline).await?;
    Ok(match ApiError::from_code(response.error_code, None, "users") {
        Some(error) => refused(connection, DOING, error),
        None => accepted("may look users up"),
    })
}

async fn alter_users(actor: &mut Actor<'_>, deadline: Deadline) -> Tried {
    const DOING: &str = "delete a user";
    let name = actor.context.names.scratch();
    let deletion = ScramCredentialDeletion::default()
        .with_name(text(&name))
        .with_mechanism(Mechanism::ScramSha512.kafka_type());
    let request = AlterUserScramCredentialsRequest::default().with_deletions(vec![deletion]);
    let connection = actor.controller(deadline).await?;
    let response = connection.call_as(DOING, &request, i16::MAX, deadline).await?;
    let code = response.results.first().map_or(0, |result| result.error_code);
    Ok(match ApiError::from_code(code, None, format!("user {name}")) {
        Some(error) if error.code == ResponseError::ResourceNotFound.code() => {
            accepted("may alter users: only the user was refused, which does not exist")
        }
        Some(error) => refused(connection, DOING, error),
        None => Seen::Broken(format!("user {name} was deleted, which should not exist")),
    })
}

/// A rule for a cluster of another name is invalid, which is looked at after the right to make rules.
async fn alter_rules(actor: &mut Actor<'_>, deadline: Deadline) -> Tried {
    const DOING: &str = "change access rules";
    let rule = AclCreation::default()
        .with_resource_type(CLUSTER)
        .with_resource_name(text(&actor.context.names.scratch()))
        .with_resource_pattern_type(LITERAL)
        .with_principal(text("User:nobody"))
        .with_host(text("*"))
        .with_operation(DESCRIBE)
        .with_permission_type(DENY);
    let request = CreateAclsRequest::default().with_creations(vec![rule]);
    let connection = actor.controller(deadline).await?;
    let response = connection.call_as(DOING, &request, i16::MAX, deadline).await?;
    let code = response.results.first().map_or(0, |result| result.error_code);
    Ok(match ApiError::from_code(code, None, "access rules") {
        Some(error) if error.code == ResponseError::InvalidRequest.code() => {
            accepted("may change rules: only the rule was refused, which is invalid")
        }
        Some(error) => refused(connection, DOING, error),
        None => Seen::Broken("an invalid rule was taken".to_owned()),
    })
}

async fn compare_rules(actor: &mut Actor<'_>, deadline: Deadline) -> Tried {
    let found = actor.admin.acls(deadline).await?;
    let plan = &actor.context.plan;
    let drift = AclDrift::between(&plan.acls, &found).without(&plan.own_rules);
    if drift.is_empty() {
        return Ok(Seen::Found(rights::planned_rules(actor.context.plan.acls.len())));
    }
    let missing =
        drift.missing.iter().map(|rule| format!("missing: {}", crate::admin::AclBinding::from(rule)));
    let unplanned = drift.unplanned.iter().map(|rule| format!("not planned: {rule}"));
    Ok(Seen::Found(missing.chain(unplanned).collect::<Vec<_>>().join("; ")))
}

async fn make_scratch(actor: &mut Actor<'_>, deadline: Deadline) -> Tried {
    let name = actor.context.names.scratch();
    let brokers = actor.context.plan.nodes_of(NodeRole::Broker).count();
    let Ok(name) = name.parse() else { return Ok(Seen::Broken(format!("{name} is no name of a topic"))) };
    let topic = TopicPlan {
        name,
        partitions: 1,
        replication_factor: u16::try_from(brokers.min(3)).unwrap_or(3),
        config: Vec::new(),
        owner: TopicOwner::Application,
    };
    let made = actor.admin.create_topics(std::slice::from_ref(&topic), deadline).await?;
    let controller = actor.admin.controller(deadline).await?;
    match made.into_iter().next().map(|outcome| outcome.result) {
        Some(Err(error)) => Ok(refused(controller, "create a topic", error)),
        _ => Ok(accepted(format!("{} with {} copies", topic.name, topic.replication_factor))),
    }
}

/// Deletes the topics and groups of this run, and those that killed runs left behind long ago.
async fn drop_scratch(actor: &mut Actor<'_>, deadline: Deadline) -> Tried {
    let names = &actor.context.names;
    let now = OffsetDateTime::now_utc();
    let controller = actor.admin.controller(deadline).await?;
    let known = records::metadata(controller, None, deadline).await?;
    let known = known.topics.iter().map(|topic| topic.name.as_str());
    let doomed: Vec<&str> = known.filter(|name| names.is_doomed(name, now)).collect();
    let topics = actor.admin.delete_topics(&doomed, deadline).await?;
    let groups = actor.admin.delete_groups(|name| names.is_doomed(name, now), deadline).await?;
    let said = format!("deleted {} topics and {} groups", topics.len(), groups.len());
    let controller = actor.admin.controller(deadline).await?;
    let kept = |doing, outcome: Outcome<String>| outcome.result.err().map(|error| (doing, error));
    let mut kept = topics
        .into_iter()
        .filter_map(|outcome| kept("delete a topic", outcome))
        .chain(groups.into_iter().filter_map(|outcome| kept("delete a group", outcome)));
    Ok(match kept.next() {
        Some((doing, error)) => refused(controller, doing, error),
        None => accepted(said),
    })
}

fn text(value: &str) -> StrBytes {
    StrBytes::from_string(value.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rights_are_named_and_unknown_ones_are_not_dropped() {
        assert_eq!(operations(1 << 3 | 1 << 8), "Describe, Read");
        assert_eq!(operations(0), "");
        assert_eq!(operations(1 << 4 | 1 << 20), "Write, unknown bits 0x100000");
    }
}
