//! `verify`: passes on a cluster that is right, and fails on one that was sabotaged.

use anyhow::{Result, ensure};

use crate::cluster::{self, TestCluster};
use crate::jdk::as_admin;
use crate::{Test, product};

pub(crate) const TESTS: &[Test] = &[
    ("verify::passes_on_the_shared_cluster", passes_on_the_shared_cluster),
    ("verify::fails_when_somebody_added_a_right", fails_with_an_extra_right),
];

/// Runs `verify` and demands that it passes.
pub(crate) fn passes(cluster: &TestCluster) -> Result<()> {
    cluster.run(cluster.command(&product::verify(cluster.name()))?)?.succeeded()?;
    Ok(())
}

fn passes_on_the_shared_cluster() -> Result<()> {
    passes(cluster::shared()?)
}

fn fails_with_an_extra_right() -> Result<()> {
    const TOOL: &str = "kafka.admin.AclCommand";
    let shared = cluster::shared()?;
    let rule =
        ["--allow-principal", "User:producer", "--operation", "Read", "--topic", "caracal.metering.events"];
    as_admin(shared, TOOL)?.args(["--add"]).args(rule).run()?.succeeded()?;
    let verify = shared.run(shared.command(&product::verify(shared.name()))?);
    as_admin(shared, TOOL)?.args(["--remove", "--force"]).args(rule).run()?.succeeded()?;
    let verify = verify?.failed()?;
    ensure!(verify.text().contains("producer"), "it does not say who may too much:\n{}", verify.text());
    passes(shared)
}
