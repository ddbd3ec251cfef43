//! Trying what a cell is about.

use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::time::Duration;

use caracal_pki::inventory;
use caracal_scram::Mechanism;
use kafka_protocol::messages::MetadataRequest;
use secrecy::SecretString;
use serde_json::{Value, json};
use tokio::io::AsyncReadExt as _;

use crate::admin::quorum;
use crate::lifecycle::{Access, chain};
use crate::names::UserName;
use crate::plan::{BOOTSTRAP_CERTIFICATE, Ca, ClusterPlan, SubjectPlan, UserPlan};
use crate::probe::tls::{self, HandshakeOutcome, Spoken};
use crate::registry::Registry;
use crate::wire::{Connection, Deadline, Endpoint, Login, TlsConfig, WireError, WireErrorKind, transport};
use crate::zookeeper::{ServerMode, ZkError, ZooKeeper, admin_words};

use super::act::{self, Act};
use super::cells::Names;
use super::identities::{Identities, Presented};
use super::judge::Seen;

/// How long a port that says nothing to a stranger may stay silent before that means "you are in". A refusal
/// comes within milliseconds.
const SILENCE: Duration = Duration::from_millis(1500);
const SESSION: Duration = Duration::from_secs(10);

/// What a cell does.
#[derive(Clone, Debug)]
pub(super) enum Attempt {
    Handshake { at: Endpoint, trusted: Ca, spoken: Spoken, presented: Presented },
    Kafka { user: UserName, act: Act },
    LogIn { at: Endpoint, user: UserName, how: LogInAs },
    OldTls { at: Endpoint },
    Plaintext { at: Endpoint, spoken: Spoken },
    Quorum { at: Endpoint, presented: Presented },
    Reach { at: Endpoint, from_outside: bool },
    Registry(RegistryAct),
    SilentHandshake { at: Endpoint, trusted: Ca, presented: Presented },
    Znode { presented: Presented, act: ZnodeAct },
}

/// How somebody logs in.
#[derive(Clone, Debug)]
pub(super) enum LogInAs {
    /// With its own certificate, password and mechanism.
    Itself,
    /// Not at all: a request comes first.
    Nobody,
    /// By the mechanism that is not enabled.
    Sha256,
    /// Under a name that does not exist.
    Unknown,
    /// With another user's certificate.
    WithCertificateOf(UserName),
    /// With another password.
    WrongPassword,
}

/// What is asked of a znode.
#[derive(Clone, Debug)]
pub(super) enum ZnodeAct {
    Acl(String),
    Read(String),
}

/// What is asked of the registry.
#[derive(Clone, Debug)]
pub(super) enum RegistryAct {
    Answer,
    Check(SubjectPlan, Compatibility),
    Level,
    Registered(SubjectPlan),
}

/// Which schema is checked.
#[derive(Clone, Copy, Debug)]
pub(super) enum Compatibility {
    /// The registered one with another type of its first field.
    Broken,
    /// The registered one.
    Same,
}

/// What every attempt needs.
pub(super) struct Context<'a> {
    pub(super) access: Access<'a>,
    pub(super) plan: &'a ClusterPlan,
    pub(super) identities: Identities,
    pub(super) names: Names,
    pub(super) guide: act::Guide,
    pub(super) pool: act::Pool,
}

impl Attempt {
    /// Tries once.
    pub(super) async fn run(&self, context: &Context<'_>, deadline: Deadline) -> Seen {
        if let Self::OldTls { at } | Self::Plaintext { at, .. } | Self::SilentHandshake { at, .. } = self
            && context.is_published(at)
            && let Some(seen) = context.follows(at, deadline).await
        {
            return seen;
        }
        match self {
            Self::Handshake { at, trusted, spoken, presented } => {
                let tls = match context.tls(presented, *trusted) {
                    Ok(tls) => tls,
                    Err(seen) => return seen,
                };
                match tls::handshake(at, &tls, *spoken, deadline).await {
                    Ok(outcome) => Seen::Handshake(outcome),
                    Err(error) => error.into(),
                }
            }
            Self::Kafka { user, act } => act.run(context, user, deadline).await,
            Self::LogIn { at, user, how } => log_in(context, at, user, how, deadline).await,
            Self::OldTls { at } => old_tls(context, at, deadline).await,
            Self::Plaintext { at, spoken } => plaintext(context, at, *spoken, deadline).await,
            Self::Quorum { at, presented } => match context.tls(presented, Ca::Control) {
                Ok(tls) => quorum(at, &tls, deadline).await,
                Err(seen) => seen,
            },
            Self::Reach { at, from_outside } => reach(at, *from_outside, deadline).await,
            Self::Registry(act) => registry(context, act).await,
            Self::SilentHandshake { at, trusted, presented } => match context.tls(presented, *trusted) {
                Ok(tls) => silent_handshake(context, at, &tls, deadline).await,
                Err(seen) => seen,
            },
            Self::Znode { presented, act } => znode(context, presented, act, deadline).await,
        }
    }
}

impl Context<'_> {
    fn tls(&self, presented: &Presented, trusted: Ca) -> Result<TlsConfig, Seen> {
        match self.identities.tls(&self.access, self.plan, presented, trusted) {
            Ok(Some(tls)) => Ok(tls),
            Ok(None) if *presented == Presented::Expired => Err(Seen::NotRun(
                "the authority is younger than any certificate that could have expired, or its key is not here"
                    .to_owned(),
            )),
            Ok(None) if matches!(presented, Presented::Minted | Presented::NotYetValid) => {
                Err(Seen::NotRun("the authority's key is not here, so nothing can be signed for this".to_owned()))
            }
            Ok(None) => Err(Seen::Broken(format!("the plan has no certificate for {presented:?}"))),
            Err(error) => Err(Seen::Broken(chain(&error))),
        }
    }

    /// A user of the plan.
    pub(super) fn user(&self, name: &UserName) -> Result<&UserPlan, Seen> {
        self.plan.user(name.as_str()).ok_or_else(|| Seen::Broken(format!("the plan has no user {name}")))
    }

    /// Why nothing listens at a port where something should.
    async fn absent(&self, at: &Endpoint, error: WireError, deadline: Deadline) -> Seen {
        self.follows(at, deadline).await.unwrap_or_else(|| error.into())
    }

    /// That a quorum port belongs to the leader alone, where it is that of a follower.
    async fn follows(&self, at: &Endpoint, deadline: Deadline) -> Option<Seen> {
        let client = self.access.zookeepers().into_iter().find(|known| known.node == at.node);
        let client = client.filter(|_| at.listener == "QUORUM")?;
        let status = admin_words::status(&client, &self.access.zookeeper_tls().ok()?, deadline).await.ok()?;
        (status.mode == ServerMode::Follower)
            .then(|| Seen::NotRun(format!("{} follows, and only the leader listens there", at.node)))
    }

    /// Whether somebody else takes connections for a listener: an engine of containers does, also when nobody
    /// listens behind it.
    fn is_published(&self, at: &Endpoint) -> bool {
        let listener = self.plan.node(&at.node).and_then(|node| node.listener(&at.listener));
        listener.is_some_and(|listener| listener.inside.is_some())
    }
}

impl From<WireError> for Seen {
    fn from(error: WireError) -> Self {
        Self::Wire { kind: error.kind.clone(), text: chain(&error) }
    }
}

impl From<ZkError> for Seen {
    fn from(error: ZkError) -> Self {
        match error {
            ZkError::Connection(error) => (*error).into(),
            other => match other.code() {
                Some(code) => Self::ZooKeeper { code, text: code.to_string() },
                None => Self::Broken(chain(&other)),
            },
        }
    }
}

async fn log_in(
    context: &Context<'_>,
    at: &Endpoint,
    user: &UserName,
    how: &LogInAs,
    deadline: Deadline,
) -> Seen {
    let (tls, login) = match credentials(context, user, how) {
        Ok(both) => both,
        Err(seen) => return seen,
    };
    if matches!(how, LogInAs::Nobody) {
        return request_before_log_in(at, &tls, deadline).await;
    }
    match Connection::open(at, &tls, &login, deadline).await {
        Ok(_) => Seen::Accepted(format!("logged in as {}", login.principal())),
        Err(error) => error.into(),
    }
}

fn credentials(context: &Context<'_>, user: &UserName, how: &LogInAs) -> Result<(TlsConfig, Login), Seen> {
    let broken = |error: crate::lifecycle::access::AccessError| Seen::Broken(chain(&error));
    let planned = context.user(user)?;
    let login = context.access.login(planned).map_err(broken)?;
    let login = match how {
        LogInAs::Sha256 => login.with_mechanism(Mechanism::ScramSha256),
        LogInAs::Unknown => Login { user: format!("{}-nobody", context.names.scratch()), ..login },
        LogInAs::WrongPassword => {
            Login { password: SecretString::from(format!("wrong-{}", context.names.salt)), ..login }
        }
        LogInAs::Itself | LogInAs::Nobody | LogInAs::WithCertificateOf(_) => login,
    };
    let certificate = match how {
        LogInAs::WithCertificateOf(other) => context.user(other)?,
        _ => planned,
    };
    Ok((context.access.user_tls(certificate).map_err(broken)?, login))
}

/// Kafka answers `ApiVersions` to anybody, and must hang up at anything else before a log-in.
async fn request_before_log_in(at: &Endpoint, tls: &TlsConfig, deadline: Deadline) -> Seen {
    let mut connection = match Connection::open_unauthenticated(at, tls, deadline).await {
        Ok(connection) => connection,
        Err(error) => return Seen::Broken(chain(&error)),
    };
    match connection.call(&MetadataRequest::default(), deadline).await {
        Ok(_) => Seen::Accepted("told the cluster's layout to somebody who did not log in".to_owned()),
        Err(error) if error.kind == WireErrorKind::Closed => Seen::ClosedWithoutAnswer,
        Err(error) => error.into(),
    }
}

async fn old_tls(context: &Context<'_>, at: &Endpoint, deadline: Deadline) -> Seen {
    match tls::legacy_tls(at, deadline).await {
        Ok(outcome) => Seen::OldTls(outcome),
        Err(error) if error.kind == WireErrorKind::Refused => context.absent(at, error, deadline).await,
        Err(error) => error.into(),
    }
}

async fn plaintext(context: &Context<'_>, at: &Endpoint, spoken: Spoken, deadline: Deadline) -> Seen {
    match tls::plaintext(at, spoken, deadline).await {
        Ok(outcome) => Seen::Plaintext(outcome),
        Err(error) if error.kind == WireErrorKind::Refused => context.absent(at, error, deadline).await,
        Err(error) => error.into(),
    }
}

async fn silent_handshake(context: &Context<'_>, at: &Endpoint, tls: &TlsConfig, deadline: Deadline) -> Seen {
    let refused = |error: WireError| match error.kind {
        WireErrorKind::TlsAlert(alert) => Seen::Handshake(HandshakeOutcome::Alert(alert)),
        WireErrorKind::Closed => Seen::Handshake(HandshakeOutcome::Closed),
        _ => error.into(),
    };
    let mut stream = match transport::dial_tls(at, tls, deadline).await {
        Ok(stream) => stream,
        Err(error) if error.kind == WireErrorKind::Refused => {
            return context.absent(at, error, deadline).await;
        }
        Err(error) => return refused(error),
    };
    let mut byte = [0; 1];
    match deadline.at_most(SILENCE).run(stream.read(&mut byte)).await {
        Err(_) => Seen::Accepted("certificate accepted: the port waits for a peer's first words".to_owned()),
        Ok(Ok(0)) => Seen::Handshake(HandshakeOutcome::Closed),
        Ok(Ok(_)) => Seen::Handshake(HandshakeOutcome::Accepted),
        Ok(Err(error)) => refused(at.io_error("probe", error)),
    }
}

async fn reach(at: &Endpoint, from_outside: bool, deadline: Deadline) -> Seen {
    let mut at = at.clone();
    if from_outside {
        let Some(address) = outside_address() else {
            return Seen::NotRun("this machine has no address but loopback".to_owned());
        };
        at.dial = SocketAddr::new(address, at.dial.port());
    }
    match transport::dial(&at, deadline).await {
        Ok(_) => Seen::Accepted(format!("connected to {}", at.dial)),
        Err(error) => error.into(),
    }
}

/// The address that this machine would use towards others; looking for it sends nothing.
fn outside_address() -> Option<IpAddr> {
    let socket = UdpSocket::bind(("0.0.0.0", 0)).ok()?;
    // TEST-NET-3 of RFC 5737: nobody is there, and nobody is asked.
    socket.connect(("203.0.113.1", 9)).ok()?;
    let address = socket.local_addr().ok()?.ip();
    (!address.is_loopback() && !address.is_unspecified()).then_some(address)
}

async fn quorum(at: &Endpoint, tls: &TlsConfig, deadline: Deadline) -> Seen {
    match quorum::describe(at, tls, deadline).await {
        Ok(Some(seen)) => Seen::Accepted(format!("leads {} voters", seen.voters.len())),
        Ok(None) => Seen::Accepted("does not lead".to_owned()),
        Err(error) => error.into(),
    }
}

async fn znode(context: &Context<'_>, presented: &Presented, act: &ZnodeAct, deadline: Deadline) -> Seen {
    let tls = match context.tls(presented, Ca::Control) {
        Ok(tls) => tls,
        Err(seen) => return seen,
    };
    let ensemble = context.access.zookeepers();
    let mut session = match ZooKeeper::connect_any(&ensemble, &tls, SESSION, deadline).await {
        Ok(session) => session,
        Err(error) => return Seen::Broken(chain(&error)),
    };
    let seen = match act {
        // Never what it holds: among these are credentials.
        ZnodeAct::Read(path) => match session.data(path, deadline).await {
            Ok((data, _)) => Seen::Accepted(format!("read {} bytes", data.len())),
            Err(error) => error.into(),
        },
        ZnodeAct::Acl(path) => match (session.acl(path, deadline).await, owner(context)) {
            (Ok(entries), Ok(owner)) => Seen::Acl { entries, owner },
            (Err(error), _) => error.into(),
            (_, Err(seen)) => seen,
        },
    };
    // The server forgets the session by itself; closing only saves it the wait.
    let _ = session.close(deadline).await;
    seen
}

/// The subject that ZooKeeper must name as owner.
fn owner(context: &Context<'_>) -> Result<String, Seen> {
    let issued = context.access.credentials().issued(BOOTSTRAP_CERTIFICATE);
    let issued = issued.map_err(|error| Seen::Broken(chain(&error)))?;
    let first = inventory::inspect_pem(issued.chain_pem()).map_err(|error| Seen::Broken(chain(&error)))?;
    let missing = || Seen::Broken("the brokers' certificate for ZooKeeper is empty".to_owned());
    first.into_iter().next().map(|info| info.subject).ok_or_else(missing)
}

async fn registry(context: &Context<'_>, act: &RegistryAct) -> Seen {
    let seen = async {
        let registry = Registry::new(context.plan.endpoints.registry_url.as_deref().unwrap_or_default())?;
        Ok(match act {
            RegistryAct::Answer => {
                Seen::Accepted(format!("{} subjects at {}", registry.subjects().await?.len(), registry.url()))
            }
            RegistryAct::Level => Seen::Found(registry.compatibility().await?),
            RegistryAct::Registered(subject) => {
                match registry.lookup(&subject.subject, &subject.schema).await? {
                    Some(found) => Seen::Accepted(format!("id {}", found.id)),
                    None => Seen::Broken(format!("{} lacks the planned schema", subject.subject)),
                }
            }
            RegistryAct::Check(subject, which) => {
                let schema = match which {
                    Compatibility::Same => subject.schema.clone(),
                    Compatibility::Broken => broken(&subject.schema),
                };
                Seen::Compatible(registry.is_compatible(&subject.subject, &schema).await?)
            }
        })
    };
    let seen: Result<Seen, crate::registry::RegistryError> = seen.await;
    seen.unwrap_or_else(|error| Seen::Broken(chain(&error)))
}

/// The schema with another type of its first field: compatible in no direction.
fn broken(schema: &str) -> String {
    let mut schema: Value = serde_json::from_str(schema).unwrap_or_default();
    if let Some(field) = schema.pointer_mut("/fields/0") {
        field["type"] = if field["type"] == "boolean" { json!("string") } else { json!("boolean") };
        if let Some(field) = field.as_object_mut() {
            field.remove("default");
        }
    }
    schema.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_broken_schema_differs_in_one_type_and_is_a_schema_still() {
        for event in caracal_kafka_contract::events::EventType::ALL {
            let text = broken(event.schema());
            apache_avro::Schema::parse_str(&text).unwrap();
            let (old, new): (Value, Value) =
                (serde_json::from_str(event.schema()).unwrap(), serde_json::from_str(&text).unwrap());
            assert_ne!(old["fields"][0]["type"], new["fields"][0]["type"]);
            assert_eq!(old["fields"][1], new["fields"][1]);
        }
    }
}
