//! One cluster, resolved: its directory, description, identity and plan.

mod kept;

use std::collections::BTreeMap;
use std::path::Path;

use uuid::Uuid;

use crate::dir::{ClusterDir, ClusterRecord, DirError, DirLock, STATE_FORMAT, StateRoot};
use crate::distribution::{Artifact, Cache, InstallError};
use crate::names::ClusterName;
use crate::plan::check::Severity;
use crate::plan::{
    self, ADDITIONS_FORMAT, Additions, ClusterPlan, NodePlan, Placement, PlanError, PlanInputs, PortKey,
    containers,
};
use crate::ports::{self, LeaseError, LeaseOwner};
use crate::runtime::docker::{self, EngineError};
use crate::runtime::{DockerRuntime, NativeRuntime, Runtime};
use crate::spec::{
    ClusterSpec, DEFAULT_CLUSTER, Metadata, Overrides, PortMode, Roles, RuntimeKind, SpecError, Subnet,
};

/// What keeps a cluster from being resolved.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ClusterError {
    /// Its directory.
    #[error(transparent)]
    Dir(#[from] DirError),
    /// Its description.
    #[error(transparent)]
    Spec(#[from] SpecError),
    /// Its plan.
    #[error(transparent)]
    Plan(#[from] PlanError),
    /// The cache of distributions.
    #[error(transparent)]
    Cache(#[from] InstallError),
    /// Its ports.
    #[error(transparent)]
    Lease(#[from] LeaseError),
    /// The engine of its containers.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// There is no such cluster.
    #[error("there is no cluster `{name}` here{known}; `cargo xtask cluster up{flag}` makes it")]
    Unknown {
        /// The name.
        name: String,
        /// The clusters that are here.
        known: String,
        /// The flag that names it.
        flag: String,
    },
    /// The description is for another cluster.
    #[error("{path} describes cluster `{found}`, but `{wanted}` was asked for: drop one of the two")]
    OtherName {
        /// The file.
        path: String,
        /// The name in it.
        found: String,
        /// The name asked for.
        wanted: String,
    },
    /// The description changes what kept data depends on.
    #[error("cluster `{cluster}` keeps data of {what} {was}, the description wants {wanted}: {why}")]
    KeptData {
        /// The cluster.
        cluster: String,
        /// What differs.
        what: &'static str,
        /// What the data was made by.
        was: String,
        /// What is wanted.
        wanted: String,
        /// Why that cannot be, and what to do.
        why: &'static str,
    },
    /// Its containers are compose's.
    #[error(
        "cluster `{cluster}` is an export: start and stop it by compose (cd {folder} && docker compose up -d --wait, \
         docker compose down)"
    )]
    Composed {
        /// The cluster.
        cluster: String,
        /// The folder of the export.
        folder: String,
    },
    /// The plan breaks a promise of this tool; nothing was written.
    #[error("the plan of cluster `{cluster}` is refused, and nothing was changed:{}", listed(problems))]
    Refused {
        /// The cluster.
        cluster: String,
        /// Each finding with its consequence.
        problems: Vec<String>,
    },
    /// The file of the description cannot be read.
    #[error("the cluster description {path} cannot be read")]
    SpecFile {
        /// The file.
        path: String,
        /// The cause.
        #[source]
        source: std::io::Error,
    },
}

/// A cluster with everything decided.
#[derive(Clone, Debug)]
pub struct Cluster {
    /// Its directory.
    pub dir: ClusterDir,
    /// What was asked for.
    pub spec: ClusterSpec,
    /// Who it is.
    pub record: ClusterRecord,
    /// What is to be.
    pub plan: ClusterPlan,
    /// What was added to it while it ran.
    pub additions: Additions,
    /// Where distributions are kept.
    pub cache: Cache,
    /// Whether it had been made before.
    pub existed: bool,
    /// Whether every port is the guide's or leased; a plan that was only looked at may hold stand-ins.
    pub ports_known: bool,
}

/// How ports that are not known yet are treated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ports {
    /// Leased, so that they are kept.
    Lease,
    /// Only looked at; stand-ins for those that a lease would give.
    Look,
}

impl Cluster {
    /// Takes a cluster for a change and resolves it: the lock comes before anything is written.
    ///
    /// Its description is replaced only when the plan that follows from it has passed every check. An
    /// attempt that is refused leaves nothing behind.
    ///
    /// # Errors
    /// [`ClusterError`]; [`DirError::Locked`] names who changes the cluster at this moment.
    pub fn for_change(
        root: &StateRoot,
        name: Option<&ClusterName>,
        described: &Described<'_>,
        command: &str,
    ) -> Result<(Self, DirLock), ClusterError> {
        let named = described.file.map(|_| read_spec(root, name, described)).transpose()?;
        let wanted = named.map_or_else(|| wanted_name(name), |spec| spec.name);
        let dir = root.cluster(&wanted);
        let lock = dir.lock(command)?;
        let existed = dir.record().exists();
        match Self::prepare(root, &wanted, described) {
            Ok(cluster) => Ok((cluster, lock)),
            Err(error) => {
                if !existed {
                    forget(&dir);
                    dir.remove_if_empty(lock);
                }
                Err(error)
            }
        }
    }

    /// Resolves a cluster without changing anything.
    ///
    /// # Errors
    /// [`ClusterError`].
    pub fn for_looking(
        root: &StateRoot,
        name: Option<&ClusterName>,
        described: &Described<'_>,
    ) -> Result<Self, ClusterError> {
        let spec = read_spec(root, name, described)?;
        let dir = root.cluster(&spec.name);
        let (record, existed) = record_of(&spec, &dir, described.overrides.runtime)?;
        Self::resolve(spec, dir, record, existed, Ports::Look)
    }

    /// Resolves a cluster that has been made.
    ///
    /// # Errors
    /// [`ClusterError::Unknown`] names the clusters that are there.
    pub fn existing(root: &StateRoot, name: Option<&ClusterName>) -> Result<Self, ClusterError> {
        let wanted = Self::expect_made(root, name)?;
        Self::for_looking(root, Some(&wanted), &Described::default())
    }

    /// A cluster as its last plan tells it, for looking only: its description is no longer taken, its nodes
    /// may run all the same. None when it was never carried out wholly.
    pub(crate) fn as_carried_out(root: &StateRoot, name: Option<&ClusterName>) -> Option<Self> {
        let dir = root.cluster(&wanted_name(name));
        let record = dir.read_record().ok()??;
        let plan = last_plan(&dir)?;
        let text = dir.read_text(&dir.spec()).ok().flatten().unwrap_or_default();
        let spec = ClusterSpec::parse_unchecked(&text).unwrap_or_default();
        let spec = ClusterSpec { name: dir.cluster().clone(), ..spec };
        let cache = Cache::discover().ok()?;
        let additions = read_additions(&dir).unwrap_or_default();
        Some(Self { dir, spec, record, plan, additions, cache, existed: true, ports_known: true })
    }

    /// The name of a cluster that has been made.
    ///
    /// # Errors
    /// [`ClusterError::Unknown`] names the clusters that are there.
    pub fn expect_made(root: &StateRoot, name: Option<&ClusterName>) -> Result<ClusterName, ClusterError> {
        let wanted = wanted_name(name);
        if root.cluster(&wanted).record().exists() { Ok(wanted) } else { Err(Self::unknown(root, &wanted)) }
    }

    /// The error for a cluster that is not here.
    pub(crate) fn unknown(root: &StateRoot, wanted: &ClusterName) -> ClusterError {
        let known: Vec<String> = root.clusters().iter().map(ToString::to_string).collect();
        ClusterError::Unknown {
            known: if known.is_empty() {
                String::new()
            } else {
                format!(" (there is: {})", known.join(", "))
            },
            flag: if wanted.as_str() == DEFAULT_CLUSTER {
                String::new()
            } else {
                format!(" --name {wanted}")
            },
            name: wanted.to_string(),
        }
    }

    /// Resolves a cluster under its lock, leases its ports, checks the plan, and only then keeps the description.
    fn prepare(
        root: &StateRoot,
        name: &ClusterName,
        described: &Described<'_>,
    ) -> Result<Self, ClusterError> {
        let spec = read_spec(root, Some(name), described)?;
        let dir = root.cluster(name);
        let (record, existed) = record_of(&spec, &dir, described.overrides.runtime)?;
        dir.create()?;
        if !existed {
            // Before the leases: whoever finds a lease must find the cluster that it belongs to.
            dir.write_json(&dir.record(), &record)?;
        }
        let cluster = Self::resolve(spec, dir, record, existed, Ports::Lease)?;
        let impossible = kept::impossible_topics(&cluster.dir, cluster.last_plan().as_ref(), &cluster.plan);
        let problems: Vec<String> = plan::check::check(&cluster.plan)
            .into_iter()
            .filter(|note| note.severity == Severity::Error)
            .map(|note| format!("{}: {}", note.key, note.consequence))
            .chain(impossible)
            .collect();
        if !problems.is_empty() {
            return Err(ClusterError::Refused { cluster: name.to_string(), problems });
        }
        cluster.dir.write(&cluster.dir.spec(), cluster.spec.to_toml().as_bytes())?;
        Ok(cluster)
    }

    fn resolve(
        spec: ClusterSpec,
        dir: ClusterDir,
        record: ClusterRecord,
        existed: bool,
        ports: Ports,
    ) -> Result<Self, ClusterError> {
        let cache = Cache::discover()?;
        let (map, ports_known) = port_map(&spec, &dir, &record, &cache, ports)?;
        let additions = read_additions(&dir)?;
        let inputs = inputs(&spec, &dir, &record, &cache, map, additions.clone())?;
        let plan = plan::plan(&spec, &inputs)?;
        Ok(Self { dir, spec, record, plan, additions, cache, existed, ports_known })
    }

    /// The runtime of its nodes.
    pub fn runtime(&self) -> Runtime {
        let (dir, id) = (self.dir.clone(), self.record.cluster_id.clone());
        match &self.plan.network {
            None => Runtime::Native(NativeRuntime::new(dir, id)),
            Some(network) => {
                let agent =
                    self.spec.metrics.enabled.then(|| self.cache.directory(Artifact::metrics_agent()));
                let runtime = DockerRuntime::new(dir, id, network.clone(), agent);
                Runtime::Docker(if self.record.composed { runtime.composed() } else { runtime })
            }
        }
    }

    /// The plan that was last carried out wholly; none when there is none or it cannot be read any more.
    pub fn last_plan(&self) -> Option<ClusterPlan> {
        last_plan(&self.dir)
    }

    /// Remembers that the plan was carried out wholly, and on how many nodes data may lie from now on.
    ///
    /// # Errors
    /// [`ClusterError::Dir`].
    pub fn remember_carried_out(&mut self) -> Result<(), ClusterError> {
        self.dir.write_json(&self.dir.plan(), &self.plan)?;
        self.record.brokers = self.record.brokers.max(self.spec.kafka.brokers);
        self.dir.write_json(&self.dir.record(), &self.record)?;
        Ok(())
    }

    /// Replaces what was added to it, and gives the cluster as it is from then on. Where the plan before was carried
    /// out, the new one counts as that too: whoever adds something carries it out.
    ///
    /// # Errors
    /// [`ClusterError`].
    pub fn with_additions(&self, additions: &Additions) -> Result<Self, ClusterError> {
        let carried_out = self.last_plan().as_ref() == Some(&self.plan);
        self.dir.write_json(&self.dir.additions(), additions)?;
        let (record, existed) = record_of(&self.spec, &self.dir, None)?;
        let after = Self::resolve(self.spec.clone(), self.dir.clone(), record, existed, Ports::Look)?;
        if carried_out {
            after.dir.write_json(&after.dir.plan(), &after.plan)?;
        }
        Ok(after)
    }

    /// Every node in the order of stopping: who depends on others goes first.
    pub fn nodes_to_stop(&self) -> Vec<&NodePlan> {
        self.plan.nodes.iter().rev().collect()
    }

    /// Gives its leased ports back.
    ///
    /// # Errors
    /// [`ClusterError::Lease`].
    pub fn release_ports(&self) -> Result<(), ClusterError> {
        Ok(ports::release_all(&ports::lease_dir(self.cache.root()), &self.record.cluster_id)?)
    }
}

/// The name that was given, or the default cluster's.
pub(crate) fn wanted_name(name: Option<&ClusterName>) -> ClusterName {
    name.cloned().unwrap_or_else(|| ClusterSpec::default().name)
}

/// The plan that was last carried out wholly in a directory.
pub(crate) fn last_plan(dir: &ClusterDir) -> Option<ClusterPlan> {
    let text = dir.read_text(&dir.plan()).ok()??;
    serde_json::from_str(&text).ok()
}

/// What was added to a cluster; nothing when nothing was.
fn read_additions(dir: &ClusterDir) -> Result<Additions, DirError> {
    #[derive(serde::Deserialize)]
    struct Format {
        format: u32,
    }
    let path = dir.additions();
    let Some(text) = dir.read_text(&path)? else { return Ok(Additions::default()) };
    let unreadable = |error: serde_json::Error| DirError::Unreadable {
        path: path.display().to_string(),
        what: "a list of added users and rules",
        why: error.to_string(),
    };
    let format: Format = serde_json::from_str(&text).map_err(unreadable)?;
    if format.format > ADDITIONS_FORMAT {
        return Err(DirError::Newer { path: path.display().to_string(), found: format.format });
    }
    serde_json::from_str(&text).map_err(unreadable)
}

/// The record of a cluster, or a new one for a cluster that was never made.
fn record_of(
    spec: &ClusterSpec,
    dir: &ClusterDir,
    runtime: Option<RuntimeKind>,
) -> Result<(ClusterRecord, bool), ClusterError> {
    Ok(match dir.read_record()? {
        Some(known) => {
            refuse_other_runtime(spec, &known, runtime)?;
            refuse_kept_data(spec, &known)?;
            (known, true)
        }
        None => (new_record(spec, runtime.unwrap_or(RuntimeKind::Native)), false),
    })
}

/// Takes back what a refused first attempt wrote: leases and record.
fn forget(dir: &ClusterDir) {
    if let (Ok(Some(record)), Ok(cache)) = (dir.read_record(), Cache::discover()) {
        let _ = ports::release_all(&ports::lease_dir(cache.root()), &record.cluster_id);
    }
    let _ = std::fs::remove_file(dir.record());
}

fn listed(problems: &[String]) -> String {
    problems.iter().map(|problem| format!("\n  - {problem}")).collect()
}

/// What a cluster is described by, where it is not what it was made from alone.
#[derive(Clone, Debug, Default)]
#[expect(clippy::exhaustive_structs, reason = "callers build it")]
pub struct Described<'a> {
    /// A file.
    pub file: Option<&'a Path>,
    /// What flags say instead.
    pub overrides: Overrides,
}

fn read_spec(
    root: &StateRoot,
    name: Option<&ClusterName>,
    described: &Described<'_>,
) -> Result<ClusterSpec, ClusterError> {
    if let Some(path) = described.file {
        let shown = path.display().to_string();
        let text = std::fs::read_to_string(path)
            .map_err(|source| ClusterError::SpecFile { path: shown.clone(), source })?;
        let spec = ClusterSpec::parse_with(&text, &shown, &described.overrides)?;
        return match name {
            Some(wanted) if *wanted != spec.name => Err(ClusterError::OtherName {
                path: shown,
                found: spec.name.to_string(),
                wanted: wanted.to_string(),
            }),
            _ => Ok(spec),
        };
    }
    let wanted = wanted_name(name);
    let dir = root.cluster(&wanted);
    // The record first: a newer version's description may hold keys that this one would call unknown,
    // while the record says which version is needed.
    let record = dir.read_record()?;
    let stored = dir.read_text(&dir.spec())?;
    if let (Some(record), Some(text)) = (&record, &stored) {
        refuse_other_kind(&wanted, record, text, &described.overrides)?;
    }
    let (text, origin) = match stored {
        Some(text) => (text, dir.spec().display().to_string()),
        None => (format!("name = \"{wanted}\"\n"), "the command line".to_owned()),
    };
    Ok(ClusterSpec::parse_with(&text, &origin, &described.overrides)?)
}

fn new_record(spec: &ClusterSpec, runtime: RuntimeKind) -> ClusterRecord {
    let kraft = spec.metadata == Metadata::Kraft;
    let cluster_id = Uuid::new_v4().simple().to_string();
    let subnet = (runtime == RuntimeKind::Docker).then(|| match spec.docker.subnet {
        Some(subnet) => subnet,
        None if spec.name.as_str() == DEFAULT_CLUSTER => Subnet::GUIDE,
        None => docker::free_subnet(&cluster_id),
    });
    ClusterRecord {
        format: STATE_FORMAT,
        cluster_id,
        runtime: runtime.label().to_owned(),
        subnet,
        kafka_version: spec.kafka.version.clone(),
        registry: spec.registry.flavor.label().to_owned(),
        registry_version: spec.registry.flavor.version().to_owned(),
        brokers: spec.kafka.brokers,
        metadata: spec.metadata,
        zookeepers: if kraft { 0 } else { spec.kafka.zookeepers },
        controllers: if kraft { spec.kafka.controllers } else { 0 },
        combined: kraft && spec.kafka.roles == Roles::Combined,
        composed: false,
    }
}

/// Another mode or profile than the cluster was made with, said by a flag: refused as such, before what follows
/// from it is found in a description that spells everything out.
fn refuse_other_kind(
    cluster: &ClusterName,
    known: &ClusterRecord,
    stored: &str,
    overrides: &Overrides,
) -> Result<(), ClusterError> {
    let refuse = |what, was: &str, wanted: &str, why| {
        let (was, wanted) = (was.to_owned(), wanted.to_owned());
        Err(ClusterError::KeptData { cluster: cluster.to_string(), what, was, wanted, why })
    };
    if let Some(wanted) = overrides.metadata.filter(|wanted| *wanted != known.metadata) {
        return refuse("metadata mode", known.metadata.label(), wanted.label(), OTHER_MODE);
    }
    let profile = ClusterSpec::parse_unchecked(stored).map(|spec| spec.profile);
    match (profile, overrides.profile) {
        (Some(was), Some(wanted)) if was != wanted => {
            let why = "a profile only gives a new cluster its defaults; use another cluster, `cluster down -v`, or \
                       describe the change in a file (`--spec`)";
            refuse("profile", was.label(), wanted.label(), why)
        }
        _ => Ok(()),
    }
}

const OTHER_MODE: &str = "moving a cluster's metadata is a migration, not a start; use another cluster (`--name \
                          other`), or `cluster down -v` to delete the data";

/// Addresses and certificates are a runtime's own.
fn refuse_other_runtime(
    spec: &ClusterSpec,
    known: &ClusterRecord,
    wanted: Option<RuntimeKind>,
) -> Result<(), ClusterError> {
    match wanted.filter(|wanted| wanted.label() != known.runtime) {
        None => Ok(()),
        Some(wanted) => Err(ClusterError::KeptData {
            cluster: spec.name.to_string(),
            what: "runtime",
            was: known.runtime.clone(),
            wanted: wanted.label().to_owned(),
            why: "a cluster stays where it was made; use another cluster (`--name other`), or `cluster down -v` to \
                  delete the data",
        }),
    }
}

/// What kept data does not survive is refused before anything is touched.
fn refuse_kept_data(spec: &ClusterSpec, known: &ClusterRecord) -> Result<(), ClusterError> {
    let refuse = |what, was: String, wanted: String, why| {
        Err(ClusterError::KeptData { cluster: spec.name.to_string(), what, was, wanted, why })
    };
    if known.metadata != spec.metadata {
        let (was, wanted) = (known.metadata.label(), spec.metadata.label());
        return refuse("metadata mode", was.to_owned(), wanted.to_owned(), OTHER_MODE);
    }
    if known.registry != spec.registry.flavor.label() {
        let why = "schema ids differ between registries, and every stored record carries one; \
                   use another cluster, or `cluster down -v` to delete the data";
        return refuse("registry", known.registry.clone(), spec.registry.flavor.label().to_owned(), why);
    }
    if known.kafka_version != spec.kafka.version {
        let why = "a change of version is an upgrade, not a start; use another cluster, or `cluster down -v`";
        return refuse("Kafka", known.kafka_version.clone(), spec.kafka.version.clone(), why);
    }
    if spec.kafka.brokers < known.brokers {
        let why = "partitions on the last broker would be lost; keep the number, or `cluster down -v`";
        return refuse("brokers:", known.brokers.to_string(), spec.kafka.brokers.to_string(), why);
    }
    if known.metadata == Metadata::Kraft {
        return refuse_other_controllers(spec, known);
    }
    if spec.kafka.zookeepers != known.zookeepers {
        let why = "an ensemble is not resized by a restart; keep the number, or `cluster down -v`";
        return refuse(
            "ZooKeeper nodes:",
            known.zookeepers.to_string(),
            spec.kafka.zookeepers.to_string(),
            why,
        );
    }
    Ok(())
}

/// The voters of a quorum are written into every node's configuration.
fn refuse_other_controllers(spec: &ClusterSpec, known: &ClusterRecord) -> Result<(), ClusterError> {
    let shown = |count: u16, combined: bool| {
        let kind = if combined { "the first brokers" } else { "nodes of their own" };
        format!("{count}, {kind}")
    };
    let combined = spec.kafka.roles == Roles::Combined;
    let (was, wanted) = (shown(known.controllers, known.combined), shown(spec.kafka.controllers, combined));
    if was == wanted {
        return Ok(());
    }
    let why = "a quorum is not changed by a restart; keep it, or `cluster down -v`";
    Err(ClusterError::KeptData { cluster: spec.name.to_string(), what: "controllers:", was, wanted, why })
}

fn inputs(
    spec: &ClusterSpec,
    dir: &ClusterDir,
    record: &ClusterRecord,
    cache: &Cache,
    ports: BTreeMap<PortKey, u16>,
    additions: Additions,
) -> Result<PlanInputs, PlanError> {
    let jars = match Artifact::kafka(&spec.kafka.version) {
        None => Vec::new(),
        Some(kafka) => {
            let home = cache.directory(kafka);
            let files = kafka.lock().files().iter();
            files.map(|file| utf8(&home.join(file.name()))).collect::<Result<_, _>>()?
        }
    };
    let agent = Artifact::metrics_agent();
    let agent_home = cache.directory(agent);
    let agent_jar = agent.lock().files().first().map(|file| agent_home.join(file.name()));
    let registry_version = spec.registry.flavor.version().to_owned();
    let agent_jar = agent_jar.unwrap_or(agent_home);
    // A subnet that the description gained since is taken: the network is made anew.
    if let Some(subnet) = record.subnet.map(|subnet| spec.docker.subnet.unwrap_or(subnet)) {
        let agent = agent_jar.file_name().unwrap_or_default().to_string_lossy();
        return Ok(PlanInputs {
            placement: Placement::Containers(subnet),
            directory: containers::CONTAINER_DIRECTORY.to_owned(),
            kafka_jars: vec![format!("{}/*", spec.docker.layout().jars())],
            metrics_agent: format!("{}/{agent}", containers::AGENT_FOLDER),
            registry_home: spec.registry.flavor.image_home().to_owned(),
            registry_version,
            ports,
            additions,
        });
    }
    Ok(PlanInputs {
        placement: Placement::Processes,
        directory: utf8(&dir.path())?,
        kafka_jars: jars,
        metrics_agent: utf8(&agent_jar)?,
        registry_home: utf8(&cache.directory(Artifact::registry()))?,
        registry_version,
        ports,
        additions,
    })
}

/// A path as configurations name it.
fn utf8(path: &Path) -> Result<String, PlanError> {
    path.to_str()
        .map(str::to_owned)
        .ok_or_else(|| PlanError::PathNotUtf8 { path: path.display().to_string() })
}

/// A port for every listener, and whether all of them are certain.
fn port_map(
    spec: &ClusterSpec,
    dir: &ClusterDir,
    record: &ClusterRecord,
    cache: &Cache,
    mode: Ports,
) -> Result<(BTreeMap<PortKey, u16>, bool), ClusterError> {
    if spec.port_mode() == PortMode::Guide {
        return Ok((plan::guide_ports(spec), true));
    }
    let leases = ports::lease_dir(cache.root());
    let owner = LeaseOwner { cluster_id: record.cluster_id.clone(), state_dir: dir.path() };
    let held = ports::leases(&leases)?;
    let last = last_plan(dir);
    let mut map = BTreeMap::new();
    let mut certain = true;
    for (at, key) in (0_u16..).zip(plan::port_keys(spec)) {
        let purpose = format!("{} {}", key.0, key.1);
        let known = held.iter().find(|lease| lease.owner == owner && lease.purpose == purpose);
        // Without a lease, the port that it had: nodes may run there although the leases were lost.
        let node = last.as_ref().and_then(|plan| plan.node(key.0.as_str()));
        let before = node.and_then(|node| node.listener(&key.1)).map(|listener| listener.bind.port());
        let port = match (known, mode) {
            (Some(lease), _) => lease.port,
            (None, Ports::Lease) => ports::lease(&leases, &owner, &purpose, before)?.port,
            (None, Ports::Look) => {
                // Not every port of a node that runs is listened on: the quorum's is the leader's alone.
                certain &= node.is_some_and(|node| {
                    let mut bound = node.listeners.iter().map(|listener| listener.bind.port());
                    bound.any(|port| ports::is_held_by(port, &record.cluster_id))
                });
                before.unwrap_or(20_000 + at)
            }
        };
        map.insert(key, port);
    }
    Ok((map, certain))
}

#[cfg(test)]
mod tests;
