//! Topics declared in a file, or in the cluster's description, against those that are.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::time::Instant;

use serde::{Deserialize, Serialize};

use super::change::{Change, Step, against, make, refuse, spelled};
use super::rules::{self, Ground};
use super::{Owner, copies};
use crate::admin::{Intent, TopicState};
use crate::lifecycle::commands::Selection;
use crate::names::{ClusterName, TopicName};
use crate::ops::{OpsError, millis_since, soon, taken};
use crate::plan::{TopicOwner, TopicPlan};

/// Where topics are declared, and what is done about what is not.
#[derive(Clone, Debug, Default)]
#[expect(clippy::exhaustive_structs, reason = "callers spell out what they ask for")]
pub struct Declaration {
    /// A TOML file with `[[topics]]`; the cluster's description when unset.
    pub file: Option<PathBuf>,
    /// Settings of declared topics that are not declared are unset.
    pub exact: bool,
    /// Whether the difference is only shown.
    pub dry_run: bool,
}

/// How a declared topic stands to what is.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize)]
#[non_exhaustive]
#[serde(rename_all = "kebab-case")]
pub enum Standing {
    /// It is as declared.
    AsDeclared,
    /// It is not there.
    Absent,
    /// It differs, and can be changed.
    Differs,
    /// It differs in what cannot be changed in place.
    Unchangeable,
}

/// One declared topic.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Declared {
    /// Its name.
    pub topic: String,
    /// How it stood before anything was done.
    pub standing: Standing,
    /// What differs.
    pub changes: Vec<Change>,
    /// Settings of its own that are not declared and stay.
    pub undeclared_settings: Vec<String>,
    /// Why it cannot be changed.
    pub why: Option<String>,
}

/// Declared against actual.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
#[non_exhaustive]
pub struct ApplyReport {
    /// The cluster.
    pub cluster: ClusterName,
    /// Whether the difference was only shown.
    pub dry_run: bool,
    /// Whether anything differed.
    pub differs: bool,
    /// Each declared topic.
    pub topics: Vec<Declared>,
    /// Topics that nobody declares; they are left alone.
    pub undeclared: Vec<String>,
    /// How long it took.
    pub millis: u64,
}

/// Brings topics to what is declared; with `dry_run` only says what differs. Nothing is deleted.
///
/// # Errors
/// [`OpsError::File`], [`OpsError::Unusable`] for the file; [`OpsError::Refused`], before anything is changed, for a
/// declaration that could never be right and, unless it is a dry run, for a difference that cannot be mended.
pub async fn apply(selection: &Selection, declaration: &Declaration) -> Result<ApplyReport, OpsError> {
    let begun = Instant::now();
    let file = declaration.file.as_deref().map(read).transpose()?;
    let (operated, _lock) = taken(selection, declaration.dry_run, "topics apply")?;
    let (plan, factor) = (&operated.cluster().plan, operated.cluster().spec.replication.factor);
    let wanted: Vec<TopicPlan> = match file {
        Some(topics) => topics.into_iter().map(|topic| topic.planned(factor)).collect(),
        None => plan.topics.iter().filter(|topic| topic.owner == TopicOwner::Application).cloned().collect(),
    };
    let ground = Ground::of(plan);
    refuse(
        doubled(&wanted).into_iter().chain(wanted.iter().flat_map(|topic| ground.findings(topic))).collect(),
    )?;
    let mut admin = operated.admin()?;
    let found = admin.topics(None, soon()).await?;
    let of = |topic: &TopicPlan| found.iter().find(|state| state.name == topic.name.as_str());
    let absent: Vec<TopicPlan> = wanted.iter().filter(|topic| of(topic).is_none()).cloned().collect();
    refuse(absent.iter().flat_map(|topic| against(topic, &found)).collect())?;
    let topics: Vec<Declared> =
        wanted.iter().map(|topic| standing(topic, of(topic), declaration.exact)).collect();
    refuse(odd_settings(&wanted, &found))?;
    if !declaration.dry_run {
        refuse(topics.iter().filter_map(|topic| topic.why.clone()).collect())?;
        if !absent.is_empty() {
            make(&operated, &mut admin, &absent).await?;
        }
        for topic in wanted.iter() {
            let Some(state) = of(topic) else { continue };
            step(topic, state, declaration.exact).carry_out(&operated, Intent::Make).await?;
        }
    }
    let names: BTreeSet<&str> = wanted.iter().map(|topic| topic.name.as_str()).collect();
    let foreign = found.iter().filter(|state| {
        !names.contains(state.name.as_str()) && !Owner::of(&state.name, state.internal, plan).is_protected()
    });
    Ok(ApplyReport {
        cluster: plan.cluster.clone(),
        dry_run: declaration.dry_run,
        differs: topics.iter().any(|topic| topic.standing != Standing::AsDeclared),
        undeclared: foreign.map(|state| state.name.clone()).collect(),
        topics,
        millis: millis_since(begun),
    })
}

fn odd_settings(wanted: &[TopicPlan], found: &[TopicState]) -> Vec<String> {
    let keys = wanted.iter().flat_map(|topic| &topic.config).map(|(key, _)| key.as_str());
    rules::unknown_setting(keys, found).into_iter().collect()
}

fn standing(topic: &TopicPlan, state: Option<&TopicState>, exact: bool) -> Declared {
    let name = topic.name.to_string();
    let Some(state) = state else {
        let changes = spelled(topic);
        return Declared {
            topic: name,
            standing: Standing::Absent,
            changes,
            undeclared_settings: Vec::new(),
            why: None,
        };
    };
    let fewer = rules::fewer_partitions(&name, state.partitions.len(), topic.partitions);
    let moved = rules::other_copies(&name, copies(state), topic.replication_factor);
    let mut changes = step(topic, state, exact).changes;
    if moved.is_some() {
        let (from, to) = (copies(state).to_string(), topic.replication_factor.to_string());
        changes.push(Change::new("replication_factor", Some(from), Some(to)));
    }
    let why: Vec<String> = fewer.into_iter().chain(moved).collect();
    let standing = match (why.is_empty(), changes.is_empty()) {
        (false, _) => Standing::Unchangeable,
        (true, true) => Standing::AsDeclared,
        (true, false) => Standing::Differs,
    };
    let undeclared = if exact { Vec::new() } else { extra(topic, state) };
    let why = (!why.is_empty()).then(|| why.join("; "));
    Declared { topic: name, standing, changes, undeclared_settings: undeclared, why }
}

/// Settings that a topic has set for itself although nobody declares them.
fn extra(topic: &TopicPlan, state: &TopicState) -> Vec<String> {
    let declared = |key: &String| topic.config.iter().any(|(known, _)| known == key);
    let own = state.config.iter().filter(|(key, entry)| entry.set_on_topic && !declared(key));
    own.map(|(key, _)| key.clone()).collect()
}

fn step(topic: &TopicPlan, state: &TopicState, exact: bool) -> Step {
    let mut config: BTreeMap<String, Option<String>> =
        topic.config.iter().map(|(key, value)| (key.clone(), Some(value.clone()))).collect();
    if exact {
        config.extend(extra(topic, state).into_iter().map(|key| (key, None)));
    }
    Step::between(state, &config, Some(topic.partitions))
}

fn doubled(wanted: &[TopicPlan]) -> Vec<String> {
    let mut seen = BTreeSet::new();
    wanted
        .iter()
        .filter(|topic| !seen.insert(topic.name.as_str()))
        .map(|topic| format!("`{}` is declared twice", topic.name))
        .collect()
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    topics: Vec<FileTopic>,
}

/// One topic of a file.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct FileTopic {
    name: TopicName,
    partitions: u32,
    #[serde(default)]
    replication_factor: Option<u16>,
    #[serde(default)]
    config: BTreeMap<String, Value>,
}

/// A setting's value: TOML's numbers and truths are as good as their texts.
#[derive(Debug)]
struct Value(String);

impl<'de> Deserialize<'de> for Value {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match toml::Value::deserialize(deserializer)? {
            toml::Value::String(text) => Ok(Self(text)),
            toml::Value::Integer(number) => Ok(Self(number.to_string())),
            toml::Value::Boolean(truth) => Ok(Self(truth.to_string())),
            toml::Value::Float(number) => Ok(Self(number.to_string())),
            _ => Err(serde::de::Error::custom("a setting is a text, a number, true or false")),
        }
    }
}

impl FileTopic {
    fn planned(self, factor: u16) -> TopicPlan {
        TopicPlan {
            name: self.name,
            partitions: self.partitions,
            replication_factor: self.replication_factor.unwrap_or(factor),
            config: self.config.into_iter().map(|(key, value)| (key, value.0)).collect(),
            owner: TopicOwner::Application,
        }
    }
}

fn read(path: &Path) -> Result<Vec<FileTopic>, OpsError> {
    let shown = path.display().to_string();
    let text =
        std::fs::read_to_string(path).map_err(|source| OpsError::File { path: shown.clone(), source })?;
    parse(&text).map_err(|why| OpsError::Unusable { path: shown, why })
}

fn parse(text: &str) -> Result<Vec<FileTopic>, String> {
    let file: File = toml::from_str(text).map_err(|error| error.to_string().trim_end().to_owned())?;
    if file.topics.is_empty() { Err("it declares no topic".to_owned()) } else { Ok(file.topics) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::records::PartitionMetadata;

    fn declared(text: &str) -> TopicPlan {
        parse(text).unwrap().remove(0).planned(3)
    }

    fn state(partitions: i32) -> TopicState {
        let partition = |id| PartitionMetadata::new(id, Some(1), &[1, 2, 3], &[1, 2, 3]);
        TopicState::for_tests("t", "2", (0..partitions).map(partition).collect())
    }

    #[test]
    fn a_file_is_strict_and_says_where_it_is_wrong() {
        let topic = declared(
            "[[topics]]\nname = \"t\"\npartitions = 2\nconfig = { \"retention.ms\" = 5, a = true }\n",
        );
        assert_eq!(topic.replication_factor, 3);
        assert_eq!(
            topic.config,
            [("a".to_owned(), "true".to_owned()), ("retention.ms".to_owned(), "5".to_owned())]
        );
        for (text, part) in [
            ("[[topics]]\nname = \"t\"\npartition = 2\n", "line 3"),
            ("[[topics]]\nname = \"../t\"\npartitions = 2\n", "line 2"),
            ("[[topics]]\nname = \"t\"\npartitions = -1\n", "line 3"),
            ("topics = []\n", "declares no topic"),
            ("[[topics]]\nname = \"t\"\npartitions = 2\nconfig = { a = [] }\n", "a text, a number"),
        ] {
            let why = parse(text).unwrap_err();
            assert!(why.contains(part), "{part} is not in {why}");
        }
    }

    #[test]
    fn every_standing_is_told() {
        let topic =
            declared("[[topics]]\nname = \"t\"\npartitions = 2\nconfig = { \"min.insync.replicas\" = 2 }\n");
        let of = |state: Option<&TopicState>, exact| standing(&topic, state, exact);
        assert_eq!(of(None, false).standing, Standing::Absent);
        assert_eq!(of(Some(&state(2)), false).standing, Standing::AsDeclared);
        assert_eq!(of(Some(&state(1)), false).standing, Standing::Differs);
        let more = of(Some(&state(3)), false);
        assert_eq!(more.standing, Standing::Unchangeable);
        assert!(more.why.unwrap().contains("takes no partition away"));
        let bare = declared("[[topics]]\nname = \"t\"\npartitions = 2\n");
        let kept = standing(&bare, Some(&state(2)), false);
        assert_eq!((kept.standing, kept.undeclared_settings.len()), (Standing::AsDeclared, 1));
        let exact = standing(&bare, Some(&state(2)), true);
        assert_eq!((exact.standing, exact.changes[0].to.clone()), (Standing::Differs, None));
        assert_eq!(doubled(&[topic.clone(), topic]), ["`t` is declared twice"]);
    }
}
