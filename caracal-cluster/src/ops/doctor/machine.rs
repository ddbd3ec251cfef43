//! What a cluster needs of the machine: programs, memory, disk, ports, clock.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use time::OffsetDateTime;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::UnixStream;

use super::Finding;
use crate::distribution::{self, Artifact, Cache, JavaPolicy, on_path};
use crate::lifecycle::chain;
use crate::lifecycle::cluster::{Cluster, Described};
use crate::lifecycle::commands::Selection;
use crate::lifecycle::steps::preflight::LEAST_FREE_BYTES;
use crate::ports;
use crate::runtime::memory::{MachineMemory, machine_memory};
use crate::wire::Deadline;

/// What the first `up` fetches and unpacks, in bytes.
const DOWNLOADS: u64 = 600 << 20;

pub(super) async fn findings(selection: &Selection) -> Vec<Finding> {
    let cache = Cache::discover();
    let cluster = Cluster::for_looking(&selection.root, selection.name.as_ref(), &Described::default());
    let mut findings = Vec::new();
    match &cache {
        Ok(cache) => {
            findings.push(java(cache).await);
            findings.push(maven(cache));
        }
        Err(error) => {
            findings.push(Finding::fail(
                "java",
                chain(error),
                "set HOME, or CARACAL_CACHE_DIR to a directory",
            ));
        }
    }
    findings.push(docker(Path::new("/var/run/docker.sock")).await);
    match &cluster {
        Ok(cluster) => {
            findings.push(memory(cluster, machine_memory()));
            findings.push(port_clashes(cluster));
        }
        Err(error) => {
            let next = "mend the description, or delete the cluster (`cluster down -v`)";
            findings.push(Finding::fail("memory", chain(error), next));
        }
    }
    let needed = if cache.as_ref().is_ok_and(is_fetched) { 0 } else { DOWNLOADS };
    findings.extend(cache.iter().map(|cache| disk("the cache", cache.root(), needed.max(64 << 20))));
    findings.push(disk("the clusters", selection.root.path(), LEAST_FREE_BYTES));
    findings.push(clock(&latest_change(selection), SystemTime::now()));
    findings.push(openssl());
    findings
}

async fn java(cache: &Cache) -> Finding {
    match distribution::find_or_fetched(&JavaPolicy::new(cache.clone())).await {
        Ok(java) => Finding::ok(
            "java",
            format!("Java {} from {} ({})", java.version, java.source, java.home.display()),
        ),
        Err(error) if on_path("python3").is_some() => {
            let next = "nothing: the first `cluster up` fetches a Java runtime through Python's pip";
            Finding::warn("java", chain(&error), next)
        }
        Err(error) => {
            let next = "install Java 21 or newer (Debian: apt-get install openjdk-21-jre-headless)";
            Finding::fail("java", chain(&error), next)
        }
    }
}

fn is_fetched(cache: &Cache) -> bool {
    [Artifact::default_kafka(), Artifact::registry()]
        .iter()
        .all(|artifact| cache.installed(artifact).is_some())
}

fn maven(cache: &Cache) -> Finding {
    match (on_path("mvn"), is_fetched(cache)) {
        (Some(path), true) => {
            Finding::ok("maven", format!("{}; what it has to fetch is in the cache", path.display()))
        }
        (Some(path), false) => {
            Finding::ok("maven", format!("{}; the first `cluster up` fetches about 215 MB", path.display()))
        }
        (None, true) => {
            Finding::ok("maven", "not on PATH, and not needed: what it would fetch is in the cache")
        }
        (None, false) => {
            let next = "install Maven (Debian: apt-get install maven), or copy a filled cache here";
            Finding::fail("maven", "not on PATH, and Kafka and the registry are not in the cache yet", next)
        }
    }
}

/// Containers are one way to run nodes; a machine without Docker has processes.
async fn docker(socket: &Path) -> Finding {
    const ASK: &[u8] = b"GET /version HTTP/1.0\r\nHost: docker\r\n\r\n";
    if !socket.exists() {
        return Finding::ok("docker", "not there, and not needed: nodes run as processes of this machine");
    }
    let asked = async {
        let mut stream = UnixStream::connect(socket).await?;
        stream.write_all(ASK).await?;
        let mut answer = String::new();
        stream.take(64 * 1024).read_to_string(&mut answer).await?;
        Ok::<String, std::io::Error>(answer)
    };
    match Deadline::after(Duration::from_secs(3)).run(asked).await {
        Ok(Ok(answer)) => {
            let version = answer.split("\"Version\":\"").nth(1).and_then(|rest| rest.split('"').next());
            Finding::ok("docker", format!("engine {}", version.unwrap_or("of unknown version")))
        }
        Ok(Err(error)) if error.kind() == std::io::ErrorKind::PermissionDenied => Finding::warn(
            "docker",
            format!("{} may not be used by you", socket.display()),
            "join the group `docker` (usermod -aG docker $USER) and log in again; nodes as processes need it not",
        ),
        Ok(Err(error)) => Finding::warn(
            "docker",
            format!("{} does not answer: {error}", socket.display()),
            "start it (systemctl start docker); nodes as processes need it not",
        ),
        Err(_) => Finding::warn(
            "docker",
            format!("{} does not answer within 3 s", socket.display()),
            "restart it (systemctl restart docker); nodes as processes need it not",
        ),
    }
}

fn memory(cluster: &Cluster, memory: MachineMemory) -> Finding {
    let runtime = cluster.runtime();
    let down = cluster.plan.nodes.iter().filter(|node| !runtime.observe(node).is_running());
    let wanted: u64 = down.map(|node| node.memory.total_mib()).sum();
    let MachineMemory { total_mib, available_mib, by_group } = memory;
    let place = if by_group { "this control group (container, service)" } else { "this machine" };
    let seen = format!(
        "{available_mib} of {total_mib} MiB of {place} can be had; cluster {} may come to use {} MiB, {wanted} of them by nodes that do not run",
        cluster.plan.cluster,
        cluster.plan.memory_mib()
    );
    if wanted <= available_mib {
        return Finding::ok("memory", seen);
    }
    Finding::fail(
        "memory",
        seen,
        "stop other programs, or lower `kafka.heap_mib`, `kafka.zookeeper_heap_mib` and `registry.heap_mib` in the description",
    )
}

fn port_clashes(cluster: &Cluster) -> Finding {
    let runtime = cluster.runtime();
    let down = cluster.plan.nodes.iter().filter(|node| !runtime.observe(node).is_running());
    let wanted: Vec<(String, SocketAddr)> = down
        .flat_map(|node| {
            node.listeners
                .iter()
                .map(move |listener| (format!("{} {}", node.name, listener.name), listener.bind))
        })
        .collect();
    let named: Vec<(&str, SocketAddr)> = wanted.iter().map(|(what, at)| (what.as_str(), *at)).collect();
    match ports::check_free(&named) {
        Ok(()) if named.is_empty() => Finding::ok("ports", "in use by the cluster's own nodes"),
        Ok(()) => Finding::ok("ports", format!("all {} are free", named.len())),
        Err(clashes) => {
            let list: Vec<String> = clashes.iter().map(ToString::to_string).collect();
            let next = "end that process, or use another cluster (`--name other` takes free ports)";
            Finding::fail("ports", list.join("; "), next)
        }
    }
}

fn disk(what: &str, planned: &Path, needed: u64) -> Finding {
    let path = planned.ancestors().find(|path| path.exists()).unwrap_or(planned);
    match rustix::fs::statvfs(path) {
        Ok(about) => {
            let free = about.f_bavail.saturating_mul(about.f_frsize);
            let seen = format!("{} MiB free for {what} ({})", free >> 20, path.display());
            if free >= needed {
                return Finding::ok("disk", seen);
            }
            let next = format!(
                "make room: {} MiB are needed; or choose another place by CARACAL_STATE_DIR or CARACAL_CACHE_DIR",
                needed >> 20
            );
            Finding::fail("disk", seen, next)
        }
        Err(error) => {
            Finding::warn("disk", format!("{}: {error}", path.display()), "look at that file system")
        }
    }
}

/// The youngest thing that was made here; a clock that is before it has been set back.
fn latest_change(selection: &Selection) -> Vec<(PathBuf, SystemTime)> {
    let mut paths: Vec<PathBuf> = std::env::current_exe().into_iter().collect();
    let dir = selection.root.cluster(&selection.wanted());
    paths.extend([dir.record(), dir.plan(), dir.spec()]);
    let changed = |path: PathBuf| Some((path.clone(), std::fs::metadata(&path).ok()?.modified().ok()?));
    paths.into_iter().filter_map(changed).collect()
}

fn clock(changes: &[(PathBuf, SystemTime)], now: SystemTime) -> Finding {
    const NEXT: &str = "set the clock (timedatectl set-ntp true): certificates are refused before their time";
    let told = OffsetDateTime::from(now);
    let told = format!("{} UTC", told.replace_nanosecond(0).unwrap_or(told).to_offset(time::UtcOffset::UTC));
    // A file system may be a little ahead of us.
    let ahead = |at: &SystemTime| at.duration_since(now).is_ok_and(|ahead| ahead > Duration::from_secs(5));
    if let Some((path, _)) = changes.iter().find(|(_, at)| ahead(at)) {
        return Finding::fail(
            "clock",
            format!("it is {told}, but {} is from a later time", path.display()),
            NEXT,
        );
    }
    Finding::ok("clock", format!("{told}, later than everything made here"))
}

fn openssl() -> Finding {
    match on_path("openssl") {
        Some(path) => Finding::ok("openssl", path.display().to_string()),
        None => {
            let next = "apt-get install openssl; only the tests and you yourself use it, a cluster does not";
            Finding::warn("openssl", "not on PATH", next)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::Level;
    use super::*;

    #[test]
    fn a_clock_that_was_set_back_is_a_failure() {
        let now = SystemTime::now();
        let at = |seconds: u64| vec![(PathBuf::from("/x"), now + Duration::from_secs(seconds))];
        assert_eq!(clock(&at(1), now).level, Level::Ok);
        let back = clock(&at(3600), now);
        assert_eq!(back.level, Level::Fail);
        assert!(back.seen.contains("/x is from a later time"), "{}", back.seen);
    }

    #[tokio::test]
    async fn docker_is_told_by_its_socket() {
        let folder = tempfile::tempdir().unwrap();
        let socket = folder.path().join("docker.sock");
        assert!(docker(&socket).await.seen.contains("not needed"));
        let listener = tokio::net::UnixListener::bind(&socket).unwrap();
        tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut request = Vec::new();
            while !request.ends_with(b"\r\n\r\n") {
                request.push(stream.read_u8().await.unwrap());
            }
            stream.write_all(b"HTTP/1.0 200 OK\r\n\r\n{\"Version\":\"20.10.24\"}").await.unwrap();
        });
        assert_eq!(docker(&socket).await.seen, "engine 20.10.24");
        // Nobody listens there any more.
        let dead = docker(&socket).await;
        assert_eq!(dead.level, Level::Warn, "{dead:?}");
    }

    #[test]
    fn a_disk_without_room_says_how_much_is_needed() {
        let full = disk("the clusters", Path::new("/tmp/not/there"), u64::MAX);
        assert_eq!(full.level, Level::Fail);
        assert!(full.next.unwrap().contains("CARACAL_STATE_DIR"));
        assert_eq!(disk("the clusters", Path::new("/tmp"), 0).level, Level::Ok);
    }
}
