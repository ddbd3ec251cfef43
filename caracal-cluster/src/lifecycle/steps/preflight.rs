//! What is better known before anything starts: a full disk, a port in use, too little memory.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::time::Duration;

use crate::lifecycle::ClusterWorld;
use crate::lifecycle::engine::{Event, Observed};
use crate::lifecycle::error::StepError;
use crate::plan::check::{self, Severity};
use crate::ports::{self, Clash, PortClash};
use crate::runtime::docker::EngineError;
use crate::runtime::memory::{MachineMemory, machine_memory};
use crate::runtime::{NodeError, Runtime};
use crate::wait::{Probe, wait_for};

/// Free space below which nothing is started: a broker that runs out of it ends.
pub(crate) const LEAST_FREE_BYTES: u64 = 1024 * 1024 * 1024;

/// How long the kernel may take to close the ports of a process that was killed.
const LAST_BREATH: Duration = Duration::from_secs(5);

pub(in crate::lifecycle) async fn observe(world: &mut ClusterWorld) -> Result<Observed, StepError> {
    let mut problems = Vec::new();
    plan_errors(world, &mut problems);
    disk(world, &mut problems);
    ports_in_use(world, &mut problems).await;
    engine(world, &mut problems).await?;
    memory(world, &mut problems);
    if problems.is_empty() {
        return Ok(Observed::Satisfied("disk, memory and ports suffice".to_owned()));
    }
    Err(StepError::Preflight { problems })
}

fn plan_errors(world: &ClusterWorld, problems: &mut Vec<String>) {
    for note in check::check(&world.cluster.plan) {
        let text = format!("{}: {}", note.key, note.consequence);
        match note.severity {
            Severity::Error => problems.push(text),
            Severity::Warning => world.reporter.tell(Event::Note(text)),
            Severity::Note => {}
        }
    }
}

fn disk(world: &ClusterWorld, problems: &mut Vec<String>) {
    let planned = world.cluster.dir.path();
    // Before the first `up` the directory is not there yet; it will lie on the disk of the one above it.
    let path = planned.ancestors().find(|path| path.exists()).unwrap_or(&planned);
    match rustix::fs::statvfs(path) {
        Ok(stat) => {
            let free = stat.f_bavail.saturating_mul(stat.f_frsize);
            if free < LEAST_FREE_BYTES {
                problems.push(format!(
                    "{} MiB are free where {} lies, at least {} are needed: make room, or choose another \
                     place by CARACAL_STATE_DIR",
                    free >> 20,
                    path.display(),
                    LEAST_FREE_BYTES >> 20
                ));
            }
        }
        Err(error) => problems.push(format!("the free space at {} cannot be told: {error}", path.display())),
    }
}

/// Ports of nodes that are not running must be free; of running ones they are in use by themselves.
async fn ports_in_use(world: &ClusterWorld, problems: &mut Vec<String>) {
    let wanted: Vec<(String, SocketAddr)> = world
        .cluster
        .plan
        .nodes
        .iter()
        .filter(|node| !world.runtime.observe(node).is_running())
        .flat_map(|node| node.listeners.iter().map(move |l| (format!("{} {}", node.name, l.name), l.bind)))
        .collect();
    let wanted: Vec<(&str, SocketAddr)> = wanted.iter().map(|(what, at)| (what.as_str(), *at)).collect();
    problems.extend(clashes(&wanted).await.iter().map(|clash| {
        format!("{clash}; end that process, let free ports be chosen (`--ports auto`), or use another cluster (`--name other` takes free ports)")
    }));
}

/// What the engine of containers can tell beforehand.
async fn engine(world: &ClusterWorld, problems: &mut Vec<String>) -> Result<(), StepError> {
    let Runtime::Docker(docker) = &world.runtime else { return Ok(()) };
    match docker.problems(world.cluster.plan.nodes.clone()).await {
        Ok(found) => problems.extend(found),
        Err(
            error @ (EngineError::Absent { .. } | EngineError::NotPermitted { .. } | EngineError::NotBuilt),
        ) => {
            problems.push(error.to_string());
        }
        Err(error) => return Err(NodeError::from(error).into()),
    }
    Ok(())
}

/// What is in the way, once whoever is just ending has ended: a killed node leaves the process table before
/// the kernel has closed its ports, and for that long they look like those of another user, or of a process
/// without a program.
async fn clashes(wanted: &[(&str, SocketAddr)]) -> Vec<PortClash> {
    let unseen = |clash: &PortClash| match &clash.clash {
        Clash::InUse { owner } => {
            owner.as_ref().is_none_or(|owner| owner.node.is_none() && owner.command.is_empty())
        }
        _ => false,
    };
    let look = || async {
        match ports::check_free(wanted) {
            Ok(()) => Probe::Ready(Vec::new()),
            Err(clashes) if clashes.iter().all(unseen) => Probe::<_, Infallible>::NotYet(String::new()),
            Err(clashes) => Probe::Ready(clashes),
        }
    };
    let waited = wait_for("ports of ended processes", LAST_BREATH, Duration::from_millis(100), look).await;
    waited.unwrap_or_else(|_| ports::check_free(wanted).err().unwrap_or_default())
}

/// Nodes that are not running yet must find the memory that they may come to use: one that the kernel ends later
/// takes its work with it.
fn memory(world: &ClusterWorld, problems: &mut Vec<String>) {
    let plan = &world.cluster.plan;
    let down = plan.nodes.iter().filter(|node| !world.runtime.observe(node).is_running());
    let wanted: u64 = down.map(|node| node.memory.total_mib()).sum();
    let Some(problem) = short_of_memory(wanted, machine_memory()) else { return };
    if world.cluster.spec.memory.overcommit {
        world
            .reporter
            .tell(Event::Note(format!("{problem}; started all the same, as `memory.overcommit` says")));
    } else {
        problems.push(format!(
            "{problem}: stop other programs, lower `kafka.heap_mib` (brokers), `kafka.zookeeper_heap_mib` or \
             `registry.heap_mib`, or set `memory.overcommit = true` and expect the kernel to end a node"
        ));
    }
}

fn short_of_memory(wanted: u64, memory: MachineMemory) -> Option<String> {
    if wanted <= memory.available_mib {
        return None;
    }
    let place =
        if memory.by_group { "this control group (of a container or service)" } else { "this machine" };
    Some(format!(
        "the nodes may come to use {wanted} MiB of memory, and {} of the {} MiB of {place} can be had",
        memory.available_mib, memory.total_mib
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_memory_names_who_limits_it() {
        let memory = |available_mib, by_group| MachineMemory { total_mib: 4000, available_mib, by_group };
        assert_eq!(short_of_memory(3000, memory(3000, false)), None);
        let text = short_of_memory(3000, memory(2999, false)).unwrap();
        assert_eq!(
            text,
            "the nodes may come to use 3000 MiB of memory, and 2999 of the 4000 MiB of this machine can be had"
        );
        assert!(short_of_memory(1, memory(0, true)).unwrap().contains("control group"));
    }
}
