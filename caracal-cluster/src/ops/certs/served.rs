//! What listeners present, beside the files that they should present.

use std::time::{Duration, Instant};

use caracal_pki::inventory::{self, CertificateInfo};
use futures::future::join_all;
use serde::Serialize;
use time::OffsetDateTime;

use crate::lifecycle::chain;
use crate::names::ClusterName;
use crate::ops::facts::{self, Certificate};
use crate::ops::{Operated, OpsError, millis_since};
use crate::plan::{CONTROLLER_LISTENER, ListenerPlan, NodePlan, NodeRole, Role, SecretContent};
use crate::probe::tls::served_certificate;
use crate::wire::{Deadline, Endpoint, TlsConfig};

/// How long one handshake may take.
const LOOK: Duration = Duration::from_secs(5);

/// What one listener presented.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
pub struct ServedBy {
    /// The node.
    pub node: String,
    /// The listener.
    pub listener: String,
    /// The certificate that lies in the directory for it.
    pub certificate: String,
    /// Whether it presents just that one.
    pub as_on_disk: bool,
    /// What it presents, leaf first; empty when it could not be asked.
    pub chain: Vec<CertificateInfo>,
    /// Whole days until the leaf ends.
    pub days_left: Option<i64>,
    /// The protocol and cipher suite that we agreed on.
    pub agreed: Option<String>,
    /// Why it could not be asked.
    pub error: Option<String>,
}

impl ServedBy {
    /// The serial number of what it presents.
    pub fn serial(&self) -> Option<&str> {
        self.chain.first().map(|leaf| leaf.serial_hex.as_str())
    }
}

/// Every certificate, from files and from listeners.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
pub struct ShowReport {
    /// The cluster.
    pub cluster: ClusterName,
    /// Every certificate in the directory, the one that ends first at the front.
    pub certificates: Vec<Certificate>,
    /// What each listener with TLS presents. ZooKeeper's quorum ports are not asked: only the leader listens there.
    pub listeners: Vec<ServedBy>,
    /// How long it took.
    pub millis: u64,
}

/// Reads every certificate and shakes hands with every listener.
///
/// # Errors
/// Only when files or our own credentials cannot be read; a listener that cannot be asked is an entry with its error.
pub async fn show(operated: &Operated) -> Result<ShowReport, OpsError> {
    let begun = Instant::now();
    let report = facts::certificates(operated)?;
    let listeners = listeners(operated, None).await?;
    Ok(ShowReport {
        cluster: report.cluster,
        certificates: report.certificates,
        listeners,
        millis: millis_since(begun),
    })
}

/// What the listeners of one node, or of all, present.
pub(super) async fn listeners(
    operated: &Operated,
    only: Option<&NodePlan>,
) -> Result<Vec<ServedBy>, OpsError> {
    let access = operated.access();
    let user = access.user(Role::Admin)?;
    let (data, control) = (access.user_tls(user)?, access.zookeeper_tls()?);
    let on_disk = access.credentials().certificates()?;
    let plan = &operated.cluster().plan;
    let nodes = plan.nodes.iter().filter(|node| only.is_none_or(|only| only.name == node.name));
    let asked = nodes.flat_map(|node| {
        let metadata = matches!(node.role, NodeRole::Zookeeper | NodeRole::Controller);
        let tls = if metadata { &control } else { &data };
        let known = certificate_of(node);
        node.listeners
            .iter()
            .filter(|listener| is_asked(node, listener))
            .filter_map(move |listener| Some((node, listener, tls, known?)))
    });
    let served = join_all(asked.map(|(node, listener, tls, id)| ask(node, listener, tls, id))).await;
    let fitted = served.into_iter().map(|mut served| {
        let file = on_disk.iter().find(|(id, _)| *id == served.certificate);
        served.as_on_disk =
            file.is_some_and(|(_, info)| served.chain.first().is_some_and(|leaf| leaf == info));
        served
    });
    Ok(fitted.collect())
}

/// Whether a listener presents the certificate of [`certificate_of`]; that of the metrics is plain HTTP.
pub(super) fn is_asked(node: &NodePlan, listener: &ListenerPlan) -> bool {
    if listener.ca.is_none() {
        return false;
    }
    match node.role {
        // A broker that is a controller too presents another certificate there.
        NodeRole::Broker => listener.name.as_str() != CONTROLLER_LISTENER,
        NodeRole::Controller => listener.name.as_str() == CONTROLLER_LISTENER,
        NodeRole::Zookeeper => listener.name.as_str() == "CLIENT",
        NodeRole::SchemaRegistry => false,
    }
}

/// The certificate that a node's listeners present: that of its first key store.
pub(super) fn certificate_of(node: &NodePlan) -> Option<&str> {
    node.secrets.iter().find_map(|secret| match &secret.content {
        SecretContent::KeystorePem(id) => Some(id.as_str()),
        _ => None,
    })
}

async fn ask(node: &NodePlan, listener: &ListenerPlan, tls: &TlsConfig, id: &str) -> ServedBy {
    let endpoint = Endpoint::of(node, listener);
    let mut served = ServedBy {
        node: node.name.to_string(),
        listener: listener.name.to_string(),
        certificate: id.to_owned(),
        as_on_disk: false,
        chain: Vec::new(),
        days_left: None,
        agreed: None,
        error: None,
    };
    match served_certificate(&endpoint, tls, Deadline::after(LOOK)).await {
        Ok(found) => {
            served.agreed = Some(format!("{} {}", found.protocol, found.suite));
            match found.chain.iter().map(|der| inventory::inspect_der(der)).collect() {
                Ok(chain) => served.chain = chain,
                Err(error) => served.error = Some(chain(&error)),
            }
            let now = OffsetDateTime::now_utc();
            served.days_left = served.chain.first().map(|leaf| leaf.days_left(now));
        }
        Err(error) => served.error = Some(chain(&error)),
    }
    served
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::tests::default_plan;

    #[test]
    fn metrics_are_not_asked_for_a_certificate() {
        let mut plan = default_plan();
        let node = plan.nodes.iter_mut().find(|node| node.role == NodeRole::Broker).unwrap();
        let mut metrics = node.listeners[0].clone();
        assert!(is_asked(node, &metrics));
        metrics.ca = None;
        assert!(!is_asked(node, &metrics));
    }

    #[test]
    fn every_listener_has_the_certificate_that_its_node_presents() {
        let plan = default_plan();
        for node in plan.nodes.iter().filter(|node| node.role != NodeRole::SchemaRegistry) {
            let id = certificate_of(node).unwrap();
            let wanted = if node.role == NodeRole::Broker { "listener" } else { "quorum" };
            assert_eq!(id, format!("{}.{wanted}", node.name));
        }
        let asked = |role| {
            let of_role = plan.nodes_of(role);
            of_role.flat_map(|node| node.listeners.iter().filter(|l| is_asked(node, l))).count()
        };
        assert_eq!(
            [asked(NodeRole::Broker), asked(NodeRole::Zookeeper), asked(NodeRole::SchemaRegistry)],
            [6, 3, 0]
        );
    }
}
