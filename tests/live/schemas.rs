//! Schemas listed, registered and checked, judged by curl at the registry and by git.

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;

use crate::Test;
use crate::cluster::{self, TestCluster};
use crate::operate::{document, operate, pids};
use crate::product::{UNHEALTHY, USAGE};
use crate::program::Program;

pub(crate) const TESTS: &[Test] = &[
    ("schemas::registered_ones_are_so_for_curl_and_bad_ones_never_get_there", registered),
    ("schemas::files_are_checked_against_git_a_folder_and_the_registry", checked),
];

const FIRST: &str =
    r#"{"type":"record","name":"Live","namespace":"caracal.live","fields":[{"name":"id","type":"string"}]}"#;
const SECOND: &str = r#"{"type":"record","name":"Live","namespace":"caracal.live","fields":[{"name":"id","type":"string"},{"name":"n","type":"long","default":0}]}"#;
const BROKEN: &str = r#"{"type":"record","name":"Live","namespace":"caracal.live","fields":[{"name":"id","type":"string"},{"name":"n","type":"long"}]}"#;

fn asked(cluster: &TestCluster, path: &str, more: &[&str]) -> Result<Value> {
    let url = cluster.resolved()?.plan.endpoints.registry_url.context("no registry is planned")?;
    let address = format!("{url}{path}");
    let curl = Program::needed("curl")?.args(["--silent", "--show-error"]).args(more).args([&address]);
    Ok(serde_json::from_slice(&curl.run()?.succeeded()?.stdout)?)
}

fn put(cluster: &TestCluster, name: &str, text: &str) -> Result<String> {
    let path = cluster.home().join(name);
    caracal_pki::store::write_private(&path, text.as_bytes())?;
    path.to_str().map(str::to_owned).context("a path that is no text")
}

fn registered() -> Result<()> {
    const SUBJECT: &str = "live-schemas-value";
    let cluster = cluster::shared()?;
    let before = pids(cluster)?;
    let first = put(cluster, "first.avsc", FIRST)?;
    operate(cluster, &["schemas", "register", SUBJECT, &first, "--dry-run"])?
        .succeeded()?
        .saying(&["would be registered"])?;
    ensure!(
        asked(cluster, &format!("/subjects/{SUBJECT}/versions"), &[])?["error_code"].is_number(),
        "dry run"
    );
    let made = document(cluster, &["schemas", "register", SUBJECT, &first])?;
    let id = made["id"].as_i64().context("no id")?;
    let text = asked(cluster, &format!("/schemas/ids/{id}"), &[])?["schema"].as_str().map(str::to_owned);
    let parsed: Value = serde_json::from_str(&text.context("curl finds no schema")?)?;
    ensure!(parsed == serde_json::from_str::<Value>(FIRST)?, "{parsed}");
    let again = document(cluster, &["schemas", "register", SUBJECT, &first])?;
    ensure!(again["outcome"] == "unchanged" && again["id"] == id, "{again}");
    let broken = put(cluster, "broken.avsc", BROKEN)?;
    for dry in [&["--dry-run"][..], &[]] {
        let words = [&["schemas", "register", SUBJECT, &broken][..], dry].concat();
        let refused = operate(cluster, &words)?.failed()?;
        ensure!(refused.status.code() == Some(USAGE), "{:?}", refused.status);
        refused.saying(&["/fields/1", "BACKWARD"])?;
    }
    let second = put(cluster, "second.avsc", SECOND)?;
    ensure!(
        document(cluster, &["schemas", "register", SUBJECT, &second])?["version"] == 2,
        "no second version"
    );
    ensure!(
        asked(cluster, &format!("/subjects/{SUBJECT}/versions"), &[])? == serde_json::json!([1, 2]),
        "versions"
    );
    let shown = operate(cluster, &["schemas", "show", SUBJECT, "--version", "1"])?.succeeded()?;
    ensure!(serde_json::from_slice::<Value>(&shown.stdout)? == parsed, "{}", shown.text());
    operate(cluster, &["schemas", "show", "live-schema-value"])?
        .failed()?
        .saying(&["did you mean", SUBJECT])?;
    let listed = document(cluster, &["schemas", "list"])?;
    let ours = |found: &&Value| found["subject"] == SUBJECT;
    let ours =
        listed["subjects"].as_array().context("no subjects")?.iter().find(ours).context("not listed")?;
    ensure!(ours["record"] == "caracal.live.Live" && ours["own_level"] == false, "{ours}");
    let level = ["schemas", "compatibility", "set", "NONE", "--subject", SUBJECT];
    operate(cluster, &[&level[..], &["--dry-run"]].concat())?.succeeded()?.saying(&["BACKWARD -> NONE"])?;
    ensure!(
        document(cluster, &["schemas", "compatibility", "get", SUBJECT])?["level"] == "BACKWARD",
        "dry run"
    );
    operate(cluster, &level)?.succeeded()?;
    let own = asked(cluster, &format!("/config/{SUBJECT}"), &[])?;
    ensure!(own["compatibilityLevel"] == "NONE", "{own}");
    operate(cluster, &["schemas", "register", SUBJECT, &broken])?.succeeded()?;
    for query in ["", "?permanent=true"] {
        asked(cluster, &format!("/subjects/{SUBJECT}{query}"), &["-X", "DELETE"])?;
    }
    ensure!(pids(cluster)? == before, "an operation started or ended a node");
    Ok(())
}

fn checked() -> Result<()> {
    let cluster = cluster::shared()?;
    let ours = concat!(env!("CARGO_MANIFEST_DIR"), "/../caracal-kafka-client/contract/schemas");
    let sound = document(cluster, &["schemas", "check", ours, "--registry"])?;
    let schemas = sound["schemas"].as_array().context("no schemas")?;
    ensure!(schemas.len() == 4 && schemas.iter().all(|found| found["state"] == "unchanged"), "{sound}");
    // A repository of its own: a base, and a change in the work tree that breaks it.
    let home = cluster.home().join("schemas");
    std::fs::create_dir_all(home.join("old"))?;
    let path = home.to_str().context("a path that is no text")?;
    let git = |words: &[&str]| -> Result<()> {
        let who = ["-c", "user.name=live", "-c", "user.email=live@example.com"];
        Program::needed("git")?.args(["-C", path]).args(who).args(words).run()?.succeeded()?;
        Ok(())
    };
    caracal_pki::store::write_private(&home.join("live.avsc"), FIRST.as_bytes())?;
    caracal_pki::store::write_private(&home.join("old/live.avsc"), FIRST.as_bytes())?;
    git(&["init", "--quiet"])?;
    git(&["add", "live.avsc"])?;
    git(&["commit", "--quiet", "-m", "base"])?;
    let file = format!("{path}/live.avsc");
    let check = |base: &[&str]| operate(cluster, &[&["schemas", "check", &file][..], base].concat());
    let folder = format!("{path}/old");
    check(&["--base", "HEAD"])?.succeeded()?.saying(&["unchanged"])?;
    caracal_pki::store::write_private(&home.join("live.avsc"), SECOND.as_bytes())?;
    check(&["--base", "HEAD", "--folder", &folder])?.succeeded()?.saying(&["2 checks: all may follow"])?;
    caracal_pki::store::write_private(&home.join("live.avsc"), BROKEN.as_bytes())?;
    let broken = check(&["--base", "HEAD"])?.failed()?;
    ensure!(broken.status.code() == Some(UNHEALTHY), "{:?}", broken.status);
    broken.saying(&["incompatible", "/fields/1"])?;
    check(&["--base", "no-such-branch"])?.failed()?.saying(&["no revision `no-such-branch`"])?;
    std::fs::remove_dir_all(&home)?;
    Ok(())
}
