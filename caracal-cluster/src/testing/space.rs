//! Names of a test's own on a cluster that others use too.

use std::time::Duration;

use caracal_kafka_contract::profile::ConnectionProfile;
use uuid::Uuid;

use super::{FixtureError, SecureCluster};
use crate::admin::{AclBinding, AdminError, Outcome};
use crate::names::{TopicName, UserName};
use crate::plan::{AclRule, Operation, PatternKind, ResourceKind, Role, TopicOwner, TopicPlan};
use crate::wire::Deadline;

/// How long one question to the cluster may take.
const LOOK: Duration = Duration::from_secs(10);

/// How long topics and rules may take to be known to every broker.
const PATIENCE: Duration = Duration::from_secs(30);

const INTERVAL: Duration = Duration::from_millis(20);

/// A prefix that no other test has, before every topic, group, transactional id and subject.
///
/// In it `producer` writes and `consumer` reads every topic, both in groups and transactions of any name, and the
/// consumer writes dead letters. Nothing outside of it is allowed that was not allowed before. It ends with its
/// cluster, or by [`Namespace::remove`].
#[derive(Clone, Debug)]
pub struct Namespace {
    cluster: SecureCluster,
    prefix: String,
}

impl Namespace {
    pub(super) async fn make(cluster: SecureCluster) -> Result<Self, FixtureError> {
        let random = Uuid::new_v4().simple().to_string();
        let space = Self { cluster, prefix: format!("t{}.", &random[..12]) };
        let rules = space.rules();
        let mut admin = space.cluster.admin()?;
        refused(admin.create_acls(&rules, Deadline::after(LOOK)).await?)?;
        space.known_everywhere(&rules).await?;
        Ok(space)
    }

    /// The prefix.
    pub fn prefix(&self) -> &str {
        &self.prefix
    }

    /// The cluster.
    pub fn cluster(&self) -> &SecureCluster {
        &self.cluster
    }

    /// A name in it: what the client makes of a topic's or group's name.
    pub fn qualified(&self, name: &str) -> String {
        format!("{}{name}", self.prefix)
    }

    /// A user's profile that works in it.
    ///
    /// # Errors
    /// [`FixtureError::Profile`] names the users that there are.
    pub fn profile(&self, user: &str) -> Result<ConnectionProfile, FixtureError> {
        let mut profile = self.cluster.profile(user)?;
        profile.namespace = Some(self.prefix.clone());
        Ok(profile)
    }

    /// Makes a topic with the cluster's number of copies, waits until it is led, and gives its whole name.
    ///
    /// # Errors
    /// [`FixtureError`].
    pub async fn topic(&self, name: &str, partitions: u32) -> Result<TopicName, FixtureError> {
        let cluster = self.cluster.cluster();
        let topic = TopicPlan {
            name: self.qualified(name).parse()?,
            partitions,
            replication_factor: cluster.spec.replication.factor,
            config: vec![("min.insync.replicas".to_owned(), cluster.spec.replication.min_isr.to_string())],
            owner: TopicOwner::Application,
        };
        let mut admin = self.cluster.admin()?;
        refused(admin.create_topics(std::slice::from_ref(&topic), Deadline::after(LOOK)).await?)?;
        self.led_everywhere(&topic).await?;
        Ok(topic.name)
    }

    /// Deletes its topics and rules. Schemas stay until the cluster ends.
    ///
    /// # Errors
    /// [`FixtureError`].
    pub async fn remove(self) -> Result<(), FixtureError> {
        let mut admin = self.cluster.admin()?;
        let topics = admin.topics(None, Deadline::after(LOOK)).await?;
        let ours: Vec<&str> = topics
            .iter()
            .map(|topic| topic.name.as_str())
            .filter(|name| name.starts_with(&self.prefix))
            .collect();
        if !ours.is_empty() {
            refused(admin.delete_topics(&ours, Deadline::after(LOOK)).await?)?;
        }
        let rules: Vec<AclBinding> = self.rules().iter().map(AclBinding::from).collect();
        admin.delete_acls(&rules, Deadline::after(LOOK)).await?;
        Ok(())
    }

    fn rules(&self) -> Vec<AclRule> {
        use Operation::{Describe, Read, Write};
        let of_role = |role| self.cluster.cluster().plan.users.iter().filter(move |user| user.role == role);
        let mut rules = Vec::new();
        for user in of_role(Role::Producer) {
            rules.extend(self.each(&user.name, ResourceKind::Topic, &[Write, Describe]));
            rules.extend(self.each(&user.name, ResourceKind::TransactionalId, &[Write, Describe]));
            rules.extend(self.each(&user.name, ResourceKind::Group, &[Read, Describe]));
        }
        for user in of_role(Role::Consumer) {
            // Dead letters are topics of the namespace too.
            rules.extend(self.each(&user.name, ResourceKind::Topic, &[Read, Write, Describe]));
            rules.extend(self.each(&user.name, ResourceKind::Group, &[Read, Describe]));
        }
        rules
    }

    fn each(&self, user: &UserName, resource: ResourceKind, operations: &[Operation]) -> Vec<AclRule> {
        let rule = |operation: &Operation| AclRule {
            user: user.clone(),
            resource,
            pattern: PatternKind::Prefixed,
            name: self.prefix.clone(),
            operation: *operation,
        };
        operations.iter().map(rule).collect()
    }

    async fn known_everywhere(&self, rules: &[AclRule]) -> Result<(), FixtureError> {
        let wanted: Vec<AclBinding> = rules.iter().map(AclBinding::from).collect();
        for (id, mut admin) in self.cluster.operated().access().admins()? {
            let what = format!("broker {id} to know the rules of {}", self.prefix);
            let end = Deadline::after(PATIENCE);
            loop {
                let found = admin.acls(end).await?;
                let missing = wanted.iter().filter(|rule| !found.contains(rule)).count();
                if missing == 0 {
                    break;
                }
                pause(&what, end, &format!("{missing} of {} missing", wanted.len())).await?;
            }
        }
        Ok(())
    }

    async fn led_everywhere(&self, topic: &TopicPlan) -> Result<(), FixtureError> {
        for (id, mut admin) in self.cluster.operated().access().admins()? {
            let what = format!("broker {id} to know the leaders of {}", topic.name);
            let end = Deadline::after(PATIENCE);
            loop {
                let found = admin.topics(Some(&[topic.name.as_str()]), end).await;
                let led = match found {
                    Ok(found) => found.first().map_or(0, |state| {
                        state.partitions.iter().filter(|partition| partition.leader.is_some()).count()
                    }),
                    // Its settings are asked for by name, a moment before this broker has heard of it.
                    Err(AdminError::Wire(_)) if !end.is_over() => 0,
                    Err(error) => return Err(error.into()),
                };
                if usize::try_from(topic.partitions) == Ok(led) {
                    break;
                }
                pause(&what, end, &format!("{led} of {} led", topic.partitions)).await?;
            }
        }
        Ok(())
    }
}

/// One look later, or the end of the wait.
async fn pause(what: &str, end: Deadline, last: &str) -> Result<(), FixtureError> {
    if end.is_over() {
        let waited = end.elapsed().as_secs();
        return Err(FixtureError::Awaited(format!(
            "waited {waited} s for {what}, in vain; last seen: {last}"
        )));
    }
    tokio::time::sleep(INTERVAL.min(end.remaining())).await;
    Ok(())
}

fn refused<T>(outcomes: Vec<Outcome<T>>) -> Result<(), FixtureError> {
    let refusal = outcomes.into_iter().find_map(|outcome| outcome.result.err());
    refusal.map_or(Ok(()), |error| Err(FixtureError::Refused(error)))
}

/// A topic of a test's own, with the namespace that it lies in.
#[derive(Clone, Debug)]
pub struct UniqueTopic {
    space: Namespace,
    name: TopicName,
}

impl UniqueTopic {
    pub(super) fn new(space: Namespace, name: TopicName) -> Self {
        Self { space, name }
    }

    /// Its whole name.
    pub fn name(&self) -> &str {
        self.name.as_str()
    }

    /// The namespace.
    pub fn namespace(&self) -> &Namespace {
        &self.space
    }

    /// A user's profile that works in the namespace, where the topic has the name that it was asked for by.
    ///
    /// # Errors
    /// [`FixtureError::Profile`] names the users that there are.
    pub fn profile(&self, user: &str) -> Result<ConnectionProfile, FixtureError> {
        self.space.profile(user)
    }
}
