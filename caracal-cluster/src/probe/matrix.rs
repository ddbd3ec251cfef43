//! Level 2 of the proof: the whole matrix of what must be allowed and what must be refused.
//!
//! [`verify`] tries every listener with wrong certificates, without TLS and with old TLS, every user with
//! right and wrong log-ins, every role on every topic, the ports of ZooKeeper or the controllers, the registry, and
//! at last one round trip of each event through the client library that services use
//! ([`crate::probe::client`]).
//!
//! A refusal counts only for the right reason, and only when its *control* passed: the same attempt, accepted,
//! with one difference removed. What was not run reads "not run", never "ok".
//!
//! What stays behind: attempts that would change something are made impossible on purpose (see `act`), and the
//! one topic and the groups that a run and its clients use are deleted at its end, with those of runs that were
//! killed over an hour ago. The round trips of the client add one event of each type to real topics, and Kafka
//! forgets the transactional ids `caracal-verify-...` by itself, after `transactional.id.expiration.ms` (7 days
//! unless it is set): no request deletes one.

mod act;
mod attempt;
mod cells;
mod controllers;
mod identities;
mod judge;
mod rights;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use caracal_pki::PkiError;
use futures::stream::{self, StreamExt as _};
use serde::Serialize;
use time::OffsetDateTime;
use tokio::sync::Mutex;

use self::act::{Act, Guide, Pool};
use self::attempt::{Attempt, Context};
use self::cells::{Names, Planned};
use self::identities::Identities;
use self::judge::{Expected, Seen, judge};
use crate::lifecycle::access::AccessError;
use crate::lifecycle::{Access, Cluster};
use crate::plan::{NodeRole, Role};
use crate::probe::client::{self, ClientRun, RoundTrips};
use crate::wire::{Deadline, SharedSaltedPasswords};

/// The version of the report's own shape.
pub const REPORT_FORMAT: u32 = 1;

/// How long one cell may take.
const CELL: Duration = Duration::from_secs(10);
/// How long a cluster that has just started may take to make Kafka's own topics for groups and transactions.
const WARM_UP: Duration = Duration::from_secs(60);
/// Cells at once: enough to keep two cores busy.
const PARALLEL: usize = 8;
/// Before a cell is tried again because the cluster is moving something.
const PAUSE: Duration = Duration::from_millis(150);

/// What keeps the matrix from being run at all.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum VerifyError {
    /// The cluster's credentials.
    #[error(transparent)]
    Access(#[from] AccessError),
    /// A certificate for a probe cannot be made.
    #[error("the probe's certificate `{what}` cannot be made")]
    Minting {
        /// Which one.
        what: String,
        /// The cause.
        #[source]
        source: Box<PkiError>,
    },
    /// The system has no random bytes.
    #[error("the operating system gave no random bytes")]
    Random,
}

/// Hears what takes long while the matrix runs.
pub type Notice = Arc<dyn Fn(&str) + Send + Sync>;

/// How the matrix is run.
#[derive(Clone)]
pub struct VerifyOptions {
    /// Leave the client library's round trips out; the report says so.
    pub skip_client: bool,
    /// How long the client's round trips may take, without compiling it. Default: 60 s.
    pub client_deadline: Duration,
    /// Is told what takes long, such as compiling the client library.
    pub notice: Option<Notice>,
}

impl Default for VerifyOptions {
    fn default() -> Self {
        Self { skip_client: false, client_deadline: Duration::from_secs(60), notice: None }
    }
}

impl fmt::Debug for VerifyOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("VerifyOptions")
            .field("skip_client", &self.skip_client)
            .field("client_deadline", &self.client_deadline)
            .finish_non_exhaustive()
    }
}

/// What a cell is about.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize)]
#[non_exhaustive]
#[serde(rename_all = "kebab-case")]
pub enum Group {
    /// TLS at the brokers' listeners.
    Transport,
    /// Log-ins.
    Authentication,
    /// Rights.
    Authorization,
    /// ZooKeeper's ports and access lists, or the controllers' listeners.
    ControlPlane,
    /// The schema registry.
    Registry,
    /// The client library.
    Client,
}

impl Group {
    /// Every group, in the order of the report.
    pub const ALL: [Self; 6] = [
        Self::Transport,
        Self::Authentication,
        Self::Authorization,
        Self::ControlPlane,
        Self::Registry,
        Self::Client,
    ];

    /// Its name, as in JSON.
    pub fn label(self) -> &'static str {
        match self {
            Self::Transport => "transport",
            Self::Authentication => "authentication",
            Self::Authorization => "authorization",
            Self::ControlPlane => "control-plane",
            Self::Registry => "registry",
            Self::Client => "client",
        }
    }
}

/// What became of a cell.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq, Serialize)]
#[non_exhaustive]
#[serde(rename_all = "kebab-case")]
pub enum CellOutcome {
    /// As expected, for the expected reason.
    Passed,
    /// Not as expected.
    Failed,
    /// Not tried; [`Cell::seen`] says why.
    NotRun,
}

impl CellOutcome {
    /// As people read it.
    pub fn label(self) -> &'static str {
        match self {
            Self::Passed => "passed",
            Self::Failed => "failed",
            Self::NotRun => "not run",
        }
    }
}

/// One attempt with its judgement.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Cell {
    /// The same in every run for the same cell: `transport/caracal-kafka-1/EXTERNAL/no-certificate`.
    pub id: String,
    /// What it is about.
    pub group: Group,
    /// What is done: `producer reads caracal.metering.events`.
    pub what: String,
    /// At which node and listener, or with which resource.
    pub target: String,
    /// As whom (`User:name`); none where nobody logs in.
    pub principal: Option<String>,
    /// `allowed`, `allowed: exactly ...` or `refused: <how>`.
    pub expected: String,
    /// The id of the cell that shows the same thing accepted; every refusal has one.
    pub control: Option<String>,
    /// What became of it.
    pub outcome: CellOutcome,
    /// What was seen.
    pub seen: String,
    /// How long it took, in milliseconds.
    pub millis: u64,
}

/// What [`verify`] found.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[non_exhaustive]
pub struct VerifyReport {
    /// [`REPORT_FORMAT`].
    pub format: u32,
    /// The cluster's name.
    pub cluster: String,
    /// Kafka's version, as planned.
    pub kafka_version: String,
    /// The registry's flavour and version, as planned.
    pub registry: String,
    /// Every cell, in the order of the plan.
    pub cells: Vec<Cell>,
    /// The client library's round trips.
    pub round_trips: RoundTrips,
    /// No cell failed, and the round trips succeeded or were left out on request.
    pub ok: bool,
    /// How long all of it took, in milliseconds.
    pub millis: u64,
}

impl VerifyReport {
    /// How many cells have this outcome.
    pub fn count(&self, outcome: CellOutcome) -> usize {
        self.cells.iter().filter(|cell| cell.outcome == outcome).count()
    }
}

/// Runs the matrix on a cluster that is up; `told` hears each cell when it is judged.
///
/// # Errors
/// [`VerifyError`] when credentials are missing. A cluster that does not answer is a report full of failures.
pub async fn verify(
    cluster: &Cluster,
    options: &VerifyOptions,
    told: &(dyn Fn(&Cell) + Sync),
) -> Result<VerifyReport, VerifyError> {
    let started = Instant::now();
    let context = context(cluster)?;
    let planned = cells::cells(&cluster.plan, &context.names);
    let mut judged = BTreeMap::new();
    warm_up(&context).await;
    run(&context, &planned, &[Turn::Make, Turn::Allowed, Turn::Refused], &mut judged, told).await;
    let round_trips = trips(cluster, &context, options).await;
    let client = client_cells(&round_trips);
    client.iter().for_each(told);
    // After the client, which commits in groups of its own.
    run(&context, &planned, &[Turn::Delete], &mut judged, told).await;
    let mut cells: Vec<Cell> =
        planned.iter().filter_map(|planned| judged.remove(planned.id.as_str())).collect();
    cells.extend(client);
    let plan = &cluster.plan;
    Ok(VerifyReport {
        format: REPORT_FORMAT,
        cluster: plan.cluster.to_string(),
        kafka_version: plan.kafka_version.clone(),
        registry: format!("{} {}", plan.registry.label(), plan.registry_version),
        ok: is_ok(&cells, &round_trips, options.skip_client || plan.endpoints.registry_url.is_none()),
        cells,
        round_trips,
        millis: millis(started),
    })
}

/// The client library's round trips, unless they are left out.
async fn trips(cluster: &Cluster, context: &Context<'_>, options: &VerifyOptions) -> RoundTrips {
    if context.plan.nodes_of(NodeRole::SchemaRegistry).next().is_none() {
        return RoundTrips::NotRun { why: "no schema registry is planned".to_owned() };
    }
    if options.skip_client {
        return RoundTrips::NotRun { why: "left out on request".to_owned() };
    }
    let client = ClientRun {
        producer: context.plan.user_of(Role::Producer).map(|user| cluster.dir.client(&user.name)),
        consumer: context.plan.user_of(Role::Consumer).map(|user| cluster.dir.client(&user.name)),
        group_prefix: context.names.application(),
        deadline: options.client_deadline,
        notice: options.notice.clone(),
    };
    client::round_trips(&client).await
}

fn is_ok(cells: &[Cell], round_trips: &RoundTrips, skipped: bool) -> bool {
    let through = match round_trips {
        RoundTrips::Ran(report) => report.ok,
        RoundTrips::NotRun { .. } => skipped,
        RoundTrips::Failed { .. } => false,
    };
    through && !cells.is_empty() && cells.iter().all(|cell| cell.outcome != CellOutcome::Failed)
}

fn context(cluster: &Cluster) -> Result<Context<'_>, VerifyError> {
    let access = Access::new(&cluster.dir, &cluster.plan, SharedSaltedPasswords::default());
    let mut random = [0; 4];
    ring::rand::SecureRandom::fill(&ring::rand::SystemRandom::new(), &mut random)
        .map_err(|_| VerifyError::Random)?;
    let now = OffsetDateTime::now_utc();
    Ok(Context {
        identities: Identities::make(&access, &cluster.plan, now)?,
        guide: Guide(Mutex::new(access.admin()?)),
        pool: Pool::default(),
        names: Names::new(now, &random),
        plan: &cluster.plan,
        access,
    })
}

/// When a cell is run: what is made comes first, controls before what they control, what is deleted last.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Turn {
    Make,
    Allowed,
    Refused,
    Delete,
}

fn turn(planned: &Planned) -> Turn {
    match (&planned.attempt, &planned.expected) {
        (Attempt::Kafka { act: Act::MakeScratch, .. }, _) => Turn::Make,
        (Attempt::Kafka { act: Act::DropScratch, .. }, _) => Turn::Delete,
        (_, Expected::Refused(_)) => Turn::Refused,
        _ => Turn::Allowed,
    }
}

async fn run<'p>(
    context: &Context<'_>,
    planned: &'p [Planned],
    turns: &[Turn],
    judged: &mut BTreeMap<&'p str, Cell>,
    told: &(dyn Fn(&Cell) + Sync),
) {
    for &now in turns {
        let cells = planned.iter().filter(|planned| turn(planned) == now);
        let mut running =
            stream::iter(cells.map(|planned| try_one(context, planned))).buffer_unordered(PARALLEL);
        let mut done = Vec::new();
        while let Some((planned, mut cell)) = running.next().await {
            check_control(&mut cell, |control| judged.get(control));
            told(&cell);
            done.push((planned.id.as_str(), cell));
        }
        judged.extend(done);
    }
}

/// Has Kafka make its own topics for groups and transactions, which takes a new cluster some seconds. When it
/// fails, the cells that need them say why.
async fn warm_up(context: &Context<'_>) {
    let deadline = Deadline::after(WARM_UP);
    let name = context.names.application();
    while !deadline.is_over() {
        let turn = deadline.at_most(CELL);
        let ready = match context.guide.group(&name, turn).await {
            Ok(_) => context.guide.transaction(&name, turn).await.map(drop),
            Err(error) => Err(error),
        };
        match ready.map_err(Seen::from) {
            Err(seen) if seen.is_transient() => tokio::time::sleep(PAUSE).await,
            _ => return,
        }
    }
}

async fn try_one<'p>(context: &Context<'_>, planned: &'p Planned) -> (&'p Planned, Cell) {
    let started = Instant::now();
    let deadline = Deadline::after(CELL);
    let seen = loop {
        let seen = planned.attempt.run(context, deadline).await;
        if !seen.is_transient() || deadline.remaining() < PAUSE * 2 {
            break seen;
        }
        tokio::time::sleep(PAUSE).await;
    };
    let (outcome, seen) = judge(&planned.expected, &seen);
    let cell = Cell {
        id: planned.id.clone(),
        group: planned.group,
        what: planned.what.clone(),
        target: planned.target.clone(),
        principal: planned.principal.clone(),
        expected: planned.expected.to_string(),
        control: planned.control.clone(),
        outcome,
        seen,
        millis: millis(started),
    };
    (planned, cell)
}

/// Without its control a refusal proves nothing.
fn check_control<'c>(cell: &mut Cell, find: impl Fn(&str) -> Option<&'c Cell>) {
    let Some(id) = &cell.control else { return };
    if cell.outcome != CellOutcome::Passed {
        return;
    }
    match find(id) {
        Some(control) if control.outcome == CellOutcome::Passed => {}
        Some(control) if control.outcome == CellOutcome::NotRun => {
            cell.outcome = CellOutcome::NotRun;
            cell.seen.clone_from(&control.seen);
        }
        _ => {
            cell.outcome = CellOutcome::Failed;
            cell.seen = format!("{}, but this proves nothing: its control {id} failed", cell.seen);
        }
    }
}

/// One cell an event type, whatever became of it.
fn client_cells(round_trips: &RoundTrips) -> Vec<Cell> {
    let cell = |event: &str, target: &str, outcome, seen: String, millis| Cell {
        id: format!("client/{event}/round-trip"),
        group: Group::Client,
        what: format!("{event} goes through the client library and comes back"),
        target: target.to_owned(),
        principal: None,
        expected: Expected::Allowed.to_string(),
        control: None,
        outcome,
        seen,
        millis,
    };
    let all = |outcome, why: &str| {
        let events = caracal_kafka_contract::events::EventType::ALL;
        events.map(|event| cell(event.name(), event.topic(), outcome, why.to_owned(), 0)).into()
    };
    match round_trips {
        RoundTrips::NotRun { why } => all(CellOutcome::NotRun, why),
        RoundTrips::Failed { why } => all(CellOutcome::Failed, why),
        RoundTrips::Ran(report) => report
            .round_trips
            .iter()
            .map(|trip| {
                let outcome = if trip.ok { CellOutcome::Passed } else { CellOutcome::Failed };
                cell(&trip.event, &trip.topic, outcome, trip.seen(), trip.millis)
            })
            .collect(),
    }
}

fn millis(since: Instant) -> u64 {
    u64::try_from(since.elapsed().as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
pub(crate) mod tests;
