//! The documents of `--json`: one a command, on standard output.
//!
//! Every document has `format` (1; a change that breaks a reader raises it) and, but for errors, `command`.
//! The rest is the report of the command:
//!
//! | command | report |
//! |---|---|
//! | `up`, `start`, `credentials` | with `--dry-run` as `plan`, else [`UpReport`](crate::lifecycle::commands::UpReport): `cluster`, `directory`, `runtime`, `existed`, `endpoints {bootstrap[], registry_url}`, `clients[] {user, path}`, `steps[] {step, outcome, detail, millis}`, `millis` |
//! | `credentials --request`, `--accept` | [`OutsideReport`](crate::lifecycle::commands::OutsideReport): `cluster`, `folder`, `dry_run`, `taken`, `certificates[]` |
//! | `down`, `stop` | [`DownReport`](crate::lifecycle::commands::DownReport): `cluster`, `directory`, `deleted`, `dry_run`, `nodes[] {node, outcome, millis, error?}`, `millis` |
//! | `ps` | [`PsReport`](crate::lifecycle::commands::PsReport): `cluster`, `directory`, `nodes[] {node, role, state, pid, rss_bytes, uptime_seconds, addresses[] {listener, address}, certificate_days_left, planned}`, `warnings[]` |
//! | `list` | [`ListReport`](crate::lifecycle::commands::ListReport): `state_root`, `clusters[] {cluster, directory, runtime, kafka_version, registry, running, nodes, problem}` |
//! | `prune` | [`PruneReport`](super::PruneReport): `dry_run`, `clusters[] {cluster, directory, nodes[]}` |
//! | `plan` | [`PlanReport`](crate::lifecycle::commands::PlanReport): `cluster`, `directory`, `existed`, `ports_known`, `differs`, `notes[] {severity, key, consequence}`, `steps[] {step, title, standing, details[]}`, `files[] {node, path, change, diff?, text?}` |
//! | `cache make` | [`StartCachesReport`](crate::lifecycle::start_caches::StartCachesReport): `caches[] {path, bytes}`, `missing[]`, `made`, `dry_run`, `millis` |
//! | `cache list` | [`ListedCaches`](crate::lifecycle::start_caches::ListedCaches): `directory`, `caches[] {path, bytes}` |
//! | `cache clean` | [`CleanReport`](crate::lifecycle::start_caches::CleanReport): `caches[] {path, bytes}`, `dry_run` |
//! | `verify` | [`VerifyReport`](crate::probe::matrix::VerifyReport): `cluster`, `kafka_version`, `registry`, `ok`, `cells[] {id, group, what, target, principal, expected, control, outcome, seen, millis}`, `round_trips`, `millis` |
//! | `restart` | [`RestartReport`](crate::ops::restart::RestartReport): `cluster`, `all_at_once`, `dry_run`, `nodes[] {node, role, outcome, down_millis, in_sync_millis}`, `millis` |
//! | `kill`, `pause`, `resume`, `cut`, `heal` | [`StrikeReport`](crate::ops::nodes::StrikeReport): `cluster`, `dry_run`, `nodes[] {node, outcome}` |
//! | `health` | [`HealthReport`](crate::ops::health::HealthReport): `cluster`, `healthy`, `leader`, `controller`, `partitions {total, offline[], under_min_isr[], under_replicated[]}`, `checks[] {check, target, state, seen}`, `millis` |
//! | `lag` | [`LagReport`](crate::ops::lag::LagReport): `cluster`, `groups[] {group, state, coordinator, lag, partitions[] {topic, partition, committed, end, lag}}`, `millis` |
//! | `groups list` | [`GroupsReport`](crate::ops::groups::GroupsReport): `cluster`, `groups[] {group, state, kind, assignor, coordinator, members}`, `millis` |
//! | `groups describe` | [`GroupsDetail`](crate::ops::groups::GroupsDetail): `cluster`, `groups[]` as in `groups list` with `lag`, `member[] {member, instance, client, host, partitions}`, `partitions[] {topic, partition, committed, end, lag, member}`, `millis` |
//! | `groups reset` | [`ResetReport`](crate::ops::groups::ResetReport): `cluster`, `group`, `dry_run`, `partitions[] {topic, partition, from, to, moved_inside}`, `millis` |
//! | `groups delete` | [`DeletedGroups`](crate::ops::groups::DeletedGroups): `cluster`, `dry_run`, `groups[] {group, offsets[] {topic, partition, committed}}`, `millis` |
//! | `schemas list` | [`SubjectsReport`](crate::ops::schemas::SubjectsReport): `cluster`, `compatibility`, `subjects[] {subject, versions[], id, record, compatibility, own_level, planned}`, `millis` |
//! | `schemas show` | [`ShownSchema`](crate::ops::schemas::ShownSchema): `cluster`, `subject`, `version`, `id`, `schema` |
//! | `schemas register` | [`RegisterReport`](crate::ops::schemas::RegisterReport): `cluster`, `subject`, `dry_run`, `outcome`, `id`, `version`, `millis` |
//! | `schemas check` | [`CheckReport`](crate::ops::schemas::CheckReport): `ok`, `schemas[] {file, against, subject, mode, state, findings[] {rule, path, direction, text}}`, `millis` |
//! | `schemas compatibility get`, `schemas compatibility set` | [`LevelReport`](crate::ops::schemas::LevelReport): `cluster`, `subject`, `before`, `level`, `own_level`, `dry_run` |
//! | `topics list` | [`TopicsReport`](crate::ops::topics::TopicsReport): `cluster`, `topics[] {topic, owner, partitions, replication_factor, min_in_sync, cleanup_policy, retention_ms, under_replicated, under_min_isr, offline}`, `millis` |
//! | `topics describe` | [`DescribeReport`](crate::ops::topics::DescribeReport): `cluster`, `topics[]` as in `topics list` with `partition[] {partition, leader, replicas[], in_sync[], start, end}`, `records`, `config[] {key, value, set_on_topic}`, `millis` |
//! | `topics create`, `topics alter` | [`ChangeReport`](crate::ops::topics::ChangeReport): `cluster`, `dry_run`, `topics[] {topic, outcome, changes[] {what, from, to}}`, `millis` |
//! | `topics delete` | [`DeleteReport`](crate::ops::topics::DeleteReport): `cluster`, `dry_run`, `topics[] {topic, partitions, records, planned}`, `millis` |
//! | `topics apply` | [`ApplyReport`](crate::ops::topics::ApplyReport): `cluster`, `dry_run`, `differs`, `topics[] {topic, standing, changes[] {what, from, to}, undeclared_settings[], why}`, `undeclared[]`, `millis` |
//! | `topics backup` | one document a topic: `cluster`, `topic`, `folder`, `records`, `bytes`, `schemas`, `sha256`, `records_per_second`, `millis`; with `--dry-run` `cluster`, `dry_run`, `topics[] {topic, folder, records}` |
//! | `topics restore` | one document a topic: `cluster`, `topic`, `folder`, `records`, `schemas`, `renamed_schemas`, `verified`, `sha256`, `records_per_second`, `millis`; with `--dry-run` `cluster`, `dry_run`, `topic`, `folder`, `records`, `made` |
//! | `produce` | `cluster`, `topic`, `records`, `dry_run`, `subject`, `millis` |
//! | `consume` | one record a line, without `format` and `command`, so that `produce --format json` reads it: `topic`, `partition`, `offset`, `timestamp`, `key`, `key_encoding`, `value`, `value_encoding`, `schema_id`, `headers[] {name, value, encoding?}` |
//! | `users list` | [`UsersReport`](crate::ops::facts::UsersReport): `cluster`, `users[] {user, origin, role, super_user, credentials[] {mechanism, iterations}}`, `millis` |
//! | `users add` | [`AddReport`](crate::ops::users::AddReport): `cluster`, `dry_run`, `user`, `role`, `rules[]`, `client_files`, `password_file`, `log_ins[] {user, node, listener, outcome, why}`, `millis` |
//! | `users remove` | [`RemoveReport`](crate::ops::users::RemoveReport): `cluster`, `dry_run`, `user`, `credentials[]`, `rules[]`, `files[]`, `millis` |
//! | `users set-password` | [`PasswordReport`](crate::ops::users::PasswordReport): `cluster`, `dry_run`, `user`, `client_files`, `password_file`, `restarted[]`, `log_ins[]`, `old_refused`, `millis` |
//! | `users verify` | [`LogInReport`](crate::ops::users::LogInReport): `cluster`, `ok`, `log_ins[] {user, node, listener, outcome, why}`, `millis` |
//! | `acls list` | [`RulesReport`](crate::ops::acls::RulesReport): `cluster`, `super_users[]`, `rules[] {permission, principal, operation, resource, host, origin}` |
//! | `acls add`, `acls remove` | [`ChangeReport`](crate::ops::acls::ChangeReport): `cluster`, `dry_run`, `rules[]`, `unchanged[]`, `notes[]`, `millis` |
//! | `acls explain` | [`ExplainReport`](crate::ops::acls::ExplainReport): `cluster`, `answers[] {principal, host, operation, resource, allowed, reason, rule, because, commands[], denials {count, last, nodes[], requests[]}}`, `millis` |
//! | `api-versions` | [`ApisReport`](crate::ops::facts::ApisReport): `cluster`, `brokers[] {node, id, apis[] {key, min, max}, error}`, `millis` |
//! | `certs check` | [`CertificatesReport`](crate::ops::facts::CertificatesReport): `cluster`, `certificates[] {id, days_left, subject, issuer, serial_hex, not_before, not_after, sans[], is_ca, usages[], fingerprint_sha256}` |
//! | `certs show` | [`ShowReport`](crate::ops::certs::ShowReport): `cluster`, `certificates[]` as above, `listeners[] {node, listener, certificate, as_on_disk, chain[], days_left, agreed, error}`, `millis` |
//! | `certs renew` | [`RenewReport`](crate::ops::certs::RenewReport): `cluster`, `dry_run`, `certificates[] {certificate, way, node, old_serial, new_serial}`, `listeners[]` as in `show`, `restarted[]` as in `restart`, `millis` |
//! | `export grafana` | `cluster`, `files[]`, `written` |
//! | `export compose` | [`ComposeReport`](crate::export::compose::write::ComposeReport): `cluster`, `folder`, `existed`, `dry_run`, `images[]`, `bootstrap[]`, `document?` |
//! | `logs` | one document a line: [`Entry`](crate::ops::logs::Entry): `node`, `time`, `level`, `logger`, `message` |
//!
//! With `--watch` a document is printed at each look, one a line.
//!
//! A failure of any command is `{"format":1,"command":..,"error":{"message":..,"causes":[..],"exit_code":..}}`.
//! No document holds a secret.

use std::error::Error;

use serde::Serialize;

/// The version of every document's shape.
pub const FORMAT: u32 = 1;

#[derive(Serialize)]
struct Document<'a, T> {
    format: u32,
    command: &'a str,
    #[serde(flatten)]
    report: &'a T,
}

/// The document of a report, as one line.
///
/// # Errors
/// When the report has a value that JSON cannot hold.
pub fn document<T: Serialize>(command: &str, report: &T) -> Result<String, serde_json::Error> {
    serde_json::to_string(&Document { format: FORMAT, command, report })
}

/// The document of a failure: message and causes apart, each said once.
pub fn error(command: &str, error: &dyn Error, exit_code: u8) -> String {
    let message = error.to_string();
    let mut causes: Vec<String> = Vec::new();
    let mut source = error.source();
    while let Some(cause) = source {
        let text = cause.to_string();
        if !message.contains(&text) && !causes.iter().any(|known| known.contains(&text)) {
            causes.push(text);
        }
        source = cause.source();
    }
    failure(command, &message, &causes, exit_code)
}

/// The same for a failure that is only a text.
pub fn failure(command: &str, message: &str, causes: &[String], exit_code: u8) -> String {
    #[derive(Serialize)]
    struct Failed<'a> {
        message: &'a str,
        causes: &'a [String],
        exit_code: u8,
    }
    #[derive(Serialize)]
    struct Report<'a> {
        error: Failed<'a>,
    }
    let report = Report { error: Failed { message, causes, exit_code } };
    document(command, &report).unwrap_or_else(|_| unreachable!("texts and a number are JSON"))
}
