//! SCRAM users of a KRaft cluster that came into the description after its first start: made through the brokers.
//!
//! The first ones are in the controllers' data directories before anything runs (see [`super::format`]).

use std::time::Duration;

use caracal_scram::{Iterations, Mechanism};

use crate::admin::{ScramUpsert, ScramUser};
use crate::lifecycle::ClusterWorld;
use crate::lifecycle::engine::{Applied, Observed};
use crate::lifecycle::error::StepError;
use crate::plan::UserPlan;
use crate::wire::Deadline;

const DEADLINE: Duration = Duration::from_secs(30);

pub(in crate::lifecycle) async fn observe(world: &mut ClusterWorld) -> Result<Observed, StepError> {
    let found = world.access().admin()?.scram_users(Deadline::after(DEADLINE)).await?;
    super::users::tell_of_unplanned(world, found.iter().map(|user| user.name.as_str()));
    let planned = &world.cluster.plan.users;
    let wanting: Vec<String> =
        planned.iter().filter_map(|user| Some(format!("{} {}", user.name, want(user, &found)?))).collect();
    Ok(if wanting.is_empty() { Observed::Satisfied(summary(planned)) } else { Observed::Drifted(wanting) })
}

pub(in crate::lifecycle) async fn apply(world: &mut ClusterWorld) -> Result<Applied, StepError> {
    let deadline = Deadline::after(DEADLINE);
    let mut admin = world.access().admin()?;
    let found = admin.scram_users(deadline).await?;
    let mut upserts = Vec::new();
    for user in world.cluster.plan.users.iter().filter(|user| want(user, &found).is_some()) {
        let password = world.credentials().expect_password(&user.name)?;
        let iterations = Iterations::new(user.iterations).unwrap_or_default();
        let upsert = ScramUpsert::derive(user.name.as_str(), &password, Mechanism::ScramSha512, iterations);
        upserts.push(upsert.map_err(|error| StepError::Format {
            what: format!("the credential of {}", user.name),
            why: error.to_string(),
        })?);
    }
    let outcomes = admin.put_scram_users(&upserts, deadline).await?;
    let failed = outcomes.iter().filter_map(|outcome| Some(outcome.result.as_ref().err()?.to_string()));
    let failed: Vec<String> = failed.collect();
    if failed.is_empty() {
        return Ok(summary(&world.cluster.plan.users).into());
    }
    Err(StepError::Items { what: "users that could not be made".to_owned(), items: failed })
}

/// What a user's credential lacks, if anything. Whether its password fits, the log-ins of the proof tell.
fn want(user: &UserPlan, found: &[ScramUser]) -> Option<String> {
    let known = found.iter().find(|known| known.name == user.name.as_str());
    let credentials = known.map_or(&[][..], |known| known.credentials.as_slice());
    match credentials.iter().find(|(mechanism, _)| *mechanism == Mechanism::ScramSha512) {
        None => Some("has no credential".to_owned()),
        Some((_, iterations)) if u32::try_from(*iterations) != Ok(user.iterations) => {
            Some(format!("has {iterations} iterations, planned are {}", user.iterations))
        }
        Some(_) => None,
    }
}

fn summary(users: &[UserPlan]) -> String {
    let names: Vec<&str> = users.iter().map(|user| user.name.as_str()).collect();
    format!("SCRAM-SHA-512 for {}", names.join(", "))
}
