//! Schemas: what the registry holds, what it would take, and whether versions get along, also offline.

mod check;
mod git;

use std::time::Instant;

use caracal_kafka_contract::schema::{self, Mode, Schema};
use futures::future::try_join_all;
use serde::Serialize;

pub(crate) use self::check::schema_file;
pub use self::check::{Against, Check, CheckReport, CheckedSchema, Finding, State, check};
use super::{Operated, OpsError, millis_since, taken};
use crate::lifecycle::commands::Selection;
use crate::names::ClusterName;
use crate::registry::Registry;

/// One subject.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Subject {
    /// Its name.
    pub subject: String,
    /// The numbers of its versions.
    pub versions: Vec<i32>,
    /// The id of the latest.
    pub id: Option<i32>,
    /// The full name of the latest's record; none for a schema that has no name.
    pub record: Option<String>,
    /// The compatibility level that counts.
    pub compatibility: String,
    /// Whether the level is another one than the cluster-wide.
    pub own_level: bool,
    /// Whether the cluster's description declares it.
    pub planned: bool,
}

/// Every subject.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
#[non_exhaustive]
pub struct SubjectsReport {
    /// The cluster.
    pub cluster: ClusterName,
    /// The cluster-wide compatibility level.
    pub compatibility: String,
    /// The subjects, by name.
    pub subjects: Vec<Subject>,
    /// How long it took.
    pub millis: u64,
}

fn registry(operated: &Operated) -> Result<Registry, OpsError> {
    let plan = &operated.cluster().plan;
    match &plan.endpoints.registry_url {
        Some(url) => Ok(Registry::new(url)?),
        None => Err(OpsError::refused(format!(
            "cluster `{}` has no schema registry; `registry.enabled = true` in its description gives it one",
            plan.cluster
        ))),
    }
}

/// Lists the subjects. Changes nothing.
///
/// # Errors
/// When the registry does not answer.
pub async fn list(operated: &Operated) -> Result<SubjectsReport, OpsError> {
    let begun = Instant::now();
    let (registry, plan) = (&registry(operated)?, &operated.cluster().plan);
    let compatibility = registry.compatibility().await?;
    let mut names = registry.subjects().await?;
    names.sort();
    let level = &compatibility;
    let asked = names.into_iter().map(|name| async move {
        let (versions, latest, own) = futures::try_join!(
            registry.versions(&name),
            registry.version(&name, None),
            registry.compatibility_of(&name),
        )?;
        // Some registries answer with the cluster-wide level where a subject has none of its own.
        let own = own.filter(|own| own != level);
        Ok::<_, OpsError>(Subject {
            versions,
            id: latest.as_ref().map(|latest| latest.id),
            record: latest.and_then(|latest| record_of(&latest.schema)),
            own_level: own.is_some(),
            compatibility: own.unwrap_or_else(|| level.clone()),
            planned: plan.subjects.iter().any(|planned| planned.subject == name),
            subject: name,
        })
    });
    let subjects = try_join_all(asked).await?;
    Ok(SubjectsReport { cluster: plan.cluster.clone(), compatibility, subjects, millis: millis_since(begun) })
}

/// The full name of a schema's record, where it has one.
fn record_of(text: &str) -> Option<String> {
    Some(Schema::parse(text).ok()?.name()?.full.clone())
}

/// One schema.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
#[non_exhaustive]
pub struct ShownSchema {
    /// The cluster.
    pub cluster: ClusterName,
    /// Its subject.
    pub subject: String,
    /// Its version.
    pub version: i32,
    /// The id that records carry.
    pub id: i32,
    /// Its text.
    pub schema: String,
}

/// Shows a schema, the latest version unless one is named. Changes nothing.
///
/// # Errors
/// [`OpsError::NoSuch`] with the nearest subject, or the versions that there are.
pub async fn show(operated: &Operated, subject: &str, version: Option<i32>) -> Result<ShownSchema, OpsError> {
    let registry = registry(operated)?;
    let Some(found) = registry.version(subject, version).await? else {
        let versions = registry.versions(subject).await?;
        return Err(match version.filter(|_| !versions.is_empty()) {
            Some(version) => {
                let known: Vec<String> = versions.iter().map(ToString::to_string).collect();
                OpsError::refused(format!(
                    "subject `{subject}` has no version {version}; there is: {}",
                    known.join(", ")
                ))
            }
            None => nearest_subject(&registry, subject).await?,
        });
    };
    let cluster = operated.cluster().plan.cluster.clone();
    let (subject, version, id) = (found.subject, found.version, found.id);
    Ok(ShownSchema { cluster, subject, version, id, schema: found.schema })
}

async fn nearest_subject(registry: &Registry, subject: &str) -> Result<OpsError, OpsError> {
    let known = registry.subjects().await?;
    Ok(OpsError::no_such("subject", subject, known.iter().map(String::as_str)))
}

/// What became of a registration.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
#[non_exhaustive]
pub struct RegisterReport {
    /// The cluster.
    pub cluster: ClusterName,
    /// The subject.
    pub subject: String,
    /// Whether it was only judged.
    pub dry_run: bool,
    /// `registered`, or `unchanged` when the subject has this schema already; in a dry run what it would be.
    pub outcome: &'static str,
    /// The id that records carry; none in a dry run of a new one.
    pub id: Option<i32>,
    /// The version below the subject.
    pub version: Option<i32>,
    /// How long it took.
    pub millis: u64,
}

/// Registers a schema below a subject, after it was checked here against the versions that are there.
///
/// # Errors
/// [`OpsError::Refused`] with every place that does not get along, before the registry is asked to take it;
/// [`OpsError::Registry`] when it refuses.
pub async fn register(
    selection: &Selection,
    subject: &str,
    text: &str,
    dry_run: bool,
) -> Result<RegisterReport, OpsError> {
    let begun = Instant::now();
    let (operated, _lock) = taken(selection, dry_run, "schemas register")?;
    let registry = registry(&operated)?;
    let report = |outcome, id, version| RegisterReport {
        cluster: operated.cluster().plan.cluster.clone(),
        subject: subject.to_owned(),
        dry_run,
        outcome,
        id,
        version,
        millis: millis_since(begun),
    };
    let history = history(&registry, subject).await?;
    if let Some(there) = registry.lookup(subject, text).await? {
        return Ok(report("unchanged", Some(there.id), Some(there.version)));
    }
    let mode = mode_of(&registry, subject).await?;
    let judged = schema::check(&history, text, mode).map_err(|error| OpsError::refused(error.to_string()))?;
    if !judged.is_compatible() {
        return Err(OpsError::refused(format!(
            "it cannot follow the {} of `{subject}` at level {mode}:\n{judged}",
            if history.len() == 1 { "version" } else { "versions" },
        )));
    }
    if dry_run {
        if !history.is_empty() && !registry.is_compatible(subject, text).await? {
            return Err(OpsError::refused(format!(
                "the registry finds it incompatible with the latest version of `{subject}`"
            )));
        }
        return Ok(report("registered", None, None));
    }
    let id = registry.register(subject, text).await?;
    let version = registry.lookup(subject, text).await?.map(|there| there.version);
    Ok(report("registered", Some(id), version))
}

/// The texts of a subject's versions, the oldest first.
async fn history(registry: &Registry, subject: &str) -> Result<Vec<String>, OpsError> {
    let versions = registry.versions(subject).await?.into_iter();
    let texts = versions.map(|version| registry.version(subject, Some(version)));
    Ok(try_join_all(texts).await?.into_iter().flatten().map(|found| found.schema).collect())
}

/// The compatibility mode that counts for a subject.
async fn mode_of(registry: &Registry, subject: &str) -> Result<Mode, OpsError> {
    let level = match registry.compatibility_of(subject).await? {
        Some(own) => own,
        None => registry.compatibility().await?,
    };
    level.parse().map_err(|error| OpsError::refused(format!("the registry's level of `{subject}`: {error}")))
}

/// A compatibility level.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
#[non_exhaustive]
pub struct LevelReport {
    /// The cluster.
    pub cluster: ClusterName,
    /// The subject; none for the cluster-wide level.
    pub subject: Option<String>,
    /// The level that counted before.
    pub before: String,
    /// The level that counts, or would count.
    pub level: String,
    /// Whether it is another one than the cluster-wide.
    pub own_level: bool,
    /// Whether it was only said.
    pub dry_run: bool,
}

/// The level that counts for a subject, or cluster-wide. Changes nothing.
///
/// # Errors
/// [`OpsError::NoSuch`] with the nearest subject.
pub async fn level(operated: &Operated, subject: Option<&str>) -> Result<LevelReport, OpsError> {
    let registry = registry(operated)?;
    let own = match subject {
        Some(subject) if registry.versions(subject).await?.is_empty() => {
            return Err(nearest_subject(&registry, subject).await?);
        }
        Some(subject) => registry.compatibility_of(subject).await?,
        None => None,
    };
    let general = registry.compatibility().await?;
    let own_level = own.as_ref().is_some_and(|own| *own != general);
    let level = own.unwrap_or(general);
    Ok(LevelReport {
        cluster: operated.cluster().plan.cluster.clone(),
        subject: subject.map(str::to_owned),
        before: level.clone(),
        level,
        own_level,
        dry_run: false,
    })
}

/// Sets the level of a subject, or the cluster-wide one.
///
/// # Errors
/// [`OpsError::NoSuch`] with the nearest subject; when the registry refuses.
pub async fn set_level(
    selection: &Selection,
    subject: Option<&str>,
    mode: Mode,
    dry_run: bool,
) -> Result<LevelReport, OpsError> {
    let (operated, _lock) = taken(selection, dry_run, "schemas compatibility set")?;
    let before = level(&operated, subject).await?;
    if !dry_run {
        let registry = registry(&operated)?;
        match subject {
            Some(subject) => registry.set_compatibility_of(subject, mode.as_str()).await?,
            None => registry.set_compatibility(mode.as_str()).await?,
        }
    }
    Ok(LevelReport { level: mode.to_string(), own_level: subject.is_some(), dry_run, ..before })
}
