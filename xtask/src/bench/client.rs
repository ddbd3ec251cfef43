//! `bench client`: the typed client beside rdkafka and `schema_registry_converter`, on one cluster of ours.
//!
//! The measuring program is a bench of the client crate, so that xtask compiles no librdkafka.

use anyhow::{Context as _, Result};
use clap::Args;
use serde_json::{Value, json};

use super::clusters;
use crate::shell;

const CLUSTER: &str = "bench-client";

/// How much is measured, and where.
#[derive(Debug, Args)]
pub(crate) struct ClientArguments {
    /// Rounds, in each of which every contender runs once
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..))]
    rounds: u32,
    /// Events that each contender handles in a round
    #[arg(long, default_value_t = 200_000, value_parser = clap::value_parser!(u32).range(1000..))]
    events: u32,
    /// A cluster that is up, instead of one that is started for this and removed
    #[arg(long)]
    cluster: Option<String>,
}

/// Measures on a cluster, and judges every ratio by its bound.
pub(super) async fn run(arguments: &ClientArguments) -> Result<Value> {
    let name = clusters::name(arguments.cluster.as_deref().unwrap_or(CLUSTER))?;
    // First what takes minutes the first time and needs no cluster.
    let mut build = shell::cargo()?;
    build.args(["bench", "--package", "caracal-kafka-client", "--bench", "client", "--no-run"]);
    anyhow::ensure!(build.status()?.success(), "the bench program was not built; cargo's output is above");
    if arguments.cluster.is_none() {
        clusters::remove(&name).await?;
        clusters::timed_up(&name)?;
    }
    let measured = measure(arguments, &name);
    if arguments.cluster.is_none() {
        clusters::remove(&name).await?;
    }
    let mut document = measured?;
    let ok = every_ratio_holds(&document);
    if let Value::Object(fields) = &mut document {
        fields.insert("bench".into(), json!("client"));
        fields.insert("versions".into(), clusters::versions().await?);
        fields.insert("ok".into(), json!(ok));
    }
    Ok(document)
}

fn measure(arguments: &ClientArguments, name: &caracal_cluster::names::ClusterName) -> Result<Value> {
    let mut bench = shell::cargo()?;
    bench.args(["bench", "--quiet", "--package", "caracal-kafka-client", "--bench", "client", "--"]);
    bench.arg("--producer-profile").arg(clusters::profile(name, "producer")?);
    bench.arg("--consumer-profile").arg(clusters::profile(name, "consumer")?);
    bench.arg("--admin-profile").arg(clusters::profile(name, "admin")?);
    bench.args(["--rounds", &arguments.rounds.to_string(), "--events", &arguments.events.to_string()]);
    let output = bench.stderr(std::process::Stdio::inherit()).output()?;
    anyhow::ensure!(output.status.success(), "the bench program failed; its output is above");
    serde_json::from_slice(&output.stdout).context("the bench program printed no document")
}

/// Whether each ratio anywhere in the document keeps its bound; one without ratios does not.
fn every_ratio_holds(document: &Value) -> bool {
    fn judge(value: &Value, verdicts: &mut Vec<bool>) {
        if let Value::Object(fields) = value {
            if let Some(Value::Object(ratios)) = fields.get("ratios") {
                verdicts.extend(ratios.values().map(|ratio| ratio["ok"] == true));
            }
            fields.values().for_each(|field| judge(field, verdicts));
        }
    }
    let mut verdicts = Vec::new();
    judge(document, &mut verdicts);
    !verdicts.is_empty() && verdicts.into_iter().all(|ok| ok)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_ratio_that_fails_fails_all() {
        let with = |ok: bool| {
            json!({ "a": { "ratios": { "x/y": { "ok": true } } }, "b": { "c": {
            "ratios": { "u/v": { "ok": ok } } } } })
        };
        assert!(every_ratio_holds(&with(true)));
        assert!(!every_ratio_holds(&with(false)));
        assert!(!every_ratio_holds(&json!({ "a": 1 })), "nothing was measured");
    }
}
