//! How topics read in a terminal.

use super::super::super::output::{Output, Tone};
use super::super::shown::{Grid, count, seconds};
use crate::ops::topics::{
    ApplyReport, Change, ChangeReport, DeleteReport, DescribeReport, DescribedTopic, Owner, Standing, Topic,
    TopicsReport,
};

pub(super) fn list(report: &TopicsReport, output: Output) -> String {
    if report.topics.is_empty() {
        return format!("cluster {} has no topic", report.cluster);
    }
    let rows = report.topics.iter().map(|topic| {
        vec![
            topic.topic.clone(),
            topic.partitions.to_string(),
            topic.replication_factor.to_string(),
            topic.min_in_sync.to_string(),
            topic.retention_ms.map_or_else(|| "-".to_owned(), span),
            topic.cleanup_policy.clone().unwrap_or_else(|| "-".to_owned()),
            topic.owner.label().to_owned(),
            state(topic),
        ]
    });
    let head = &["TOPIC", "PARTS", "COPIES", "MIN ISR", "KEPT", "POLICY", "OWNER", "STATE"];
    let table = Grid { head, rows: rows.collect(), numbers: &[1, 2, 3, 4], spare: &[5, 6, 4] }.text(output);
    let partitions: usize = report.topics.iter().map(|topic| topic.partitions).sum();
    format!(
        "{table}\n\n{}, {} ({})",
        count(report.topics.len(), "topic"),
        count(partitions, "partition"),
        seconds(report.millis)
    )
}

fn state(topic: &Topic) -> String {
    let said = [
        (topic.offline, "offline"),
        (topic.under_min_isr, "under min ISR"),
        (topic.under_replicated, "behind"),
    ];
    let found: Vec<String> = said
        .iter()
        .filter(|(number, _)| *number > 0)
        .map(|(number, what)| format!("{number} {what}"))
        .collect();
    if found.is_empty() { "ok".to_owned() } else { found.join(", ") }
}

/// Milliseconds as days, hours, minutes or seconds, whichever is whole.
fn span(millis: i64) -> String {
    if millis < 0 {
        return "for ever".to_owned();
    }
    let units = [(86_400_000, "d"), (3_600_000, "h"), (60_000, "m"), (1000, "s")];
    let whole = units.iter().find(|(unit, _)| millis >= *unit && millis % unit == 0);
    whole.map_or_else(|| format!("{millis}ms"), |(unit, letter)| format!("{}{letter}", millis / unit))
}

pub(super) fn described(report: &DescribeReport, all: bool, output: Output) -> String {
    let topics: Vec<String> = report.topics.iter().map(|topic| one(topic, all, output)).collect();
    format!("{}\n\n({})", topics.join("\n\n"), seconds(report.millis))
}

fn one(described: &DescribedTopic, all: bool, output: Output) -> String {
    let topic = &described.topic;
    let owner = match topic.owner {
        Owner::Other => String::new(),
        owner => format!(", {}", owner.label()),
    };
    let head = format!(
        "{}: {}, {} copies, minimum {} in sync, {} records{owner}: {}",
        topic.topic,
        count(topic.partitions, "partition"),
        topic.replication_factor,
        topic.min_in_sync,
        described.records,
        state(topic)
    );
    let number = |value: Option<i64>| value.map_or_else(|| "?".to_owned(), |value| value.to_string());
    let ids = |ids: &[i32]| ids.iter().map(ToString::to_string).collect::<Vec<_>>().join(",");
    let rows = described.partition.iter().map(|partition| {
        vec![
            partition.partition.to_string(),
            partition.leader.map_or_else(|| "none".to_owned(), |leader| leader.to_string()),
            ids(&partition.replicas),
            ids(&partition.in_sync),
            number(partition.start),
            number(partition.end),
        ]
    });
    let columns = &["PARTITION", "LEADER", "COPIES", "IN SYNC", "START", "END"];
    let table =
        Grid { head: columns, rows: rows.collect(), numbers: &[0, 1, 4, 5], spare: &[4] }.text(output);
    let settings = described.config.iter().filter(|setting| all || setting.set_on_topic);
    let settings: Vec<String> = settings
        .map(|setting| {
            let inherited = if setting.set_on_topic { "" } else { "  (inherited)" };
            format!("  {}={}{inherited}", setting.key, setting.value)
        })
        .collect();
    let settings =
        if settings.is_empty() { "  every setting is inherited".to_owned() } else { settings.join("\n") };
    format!("{}\n\n{table}\n\n{settings}", output.paint.paint(Tone::Bold, &head))
}

fn change(change: &Change) -> String {
    match (&change.from, &change.to) {
        (None, Some(to)) => format!("{}={to}", change.what),
        (Some(from), Some(to)) => format!("{} {from} -> {to}", change.what),
        (Some(from), None) => format!("{} {from} -> the broker's default", change.what),
        (None, None) => change.what.clone(),
    }
}

pub(super) fn changed(report: &ChangeReport, output: Output) -> String {
    let mut lines = Vec::new();
    for topic in &report.topics {
        let would = if report.dry_run && topic.outcome != "unchanged" { "would be " } else { "" };
        lines.push(output.paint.paint(Tone::Bold, &format!("{}: {would}{}", topic.topic, topic.outcome)));
        lines.extend(topic.changes.iter().map(|found| format!("  {}", change(found))));
        let grown = topic.changes.iter().any(|found| found.what == "partitions" && found.from.is_some());
        if grown {
            let note = "  records with keys go to other partitions from then on";
            lines.push(output.paint.paint(Tone::Warn, note));
        }
    }
    lines.push(format!("({})", seconds(report.millis)));
    lines.join("\n")
}

pub(super) fn deleted(report: &DeleteReport, output: Output) -> String {
    let would = if report.dry_run { "would be deleted" } else { "deleted" };
    let mut lines = Vec::new();
    for topic in &report.topics {
        let partitions = count(topic.partitions, "partition");
        lines.push(format!("{}: {would}, {partitions}, {} records", topic.topic, topic.records));
        if topic.planned {
            let note = "  the cluster's description declares it: the next `cluster up` makes it again, empty";
            lines.push(output.paint.paint(Tone::Warn, note));
        }
    }
    lines.push(format!("({})", seconds(report.millis)));
    lines.join("\n")
}

pub(super) fn applied(report: &ApplyReport, output: Output) -> String {
    let mut lines = Vec::new();
    for topic in &report.topics {
        let (tone, said) = match (topic.standing, report.dry_run) {
            (Standing::AsDeclared, _) => (Tone::Good, "as declared"),
            (Standing::Absent, true) => (Tone::Warn, "is not there"),
            (Standing::Absent, false) => (Tone::Good, "created"),
            (Standing::Differs, true) => (Tone::Warn, "differs"),
            (Standing::Differs, false) => (Tone::Good, "altered"),
            (Standing::Unchangeable, _) => (Tone::Bad, "differs in what cannot be changed in place"),
        };
        lines.push(format!("{}: {}", topic.topic, output.paint.paint(tone, said)));
        lines.extend(topic.changes.iter().map(|found| format!("  {}", change(found))));
        lines.extend(topic.why.iter().map(|why| format!("  {why}")));
        if !topic.undeclared_settings.is_empty() {
            let kept = topic.undeclared_settings.join(", ");
            lines.push(format!("  set, but not declared (--exact unsets it): {kept}"));
        }
    }
    if !report.undeclared.is_empty() {
        lines.push(format!("\nnot declared, left alone: {}", report.undeclared.join(", ")));
    }
    let differing = report.topics.iter().filter(|topic| topic.standing != Standing::AsDeclared).count();
    let left = if report.dry_run { "; nothing was changed" } else { "" };
    lines.push(format!(
        "\n{} of {} differed{left} ({})",
        differing,
        count(report.topics.len(), "topic"),
        seconds(report.millis)
    ));
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::super::super::super::output::Paint;
    use super::*;
    use crate::ops::topics::tests::report;

    fn output(width: Option<usize>) -> Output {
        Output { json: false, paint: Paint(false), terminal: width.is_some(), width }
    }

    #[test]
    fn a_list_names_trouble_and_fits_sixty_columns() {
        let text = list(&report(), output(None));
        assert!(text.contains("1 offline, 1 under min ISR, 2 behind"), "{text}");
        assert!(text.ends_with("1 topic, 3 partitions (0.0 s)"), "{text}");
        let narrow = list(&report(), output(Some(60)));
        assert!(narrow.lines().all(|line| line.chars().count() <= 60), "{narrow}");
    }

    #[test]
    fn a_list_has_its_documented_keys() {
        let document = crate::cli::json::document("topics list", &report()).unwrap();
        let document: serde_json::Value = serde_json::from_str(&document).unwrap();
        let keys = |value: &serde_json::Value| value.as_object().unwrap().keys().cloned().collect::<Vec<_>>();
        assert_eq!(keys(&document), ["cluster", "command", "format", "millis", "topics"]);
        let documented = [
            "cleanup_policy",
            "min_in_sync",
            "offline",
            "owner",
            "partitions",
            "replication_factor",
            "retention_ms",
            "topic",
            "under_min_isr",
            "under_replicated",
        ];
        assert_eq!(keys(&document["topics"][0]), documented);
        assert_eq!(document["topics"][0]["owner"], "planned");
    }

    #[test]
    fn spans_and_changes_read_as_words() {
        assert_eq!(
            [span(-1), span(2_592_000_000), span(90_000), span(1500)],
            ["for ever", "30d", "90s", "1500ms"]
        );
        let made = |from: Option<&str>, to: Option<&str>| Change {
            what: "k".to_owned(),
            from: from.map(str::to_owned),
            to: to.map(str::to_owned),
        };
        assert_eq!(change(&made(None, Some("1"))), "k=1");
        assert_eq!(change(&made(Some("1"), Some("2"))), "k 1 -> 2");
        assert_eq!(change(&made(Some("1"), None)), "k 1 -> the broker's default");
    }
}
