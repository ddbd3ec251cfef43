//! The command tree as a whole: help, shapes of the documents, exit codes.

use clap::{CommandFactory as _, Parser};
use serde_json::Value;

use super::output::{Output, Paint};
use super::*;
use crate::dir::DirError;
use crate::lifecycle::commands::{
    ClientFolder, CommandError, DownReport, ListReport, OutsideReport, PlanReport, PlannedStep, PsReport,
    Standing, UpReport,
};
use crate::lifecycle::down::StopReport;
use crate::lifecycle::engine::{EngineError, Outcome, Step, StepReport};
use crate::lifecycle::{ClusterError, StepError};
use crate::plan::Endpoints;

#[derive(Debug, Parser)]
#[command(name = "cargo xtask")]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

fn up_report() -> UpReport {
    UpReport {
        cluster: "demo".parse().unwrap(),
        directory: "/state/clusters/demo".into(),
        runtime: "native".to_owned(),
        existed: false,
        endpoints: Endpoints {
            bootstrap: vec!["localhost:20001".to_owned(), "localhost:20002".to_owned()],
            registry_url: Some("http://localhost:20003/apis/ccompat/v7".to_owned()),
        },
        clients: vec![ClientFolder {
            user: "consumer".parse().unwrap(),
            path: "/state/clusters/demo/clients/consumer".into(),
        }],
        steps: vec![StepReport {
            step: Step::Brokers,
            outcome: Outcome::Changed("3 brokers".to_owned()),
            millis: 5200,
        }],
        millis: 11_470,
    }
}

#[test]
fn the_tree_is_sound_and_every_help_has_an_example_and_the_exit_codes() {
    Cli::command().debug_assert();
    fn leaves(command: &clap::Command, found: &mut Vec<clap::Command>) {
        let mut below = command.get_subcommands().filter(|below| below.get_name() != "help").peekable();
        if below.peek().is_none() {
            found.push(command.clone());
        }
        below.for_each(|below| leaves(below, found));
    }
    let mut found = Vec::new();
    leaves(&Cli::command(), &mut found);
    assert!(found.len() >= 8, "{}", found.len());
    for mut command in found {
        let help = command.render_long_help().to_string();
        assert!(help.contains("Example") && help.contains("\n    cargo xtask "), "no example:\n{help}");
        assert!(help.contains("Exit codes:") && help.contains("130  interrupted"), "no exit codes:\n{help}");
        assert!(help.contains("--json"), "no --json:\n{help}");
        assert!(
            help.contains("hange")
                || help.contains("deleted")
                || help.contains("fits is left alone")
                || help.contains("as they were"),
            "does not say what changes:\n{help}"
        );
    }
}

/// Nobody can add a command and leave it out of both: its help says that it changes nothing, or it can be asked what it
/// would change. That a dry run really changes nothing is tried on a cluster, by the live suite.
#[test]
fn what_changes_something_takes_dry_run_and_whatever_does_not_says_so() {
    let mut changing = Vec::new();
    for command in reference::commands() {
        let name = command.get_bin_name().unwrap().to_owned();
        let about = command.get_long_about().or(command.get_about()).unwrap().to_string();
        let about = about.split_whitespace().collect::<Vec<_>>().join(" ");
        let only_looks = about.contains("hanges nothing") && !about.contains("hanges nothing else");
        let dry = reference::takes_dry_run(&command);
        assert_ne!(
            only_looks, dry,
            "`{name}` either changes something and takes --dry-run, or says `Changes nothing`: {about}"
        );
        if dry {
            let flag = command.get_arguments().find(|flag| flag.get_long() == Some("dry-run")).unwrap();
            assert!(matches!(flag.get_action(), clap::ArgAction::SetTrue), "{name}");
            assert!(flag.get_help().is_some(), "{name} does not say what --dry-run means");
            changing.push(name.trim_start_matches("cargo xtask ").to_owned());
        }
    }
    assert_eq!(changing, reference::changing());
    for known in ["cluster up", "cluster down", "credentials", "produce", "topics restore", "certs renew"] {
        assert!(changing.iter().any(|name| name == known), "{known} is not among {changing:?}");
    }
}

#[test]
fn unknown_words_are_errors_of_usage() {
    for args in [
        &["x", "cluster", "up", "--runtime", "podman"][..],
        &["x", "cluster", "up", "--name", "../etc"],
        &["x", "cluster", "fly"],
    ] {
        assert_eq!(Cli::try_parse_from(args).unwrap_err().exit_code(), i32::from(exit::USAGE), "{args:?}");
    }
}

/// A report's document, as a reader sees it.
fn parsed<T: serde::Serialize>(command: &str, report: &T) -> Value {
    let text = json::document(command, report).unwrap();
    assert!(text.starts_with(&format!("{{\"format\":1,\"command\":\"{command}\"")), "{text}");
    assert!(!text.contains('\n'), "one line");
    serde_json::from_str(&text).unwrap()
}

#[test]
fn documents_have_their_documented_keys() {
    let keys = |value: &Value| value.as_object().unwrap().keys().cloned().collect::<Vec<_>>();
    let up = parsed("up", &up_report());
    assert_eq!(
        keys(&up),
        [
            "clients",
            "cluster",
            "command",
            "directory",
            "endpoints",
            "existed",
            "format",
            "millis",
            "runtime",
            "steps"
        ]
    );
    assert_eq!((&up["format"], &up["command"]), (&1.into(), &"up".into()));
    assert_eq!(keys(&up["steps"][0]), ["detail", "millis", "outcome", "step"]);
    assert_eq!(keys(&up["endpoints"]), ["bootstrap", "registry_url"]);
    let down = DownReport {
        cluster: "demo".parse().unwrap(),
        directory: "/state".into(),
        deleted: true,
        dry_run: false,
        nodes: vec![StopReport {
            node: "demo-kafka-1".to_owned(),
            outcome: "stopped",
            millis: 3,
            error: None,
        }],
        millis: 4,
    };
    let down = parsed("down", &down);
    assert_eq!(
        keys(&down),
        ["cluster", "command", "deleted", "directory", "dry_run", "format", "millis", "nodes"]
    );
    assert_eq!(keys(&down["nodes"][0]), ["millis", "node", "outcome"]);
    let outside = OutsideReport {
        cluster: "demo".parse().unwrap(),
        folder: "/to-sign".into(),
        dry_run: false,
        taken: true,
        certificates: vec!["client.producer".to_owned()],
    };
    assert_eq!(
        keys(&parsed("credentials", &outside)),
        ["certificates", "cluster", "command", "dry_run", "folder", "format", "taken"]
    );
    let ps = PsReport {
        cluster: "demo".parse().unwrap(),
        directory: "/s".into(),
        nodes: vec![],
        warnings: vec![],
    };
    assert_eq!(keys(&parsed("ps", &ps)), ["cluster", "command", "directory", "format", "nodes", "warnings"]);
    let list = ListReport { state_root: "/s".into(), clusters: vec![] };
    assert_eq!(keys(&parsed("list", &list)), ["clusters", "command", "format", "state_root"]);
    let plan = parsed("plan", &plan_report());
    assert_eq!(
        keys(&plan),
        [
            "cluster",
            "command",
            "differs",
            "directory",
            "existed",
            "files",
            "format",
            "notes",
            "ports_known",
            "steps"
        ]
    );
    assert_eq!(keys(&plan["steps"][0]), ["details", "standing", "step", "title"]);
}

fn plan_report() -> PlanReport {
    let step = |step: Step, standing, details: &[&str]| PlannedStep {
        step,
        title: step.title(),
        standing,
        details: details.iter().map(|detail| (*detail).to_owned()).collect(),
    };
    PlanReport {
        cluster: "demo".parse().unwrap(),
        directory: "/state/clusters/demo".into(),
        existed: true,
        ports_known: true,
        differs: true,
        notes: Vec::new(),
        steps: vec![
            step(Step::Credentials, Standing::Satisfied, &["2 authorities"]),
            step(Step::Brokers, Standing::Differs, &["one reason", "another"]),
            step(Step::Acls, Standing::Waiting, &["cannot be looked at before `brokers`"]),
        ],
        files: Vec::new(),
    }
}

fn plain(width: Option<usize>) -> Output {
    Output { json: false, paint: Paint(false), terminal: false, width }
}

#[test]
fn a_plan_reads_without_colour() {
    let text = summary::plan(&plan_report(), "up", false, plain(Some(60)));
    for part in [
        "done    credentials: 2 authorities\n",
        "differs brokers\n          - one reason\n          - another\n",
        "waiting access rules: cannot be looked at before",
        "`up` would change something",
    ] {
        assert!(text.contains(part), "{part} is not in\n{text}");
    }
}

#[test]
fn a_summary_ends_with_commands_to_paste() {
    let text = summary::up(&up_report(), &Target::default(), Paint(false));
    for part in [
        "cluster demo is up and proved (11.4 s)",
        "localhost:20001,localhost:20002",
        " verify --name demo\n",
        " cluster ps --name demo\n",
        "--consumer.config '/state/clusters/demo/clients/consumer/consumer.properties'",
        "kcat -F '/state/clusters/demo/clients/consumer/kcat.conf'",
        "source '/state/clusters/demo/clients/producer/.env.kafka'",
        " cluster down --name demo",
    ] {
        assert!(text.contains(part), "{part} is not in\n{text}");
    }
}

#[test]
fn failures_have_their_documented_codes() {
    let step = |source| CommandError::Engine(EngineError::Step { step: Step::Brokers, source });
    let interrupted = CommandError::Engine(EngineError::Interrupted { step: Step::Users });
    let locked = DirError::Locked { cluster: "c".to_owned(), holder: "h".to_owned() };
    let spec = crate::spec::ClusterSpec::parse("nonsense = 1", "f").unwrap_err();
    let died = StepError::NodeDied { node: "n".to_owned(), code: None, explanation: String::new() };
    for (error, code) in [
        (interrupted, exit::INTERRUPTED),
        (CommandError::Interrupted, exit::INTERRUPTED),
        (ClusterError::Dir(locked).into(), exit::UNAVAILABLE),
        (ClusterError::Spec(spec).into(), exit::USAGE),
        (step(StepError::Preflight { problems: vec![] }), exit::MACHINE),
        (step(died), exit::UNHEALTHY),
        (step(StepError::Proof { what: String::new() }), exit::UNHEALTHY),
        (CommandError::Stop { nodes: vec![] }, exit::UNHEALTHY),
    ] {
        assert_eq!(exit::of(&error), code, "{error:?}");
    }
}

#[test]
fn an_error_document_says_each_cause_once() {
    let source =
        DirError::Io { action: "reading", path: "/x".to_owned(), source: std::io::Error::other("broken") };
    let error = CommandError::from(ClusterError::from(source));
    let document: Value = serde_json::from_str(&json::error("ps", &error, 3)).unwrap();
    assert_eq!(
        document,
        serde_json::json!({
            "format": 1,
            "command": "ps",
            "error": { "message": "reading /x failed", "causes": ["broken"], "exit_code": 3 },
        })
    );
}
