//! Metrics of a small cluster: off by default, turned on without loss, counted right, all that the dashboard asks for.

use std::collections::BTreeSet;

use anyhow::{Context as _, Result, ensure};
use caracal_cluster::ops::grafana;
use caracal_cluster::ops::metrics::{self, Sample};
use caracal_cluster::wire::{Deadline, records};
use serde_json::Value;

use crate::Test;
use crate::cluster::{self, TestCluster, access};
use crate::product::{self, PATIENCE};
use crate::program::{Ended, Program};
use crate::tools::block;

pub(crate) const TESTS: &[Test] = &[
    ("metrics::a_cluster_without_them_says_how_to_turn_them_on", off),
    ("metrics::turned_on_they_count_what_was_written_and_serve_the_dashboard", turned_on),
];

fn operate(cluster: &TestCluster, words: &[&str]) -> Result<Ended> {
    let words: Vec<String> =
        words.iter().chain(&["--name", cluster.name()]).map(|word| (*word).to_owned()).collect();
    cluster.run(cluster.command(&words)?)
}

fn off() -> Result<()> {
    let cluster = cluster::shared()?;
    for words in [&["metrics"][..], &["export", "grafana", "--dry-run"]] {
        let refused = operate(cluster, words)?.failed()?;
        ensure!(refused.status.code() == Some(2), "{:?}", refused.status);
        refused.saying(&["[metrics]", "enabled = true", "--spec"])?;
    }
    Ok(())
}

/// `up` of one broker and one ZooKeeper node, with or without metrics.
fn up(cluster: &TestCluster, enabled: bool) -> Result<Ended> {
    let file = cluster.home().join("cluster.toml");
    let text = format!(
        "name = \"{}\"\n[kafka]\nbrokers = 1\nzookeepers = 1\n[replication]\nfactor = 1\nmin_isr = 1\n\
         [metrics]\nenabled = {enabled}\n",
        cluster.name()
    );
    caracal_pki::store::write_public(&file, text.as_bytes())?;
    operate(cluster, &["cluster", "up", "--spec", &file.display().to_string()])
}

fn turned_on() -> Result<()> {
    const TOPIC: &str = "caracal.dlq";
    let cluster = TestCluster::new()?;
    up(&cluster, false)?.succeeded()?;
    let broker = format!("{}-kafka-1", cluster.name());
    let before = cluster.pid(&broker)?;
    write(&cluster, TOPIC, 3)?;
    up(&cluster, true)?.succeeded()?;
    ensure!(cluster.pid(&broker)? != before, "the broker was not restarted with its agent");
    // The ports of the metrics concern nobody else: nothing had to be stopped as a whole.
    let counted =
        |report: &Value, key: &str| report["total"][key].as_f64().with_context(|| format!("no {key}"));
    let report = || product::document(&operate(&cluster, &["metrics", "--json"])?.succeeded()?);
    let (first, of_topic) = (report()?, messages_in(&cluster, TOPIC)?);
    write(&cluster, TOPIC, 25)?;
    let (second, of_topic) = (report()?, messages_in(&cluster, TOPIC)? - of_topic);
    ensure!((of_topic - 25.0).abs() < 0.5, "25 records were written to {TOPIC}, {of_topic} counted");
    let grown = counted(&second, "messages_in_total")? - counted(&first, "messages_in_total")?;
    ensure!((25.0..50.0).contains(&grown), "25 records were written, {grown} counted in all topics");
    ensure!(counted(&second, "active_controllers")? > 0.5, "{second}");
    ensure!(second["nodes"].as_array().is_some_and(|nodes| nodes.len() == 3), "{second}");
    for node in second["nodes"].as_array().into_iter().flatten() {
        ensure!(node["figures"]["heap_used_bytes"].as_f64() > Some(1e6), "{node}");
    }
    let text = operate(&cluster, &["metrics", "--node", "kafka-1"])?.succeeded()?;
    text.saying(&["messages in", "KAFKA-1", "TOGETHER", "99 %"])?;
    let wrong = operate(&cluster, &["metrics", "--node", "kafka-2"])?.failed()?;
    wrong.saying(&["no node `kafka-2`"])?;
    dashboard(&cluster)?;
    by_curl(&cluster)?;
    operate(&cluster, &["verify", "--skip-client"])?.succeeded()?;
    cluster.take_down()
}

fn write(cluster: &TestCluster, topic: &str, records: usize) -> Result<()> {
    let resolved = cluster.resolved()?;
    let access = access(&resolved);
    let deadline = Deadline::after(PATIENCE);
    block(async {
        let mut leader = access.admin()?.connect_to_leader(topic, 0, deadline).await?;
        for _ in 0..records {
            records::produce(&mut leader, topic, 0, None, Some(b"counted"[..].into()), deadline).await?;
        }
        anyhow::Ok(())
    })
}

/// What the broker counts for one topic; none before the first record since its start.
fn messages_in(cluster: &TestCluster, topic: &str) -> Result<f64> {
    let resolved = cluster.resolved()?;
    let broker = resolved.plan.node(&format!("{}-kafka-1", cluster.name())).context("no broker")?;
    let samples = block(metrics::scrape(metrics::endpoint(broker).context("no endpoint")?));
    let ours = |sample: &&Sample| {
        sample.name == "kafka_server_brokertopicmetrics_messagesin_total"
            && sample.label("topic") == Some(topic)
    };
    Ok(samples.map_err(anyhow::Error::msg)?.iter().find(ours).map_or(0.0, |sample| sample.value))
}

/// Every metric of the dashboard is served by some node of the live cluster.
fn dashboard(cluster: &TestCluster) -> Result<()> {
    let folder = cluster.home().join("monitoring");
    let to = folder.display().to_string();
    operate(cluster, &["export", "grafana", "--to", &to, "--dry-run"])?.succeeded()?;
    ensure!(!folder.exists(), "a dry run wrote");
    operate(cluster, &["export", "grafana", "--to", &to])?.succeeded()?;
    let dashboard: Value =
        serde_json::from_str(&std::fs::read_to_string(folder.join(grafana::DASHBOARD_FILE))?)?;
    ensure!(dashboard["panels"].as_array().is_some_and(|panels| panels.len() > 20), "{dashboard}");
    let scrape = std::fs::read_to_string(folder.join(grafana::SCRAPE_FILE))?;
    let resolved = cluster.resolved()?;
    let mut served: BTreeSet<String> = BTreeSet::new();
    for node in &resolved.plan.nodes {
        let at = metrics::endpoint(node).with_context(|| format!("{} serves no metrics", node.name))?;
        ensure!(scrape.contains(&at.to_string()), "{at} is not in\n{scrape}");
        let samples: Vec<Sample> = block(metrics::scrape(at)).map_err(anyhow::Error::msg)?;
        served.extend(samples.into_iter().map(|sample| sample.name));
    }
    let missing: Vec<&str> =
        grafana::metric_names().into_iter().filter(|name| !served.contains(*name)).collect();
    ensure!(missing.is_empty(), "the dashboard asks for what nobody serves: {missing:?}");
    let asked = metrics::FIGURES.iter().map(|figure| figure.metric);
    let missing: Vec<&str> = asked.filter(|name| !served.contains(*name)).collect();
    ensure!(missing.is_empty(), "`metrics` asks for what nobody serves: {missing:?}");
    std::fs::remove_dir_all(folder)?;
    Ok(())
}

/// Somebody else reads the same.
fn by_curl(cluster: &TestCluster) -> Result<()> {
    let resolved = cluster.resolved()?;
    let broker = resolved.plan.node(&format!("{}-kafka-1", cluster.name())).context("no broker")?;
    let at = metrics::endpoint(broker).context("no endpoint")?;
    let curl = Program::needed("curl")?.args(["-sf", &format!("http://{at}/metrics")]).run()?.succeeded()?;
    curl.saying(&["kafka_server_brokertopicmetrics_messagesin_total", "# TYPE"])?;
    Ok(())
}
