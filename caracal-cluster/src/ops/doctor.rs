//! What is wrong with this machine, or with a connection, and what to do about it.
//!
//! [`examine`] looks at the machine that clusters run on; [`connect`] at one address. Neither changes anything.

pub mod connect;
mod files;
mod machine;

use std::time::Instant;

use serde::Serialize;
use time::OffsetDateTime;

use super::{millis_since, practices};
use crate::lifecycle::cluster::Cluster;
use crate::lifecycle::commands::Selection;
use crate::names::ClusterName;

/// How one finding is meant.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// As it should be.
    Ok,
    /// It works, but somebody should look at it.
    Warn,
    /// It does not work, or is not safe.
    Fail,
}

impl Level {
    /// The level in a word.
    pub fn label(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Warn => "warn",
            Self::Fail => "FAIL",
        }
    }
}

/// One finding.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
pub struct Finding {
    /// What was looked at: `java`, `maven`, `docker`, `memory`, `disk`, `ports`, `clock`, `permissions`, `gitignore`,
    /// `openssl`; of a cluster `no-default-password`, `certificate-age`, `separate-credentials`, `audit-log`; of an address `listens`, `versions`, `certificate`, `client-certificate`, `mechanisms`, `log-in`.
    pub check: &'static str,
    /// How it is meant.
    pub level: Level,
    /// What was seen.
    pub seen: String,
    /// What to do; none where nothing is to be done.
    pub next: Option<String>,
}

impl Finding {
    fn ok(check: &'static str, seen: impl Into<String>) -> Self {
        Self { check, level: Level::Ok, seen: seen.into(), next: None }
    }

    fn warn(check: &'static str, seen: impl Into<String>, next: impl Into<String>) -> Self {
        Self { check, level: Level::Warn, seen: seen.into(), next: Some(next.into()) }
    }

    fn fail(check: &'static str, seen: impl Into<String>, next: impl Into<String>) -> Self {
        Self { check, level: Level::Fail, seen: seen.into(), next: Some(next.into()) }
    }
}

/// What was found on this machine.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
pub struct DoctorReport {
    /// The cluster that memory, ports and files were looked at for.
    pub cluster: ClusterName,
    /// The worst of the findings.
    pub worst: Level,
    /// Every finding.
    pub findings: Vec<Finding>,
    /// How long it took.
    pub millis: u64,
}

/// Looks at everything that a cluster needs of this machine. The cluster need not exist.
pub async fn examine(selection: &Selection) -> DoctorReport {
    let begun = Instant::now();
    let mut findings = machine::findings(selection).await;
    findings.extend(files::findings(selection));
    findings.extend(practices_of(selection));
    DoctorReport {
        cluster: selection.wanted(),
        worst: worst(&findings),
        findings,
        millis: millis_since(begun),
    }
}

/// The guide's best practices on a cluster that is there. Privacy and git are looked at above, for all clusters.
fn practices_of(selection: &Selection) -> Vec<Finding> {
    let Ok(cluster) = Cluster::existing(&selection.root, selection.name.as_ref()) else { return Vec::new() };
    practices::beyond_files(&cluster, OffsetDateTime::now_utc())
        .into_iter()
        .map(|found| match found.good {
            true => Finding::ok(found.practice, found.seen),
            false => Finding::warn(found.practice, found.seen, found.remedy),
        })
        .collect()
}

fn worst(findings: &[Finding]) -> Level {
    findings.iter().map(|finding| finding.level).max().unwrap_or(Level::Ok)
}
