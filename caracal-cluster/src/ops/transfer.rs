//! Records in bulk: written, read, backed up, restored by `caracal-kafka-transfer`.
//!
//! That program stands on librdkafka, which this crate must not compile. It is found or built like verify's probe, and
//! gets our standard input and output, so that records never pass through here.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use serde::{Deserialize, Serialize};
use tokio::process::Command;

use super::topics::{self, Creation};
use super::{Operated, OpsError};
use crate::admin::{Admin, OffsetAt, TopicState};
use crate::lifecycle::commands::Selection;
use crate::names::TopicName;
use crate::ops::soon;
use crate::probe::client::{ClientProgram, Missing};
use crate::probe::matrix::Notice;

/// Names the environment variable for a ready-made `caracal-kafka-transfer`.
pub const TRANSFER_VARIABLE: &str = "CARACAL_KAFKA_TRANSFER";

const PROGRAM: ClientProgram =
    ClientProgram { binary: "caracal-kafka-transfer", variable: TRANSFER_VARIABLE };

/// The version of a back-up's manifest that is read here.
const FORMAT: u32 = 1;

const MANIFEST: &str = "manifest.json";
const RECORDS: &str = "records";

/// One run of the program: its command, as whom, and what else it is told.
#[derive(Clone, Debug)]
#[expect(clippy::exhaustive_structs, reason = "callers spell out what they ask for")]
pub struct Transfer {
    /// `produce`, `consume`, `backup`, `restore`, `digest`.
    pub command: &'static str,
    /// The topic.
    pub topic: String,
    /// The user whose client files it uses.
    pub user: String,
    /// Everything else, as the program takes it.
    pub arguments: Vec<OsString>,
    /// A file in the place of standard input.
    pub input: Option<PathBuf>,
}

/// Runs the program to its end with our standard input and output; gives its exit code, which is one of ours.
///
/// # Errors
/// [`OpsError::NoSuch`] for a topic, or a user with client files, that is not there; [`OpsError::Refused`] when the program cannot be had.
pub async fn run(operated: &Operated, transfer: &Transfer, notice: Option<&Notice>) -> Result<u8, OpsError> {
    let profile = profile(operated, &transfer.user)?;
    topics::expect(operated, &transfer.topic).await?;
    let program = program(notice).await?;
    let mut command = Command::new(&program);
    command.arg(transfer.command).arg("--profile").arg(profile).arg("--topic").arg(&transfer.topic);
    command.args(&transfer.arguments).kill_on_drop(true);
    if let Some(path) = &transfer.input {
        let shown = path.display().to_string();
        let file = std::fs::File::open(path).map_err(|source| OpsError::File { path: shown, source })?;
        command.stdin(Stdio::from(file));
    }
    ended(command, &program).await
}

async fn ended(mut command: Command, program: &Path) -> Result<u8, OpsError> {
    let failed = |error: std::io::Error| OpsError::refused(format!("{}: {error}", program.display()));
    let status = command.spawn().map_err(failed)?.wait().await.map_err(failed)?;
    // Without a code it was ended by a signal, as Ctrl-C sends to both of us.
    Ok(status.code().and_then(|code| u8::try_from(code).ok()).unwrap_or(130))
}

/// The program: named by [`TRANSFER_VARIABLE`], or built in the workspace that runs us.
///
/// # Errors
/// [`OpsError::Refused`] when it cannot be had.
pub async fn program(notice: Option<&Notice>) -> Result<PathBuf, OpsError> {
    PROGRAM.find_or_build(notice).await.map_err(|missing| {
        let (Missing::Failed(why) | Missing::Nowhere(why)) = missing;
        OpsError::refused(why)
    })
}

/// Holds a back-up against its manifest, before a topic is made for it; says itself what is wrong with it. Gives the
/// program's exit code.
///
/// # Errors
/// [`OpsError::Refused`] when the program cannot be had.
pub async fn check(backup: &Backup, notice: Option<&Notice>) -> Result<u8, OpsError> {
    let program = program(notice).await?;
    let mut command = Command::new(&program);
    command.arg("check").arg("--from").arg(&backup.folder).kill_on_drop(true);
    ended(command, &program).await
}

fn profile(operated: &Operated, user: &str) -> Result<PathBuf, OpsError> {
    let cluster = operated.cluster();
    let known = cluster.plan.users.iter().filter(|user| user.certificate.is_some());
    let found = known.clone().find(|known| known.name.as_str() == user);
    let found =
        found.ok_or_else(|| OpsError::no_such("user", user, known.map(|known| known.name.as_str())))?;
    Ok(cluster.dir.client(&found.name).join("profile.toml"))
}

/// What a back-up says of its topic's sizes and settings.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Facts {
    /// Number of partitions.
    pub partitions: u32,
    /// Copies of each.
    pub replication_factor: u16,
    /// Settings that the topic set for itself.
    pub config: BTreeMap<String, String>,
}

/// The facts of topics that are to be backed up, by name.
///
/// # Errors
/// [`OpsError::NoSuch`] with the nearest name; [`OpsError::Refused`] for topics of Kafka's or the registry's.
pub async fn facts(operated: &Operated, names: &[String]) -> Result<BTreeMap<String, Facts>, OpsError> {
    let described = topics::describe(operated, names).await?;
    let mut facts = BTreeMap::new();
    for found in described.topics {
        let name = found.topic.topic;
        if found.topic.owner.is_protected() {
            let why =
                "belongs to Kafka or to the schema registry, and makes sense only beside the rest of them";
            return Err(OpsError::refused(format!("`{name}` {why}")));
        }
        let own = found.config.into_iter().filter(|setting| setting.set_on_topic);
        let known = Facts {
            partitions: u32::try_from(found.topic.partitions).unwrap_or(u32::MAX),
            replication_factor: u16::try_from(found.topic.replication_factor).unwrap_or(u16::MAX),
            config: own.map(|setting| (setting.key, setting.value)).collect(),
        };
        facts.insert(name, known);
    }
    Ok(facts)
}

/// What a back-up of one topic would hold.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
#[non_exhaustive]
pub struct WouldBackUp {
    /// The topic.
    pub topic: String,
    /// Where it would lie.
    pub folder: PathBuf,
    /// How many records it would hold, were it made now.
    pub records: i64,
}

/// What back-ups of these topics would hold; writes nothing.
///
/// # Errors
/// [`OpsError::Refused`] for a folder that holds a back-up already; [`OpsError::Admin`].
pub async fn would_back_up(
    operated: &Operated,
    to: &Path,
    topics: impl Iterator<Item = &String>,
) -> Result<Vec<WouldBackUp>, OpsError> {
    let names: Vec<&str> = topics.map(String::as_str).collect();
    let mut admin = operated.admin()?;
    let mut would = Vec::new();
    for topic in admin.topics(Some(&names), soon()).await? {
        let folder = to.join(&topic.name);
        if folder.join(MANIFEST).exists() {
            let text = format!("{} holds a back-up already: choose another folder", folder.display());
            return Err(OpsError::refused(text));
        }
        let records = held(&mut admin, &topic).await?;
        would.push(WouldBackUp { topic: topic.name, folder, records });
    }
    Ok(would)
}

/// How many records a topic holds.
async fn held(admin: &mut Admin, topic: &TopicState) -> Result<i64, OpsError> {
    let keys: Vec<_> = topic.partitions.iter().map(|partition| (topic.name.clone(), partition.id)).collect();
    let starts = admin.offsets(&keys, OffsetAt::Earliest, soon()).await?;
    let ends = admin.offsets(&keys, OffsetAt::Latest, soon()).await?;
    Ok(keys.iter().filter_map(|key| Some(ends.get(key)? - starts.get(key)?)).sum())
}

/// A back-up that lies in a folder.
#[derive(Clone, Debug, Deserialize, PartialEq)]
#[non_exhaustive]
pub struct Backup {
    /// Its folder.
    #[serde(skip)]
    pub folder: PathBuf,
    format: u32,
    /// The topic that it was made of.
    pub topic: String,
    /// That topic's sizes and settings.
    pub facts: Facts,
    /// How many records it holds.
    pub records: u64,
}

/// The back-up in a folder, or those in its folders.
///
/// # Errors
/// [`OpsError::Refused`] for one that was cut short; [`OpsError::Unusable`] where there is none.
pub fn backups(folder: &Path) -> Result<Vec<Backup>, OpsError> {
    let is_backup = |folder: &Path| folder.join(MANIFEST).is_file() || folder.join(RECORDS).is_file();
    if is_backup(folder) {
        return Ok(vec![backup(folder)?]);
    }
    let shown = folder.display().to_string();
    let listed =
        std::fs::read_dir(folder).map_err(|source| OpsError::File { path: shown.clone(), source })?;
    let mut below: Vec<PathBuf> =
        listed.flatten().map(|entry| entry.path()).filter(|path| is_backup(path)).collect();
    below.sort();
    if below.is_empty() {
        return Err(OpsError::Unusable { path: shown, why: "it holds no back-up".to_owned() });
    }
    below.iter().map(|folder| backup(folder)).collect()
}

fn backup(folder: &Path) -> Result<Backup, OpsError> {
    let path = folder.join(MANIFEST);
    let shown = path.display().to_string();
    let text = match std::fs::read(&path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            return Err(OpsError::refused(format!(
                "{} holds records but no manifest: the back-up was cut short, make it again",
                folder.display()
            )));
        }
        read => read.map_err(|source| OpsError::File { path: shown.clone(), source })?,
    };
    let unusable = |why: String| OpsError::Unusable { path: shown.clone(), why };
    let found: Backup = serde_json::from_slice(&text).map_err(|error| unusable(error.to_string()))?;
    if found.format != FORMAT {
        return Err(unusable(format!("format {}, this version reads {FORMAT}", found.format)));
    }
    Ok(Backup { folder: folder.to_owned(), ..found })
}

/// Where a back-up goes.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct Destination {
    /// The topic.
    pub topic: String,
    /// Whether it had to be made, or would have to.
    pub made: bool,
}

/// Makes the topic that a back-up is restored into, unless it is there and empty.
///
/// # Errors
/// [`OpsError::Refused`] for a topic that holds records, or has fewer partitions; as [`topics::create`].
pub async fn destination(
    selection: &Selection,
    backup: &Backup,
    name: Option<&TopicName>,
    replication_factor: Option<u16>,
    dry_run: bool,
) -> Result<Destination, OpsError> {
    let operated = Operated::open(selection)?;
    let name = match name {
        Some(name) => name.clone(),
        None => backup.topic.parse().map_err(|error: crate::names::NameError| {
            OpsError::refused(format!("{}: {error}; name another one by --as", backup.folder.display()))
        })?,
    };
    let mut admin = operated.admin()?;
    let found = admin.topics(Some(&[name.as_str()]), soon()).await?;
    let Some(there) = found.into_iter().next() else {
        let creation = Creation {
            name: name.clone(),
            partitions: backup.facts.partitions,
            replication_factor: Some(replication_factor.unwrap_or(backup.facts.replication_factor)),
            config: backup.facts.config.clone().into_iter().collect(),
            dry_run,
        };
        topics::create(selection, &creation).await?;
        return Ok(Destination { topic: name.to_string(), made: true });
    };
    let wanted = usize::try_from(backup.facts.partitions).unwrap_or(usize::MAX);
    if there.partitions.len() != wanted {
        return Err(OpsError::refused(format!(
            "topic `{name}` has {} partitions, the back-up {wanted}: records would change their partition; restore \
             into another topic (--as)",
            there.partitions.len()
        )));
    }
    let held = held(&mut admin, &there).await?;
    if held > 0 {
        return Err(OpsError::refused(format!(
            "topic `{name}` is not empty ({held} records): restore into another one (--as), or delete it first"
        )));
    }
    Ok(Destination { topic: name.to_string(), made: false })
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = r#"{"format":1,"cluster":"c","topic":"t","facts":{"partitions":2,"replication_factor":3,"config":{}},"records":5}"#;

    #[test]
    fn a_backup_is_found_in_a_folder_or_below_it_and_one_that_was_cut_short_is_told() {
        let root = tempfile::tempdir().unwrap();
        assert!(backups(root.path()).unwrap_err().to_string().contains("holds no back-up"));
        let folder = root.path().join("t");
        std::fs::create_dir(&folder).unwrap();
        let put = |name: &str, text: &str| {
            caracal_pki::store::write_private(&folder.join(name), text.as_bytes()).unwrap();
        };
        put(RECORDS, "x");
        assert!(backups(root.path()).unwrap_err().to_string().contains("was cut short"));
        put(MANIFEST, TEXT);
        let found = backups(root.path()).unwrap();
        assert_eq!((found[0].topic.as_str(), found[0].records, found[0].facts.partitions), ("t", 5, 2));
        assert_eq!(backups(&folder).unwrap(), found);
        put(MANIFEST, &TEXT.replace(r#""format":1"#, r#""format":2"#));
        assert!(backups(&folder).unwrap_err().to_string().contains("format 2"));
    }
}
