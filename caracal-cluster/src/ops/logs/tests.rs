use std::fs::OpenOptions;
use std::io::{self, Write as _};
use std::path::Path;
use std::time::Duration;

use proptest::prelude::*;
use time::macros::datetime;

use super::parse::Parser;
use super::*;
use crate::dir::StateRoot;
use crate::plan::tests::default_plan;

fn parsed(text: &str) -> Vec<Entry> {
    let mut parser = Parser::new("n");
    let mut entries: Vec<Entry> = text.lines().filter_map(|line| parser.line(line)).collect();
    entries.extend(parser.flush());
    entries
}

#[test]
fn every_shape_is_read_and_a_trace_belongs_to_its_line() {
    let text = "OpenJDK warning\n\
                ==== started by caracal at 2026-11-25T11:03:31Z\n\
                WARNING: one\nWARNING: two\n\
                [2026-11-25 11:03:32,123] ERROR it broke (kafka.Server)\n\
                java.lang.Exception: why\n\tat a.b(c)\n\
                2026-11-25 11:03:33,500 INFO  [io.api.Main] (main) ready (really)\n";
    let entries = parsed(text);
    let seen: Vec<_> =
        entries.iter().map(|e| (e.level, e.logger.as_deref().unwrap_or("-"), e.message.as_str())).collect();
    assert_eq!(
        seen,
        [
            (None, "-", "OpenJDK warning"),
            (Some(Level::Info), "-", "started"),
            (None, "-", "WARNING: one\nWARNING: two"),
            (Some(Level::Error), "kafka.Server", "it broke\njava.lang.Exception: why\n\tat a.b(c)"),
            (Some(Level::Info), "io.api.Main", "ready (really)"),
        ]
    );
    assert_eq!(entries[3].time, Some(datetime!(2026-11-25 11:03:32.123 UTC)));
    assert_eq!(entries[3].to_string().lines().next(), Some("ERROR it broke (kafka.Server)"));
    let json = serde_json::to_value(&entries[4]).unwrap();
    assert_eq!((&json["time"], &json["level"]), (&"2026-11-25T11:03:33.5Z".into(), &"info".into()));
}

/// A folder with the logs of two nodes.
fn logs() -> (tempfile::TempDir, ClusterDir) {
    let scratch = tempfile::tempdir().unwrap();
    let dir = StateRoot::at(&scratch.path().join("state")).unwrap().cluster(&"caracal".parse().unwrap());
    let plan = default_plan();
    for node in &plan.nodes {
        caracal_pki::store::create_private_dir(dir.node_log(&node.name).parent().unwrap()).unwrap();
    }
    (scratch, dir)
}

fn append(path: &Path, text: &str) {
    OpenOptions::new().create(true).append(true).open(path).unwrap().write_all(text.as_bytes()).unwrap();
}

#[test]
fn nodes_are_merged_by_time_filtered_and_cut() {
    let (_scratch, dir) = logs();
    let plan = default_plan();
    let nodes: Vec<&NodePlan> =
        plan.nodes.iter().filter(|node| node.name.as_str().contains("kafka")).collect();
    let (one, two) = (dir.node_log(&nodes[0].name), dir.node_log(&nodes[1].name));
    append(&one.with_extension("log.1"), "[2026-11-25 10:00:00,000] INFO oldest (a)\n");
    append(&one, "[2026-11-25 11:00:01,000] INFO first (a)\n[2026-11-25 11:00:03,000] WARN third (a)\n");
    append(&two, "[2026-11-25 11:00:02,000] INFO second (b)\n");
    let said = |query: &Query| -> Vec<String> {
        read(&dir, &nodes, query).unwrap().into_iter().map(|entry| entry.message).collect()
    };
    assert_eq!(said(&Query::default()), ["oldest", "first", "second", "third"]);
    assert_eq!(said(&Query { tail: Some(2), ..Query::default() }), ["second", "third"]);
    assert_eq!(said(&Query { level: Some(Level::Warn), ..Query::default() }), ["third"]);
    assert_eq!(said(&Query { grep: Some("^sec|^b$".parse().unwrap()), ..Query::default() }), ["second"]);
    let since = Some(datetime!(2026-11-25 11:00:02 UTC));
    assert_eq!(said(&Query { since, ..Query::default() }), ["second", "third"]);
    assert!(said(&Query { audit: true, ..Query::default() }).is_empty());
}

#[tokio::test]
async fn following_survives_a_rotation_and_a_half_line() {
    let (_scratch, dir) = logs();
    let plan = default_plan();
    let node = plan.node("caracal-kafka-1").unwrap();
    let log = dir.node_log(&node.name);
    append(&log, "[2026-11-25 11:00:00,000] INFO before (a)\n");
    let writing = async {
        tokio::time::sleep(Duration::from_millis(150)).await;
        append(&log, "[2026-11-25 11:00:01,000] INFO ha");
        tokio::time::sleep(Duration::from_millis(250)).await;
        append(&log, "lf (a)\n");
        std::fs::rename(&log, log.with_extension("log.1")).unwrap();
        append(&log, "[2026-11-25 11:00:02,000] INFO rotated (a)\n");
    };
    let mut seen = Vec::new();
    let mut told = |entry: &Entry| {
        seen.push(entry.message.clone());
        if seen.len() == 2 { Err(io::ErrorKind::BrokenPipe.into()) } else { Ok(()) }
    };
    let nodes = [node];
    let query = Query::default();
    let following = follow(&dir, &nodes, &query, &mut told, std::future::pending());
    let (outcome, ()) =
        tokio::time::timeout(Duration::from_secs(20), async { tokio::join!(following, writing) })
            .await
            .unwrap();
    assert_eq!(outcome.unwrap_err().kind(), io::ErrorKind::BrokenPipe);
    assert_eq!(seen, ["half", "rotated"]);
}

proptest! {
    #[test]
    fn no_line_is_lost(lines in proptest::collection::vec("\\PC{0,40}", 0..12)) {
        let mut parser = Parser::new("n");
        let mut count = 0;
        for line in &lines {
            count += parser.line(line).map_or(0, |entry| entry.message.split('\n').count());
        }
        count += parser.flush().map_or(0, |entry| entry.message.split('\n').count());
        prop_assert_eq!(count, lines.len());
    }
}
