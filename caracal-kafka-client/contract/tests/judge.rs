//! Avro's own Java class as the judge of the compatibility check: the same verdict and the same
//! rules on every pair of a table, and on every pair of all its types.
//!
//! Needs a JDK (11 or newer). `CARACAL_TEST_AVRO_JARS` names a directory with the jars of Avro;
//! without it Maven fetches them.

#[path = "../../../tests/support/jars.rs"]
mod support;

use std::collections::BTreeSet;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use caracal_kafka_contract::events::EventType;
use caracal_kafka_contract::schema::{Mode, Rule, check};

/// Types that are each compared with each, both ways.
const TYPES: &[&str] = &[
    r#""null""#,
    r#""boolean""#,
    r#""int""#,
    r#""long""#,
    r#""float""#,
    r#""double""#,
    r#""bytes""#,
    r#""string""#,
    r#"{"type":"array","items":"int"}"#,
    r#"{"type":"array","items":"long"}"#,
    r#"{"type":"map","values":"int"}"#,
    r#"{"type":"map","values":["null","double"]}"#,
    r#"["null","int"]"#,
    r#"["int","null"]"#,
    r#"["null","long","string"]"#,
    r#"["bytes"]"#,
    r#"{"type":"fixed","name":"a.F","size":4}"#,
    r#"{"type":"fixed","name":"b.F","size":4}"#,
    r#"{"type":"fixed","name":"F","size":5}"#,
    r#"{"type":"fixed","name":"G","size":4,"aliases":["a.F"]}"#,
    r#"{"type":"enum","name":"E","symbols":["A","B"]}"#,
    r#"{"type":"enum","name":"E","symbols":["A","B","C"]}"#,
    r#"{"type":"enum","name":"E","symbols":["A"],"default":"A"}"#,
    r#"{"type":"enum","name":"D","symbols":["A"],"aliases":["E"]}"#,
    r#"{"type":"record","name":"R","fields":[]}"#,
    r#"{"type":"record","name":"R","fields":[{"name":"a","type":"int"}]}"#,
    r#"{"type":"record","name":"R","fields":[{"name":"a","type":"long"},{"name":"b","type":"string","default":""}]}"#,
    r#"{"type":"record","name":"R","fields":[{"name":"b","type":["null","string"],"default":null,"aliases":["a"]}]}"#,
    r#"{"type":"record","name":"S","aliases":["R"],"fields":[{"name":"x","type":"double","aliases":["a"]}]}"#,
    r#"{"type":"record","name":"n.R","fields":[{"name":"a","type":{"type":"record","name":"Q","fields":[{"name":"c","type":"int"}]}}]}"#,
    r#"{"type":"record","name":"L","fields":[{"name":"v","type":"int"},{"name":"next","type":["null","L"],"default":null}]}"#,
    r#"{"type":"record","name":"L","fields":[{"name":"v","type":"string"},{"name":"next","type":["null","L"],"default":null}]}"#,
    r#"["null",{"type":"record","name":"R","fields":[{"name":"a","type":"int"}]}]"#,
    r#"[{"type":"record","name":"R","fields":[{"name":"z","type":"int"}]},{"type":"record","name":"p.R","fields":[{"name":"a","type":"double"}]}]"#,
    r#"{"type":"long","logicalType":"timestamp-millis"}"#,
    r#"{"type":"string","logicalType":"uuid"}"#,
];

fn ours(reader: &str, writer: &str) -> BTreeSet<Rule> {
    let report = check(&[writer], reader, Mode::Backward).expect("the table holds schemas");
    report.incompatibilities.into_iter().map(|found| found.rule).collect()
}

#[test]
fn avros_own_class_says_the_same_of_every_pair() {
    let schemas: Vec<&str> = TYPES.iter().copied().chain(EventType::ALL.map(EventType::schema)).collect();
    let pairs: Vec<(&str, &str)> =
        schemas.iter().flat_map(|reader| schemas.iter().map(|writer| (*reader, *writer))).collect();
    let verdicts = judge(&pairs);
    let mut wrong = Vec::new();
    let mut compatible = 0;
    for ((reader, writer), theirs) in pairs.iter().zip(&verdicts) {
        let rules = ours(reader, writer);
        compatible += usize::from(rules.is_empty());
        let said = if rules.is_empty() { "compatible".to_owned() } else { joined(&rules) };
        if !same(reader, &rules, theirs) {
            wrong.push(format!("reader {reader}\nwriter {writer}\nours {said}, Java {theirs}"));
        }
    }
    assert!(wrong.is_empty(), "{} of {} differ:\n{}", wrong.len(), pairs.len(), wrong.join("\n"));
    // A judge that says one thing of everything would prove nothing.
    assert!(pairs.len() > 1_000 && (100..1_000).contains(&compatible), "{compatible} of {}", pairs.len());
}

fn joined(rules: &BTreeSet<Rule>) -> String {
    rules.iter().map(|rule| rule.as_str()).collect::<BTreeSet<_>>().into_iter().collect::<Vec<_>>().join(",")
}

/// The same verdict always, and the same rules but for two habits of Java's.
fn same(reader: &str, ours: &BTreeSet<Rule>, theirs: &str) -> bool {
    if ours.is_empty() || theirs == "compatible" {
        return ours.is_empty() && theirs == "compatible";
    }
    if ours.contains(&Rule::AmbiguousField) {
        // It throws.
        return theirs.starts_with("error Reader record field") && theirs.contains("matches multiple fields");
    }
    // A missing field of an enum with a default of its own: it compares the enum with the writer's
    // whole record, and so complains of the type.
    if ours.contains(&Rule::FieldWithoutDefault) && reader.contains(r#""default": "UNKNOWN""#) {
        let ours: Vec<&str> = ours.iter().map(|rule| rule.as_str()).collect();
        let habit = [Rule::FieldWithoutDefault.as_str(), Rule::TypeMismatch.as_str()];
        return theirs.split(',').all(|rule| ours.contains(&rule) || rule == habit[1])
            && ours.iter().all(|rule| theirs.split(',').any(|their| their == *rule) || *rule == habit[0]);
    }
    joined(ours) == theirs
}

/// The one rule that Java does not have.
#[test]
fn a_changed_scale_or_unit_is_found_here_and_not_by_java() {
    let pairs = [
        (
            r#"{"type":"bytes","logicalType":"decimal","precision":10,"scale":2}"#,
            r#"{"type":"bytes","logicalType":"decimal","precision":10,"scale":3}"#,
        ),
        (
            r#"{"type":"long","logicalType":"timestamp-millis"}"#,
            r#"{"type":"long","logicalType":"timestamp-micros"}"#,
        ),
    ];
    for ((reader, writer), theirs) in pairs.iter().zip(judge(&pairs)) {
        assert_eq!(theirs, "compatible", "{reader}");
        assert_eq!(ours(reader, writer), BTreeSet::from([Rule::LogicalType]), "{reader}");
        assert!(ours(reader, reader).is_empty());
    }
}

/// Java's answer for each pair of reader and writer.
fn judge(pairs: &[(&str, &str)]) -> Vec<String> {
    let java = std::env::var_os("JAVA_HOME")
        .map_or_else(|| PathBuf::from("java"), |home| Path::new(&home).join("bin/java"));
    let mut jvm = support::command(&java)
        .arg("-cp")
        .arg(jars().join("*"))
        .arg(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/judge/AvroJudge.java"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap_or_else(|error| panic!("{} does not start: {error}; install a JDK", java.display()));
    let questions: Vec<String> = pairs
        .iter()
        .map(|(reader, writer)| format!("{}\t{}\n", BASE64.encode(reader), BASE64.encode(writer)))
        .collect();
    let questions = questions.concat();
    let mut stdin = jvm.stdin.take().expect("piped");
    // Beside the reading: both pipes are smaller than what goes through them.
    let asking = std::thread::spawn(move || stdin.write_all(questions.as_bytes()));
    let output = jvm.wait_with_output().expect("the JVM ends with its input");
    asking.join().expect("no panic").expect("the JVM takes the questions");
    assert!(output.status.success(), "the JVM ended with {}", output.status);
    let answers: Vec<String> =
        String::from_utf8(output.stdout).expect("UTF-8").lines().map(str::to_owned).collect();
    assert_eq!(answers.len(), pairs.len());
    answers
}

/// A directory with Avro and what it needs.
fn jars() -> PathBuf {
    support::jars("org.apache.avro:avro:1.12.0", "CARACAL_TEST_AVRO_JARS")
}
