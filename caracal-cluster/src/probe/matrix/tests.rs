//! The report: what makes it good, and its shape.

use serde_json::json;

use super::*;
use crate::probe::client::{ClientReport, ClientRoundTrip};

pub(crate) fn cell(outcome: CellOutcome, control: Option<&str>) -> Cell {
    Cell {
        id: "transport/caracal-kafka-1/EXTERNAL/no-certificate".to_owned(),
        group: Group::Transport,
        what: "handshake without certificate".to_owned(),
        target: "caracal-kafka-1 EXTERNAL".to_owned(),
        principal: None,
        expected: "refused: TLS alert about the certificate".to_owned(),
        control: control.map(str::to_owned),
        outcome,
        seen: "TLS alert certificate_required".to_owned(),
        millis: 7,
    }
}

fn ran(ok: bool) -> RoundTrips {
    let trip = ClientRoundTrip {
        event: "MeteringEvent".to_owned(),
        topic: "caracal.metering.events".to_owned(),
        partition: Some(3),
        offset: Some(7),
        schema_id: Some(1),
        ok,
        millis: 12,
        error: (!ok).then(|| "no".to_owned()),
    };
    RoundTrips::Ran(ClientReport { format: 1, client: "2.12.1".to_owned(), round_trips: vec![trip], ok })
}

pub(crate) fn report(cells: Vec<Cell>, round_trips: RoundTrips, ok: bool) -> VerifyReport {
    VerifyReport {
        format: REPORT_FORMAT,
        cluster: "caracal".to_owned(),
        kafka_version: "3.9.2".to_owned(),
        registry: "apicurio 3.3.3".to_owned(),
        cells,
        round_trips,
        ok,
        millis: 99,
    }
}

#[test]
fn a_refusal_without_its_control_proves_nothing() {
    for (control, outcome, said) in [
        (Some(CellOutcome::Passed), CellOutcome::Passed, "TLS alert certificate_required"),
        (Some(CellOutcome::Failed), CellOutcome::Failed, "its control c failed"),
        (Some(CellOutcome::NotRun), CellOutcome::NotRun, "nothing listens"),
        (None, CellOutcome::Failed, "its control c failed"),
    ] {
        let seen = "nothing listens".to_owned();
        let control = control.map(|outcome| Cell { seen, ..cell(outcome, None) });
        let mut cell = cell(CellOutcome::Passed, Some("c"));
        check_control(&mut cell, |_| control.as_ref());
        assert_eq!(cell.outcome, outcome);
        assert!(cell.seen.ends_with(said), "{}", cell.seen);
    }
    // What failed by itself stays failed, whatever its control says.
    for outcome in [CellOutcome::Failed, CellOutcome::NotRun] {
        let control = cell(CellOutcome::Passed, None);
        let mut cell = cell(outcome, Some("c"));
        check_control(&mut cell, |_| Some(&control));
        assert_eq!(cell.outcome, outcome);
    }
}

#[test]
fn only_a_whole_proof_is_ok() {
    use CellOutcome::{Failed, NotRun, Passed};
    let not_run = || RoundTrips::NotRun { why: "x".to_owned() };
    let failed = RoundTrips::Failed { why: "x".to_owned() };
    for (outcomes, round_trips, skipped, ok) in [
        (vec![Passed, NotRun], ran(true), false, true),
        (vec![Passed, Failed], ran(true), false, false),
        (vec![Passed], ran(false), false, false),
        (vec![Passed], not_run(), true, true),
        (vec![Passed], not_run(), false, false),
        (vec![Passed], failed, true, false),
        (vec![], ran(true), false, false),
    ] {
        let cells: Vec<Cell> = outcomes.into_iter().map(|outcome| cell(outcome, None)).collect();
        assert_eq!(is_ok(&cells, &round_trips, skipped), ok, "{cells:?} {round_trips:?} {skipped}");
    }
}

#[test]
fn the_client_has_a_cell_for_every_event_even_when_it_did_not_run() {
    for (round_trips, outcome) in [
        (RoundTrips::NotRun { why: "because".to_owned() }, CellOutcome::NotRun),
        (RoundTrips::Failed { why: "because".to_owned() }, CellOutcome::Failed),
    ] {
        let cells = client_cells(&round_trips);
        assert_eq!(cells.len(), 4);
        assert!(cells.iter().all(|cell| cell.outcome == outcome && cell.seen == "because"));
    }
    assert_eq!(client_cells(&ran(true))[0].seen, "partition 3 offset 7, schema 1");
    assert_eq!(client_cells(&ran(false))[0].outcome, CellOutcome::Failed);
}

#[test]
fn the_reports_shape() {
    let mut allowed = cell(CellOutcome::NotRun, None);
    allowed.principal = Some("User:producer".to_owned());
    let cells = vec![cell(CellOutcome::Passed, Some("transport/c")), allowed];
    let report = report(cells, ran(true), true);
    let wanted = json!({
        "format": 1,
        "cluster": "caracal",
        "kafka_version": "3.9.2",
        "registry": "apicurio 3.3.3",
        "cells": [
            {
                "id": "transport/caracal-kafka-1/EXTERNAL/no-certificate",
                "group": "transport",
                "what": "handshake without certificate",
                "target": "caracal-kafka-1 EXTERNAL",
                "principal": null,
                "expected": "refused: TLS alert about the certificate",
                "control": "transport/c",
                "outcome": "passed",
                "seen": "TLS alert certificate_required",
                "millis": 7,
            },
            {
                "id": "transport/caracal-kafka-1/EXTERNAL/no-certificate",
                "group": "transport",
                "what": "handshake without certificate",
                "target": "caracal-kafka-1 EXTERNAL",
                "principal": "User:producer",
                "expected": "refused: TLS alert about the certificate",
                "control": null,
                "outcome": "not-run",
                "seen": "TLS alert certificate_required",
                "millis": 7,
            },
        ],
        "round_trips": {
            "state": "ran",
            "format": 1,
            "client": "2.12.1",
            "round_trips": [{
                "event": "MeteringEvent",
                "topic": "caracal.metering.events",
                "partition": 3,
                "offset": 7,
                "schema_id": 1,
                "ok": true,
                "millis": 12,
                "error": null,
            }],
            "ok": true,
        },
        "ok": true,
        "millis": 99,
    });
    assert_eq!(serde_json::to_value(&report).unwrap(), wanted);
    assert_eq!(report.count(CellOutcome::Passed), 1);
    let not_run = serde_json::to_value(RoundTrips::NotRun { why: "x".to_owned() }).unwrap();
    assert_eq!(not_run, json!({"state": "not-run", "why": "x"}));
    for group in Group::ALL {
        assert_eq!(serde_json::to_value(group).unwrap(), group.label());
    }
}
