//! A user less.

use std::time::Instant;

use serde::Serialize;

use super::{Origin, all_done};
use crate::admin::{AclBinding, ScramUser};
use crate::lifecycle::cluster::Cluster;
use crate::lifecycle::commands::Selection;
use crate::names::ClusterName;
use crate::ops::acls::spread::await_everywhere;
use crate::ops::{Operated, OpsError, millis_since, soon};
use crate::plan::{ClusterPlan, Role, twin};

/// What was taken away.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
pub struct RemoveReport {
    /// The cluster.
    pub cluster: ClusterName,
    /// Whether it was only said.
    pub dry_run: bool,
    /// The user.
    pub user: String,
    /// Its credentials, by mechanism.
    pub credentials: Vec<&'static str>,
    /// Its access rules.
    pub rules: Vec<String>,
    /// Its files here.
    pub files: Vec<String>,
    /// How long it took.
    pub millis: u64,
}

/// Removes a user that is not in the description: its credentials, its access rules, its files.
///
/// Connections that it has open live on, but may do nothing any more, because the rules are gone.
///
/// # Errors
/// [`OpsError::Refused`] for a user of the description, which the next `up` would make again, for the last
/// administrator and for whoever brokers log in as; [`OpsError::NoSuch`] for one that is nowhere.
pub async fn remove(selection: &Selection, user: &str, dry_run: bool) -> Result<RemoveReport, OpsError> {
    let begun = Instant::now();
    let cluster = Cluster::existing(&selection.root, selection.name.as_ref())?;
    let _lock = if dry_run { None } else { Some(cluster.dir.lock("users remove")?) };
    let operated = Operated::of(cluster);
    let plan = &operated.cluster().plan;
    refuse(plan, user)?;
    let mut admin = operated.admin()?;
    let found = admin.scram_users(soon()).await?;
    let principal = format!("User:{user}");
    let rules: Vec<AclBinding> =
        admin.acls(soon()).await?.into_iter().filter(|rule| rule.principal == principal).collect();
    let credential = found.iter().find(|known| known.name == user);
    if credential.is_none() && rules.is_empty() && Origin::of(plan, user) == Origin::Foreign {
        let known = found.iter().map(|user| user.name.as_str());
        return Err(OpsError::no_such("user", user, known));
    }
    let mut report = RemoveReport {
        cluster: plan.cluster.clone(),
        dry_run,
        user: user.to_owned(),
        credentials: credential.map(mechanisms).unwrap_or_default(),
        rules: rules.iter().map(ToString::to_string).collect(),
        files: Vec::new(),
        millis: 0,
    };
    if !dry_run {
        forget(operated.cluster(), user, &report.rules)?;
        let held = credential.iter().flat_map(|known| &known.credentials);
        let doomed: Vec<_> = held.map(|(mechanism, _)| (user, *mechanism)).collect();
        if !doomed.is_empty() {
            let gone = admin.delete_scram_users(&doomed, soon()).await?;
            all_done("credentials that could not be deleted", gone)?;
        }
        if !rules.is_empty() {
            all_done("access rules that could not be deleted", admin.delete_acls(&rules, soon()).await?)?;
            await_everywhere(&operated, &rules, false).await?;
        }
    }
    report.files = files(&operated, user, dry_run)?;
    report.millis = millis_since(begun);
    Ok(report)
}

fn mechanisms(user: &ScramUser) -> Vec<&'static str> {
    user.credentials.iter().map(|(mechanism, _)| mechanism.name()).collect()
}

/// Takes a user out of what was added, before anything else: an `up` in between must not make it again.
fn forget(cluster: &Cluster, user: &str, rules: &[String]) -> Result<(), OpsError> {
    let mut additions = cluster.additions.clone();
    additions.users.retain(|added| added.name.as_str() != user);
    additions.rules.retain(|rule| !rules.contains(rule));
    if additions != cluster.additions {
        cluster.with_additions(&additions)?;
    }
    Ok(())
}

fn files(operated: &Operated, user: &str, dry_run: bool) -> Result<Vec<String>, OpsError> {
    // A name that we would not have given has no files here.
    let Ok(name) = user.parse() else { return Ok(Vec::new()) };
    let dir = &operated.cluster().dir;
    if dry_run {
        let there = [dir.client(&name), dir.password(&name)].into_iter().filter(|path| path.exists());
        return Ok(there.map(|path| path.display().to_string()).collect());
    }
    let certificate = operated.cluster().plan.user(user).and_then(|user| user.certificate.as_deref());
    Ok(operated.access().credentials().forget_user(&name, certificate)?)
}

/// Refuses what would lock everybody out, or come back by itself.
pub(super) fn refuse(plan: &ClusterPlan, user: &str) -> Result<(), OpsError> {
    let brokers = |user: &str| {
        plan.users
            .iter()
            .filter(|known| known.role == Role::InterBroker)
            .any(|known| known.name.as_str() == user || twin(known.name.as_str()).as_deref() == Some(user))
    };
    if brokers(user) {
        return Err(OpsError::refused(format!(
            "brokers log in to each other as `{user}`: without it they stop"
        )));
    }
    let Some(known) = plan.user(user).filter(|known| !known.added) else { return Ok(()) };
    let admins = plan.users.iter().filter(|user| user.role == Role::Admin && !user.added).count();
    if known.role == Role::Admin && admins == 1 {
        return Err(OpsError::refused(format!(
            "`{user}` is the last administrator of the description: without it nobody could change the cluster, \
             nor mend it"
        )));
    }
    if known.role == Role::Registry {
        return Err(OpsError::refused(format!(
            "the schema registry logs in as `{user}`: without it it stops"
        )));
    }
    Err(OpsError::refused(format!(
        "`{user}` is in the cluster's description, so `cluster up` would make it again: take it out of \
         `[[users]]` there, run `cluster up --spec FILE`, then remove it"
    )))
}
