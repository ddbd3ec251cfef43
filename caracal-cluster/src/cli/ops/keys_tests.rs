//! The documented keys of the documents of `users`, `acls` and `certs`.

use serde::Serialize;
use serde_json::Value;

use super::super::json;
use crate::ops::acls::{ChangeReport, Denials, ExplainReport, Explained, RuleOrigin, RulesReport, ShownRule};
use crate::ops::certs::{RenewReport, Renewed, ServedBy, ShowReport, Way};
use crate::ops::users::{AddReport, LogInReport, LoggedIn, PasswordReport, RemoveReport, Tried};
use crate::plan::Role;

fn parsed<T: Serialize>(report: &T) -> Value {
    serde_json::from_str(&json::document("x", report).unwrap()).unwrap()
}

fn keys(value: &Value) -> String {
    let keys = value.as_object().unwrap().keys().map(String::as_str);
    keys.filter(|key| !["format", "command", "cluster"].contains(key)).collect::<Vec<_>>().join(" ")
}

#[test]
fn documents_of_users_have_their_documented_keys_and_no_password() {
    let login = LoggedIn {
        user: "x".to_owned(),
        node: "n".to_owned(),
        listener: "EXTERNAL".to_owned(),
        outcome: Tried::NotTried,
        why: None,
    };
    let add = parsed(&AddReport {
        cluster: "demo".parse().unwrap(),
        dry_run: false,
        user: "x".parse().unwrap(),
        role: Role::ReadOnlyAdmin,
        rules: Vec::new(),
        client_files: "/c/x".into(),
        password_file: None,
        log_ins: vec![login.clone()],
        millis: 1,
        generated: Some("only-once-to-be-seen".to_owned().into()),
    });
    assert_eq!(keys(&add), "client_files dry_run log_ins millis password_file role rules user");
    assert_eq!(
        (&add["role"], &add["log_ins"][0]["outcome"]),
        (&"read-only-admin".into(), &"not-tried".into())
    );
    assert_eq!(keys(&add["log_ins"][0]), "listener node outcome user why");
    assert!(!add.to_string().contains("only-once"));
    let password = parsed(&PasswordReport {
        cluster: "demo".parse().unwrap(),
        dry_run: false,
        user: "x".parse().unwrap(),
        client_files: None,
        password_file: None,
        restarted: Vec::new(),
        log_ins: Vec::new(),
        old_refused: Some(true),
        millis: 1,
        generated: Some("only-once-to-be-seen".to_owned().into()),
    });
    assert_eq!(
        keys(&password),
        "client_files dry_run log_ins millis old_refused password_file restarted user"
    );
    assert!(!password.to_string().contains("only-once"));
    let removed = RemoveReport {
        cluster: "demo".parse().unwrap(),
        dry_run: true,
        user: "x".to_owned(),
        credentials: Vec::new(),
        rules: Vec::new(),
        files: Vec::new(),
        millis: 1,
    };
    assert_eq!(keys(&parsed(&removed)), "credentials dry_run files millis rules user");
    let verified =
        LogInReport { cluster: "demo".parse().unwrap(), ok: false, log_ins: vec![login], millis: 1 };
    assert_eq!(keys(&parsed(&verified)), "log_ins millis ok");
}

#[test]
fn documents_of_rules_have_their_documented_keys() {
    let rule = ShownRule {
        permission: "deny",
        principal: "User:x".to_owned(),
        operation: "Read".to_owned(),
        resource: "topic:a".to_owned(),
        host: "*".to_owned(),
        origin: RuleOrigin::Added,
    };
    let listed = parsed(&RulesReport {
        cluster: "demo".parse().unwrap(),
        super_users: Vec::new(),
        rules: vec![rule.clone()],
    });
    assert_eq!(keys(&listed), "rules super_users");
    assert_eq!(keys(&listed["rules"][0]), "host operation origin permission principal resource");
    assert_eq!(listed["rules"][0]["origin"], "added");
    let changed = ChangeReport {
        cluster: "demo".parse().unwrap(),
        dry_run: false,
        rules: vec![rule.clone()],
        unchanged: Vec::new(),
        notes: Vec::new(),
        millis: 1,
    };
    assert_eq!(keys(&parsed(&changed)), "dry_run millis notes rules unchanged");
    let denials = Denials {
        count: 1,
        last: None,
        nodes: ["k".to_owned()].into(),
        requests: ["Fetch".to_owned()].into(),
    };
    let answer = Explained {
        principal: "User:x".to_owned(),
        host: "127.0.0.1".to_owned(),
        operation: "Read".to_owned(),
        resource: "topic:a".to_owned(),
        allowed: false,
        reason: "denied-by-rule",
        rule: Some(rule),
        because: String::new(),
        commands: Vec::new(),
        denials: Some(denials),
    };
    let report = ExplainReport { cluster: "demo".parse().unwrap(), answers: vec![answer], millis: 1 };
    let explained = parsed(&report);
    assert_eq!(
        keys(&explained["answers"][0]),
        "allowed because commands denials host operation principal reason resource rule"
    );
    assert_eq!(keys(&explained["answers"][0]["denials"]), "count last nodes requests");
}

#[test]
fn documents_of_certificates_have_their_documented_keys() {
    let served = ServedBy {
        node: "k".to_owned(),
        listener: "EXTERNAL".to_owned(),
        certificate: "k.listener".to_owned(),
        as_on_disk: false,
        chain: Vec::new(),
        days_left: None,
        agreed: None,
        error: None,
    };
    let shown = parsed(&ShowReport {
        cluster: "demo".parse().unwrap(),
        certificates: Vec::new(),
        listeners: vec![served],
        millis: 1,
    });
    assert_eq!(keys(&shown), "certificates listeners millis");
    assert_eq!(
        keys(&shown["listeners"][0]),
        "agreed as_on_disk certificate chain days_left error listener node"
    );
    let renewed = Renewed {
        certificate: "client.x".to_owned(),
        way: Way::ClientFiles,
        node: None,
        old_serial: None,
        new_serial: None,
    };
    let report = parsed(&RenewReport {
        cluster: "demo".parse().unwrap(),
        dry_run: true,
        certificates: vec![renewed],
        listeners: Vec::new(),
        restarted: Vec::new(),
        millis: 1,
    });
    assert_eq!(keys(&report), "certificates dry_run listeners millis restarted");
    assert_eq!(keys(&report["certificates"][0]), "certificate new_serial node old_serial way");
    assert_eq!(report["certificates"][0]["way"], "client-files");
}
