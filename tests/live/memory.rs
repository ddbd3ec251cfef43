//! Memory: a budget that the machine has not got is refused early, and a node that the kernel ended for want of it
//! is reported as that.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;

use crate::Test;
use crate::cluster::{self, TestCluster};
use crate::product;
use crate::program::Ended;
use crate::tools;

/// Only looks at what never gets started.
pub(crate) const REFUSED: &[Test] =
    &[("memory::a_budget_that_the_machine_has_not_got_is_refused_before_anything_starts", refused)];

/// Ends a broker of the shared cluster.
pub(crate) const KILLED: &[Test] =
    &[("memory::a_broker_that_the_kernel_ended_is_reported_as_that", killed_by_the_kernel)];

fn operate(cluster: &TestCluster, words: &[&str]) -> Result<Ended> {
    let words: Vec<String> =
        words.iter().chain(&["--name", cluster.name()]).map(|word| (*word).to_owned()).collect();
    cluster.run(cluster.command(&words)?)
}

fn refused() -> Result<()> {
    let cluster = TestCluster::new()?;
    let file = cluster.home().join("cluster.toml");
    let write = |rest: &str| {
        let text = format!("name = \"{}\"\n{rest}", cluster.name());
        caracal_pki::store::write_public(&file, text.as_bytes())
    };
    let spec = file.display().to_string();
    let up = ["cluster", "up", "--spec", &spec];
    write("[memory]\nlimit_mib = 2000\n")?;
    operate(&cluster, &up)?.ended_with(2)?.saying(&["memory.limit_mib", "line 3", "2000", "MiB"])?;
    // Three brokers of 64 GiB each: no machine of today's developers.
    write("[kafka]\nheap_mib = 65536\n")?;
    operate(&cluster, &up)?.ended_with(3)?.saying(&[
        "may come to use",
        "MiB",
        "kafka.heap_mib",
        "memory.overcommit",
    ])?;
    ensure!(!cluster.dir()?.pki().exists(), "credentials were made before the refusal");
    cluster.take_down()
}

fn killed_by_the_kernel() -> Result<()> {
    ensure!(
        tools::is_root(),
        "only root can put a process into a control group: run the live suite as root for this one"
    );
    let cluster = cluster::shared()?;
    let broker = format!("{}-kafka-2", cluster.name());
    let pid = cluster.pid(&broker)?;
    let group = Group::make(&format!("caracal-live-{pid}"))?;
    // Whatever it touches from now on is charged to the group, which has next to nothing.
    group.limit(1 << 20)?;
    group.take(pid)?;
    let ended = tools::await_until("the kernel to end the broker", Duration::from_secs(120), || {
        operate(cluster, &["api-versions"]).map_err(|error| error.to_string())?;
        match cluster.pid(&broker) {
            Err(_) => Ok(Some(())),
            Ok(pid) => Err(format!("it runs as {pid}, with {}", group.told())),
        }
    });
    let seen = ended.and_then(|()| {
        let ps =
            product::document(&cluster.run(cluster.command(&product::ps(cluster.name()))?)?.succeeded()?)?;
        let health = operate(cluster, &["health", "--timeout", "2s"])?;
        Ok((ps, health))
    });
    let mended = cluster.up();
    let (ps, health) = seen?;
    let nodes: &Vec<Value> = ps["nodes"].as_array().context("no nodes")?;
    let node = nodes.iter().find(|node| node["node"] == broker.as_str()).context("no broker")?;
    ensure!(node["state"] == "died", "{node}");
    let death = node["death"].as_str().unwrap_or_default();
    ensure!(death.contains("killed by the kernel, because the memory was exhausted"), "{node}");
    ensure!(nodes.iter().filter(|node| node["death"].is_string()).count() == 1, "{ps}");
    health.ended_with(10)?.saying(&["killed by the kernel", "kafka.heap_mib"])?;
    let mended = mended?.succeeded()?;
    ensure!(mended.text().contains("killed by the kernel"), "`up` does not say why:\n{}", mended.text());
    operate(cluster, &["health", "--wait", "2m"])?.succeeded()?;
    Ok(())
}

/// A control group of this test's own, of either kind, gone at the end.
struct Group {
    path: PathBuf,
    second: bool,
}

impl Group {
    fn make(name: &str) -> Result<Self> {
        let root = Path::new("/sys/fs/cgroup");
        let second = root.join("cgroup.controllers").exists();
        let path = if second { root.join(name) } else { root.join("memory").join(name) };
        std::fs::create_dir(&path)
            .with_context(|| format!("{} cannot be made: control groups are needed", path.display()))?;
        Ok(Self { path, second })
    }

    fn limit(&self, bytes: u64) -> Result<()> {
        let file = if self.second { "memory.max" } else { "memory.limit_in_bytes" };
        tools::spoil(&self.path.join(file), bytes.to_string().as_bytes())
    }

    fn take(&self, pid: u32) -> Result<()> {
        tools::spoil(&self.path.join("cgroup.procs"), pid.to_string().as_bytes())
    }

    fn told(&self) -> String {
        let file = if self.second { "memory.current" } else { "memory.usage_in_bytes" };
        tools::read(&self.path.join(file)).unwrap_or_default()
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir(&self.path);
    }
}
