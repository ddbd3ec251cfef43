//! Confluent's own registry, which only an image of somebody else's has: chosen by hand, with the image's name.
//!
//! `CARACAL_LIVE_SUITE=confluent CARACAL_LIVE_REGISTRY_IMAGE=confluentinc/cp-schema-registry:7.9.11 cargo test -p
//! caracal-tests --features live --test live`. It needs what the tests of containers need, and that image.

use anyhow::{Context as _, Result, ensure};
use caracal_cluster::plan::Role;

use crate::Test;
use crate::cluster::TestCluster;
use crate::docker::{docker, gone_without_a_trace, is_the_same, operate, up};
use crate::program::Program;
use crate::tools;

pub(crate) const TESTS: &[Test] =
    &[("confluent::the_guides_registry_serves_the_same_secured_cluster", serves_the_same_cluster)];

const IMAGE: &str = "CARACAL_LIVE_REGISTRY_IMAGE";

/// Whether this is run instead of all others.
pub(crate) fn is_chosen() -> bool {
    std::env::var_os("CARACAL_LIVE_SUITE").is_some_and(|suite| suite == "confluent")
}

fn serves_the_same_cluster() -> Result<()> {
    let image = std::env::var(IMAGE).with_context(|| format!("{IMAGE} must name the registry's image"))?;
    let cluster = TestCluster::new()?;
    let file = cluster.home().join("cluster.toml");
    let text = format!(
        "name = \"{}\"\n[registry]\nflavor = \"confluent\"\n[docker]\nimages = \"local\"\nregistry_image = \"{image}\"\n",
        cluster.name()
    );
    caracal_pki::store::write_public(&file, text.as_bytes())?;
    up(&cluster, &["--runtime", "docker", "--spec", &file.display().to_string()])?.succeeded()?;
    // The cluster keeps its own.
    std::fs::remove_file(&file)?;
    is_the_same(&cluster)?;
    answers_as_in_the_guide(&cluster)?;
    has_only_its_rights(&cluster)?;
    operate(&cluster, &["users", "set-password", "schema-registry"])?.succeeded()?;
    operate(&cluster, &["cluster", "restart", "schema-registry"])?.succeeded()?;
    operate(&cluster, &["health", "--writes"])?.succeeded()?.saying(&["takes writes"])?;
    let other = operate(&cluster, &["cluster", "up", "--registry", "apicurio"])?.failed()?;
    other.saying(&["registry", "confluent", "schema ids differ"])?;
    gone_without_a_trace(cluster)
}

/// The guide's own words: `{}` at the root, subjects below it.
fn answers_as_in_the_guide(cluster: &TestCluster) -> Result<()> {
    let plan = cluster.resolved()?.plan;
    let url = plan.endpoints.registry_url.context("no registry is planned")?;
    let ask = |path: &str| -> Result<String> {
        let address = format!("{url}{path}");
        let curl = Program::needed("curl")?.args(["--silent", "--show-error", "--fail", &address]).run()?;
        Ok(curl.succeeded()?.text().trim().to_owned())
    };
    ensure!(ask("/")? == "{}", "the root is {}", ask("/")?);
    let subjects = ask("/subjects")?;
    for planned in &plan.subjects {
        ensure!(subjects.contains(&format!("\"{}\"", planned.subject)), "{} in {subjects}", planned.subject);
    }
    Ok(())
}

/// No broker refused the registry's own container anything, and its log has no password.
fn has_only_its_rights(cluster: &TestCluster) -> Result<()> {
    let resolved = cluster.resolved()?;
    let node = resolved.plan.nodes.last().context("no node is planned")?;
    let own = node.container.as_ref().context("no container is planned")?.address.to_string();
    let audit = operate(cluster, &["cluster", "logs", "--audit"])?.succeeded()?.text();
    let refused: Vec<&str> = audit.lines().filter(|line| line.contains(&format!("host = {own} "))).collect();
    ensure!(refused.is_empty(), "the registry was refused: {refused:?}");
    let user = resolved.plan.user_of(Role::Registry).context("no user is planned")?;
    let password = tools::read(&resolved.dir.password(&user.name))?;
    let printed = docker(&["logs", node.name.as_str()])?.succeeded()?.text();
    ensure!(printed.contains("Server started"), "{printed}");
    ensure!(!printed.contains(password.trim()), "its log has its password");
    Ok(())
}
