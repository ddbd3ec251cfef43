//! Which cells there are: from the plan alone, so that the list itself can be looked at without a cluster.
//!
//! Every refusal names the cell that is its control: the same thing, accepted, with one difference removed.

use time::OffsetDateTime;

use crate::names::UserName;
use crate::plan::{
    Ca, ClusterPlan, ListenerPlan, NodePlan, NodeRole, Protection, Role, SubjectPlan, UserPlan,
};
use crate::probe::tls::Spoken;
use crate::wire::Endpoint;

use super::Group;
use super::attempt::{Attempt, Compatibility, LogInAs, RegistryAct, ZnodeAct};
use super::identities::Presented;
use super::judge::{Expected, Refusal};
use super::{controllers, rights};

/// A cell that is to be run.
#[derive(Clone, Debug)]
pub(super) struct Planned {
    pub(super) id: String,
    pub(super) group: Group,
    pub(super) what: String,
    pub(super) target: String,
    pub(super) principal: Option<String>,
    pub(super) expected: Expected,
    pub(super) control: Option<String>,
    pub(super) attempt: Attempt,
}

impl Planned {
    /// A cell that expects to be allowed. Its id is its group, its target and `slug`.
    pub(super) fn new(
        group: Group,
        slug: &str,
        target: impl Into<String>,
        what: impl Into<String>,
        attempt: Attempt,
    ) -> Self {
        let target = target.into();
        Self {
            id: format!("{}/{}/{slug}", group.label(), target.replace(' ', "/")),
            group,
            what: what.into(),
            target,
            principal: None,
            expected: Expected::Allowed,
            control: None,
            attempt,
        }
    }

    /// The same as a principal.
    pub(super) fn by(mut self, user: &str) -> Self {
        self.principal = Some(format!("User:{user}"));
        self.id = format!("{}/{user}", self.id);
        self
    }

    /// The same, expected to be refused; `control` is the id of the cell that shows the difference.
    pub(super) fn refused(mut self, how: Refusal, control: &str) -> Self {
        self.expected = Expected::Refused(how);
        self.control = Some(control.to_owned());
        self
    }

    /// The same, expected to find exactly this.
    pub(super) fn exactly(mut self, what: impl Into<String>) -> Self {
        self.expected = Expected::Exactly(what.into());
        self
    }
}

/// What a run of the matrix calls its own: `salt` is another one every time and begins with the time.
#[derive(Clone, Debug)]
pub(super) struct Names {
    pub(super) salt: String,
}

/// How old a topic or group of another run must be, in seconds, before it is taken for one whose run was killed.
const ABANDONED: i64 = 3600;
/// Length of a salt: two numbers of 32 bits in hexadecimal, and what stands between.
const SALT: usize = 17;

impl Names {
    /// The names of a run that begins now.
    pub(super) fn new(now: OffsetDateTime, random: &[u8]) -> Self {
        Self { salt: format!("{:08x}-{}", now.unix_timestamp(), hex::encode(random)) }
    }

    /// Whether a topic or group is to be deleted at the end of this run: it is its own, or of a run that ended,
    /// a while ago, without deleting it.
    pub(super) fn is_doomed(&self, name: &str, now: OffsetDateTime) -> bool {
        let salt = |prefix: &str| Self::salt_of(name.strip_prefix(prefix)?);
        let prefixes = ["", crate::plan::APPLICATION_PREFIX, crate::plan::REGISTRY_GROUP_PREFIX];
        prefixes
            .into_iter()
            .find_map(salt)
            .is_some_and(|(salt, made)| salt == self.salt || now.unix_timestamp() - made > ABANDONED)
    }

    /// The salt in `verify-<salt>` or `verify-<salt>-...`, and the second in which its run began.
    fn salt_of(name: &str) -> Option<(&str, i64)> {
        let rest = name.strip_prefix("verify-")?;
        let (salt, rest) = rest.split_at_checked(SALT)?;
        let (time, random) = salt.split_once('-')?;
        let hexadecimal = |part: &str| part.len() == 8 && part.bytes().all(|byte| byte.is_ascii_hexdigit());
        let whole = rest.is_empty() || rest.starts_with('-');
        let made = (whole && hexadecimal(time) && hexadecimal(random)).then_some(time)?;
        Some((salt, i64::from_str_radix(made, 16).ok()?))
    }

    /// The topic, and whatever else, that no application has a right to.
    pub(super) fn scratch(&self) -> String {
        format!("verify-{}", self.salt)
    }

    /// Below the prefix of Caracal's own applications.
    pub(super) fn application(&self) -> String {
        format!("{}verify-{}", crate::plan::APPLICATION_PREFIX, self.salt)
    }
}

/// Every cell of a plan.
pub(super) fn cells(plan: &ClusterPlan, names: &Names) -> Vec<Planned> {
    let mut cells = Vec::new();
    for node in &plan.nodes {
        for listener in &node.listeners {
            match listener.protection {
                Protection::MutualTlsScram => broker_listener(&mut cells, plan, node, listener),
                Protection::MutualTls if controllers::is_theirs(listener) => {
                    controllers::listener(&mut cells, plan, node, listener);
                }
                Protection::MutualTls => zookeeper_listener(&mut cells, plan, node, listener),
                Protection::Http => http_listener(&mut cells, node, listener),
            }
        }
    }
    if plan.nodes_of(NodeRole::Zookeeper).next().is_some() {
        znodes(&mut cells, plan);
    }
    rights::cells(&mut cells, plan, names);
    if let Some(node) = plan.nodes_of(NodeRole::SchemaRegistry).next() {
        registry(&mut cells, plan, node);
    }
    for cell in &mut cells {
        // The same cell has the same id in every run.
        cell.id = cell.id.replace(&names.salt, "x");
        cell.control = cell.control.take().map(|control| control.replace(&names.salt, "x"));
    }
    cells
}

/// Whoever stands for "an application" where any would do.
pub(super) fn anybody(plan: &ClusterPlan) -> Option<&UserPlan> {
    let with = |role| plan.users.iter().find(|user| user.role == role && user.certificate.is_some());
    with(Role::Producer).or_else(|| with(Role::Consumer)).or_else(|| with(Role::Admin))
}

pub(super) fn target(node: &NodePlan, listener: &ListenerPlan) -> String {
    format!("{} {}", node.name, listener.name)
}

/// A certificate that a port must refuse.
pub(super) struct Wrong {
    slug: &'static str,
    what: String,
    presented: Presented,
    refusal: Refusal,
}

impl Wrong {
    fn new(slug: &'static str, what: impl Into<String>, presented: Presented, refusal: Refusal) -> Self {
        Self { slug, what: what.into(), presented, refusal }
    }
}

/// The cells that every TLS port has.
pub(super) fn tls_port(
    cells: &mut Vec<Planned>,
    group: Group,
    (node, listener): (&NodePlan, &ListenerPlan),
    right: Presented,
    wrong: Vec<Wrong>,
    silent: bool,
) {
    let (at, target) = (Endpoint::of(node, listener), target(node, listener));
    let trusted = listener.ca.unwrap_or(Ca::Data);
    let kafka = trusted == Ca::Data || controllers::is_theirs(listener);
    let spoken = if kafka { Spoken::Kafka } else { Spoken::ZooKeeper };
    let shake = |presented| {
        let at = at.clone();
        if silent {
            Attempt::SilentHandshake { at, trusted, presented }
        } else {
            Attempt::Handshake { at, trusted, spoken, presented }
        }
    };
    let allowed = |slug, what, presented| Planned::new(group, slug, &target, what, shake(presented));
    let control = allowed("right-certificate", "handshake with the right certificate", right);
    let what = "handshake with a certificate made for this run";
    let minted = allowed("minted-certificate", what, Presented::Minted);
    let (id, minted_id) = (control.id.clone(), minted.id.clone());
    cells.extend([control, minted]);
    for wrong in wrong {
        // What was made for this run differs in one thing from another one that was.
        let made =
            matches!(wrong.presented, Presented::Foreign | Presented::Expired | Presented::NotYetValid);
        let user = match &wrong.presented {
            Presented::User(user) => Some(user.to_string()),
            _ => None,
        };
        let cell = Planned::new(group, wrong.slug, &target, wrong.what, shake(wrong.presented))
            .refused(wrong.refusal, if made { &minted_id } else { &id });
        cells.push(match user {
            Some(user) => Planned { id: format!("{}/{user}", cell.id), ..cell },
            None => cell,
        });
    }
    let plaintext = Attempt::Plaintext { at: at.clone(), spoken };
    cells.push(
        Planned::new(group, "plaintext", &target, "a request without TLS", plaintext)
            .refused(Refusal::Plaintext, &id),
    );
    let old = Attempt::OldTls { at: at.clone() };
    cells.push(
        Planned::new(group, "tls-1.1", &target, "handshake in TLS 1.1", old).refused(Refusal::OldTls, &id),
    );
    if listener.bind.ip().is_loopback() {
        cells.push(outside(group, &target, &at, &id));
    }
}

fn outside(group: Group, target: &str, at: &Endpoint, control: &str) -> Planned {
    let what = "a connection to the same port on an address that is not loopback";
    let attempt = Attempt::Reach { at: at.clone(), from_outside: true };
    Planned::new(group, "outside", target, what, attempt).refused(Refusal::Unreachable, control)
}

fn broker_listener(cells: &mut Vec<Planned>, plan: &ClusterPlan, node: &NodePlan, listener: &ListenerPlan) {
    let Some(user) = anybody(plan) else { return };
    let right = Presented::User(user.name.clone());
    let mut wrong = wrong_certificates(Refusal::Certificate, Refusal::Certificate);
    let what = "handshake with a certificate of the control plane";
    wrong.push(Wrong::new(
        "control-plane-certificate",
        what,
        Presented::MetadataClient,
        Refusal::Certificate,
    ));
    tls_port(cells, Group::Transport, (node, listener), right, wrong, false);
    log_ins(cells, plan, user, node, listener);
}

pub(super) fn wrong_certificates(missing: Refusal, other: Refusal) -> Vec<Wrong> {
    let with = |slug, what: &str, presented, refusal| {
        Wrong::new(slug, format!("handshake {what}"), presented, refusal)
    };
    vec![
        with("no-certificate", "without certificate", Presented::Nothing, missing),
        with("foreign-certificate", "with a certificate of a foreign CA", Presented::Foreign, other),
        with("expired-certificate", "with an expired certificate", Presented::Expired, other),
        with("early-certificate", "with a certificate that is not valid yet", Presented::NotYetValid, other),
    ]
}

/// Every application's certificate, at a port of the control plane.
pub(super) fn applications(plan: &ClusterPlan) -> impl Iterator<Item = Wrong> {
    plan.users.iter().filter(|user| user.certificate.is_some()).map(|user| {
        let what = format!("handshake with the certificate of {}", user.name);
        Wrong::new("application-certificate", what, Presented::User(user.name.clone()), Refusal::Certificate)
    })
}

fn log_ins(
    cells: &mut Vec<Planned>,
    plan: &ClusterPlan,
    user: &UserPlan,
    node: &NodePlan,
    listener: &ListenerPlan,
) {
    let (at, target) = (Endpoint::of(node, listener), target(node, listener));
    let log_in = |name: &UserName, how| Attempt::LogIn { at: at.clone(), user: name.clone(), how };
    let cell =
        |slug: &str, what: &str, attempt| Planned::new(Group::Authentication, slug, &target, what, attempt);
    let mut control = String::new();
    for known in &plan.users {
        let what = format!("{} logs in", known.name);
        let right = cell("log-in", &what, log_in(&known.name, LogInAs::Itself)).by(known.name.as_str());
        if known.name == user.name {
            control.clone_from(&right.id);
        }
        cells.push(right);
    }
    let name = user.name.as_str();
    let other = plan.users.iter().find(|other| other.name != user.name && other.certificate.is_some());
    if let Some(other) = other {
        let what =
            format!("{name} logs in with the certificate of {}: Kafka does not bind the two", other.name);
        let how = LogInAs::WithCertificateOf(other.name.clone());
        cells.push(cell("other-certificate", &what, log_in(&user.name, how)).by(name));
    }
    let refused = [
        (
            "wrong-password",
            format!("{name} logs in with a wrong password"),
            LogInAs::WrongPassword,
            Refusal::LogIn,
        ),
        ("unknown-user", "somebody unknown logs in".to_owned(), LogInAs::Unknown, Refusal::LogIn),
        ("sha-256", format!("{name} logs in by SCRAM-SHA-256"), LogInAs::Sha256, Refusal::Mechanism),
        ("no-log-in", "a request without any log-in".to_owned(), LogInAs::Nobody, Refusal::LogInFirst),
    ];
    for (slug, what, how, refusal) in refused {
        let known = matches!(how, LogInAs::WrongPassword | LogInAs::Sha256);
        let planned = cell(slug, &what, log_in(&user.name, how)).refused(refusal, &control);
        cells.push(if known { planned.by(name) } else { planned });
    }
}

/// ZooKeeper's ports: its quorum and election ports say nothing to a stranger, so there silence after the
/// handshake means being let in.
fn zookeeper_listener(
    cells: &mut Vec<Planned>,
    plan: &ClusterPlan,
    node: &NodePlan,
    listener: &ListenerPlan,
) {
    let mut wrong = wrong_certificates(Refusal::CertificateAtZooKeeper, Refusal::Certificate);
    wrong.extend(applications(plan));
    let silent = listener.name.as_str() != "CLIENT";
    let right =
        if silent { Presented::Planned(own_certificate(plan, node)) } else { Presented::MetadataClient };
    tls_port(cells, Group::ControlPlane, (node, listener), right, wrong, silent);
}

/// The certificate that a node of the control plane presents to its peers.
fn own_certificate(plan: &ClusterPlan, node: &NodePlan) -> String {
    let own = |known: &&crate::plan::CertificatePlan| {
        known.ca == Ca::Control && known.common_name == node.name.as_str()
    };
    plan.pki.certificates.iter().find(own).map(|known| known.id.clone()).unwrap_or_default()
}

fn http_listener(cells: &mut Vec<Planned>, node: &NodePlan, listener: &ListenerPlan) {
    let (at, target) = (Endpoint::of(node, listener), target(node, listener));
    let attempt = Attempt::Reach { at: at.clone(), from_outside: false };
    let control = Planned::new(Group::Registry, "loopback", &target, "a connection on loopback", attempt);
    let id = control.id.clone();
    cells.push(control);
    cells.push(outside(Group::Registry, &target, &at, &id));
}

/// Whose certificate opens which znodes.
fn znodes(cells: &mut Vec<Planned>, plan: &ClusterPlan) {
    const USERS: &str = "/config/users";
    let cell = |slug: &str, path: &str, what: &str, presented: Presented, act| {
        Planned::new(Group::ControlPlane, slug, path, what, Attempt::Znode { presented, act })
    };
    let secret: Vec<String> = std::iter::once(USERS.to_owned())
        .chain(plan.users.iter().map(|user| crate::zookeeper::users::user_path(user.name.as_str())))
        .collect();
    for path in &secret {
        let read = |presented| {
            let what = "a broker's certificate reads it";
            cell("owner-reads", path, what, presented, ZnodeAct::Read(path.clone()))
        };
        let control = read(Presented::MetadataClient);
        let id = control.id.clone();
        cells.push(control);
        let what = "another certificate of the control authority reads it";
        let stranger = cell("stranger-reads", path, what, Presented::Minted, ZnodeAct::Read(path.clone()));
        cells.push(stranger.refused(Refusal::ZnodeNoAuth, &id));
        let what = "anybody but the brokers has access";
        let acl = cell("acl", path, what, Presented::MetadataClient, ZnodeAct::Acl(path.clone()));
        cells.push(acl.refused(Refusal::OwnerOnly, &id));
    }
    for path in [
        "/brokers",
        "/brokers/ids",
        "/brokers/topics",
        "/config",
        "/config/topics",
        "/controller",
        "/kafka-acl",
    ] {
        let what = "a broker's certificate reads it";
        let control =
            cell("owner-reads", path, what, Presented::MetadataClient, ZnodeAct::Read(path.to_owned()));
        let what = "anybody but the brokers may change it";
        let acl = cell("acl", path, what, Presented::MetadataClient, ZnodeAct::Acl(path.to_owned()));
        let acl = acl.refused(Refusal::ReadOnlyToOthers, &control.id);
        cells.extend([control, acl]);
    }
}

fn registry(cells: &mut Vec<Planned>, plan: &ClusterPlan, node: &NodePlan) {
    let name = node.name.as_str();
    let cell = |slug: &str, target: &str, what: &str, act| {
        Planned::new(Group::Registry, slug, target, what, Attempt::Registry(act))
    };
    cells.push(cell("answers", name, "it answers at its address", RegistryAct::Answer));
    if let Some(subject) = plan.subjects.first() {
        let level = cell("level", name, "its compatibility level", RegistryAct::Level);
        cells.push(level.exactly(&subject.compatibility));
    }
    for subject in &plan.subjects {
        let schema = |act: fn(SubjectPlan) -> RegistryAct| act(subject.clone());
        let present = format!("the schema of {} is registered", subject.record);
        cells.push(cell("schema", &subject.subject, &present, schema(RegistryAct::Registered)));
        if subject.compatibility == "NONE" {
            continue;
        }
        let check = |compatibility| RegistryAct::Check(subject.clone(), compatibility);
        let what = "the registered schema is compatible";
        let control = cell("compatible", &subject.subject, what, check(Compatibility::Same));
        let what = "a schema whose first field has another type is compatible";
        let broken = cell("incompatible", &subject.subject, what, check(Compatibility::Broken));
        let broken = broken.refused(Refusal::Incompatible, &control.id);
        cells.extend([control, broken]);
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::plan::tests::default_plan;

    fn matrix() -> Vec<Planned> {
        cells(&default_plan(), &Names { salt: "5a17".to_owned() })
    }

    #[test]
    fn every_refusal_has_a_control_that_is_expected_to_be_accepted() {
        let cells = matrix();
        let by_id: BTreeMap<&str, &Planned> = cells.iter().map(|cell| (cell.id.as_str(), cell)).collect();
        assert_eq!(by_id.len(), cells.len(), "two cells have one id");
        for cell in &cells {
            match (&cell.expected, &cell.control) {
                (Expected::Refused(_), Some(control)) => {
                    let control =
                        by_id.get(control.as_str()).unwrap_or_else(|| panic!("{control} of {}", cell.id));
                    assert!(!matches!(control.expected, Expected::Refused(_)), "{}", cell.id);
                }
                (Expected::Refused(_), None) => panic!("{} has no control", cell.id),
                (_, control) => assert_eq!(*control, None, "{}", cell.id),
            }
        }
    }

    #[test]
    fn what_a_run_made_is_deleted_by_itself_or_once_it_is_old() {
        let now = OffsetDateTime::from_unix_timestamp(1_800_000_000).unwrap();
        let names = |age: i64, random: u8| Names::new(now - time::Duration::seconds(age), &[random; 4]);
        let run = names(5, 1);
        let made = |names: &Names| {
            let (scratch, application) = (names.scratch(), names.application());
            [
                format!("{application}-0011223344556677-caracal.metering.events"),
                application,
                format!("schema-registry-{scratch}"),
                scratch,
            ]
        };
        for name in made(&run).iter().chain(&made(&names(ABANDONED + 1, 2))) {
            assert!(run.is_doomed(name, now), "{name}");
        }
        // Another run that may be still at work, and what only looks like a run's.
        for name in made(&names(ABANDONED - 1, 2)) {
            assert!(!run.is_doomed(&name, now), "{name}");
        }
        let others = [
            "verify-",
            "verify-00000001",
            "verify-00000001-x",
            "verify-00000001-0000000g",
            "verify-00000001-00000001x",
            "my-verify-00000001-00000001",
            "caracal.dlq",
            "caracal-verify",
        ];
        for other in others {
            assert!(!run.is_doomed(other, now), "{other}");
        }
    }

    #[test]
    fn every_listener_and_every_topic_is_covered() {
        let (plan, cells) = (default_plan(), matrix());
        let refused = |target: &str, slug: &str| {
            cells.iter().any(|cell| {
                cell.target == target
                    && cell.id.contains(slug)
                    && matches!(cell.expected, Expected::Refused(_))
            })
        };
        for node in &plan.nodes {
            for listener in node.listeners.iter().filter(|listener| listener.protection != Protection::Http) {
                let target = target(node, listener);
                for slug in
                    ["no-certificate", "foreign", "expired", "early", "plaintext", "tls-1.1", "outside"]
                {
                    assert!(refused(&target, slug), "{target} lacks {slug}");
                }
                let plane = if node.role == NodeRole::Broker { "control-plane-" } else { "application-" };
                assert!(refused(&target, plane), "{target} lacks {plane}");
                for slug in ["wrong-password", "unknown-user", "sha-256", "no-log-in"] {
                    assert_eq!(refused(&target, slug), node.role == NodeRole::Broker, "{target} {slug}");
                }
            }
        }
        for topic in plan.topics.iter().map(|topic| topic.name.as_str()).chain(["verify-5a17"]) {
            assert!(refused(topic, "/write/"), "nobody is refused to write {topic}");
            assert!(refused(topic, "/read/"), "nobody is refused to read {topic}");
        }
        let log_ins = cells.iter().filter(|cell| cell.id.contains("/log-in/")).count();
        assert_eq!(log_ins, plan.users.len() * plan.nodes_of(NodeRole::Broker).count() * 2);
    }
}
