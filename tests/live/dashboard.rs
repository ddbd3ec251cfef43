//! The dashboard over plain HTTP: what it shows, to whom, and that it goes on by itself.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use caracal_cluster::wire::{Deadline, records};
use rustix::process::Signal;
use serde_json::Value;

use crate::Test;
use crate::cluster::{self, TestCluster, access};
use crate::product::PATIENCE;
use crate::program::Program;
use crate::tools::{self, block};

pub(crate) const TESTS: &[Test] = &[
    ("dashboard::it_shows_the_cluster_to_who_knows_the_address_and_to_nobody_else", shown),
    ("dashboard::its_stream_tells_of_records_that_are_written_meanwhile", stream),
];

fn free_port() -> Result<u16> {
    Ok(std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?.port())
}

/// An answer with its head, as somebody else's client sees it.
fn curl(words: &[&str]) -> Result<String> {
    Ok(Program::needed("curl")?.args(["-s", "-i", "--max-time", "20"]).args(words).run()?.text())
}

/// Runs `look` with the address of a dashboard that is open meanwhile.
pub(crate) fn with_dashboard<T>(look: impl FnOnce(&TestCluster, u16, &str) -> Result<T>) -> Result<T> {
    let cluster = cluster::shared()?;
    let port = free_port()?;
    let file = cluster.home().join("dashboard.out");
    let shell = Program::at("/bin/sh").args(["-c", r#"out="$1"; shift; exec "$@" > "$out""#, "sh"]);
    let words =
        ["dashboard", "--json", "--every", "500ms", "--port", &port.to_string(), "--name", cluster.name()];
    let words: Vec<String> = words.iter().map(|word| (*word).to_owned()).collect();
    let running = cluster.command_below(shell.args([file.as_os_str()]), &words)?.start()?;
    let mut address = String::new();
    tools::await_until("the dashboard's address", Duration::from_secs(60), || {
        let text = tools::read(&file).map_err(|error| error.to_string())?;
        let document: Value = serde_json::from_str(text.trim()).map_err(|error| error.to_string())?;
        address = document["address"].as_str().unwrap_or_default().to_owned();
        Ok(Some(()))
    })?;
    let seen = look(cluster, port, &address);
    running.signal(Signal::INT)?;
    let ended = running.finish(PATIENCE)?;
    std::fs::remove_file(file)?;
    let seen = seen?;
    ended.succeeded()?;
    Ok(seen)
}

fn shown() -> Result<()> {
    with_dashboard(|cluster, port, address| {
        let page = curl(&[address])?;
        ensure!(page.starts_with("HTTP/1.1 200") && page.contains("page.js"), "{page}");
        ensure!(page.contains("default-src 'none'") && page.contains("nosniff"), "{page}");
        for name in ["page.js", "page.css"] {
            ensure!(curl(&[&format!("{address}{name}")])?.starts_with("HTTP/1.1 200"), "{name}");
        }
        let mut snapshot = Value::Null;
        tools::await_until("the first look", Duration::from_secs(30), || {
            let answer = curl(&[&format!("{address}snapshot.json")]).map_err(|error| error.to_string())?;
            let (_, body) = answer.split_once("\r\n\r\n").ok_or("no body")?;
            snapshot = serde_json::from_str(body).map_err(|error| format!("{error}: {body}"))?;
            Ok(Some(()))
        })?;
        ensure!(snapshot["cluster"] == cluster.name() && snapshot["healthy"] == true, "{snapshot}");
        let nodes = snapshot["nodes"].as_array().context("no nodes")?;
        ensure!(nodes.len() == 7 && nodes.iter().all(|node| node["state"] == "running"), "{snapshot}");
        let part = |part: &str| nodes.iter().filter(|node| node["part"] == part).count();
        ensure!(part("controller") == 1 && part("leader") == 1, "{snapshot}");
        ensure!(snapshot["topics"].as_array().is_some_and(|topics| topics.len() >= 5), "{snapshot}");
        ensure!(snapshot["certificates"][0]["days_left"].as_i64() > Some(300), "{snapshot}");
        // Whoever does not know the word, or comes by another name, sees nothing of it.
        let root = format!("http://127.0.0.1:{port}/");
        ensure!(curl(&[&root])?.starts_with("HTTP/1.1 404"), "the root is open");
        let rebound = curl(&["-H", &format!("Host: evil.example:{port}"), address])?;
        ensure!(rebound.starts_with("HTTP/1.1 421") && !rebound.contains("page.js"), "{rebound}");
        ensure!(curl(&["-X", "POST", address])?.starts_with("HTTP/1.1 405"), "POST is taken");
        Ok(())
    })?;
    // A port that is taken is an error with a way out.
    let held = std::net::TcpListener::bind("127.0.0.1:0")?;
    let cluster = cluster::shared()?;
    let words = ["dashboard", "--port", &held.local_addr()?.port().to_string(), "--name", cluster.name()];
    let words: Vec<String> = words.iter().map(|word| (*word).to_owned()).collect();
    cluster.run(cluster.command(&words)?)?.failed()?.saying(&["cannot be listened on", "--port"])?;
    Ok(())
}

fn stream() -> Result<()> {
    const TOPIC: &str = "caracal.dlq";
    with_dashboard(|cluster, _, address| {
        let watching = Program::needed("curl")?
            .args(["-sN", "--max-time", "12", &format!("{address}events")])
            .start()?;
        let resolved = cluster.resolved()?;
        let access = access(&resolved);
        let deadline = Deadline::after(PATIENCE);
        block(async {
            let mut leader = access.admin()?.connect_to_leader(TOPIC, 0, deadline).await?;
            for _ in 0..40 {
                records::produce(&mut leader, TOPIC, 0, None, Some(b"seen"[..].into()), deadline).await?;
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
            anyhow::Ok(())
        })?;
        let text = watching.finish(PATIENCE)?.text();
        let told: Vec<Value> =
            text.lines().filter_map(|line| serde_json::from_str(line.strip_prefix("data: ")?).ok()).collect();
        ensure!(told.len() >= 3, "only {} events:\n{text}", told.len());
        let of_topic = |snapshot: &Value, key: &str| {
            let topics = snapshot["topics"].as_array().into_iter().flatten();
            topics.clone().find(|topic| topic["topic"] == TOPIC).and_then(|topic| topic[key].as_f64())
        };
        let records: Vec<f64> = told.iter().filter_map(|snapshot| of_topic(snapshot, "records")).collect();
        let (first, last) = (records.first().context("none")?, records.last().context("none")?);
        ensure!(last - first >= 10.0, "{records:?}");
        let most = told.iter().filter_map(|snapshot| of_topic(snapshot, "per_second")).fold(0.0, f64::max);
        ensure!(most > 1.0, "40 records in 4 s are a rate of {most}");
        Ok(())
    })
}
