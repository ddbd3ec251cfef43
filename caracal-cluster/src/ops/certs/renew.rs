//! New certificates in place of old ones, while the cluster works.
//!
//! A broker's listeners take a new certificate without a restart: its key store is replaced, and an alteration of
//! the broker's own configuration makes it read the file again (KIP-226). The call says so even where the broker kept
//! the old one, so only a handshake that shows the new serial number counts. What cannot reload (brokers towards
//! ZooKeeper, ZooKeeper, the registry) is restarted node by node, guarded as `cluster restart` is.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use serde::Serialize;

use super::served::{self, ServedBy};
use crate::credentials::{ClientFiles, NodeFiles};
use crate::lifecycle::cluster::Cluster;
use crate::lifecycle::commands::Selection;
use crate::names::{ClusterName, NodeName};
use crate::ops::restart::{self, RestartedNode};
use crate::ops::{Operated, OpsError, chosen, millis_since, soon};
use crate::plan::{ClusterPlan, NodePlan, NodeRole, SecretContent};
use crate::wait::{Probe, WaitError, wait_for};

/// How long listeners may take to present a new certificate.
const RELOADING: Duration = Duration::from_secs(20);

/// How long a restarted node may take.
const PATIENCE: Duration = Duration::from_secs(300);

/// The key store that a broker's listeners present.
const LISTENER_KEYSTORE: &str = "secrets/listener.keystore.pem";

/// How a new certificate comes into use.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Way {
    /// The node reads it again while it runs.
    Reload,
    /// The node is restarted.
    Restart,
    /// The user's client files are made anew; its running clients keep the old one until they connect again.
    ClientFiles,
    /// Whoever uses it next reads it.
    NextUse,
}

/// What is asked for.
#[derive(Clone, Debug)]
#[expect(clippy::exhaustive_structs, reason = "callers build it")]
pub struct RenewOptions {
    /// Nodes, users or certificates by name; none means all.
    pub names: Vec<String>,
    /// Only those that end within so many days.
    pub within_days: Option<i64>,
    /// Only what comes into use without a restart.
    pub no_restart: bool,
    /// Only say what would be done.
    pub dry_run: bool,
}

/// One certificate that was renewed.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
pub struct Renewed {
    /// The stem of its files.
    pub certificate: String,
    /// How it came into use.
    pub way: Way,
    /// The node that presents it, if any.
    pub node: Option<NodeName>,
    /// Its serial number before.
    pub old_serial: Option<String>,
    /// And now; none in a dry run.
    pub new_serial: Option<String>,
}

/// What was done.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
pub struct RenewReport {
    /// The cluster.
    pub cluster: ClusterName,
    /// Whether it was only said.
    pub dry_run: bool,
    /// Every certificate that was chosen.
    pub certificates: Vec<Renewed>,
    /// What listeners presented afterwards.
    pub listeners: Vec<ServedBy>,
    /// Nodes that were restarted, in their order.
    pub restarted: Vec<RestartedNode>,
    /// How long it took.
    pub millis: u64,
}

/// Renews certificates and brings them into use.
///
/// Broken off in between, the next `cluster up` brings what was issued into use; a second `renew` issues once more.
///
/// # Errors
/// [`OpsError::NoSuch`] for a name that is nothing here; [`OpsError::Awaited`] when a listener kept its old
/// certificate, or the cluster could not do without a node; else when something cannot be issued or written.
pub async fn renew(
    selection: &Selection,
    options: &RenewOptions,
    told: &(dyn Fn(&str) + Sync),
) -> Result<RenewReport, OpsError> {
    let begun = Instant::now();
    let cluster = Cluster::existing(&selection.root, selection.name.as_ref())?;
    let lock = if options.dry_run { None } else { Some(cluster.dir.lock("certs renew")?) };
    let operated = Operated::of(cluster);
    let mut certificates = choose(&operated, options)?;
    let mut report = RenewReport {
        cluster: operated.cluster().plan.cluster.clone(),
        dry_run: options.dry_run,
        certificates: Vec::new(),
        listeners: Vec::new(),
        restarted: Vec::new(),
        millis: 0,
    };
    if !options.dry_run {
        let credentials = operated.access().credentials();
        for renewed in &mut certificates {
            renewed.new_serial = Some(credentials.reissue(&renewed.certificate)?.serial_hex);
        }
        client_files(&operated)?;
        let restarts: BTreeSet<&NodeName> = certificates
            .iter()
            .filter(|renewed| renewed.way == Way::Restart)
            .filter_map(|renewed| renewed.node.as_ref())
            .collect();
        for node in operated.cluster().plan.nodes_of(NodeRole::Broker) {
            let reloads =
                |renewed: &&Renewed| renewed.way == Way::Reload && renewed.node.as_ref() == Some(&node.name);
            if certificates.iter().any(|renewed| reloads(&renewed)) && !restarts.contains(&node.name) {
                reload(&operated, node).await?;
                told(&format!("{} presents its new certificate on every listener", node.name));
            }
        }
        let nodes: Vec<String> = restarts.iter().map(|node| node.to_string()).collect();
        drop(lock);
        report.restarted = restart_nodes(selection, nodes, told).await?;
        report.listeners = served::listeners(&operated, None).await?;
        require_new(&certificates, &report.listeners)?;
    }
    report.certificates = certificates;
    report.millis = millis_since(begun);
    Ok(report)
}

/// The chosen leaves, in the order of the plan.
fn choose(operated: &Operated, options: &RenewOptions) -> Result<Vec<Renewed>, OpsError> {
    let plan = &operated.cluster().plan;
    let wanted = options
        .names
        .iter()
        .map(|name| ids_of(operated.cluster(), name))
        .collect::<Result<Vec<BTreeSet<String>>, _>>()?;
    let found = operated.access().credentials().certificates()?;
    let now = time::OffsetDateTime::now_utc();
    let mut chosen = Vec::new();
    for certificate in &plan.pki.certificates {
        let info = found.iter().find(|(id, _)| *id == certificate.id).map(|(_, info)| info);
        let named = wanted.is_empty() || wanted.iter().any(|ids| ids.contains(&certificate.id));
        let ending = |days: i64| info.is_none_or(|info| info.days_left(now) < days);
        let (way, node) = way_of(plan, &certificate.id);
        if named && options.within_days.is_none_or(ending) && !(options.no_restart && way == Way::Restart) {
            chosen.push(Renewed {
                certificate: certificate.id.clone(),
                way,
                node: node.map(|node| node.name.clone()),
                old_serial: info.map(|info| info.serial_hex.clone()),
                new_serial: None,
            });
        }
    }
    Ok(chosen)
}

/// The certificates of a node, of a user, or the one of that name.
fn ids_of(cluster: &Cluster, name: &str) -> Result<BTreeSet<String>, OpsError> {
    let plan = &cluster.plan;
    if plan.pki.certificates.iter().any(|certificate| certificate.id == name) {
        return Ok(BTreeSet::from([name.to_owned()]));
    }
    // A user may have the name of its node, as the registry's has: both are meant.
    let mut ids: BTreeSet<String> =
        plan.user(name).and_then(|user| user.certificate.clone()).into_iter().collect();
    if let Ok(nodes) = chosen(cluster, &[name.to_owned()]) {
        ids.extend(nodes.into_iter().flat_map(ids_in).map(str::to_owned));
    }
    if !ids.is_empty() {
        return Ok(ids);
    }
    let prefix = format!("{}-", plan.cluster);
    let nodes = plan.nodes.iter().map(|node| node.name.as_str());
    let nodes = nodes.map(|node| node.strip_prefix(&prefix).unwrap_or(node));
    let users = plan.users.iter().filter(|user| user.certificate.is_some()).map(|user| user.name.as_str());
    let ids = plan.pki.certificates.iter().map(|certificate| certificate.id.as_str());
    Err(OpsError::no_such("node, user or certificate", name, nodes.chain(users).chain(ids)))
}

fn ids_in(node: &NodePlan) -> impl Iterator<Item = &str> {
    node.secrets.iter().filter_map(|secret| match &secret.content {
        SecretContent::KeystorePem(id) => Some(id.as_str()),
        _ => None,
    })
}

/// How a certificate comes into use, and on which node.
fn way_of<'a>(plan: &'a ClusterPlan, id: &str) -> (Way, Option<&'a NodePlan>) {
    let holds = |node: &&NodePlan| ids_in(node).any(|known| known == id);
    if let Some(node) = plan.nodes.iter().find(holds) {
        let listeners = node.secrets.iter().any(|secret| {
            secret.path == LISTENER_KEYSTORE
                && matches!(&secret.content, SecretContent::KeystorePem(known) if known == id)
        });
        return (if listeners { Way::Reload } else { Way::Restart }, Some(node));
    }
    let user = plan.users.iter().any(|user| user.certificate.as_deref() == Some(id));
    (if user { Way::ClientFiles } else { Way::NextUse }, None)
}

/// Makes the client files anew whose certificate is another now.
fn client_files(operated: &Operated) -> Result<(), OpsError> {
    let credentials = operated.access().credentials();
    let users = operated.cluster().plan.users.iter();
    let mut wanting = Vec::new();
    for files in users.filter_map(|user| ClientFiles::new(&credentials, user)) {
        if files.problem()?.is_some() {
            wanting.push(files);
        }
    }
    Ok(ClientFiles::write_all(&wanting)?)
}

/// Replaces a running broker's key store and waits until every listener presents what is in it. A broker that does
/// not run reads it when it starts.
async fn reload(operated: &Operated, node: &NodePlan) -> Result<(), OpsError> {
    let cluster = operated.cluster();
    if !cluster.runtime().observe(node).is_running() {
        return Ok(());
    }
    let credentials = operated.access().credentials();
    let files = NodeFiles::new(&credentials, node);
    files.write_one(LISTENER_KEYSTORE)?;
    // As the broker sees it: in a container its directory is elsewhere.
    let store = match &node.container {
        Some(container) => format!("{}/{LISTENER_KEYSTORE}", container.mount),
        None => cluster.dir.node(&node.name).join(LISTENER_KEYSTORE).display().to_string(),
    };
    let keys: Vec<String> = node
        .listeners
        .iter()
        .filter(|listener| served::is_asked(node, listener))
        .map(|listener| format!("{}ssl.keystore.location", listener.name.config_prefix()))
        .collect();
    let broker = i32::try_from(node.id).unwrap_or(i32::MAX);
    let admin = operated.admin()?;
    let set: Vec<(&str, Option<&str>)> =
        keys.iter().map(|key| (key.as_str(), Some(store.as_str()))).collect();
    admin.alter_broker_config(broker, &set, soon()).await??;
    await_presented(operated, node).await?;
    // Nothing of it stays in the cluster: the broker's own file says the same, and a path that is kept there would
    // outlive a move of the directory.
    let unset: Vec<(&str, Option<&str>)> = keys.iter().map(|key| (key.as_str(), None)).collect();
    admin.alter_broker_config(broker, &unset, soon()).await??;
    await_presented(operated, node).await?;
    remember(cluster, node, &files.digests()?)
}

async fn await_presented(operated: &Operated, node: &NodePlan) -> Result<(), OpsError> {
    let what = format!("every listener of {} to present its new certificate", node.name);
    let waited: Result<(), WaitError<OpsError>> =
        wait_for(&what, RELOADING, Duration::from_millis(100), || async {
            match served::listeners(operated, Some(node)).await {
                Err(error) => Probe::Failed(error),
                Ok(seen) => match seen.iter().find(|served| !served.as_on_disk) {
                    None => Probe::Ready(()),
                    Some(served) => Probe::NotYet(format!(
                        "{}: {}",
                        served.listener,
                        served.error.as_deref().unwrap_or("still the old one")
                    )),
                },
            }
        })
        .await;
    let explanation = format!(
        "\n  the new certificate is issued and lies ready: `cluster restart {}` brings it into use",
        node.name
    );
    waited.map_err(|error| OpsError::waited(error, &explanation))
}

/// What the node runs with is the new key store from now on; of its other files nothing is said.
fn remember(cluster: &Cluster, node: &NodePlan, digests: &BTreeMap<String, String>) -> Result<(), OpsError> {
    let path = cluster.dir.node_launched(&node.name);
    let text = cluster.dir.read_text(&path)?.unwrap_or_default();
    let mut launched: BTreeMap<String, String> = serde_json::from_str(&text).unwrap_or_default();
    if let Some(digest) = digests.get(LISTENER_KEYSTORE) {
        launched.insert(LISTENER_KEYSTORE.to_owned(), digest.clone());
    }
    cluster.dir.write_json(&path, &launched)?;
    Ok(())
}

async fn restart_nodes(
    selection: &Selection,
    nodes: Vec<String>,
    told: &(dyn Fn(&str) + Sync),
) -> Result<Vec<RestartedNode>, OpsError> {
    if nodes.is_empty() {
        return Ok(Vec::new());
    }
    let options = restart::Options { nodes, all_at_once: false, dry_run: false, patience: PATIENCE };
    let restarted = |node: &RestartedNode| told(&format!("{} {}", node.node, node.outcome));
    Ok(restart::restart(selection, &options, &restarted).await?.nodes)
}

/// A listener that answers must present the serial number that was issued for it.
fn require_new(certificates: &[Renewed], listeners: &[ServedBy]) -> Result<(), OpsError> {
    let old: Vec<String> = listeners
        .iter()
        .filter(|served| served.error.is_none())
        .filter_map(|served| {
            let renewed = certificates.iter().find(|renewed| renewed.certificate == served.certificate)?;
            let fits = served.serial() == renewed.new_serial.as_deref();
            (!fits).then(|| format!("{} {}", served.node, served.listener))
        })
        .collect();
    if old.is_empty() {
        return Ok(());
    }
    Err(OpsError::Items {
        what: "listeners that present another certificate than the new one".to_owned(),
        items: old,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::tests::default_plan;

    #[test]
    fn each_certificate_comes_into_use_in_its_own_way() {
        let plan = default_plan();
        for (id, way, node) in [
            ("caracal-kafka-1.listener", Way::Reload, Some("caracal-kafka-1")),
            ("caracal-kafka-1.zookeeper-client", Way::Restart, Some("caracal-kafka-1")),
            ("caracal-zookeeper-2.quorum", Way::Restart, Some("caracal-zookeeper-2")),
            ("caracal-schema-registry.registry", Way::Restart, Some("caracal-schema-registry")),
            ("client.producer", Way::ClientFiles, None),
            ("control.bootstrap", Way::NextUse, None),
        ] {
            let (found, at) = way_of(&plan, id);
            assert_eq!((found, at.map(|node| node.name.as_str())), (way, node), "{id}");
        }
        let ways: BTreeSet<Way> =
            plan.pki.certificates.iter().map(|certificate| way_of(&plan, &certificate.id).0).collect();
        assert_eq!(ways.len(), 4, "every way is needed by the default cluster");
    }

    #[test]
    fn a_listener_that_kept_its_old_certificate_is_named() {
        let renewed = Renewed {
            certificate: "k.listener".to_owned(),
            way: Way::Reload,
            node: None,
            old_serial: Some("01".to_owned()),
            new_serial: Some("02".to_owned()),
        };
        let served = ServedBy {
            node: "k".to_owned(),
            listener: "EXTERNAL".to_owned(),
            certificate: "k.listener".to_owned(),
            as_on_disk: false,
            chain: Vec::new(),
            days_left: None,
            agreed: None,
            error: None,
        };
        let away = ServedBy { error: Some("refused".to_owned()), ..served.clone() };
        let (renewed, served) = ([renewed], [served]);
        let error = require_new(&renewed, &served).unwrap_err().to_string();
        assert!(error.contains("k EXTERNAL"), "{error}");
        assert!(require_new(&renewed, &[away]).is_ok(), "one that is away reads it when it starts");
        assert!(require_new(&[], &served).is_ok());
    }
}
