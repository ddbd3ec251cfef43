//! A cluster's directory: one method a path, private from creation, held by one command at a time.
//!
//! ```text
//! <state root>/                       .caracal, or CARACAL_STATE_DIR
//!   clusters/<name>/
//!     cluster.toml                    the description it was made from
//!     cluster.json                    its identity: id, runtime, versions
//!     plan.json                       the plan that was last carried out
//!     additions.json                  users and rules that were added to it while it ran
//!     pki/                            both authorities, every certificate and key, inventory.json
//!     passwords/<user>                one file a user
//!     nodes/<node>/{config,secrets,data,logs,run}/
//!     clients/<user>/                 what a client of that user needs
//! ```
//!
//! **Architecture invariant:** private files are written here and in `caracal_pki::store`, nowhere else.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{Read as _, Seek as _, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use caracal_pki::store::{self, StoreError};
use serde::{Deserialize, Serialize};

use crate::names::{ClusterName, NodeName, UserName};
use crate::spec::{Metadata, Subnet};

/// Names the environment variable for the state root.
pub const STATE_DIR_VARIABLE: &str = "CARACAL_STATE_DIR";

/// The version of `cluster.json`; a newer one is refused by name.
pub const STATE_FORMAT: u32 = 1;

/// What goes wrong with a cluster's directory.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DirError {
    /// A file or folder cannot be made, read or written, or is not private.
    #[error("the cluster's directory cannot be used")]
    Store(#[from] StoreError),
    /// Another command is changing the cluster.
    #[error(
        "cluster `{cluster}` is being changed by another command ({holder}); wait for it or end it, then try again"
    )]
    Locked {
        /// The cluster.
        cluster: String,
        /// Who holds it: process id, command, since when.
        holder: String,
    },
    /// The directory was made by a newer version of this tool.
    #[error(
        "{path} has format {found}, this version reads up to {STATE_FORMAT}: use the newer version that wrote it, or another CARACAL_STATE_DIR"
    )]
    Newer {
        /// The file.
        path: String,
        /// Its format.
        found: u32,
    },
    /// A file is not what it should be.
    #[error("{path} cannot be read as {what}: {why}")]
    Unreadable {
        /// The file.
        path: String,
        /// What it should be.
        what: &'static str,
        /// What is wrong with it.
        why: String,
    },
    /// An operating system error.
    #[error("{action} {path} failed")]
    Io {
        /// What was tried.
        action: &'static str,
        /// Where.
        path: String,
        /// The cause.
        #[source]
        source: std::io::Error,
    },
}

/// What a cluster is, as recorded when it was made.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct ClusterRecord {
    /// [`STATE_FORMAT`].
    pub format: u32,
    /// Marks every process of this cluster; random, made once.
    pub cluster_id: String,
    /// Where its nodes run.
    pub runtime: String,
    /// The addresses of its containers' network; none when nodes are processes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subnet: Option<Subnet>,
    /// How it keeps its metadata.
    #[serde(default, skip_serializing_if = "Metadata::is_zookeeper")]
    pub metadata: Metadata,
    /// Kafka's version.
    pub kafka_version: String,
    /// The registry's flavour.
    pub registry: String,
    /// The registry's version.
    pub registry_version: String,
    /// Number of brokers that data may lie on.
    pub brokers: u16,
    /// Number of ZooKeeper nodes; 0 with KRaft.
    pub zookeepers: u16,
    /// Number of KRaft's controllers; 0 with ZooKeeper.
    #[serde(default, skip_serializing_if = "is_none")]
    pub controllers: u16,
    /// Whether the controllers are the first brokers.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub combined: bool,
    /// Whether it is an export, whose containers are compose's.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub composed: bool,
}

impl ClusterRecord {
    /// How many nodes a cluster of this record has, with the registry that nearly every one has.
    pub fn nodes(&self) -> usize {
        let separate = if self.combined { 0 } else { self.controllers };
        usize::from(self.brokers) + usize::from(self.zookeepers) + usize::from(separate) + 1
    }
}

fn is_none(count: &u16) -> bool {
    *count == 0
}

/// The folder that holds every cluster of this user or workspace.
#[derive(Clone, Debug)]
pub struct StateRoot(PathBuf);

impl StateRoot {
    /// The root that the environment names, else `.caracal` in the current folder.
    ///
    /// # Errors
    /// When the current folder cannot be told.
    pub fn from_environment() -> Result<Self, DirError> {
        let path = match std::env::var_os(STATE_DIR_VARIABLE) {
            Some(path) if !path.is_empty() => PathBuf::from(path),
            _ => PathBuf::from(".caracal"),
        };
        Self::at(&path)
    }

    /// A root at a given path.
    ///
    /// # Errors
    /// When the path cannot be made absolute.
    pub fn at(path: &Path) -> Result<Self, DirError> {
        std::path::absolute(path).map(Self).map_err(|source| DirError::Io {
            action: "finding",
            path: path.display().to_string(),
            source,
        })
    }

    /// Its path.
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// The directory of one cluster, whether it exists or not.
    pub fn cluster(&self, name: &ClusterName) -> ClusterDir {
        ClusterDir { root: self.0.clone(), name: name.clone() }
    }

    /// The names of every cluster here, in order.
    pub fn clusters(&self) -> Vec<ClusterName> {
        let Ok(entries) = std::fs::read_dir(self.0.join("clusters")) else { return Vec::new() };
        let mut names: Vec<ClusterName> =
            entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok()).collect();
        names.sort();
        names
    }
}

/// One cluster's directory.
#[derive(Clone, Debug)]
pub struct ClusterDir {
    root: PathBuf,
    name: ClusterName,
}

impl ClusterDir {
    /// The cluster's name.
    pub fn cluster(&self) -> &ClusterName {
        &self.name
    }

    /// The directory itself.
    pub fn path(&self) -> PathBuf {
        self.root.join("clusters").join(self.name.as_str())
    }

    /// The description that the cluster was made from.
    pub fn spec(&self) -> PathBuf {
        self.path().join("cluster.toml")
    }

    /// The cluster's identity.
    pub fn record(&self) -> PathBuf {
        self.path().join("cluster.json")
    }

    /// The plan that was last carried out.
    pub fn plan(&self) -> PathBuf {
        self.path().join("plan.json")
    }

    /// Users and access rules that were added to the running cluster.
    pub fn additions(&self) -> PathBuf {
        self.path().join("additions.json")
    }

    /// Authorities and certificates.
    pub fn pki(&self) -> PathBuf {
        self.path().join("pki")
    }

    /// A user's password.
    pub fn password(&self, user: &UserName) -> PathBuf {
        self.path().join("passwords").join(user.as_str())
    }

    /// All passwords.
    pub fn passwords(&self) -> PathBuf {
        self.path().join("passwords")
    }

    /// All nodes.
    pub fn nodes(&self) -> PathBuf {
        self.path().join("nodes")
    }

    /// One node.
    pub fn node(&self, node: &NodeName) -> PathBuf {
        self.nodes().join(node.as_str())
    }

    /// What a node keeps: ZooKeeper's tree, Kafka's records.
    pub fn node_data(&self, node: &NodeName) -> PathBuf {
        self.node(node).join("data")
    }

    /// A node's log, as its logging writes it.
    pub fn node_log(&self, node: &NodeName) -> PathBuf {
        self.node(node).join("logs/server.log")
    }

    /// What a node's process itself printed.
    pub fn node_console(&self, node: &NodeName) -> PathBuf {
        self.node(node).join("logs/console.log")
    }

    /// When a node's JVM collected garbage, and for how long it stood still.
    pub fn node_gc_log(&self, node: &NodeName) -> PathBuf {
        self.node(node).join("logs/gc.log")
    }

    /// What a broker refused, as its authoriser writes it.
    pub fn node_audit_log(&self, node: &NodeName) -> PathBuf {
        self.node(node).join("logs/audit.log")
    }

    /// How the last `verify` went.
    pub fn last_verify(&self) -> PathBuf {
        self.path().join("last-verify.json")
    }

    /// The hint at a node's running process.
    pub fn node_process(&self, node: &NodeName) -> PathBuf {
        self.node(node).join("run/process.json")
    }

    /// Digests of the files that a node was started with.
    pub fn node_launched(&self, node: &NodeName) -> PathBuf {
        self.node(node).join("run/launched.json")
    }

    /// All clients.
    pub fn clients(&self) -> PathBuf {
        self.path().join("clients")
    }

    /// What a client of one user needs.
    pub fn client(&self, user: &UserName) -> PathBuf {
        self.clients().join(user.as_str())
    }

    /// The lock of commands that change the cluster.
    pub fn lock_file(&self) -> PathBuf {
        self.root.join("locks").join(format!("{}.lock", self.name))
    }

    /// Whether the cluster has been made at all.
    pub fn exists(&self) -> bool {
        self.path().exists()
    }

    /// Makes root and directory, private; refuses a root that others may read or that another user owns.
    ///
    /// # Errors
    /// [`DirError::Store`].
    pub fn create(&self) -> Result<(), DirError> {
        store::create_private_dir(&self.root)?;
        let ignore = self.root.join(".gitignore");
        if !ignore.exists() {
            store::write_private(&ignore, b"*\n")?;
        }
        store::create_private_dir(&self.path())?;
        Ok(())
    }

    /// Takes the cluster for a change; the lock ends with the guard, however the process ends.
    ///
    /// # Errors
    /// [`DirError::Locked`] names who holds it.
    pub fn lock(&self, command: &str) -> Result<DirLock, DirError> {
        store::create_private_dir(&self.root)?;
        let path = self.lock_file();
        store::create_private_dir(path.parent().unwrap_or(&self.root))?;
        let io = |source| DirError::Io { action: "locking", path: path.display().to_string(), source };
        let mut file = loop {
            let mut file = OpenOptions::new()
                .read(true)
                .write(true)
                .create(true)
                .truncate(false)
                .mode(0o600)
                .open(&path)
                .map_err(io)?;
            match file.try_lock() {
                Ok(()) => {}
                Err(TryLockError::WouldBlock) => return Err(self.locked(&mut file)),
                Err(TryLockError::Error(source)) => return Err(io(source)),
            }
            // Between opening and locking, the last holder may have removed the file: its lock is nobody's.
            let same = |there: std::fs::Metadata| file.metadata().is_ok_and(|ours| ours.ino() == there.ino());
            if std::fs::metadata(&path).is_ok_and(same) {
                break file;
            }
        };
        let holder = format!("process {}, `{command}`\n", std::process::id());
        file.set_len(0)
            .and_then(|()| file.rewind())
            .and_then(|()| file.write_all(holder.as_bytes()))
            .map_err(io)?;
        Ok(DirLock { file, path })
    }

    fn locked(&self, file: &mut File) -> DirError {
        let mut holder = String::new();
        let _ = file.read_to_string(&mut holder);
        let holder = if holder.trim().is_empty() { "unknown".to_owned() } else { holder.trim().to_owned() };
        DirError::Locked { cluster: self.name.to_string(), holder }
    }

    /// Reads the cluster's identity; none when it was never made.
    ///
    /// # Errors
    /// [`DirError::Newer`], [`DirError::Unreadable`], [`DirError::Store`].
    pub fn read_record(&self) -> Result<Option<ClusterRecord>, DirError> {
        #[derive(Deserialize)]
        struct Format {
            format: u32,
        }
        let Some(text) = self.read_text(&self.record())? else { return Ok(None) };
        let path = self.record().display().to_string();
        let unreadable = |error: serde_json::Error| DirError::Unreadable {
            path: path.clone(),
            what: "a cluster's record",
            why: error.to_string(),
        };
        let format: Format = serde_json::from_str(&text).map_err(unreadable)?;
        if format.format > STATE_FORMAT {
            return Err(DirError::Newer { path, found: format.format });
        }
        serde_json::from_str(&text).map(Some).map_err(unreadable)
    }

    /// Reads a private text of this directory; none when it is not there.
    ///
    /// # Errors
    /// [`DirError::Store`], [`DirError::Unreadable`].
    pub fn read_text(&self, path: &Path) -> Result<Option<String>, DirError> {
        if !path.exists() {
            return Ok(None);
        }
        let bytes = store::read_private(path)?;
        String::from_utf8(bytes.to_vec()).map(Some).map_err(|error| DirError::Unreadable {
            path: path.display().to_string(),
            what: "UTF-8 text",
            why: error.utf8_error().to_string(),
        })
    }

    /// Writes a private file of this directory, with the folders above it; leaves an equal one alone.
    /// Returns whether it was written.
    ///
    /// # Errors
    /// [`DirError::Store`].
    pub fn write(&self, path: &Path, bytes: &[u8]) -> Result<bool, DirError> {
        if path.exists() && store::read_private(path).is_ok_and(|now| now[..] == *bytes) {
            return Ok(false);
        }
        if let Some(parent) = path.parent() {
            store::create_private_dir(parent)?;
        }
        store::write_private(path, bytes)?;
        Ok(true)
    }

    /// Writes a value as JSON.
    ///
    /// # Errors
    /// [`DirError::Store`], [`DirError::Unreadable`] for a value that JSON cannot hold.
    pub fn write_json<T: Serialize>(&self, path: &Path, value: &T) -> Result<bool, DirError> {
        let mut text = serde_json::to_string_pretty(value).map_err(|error| DirError::Unreadable {
            path: path.display().to_string(),
            what: "JSON",
            why: error.to_string(),
        })?;
        text.push('\n');
        self.write(path, text.as_bytes())
    }

    /// Removes the whole directory; and the state root with it, when no other cluster is in it.
    ///
    /// # Errors
    /// [`DirError::Io`].
    pub fn remove(&self, lock: DirLock) -> Result<(), DirError> {
        let path = self.path();
        match std::fs::remove_dir_all(&path) {
            Err(source) if source.kind() != std::io::ErrorKind::NotFound => {
                return Err(DirError::Io { action: "removing", path: path.display().to_string(), source });
            }
            _ => {}
        }
        self.remove_folders(lock);
        Ok(())
    }

    /// Removes what an attempt that was refused has left: the folders that are empty, and the lock's file.
    pub(crate) fn remove_if_empty(&self, lock: DirLock) {
        // Fails, rightly, when something of the user's is in the folder.
        let _ = std::fs::remove_dir(self.path());
        self.remove_folders(lock);
    }

    fn remove_folders(&self, lock: DirLock) {
        lock.remove();
        // Each of these fails, rightly, when something else is in the folder.
        let _ = std::fs::remove_dir(self.root.join("clusters"));
        let _ = std::fs::remove_dir(self.root.join("locks"));
        let only_ours = std::fs::read_dir(&self.root)
            .is_ok_and(|entries| entries.flatten().all(|entry| entry.file_name() == ".gitignore"));
        if only_ours {
            let _ = std::fs::remove_file(self.root.join(".gitignore"));
            let _ = std::fs::remove_dir(&self.root);
        }
    }
}

/// Holds a cluster while it is changed.
#[derive(Debug)]
pub struct DirLock {
    file: File,
    path: PathBuf,
}

impl DirLock {
    /// Removes the lock file while it is still held, so that nobody can have opened it as its own.
    fn remove(self) {
        let _ = std::fs::remove_file(&self.path);
    }
}

impl Drop for DirLock {
    fn drop(&mut self) {
        // Emptied, not removed: the next holder writes its own name.
        let _ = self.file.set_len(0);
    }
}

#[cfg(test)]
mod tests;
