//! Whether users get in, tried on every broker and listener.

use std::time::{Duration, Instant};

use futures::stream::{self, StreamExt as _};
use secrecy::SecretString;
use serde::Serialize;

use crate::lifecycle::chain;
use crate::names::{ClusterName, UserName};
use crate::ops::{Operated, OpsError, millis_since, soon};
use crate::plan::Role;
use crate::wait::{Probe, WaitError, wait_for};
use crate::wire::{Connection, Deadline, Endpoint, Login, TlsConfig, WireError, WireErrorKind};

/// Listeners on which a user is tried.
const LISTENERS: [&str; 2] = ["INTERNAL", "EXTERNAL"];

/// Log-ins at once: enough to keep two cores busy.
const PARALLEL: usize = 8;

/// How long one log-in may take.
const LOOK: Duration = Duration::from_secs(5);

/// How long a change of a user may take to reach every broker.
const SPREADING: Duration = Duration::from_secs(15);

/// How a log-in ended.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Tried {
    /// The broker took it.
    Accepted,
    /// The broker refused name or password.
    Refused,
    /// A handshake failed, ours or the broker's certificate.
    Tls,
    /// The broker could not be reached.
    Unreachable,
    /// It was not tried.
    NotTried,
}

/// One log-in.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
pub struct LoggedIn {
    /// The user.
    pub user: String,
    /// The broker's node; empty when nothing was tried.
    pub node: String,
    /// The listener; empty when nothing was tried.
    pub listener: String,
    /// How it ended.
    pub outcome: Tried,
    /// Why it was not accepted.
    pub why: Option<String>,
}

/// Every log-in that was tried.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
pub struct LogInReport {
    /// The cluster.
    pub cluster: ClusterName,
    /// Whether every user got in everywhere.
    pub ok: bool,
    /// Each log-in, by user, node, listener.
    pub log_ins: Vec<LoggedIn>,
    /// How long it took.
    pub millis: u64,
}

/// Logs users in on every listener of every broker: those named, or all that the cluster or the plan knows.
///
/// A user whose password is not in the cluster's directory is tried with `password`, else not tried, which does
/// not count as got in.
///
/// # Errors
/// [`OpsError::NoSuch`] for a user that is nowhere; else only when our own credentials cannot be read. A log-in
/// that is refused is an entry.
pub async fn verify(
    operated: &Operated,
    users: &[String],
    password: Option<&SecretString>,
) -> Result<LogInReport, OpsError> {
    let begun = Instant::now();
    let plan = &operated.cluster().plan;
    // The cluster is asked only for names that the plan does not know: verify must be able to say what is
    // wrong with a cluster that answers nobody.
    let foreign = match operated.admin()?.scram_users(soon()).await {
        Ok(found) => {
            found.into_iter().map(|user| user.name).filter(|name| plan.user(name).is_none()).collect()
        }
        Err(_) => Vec::new(),
    };
    let known: Vec<String> = plan.users.iter().map(|user| user.name.to_string()).chain(foreign).collect();
    let chosen: Vec<&String> = if users.is_empty() { known.iter().collect() } else { users.iter().collect() };
    let mut log_ins = Vec::new();
    let mut attempts = Vec::new();
    for name in chosen {
        if !known.contains(name) {
            return Err(OpsError::no_such("user", name, known.iter().map(String::as_str)));
        }
        match way(operated, name, password)? {
            Some((tls, login)) => attempts.extend(
                endpoints(operated)
                    .into_iter()
                    .map(|(listener, endpoint)| (listener, endpoint, tls.clone(), login.clone())),
            ),
            None => log_ins.push(LoggedIn {
                user: name.clone(),
                node: String::new(),
                listener: String::new(),
                outcome: Tried::NotTried,
                why: Some("its password is not here: give it by --password-file".to_owned()),
            }),
        }
    }
    let tried = attempts.into_iter().map(|(listener, endpoint, tls, login)| async move {
        attempt(listener, &endpoint, &tls, &login).await
    });
    log_ins.extend(stream::iter(tried).buffered(PARALLEL).collect::<Vec<_>>().await);
    let ok = log_ins.iter().all(|login| login.outcome == Tried::Accepted);
    Ok(LogInReport { cluster: plan.cluster.clone(), ok, log_ins, millis: millis_since(begun) })
}

/// How a user logs in; none when its password is nowhere. A user without a certificate of its own borrows the
/// administrator's, which Kafka does not hold against it.
fn way(
    operated: &Operated,
    name: &str,
    given: Option<&SecretString>,
) -> Result<Option<(TlsConfig, Login)>, OpsError> {
    let access = operated.access();
    let planned = operated.cluster().plan.user(name);
    let tls = access.user_tls(planned.map_or_else(|| access.user(Role::Admin), Ok)?)?;
    let login = match (given, planned) {
        (Some(password), _) => Login::new(name, password.clone()),
        (None, Some(user)) => access.login(user)?,
        (None, None) => return Ok(None),
    };
    Ok(Some((tls, login)))
}

fn endpoints(operated: &Operated) -> Vec<(&'static str, Endpoint)> {
    let access = operated.access();
    let of = |listener: &'static str| {
        access.brokers(listener).into_iter().map(move |broker| (listener, broker.endpoint))
    };
    LISTENERS.into_iter().flat_map(of).collect()
}

async fn attempt(listener: &str, endpoint: &Endpoint, tls: &TlsConfig, login: &Login) -> LoggedIn {
    let opened = Connection::open(endpoint, tls, login, Deadline::after(LOOK)).await;
    let (outcome, why) = match &opened {
        Ok(_) => (Tried::Accepted, None),
        Err(error) => (judged(error), Some(chain(error))),
    };
    LoggedIn {
        user: login.user.clone(),
        node: endpoint.node.clone(),
        listener: listener.to_owned(),
        outcome,
        why,
    }
}

fn judged(error: &WireError) -> Tried {
    match &error.kind {
        WireErrorKind::AuthenticationFailed { .. } | WireErrorKind::SaslMechanismNotEnabled { .. } => {
            Tried::Refused
        }
        WireErrorKind::TlsAlert(_) | WireErrorKind::ServerCertificate(_) | WireErrorKind::NotTls => {
            Tried::Tls
        }
        _ => Tried::Unreachable,
    }
}

/// Waits until a user gets in everywhere: a broker learns of a change a moment after the controller made it.
pub(super) async fn await_everywhere(
    operated: &Operated,
    user: &UserName,
    password: &SecretString,
) -> Result<Vec<LoggedIn>, OpsError> {
    await_all(operated, user, password, Tried::Accepted, "to get in").await
}

/// Waits until a password is refused everywhere.
pub(super) async fn await_refused(
    operated: &Operated,
    user: &UserName,
    password: &SecretString,
) -> Result<(), OpsError> {
    await_all(operated, user, password, Tried::Refused, "to be refused with its old password").await.map(drop)
}

async fn await_all(
    operated: &Operated,
    user: &UserName,
    password: &SecretString,
    wanted: Tried,
    words: &str,
) -> Result<Vec<LoggedIn>, OpsError> {
    let what = format!("user `{user}` {words} on every broker");
    let users = [user.to_string()];
    let waited: Result<_, WaitError<OpsError>> =
        wait_for(&what, SPREADING, Duration::from_millis(100), || async {
            let report = match verify(operated, &users, Some(password)).await {
                Ok(report) => report,
                Err(error) => return Probe::Failed(error),
            };
            match report.log_ins.iter().find(|login| login.outcome != wanted) {
                None => Probe::Ready(report.log_ins),
                Some(login) => Probe::NotYet(format!(
                    "{} {}: {}",
                    login.node,
                    login.listener,
                    login.why.as_deref().unwrap_or("accepted")
                )),
            }
        })
        .await;
    let explanation = format!("\n  what was changed stays; look again with `users verify {user}`");
    waited.map_err(|error| OpsError::waited(error, &explanation))
}
