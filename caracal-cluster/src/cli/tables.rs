//! The tables of `ps` and `list`.

use comfy_table::presets::NOTHING;
use comfy_table::{CellAlignment, ContentArrangement, Table};

use super::output::{Paint, Tone, columns, wrap_indented};
use crate::lifecycle::commands::{ClusterSummary, ListReport, NodeStatus, PsReport};
use crate::plan::NodeRole;

/// The width that tables are made for when nobody says.
const USUAL_WIDTH: usize = 80;

/// How much of a node is shown; the first that fits is taken.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
struct Layout {
    all_addresses: bool,
    full_names: bool,
    host: bool,
    memory_and_time: bool,
}

const LAYOUTS: [Layout; 5] = [
    Layout { all_addresses: true, full_names: true, host: true, memory_and_time: true },
    Layout { all_addresses: false, full_names: true, host: true, memory_and_time: true },
    Layout { all_addresses: false, full_names: false, host: true, memory_and_time: true },
    Layout { all_addresses: false, full_names: false, host: false, memory_and_time: true },
    Layout { all_addresses: false, full_names: false, host: false, memory_and_time: false },
];

/// The table of `ps`, no wider than `width` where that can be.
pub(super) fn ps(report: &PsReport, width: Option<usize>, paint: Paint) -> String {
    let width = width.unwrap_or(USUAL_WIDTH);
    let mut tables = LAYOUTS.iter().map(|layout| nodes(report, *layout));
    let fits = |table: &String| table.lines().all(|line| columns(line) <= width);
    let table = tables.find(fits).unwrap_or_else(|| nodes(report, LAYOUTS[LAYOUTS.len() - 1]));
    let running = report.nodes.iter().filter(|node| node.state == "running").count();
    let head = format!("cluster {}: {running} of {} nodes running", report.cluster, report.nodes.len());
    let place = paint.paint(Tone::Dim, &report.directory.display().to_string());
    let mut text = format!("{}\n{place}\n\n{}", paint.paint(Tone::Bold, &head), painted(&table, paint));
    for (node, death) in report.nodes.iter().filter_map(|node| Some((&node.node, node.death.as_ref()?))) {
        let line = wrap_indented(&format!("{node} {death}"), Some(width));
        text.push_str(&["\n", &paint.paint(Tone::Bad, "!"), " ", &line].concat());
    }
    for warning in &report.warnings {
        text.push_str(&["\n", &paint.paint(Tone::Warn, "!"), " ", warning].concat());
    }
    text
}

/// Rows are grouped under their role, which so needs no column of its own.
fn nodes(report: &PsReport, layout: Layout) -> String {
    let mut head = vec!["NODE", "STATE", "ADDRESS", "PID"];
    if layout.memory_and_time {
        head.extend(["MEM", "UP"]);
    }
    head.push("CERT");
    let mut table = bare(&head);
    let mut role = None;
    for node in &report.nodes {
        let label = if node.planned { node.role.map_or("unknown", NodeRole::label) } else { "unplanned" };
        if role != Some(label) {
            table.add_row([label]);
            role = Some(label);
        }
        table.add_row(row(report, node, layout));
    }
    let numbers = if layout.memory_and_time { 3..=6 } else { 3..=4 };
    for at in numbers {
        if let Some(column) = table.column_mut(at) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    finished(&table)
}

fn row(report: &PsReport, node: &NodeStatus, layout: Layout) -> Vec<String> {
    let name = node.node.as_str();
    let short = name.strip_prefix(report.cluster.as_str()).and_then(|rest| rest.strip_prefix('-'));
    let name = if layout.full_names { name } else { short.unwrap_or(name) };
    let shown = |value: Option<String>| value.unwrap_or_else(|| "-".to_owned());
    let mut row = vec![
        format!("  {name}"),
        node.state.to_owned(),
        shown(address(node, layout)),
        shown(node.pid.map(|pid| pid.to_string())),
    ];
    if layout.memory_and_time {
        row.push(shown(node.rss_bytes.map(memory)));
        row.push(shown(node.uptime_seconds.map(duration)));
    }
    row.push(shown(node.certificate_days_left.map(|days| format!("{days}d"))));
    row
}

fn address(node: &NodeStatus, layout: Layout) -> Option<String> {
    let first = node.addresses.first()?;
    let more = node.addresses.iter().skip(1).filter(|_| layout.all_addresses);
    let host = if layout.host { first.address.ip().to_string() } else { String::new() };
    let ports: String = more.map(|more| format!(",{}", more.address.port())).collect();
    Some(format!("{host}:{}{ports}", first.address.port()))
}

fn memory(bytes: u64) -> String {
    format!("{}M", bytes >> 20)
}

/// A duration in its two largest units.
pub(super) fn duration(seconds: u64) -> String {
    match (seconds / 86_400, seconds / 3600 % 24, seconds / 60 % 60, seconds % 60) {
        (0, 0, 0, s) => format!("{s}s"),
        (0, 0, m, s) => format!("{m}m{s:02}s"),
        (0, h, m, _) => format!("{h}h{m:02}m"),
        (d, h, _, _) => format!("{d}d{h:02}h"),
    }
}

/// The table of `list`.
pub(super) fn list(report: &ListReport, width: Option<usize>, paint: Paint) -> String {
    let root = report.state_root.display();
    if report.clusters.is_empty() {
        return format!("no cluster in {root}");
    }
    let mut head = vec!["CLUSTER", "NODES", "RUNTIME", "KAFKA", "REGISTRY", "DIRECTORY"];
    let made = |head: &[&str]| {
        let mut table = bare(head);
        for cluster in &report.clusters {
            table.add_row(&list_row(report, cluster)[..head.len()]);
        }
        finished(&table)
    };
    let mut table = made(&head);
    if table.lines().any(|line| columns(line) > width.unwrap_or(USUAL_WIDTH)) {
        // The directory is the one that follows from the others.
        head.pop();
        table = made(&head);
    }
    let mut text =
        format!("{}\n\n{}", paint.paint(Tone::Dim, &format!("clusters in {root}")), painted(&table, paint));
    for cluster in &report.clusters {
        if let Some(problem) = &cluster.problem {
            text.push_str(
                &["\n", &paint.paint(Tone::Warn, "!"), " ", cluster.cluster.as_str(), " ", problem].concat(),
            );
        }
    }
    text
}

fn list_row(report: &ListReport, cluster: &ClusterSummary) -> Vec<String> {
    let known = |value: &Option<String>| value.clone().unwrap_or_else(|| "-".to_owned());
    let directory = cluster.directory.strip_prefix(&report.state_root).unwrap_or(&cluster.directory);
    vec![
        cluster.cluster.to_string(),
        format!("{}/{}", cluster.running, cluster.nodes),
        known(&cluster.runtime),
        known(&cluster.kafka_version),
        known(&cluster.registry),
        directory.display().to_string(),
    ]
}

pub(super) fn bare(head: &[&str]) -> Table {
    let mut table = Table::new();
    table.load_preset(NOTHING).set_content_arrangement(ContentArrangement::Disabled).set_header(head);
    table
}

/// The table's text without what only fills it up.
pub(super) fn finished(table: &Table) -> String {
    let mut table = table.clone();
    for column in table.column_iter_mut() {
        column.set_padding((0, 2));
    }
    table.trim_fmt()
}

fn painted(table: &str, paint: Paint) -> String {
    let lines = table.lines().enumerate().map(|(at, line)| {
        if at == 0 || !line.starts_with(' ') && columns(line.trim()) == columns(line) && !line.contains("  ")
        {
            return paint.paint(Tone::Dim, line);
        }
        let line = line.replacen(" running", &format!(" {}", paint.paint(Tone::Good, "running")), 1);
        line.replacen(" died", &format!(" {}", paint.paint(Tone::Bad, "died")), 1)
    });
    lines.collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lifecycle::commands::Address;

    fn node(name: &str, role: NodeRole, state: &'static str, ports: &[u16]) -> NodeStatus {
        let running = state == "running";
        NodeStatus {
            node: name.parse().unwrap(),
            role: Some(role),
            state,
            death: None,
            pid: running.then_some(1_234_567),
            rss_bytes: running.then_some(398 << 20),
            uptime_seconds: running.then_some(3725),
            addresses: ports
                .iter()
                .map(|port| Address { listener: "X".to_owned(), address: ([127, 0, 0, 1], *port).into() })
                .collect(),
            certificate_days_left: Some(364),
            planned: true,
        }
    }

    fn report(cluster: &str) -> PsReport {
        let named = |rest: &str| format!("{cluster}-{rest}");
        let mut stray = node(&named("kafka-4"), NodeRole::Broker, "running", &[]);
        stray.planned = false;
        PsReport {
            cluster: cluster.parse().unwrap(),
            directory: "/state/clusters/x".into(),
            nodes: vec![
                node(&named("zookeeper-1"), NodeRole::Zookeeper, "running", &[21810, 28880, 38880]),
                node(&named("kafka-1"), NodeRole::Broker, "died", &[20934, 20927]),
                node(&named("schema-registry"), NodeRole::SchemaRegistry, "stopped", &[20811]),
                stray,
            ],
            warnings: Vec::new(),
        }
    }

    #[test]
    fn eighty_columns_hold_full_names_with_roles_as_groups() {
        let text = ps(&report("caracal"), None, Paint(false));
        assert!(text.lines().all(|line| columns(line) <= 80), "{text}");
        for part in [
            "cluster caracal: 2 of 4 nodes running",
            "\nzookeeper\n  caracal-zookeeper-1",
            "127.0.0.1:21810",
            "398M",
            "1h02m",
            "364d",
            "\nunplanned\n  caracal-kafka-4",
        ] {
            assert!(text.contains(part), "{part} is not in\n{text}");
        }
    }

    #[test]
    fn wide_terminals_get_every_address_and_narrow_ones_less() {
        let wide = ps(&report("caracal"), Some(120), Paint(false));
        assert!(wide.contains("127.0.0.1:21810,28880,38880"), "{wide}");
        for cluster in ["caracal", "a-long-cluster-name"] {
            let narrow = ps(&report(cluster), Some(60), Paint(false));
            let table: Vec<_> = narrow.lines().skip(3).collect();
            assert!(table.iter().all(|line| columns(line) <= 60), "{narrow}");
            assert!(narrow.contains("  kafka-1") && narrow.contains(":20934"), "{narrow}");
        }
    }

    #[test]
    fn durations_have_two_units() {
        assert_eq!([5, 65, 3700, 90_000].map(duration), ["5s", "1m05s", "1h01m", "1d01h"]);
    }

    #[test]
    fn a_list_names_root_versions_and_problems() {
        let cluster = ClusterSummary {
            cluster: "demo".parse().unwrap(),
            directory: "/state/clusters/demo".into(),
            runtime: Some("native".to_owned()),
            kafka_version: Some("3.9.2".to_owned()),
            registry: Some("apicurio 3.3.3".to_owned()),
            running: 7,
            nodes: 7,
            problem: None,
        };
        let broken = ClusterSummary {
            cluster: "half".parse().unwrap(),
            runtime: None,
            kafka_version: None,
            registry: None,
            running: 0,
            nodes: 0,
            problem: Some("was never finished".to_owned()),
            directory: "/state/clusters/half".into(),
        };
        let text = list(
            &ListReport { state_root: "/state".into(), clusters: vec![cluster, broken] },
            None,
            Paint(false),
        );
        assert!(text.starts_with("clusters in /state\n"), "{text}");
        assert!(text.contains("demo") && text.contains("7/7") && text.contains("clusters/demo"), "{text}");
        assert!(text.contains("! half was never finished"), "{text}");
        assert!(text.lines().all(|line| columns(line) <= 80), "{text}");
        let empty = ListReport { state_root: "/state".into(), clusters: Vec::new() };
        assert_eq!(list(&empty, None, Paint(false)), "no cluster in /state");
    }
}
