//! OpenSSL's view of every listener: who is let in, with which version, and what is served.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Result, ensure};
use caracal_cluster::plan::{BOOTSTRAP_CERTIFICATE, Ca, ListenerPlan, NodePlan, NodeRole};

use crate::Test;
use crate::cluster::{self, TestCluster};
use crate::program::{Ended, Program};

pub(crate) const TESTS: &[Test] = &[
    ("openssl::brokers_serve_a_chain_for_localhost_over_tls_1_2_and_1_3", brokers_serve_their_chain),
    ("openssl::brokers_refuse_a_handshake_without_certificate", brokers_refuse_without_certificate),
    ("openssl::brokers_refuse_tls_1_1", brokers_refuse_old_tls),
    ("openssl::brokers_refuse_a_certificate_of_the_control_plane", brokers_refuse_the_control_plane),
    ("openssl::zookeeper_serves_a_chain_of_the_control_authority", zookeeper_serves_its_chain),
    ("openssl::zookeeper_refuses_a_handshake_without_certificate", zookeeper_refuses_without_certificate),
    ("openssl::zookeeper_refuses_an_applications_certificate", zookeeper_refuses_applications),
    ("openssl::zookeeper_refuses_tls_1_1", zookeeper_refuses_old_tls),
];

/// An application's certificate, by its file.
const APPLICATION: &str = "client.producer";

/// The certificate of whoever writes the first users.
const CONTROL: &str = BOOTSTRAP_CERTIFICATE;

struct Dial<'a> {
    cluster: &'a TestCluster,
    node: NodePlan,
    listener: ListenerPlan,
}

impl Dial<'_> {
    fn pki(&self, file: &str) -> Result<PathBuf> {
        Ok(self.cluster.dir()?.pki().join(file))
    }

    /// One handshake, and whatever comes after it until somebody closes.
    fn handshake(&self, ca: &str, certificate: Option<&str>, extra: &[&str]) -> Result<Ended> {
        let mut program = Program::needed("openssl")?
            .args(["s_client", "-connect", &self.listener.dial.to_string()])
            .args(["-servername", "localhost", "-verify_hostname", "localhost", "-verify_return_error"])
            .args(["-CAfile".as_ref(), self.pki(&format!("{ca}.pem"))?.as_os_str()]);
        if let Some(id) = certificate {
            program = program
                .args(["-cert".as_ref(), self.pki(&format!("{id}.pem"))?.as_os_str()])
                .args(["-key".as_ref(), self.pki(&format!("{id}.key"))?.as_os_str()]);
        }
        program.args(extra).input("").within(Duration::from_secs(60)).run()
    }

    fn is_served(&self, ca: &str, certificate: &str, version: &str) -> Result<()> {
        let name = format!("{} {} over {version}", self.node.name, self.listener.name);
        let seen = self.handshake(ca, Some(certificate), &[version])?.text();
        ensure!(seen.contains("Verify return code: 0 (ok)"), "{name}: the chain does not verify:\n{seen}");
        ensure!(
            seen.contains("Verified peername: localhost"),
            "{name}: not a certificate of localhost:\n{seen}"
        );
        ensure!(!seen.contains("Cipher is (NONE)"), "{name}: no handshake:\n{seen}");
        Ok(())
    }

    /// Refused in TLS 1.2, within the handshake, and in TLS 1.3, where the alert comes after it.
    fn is_refused(&self, ca: &str, certificate: Option<&str>) -> Result<()> {
        for version in ["-tls1_2", "-tls1_3"] {
            // Reads until the other side closes: only so is the late alert of TLS 1.3 seen.
            let seen = self.handshake(ca, certificate, &[version, "-ign_eof"])?;
            let name = format!("{} {} over {version}", self.node.name, self.listener.name);
            let text = seen.text();
            ensure!(text.contains("alert"), "{name} did not refuse by an alert:\n{text}");
            ensure!(!seen.status.success(), "{name}: s_client succeeded:\n{text}");
        }
        Ok(())
    }

    fn refuses_old_tls(&self, ca: &str, certificate: &str) -> Result<()> {
        let old = ["-tls1_1", "-cipher", "DEFAULT:@SECLEVEL=0"];
        let seen = self.handshake(ca, Some(certificate), &old)?;
        let name = format!("{} {}", self.node.name, self.listener.name);
        let text = seen.text();
        ensure!(!seen.status.success(), "{name} speaks TLS 1.1:\n{text}");
        ensure!(text.contains("alert protocol version"), "{name} did not name the version:\n{text}");
        // The same with a version that is allowed: it was the version and nothing else.
        self.is_served(ca, certificate, "-tls1_2")
    }
}

/// Demands that one listener serves who holds a certificate of its plane, and nobody else: no certificate, or one
/// of the other plane.
pub(crate) fn is_mutual(cluster: &TestCluster, node: &NodePlan, listener: &ListenerPlan) -> Result<()> {
    let (ca, right, wrong) = match listener.ca {
        Some(Ca::Control) => ("control-ca", CONTROL, APPLICATION),
        _ => ("data-ca", APPLICATION, CONTROL),
    };
    let dial = Dial { cluster, node: node.clone(), listener: listener.clone() };
    dial.is_served(ca, right, "-tls1_3")?;
    dial.is_refused(ca, None)?;
    dial.is_refused(ca, Some(wrong))?;
    dial.refuses_old_tls(ca, right)
}

fn listeners(role: NodeRole, named: &[&str]) -> Result<Vec<Dial<'static>>> {
    let cluster = cluster::shared()?;
    let plan = cluster.resolved()?.plan;
    let mut dials = Vec::new();
    for node in plan.nodes_of(role) {
        for listener in node.listeners.iter().filter(|listener| named.contains(&listener.name.as_str())) {
            dials.push(Dial { cluster, node: node.clone(), listener: listener.clone() });
        }
    }
    ensure!(
        dials.len() == 3 * named.len(),
        "expected {named:?} on three nodes, found {} listeners",
        dials.len()
    );
    Ok(dials)
}

fn brokers() -> Result<Vec<Dial<'static>>> {
    listeners(NodeRole::Broker, &["EXTERNAL", "INTERNAL"])
}

fn brokers_serve_their_chain() -> Result<()> {
    for dial in brokers()? {
        dial.is_served("data-ca", APPLICATION, "-tls1_2")?;
        dial.is_served("data-ca", APPLICATION, "-tls1_3")?;
    }
    Ok(())
}

fn brokers_refuse_without_certificate() -> Result<()> {
    brokers()?.iter().try_for_each(|dial| dial.is_refused("data-ca", None))
}

fn brokers_refuse_old_tls() -> Result<()> {
    brokers()?.iter().try_for_each(|dial| dial.refuses_old_tls("data-ca", APPLICATION))
}

fn brokers_refuse_the_control_plane() -> Result<()> {
    brokers()?.iter().try_for_each(|dial| dial.is_refused("data-ca", Some(CONTROL)))
}

/// Only the leader listens on `QUORUM`, so only the other two ports are on every node.
fn zookeepers() -> Result<Vec<Dial<'static>>> {
    listeners(NodeRole::Zookeeper, &["CLIENT", "ELECTION"])
}

fn zookeeper_serves_its_chain() -> Result<()> {
    listeners(NodeRole::Zookeeper, &["CLIENT"])?
        .iter()
        .try_for_each(|dial| dial.is_served("control-ca", CONTROL, "-tls1_2"))
}

fn zookeeper_refuses_without_certificate() -> Result<()> {
    zookeepers()?.iter().try_for_each(|dial| dial.is_refused("control-ca", None))
}

fn zookeeper_refuses_applications() -> Result<()> {
    zookeepers()?.iter().try_for_each(|dial| dial.is_refused("control-ca", Some(APPLICATION)))
}

fn zookeeper_refuses_old_tls() -> Result<()> {
    listeners(NodeRole::Zookeeper, &["CLIENT"])?
        .iter()
        .try_for_each(|dial| dial.refuses_old_tls("control-ca", CONTROL))
}
