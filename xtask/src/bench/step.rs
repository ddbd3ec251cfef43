//! One stage of a start, as a command: what the script of `bench up` cannot do itself in reasonable time.

use anyhow::Result;
use caracal_cluster::credentials::{ClientFiles, Credentials, NodeFiles};
use caracal_cluster::lifecycle::Cluster;
use caracal_cluster::lifecycle::engine::Step;
use caracal_pki::{store, stores};
use caracal_scram::{Iterations, Mechanism, ScramCredential};
use clap::{Args, ValueEnum};

use super::clusters;

/// What `bench-step` does.
#[derive(Debug, Args)]
pub(crate) struct StepArguments {
    #[arg(value_enum)]
    stage: Stage,
    /// The cluster
    #[arg(long)]
    name: String,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
enum Stage {
    /// Credentials of nodes and clients, and SCRAM credentials of every user
    Credentials,
    /// SCRAM users in ZooKeeper
    Users,
    /// Access rules and topics
    AclsTopics,
    /// The registry has replayed, schemas, one event there and back
    RoundTrip,
}

/// Carries out one stage. Returns true.
///
/// # Errors
/// When it fails.
pub(crate) async fn run(arguments: &StepArguments) -> Result<bool> {
    let name = clusters::name(&arguments.name)?;
    let steps: &[Step] = match arguments.stage {
        Stage::Credentials => {
            let (cluster, _lock) = clusters::hold(&name)?;
            credentials(&cluster)?;
            return Ok(true);
        }
        Stage::Users => &[Step::Users],
        Stage::AclsTopics => &[Step::Acls, Step::Topics],
        Stage::RoundTrip => &[Step::RegistryReady, Step::Schemas, Step::RoundTrip],
    };
    clusters::steps(&name, steps).await?;
    Ok(true)
}

/// Step 1 of the guide, whole: authorities, certificates, stores, passwords, the files of every node and
/// client, and every user's SCRAM credential.
///
/// # Errors
/// When something cannot be made.
pub(super) fn credentials(cluster: &Cluster) -> Result<()> {
    let credentials = Credentials::new(&cluster.dir, &cluster.plan, clusters::now());
    credentials.apply()?;
    for node in &cluster.plan.nodes {
        NodeFiles::new(&credentials, node).write()?;
    }
    stores_of_nodes(cluster, &credentials)?;
    let clients: Vec<_> =
        cluster.plan.users.iter().filter_map(|user| ClientFiles::new(&credentials, user)).collect();
    ClientFiles::write_all(&clients)?;
    // As many at once as there are, as the files of clients are made.
    together(&cluster.plan.users, |user| {
        let password = credentials.expect_password(&user.name)?;
        let iterations = Iterations::new(user.iterations)?;
        std::hint::black_box(ScramCredential::derive(Mechanism::ScramSha512, &password, iterations)?);
        Ok(())
    })
}

/// Does the same for each, all at once. The first failure is returned.
fn together<T: Sync>(all: &[T], one: impl Fn(&T) -> Result<()> + Sync) -> Result<()> {
    std::thread::scope(|scope| {
        let running: Vec<_> = all.iter().map(|each| scope.spawn(|| one(each))).collect();
        running.into_iter().try_for_each(|one| match one.join() {
            Ok(done) => done,
            Err(panic) => std::panic::resume_unwind(panic),
        })
    })
}

/// PKCS#12 stores of the certificates that nodes have. Nodes read PEM, so `up` makes none of these; the script
/// makes them for every certificate, and the two must do the same work.
fn stores_of_nodes(cluster: &Cluster, credentials: &Credentials<'_>) -> Result<()> {
    let Some(user) = cluster.plan.users.first() else { return Ok(()) };
    // Any generated password does: its derivation costs the same.
    let password = credentials.expect_password(&user.name)?;
    let folder = cluster.dir.path().join("stores");
    store::create_private_dir(&folder)?;
    together(&cluster.plan.pki.certificates, |certificate| {
        // Clients have theirs already; of those who write metadata one stands for all, as in the script.
        if certificate.id.starts_with("client.") || certificate.id.ends_with(".zookeeper-client") {
            return Ok(());
        }
        let issued = credentials.issued(&certificate.id)?;
        let ca = credentials.authority_pem(certificate.ca)?;
        let key_store = stores::keystore_pkcs12("node", &issued, &[&ca], &password)?;
        let trust_store = stores::truststore_pkcs12(&[("ca", &ca)], &password)?;
        cluster.dir.write(&folder.join(format!("{}.keystore.p12", certificate.id)), &key_store)?;
        cluster.dir.write(&folder.join(format!("{}.truststore.p12", certificate.id)), &trust_store)?;
        Ok(())
    })
}
