//! SCRAM credentials in ZooKeeper, written before the first broker starts.
//!
//! Brokers log in to each other with a SCRAM user, so that user cannot be made through a broker. A JVM
//! tool for it costs seconds a user; a znode costs milliseconds.

use std::time::Duration;

use caracal_scram::{Iterations, Mechanism};

use crate::lifecycle::ClusterWorld;
use crate::lifecycle::engine::{Applied, Event, Observed};
use crate::lifecycle::error::StepError;
use crate::plan::{ClusterPlan, NodeRole};
use crate::wire::Deadline;
use crate::zookeeper::users::{self, UserChange};
use crate::zookeeper::{Acl, CreateMode, ZkError, ZooKeeper};

const DEADLINE: Duration = Duration::from_secs(20);
const SESSION: Duration = Duration::from_secs(10);

/// Brokers read changed users when a znode below this path tells them to.
const CHANGES: &str = "/config/changes";

pub(in crate::lifecycle) async fn observe(world: &mut ClusterWorld) -> Result<Observed, StepError> {
    let deadline = Deadline::after(DEADLINE);
    let mut zookeeper = connect(world, deadline).await?;
    let mut missing = Vec::new();
    let mut drifted = Vec::new();
    for user in &world.cluster.plan.users {
        let name = user.name.as_str();
        let credential =
            users::scram_credential(&mut zookeeper, name, Mechanism::ScramSha512, deadline).await;
        let password = world.credentials().expect_password(&user.name)?;
        match credential {
            Ok(None) => missing.push(format!("{name} has no credential")),
            Ok(Some(credential)) if credential.iterations() != user.iterations => {
                drifted.push(format!(
                    "{name} has {} iterations, planned are {}",
                    credential.iterations(),
                    user.iterations
                ));
            }
            Ok(Some(credential)) => {
                if !credential.verifies(&password).unwrap_or(false) {
                    drifted.push(format!(
                        "the password file of {name} does not fit its credential: one of the two was changed"
                    ));
                }
            }
            Err(ZkError::Record { .. }) => drifted.push(format!("the credential of {name} is damaged")),
            Err(error) => return Err(error.into()),
        }
    }
    let found = users::user_names(&mut zookeeper, deadline).await?;
    let mut left = Vec::new();
    for name in unplanned(&world.cluster.plan, found.iter().map(String::as_str)) {
        if has_credential(&mut zookeeper, name, deadline).await? {
            left.push(name);
        }
    }
    tell_of_unplanned(world, left.into_iter());
    zookeeper.close(deadline).await?;
    Ok(if missing.is_empty() && drifted.is_empty() {
        Observed::Satisfied(summary(world))
    } else if drifted.is_empty() {
        Observed::Absent(missing.join(", "))
    } else {
        Observed::Drifted(drifted.into_iter().chain(missing).collect())
    })
}

/// Users that nobody described or added: they keep what they may do, because the plan says what must be there, not what
/// else may. One that was taken out of the description is among them.
pub(super) fn tell_of_unplanned<'n>(world: &ClusterWorld, found: impl Iterator<Item = &'n str>) {
    for name in unplanned(&world.cluster.plan, found) {
        world.reporter.tell(Event::Note(format!(
            "user {name} is not in the description (any more) and keeps its credential and its rules; \
             `users remove {name}` takes both"
        )));
    }
}

/// A user may also have quotas alone, or nothing any more.
async fn has_credential(zookeeper: &mut ZooKeeper, name: &str, deadline: Deadline) -> Result<bool, ZkError> {
    for mechanism in [Mechanism::ScramSha512, Mechanism::ScramSha256] {
        match users::scram_credential(zookeeper, name, mechanism, deadline).await {
            Ok(None) => {}
            Ok(Some(_)) | Err(ZkError::Record { .. }) => return Ok(true),
            Err(error) => return Err(error),
        }
    }
    Ok(false)
}

fn unplanned<'n>(plan: &ClusterPlan, found: impl Iterator<Item = &'n str>) -> Vec<&'n str> {
    found.filter(|name| !plan.users.iter().any(|user| user.name.as_str() == *name)).collect()
}

pub(in crate::lifecycle) async fn apply(world: &mut ClusterWorld) -> Result<Applied, StepError> {
    let deadline = Deadline::after(DEADLINE);
    let brokers_run =
        world.cluster.plan.nodes_of(NodeRole::Broker).any(|node| world.runtime.observe(node).is_running());
    let mut zookeeper = connect(world, deadline).await?;
    for user in &world.cluster.plan.users {
        let password = world.credentials().expect_password(&user.name)?;
        let iterations = Iterations::new(user.iterations).unwrap_or_default();
        let name = user.name.as_str();
        let change = users::ensure_scram_user(
            &mut zookeeper,
            name,
            &password,
            Mechanism::ScramSha512,
            iterations,
            deadline,
        )
        .await?;
        if brokers_run && change != UserChange::Unchanged {
            announce(&mut zookeeper, name, deadline).await?;
        }
    }
    zookeeper.close(deadline).await?;
    Ok(summary(world).into())
}

fn summary(world: &ClusterWorld) -> String {
    let users = &world.cluster.plan.users;
    let names: Vec<&str> = users.iter().map(|user| user.name.as_str()).collect();
    format!("SCRAM-SHA-512 for {}", names.join(", "))
}

pub(super) async fn connect(world: &ClusterWorld, deadline: Deadline) -> Result<ZooKeeper, StepError> {
    let access = world.access();
    let tls = access.zookeeper_tls()?;
    let mut last = None;
    for endpoint in access.zookeepers() {
        match ZooKeeper::connect(&endpoint, &tls, SESSION, deadline.at_most(Duration::from_secs(5))).await {
            Ok(zookeeper) => return Ok(zookeeper),
            Err(error) => last = Some(error),
        }
    }
    Err(last.map_or_else(
        || StepError::Proof { what: "the plan has no ZooKeeper node".to_owned() },
        StepError::from,
    ))
}

/// Tells running brokers that a user has changed, as Kafka's own tool does.
async fn announce(zookeeper: &mut ZooKeeper, user: &str, deadline: Deadline) -> Result<(), StepError> {
    let data = serde_json::json!({ "version": 2, "entity_path": format!("users/{user}") }).to_string();
    let acl = [Acl::creator_all(), Acl::world_read()];
    let path = format!("{CHANGES}/config_change_");
    zookeeper.create(&path, data.as_bytes(), &acl, CreateMode::PersistentSequential, deadline).await?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_is_not_planned_is_told_and_nobody_else() {
        let plan = crate::plan::tests::default_plan();
        assert_eq!(unplanned(&plan, ["admin", "left-over", "broker-a"].into_iter()), ["left-over"]);
    }
}
