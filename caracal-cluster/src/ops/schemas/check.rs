//! Whether schema files may follow the versions that are: of a git revision, of a folder, of the registry.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Instant;

use caracal_kafka_contract::schema::{self, Mode, Schema};
use serde::Serialize;

use super::{OpsError, git, history, mode_of, record_of, registry};
use crate::ops::{Operated, millis_since};

/// What schema files are compared with.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum Against {
    /// The same files at a revision of git's: a branch, a tag, a commit.
    Git(String),
    /// The files of the same names in another folder.
    Folder(PathBuf),
    /// The registry's versions.
    Registry,
}

impl Against {
    fn label(&self) -> String {
        match self {
            Self::Git(revision) => format!("git {revision}"),
            Self::Folder(folder) => folder.display().to_string(),
            Self::Registry => "registry".to_owned(),
        }
    }
}

/// What is to be checked.
#[derive(Clone, Debug)]
#[expect(clippy::exhaustive_structs, reason = "callers spell out what they ask for")]
pub struct Check {
    /// Files, or folders with `.avsc` files.
    pub paths: Vec<PathBuf>,
    /// What they are compared with, each of these.
    pub against: Vec<Against>,
    /// The mode; offline `BACKWARD` unless set, with the registry each subject's level.
    pub mode: Option<Mode>,
    /// The subject, where the record's name does not tell it.
    pub subject: Option<String>,
}

/// How a schema stands to its older versions.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize)]
#[non_exhaustive]
#[serde(rename_all = "kebab-case")]
pub enum State {
    /// It may follow them.
    Compatible,
    /// It may not.
    Incompatible,
    /// It is no schema at all.
    Invalid,
    /// There is no older version.
    New,
    /// It was there, and is not any more.
    Removed,
    /// It is the latest version.
    Unchanged,
}

/// One place that does not get along.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Finding {
    /// The rule that is broken, in the words of Avro's Java library.
    pub rule: String,
    /// Where, as a JSON pointer into the reader's schema.
    pub path: String,
    /// `backward` or `forward`.
    pub direction: &'static str,
    /// What does not fit, and what to do.
    pub text: String,
}

/// One schema against one thing.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
#[non_exhaustive]
pub struct CheckedSchema {
    /// The file.
    pub file: String,
    /// What it was compared with.
    pub against: String,
    /// The subject, where the registry was asked.
    pub subject: Option<String>,
    /// The mode that counted.
    pub mode: String,
    /// How it stands.
    pub state: State,
    /// Every place that does not get along.
    pub findings: Vec<Finding>,
}

/// What was found.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
#[non_exhaustive]
pub struct CheckReport {
    /// Whether nothing is incompatible or invalid.
    pub ok: bool,
    /// Each file against each thing.
    pub schemas: Vec<CheckedSchema>,
    /// How long it took.
    pub millis: u64,
}

struct File {
    /// As it is shown.
    shown: String,
    /// Below the path that was given, to be found again elsewhere.
    name: String,
    text: String,
}

/// Checks schema files. `cluster` is asked for only when the registry is; changes nothing.
///
/// # Errors
/// [`OpsError::File`], [`OpsError::Unusable`] for paths without schemas; [`OpsError::Refused`] when git or a subject
/// cannot be found; [`OpsError::Registry`] when the registry does not answer. An incompatibility is no error.
pub async fn check(
    check: &Check,
    cluster: impl Fn() -> Result<Operated, OpsError>,
) -> Result<CheckReport, OpsError> {
    let begun = Instant::now();
    let mut schemas = Vec::new();
    for path in &check.paths {
        let files = files(path)?;
        for against in &check.against {
            match against {
                Against::Git(revision) => {
                    let old = git::files_at(revision, path).await?;
                    schemas.extend(offline(path, &files, &old, against, check.mode));
                }
                Against::Folder(folder) => {
                    let old = self::files(folder)?.into_iter().map(|file| (file.name, file.text)).collect();
                    schemas.extend(offline(path, &files, &old, against, check.mode));
                }
                Against::Registry => {
                    let operated = cluster()?;
                    for file in &files {
                        schemas.push(online(&operated, file, check).await?);
                    }
                }
            }
        }
    }
    let bad = |checked: &CheckedSchema| matches!(checked.state, State::Incompatible | State::Invalid);
    Ok(CheckReport { ok: !schemas.iter().any(bad), schemas, millis: millis_since(begun) })
}

fn offline(
    path: &Path,
    files: &[File],
    old: &BTreeMap<String, String>,
    against: &Against,
    mode: Option<Mode>,
) -> Vec<CheckedSchema> {
    let mode = mode.unwrap_or_default();
    let mut checked: Vec<CheckedSchema> = files
        .iter()
        .map(|file| {
            let history: Vec<&String> = old.get(&file.name).into_iter().collect();
            judged(file, &history, mode, against.label(), None)
        })
        .collect();
    // A single file was named for itself: what lies beside it is nobody's question.
    let gone = old.keys().filter(|name| path.is_dir() && !files.iter().any(|file| file.name == **name));
    checked.extend(gone.map(|name| CheckedSchema {
        file: path.join(name).display().to_string(),
        against: against.label(),
        subject: None,
        mode: mode.to_string(),
        state: State::Removed,
        findings: Vec::new(),
    }));
    checked
}

async fn online(operated: &Operated, file: &File, check: &Check) -> Result<CheckedSchema, OpsError> {
    let registry = registry(operated)?;
    let planned = |record: &String| {
        let known = operated.cluster().plan.subjects.iter().find(|subject| subject.record == *record);
        known.map(|subject| subject.subject.clone())
    };
    let record = record_of(&file.text);
    let subject = match (&check.subject, &record) {
        (Some(subject), _) => subject.clone(),
        // What is no schema needs no subject to be told so.
        (None, None) => String::new(),
        (None, Some(record)) => planned(record).ok_or_else(|| {
            OpsError::refused(format!(
                "{}: no subject of the cluster's description holds `{record}`: name it by --subject",
                file.shown
            ))
        })?,
    };
    if subject.is_empty() {
        return Ok(judged::<&str>(file, &[], Mode::None, Against::Registry.label(), None));
    }
    let history = history(&registry, &subject).await?;
    let mode = match check.mode {
        Some(mode) => mode,
        None => mode_of(&registry, &subject).await?,
    };
    Ok(judged(file, &history, mode, Against::Registry.label(), Some(subject)))
}

fn judged<S: AsRef<str>>(
    file: &File,
    history: &[S],
    mode: Mode,
    against: String,
    subject: Option<String>,
) -> CheckedSchema {
    let (state, findings) = verdict(&file.text, history, mode);
    CheckedSchema { file: file.shown.clone(), against, subject, mode: mode.to_string(), state, findings }
}

fn verdict<S: AsRef<str>>(text: &str, history: &[S], mode: Mode) -> (State, Vec<Finding>) {
    let report = match schema::check(history, text, mode) {
        Ok(report) => report,
        Err(error) => {
            let finding = Finding {
                rule: "not an Avro schema".to_owned(),
                path: error.path.clone(),
                direction: "",
                text: error.to_string(),
            };
            return (State::Invalid, vec![finding]);
        }
    };
    let findings: Vec<Finding> = report
        .incompatibilities
        .iter()
        .map(|found| Finding {
            rule: found.rule.to_string(),
            path: found.path.clone(),
            direction: match found.direction {
                schema::Direction::Forward => "forward",
                _ => "backward",
            },
            text: found.to_string(),
        })
        .collect();
    let unchanged = history.last().is_some_and(|latest| same(latest.as_ref(), text));
    let state = match (findings.is_empty(), history.is_empty(), unchanged) {
        (false, ..) => State::Incompatible,
        (true, true, _) => State::New,
        (true, false, true) => State::Unchanged,
        (true, false, false) => State::Compatible,
    };
    (state, findings)
}

/// Whether two texts are one schema; registries spell names out, so texts are not compared.
fn same(one: &str, other: &str) -> bool {
    matches!((Schema::parse(one), Schema::parse(other)), (Ok(one), Ok(other)) if one == other)
}

/// The schema files at a path, by name.
fn files(path: &Path) -> Result<Vec<File>, OpsError> {
    let shown = path.display().to_string();
    let read = |path: &Path| {
        std::fs::read_to_string(path)
            .map_err(|source| OpsError::File { path: path.display().to_string(), source })
    };
    if !path.is_dir() {
        let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        return Ok(vec![File { text: read(path)?, shown, name }]);
    }
    let mut found = Vec::new();
    let mut folders = vec![path.to_owned()];
    while let Some(folder) = folders.pop() {
        let failed = |source| OpsError::File { path: folder.display().to_string(), source };
        for entry in std::fs::read_dir(&folder).map_err(failed)? {
            let entry = entry.map_err(failed)?.path();
            if entry.is_dir() {
                folders.push(entry);
            } else if entry.extension().is_some_and(|extension| extension == "avsc") {
                let below = entry.strip_prefix(path).unwrap_or(&entry);
                let name = below.to_string_lossy().into_owned();
                found.push(File { text: read(&entry)?, shown: entry.display().to_string(), name });
            }
        }
    }
    if found.is_empty() {
        return Err(OpsError::Unusable { path: shown, why: "it holds no `.avsc` file".to_owned() });
    }
    found.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(found)
}

/// A schema text of a file, after it was parsed once.
///
/// # Errors
/// [`OpsError::File`], or [`OpsError::Unusable`] for what is no schema.
pub(crate) fn schema_file(path: &Path) -> Result<String, OpsError> {
    let shown = path.display().to_string();
    let text =
        std::fs::read_to_string(path).map_err(|source| OpsError::File { path: shown.clone(), source })?;
    Schema::parse(&text).map_err(|error| OpsError::Unusable { path: shown, why: error.to_string() })?;
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: &str = r#"{"type":"record","name":"R","fields":[{"name":"a","type":"int"}]}"#;
    const TWO: &str =
        r#"{"type":"record","name":"R","fields":[{"name":"a","type":"int"},{"name":"b","type":"int"}]}"#;

    #[test]
    fn every_state_is_told() {
        assert_eq!(verdict::<&str>(ONE, &[], Mode::Backward).0, State::New);
        assert_eq!(verdict(&ONE.replace(':', " : "), &[ONE], Mode::Backward).0, State::Unchanged);
        assert_eq!(verdict(TWO, &[ONE], Mode::Forward).0, State::Compatible);
        let (state, findings) = verdict(TWO, &[ONE], Mode::Backward);
        assert_eq!(
            (state, findings[0].path.as_str(), findings[0].direction),
            (State::Incompatible, "/fields/1", "backward")
        );
        assert_eq!(verdict("{", &[ONE], Mode::None).0, State::Invalid);
    }

    #[test]
    fn folders_are_compared_file_by_file() {
        let (old, new) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let write = |folder: &Path, name: &str, text: &str| {
            caracal_pki::store::write_private(&folder.join(name), text.as_bytes()).unwrap();
        };
        for (name, text) in [("kept.avsc", ONE), ("gone.avsc", ONE)] {
            write(old.path(), name, text);
        }
        for (name, text) in [("kept.avsc", TWO), ("new.avsc", ONE), ("note.txt", "x")] {
            write(new.path(), name, text);
        }
        let run = Check {
            paths: vec![new.path().to_owned()],
            against: vec![Against::Folder(old.path().to_owned())],
            mode: None,
            subject: None,
        };
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let report = runtime.block_on(check(&run, || Err(OpsError::refused("no cluster")))).unwrap();
        let states: Vec<State> = report.schemas.iter().map(|checked| checked.state).collect();
        assert_eq!(states, [State::Incompatible, State::New, State::Removed]);
        assert!(!report.ok);
    }
}
