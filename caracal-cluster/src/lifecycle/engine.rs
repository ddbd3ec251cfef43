//! The step engine: a flat list of named steps, each looked at before it is done.
//!
//! A step is `observe` (what is), then `apply` (make it so) unless it is already right. What a step left
//! behind when it was killed is found by the next `observe`, so a second run converges whatever happened
//! to the first. Cancellation ends the step in work; nothing it started is lost from sight.

use std::future::Future;
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde::Serialize;

use crate::plan::{ClusterPlan, NodeRole};
use crate::spec::Metadata;

/// The steps of `up`, in their order.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Step {
    /// The machine can carry the cluster.
    Preflight,
    /// Authorities, certificates, passwords.
    Credentials,
    /// Java, Kafka's jars, the registry.
    Distribution,
    /// Every node's files.
    Configuration,
    /// Data directories of a KRaft cluster say whose they are, and hold the first users.
    Format,
    /// ZooKeeper runs and has a leader.
    Ensemble,
    /// KRaft's controllers run and have a leader.
    Controllers,
    /// SCRAM credentials are in ZooKeeper.
    Users,
    /// Every broker runs and lets the administrator in.
    Brokers,
    /// SCRAM users that a KRaft cluster was not formatted with.
    LaterUsers,
    /// The registry's process.
    RegistryLaunch,
    /// Access rules.
    Acls,
    /// Topics.
    Topics,
    /// Client files of every user.
    Clients,
    /// Every user logs in everywhere, and nobody without a certificate.
    Logins,
    /// The registry has replayed its journal and takes writes.
    RegistryReady,
    /// Subjects and their schemas.
    Schemas,
    /// One Avro event goes through everything.
    RoundTrip,
}

impl Step {
    /// Every step of a cluster with ZooKeeper, in order.
    pub const ZOOKEEPER: [Self; 15] = [
        Self::Preflight,
        Self::Credentials,
        Self::Distribution,
        Self::Configuration,
        Self::Ensemble,
        Self::Users,
        Self::Brokers,
        Self::RegistryLaunch,
        Self::Acls,
        Self::Topics,
        Self::Clients,
        Self::Logins,
        Self::RegistryReady,
        Self::Schemas,
        Self::RoundTrip,
    ];

    /// Every step of a cluster with KRaft, in order.
    pub const KRAFT: [Self; 16] = [
        Self::Preflight,
        Self::Credentials,
        Self::Distribution,
        Self::Configuration,
        Self::Format,
        Self::Controllers,
        Self::Brokers,
        Self::LaterUsers,
        Self::RegistryLaunch,
        Self::Acls,
        Self::Topics,
        Self::Clients,
        Self::Logins,
        Self::RegistryReady,
        Self::Schemas,
        Self::RoundTrip,
    ];

    /// The steps of a plan, in order: those of its mode, without those for nodes that it has not.
    pub fn of(plan: &ClusterPlan) -> Vec<Self> {
        let steps = match plan.metadata {
            Metadata::Zookeeper => &Self::ZOOKEEPER[..],
            Metadata::Kraft => &Self::KRAFT[..],
        };
        let has = |role| plan.nodes_of(role).next().is_some();
        let needed = |step: &Self| match step {
            Self::Controllers => has(NodeRole::Controller),
            // An event is encoded by the registry's id of its schema.
            Self::RegistryLaunch | Self::RegistryReady | Self::Schemas | Self::RoundTrip => {
                has(NodeRole::SchemaRegistry)
            }
            _ => true,
        };
        let mut steps: Vec<Self> = steps.iter().copied().filter(needed).collect();
        let at = |wanted: Self| steps.iter().position(|step| *step == wanted);
        if let (Some(launch), Some(topics), false) =
            (at(Self::RegistryLaunch), at(Self::Topics), plan.registry.waits_for_its_topics())
        {
            // Everything between them moves forward by one.
            steps[launch..=topics].rotate_left(1);
        }
        steps
    }

    /// The step as a person reads it.
    pub fn title(self) -> &'static str {
        match self {
            Self::Preflight => "machine checked",
            Self::Credentials => "credentials",
            Self::Distribution => "Java, Kafka and registry at hand",
            Self::Configuration => "configuration",
            Self::Format => "data directories formatted",
            Self::Ensemble => "ZooKeeper ensemble",
            Self::Controllers => "KRaft controllers",
            Self::Users => "SCRAM users",
            Self::Brokers => "brokers",
            Self::LaterUsers => "SCRAM users of the description",
            Self::Acls => "access rules",
            Self::Topics => "topics",
            Self::RegistryLaunch => "schema registry launched",
            Self::Clients => "client files",
            Self::Logins => "every user logs in, nobody without a certificate",
            Self::RegistryReady => "schema registry ready",
            Self::Schemas => "schemas",
            Self::RoundTrip => "one Avro event went through",
        }
    }

    /// Why it stands at its place in the order.
    pub fn because(self) -> &'static str {
        match self {
            Self::Preflight => "a port in use or a full disk is better known before anything starts",
            Self::Credentials => "every file below carries a certificate or a password",
            Self::Distribution => "nodes need a Java and jars with the locked digests",
            Self::Configuration => "a node reads its files when it starts",
            Self::Format => {
                "a node must find in its data who it is, and the users with which brokers log in to each other"
            }
            Self::Ensemble => "users and brokers live in it",
            Self::Controllers => "brokers register with them",
            Self::Users => {
                "brokers log in to each other, so the users must be there before the first one starts"
            }
            Self::Brokers => "rules and topics are made through them",
            Self::LaterUsers => {
                "users that the description has gained since the first start are made through the brokers"
            }
            Self::RegistryLaunch => "it boots for seconds, and the next steps are carried out meanwhile",
            Self::Acls => "the registry may touch its topics only by a rule",
            Self::Topics => "the registry has no right to create its own",
            Self::Clients => "the proof reads what clients will read",
            Self::Logins => {
                "a listener that lets the wrong ones in, or the right ones not, must not be called ready"
            }
            Self::RegistryReady => {
                "it answers before it has replayed its journal, and then with an empty list"
            }
            Self::Schemas => "an event is encoded by the registry's id of its schema",
            Self::RoundTrip => "what went through once has proved producer, consumer and registry at once",
        }
    }
}

/// What a step found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Observed {
    /// All is as planned; the text says what was seen.
    Satisfied(String),
    /// It is there but differs, each with the reason.
    Drifted(Vec<String>),
    /// It is not there, or not wholly.
    Absent(String),
}

/// What a step did, for the tick list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Applied {
    /// One line for a person.
    pub summary: String,
}

impl<T: Into<String>> From<T> for Applied {
    fn from(summary: T) -> Self {
        Self { summary: summary.into() }
    }
}

/// How a step ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case", tag = "outcome", content = "detail")]
pub enum Outcome {
    /// It was right already.
    Unchanged(String),
    /// It was made right.
    Changed(String),
}

/// What the engine tells whoever watches.
#[derive(Clone, Debug)]
pub enum Event {
    /// A step begins.
    Started(Step),
    /// A step differs from the plan and will be mended.
    Drift(Step, Vec<String>),
    /// How far a step is; `total` 0 when unknown.
    Progress {
        /// The step.
        step: Step,
        /// What is being done.
        what: String,
        /// How much of it is done.
        done: u64,
        /// How much there is.
        total: u64,
    },
    /// A step ended well.
    Finished(Step, Outcome, Duration),
    /// A step failed; the error follows as the engine's result.
    Failed(Step, Duration),
    /// Something worth knowing that is not an error.
    Note(String),
}

/// Where events go.
#[derive(Clone)]
pub struct Reporter(Arc<dyn Fn(Event) + Send + Sync>);

impl std::fmt::Debug for Reporter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Reporter(..)")
    }
}

impl Reporter {
    /// Sends events to a function.
    pub fn new(sink: impl Fn(Event) + Send + Sync + 'static) -> Self {
        Self(Arc::new(sink))
    }

    /// Drops every event.
    pub fn silent() -> Self {
        Self::new(|_| {})
    }

    /// Tells one event.
    pub fn tell(&self, event: Event) {
        (self.0)(event);
    }
}

/// What the engine works on; the real one is a cluster, the one of the tests is a model that dies on command.
pub trait World {
    /// Why a step cannot be looked at or done.
    type Error: std::error::Error;

    /// Compares reality with the plan.
    fn observe(&mut self, step: Step) -> impl Future<Output = Result<Observed, Self::Error>>;

    /// Makes reality as planned.
    fn apply(
        &mut self,
        step: Step,
        observed: &Observed,
    ) -> impl Future<Output = Result<Applied, Self::Error>>;
}

/// A step that failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EngineError<E: std::error::Error + 'static> {
    /// The step itself failed.
    #[error("`{}` failed", step.title())]
    Step {
        /// Which step.
        step: Step,
        /// The cause.
        #[source]
        source: E,
    },
    /// Somebody pressed Ctrl-C.
    #[error("interrupted during `{}`; what was started keeps running: run the same command again to finish, or `cargo xtask cluster down` to undo", step.title())]
    Interrupted {
        /// Which step.
        step: Step,
    },
}

/// What happened to one step.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct StepReport {
    /// Which step.
    pub step: Step,
    /// How it ended.
    #[serde(flatten)]
    pub outcome: Outcome,
    /// How long it took.
    pub millis: u64,
}

/// Carries out steps in their order until one fails or `cancelled` resolves.
///
/// # Errors
/// [`EngineError`] names the step.
pub async fn run<W: World>(
    world: &mut W,
    steps: &[Step],
    reporter: &Reporter,
    cancelled: impl Future<Output = ()>,
) -> Result<Vec<StepReport>, EngineError<W::Error>>
where
    W::Error: 'static,
{
    let mut cancelled = std::pin::pin!(cancelled);
    let mut reports = Vec::new();
    for &step in steps {
        let started = Instant::now();
        reporter.tell(Event::Started(step));
        let outcome = tokio::select! {
            biased;
            () = &mut cancelled => Err(EngineError::Interrupted { step }),
            outcome = one(world, step, reporter) => outcome.map_err(|source| EngineError::Step { step, source }),
        };
        let took = started.elapsed();
        match outcome {
            Ok(outcome) => {
                reporter.tell(Event::Finished(step, outcome.clone(), took));
                let millis = u64::try_from(took.as_millis()).unwrap_or(u64::MAX);
                reports.push(StepReport { step, outcome, millis });
            }
            Err(error) => {
                reporter.tell(Event::Failed(step, took));
                return Err(error);
            }
        }
    }
    Ok(reports)
}

async fn one<W: World>(world: &mut W, step: Step, reporter: &Reporter) -> Result<Outcome, W::Error> {
    let observed = world.observe(step).await?;
    if let Observed::Satisfied(seen) = observed {
        return Ok(Outcome::Unchanged(seen));
    }
    if let Observed::Drifted(reasons) = &observed {
        reporter.tell(Event::Drift(step, reasons.clone()));
    }
    let applied = world.apply(step, &observed).await?;
    Ok(Outcome::Changed(applied.summary))
}

#[cfg(test)]
mod tests;
