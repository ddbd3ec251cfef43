//! Rules more and rules less.

use std::time::Instant;

use serde::Serialize;

use super::spread::await_everywhere;
use super::{Filter, RuleOrigin, ShownRule, origin};
use crate::admin::{AclBinding, Admin};
use crate::lifecycle::cluster::Cluster;
use crate::lifecycle::commands::Selection;
use crate::names::ClusterName;
use crate::ops::users::all_done;
use crate::ops::{Operated, OpsError, millis_since, nearest, soon};
use crate::plan::Additions;

/// What is asked for.
#[derive(Clone, Debug)]
#[expect(clippy::exhaustive_structs, reason = "callers build it")]
pub struct ChangeOptions {
    /// Rules to be added.
    pub rules: Vec<AclBinding>,
    /// Only say what would be done.
    pub dry_run: bool,
}

/// What was done.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
pub struct ChangeReport {
    /// The cluster.
    pub cluster: ClusterName,
    /// Whether it was only said.
    pub dry_run: bool,
    /// Rules that were added or removed.
    pub rules: Vec<ShownRule>,
    /// Rules that were there already, and so were not added.
    pub unchanged: Vec<ShownRule>,
    /// What should be known: a principal that no user has.
    pub notes: Vec<String>,
    /// How long it took.
    pub millis: u64,
}

/// Adds rules, and remembers them: a later `up` or `verify` takes them for somebody's own.
///
/// # Errors
/// When the cluster refuses one.
pub async fn add(selection: &Selection, options: &ChangeOptions) -> Result<ChangeReport, OpsError> {
    let begun = Instant::now();
    let cluster = Cluster::existing(&selection.root, selection.name.as_ref())?;
    let _lock = if options.dry_run { None } else { Some(cluster.dir.lock("acls add")?) };
    let operated = Operated::of(cluster);
    let cluster = operated.cluster();
    let mut admin = operated.admin()?;
    let there = admin.acls(soon()).await?;
    let (known, new): (Vec<AclBinding>, Vec<AclBinding>) =
        options.rules.iter().cloned().partition(|rule| there.contains(rule));
    let notes = strangers(&mut admin, &new).await?;
    let mut plan = cluster.plan.clone();
    if !options.dry_run && !new.is_empty() {
        let mut additions = cluster.additions.clone();
        additions.rules.extend(new.iter().map(ToString::to_string));
        additions.rules.sort();
        additions.rules.dedup();
        // First: a rule that nobody knows would be a difference for `verify`.
        plan = cluster.with_additions(&additions)?.plan;
        let made = admin.create_bindings(&new, soon()).await?;
        all_done("access rules that could not be made", made)?;
        await_everywhere(&operated, &new, true).await?;
    }
    let shown = |rules: &[AclBinding]| rules.iter().map(|rule| ShownRule::of(rule, &plan)).collect();
    Ok(ChangeReport {
        cluster: cluster.plan.cluster.clone(),
        dry_run: options.dry_run,
        rules: shown(&new),
        unchanged: shown(&known),
        notes,
        millis: millis_since(begun),
    })
}

/// A rule for a name that nobody has is more often a slip of the hand than a wish.
async fn strangers(admin: &mut Admin, rules: &[AclBinding]) -> Result<Vec<String>, OpsError> {
    let users = admin.scram_users(soon()).await?;
    let mut notes = Vec::new();
    for rule in rules {
        let name = rule.principal.strip_prefix("User:").unwrap_or(&rule.principal);
        if name != "*" && !users.iter().any(|user| user.name == name) {
            let hint = nearest::hint(name, users.iter().map(|user| user.name.as_str()));
            notes.push(format!("the cluster has no user `{name}` yet{hint}"));
        }
    }
    notes.dedup();
    Ok(notes)
}

/// Removes rules that nobody planned: those that fit, of this permission and from this host.
///
/// # Errors
/// [`OpsError::Refused`] when none fits, or when one follows from the description or from a role: the next `up`
/// would make it again.
pub async fn remove(
    selection: &Selection,
    filter: &Filter,
    (permission, host): (i8, &str),
    dry_run: bool,
) -> Result<ChangeReport, OpsError> {
    let begun = Instant::now();
    let cluster = Cluster::existing(&selection.root, selection.name.as_ref())?;
    let _lock = if dry_run { None } else { Some(cluster.dir.lock("acls remove")?) };
    let operated = Operated::of(cluster);
    let cluster = operated.cluster();
    let mut admin = operated.admin()?;
    let there = admin.acls(soon()).await?;
    let doomed: Vec<AclBinding> = there
        .into_iter()
        .filter(|rule| filter.wants(rule, false) && rule.permission == permission && rule.host == host)
        .collect();
    if doomed.is_empty() {
        return Err(OpsError::refused(
            "the cluster has no such rule; `acls list` shows those that there are",
        ));
    }
    let additions = without(cluster, &doomed)?;
    let rules = doomed.iter().map(|rule| ShownRule::of(rule, &cluster.plan)).collect();
    if !dry_run {
        if additions != cluster.additions {
            cluster.with_additions(&additions)?;
        }
        all_done("access rules that could not be deleted", admin.delete_acls(&doomed, soon()).await?)?;
        await_everywhere(&operated, &doomed, false).await?;
    }
    Ok(ChangeReport {
        cluster: cluster.plan.cluster.clone(),
        dry_run,
        rules,
        unchanged: Vec::new(),
        notes: Vec::new(),
        millis: millis_since(begun),
    })
}

/// What was added, without these rules; an added user's own rules go, its role's do not.
fn without(cluster: &Cluster, doomed: &[AclBinding]) -> Result<Additions, OpsError> {
    let mut additions = cluster.additions.clone();
    let mut planned = Vec::new();
    for rule in doomed {
        if origin(rule, &cluster.plan) != RuleOrigin::Planned {
            continue;
        }
        let mut own = false;
        for user in &mut additions.users {
            let before = user.rules.len();
            user.rules.retain(|of_user| AclBinding::from(of_user) != *rule);
            own |= user.rules.len() < before;
        }
        if !own {
            planned.push(rule.to_string());
        }
    }
    if !planned.is_empty() {
        return Err(OpsError::refused(format!(
            "these rules follow from the description or from a role, so `cluster up` would make them again (a rule \
             with --deny takes effect in spite of them):\n  - {}",
            planned.join("\n  - ")
        )));
    }
    additions.rules.retain(|known| !doomed.iter().any(|rule| rule.to_string() == *known));
    Ok(additions)
}
