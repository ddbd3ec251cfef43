//! Exit codes: what a script may rely on.

use crate::admin::AdminError;
use crate::credentials::CredentialsError;
use crate::dir::DirError;
use crate::distribution::ShelfError;
use crate::lifecycle::access::AccessError;
use crate::lifecycle::commands::CommandError;
use crate::lifecycle::engine::EngineError;
use crate::lifecycle::start_caches::StartCacheError;
use crate::lifecycle::{ClusterError, StepError};
use crate::ops::OpsError;
use crate::plan::PlanError;
use crate::probe::matrix::VerifyError;
use crate::runtime::NodeError;
use crate::wire::{WireError, WireErrorKind};
use crate::zookeeper::ZkError;
use crate::zookeeper::users::UserError;

/// Everything is as it should be.
pub const OK: u8 = 0;
/// A fault of the tool itself.
pub const FAULT: u8 = 1;
/// The arguments or the description of the cluster cannot be used.
pub const USAGE: u8 = 2;
/// This machine lacks something: Java, Maven, network, a container engine, a free port, room on a disk, a permission.
pub const MACHINE: u8 = 3;
/// The cluster is locked by another command, or does not exist.
pub const UNAVAILABLE: u8 = 4;
/// A node is not healthy, or a proof failed.
pub const UNHEALTHY: u8 = 10;
/// What is differs from what should be (`plan --exit-code`, `topics apply --dry-run`), or a limit that was
/// asked for is exceeded (`lag --fail-over`).
pub const DRIFT: u8 = 11;
/// User name or password was refused, or a right that was asked about (`acls explain --exit-code`).
pub const AUTHENTICATION: u8 = 12;
/// A TLS handshake or a certificate was refused.
pub const TLS: u8 = 13;
/// Interrupted by Ctrl-C or SIGTERM.
pub const INTERRUPTED: u8 = 130;

/// The table that every `--help` ends with.
pub const HELP: &str = "\
Exit codes:
    0  done
    1  a fault of this tool
    2  the arguments or the cluster's description cannot be used
    3  this machine lacks something: Java, Maven, network, a free port, disk
    4  the cluster is locked by another command, or does not exist
   10  a node is not healthy, or a proof failed
   11  something differs (`cluster plan --exit-code`, `topics apply --dry-run`), or a limit is exceeded
   12  user name or password was refused, or a right (`acls explain --exit-code`)
   13  a TLS handshake or certificate was refused
  130  interrupted";

/// Kafka's codes for requests that say something impossible: topic, partitions, replication factor, settings,
/// the request itself, the cluster's policy.
const INVALID: [i16; 6] = [17, 37, 38, 40, 42, 44];

/// The code of a failed command.
pub fn of(error: &CommandError) -> u8 {
    match error {
        CommandError::Cluster(error) => of_cluster(error),
        CommandError::Engine(EngineError::Step { source, .. }) => of_step(source),
        CommandError::Engine(EngineError::Interrupted { .. }) | CommandError::Interrupted => INTERRUPTED,
        CommandError::Node(error) => of_step(error),
        CommandError::StartCache(StartCacheError::Shelf(ShelfError::Busy { .. })) => UNAVAILABLE,
        CommandError::StartCache(StartCacheError::Interrupted) => INTERRUPTED,
        CommandError::StartCache(StartCacheError::NotWritten { .. }) => UNHEALTHY,
        CommandError::StartCache(_) => MACHINE,
        CommandError::Stop { .. } | CommandError::NotRunning { .. } => UNHEALTHY,
        CommandError::Verify(error) => match &**error {
            VerifyError::Access(error) => of_access(error),
            VerifyError::Random => MACHINE,
            VerifyError::Minting { .. } => FAULT,
        },
    }
}

/// The code of a failed operation.
pub fn of_operation(error: &OpsError) -> u8 {
    match error {
        OpsError::Cluster(error) => of_cluster(error),
        OpsError::Access(error) => of_access(error),
        OpsError::Admin(error) => of_admin(error),
        OpsError::Wire(error) => of_wire(error),
        OpsError::ZooKeeper(error) => of_zookeeper(error),
        OpsError::Step(error) => of_step(error),
        OpsError::NoSuch { .. }
        | OpsError::Refused { .. }
        | OpsError::File { .. }
        | OpsError::Unusable { .. } => USAGE,
        // What the brokers call wrong about a request is the caller's to put right.
        OpsError::Item(error) if INVALID.contains(&error.code) => USAGE,
        OpsError::Registry(_) | OpsError::Item(_) | OpsError::Items { .. } | OpsError::Awaited { .. } => {
            UNHEALTHY
        }
    }
}

fn of_admin(error: &AdminError) -> u8 {
    match error {
        AdminError::Wire(error) => of_wire(error),
        AdminError::Unreachable { .. }
        | AdminError::NoController { .. }
        | AdminError::UnknownBroker { .. } => UNHEALTHY,
    }
}

fn of_cluster(error: &ClusterError) -> u8 {
    match error {
        ClusterError::Dir(error) => of_dir(error),
        ClusterError::Spec(_)
        | ClusterError::OtherName { .. }
        | ClusterError::KeptData { .. }
        | ClusterError::Refused { .. }
        | ClusterError::Composed { .. }
        | ClusterError::SpecFile { .. }
        | ClusterError::Plan(PlanError::UnusablePath { .. } | PlanError::RegistryNeedsContainers { .. }) => {
            USAGE
        }
        ClusterError::Plan(_) => FAULT,
        ClusterError::Cache(_) | ClusterError::Engine(_) | ClusterError::Lease(_) => MACHINE,
        ClusterError::Unknown { .. } => UNAVAILABLE,
    }
}

fn of_dir(error: &DirError) -> u8 {
    match error {
        DirError::Locked { .. } => UNAVAILABLE,
        DirError::Unreadable { .. } => UNHEALTHY,
        DirError::Store(_) | DirError::Newer { .. } | DirError::Io { .. } => MACHINE,
    }
}

fn of_step(error: &StepError) -> u8 {
    match error {
        StepError::Preflight { .. } | StepError::Install(_) | StepError::Verify(_) | StepError::Java(_) => {
            MACHINE
        }
        StepError::Explained { source, .. } => of_step(source),
        StepError::Node(NodeError::Engine(_)) => MACHINE,
        StepError::Node(NodeError::OnlyContainers { .. }) => USAGE,
        StepError::Dir(error) => of_dir(error),
        StepError::Cluster(error) => of_cluster(error),
        StepError::Credentials(error) => of_credentials(error),
        StepError::Access(error) => of_access(error),
        StepError::Wire(error) => of_wire(error),
        StepError::Admin(AdminError::Wire(error)) => of_wire(error),
        StepError::ZooKeeper(error) | StepError::User(UserError::ZooKeeper(error)) => of_zookeeper(error),
        StepError::Node(_)
        | StepError::NodeDied { .. }
        | StepError::NotReady { .. }
        | StepError::User(_)
        | StepError::Admin(_)
        | StepError::Registry(_)
        | StepError::Format { .. }
        | StepError::Items { .. }
        | StepError::Proof { .. } => UNHEALTHY,
    }
}

fn of_access(error: &AccessError) -> u8 {
    match error {
        AccessError::Credentials(error) => of_credentials(error),
        AccessError::Tls { .. } => TLS,
        AccessError::NoUser { .. } => UNHEALTHY,
    }
}

fn of_credentials(error: &CredentialsError) -> u8 {
    match error {
        CredentialsError::Dir(error) => of_dir(error),
        CredentialsError::Random { .. } => MACHINE,
        CredentialsError::Answer { .. } => TLS,
        CredentialsError::Pki { .. }
        | CredentialsError::Outside { .. }
        | CredentialsError::Missing { .. }
        | CredentialsError::HalfAuthority { .. }
        | CredentialsError::ExpiredAuthority { .. }
        | CredentialsError::Password { .. } => UNHEALTHY,
    }
}

fn of_zookeeper(error: &ZkError) -> u8 {
    match error {
        ZkError::Connection(error) => of_wire(error),
        _ => UNHEALTHY,
    }
}

fn of_wire(error: &WireError) -> u8 {
    match &error.kind {
        WireErrorKind::AuthenticationFailed { .. }
        | WireErrorKind::SaslMechanismNotEnabled { .. }
        | WireErrorKind::ServerNotGenuine => AUTHENTICATION,
        WireErrorKind::TlsAlert(_) | WireErrorKind::ServerCertificate(_) | WireErrorKind::NotTls => TLS,
        _ => UNHEALTHY,
    }
}
