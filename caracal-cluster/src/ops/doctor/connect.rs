//! One address: what listens there, what it shows, whether this user gets in, and if not why.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use caracal_pki::inventory::{self, CertificateInfo};
use rustls::version::{TLS12, TLS13};
use serde::Serialize;
use time::OffsetDateTime;

use super::{Finding, Level, worst};
use crate::lifecycle::chain;
use crate::ops::millis_since;
use crate::probe::look::{self, Outcome, Shown, Spoken};
use crate::probe::tls::{self, HelloAnswer};
use crate::wire::{Connection, Deadline, Endpoint, Login, TlsConfig, WireError, WireErrorKind, sasl};

/// How long each single step may take.
const STEP: Duration = Duration::from_secs(6);

/// Who tries to get in.
#[derive(Clone, Debug)]
#[expect(clippy::exhaustive_structs, reason = "callers build it")]
pub struct Visitor {
    /// Its certificate, and whom it trusts.
    pub tls: TlsConfig,
    /// Its name and password.
    pub login: Login,
}

/// What listens at an address.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Listens {
    /// Nobody.
    Nobody,
    /// The host name leads nowhere.
    UnknownHost,
    /// Nothing answers, not even a refusal.
    Unreachable,
    /// Somebody who says nothing.
    Silent,
    /// Kafka without TLS.
    PlaintextKafka,
    /// ZooKeeper without TLS.
    PlaintextZookeeper,
    /// An HTTP server.
    Http,
    /// TLS, with Kafka inside as far as we are let in.
    TlsKafka,
    /// TLS; what is inside is not told to strangers.
    Tls,
    /// Something else.
    Other,
}

/// Whether a version of TLS is spoken.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
pub struct Version {
    /// `TLS 1.3` and so on.
    pub version: &'static str,
    /// Whether it is accepted.
    pub accepted: bool,
}

/// One certificate of the presented chain.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
pub struct Presented {
    /// Whole days until it ends; negative once it has.
    pub days_left: i64,
    /// What it says.
    #[serde(flatten)]
    pub info: CertificateInfo,
}

/// What was found at an address.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
pub struct ConnectReport {
    /// As it was asked for.
    pub target: String,
    /// Where that leads.
    pub address: Option<SocketAddr>,
    /// What listens there.
    pub listens: Listens,
    /// The listener of a cluster of this workspace that was planned there.
    pub planned: Option<String>,
    /// Versions of TLS, old ones too; empty without TLS.
    pub versions: Vec<Version>,
    /// The presented chain, leaf first.
    pub chain: Vec<Presented>,
    /// Whether a client certificate is `demanded`, `asked-for` or `not-asked-for`.
    pub client_certificate: Option<&'static str>,
    /// The SASL mechanisms on offer; none when nobody may ask.
    pub mechanisms: Option<Vec<String>>,
    /// Who tried to get in.
    pub user: Option<String>,
    /// Whether it got in; none when nobody tried.
    pub let_in: Option<bool>,
    /// Why it ended as it did: `ok`, `unreachable`, `authentication`, `tls`.
    pub verdict: Verdict,
    /// Every finding.
    pub findings: Vec<Finding>,
    /// How long it took.
    pub millis: u64,
}

/// The sum of it.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
#[expect(clippy::exhaustive_enums, reason = "each has an exit code")]
pub enum Verdict {
    /// Nothing is wrong, and whoever tried got in.
    Ok,
    /// There is nobody to talk to, or somebody else than was thought.
    Unreachable,
    /// User name, password or mechanism was refused.
    Authentication,
    /// A certificate or the handshake.
    Tls,
}

/// Looks at `host:port`, and tries to get in when a visitor is given. `planned` names the listener that is planned
/// there, for the report.
pub async fn connect(target: &str, planned: Option<String>, visitor: Option<&Visitor>) -> ConnectReport {
    let mut look = Look::new(target, planned, visitor);
    let begun = Instant::now();
    if let Some(endpoint) = look.resolve().await {
        look.greet(&endpoint).await;
        if matches!(look.report.listens, Listens::Tls | Listens::TlsKafka) {
            look.chain();
        }
        look.visit(&endpoint).await;
    }
    look.report.millis = millis_since(begun);
    look.report
}

struct Look<'a> {
    report: ConnectReport,
    visitor: Option<&'a Visitor>,
}

fn soon() -> Deadline {
    Deadline::after(STEP)
}

impl<'a> Look<'a> {
    fn new(target: &str, planned: Option<String>, visitor: Option<&'a Visitor>) -> Self {
        let report = ConnectReport {
            target: target.to_owned(),
            address: None,
            listens: Listens::Nobody,
            planned,
            versions: Vec::new(),
            chain: Vec::new(),
            client_certificate: None,
            mechanisms: None,
            user: visitor.map(|visitor| visitor.login.user.clone()),
            let_in: None,
            verdict: Verdict::Ok,
            findings: Vec::new(),
            millis: 0,
        };
        Self { report, visitor }
    }

    /// Adds a finding; the first failure is the verdict.
    fn found(&mut self, finding: Finding, verdict: Verdict) {
        if finding.level == Level::Fail && self.report.verdict == Verdict::Ok {
            self.report.verdict = verdict;
        }
        self.report.findings.push(finding);
    }

    async fn resolve(&mut self) -> Option<Endpoint> {
        let target = self.report.target.clone();
        let host = target.rsplit_once(':').map_or(target.as_str(), |(host, _)| host);
        let host = host.trim_start_matches('[').trim_end_matches(']').to_owned();
        let resolved = soon().run(tokio::net::lookup_host(target.clone())).await;
        let found: Vec<SocketAddr> = match resolved {
            Ok(Ok(found)) => found.collect(),
            _ => Vec::new(),
        };
        // Clusters of this machine listen on 127.0.0.1, while `localhost` may lead to ::1 first.
        let address = found.iter().find(|address| address.is_ipv4()).or(found.first()).copied();
        let Some(dial) = address else {
            self.report.listens = Listens::UnknownHost;
            let next = "write host:port; look whether the name resolves here (`getent hosts`)";
            self.found(
                Finding::fail("listens", format!("{host} leads to no address"), next),
                Verdict::Unreachable,
            );
            return None;
        };
        self.report.address = Some(dial);
        Some(Endpoint { node: host.clone(), listener: "asked for".to_owned(), dial, server_name: host })
    }

    async fn greet(&mut self, endpoint: &Endpoint) {
        let spoken = match look::greet(endpoint, soon()).await {
            Ok(spoken) => spoken,
            Err(error) => return self.nobody(&error),
        };
        let (listens, seen) = match spoken {
            Spoken::Kafka => (Listens::PlaintextKafka, "Kafka without TLS".to_owned()),
            Spoken::ZooKeeper => (Listens::PlaintextZookeeper, "ZooKeeper without TLS".to_owned()),
            Spoken::Http(line) => (Listens::Http, format!("an HTTP server ({line})")),
            Spoken::Other(bytes) => (Listens::Other, format!("something unknown (it begins with {bytes})")),
            Spoken::NotPlain | Spoken::Silent => return self.handshakes(endpoint, spoken).await,
        };
        self.report.listens = listens;
        self.found(plain(listens, &seen, self.visitor.is_some()), Verdict::Tls);
    }

    fn nobody(&mut self, error: &WireError) {
        let planned = self.report.planned.clone();
        let refused = error.kind == WireErrorKind::Refused;
        self.report.listens = if refused { Listens::Nobody } else { Listens::Unreachable };
        let seen = if refused { "nobody: the port is closed".to_owned() } else { chain(error) };
        let next = match planned {
            Some(planned) => format!("{planned} is planned there: look at `cargo xtask cluster ps`, start it by `cluster start`"),
            None if refused => "look whether the service runs and the port is right; `cargo xtask cluster ps` lists those of clusters here".to_owned(),
            None => "look at firewall, network and address".to_owned(),
        };
        self.found(Finding::fail("listens", seen, next), Verdict::Unreachable);
    }

    /// Every version of TLS, and what a stranger is shown in the newest.
    async fn handshakes(&mut self, endpoint: &Endpoint, spoken: Spoken) {
        let mut shown: Option<Shown> = None;
        for (name, version) in [("TLS 1.3", &TLS13), ("TLS 1.2", &TLS12)] {
            let seen = look::handshake(endpoint, version, soon()).await.unwrap_or_default();
            self.report.versions.push(Version { version: name, accepted: !seen.chain.is_empty() });
            if shown.as_ref().is_none_or(|shown| shown.chain.is_empty()) {
                shown = Some(seen);
            }
        }
        let Some(shown) = shown.filter(|shown| !shown.chain.is_empty()) else {
            return self.no_tls(spoken);
        };
        for (name, version) in [("TLS 1.1", 0x0302), ("TLS 1.0", 0x0301)] {
            let answer = tls::hello(endpoint, version, soon()).await;
            let accepted =
                matches!(answer, Ok(HelloAnswer::ServerHello { version: chosen, .. }) if chosen == version);
            self.report.versions.push(Version { version: name, accepted });
        }
        self.report.listens = if shown.outcome == Outcome::Kafka { Listens::TlsKafka } else { Listens::Tls };
        self.report.findings.push(Finding::ok("listens", "TLS"));
        self.found(versions(&self.report.versions), Verdict::Tls);
        self.report.chain = presented(&shown.chain);
        let demands = shown.asks_for_certificate && shown.outcome != Outcome::Kafka;
        self.report.client_certificate = Some(match (demands, shown.asks_for_certificate) {
            (true, _) => "demanded",
            (false, true) => "asked-for",
            (false, false) => "not-asked-for",
        });
        self.report.findings.push(client_certificate(&shown, self.visitor.is_some()));
    }

    fn no_tls(&mut self, spoken: Spoken) {
        self.report.versions.clear();
        let silent = spoken == Spoken::Silent;
        self.report.listens = if silent { Listens::Silent } else { Listens::Other };
        let (seen, next) = if silent {
            (
                "somebody who accepts connections and says nothing",
                "the process hangs or is paused (`cluster ps`, `cluster resume`), or waits for a protocol that this is not",
            )
        } else {
            (
                "somebody who hangs up on everything",
                "the node is starting or stopping, or this is a port between servers (ZooKeeper's quorum and election)",
            )
        };
        self.found(Finding::fail("listens", seen, next), Verdict::Unreachable);
    }

    /// Judges the leaf as a stranger can: its days and names.
    fn chain(&mut self) {
        let Some(leaf) = self.report.chain.first().cloned() else { return };
        let names: Vec<String> = leaf.info.sans.iter().map(ToString::to_string).collect();
        let about = format!(
            "{}, issued by {}, for {}, {} days left, {} in the chain",
            leaf.info.subject,
            leaf.info.issuer,
            names.join(", "),
            leaf.days_left,
            self.report.chain.len()
        );
        let finding = match leaf.info.status(OffsetDateTime::now_utc()) {
            inventory::Status::Expired => Finding::fail(
                "certificate",
                format!("expired: {about}"),
                "renew it: `cargo xtask credentials` replaces what has expired, `cluster up` carries it out",
            ),
            inventory::Status::NotYetValid => Finding::fail(
                "certificate",
                format!("not valid yet: {about}"),
                "look at the clocks of both machines",
            ),
            inventory::Status::Valid if leaf.days_left < 30 => {
                Finding::warn("certificate", about, "renew it in time")
            }
            inventory::Status::Valid => Finding::ok("certificate", about),
        };
        self.found(finding, Verdict::Tls);
    }

    /// Gets in step by step, so that the first thing that is wrong is named and not its consequence.
    async fn visit(&mut self, endpoint: &Endpoint) {
        let Some(visitor) = self.visitor else { return };
        if !matches!(self.report.listens, Listens::Tls | Listens::TlsKafka) {
            self.report.let_in = Some(false);
            return;
        }
        let user = visitor.login.user.clone();
        let opened = Connection::open_unauthenticated(endpoint, &visitor.tls, soon()).await;
        let mechanisms = match opened {
            Ok(mut connection) => {
                self.report.listens = Listens::TlsKafka;
                let seen = format!("that of {user} is taken, and the server's is trusted by it");
                self.report.findings.push(Finding::ok("client-certificate", seen));
                sasl::mechanisms(&mut connection, soon()).await
            }
            Err(error) => {
                self.report.let_in = Some(false);
                return self.refused("client-certificate", &error);
            }
        };
        match mechanisms {
            Ok(mechanisms) => {
                let seen = format!("SASL mechanisms: {}", mechanisms.join(", "));
                self.report.findings.push(Finding::ok("mechanisms", seen));
                self.report.mechanisms = Some(mechanisms);
            }
            Err(error) => {
                let next = "this listener wants no log-in: set security.protocol to SSL, or dial another one";
                self.report.findings.push(Finding::warn("mechanisms", chain(&error), next));
            }
        }
        match Connection::open(endpoint, &visitor.tls, &visitor.login, soon()).await {
            Ok(_) => {
                self.report.let_in = Some(true);
                self.report.findings.push(Finding::ok("log-in", format!("{user} gets in")));
            }
            Err(error) => {
                self.report.let_in = Some(false);
                self.refused("log-in", &error);
            }
        }
    }

    fn refused(&mut self, check: &'static str, error: &WireError) {
        let (cause, next) = error.kind.advice().unwrap_or(("", "read the end of the node's log"));
        let cause = if cause.is_empty() { String::new() } else { format!(" (likely cause: {cause})") };
        let verdict = match error.kind {
            WireErrorKind::AuthenticationFailed { .. }
            | WireErrorKind::SaslMechanismNotEnabled { .. }
            | WireErrorKind::ServerNotGenuine => Verdict::Authentication,
            WireErrorKind::TlsAlert(_) | WireErrorKind::ServerCertificate(_) | WireErrorKind::NotTls => {
                Verdict::Tls
            }
            _ => Verdict::Unreachable,
        };
        self.found(Finding::fail(check, format!("{}{cause}", error.kind), next), verdict);
    }
}

/// A listener without TLS: what it is, and whether that is wrong.
fn plain(listens: Listens, seen: &str, wanted_in: bool) -> Finding {
    match listens {
        Listens::PlaintextKafka => {
            let next = "everything is readable on the wire; dial the listener with TLS, or make this one SASL_SSL. A client that \
                        speaks TLS here sees a time-out or a broken frame";
            if wanted_in {
                Finding::fail("listens", seen, next)
            } else {
                Finding::warn("listens", seen, next)
            }
        }
        Listens::PlaintextZookeeper => Finding::warn(
            "listens",
            seen,
            "whoever reaches it writes the cluster's metadata: close clientPort, use secureClientPort",
        ),
        Listens::Http if wanted_in => {
            let next =
                "a schema registry or a page, not a broker: dial a broker's EXTERNAL listener (`cluster ps`)";
            Finding::fail("listens", seen, next)
        }
        Listens::Http => Finding::ok("listens", seen),
        _ => Finding::fail("listens", seen, "it is no broker: look at the port (`cluster ps`)"),
    }
}

fn versions(versions: &[Version]) -> Finding {
    let told = |accepted: bool| -> Vec<&str> {
        versions
            .iter()
            .filter(|version| version.accepted == accepted)
            .map(|version| version.version)
            .collect()
    };
    let seen = format!("accepts {}, refuses {}", told(true).join(", "), told(false).join(", "));
    if versions.iter().any(|version| version.accepted && matches!(version.version, "TLS 1.1" | "TLS 1.0")) {
        return Finding::fail(
            "versions",
            seen,
            "set ssl.enabled.protocols to TLSv1.3,TLSv1.2: older ones are broken (RFC 8996)",
        );
    }
    if versions.iter().any(|version| version.version == "TLS 1.3" && !version.accepted) {
        return Finding::warn("versions", seen, "set ssl.enabled.protocols to TLSv1.3,TLSv1.2");
    }
    Finding::ok("versions", seen)
}

fn client_certificate(shown: &Shown, wanted_in: bool) -> Finding {
    const CHECK: &str = "client-certificate";
    match (&shown.outcome, shown.asks_for_certificate) {
        (Outcome::Kafka, false) => Finding::warn(
            CHECK,
            "not asked for: anybody can shake hands",
            "set listener.name.<listener>.ssl.client.auth=required; without its listener's prefix Kafka ignores it",
        ),
        (Outcome::Kafka, true) => Finding::warn(
            CHECK,
            "asked for, but who has none is let in",
            "set listener.name.<listener>.ssl.client.auth=required",
        ),
        (_, true) if wanted_in => Finding::ok(CHECK, "demanded"),
        (_, true) => {
            let mut finding = Finding::ok(CHECK, "demanded; what is inside is shown only to who has one");
            finding.next = Some("say who you are: `--user consumer`, or `--profile FILE`".to_owned());
            finding
        }
        (_, false) => Finding::ok(CHECK, "not asked for"),
    }
}

fn presented(chain: &[Vec<u8>]) -> Vec<Presented> {
    let now = OffsetDateTime::now_utc();
    let read = chain.iter().filter_map(|der| inventory::inspect_der(der).ok());
    read.map(|info| Presented { days_left: info.days_left(now), info }).collect()
}

impl ConnectReport {
    /// The worst of the findings.
    pub fn worst(&self) -> Level {
        worst(&self.findings)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_closed_port_and_an_unknown_host_are_told_apart() {
        let socket = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let target = socket.local_addr().unwrap().to_string();
        drop(socket);
        let report = connect(&target, Some("demo-kafka-1 EXTERNAL".to_owned()), None).await;
        assert_eq!((report.listens, report.verdict), (Listens::Nobody, Verdict::Unreachable));
        let next = report.findings[0].next.clone().unwrap();
        assert!(next.starts_with("demo-kafka-1 EXTERNAL is planned there"), "{next}");
        let report = connect("no-such-host.invalid:9093", None, None).await;
        assert_eq!((report.listens, report.verdict), (Listens::UnknownHost, Verdict::Unreachable));
    }

    #[test]
    fn old_versions_are_failures_and_a_missing_new_one_a_warning() {
        let list = |accepted: [bool; 4]| -> Vec<Version> {
            let names = ["TLS 1.3", "TLS 1.2", "TLS 1.1", "TLS 1.0"];
            names.into_iter().zip(accepted).map(|(version, accepted)| Version { version, accepted }).collect()
        };
        assert_eq!(versions(&list([true, true, false, false])).level, Level::Ok);
        assert_eq!(versions(&list([false, true, false, false])).level, Level::Warn);
        let old = versions(&list([true, true, true, false]));
        assert_eq!(old.level, Level::Fail);
        assert_eq!(old.seen, "accepts TLS 1.3, TLS 1.2, TLS 1.1, refuses TLS 1.0");
    }

    #[test]
    fn plain_listeners_are_wrong_only_for_who_wants_in() {
        for (listens, stranger, visitor) in [
            (Listens::PlaintextKafka, Level::Warn, Level::Fail),
            (Listens::Http, Level::Ok, Level::Fail),
            (Listens::PlaintextZookeeper, Level::Warn, Level::Warn),
            (Listens::Other, Level::Fail, Level::Fail),
        ] {
            assert_eq!(plain(listens, "x", false).level, stranger, "{listens:?}");
            assert_eq!(plain(listens, "x", true).level, visitor, "{listens:?}");
        }
    }
}
