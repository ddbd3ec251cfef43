//! `plan`: what `up` would do, and what differs from what is. Nothing is changed.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use serde::Serialize;

use super::{CommandError, Selection, unified_diff};
use crate::lifecycle::ClusterWorld;
use crate::lifecycle::cluster::{Cluster, ClusterError};
use crate::lifecycle::engine::{Event, Observed, Reporter, Step, World as _};
use crate::lifecycle::error::{StepError, chain};
use crate::names::ClusterName;
use crate::plan::ClusterPlan;
use crate::plan::check::{self, Note, Severity};
use crate::properties::names_a_secret;

/// How long one step may be looked at; a node that hangs must not hang the plan.
const LOOK: Duration = Duration::from_secs(8);

/// How a step stands.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
#[expect(clippy::exhaustive_enums, reason = "every reader must say what it makes of a new standing")]
pub enum Standing {
    /// It is as planned: `up` would leave it alone.
    Satisfied,
    /// It differs: `up` would mend it.
    Differs,
    /// It is not there: `up` would make it.
    Absent,
    /// It cannot be looked at, because what it stands on is not there.
    Waiting,
    /// It is a proof, which only `up` and `verify` carry out.
    NotRun,
    /// `up` would fail here.
    Problem,
}

/// One step of `up`, looked at.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct PlannedStep {
    /// The step.
    pub step: Step,
    /// As a person reads it.
    pub title: &'static str,
    /// How it stands.
    pub standing: Standing,
    /// What was seen, or each difference.
    pub details: Vec<String>,
}

/// What would happen to a rendered file.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
#[expect(clippy::exhaustive_enums, reason = "every reader must say what it makes of a new change")]
pub enum Change {
    /// It would be written for the first time.
    New,
    /// It would be replaced.
    Changed,
    /// It is as planned.
    Same,
}

/// One rendered file. Texts hold no secrets: the plan has only references to them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct FileChange {
    /// The node; none for the plan itself.
    pub node: Option<String>,
    /// Its path below the node's directory.
    pub path: String,
    /// What would happen to it.
    pub change: Change,
    /// The difference in unified form, for a changed file.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub diff: Option<String>,
    /// The whole planned text.
    #[serde(skip)]
    pub text: String,
}

/// What `plan` found.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct PlanReport {
    /// The cluster.
    pub cluster: ClusterName,
    /// Its directory.
    pub directory: PathBuf,
    /// Whether it has been made before.
    pub existed: bool,
    /// Whether every port is certain; those of a cluster that holds no leases are chosen by `up`.
    pub ports_known: bool,
    /// Whether `up` would change anything.
    pub differs: bool,
    /// What is worth knowing about the plan, and about this machine.
    pub notes: Vec<Note>,
    /// Every step.
    pub steps: Vec<PlannedStep>,
    /// Every rendered file.
    pub files: Vec<FileChange>,
}

impl PlanReport {
    /// The same of some steps alone, which write no rendered file.
    #[must_use]
    pub fn only(mut self, steps: &[Step]) -> Self {
        self.steps.retain(|planned| steps.contains(&planned.step));
        self.files.clear();
        self.differs = would_change(&self.steps);
        self
    }
}

/// Compares what would be with what is.
///
/// A stored description that the rules refuse by now is named in a note, and the plan that was last carried
/// out is shown instead.
///
/// # Errors
/// When the description cannot be read or planned, and no plan was carried out before.
pub async fn plan(selection: &Selection) -> Result<PlanReport, CommandError> {
    let (cluster, refused) = resolve(selection)?;
    let mut notes = check::check(&cluster.plan);
    notes.splice(0..0, refused);
    let files = file_changes(&cluster);
    let (directory, existed, ports_known) = (cluster.dir.path(), cluster.existed, cluster.ports_known);
    let name = cluster.plan.cluster.clone();
    let told = Arc::new(Mutex::new(Vec::new()));
    let steps = steps(cluster, told.clone()).await;
    let told = std::mem::take(&mut *told.lock().unwrap_or_else(PoisonError::into_inner));
    add_notes(&mut notes, told);
    let differs = would_change(&steps) || files.iter().any(|file| file.change != Change::Same);
    Ok(PlanReport { cluster: name, directory, existed, ports_known, differs, notes, steps, files })
}

fn would_change(steps: &[PlannedStep]) -> bool {
    steps.iter().any(|step| {
        matches!(step.standing, Standing::Differs | Standing::Absent | Standing::Waiting | Standing::Problem)
    })
}

/// The cluster to look at, and why `up` would refuse it.
fn resolve(selection: &Selection) -> Result<(Cluster, Option<Note>), CommandError> {
    let (root, name) = (&selection.root, selection.name.as_ref());
    let error = match Cluster::for_looking(root, name, &selection.described()) {
        Ok(cluster) => return Ok((cluster, None)),
        // A file that was named is being tried: there is nothing else to show.
        Err(error) if selection.spec_file.is_some() => return Err(error.into()),
        Err(error) => error,
    };
    let stored = matches!(error, ClusterError::Spec(_) | ClusterError::Plan(_));
    let Some(cluster) = stored.then(|| Cluster::as_carried_out(root, name)).flatten() else {
        return Err(error.into());
    };
    let consequence = format!("`up` would refuse it, shown is the plan last carried out: {}", chain(&error));
    let note = Note { severity: Severity::Error, key: "cluster.toml".to_owned(), consequence };
    Ok((cluster, Some(note)))
}

/// What the steps remarked about machine and cluster; remarks about the plan itself are there already.
fn add_notes(notes: &mut Vec<Note>, told: Vec<String>) {
    for text in told {
        if !notes.iter().any(|note| text == format!("{}: {}", note.key, note.consequence)) {
            notes.push(Note { severity: Severity::Note, key: "now".to_owned(), consequence: text });
        }
    }
}

async fn steps(cluster: Cluster, told: Arc<Mutex<Vec<String>>>) -> Vec<PlannedStep> {
    let ports_known = cluster.ports_known;
    let reporter = Reporter::new(move |event| {
        if let Event::Note(text) = event {
            told.lock().unwrap_or_else(PoisonError::into_inner).push(text);
        }
    });
    let mut world = ClusterWorld::new(cluster, reporter);
    let mut steps: Vec<PlannedStep> = Vec::new();
    for step in Step::of(&world.cluster().plan) {
        let blocked = prerequisites(step)
            .iter()
            .find(|needed| steps.iter().any(|seen| seen.step == **needed && stands_not(seen.standing)));
        let (standing, details) = if step == Step::RoundTrip {
            (Standing::NotRun, vec!["`up` writes one event and reads it back".to_owned()])
        } else if let Some(needed) = blocked {
            (Standing::Waiting, vec![format!("cannot be looked at before `{}`", needed.title())])
        } else if step == Step::Preflight && !ports_known {
            (Standing::Satisfied, vec!["free ports are leased by `up`".to_owned()])
        } else {
            look(&mut world, step).await
        };
        steps.push(PlannedStep { step, title: step.title(), standing, details });
    }
    steps
}

/// A step whose absence keeps others from being looked at.
fn stands_not(standing: Standing) -> bool {
    matches!(standing, Standing::Absent | Standing::Waiting | Standing::Problem)
}

/// What must be there before a step can be looked at.
fn prerequisites(step: Step) -> &'static [Step] {
    match step {
        Step::Preflight | Step::Credentials | Step::Distribution => &[],
        Step::Configuration
        | Step::Format
        | Step::Ensemble
        | Step::Controllers
        | Step::Brokers
        | Step::RegistryLaunch
        | Step::Clients => &[Step::Credentials],
        Step::Users => &[Step::Ensemble],
        Step::LaterUsers => &[Step::Brokers],
        Step::Acls | Step::Topics => &[Step::Brokers],
        Step::Logins => &[Step::Users, Step::Brokers],
        Step::RegistryReady => &[Step::RegistryLaunch],
        Step::Schemas | Step::RoundTrip => &[Step::RegistryReady],
    }
}

async fn look(world: &mut ClusterWorld, step: Step) -> (Standing, Vec<String>) {
    match tokio::time::timeout(LOOK, world.observe(step)).await {
        Ok(Ok(Observed::Satisfied(seen))) => (Standing::Satisfied, vec![seen]),
        Ok(Ok(Observed::Drifted(reasons))) => (Standing::Differs, reasons),
        Ok(Ok(Observed::Absent(seen))) => (Standing::Absent, vec![seen]),
        // A plan has a line a step; the logs are for who wants it carried out.
        Ok(Err(StepError::Explained { source, .. })) => (Standing::Problem, vec![chain(&*source)]),
        Ok(Err(error)) => (Standing::Problem, vec![chain(&error)]),
        Err(_) => (Standing::Problem, vec![format!("no answer within {} s", LOOK.as_secs())]),
    }
}

/// Every rendered file against the one that lies there, or else the one that was planned last.
fn file_changes(cluster: &Cluster) -> Vec<FileChange> {
    let last = cluster.last_plan();
    let mut changes: Vec<FileChange> = Vec::new();
    for node in &cluster.plan.nodes {
        for file in &node.files {
            let there = cluster.dir.node(&node.name).join(&file.path);
            let before = cluster.dir.read_text(&there).ok().flatten().or_else(|| {
                let known = last.as_ref()?.node(node.name.as_str())?;
                known.files.iter().find(|known| known.path == file.path).map(|known| known.text.clone())
            });
            let name = format!("{}/{}", node.name, file.path);
            changes.push(change(Some(node.name.to_string()), &file.path, &name, before, &file.text));
        }
    }
    if let Some(last) = &last {
        let (before, now) = (without_files(last), without_files(&cluster.plan));
        let whole = change(None, "plan.json", "plan.json", Some(before), &now);
        changes.extend((whole.change != Change::Same).then_some(whole));
    }
    changes
}

fn change(node: Option<String>, path: &str, name: &str, before: Option<String>, text: &str) -> FileChange {
    let change = match &before {
        None => Change::New,
        Some(before) if before == text => Change::Same,
        Some(_) => Change::Changed,
    };
    let diff = before
        .as_ref()
        .and_then(|before| unified_diff(name, &without_secrets(before), &without_secrets(text)));
    FileChange { node, path: path.to_owned(), change, diff, text: without_secrets(text) }
}

/// A text without values that an earlier version let into it, or that were written there by hand.
fn without_secrets(text: &str) -> String {
    let hidden = |line: &str| {
        let (key, value) = line.split_once('=')?;
        let shown = value.trim_start().starts_with("${") || key.trim_end().ends_with("sasl.jaas.config");
        (!line.starts_with('#') && names_a_secret(key.trim()) && !shown).then(|| format!("{key}=(hidden)\n"))
    };
    text.split_inclusive('\n').map(|line| hidden(line).unwrap_or_else(|| line.to_owned())).collect()
}

/// The plan without what is compared file by file.
fn without_files(plan: &ClusterPlan) -> String {
    let mut plan = plan.clone();
    for node in &mut plan.nodes {
        node.files.clear();
    }
    serde_json::to_string_pretty(&plan).unwrap_or_default()
}
