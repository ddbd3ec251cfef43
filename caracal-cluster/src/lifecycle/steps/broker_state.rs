//! Access rules and topics, through the brokers.

use std::time::Duration;

use kafka_protocol::ResponseError;
use tokio::sync::Mutex;

use crate::admin::{AclDrift, Admin, TopicDrift, TopicState};
use crate::lifecycle::ClusterWorld;
use crate::lifecycle::engine::{Applied, Event, Observed};
use crate::lifecycle::error::{StepError, chain};
use crate::plan::{AclRule, NodeRole, TopicOwner, TopicPlan};
use crate::spec::Metadata;
use crate::wait::{Probe, WaitError, wait_for};
use crate::wire::{Deadline, records};

const DEADLINE: Duration = Duration::from_secs(60);

/// How often brokers are asked for topics that they should know.
const INTERVAL: Duration = Duration::from_millis(100);

/// How long one look may take.
const LOOK: Duration = Duration::from_secs(10);

pub(in crate::lifecycle) async fn observe_acls(world: &mut ClusterWorld) -> Result<Observed, StepError> {
    let planned = &world.cluster.plan.acls;
    let found = world.access().admin()?.acls(Deadline::after(DEADLINE)).await?;
    let drift = AclDrift::between(planned, &found).without(&world.cluster.plan.own_rules);
    for rule in &drift.unplanned {
        // Somebody's own rule is kept: the plan says what must be there, not what else may.
        world.reporter.tell(Event::Note(format!("an access rule that is not in the plan is kept: {rule}")));
    }
    Ok(if drift.missing.is_empty() {
        Observed::Satisfied(acl_summary(planned.len()))
    } else if drift.missing.len() == planned.len() {
        Observed::Absent("no rule is there".to_owned())
    } else {
        Observed::Drifted(
            drift
                .missing
                .iter()
                .map(|rule| format!("missing: {}", crate::admin::AclBinding::from(rule)))
                .collect(),
        )
    })
}

pub(in crate::lifecycle) async fn apply_acls(world: &mut ClusterWorld) -> Result<Applied, StepError> {
    let deadline = Deadline::after(DEADLINE);
    let planned = world.cluster.plan.acls.clone();
    let mut admin = world.access().admin()?;
    begin_offsets_topic(&mut admin, deadline).await;
    let drift = AclDrift::between(&planned, &admin.acls(deadline).await?);
    let outcomes = admin.create_acls(&drift.missing, deadline).await?;
    let failed: Vec<String> = outcomes
        .iter()
        .filter_map(|outcome| outcome.result.as_ref().err().map(ToString::to_string))
        .collect();
    if failed.is_empty() {
        if world.cluster.plan.metadata == Metadata::Kraft {
            await_rules(world, &planned).await?;
        }
        return Ok(acl_summary(planned.len()).into());
    }
    Err(StepError::Items { what: "access rules that could not be made".to_owned(), items: failed })
}

/// With KRaft a broker learns of rules a moment after the controllers have them, each by itself; until then it
/// refuses what they allow.
async fn await_rules(world: &ClusterWorld, planned: &[AclRule]) -> Result<(), StepError> {
    wait_for("every broker to know the access rules", DEADLINE, INTERVAL, || async {
        let admins = match world.access().admins() {
            Ok(admins) => admins,
            Err(error) => return Probe::Failed(StepError::from(error)),
        };
        for (id, mut admin) in admins {
            match admin.acls(Deadline::after(LOOK)).await {
                Ok(found) if AclDrift::between(planned, &found).missing.is_empty() => {}
                Ok(_) => return Probe::NotYet(format!("broker {id} does not know all of them")),
                Err(error) => return Probe::NotYet(chain(&error)),
            }
        }
        Probe::Ready(())
    })
    .await
    .map_err(|error: WaitError<StepError>| match error {
        WaitError::Failed(error) => error,
        other => StepError::Items {
            what: "access rules that a broker does not know".to_owned(),
            items: vec![chain(&other)],
        },
    })
}

/// Lets the brokers begin with the 50 partitions of `__consumer_offsets`, which takes them seconds.
///
/// They make that topic when a group's coordinator is asked for first. The registry would do so at the end of its
/// own start; asked now, they do it while its process loads. Whatever comes back, the registry asks again.
async fn begin_offsets_topic(admin: &mut Admin, deadline: Deadline) {
    const ANY_GROUP: &str = "caracal.up";
    if let Ok(connection) = admin.controller(deadline).await {
        let _ = records::find_coordinator(connection, ANY_GROUP, deadline).await;
    }
}

/// Whether nobody had to make rules, so that this is the first thing asked of the brokers of a new cluster.
fn rules_came_with_the_data(world: &ClusterWorld) -> bool {
    let plan = &world.cluster.plan;
    plan.metadata == Metadata::Kraft && plan.nodes_of(NodeRole::SchemaRegistry).next().is_some()
}

fn acl_summary(rules: usize) -> String {
    format!("{rules} rules, everything else denied")
}

pub(in crate::lifecycle) async fn observe_topics(world: &mut ClusterWorld) -> Result<Observed, StepError> {
    let planned = &world.cluster.plan.topics;
    let found = found_topics(&mut world.access().admin()?, planned, Deadline::after(DEADLINE)).await?;
    let mut absent = 0;
    let mut drifted = Vec::new();
    for topic in planned {
        let state = found.iter().find(|state| state.name == topic.name.as_str());
        for drift in TopicState::drift(state, topic) {
            if drift == TopicDrift::Absent {
                absent += 1;
            }
            drifted.push(format!("{}: {drift}", topic.name));
        }
    }
    Ok(if drifted.is_empty() {
        Observed::Satisfied(topic_summary(planned))
    } else if absent == planned.len() {
        Observed::Absent("no topic is there".to_owned())
    } else {
        Observed::Drifted(drifted)
    })
}

/// Makes missing topics and mends settings and partition counts; what cannot be mended without moving data
/// (fewer partitions, another replication factor) is named.
pub(in crate::lifecycle) async fn apply_topics(world: &mut ClusterWorld) -> Result<Applied, StepError> {
    let deadline = Deadline::after(DEADLINE);
    let planned = world.cluster.plan.topics.clone();
    let mut admin = world.access().admin()?;
    if rules_came_with_the_data(world) {
        begin_offsets_topic(&mut admin, deadline).await;
    }
    let mut found = found_topics(&mut admin, &planned, deadline).await?;
    let missing: Vec<TopicPlan> = absent(&planned, &found).cloned().collect();
    let (hidden, mut failed) = create(&mut admin, &missing, deadline).await?;
    if !hidden.is_empty() {
        await_shown(&mut admin, &hidden).await?;
        found = found_topics(&mut admin, &planned, deadline).await?;
    }
    for topic in &planned {
        let Some(state) = found.iter().find(|state| state.name == topic.name.as_str()) else { continue };
        failed.extend(mend_topic(&mut admin, state, topic, deadline).await?);
    }
    if failed.is_empty() {
        return Ok(topic_summary(&planned).into());
    }
    Err(StepError::Items { what: "topics that are not as planned".to_owned(), items: failed })
}

/// Creates topics; returns those that exist although they were not shown, and what was refused.
///
/// A broker that has just started may not have been told of the topics that there are: its "unknown topic"
/// is then answered by the controller's "exists", which is what is wanted.
async fn create(
    admin: &mut Admin,
    missing: &[TopicPlan],
    deadline: Deadline,
) -> Result<(Vec<TopicPlan>, Vec<String>), StepError> {
    let (mut hidden, mut refused) = (Vec::new(), Vec::new());
    if missing.is_empty() {
        return Ok((hidden, refused));
    }
    for outcome in admin.create_topics(missing, deadline).await? {
        match outcome.result {
            Ok(()) => {}
            Err(error) if error.code == ResponseError::TopicAlreadyExists.code() => {
                hidden.extend(missing.iter().find(|topic| topic.name == outcome.item).cloned());
            }
            Err(error) => refused.push(error.to_string()),
        }
    }
    Ok((hidden, refused))
}

/// Waits until topics that exist are shown.
async fn await_shown(admin: &mut Admin, topics: &[TopicPlan]) -> Result<(), StepError> {
    let admin = Mutex::new(admin);
    wait_for("topics that exist to be shown", DEADLINE, INTERVAL, || async {
        let found = match found_topics(*admin.lock().await, topics, Deadline::after(LOOK)).await {
            Ok(found) => found,
            Err(error) => return Probe::NotYet(chain(&error)),
        };
        let unknown: Vec<&str> = absent(topics, &found).map(|topic| topic.name.as_str()).collect();
        if unknown.is_empty() {
            Probe::Ready(())
        } else {
            Probe::NotYet(format!("not shown: {}", unknown.join(", ")))
        }
    })
    .await
    .map_err(|error: WaitError<StepError>| match error {
        WaitError::Failed(error) => error,
        other => StepError::Items {
            what: "topics that a broker does not show".to_owned(),
            items: vec![chain(&other)],
        },
    })
}

fn absent<'a>(planned: &'a [TopicPlan], found: &[TopicState]) -> impl Iterator<Item = &'a TopicPlan> {
    planned.iter().filter(|topic| !found.iter().any(|state| state.name == topic.name.as_str()))
}

/// Makes one topic as planned as far as that moves no data; returns what could not be done.
async fn mend_topic(
    admin: &mut Admin,
    state: &TopicState,
    topic: &TopicPlan,
    deadline: Deadline,
) -> Result<Vec<String>, StepError> {
    let mut failed = Vec::new();
    for drift in TopicState::drift(Some(state), topic) {
        let mended = match &drift {
            TopicDrift::Config { .. } => {
                admin.alter_topic_config(topic.name.as_str(), &topic.config, deadline).await?
            }
            TopicDrift::Partitions { planned, found } if *planned as usize > *found => {
                admin.create_partitions(topic.name.as_str(), *planned, deadline).await?
            }
            other => {
                failed.push(format!("{}: {other}; this cannot be changed without moving data", topic.name));
                continue;
            }
        };
        failed.extend(mended.err().map(|error| error.to_string()));
    }
    Ok(failed)
}

async fn found_topics(
    admin: &mut Admin,
    topics: &[TopicPlan],
    deadline: Deadline,
) -> Result<Vec<TopicState>, StepError> {
    let names: Vec<&str> = topics.iter().map(|topic| topic.name.as_str()).collect();
    Ok(admin.topics(Some(&names), deadline).await?)
}

fn topic_summary(topics: &[TopicPlan]) -> String {
    let ours = topics.iter().filter(|topic| topic.owner == TopicOwner::Application).count();
    let partitions: u32 = topics.iter().map(|topic| topic.partitions).sum();
    format!("{ours} topics and {} of the registry, {partitions} partitions", topics.len() - ours)
}
