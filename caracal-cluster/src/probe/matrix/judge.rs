//! What was expected against what was seen. Pure, so that the table of judgements is a test.
//!
//! A refusal counts only for the right reason: a closed port, a time-out or a broken answer is never one.

use std::fmt;

use crate::probe::tls::{HandshakeOutcome, HelloAnswer, LegacyTlsOutcome, PlaintextOutcome};
use crate::wire::{TlsAlert, WireErrorKind};
use crate::zookeeper::{Acl, Permissions, ZkCode};

use super::CellOutcome;

/// What a cell expects.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) enum Expected {
    /// It is done.
    Allowed,
    /// What is there is this and no more.
    Exactly(String),
    /// It is refused, in this way and no other.
    Refused(Refusal),
}

/// The one way in which something must be refused.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Refusal {
    /// A TLS alert about our certificate.
    Certificate,
    /// The same, or `handshake_failure`: what ZooKeeper's Netty says when the certificate is missing.
    CertificateAtZooKeeper,
    /// The check of compatibility says no.
    Incompatible,
    /// User name or password.
    LogIn,
    /// The connection is closed at the first request before a log-in.
    LogInFirst,
    /// The listener does not offer the mechanism.
    Mechanism,
    /// An access rule is missing for this kind of resource.
    NotAuthorized(Resource),
    /// TLS 1.1 by an alert, while the same hello as TLS 1.2 is taken.
    OldTls,
    /// Nobody but its owner has any right to the znode.
    OwnerOnly,
    /// A request without TLS.
    Plaintext,
    /// Nobody but its owner may do more than read the znode.
    ReadOnlyToOthers,
    /// Nothing listens at that address.
    Unreachable,
    /// The znode's access list.
    ZnodeNoAuth,
}

/// The kind of resource that a refusal names.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Resource {
    Cluster,
    Group,
    Topic,
    TransactionalId,
}

impl Resource {
    /// The error code of Kafka's protocol that says so.
    fn code(self) -> i16 {
        match self {
            Self::Topic => 29,
            Self::Group => 30,
            Self::Cluster => 31,
            Self::TransactionalId => 53,
        }
    }
}

impl fmt::Display for Expected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Allowed => f.write_str("allowed"),
            Self::Exactly(what) => write!(f, "allowed: exactly {what}"),
            Self::Refused(how) => write!(f, "refused: {how}"),
        }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Certificate => "TLS alert about the certificate",
            Self::CertificateAtZooKeeper => "TLS alert about the certificate, or handshake_failure",
            Self::Incompatible => "not compatible",
            Self::LogIn => "user name or password",
            Self::LogInFirst => "closed before any answer",
            Self::Mechanism => "mechanism not enabled",
            Self::NotAuthorized(Resource::Cluster) => "not authorized (cluster)",
            Self::NotAuthorized(Resource::Group) => "not authorized (group)",
            Self::NotAuthorized(Resource::Topic) => "not authorized (topic)",
            Self::NotAuthorized(Resource::TransactionalId) => "not authorized (transactional id)",
            Self::OldTls => "fatal alert, while TLS 1.2 is taken",
            Self::OwnerOnly => "no access but for the owner",
            Self::Plaintext => "alert or closed",
            Self::ReadOnlyToOthers => "nothing but reading for others",
            Self::Unreachable => "nothing listens there",
            Self::ZnodeNoAuth => "no permission",
        })
    }
}

/// What was seen.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) enum Seen {
    /// It was done.
    Accepted(String),
    /// A znode's access list, and who its owner should be.
    Acl { entries: Vec<Acl>, owner: String },
    /// It could not be tried; that is a failure.
    Broken(String),
    /// The connection was closed where an answer to a first request should be.
    ClosedWithoutAnswer,
    /// What the check of compatibility answered.
    Compatible(bool),
    /// What is there, to be compared with what is planned.
    Found(String),
    /// A handshake's outcome.
    Handshake(HandshakeOutcome),
    /// It makes no sense here, for this reason.
    NotRun(String),
    /// The outcome for TLS 1.1 with its control.
    OldTls(LegacyTlsOutcome),
    /// The outcome of a request without TLS.
    Plaintext(PlaintextOutcome),
    /// An error of a connection or call: the kind to judge by, the text to read.
    Wire { kind: WireErrorKind, text: String },
    /// ZooKeeper's refusal.
    ZooKeeper { code: ZkCode, text: String },
}

impl Seen {
    /// Whether another look may see something else: the cluster is still moving something.
    pub(super) fn is_transient(&self) -> bool {
        matches!(self, Self::Wire { kind: WireErrorKind::Api(error), .. } if error.retriable)
    }
}

/// Judges one cell and says what was seen.
pub(super) fn judge(expected: &Expected, seen: &Seen) -> (CellOutcome, String) {
    let said = said(seen);
    let passed = match (expected, seen) {
        (_, Seen::NotRun(_)) => return (CellOutcome::NotRun, said),
        (_, Seen::Broken(_)) => false,
        (Expected::Allowed, seen) => is_accepted(seen),
        (Expected::Exactly(wanted), Seen::Found(found)) => wanted == found,
        (Expected::Exactly(_), _) => false,
        (Expected::Refused(how), seen) => is_refused(*how, seen),
    };
    match seen {
        // The cause and the next step are for whoever expected something else.
        Seen::Wire { kind, .. } if passed => (CellOutcome::Passed, kind.to_string()),
        _ => (if passed { CellOutcome::Passed } else { CellOutcome::Failed }, said),
    }
}

fn is_accepted(seen: &Seen) -> bool {
    matches!(seen, Seen::Accepted(_) | Seen::Compatible(true) | Seen::Handshake(HandshakeOutcome::Accepted))
}

fn is_refused(how: Refusal, seen: &Seen) -> bool {
    match (how, seen) {
        (Refusal::Certificate, Seen::Handshake(HandshakeOutcome::Alert(alert))) => {
            alert.is_about_our_certificate()
        }
        (Refusal::CertificateAtZooKeeper, Seen::Handshake(HandshakeOutcome::Alert(alert))) => {
            alert.is_about_our_certificate() || *alert == TlsAlert::HandshakeFailure
        }
        (Refusal::Incompatible, Seen::Compatible(compatible)) => !compatible,
        (Refusal::LogIn, Seen::Wire { kind: WireErrorKind::AuthenticationFailed { .. }, .. })
        | (Refusal::LogInFirst, Seen::ClosedWithoutAnswer)
        | (Refusal::Mechanism, Seen::Wire { kind: WireErrorKind::SaslMechanismNotEnabled { .. }, .. })
        | (Refusal::Unreachable, Seen::Wire { kind: WireErrorKind::Refused, .. })
        | (Refusal::ZnodeNoAuth, Seen::ZooKeeper { code: ZkCode::NoAuth, .. }) => true,
        (Refusal::NotAuthorized(resource), Seen::Wire { kind: WireErrorKind::NotAuthorized(error), .. }) => {
            error.code == resource.code()
        }
        (Refusal::OldTls, Seen::OldTls(outcome)) => outcome.is_refused(),
        (Refusal::OwnerOnly, Seen::Acl { entries, owner }) => {
            !entries.is_empty() && entries.iter().all(|entry| is_owner(entry, owner))
        }
        (Refusal::Plaintext, Seen::Plaintext(outcome)) => outcome.is_refused(),
        (Refusal::ReadOnlyToOthers, Seen::Acl { entries, owner }) => {
            let readable = |entry: &Acl| is_owner(entry, owner) || entry.permissions == Permissions::READ;
            !entries.is_empty() && entries.iter().all(readable)
        }
        _ => false,
    }
}

fn is_owner(entry: &Acl, owner: &str) -> bool {
    entry.scheme == "x509" && entry.id == owner
}

fn said(seen: &Seen) -> String {
    match seen {
        Seen::Accepted(what) | Seen::Broken(what) | Seen::Found(what) | Seen::NotRun(what) => what.clone(),
        Seen::Acl { entries, .. } => {
            let entries = entries
                .iter()
                .map(|entry| format!("{}:{} may {}", entry.scheme, entry.id, permissions(entry.permissions)));
            entries.collect::<Vec<_>>().join("; ")
        }
        Seen::ClosedWithoutAnswer => "the connection was closed without an answer".to_owned(),
        Seen::Compatible(true) => "compatible".to_owned(),
        Seen::Compatible(false) => "not compatible".to_owned(),
        Seen::Handshake(HandshakeOutcome::Accepted) => "certificate accepted, request answered".to_owned(),
        Seen::Handshake(HandshakeOutcome::Alert(alert)) => format!("TLS alert {alert}"),
        Seen::Handshake(HandshakeOutcome::Closed) => "closed without an alert".to_owned(),
        Seen::OldTls(outcome) => {
            format!("TLS 1.1: {}; TLS 1.2: {}", hello(outcome.old), hello(outcome.control))
        }
        Seen::Plaintext(PlaintextOutcome::Alert(alert)) => format!("TLS alert {alert}"),
        Seen::Plaintext(PlaintextOutcome::Answered) => "answered without TLS".to_owned(),
        Seen::Plaintext(PlaintextOutcome::Closed) => "closed".to_owned(),
        Seen::Plaintext(PlaintextOutcome::Silent) => "neither answered nor closed".to_owned(),
        Seen::Wire { text, .. } | Seen::ZooKeeper { text, .. } => text.clone(),
    }
}

fn hello(answer: HelloAnswer) -> String {
    match answer {
        HelloAnswer::Alert { fatal: true, alert } => format!("fatal alert {alert}"),
        HelloAnswer::Alert { fatal: false, alert } => format!("warning alert {alert}"),
        HelloAnswer::Closed => "closed without an alert".to_owned(),
        HelloAnswer::NotTls => "an answer that is not TLS".to_owned(),
        HelloAnswer::ServerHello { version, .. } => format!("ServerHello with version {version:#06x}"),
    }
}

/// ZooKeeper's five rights by their letters, as its own shell shows them.
fn permissions(permissions: Permissions) -> String {
    let letters = [(1, 'r'), (2, 'w'), (4, 'c'), (8, 'd'), (16, 'a')];
    letters.iter().filter(|(bit, _)| permissions.0 & bit != 0).map(|(_, letter)| letter).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::ApiError;

    const OWNER: &str = "CN=owner";

    fn wire(kind: WireErrorKind) -> Seen {
        Seen::Wire { text: kind.to_string(), kind }
    }

    fn denied(code: i16) -> Seen {
        wire(ApiError::from_code(code, None, "x").unwrap().into())
    }

    fn acl(entries: &[(&str, &str, i32)]) -> Seen {
        let entry = |(scheme, id, permissions): &(&str, &str, i32)| Acl {
            permissions: Permissions(*permissions),
            scheme: (*scheme).to_owned(),
            id: (*id).to_owned(),
        };
        Seen::Acl { entries: entries.iter().map(entry).collect(), owner: OWNER.to_owned() }
    }

    fn alert(alert: TlsAlert) -> Seen {
        Seen::Handshake(HandshakeOutcome::Alert(alert))
    }

    fn old_tls(old: HelloAnswer, control: HelloAnswer) -> Seen {
        Seen::OldTls(LegacyTlsOutcome { old, control })
    }

    /// Everything that may be seen, by a name.
    fn sights() -> Vec<(&'static str, Seen)> {
        let mechanism = WireErrorKind::SaslMechanismNotEnabled { mechanism: "m", enabled: Vec::new() };
        let fatal = HelloAnswer::Alert { fatal: true, alert: TlsAlert::ProtocolVersion };
        let hello = HelloAnswer::ServerHello { version: 0x0303, suite: 1 };
        let wrong = WireErrorKind::AuthenticationFailed { message: "no".to_owned() };
        vec![
            ("accepted", Seen::Accepted("done".to_owned())),
            ("acl of the owner", acl(&[("x509", OWNER, 31)])),
            ("acl readable by all", acl(&[("x509", OWNER, 31), ("world", "anyone", 1)])),
            ("acl writable by all", acl(&[("x509", OWNER, 31), ("world", "anyone", 3)])),
            ("acl of a stranger", acl(&[("x509", OWNER, 31), ("x509", "CN=other", 31)])),
            ("acl without entries", acl(&[])),
            ("alert about the certificate", alert(TlsAlert::CertificateUnknown)),
            ("alert handshake_failure", alert(TlsAlert::HandshakeFailure)),
            ("alert internal_error", alert(TlsAlert::InternalError)),
            ("broken", Seen::Broken("no leader".to_owned())),
            ("closed without answer", Seen::ClosedWithoutAnswer),
            ("compatible", Seen::Compatible(true)),
            ("connection refused", wire(WireErrorKind::Refused)),
            ("handshake accepted", Seen::Handshake(HandshakeOutcome::Accepted)),
            ("handshake closed", Seen::Handshake(HandshakeOutcome::Closed)),
            ("incompatible", Seen::Compatible(false)),
            ("log-in failed", wire(wrong)),
            ("mechanism not enabled", wire(mechanism)),
            ("no such znode", Seen::ZooKeeper { code: ZkCode::NoNode, text: "none".to_owned() }),
            ("not authorized cluster", denied(31)),
            ("not authorized group", denied(30)),
            ("not authorized topic", denied(29)),
            ("not authorized transaction", denied(53)),
            ("old TLS taken", old_tls(hello, hello)),
            ("old TLS refused", old_tls(fatal, hello)),
            ("old TLS refused without control", old_tls(fatal, HelloAnswer::Closed)),
            ("plaintext alert", Seen::Plaintext(PlaintextOutcome::Alert(TlsAlert::InternalError))),
            ("plaintext answered", Seen::Plaintext(PlaintextOutcome::Answered)),
            ("plaintext closed", Seen::Plaintext(PlaintextOutcome::Closed)),
            ("plaintext silent", Seen::Plaintext(PlaintextOutcome::Silent)),
            ("retriable", denied(6)),
            ("rights", Seen::Found("Describe, Read".to_owned())),
            ("more rights", Seen::Found("Delete, Describe, Read".to_owned())),
            ("znode no permission", Seen::ZooKeeper { code: ZkCode::NoAuth, text: "no".to_owned() }),
        ]
    }

    #[test]
    fn each_expectation_is_met_by_these_sights_and_no_others() {
        use Refusal as R;
        let refused = Expected::Refused;
        let table: Vec<(Expected, &[&str])> = vec![
            (Expected::Allowed, &["accepted", "compatible", "handshake accepted"]),
            (Expected::Exactly("Describe, Read".to_owned()), &["rights"]),
            (refused(R::Certificate), &["alert about the certificate"]),
            (refused(R::CertificateAtZooKeeper), &["alert about the certificate", "alert handshake_failure"]),
            (refused(R::Incompatible), &["incompatible"]),
            (refused(R::LogIn), &["log-in failed"]),
            (refused(R::LogInFirst), &["closed without answer"]),
            (refused(R::Mechanism), &["mechanism not enabled"]),
            (refused(R::NotAuthorized(Resource::Cluster)), &["not authorized cluster"]),
            (refused(R::NotAuthorized(Resource::Group)), &["not authorized group"]),
            (refused(R::NotAuthorized(Resource::Topic)), &["not authorized topic"]),
            (refused(R::NotAuthorized(Resource::TransactionalId)), &["not authorized transaction"]),
            (refused(R::OldTls), &["old TLS refused"]),
            (refused(R::OwnerOnly), &["acl of the owner"]),
            (refused(R::Plaintext), &["plaintext alert", "plaintext closed"]),
            (refused(R::ReadOnlyToOthers), &["acl of the owner", "acl readable by all"]),
            (refused(R::Unreachable), &["connection refused"]),
            (refused(R::ZnodeNoAuth), &["znode no permission"]),
        ];
        for (expected, wanted) in table {
            let sights = sights();
            for name in wanted {
                assert!(sights.iter().any(|(known, _)| known == name), "{name} is no sight");
            }
            for (name, seen) in sights {
                let outcome = judge(&expected, &seen).0;
                let right = if wanted.contains(&name) { CellOutcome::Passed } else { CellOutcome::Failed };
                assert_eq!(outcome, right, "expected {expected}, saw {name}");
            }
        }
    }

    #[test]
    fn what_was_not_run_is_never_passed() {
        for expected in [Expected::Allowed, Expected::Refused(Refusal::Certificate)] {
            let (outcome, said) = judge(&expected, &Seen::NotRun("no other address".to_owned()));
            assert_eq!((outcome, said.as_str()), (CellOutcome::NotRun, "no other address"));
        }
    }

    #[test]
    fn a_cluster_that_still_moves_is_asked_again_and_a_refusal_is_not() {
        assert!(denied(6).is_transient());
        assert!(!denied(29).is_transient());
        assert!(!wire(WireErrorKind::Refused).is_transient());
    }

    #[test]
    fn an_access_list_reads_as_zookeepers_shell_shows_it() {
        let (_, said) = judge(&Expected::Allowed, &acl(&[("x509", OWNER, 31), ("world", "anyone", 1)]));
        assert_eq!(said, "x509:CN=owner may rwcda; world:anyone may r");
    }
}
