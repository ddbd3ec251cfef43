//! The folder of an export: the document, and beside it all that it mounts.
//!
//! It is a state directory with one cluster in it, so everything that operates clusters works on it
//! (`--state-dir DIR`): `verify`, `health`, `users`, `certs renew`. What starts and stops it is compose.

use std::collections::BTreeMap;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use caracal_pki::{store, stores};
use caracal_scram::{Iterations, Mechanism, ScramCredential};
use secrecy::ExposeSecret as _;
use serde::Serialize;
use time::OffsetDateTime;

use super::{
    CERTIFICATES, CERTIFICATES_MOUNT, ENVIRONMENT_FILE, FILE, Facts, GUIDES_FILE, OWNER_VARIABLE, document,
    setup,
};
use crate::credentials::{ClientFiles, Credentials, CredentialsError, NodeFiles};
use crate::dir::{DirError, StateRoot};
use crate::distribution::{Artifact, Tools};
use crate::lifecycle::StepError;
use crate::lifecycle::cluster::{Cluster, Described};
use crate::lifecycle::steps::format::Formatter;
use crate::names::{ClusterName, UserName};
use crate::ops::OpsError;
use crate::plan::{BOOTSTRAP_CERTIFICATE, Ca, ClusterPlan, NodeRole, Role};
use crate::properties::{self, Properties};
use crate::spec::{Metadata, Overrides, RuntimeKind};

/// What an export is made from.
#[derive(Clone, Debug)]
#[expect(clippy::exhaustive_structs, reason = "callers build it")]
pub struct Wanted<'a> {
    /// The folder.
    pub folder: &'a Path,
    /// The cluster's name; none means `caracal`, or the one in the description.
    pub name: Option<&'a ClusterName>,
    /// A description.
    pub spec_file: Option<&'a Path>,
    /// What flags say instead of it.
    pub overrides: Overrides,
    /// Whether a folder with other files in it is taken.
    pub force: bool,
    /// Whether nothing is written.
    pub dry_run: bool,
}

/// What was exported.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
pub struct ComposeReport {
    /// The cluster.
    pub cluster: ClusterName,
    /// The folder.
    pub folder: PathBuf,
    /// Whether it was an export already, whose authorities and passwords are kept.
    pub existed: bool,
    /// Whether nothing was written.
    pub dry_run: bool,
    /// Every image that has to be had.
    pub images: Vec<String>,
    /// Where clients find it.
    pub bootstrap: Vec<String>,
    /// The document, when it was not written.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub document: Option<String>,
}

/// Makes an export, or brings one up to date.
///
/// # Errors
/// [`OpsError::Refused`] when the folder holds something else, or the plan cannot be exported.
pub async fn write(wanted: &Wanted<'_>) -> Result<ComposeReport, OpsError> {
    let root = StateRoot::at(wanted.folder)?;
    let existed = root.path().join(FILE).exists();
    takes(&root, existed, wanted)?;
    let overrides = Overrides { runtime: Some(RuntimeKind::Docker), ..wanted.overrides.clone() };
    let described = Described { file: wanted.spec_file, overrides };
    if wanted.dry_run {
        let cluster = Cluster::for_looking(&root, wanted.name, &described)?;
        let text = rendered(&cluster, &owner(root.path()))?;
        return Ok(report(&cluster, &root, existed, Some(text)));
    }
    // An empty folder is made anew, for its owner alone; one that is not empty stays.
    let _ = std::fs::remove_dir(root.path());
    let (mut cluster, _lock) = Cluster::for_change(&root, wanted.name, &described, "export compose")?;
    cluster.record.composed = true;
    let text = rendered(&cluster, &owner(root.path()))?;
    credentials_of(&cluster).apply()?;
    write_files(&cluster)?;
    if cluster.spec.metrics.enabled {
        write_agent(&cluster).await?;
    }
    write_top(&cluster, &root, &text)?;
    cluster.remember_carried_out()?;
    Ok(report(&cluster, &root, existed, None))
}

/// Refuses a folder in which an export would be in somebody's way.
fn takes(root: &StateRoot, existed: bool, wanted: &Wanted<'_>) -> Result<(), OpsError> {
    let there = std::fs::read_dir(root.path()).is_ok_and(|mut entries| entries.next().is_some());
    let shown = root.path().display();
    if there && !existed && !wanted.force {
        return Err(OpsError::refused(format!(
            "{shown} is not empty and no earlier export: choose another folder, or take this one by --force"
        )));
    }
    let name = crate::lifecycle::cluster::wanted_name(wanted.name);
    match root.clusters().into_iter().find(|known| *known != name) {
        Some(other) if wanted.spec_file.is_none() => Err(OpsError::refused(format!(
            "{shown} is an export of cluster `{other}`: choose another folder"
        ))),
        _ => Ok(()),
    }
}

fn rendered(cluster: &Cluster, owner: &str) -> Result<String, OpsError> {
    let facts = Facts { cluster_id: &cluster.record.cluster_id, owner };
    document(&cluster.plan, facts).map_err(|error| OpsError::refused(error.to_string()))
}

fn report(cluster: &Cluster, root: &StateRoot, existed: bool, document: Option<String>) -> ComposeReport {
    let images = cluster.plan.nodes.iter().filter_map(|node| Some(node.container.as_ref()?.image.clone()));
    let images: std::collections::BTreeSet<String> = images.collect();
    ComposeReport {
        cluster: cluster.plan.cluster.clone(),
        folder: root.path().to_owned(),
        existed,
        dry_run: document.is_some(),
        images: images.into_iter().collect(),
        bootstrap: cluster.plan.endpoints.bootstrap.clone(),
        document,
    }
}

/// Who owns a folder, or would own it.
fn owner(folder: &Path) -> String {
    let ours = || (rustix::process::getuid().as_raw(), rustix::process::getgid().as_raw());
    let (user, group) = std::fs::metadata(folder).map_or_else(|_| ours(), |about| (about.uid(), about.gid()));
    format!("{user}:{group}")
}

fn credentials_of(cluster: &Cluster) -> Credentials<'_> {
    Credentials::new(&cluster.dir, &cluster.plan, OffsetDateTime::now_utc())
}

/// Files of nodes, clients, and the services that are no nodes.
fn write_files(cluster: &Cluster) -> Result<(), OpsError> {
    let (credentials, plan, dir) = (credentials_of(cluster), &cluster.plan, &cluster.dir);
    for node in &plan.nodes {
        NodeFiles::new(&credentials, node).write()?;
    }
    let mut wanting = Vec::new();
    for files in plan.users.iter().filter_map(|user| ClientFiles::new(&credentials, user)) {
        if files.problem()?.is_some() {
            wanting.push(files);
        }
    }
    ClientFiles::write_all(&wanting)?;
    for list in setup::LISTS {
        forget(&dir.path().join(list))?;
    }
    for file in setup::files(plan) {
        dir.write(&dir.path().join(&file.path), file.text.as_bytes())?;
    }
    match plan.metadata {
        Metadata::Zookeeper => write_users(cluster, &credentials),
        Metadata::Kraft => {
            let formatter = Formatter::new(cluster, &credentials)?;
            plan.kraft_nodes().try_for_each(|node| formatter.format(node, OffsetDateTime::now_utc()))?;
            Ok(())
        }
    }
}

/// Removes a folder of an earlier export; one that is not there is none.
fn forget(folder: &Path) -> Result<(), OpsError> {
    match std::fs::remove_dir_all(folder) {
        Err(source) if source.kind() != std::io::ErrorKind::NotFound => {
            Err(OpsError::File { path: folder.display().to_string(), source })
        }
        _ => Ok(()),
    }
}

/// What writes users and access rules into ZooKeeper.
fn write_users(cluster: &Cluster, credentials: &Credentials<'_>) -> Result<(), OpsError> {
    let (plan, dir) = (&cluster.plan, &cluster.dir);
    let folder = dir.path().join(setup::ZOOKEEPER_FOLDER);
    let users = setup::users(plan, &scram_records(credentials, plan)?);
    dir.write(&folder.join(setup::USERS), users.as_bytes())?;
    let keystore = stores::keystore_pem(&credentials.issued(BOOTSTRAP_CERTIFICATE)?);
    dir.write(&folder.join(setup::KEYSTORE), keystore.expose_secret().as_bytes())?;
    dir.write(&folder.join(setup::TRUSTSTORE), credentials.authority_pem(Ca::Control)?.as_bytes())?;
    Ok(())
}

/// The metrics agent: from the cache, or fetched into it.
async fn write_agent(cluster: &Cluster) -> Result<(), OpsError> {
    let agent = Artifact::metrics_agent();
    let step = |error: StepError| OpsError::from(error);
    let installed = cluster.cache.install(agent, &Tools::default(), &|_| {}).await;
    let installed = installed.map_err(|error| step(error.into()))?;
    installed.verify().await.map_err(|error| step(error.into()))?;
    let to = cluster.dir.path().join(setup::AGENT_FOLDER);
    forget(&to)?;
    for file in agent.lock().files() {
        let path = cluster.cache.directory(agent).join(file.name());
        let bytes = std::fs::read(&path)
            .map_err(|source| OpsError::File { path: path.display().to_string(), source })?;
        cluster.dir.write(&to.join(file.name()), &bytes)?;
    }
    Ok(())
}

/// Each user's credential as Kafka keeps it: keys derived from the password, never the password.
fn scram_records(
    credentials: &Credentials<'_>,
    plan: &ClusterPlan,
) -> Result<BTreeMap<UserName, String>, OpsError> {
    let mut records = BTreeMap::new();
    for user in &plan.users {
        let password = credentials.expect_password(&user.name)?;
        let iterations = Iterations::new(user.iterations).unwrap_or_default();
        let credential =
            ScramCredential::derive(Mechanism::ScramSha512, &password, iterations).map_err(|error| {
                OpsError::refused(format!("no credential can be made for {}: {error}", user.name))
            })?;
        records.insert(user.name.clone(), credential.to_kafka_record().expose_secret().to_owned());
    }
    Ok(records)
}

/// What lies beside the document.
fn write_top(cluster: &Cluster, root: &StateRoot, text: &str) -> Result<(), OpsError> {
    let (plan, dir, top) = (&cluster.plan, &cluster.dir, root.path());
    let folder = top.join(CERTIFICATES);
    store::create_private_dir(&folder).map_err(DirError::from)?;
    if let Some(admin) = plan.user_of(Role::Admin) {
        let from = dir.client(&admin.name);
        for file in ["ca.pem", "client.pem", "client.key", "keystore.p12", "truststore.p12"] {
            let bytes = store::read_private(&from.join(file)).map_err(DirError::from)?;
            dir.write(&folder.join(file), &bytes)?;
        }
        let inside = inside_properties(plan, &from, dir.read_text(&from.join("client.properties"))?)?;
        dir.write(&folder.join("client.properties"), inside.as_bytes())?;
    }
    let environment = environment(plan, &owner(top));
    dir.write(&top.join(ENVIRONMENT_FILE), environment.as_bytes())?;
    dir.write(&top.join("README.md"), readme(plan).as_bytes())?;
    link(&top.join(".env"), ENVIRONMENT_FILE)?;
    link(&top.join(GUIDES_FILE), FILE)?;
    // Last: a folder without it is no export.
    dir.write(&top.join(FILE), text.as_bytes())?;
    Ok(())
}

/// The administrator's properties as they are inside a broker's container.
fn inside_properties(plan: &ClusterPlan, from: &Path, text: Option<String>) -> Result<String, OpsError> {
    let missing = || CredentialsError::Missing { path: from.join("client.properties").display().to_string() };
    let text = text.ok_or_else(missing)?;
    let listeners = plan.nodes_of(NodeRole::Broker).filter_map(|node| node.listener("INTERNAL"));
    let brokers: Vec<String> = listeners
        .map(|listener| format!("{}:{}", listener.advertised_host, listener.advertised_port))
        .collect();
    let outside = from.display().to_string();
    let mut inside = Properties::new();
    inside.section("As the administrator, inside a broker's container");
    for (key, value) in properties::parse(&text) {
        let value = match key.as_str() {
            "bootstrap.servers" => brokers.join(","),
            _ => match value.strip_prefix(&outside) {
                Some(rest) => format!("{CERTIFICATES_MOUNT}{rest}"),
                None => value,
            },
        };
        inside.set(key, value);
    }
    Ok(inside.render("--command-config of Kafka's tools"))
}

fn environment(plan: &ClusterPlan, owner: &str) -> String {
    format!(
        "# Read by compose; no secrets.\n\
         # Who owns the files of this folder (`id -u`:`id -g`): a container must not be somebody else.\n\
         {OWNER_VARIABLE}={owner}\n\
         # For services; each has a folder below clusters/{}/clients with its certificate, password and profile.\n\
         CARACAL_KAFKA_BOOTSTRAP={}\n\
         CARACAL_KAFKA_REGISTRY_URL={}\n",
        plan.cluster,
        plan.endpoints.bootstrap.join(","),
        plan.endpoints.registry_url.as_deref().unwrap_or_default()
    )
}

fn readme(plan: &ClusterPlan) -> String {
    let cluster = &plan.cluster;
    let first = match plan.metadata {
        Metadata::Zookeeper => {
            "Users and access rules are written into ZooKeeper before the brokers start, where they are not there yet."
        }
        Metadata::Kraft => {
            "Users and access rules are in the controllers' volumes from their first start and are not written a second\n\
             time: what the description gains later is made by `cargo xtask users add` and `acls add`. A controller whose\n\
             volume is gone is made again only on demand: `docker compose up` says how."
        }
    };
    format!(
        "# Kafka cluster {cluster}\n\n\
         Made by `cargo xtask export compose`; this folder holds private keys and passwords of its own, of no other cluster.\n\n\
         ```bash\n\
         docker compose up -d --wait    # returns when users, topics and schemas are there\n\
         docker compose ps\n\
         docker compose down            # keeps the data; with -v it is deleted\n\
         docker exec -it {cluster}-kafka-1 kafka-broker-api-versions \\\n  \
         --bootstrap-server localhost:9092 --command-config {CERTIFICATES_MOUNT}/client.properties\n\
         cargo xtask verify --name {cluster} --state-dir .    # from the repository; so work health, users, topics ...\n\
         ```\n\n\
         {first}\n\n\
         After `cargo xtask users set-password`, or `users add`, export once more (the same command, the same folder): what\n\
         the next `up` reads has the old passwords until then, and a cluster that begins anew (`down -v`) would have them\n\
         again.\n\n\
         A service gets its folder of `clusters/{cluster}/clients`; the paths in its `client.properties` and `kcat.conf` are\n\
         those of the machine where the export was made, `profile.toml` has relative ones. When the files belong to\n\
         another user than there, write it into `{ENVIRONMENT_FILE}` ({OWNER_VARIABLE}). The authorities' keys\n\
         (`clusters/{cluster}/pki/*-ca.key`) are needed by nothing that runs: keep them elsewhere.\n"
    )
}

/// A name more for a file of the same folder.
fn link(path: &Path, to: &str) -> Result<(), OpsError> {
    if std::fs::read_link(path).is_ok_and(|known| known == Path::new(to)) {
        return Ok(());
    }
    std::os::unix::fs::symlink(to, path)
        .map_err(|source| OpsError::File { path: path.display().to_string(), source })
}
