//! What is better known before anything starts: a full disk, a port in use, too little memory.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::time::Duration;

use crate::lifecycle::ClusterWorld;
use crate::lifecycle::engine::{Event, Observed};
use crate::lifecycle::error::StepError;
use crate::plan::check::{self, Severity};
use crate::ports::{self, Clash, PortClash};
use crate::wait::{Probe, wait_for};

/// Free space below which nothing is started: a broker that runs out of it ends.
const LEAST_FREE_BYTES: u64 = 1024 * 1024 * 1024;

/// How long the kernel may take to close the ports of a process that was killed.
const LAST_BREATH: Duration = Duration::from_secs(5);

pub(in crate::lifecycle) async fn observe(world: &mut ClusterWorld) -> Result<Observed, StepError> {
    let mut problems = Vec::new();
    plan_errors(world, &mut problems);
    disk(world, &mut problems);
    ports_in_use(world, &mut problems).await;
    memory(world);
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
        format!("{clash}; end that process, or use another cluster (`--name other` takes free ports)")
    }));
}

/// What is in the way, once whoever is just ending has ended: a killed node leaves the process table before
/// the kernel has closed its ports, and for that long they look like those of another user.
async fn clashes(wanted: &[(&str, SocketAddr)]) -> Vec<PortClash> {
    let unseen = |clash: &PortClash| matches!(clash.clash, Clash::InUse { owner: None });
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

/// Short memory is a note, not a refusal: what the kernel calls available is a guess.
fn memory(world: &ClusterWorld) {
    let mut system = sysinfo::System::new();
    system.refresh_memory();
    let spec = &world.cluster.spec;
    let idle = world.cluster.plan.nodes.iter().all(|node| !world.runtime.observe(node).is_running());
    // Beside its heap a JVM needs some 150 MiB for code, threads and buffers.
    let heaps = u64::from(spec.kafka.heap_mib + 150) * u64::from(spec.kafka.brokers)
        + u64::from(spec.kafka.zookeeper_heap_mib + 80) * u64::from(spec.kafka.zookeepers)
        + u64::from(spec.registry.heap_mib + 150);
    let available = system.available_memory() >> 20;
    if idle && available > 0 && available < heaps {
        world.reporter.tell(Event::Note(format!(
            "{available} MiB of memory are available, the nodes may use {heaps}: lower `kafka.heap_mib`, \
             or expect the kernel to end one"
        )));
    }
}
