//! Steps that only write files: credentials, configuration, client files.

use super::images;
use crate::credentials::{ClientFiles, Findings, NodeFiles};
use crate::lifecycle::ClusterWorld;
use crate::lifecycle::engine::{Applied, Observed};
use crate::lifecycle::error::StepError;

pub(in crate::lifecycle) fn observe_credentials(world: &mut ClusterWorld) -> Result<Observed, StepError> {
    let findings = world.credentials().observe()?;
    Ok(observed(&findings, summary(world)))
}

pub(in crate::lifecycle) fn apply_credentials(world: &mut ClusterWorld) -> Result<Applied, StepError> {
    world.credentials().apply()?;
    Ok(summary(world).into())
}

fn summary(world: &ClusterWorld) -> String {
    let plan = &world.cluster.plan;
    format!("2 authorities, {} certificates, {} passwords", plan.pki.certificates.len(), plan.users.len())
}

fn observed(findings: &Findings, satisfied: String) -> Observed {
    if findings.is_clean() {
        Observed::Satisfied(satisfied)
    } else if findings.drifted.is_empty() {
        Observed::Absent(findings.missing.join(", "))
    } else {
        let missing = findings.missing.iter().map(|what| format!("{what} is missing"));
        Observed::Drifted(findings.drifted.iter().cloned().chain(missing).collect())
    }
}

pub(in crate::lifecycle) fn observe_configuration(world: &mut ClusterWorld) -> Result<Observed, StepError> {
    let credentials = world.credentials();
    let mut differing = Vec::new();
    let mut files = 0;
    let mut fresh = true;
    for node in &world.cluster.plan.nodes {
        files += node.files.len() + node.secrets.len();
        let paths = NodeFiles::new(&credentials, node).differing()?;
        fresh &= paths.len() == node.files.len() + node.secrets.len();
        differing
            .extend(paths.into_iter().map(|path| format!("{path} of {} differs from the plan", node.name)));
    }
    Ok(if differing.is_empty() {
        Observed::Satisfied(format!("{files} files of {} nodes", world.cluster.plan.nodes.len()))
    } else if fresh {
        Observed::Absent("no node has its files".to_owned())
    } else {
        Observed::Drifted(differing)
    })
}

pub(in crate::lifecycle) async fn apply_configuration(
    world: &mut ClusterWorld,
) -> Result<Applied, StepError> {
    let credentials = world.credentials();
    let mut written = 0;
    for node in &world.cluster.plan.nodes {
        written += NodeFiles::new(&credentials, node).write()?.len();
    }
    images::prove(world).await?;
    Ok(format!("{written} files written for {} nodes", world.cluster.plan.nodes.len()).into())
}

pub(in crate::lifecycle) fn observe_clients(world: &mut ClusterWorld) -> Result<Observed, StepError> {
    let credentials = world.credentials();
    let mut problems = Vec::new();
    let mut users = 0;
    for user in &world.cluster.plan.users {
        if let Some(files) = ClientFiles::new(&credentials, user) {
            users += 1;
            problems.extend(files.problem()?);
        }
    }
    Ok(if problems.is_empty() {
        Observed::Satisfied(clients(users))
    } else if problems.iter().all(|problem| problem.ends_with("are missing")) {
        Observed::Absent(problems.join(", "))
    } else {
        Observed::Drifted(problems)
    })
}

pub(in crate::lifecycle) fn apply_clients(world: &mut ClusterWorld) -> Result<Applied, StepError> {
    let credentials = world.credentials();
    let users = world.cluster.plan.users.iter().filter_map(|user| ClientFiles::new(&credentials, user));
    let users: Vec<ClientFiles<'_>> = users.collect();
    let mut wanting = Vec::new();
    for files in &users {
        if files.problem()?.is_some() {
            wanting.push(files.clone());
        }
    }
    ClientFiles::write_all(&wanting)?;
    Ok(clients(users.len()).into())
}

fn clients(users: usize) -> String {
    format!("PEM, PKCS12, properties and profile of {users} users")
}
