//! Arguments and their help texts.

use std::path::{Path, PathBuf};

use clap::{Args, Subcommand, ValueEnum};

use super::cache::CacheCommand;
use super::ops::{NodesCommand, OperateCommand};
use super::prune::PruneArgs;
use super::{complete, exit};
use crate::dir::{DirError, StateRoot};
use crate::lifecycle::commands::Selection;
use crate::names::ClusterName;
use crate::plan::RegistryFlavor;
use crate::spec::{ClusterSpec, DEFAULT_CLUSTER, ImageSet, Metadata, Overrides, PortMode, Profile, Subnet};

/// What both binaries understand.
#[derive(Clone, Debug, Subcommand)]
#[non_exhaustive]
pub enum Command {
    /// Make, start, stop and look at a secured Kafka cluster
    #[command(subcommand, after_help = exit::HELP)]
    Cluster(ClusterCommand),
    /// Make, list and delete the caches with which nodes start faster
    #[command(subcommand, after_help = exit::HELP)]
    Cache(CacheCommand),
    /// Prove what every user may do, and what everybody is refused
    ///
    /// Tries on the running cluster, beyond what `up` proves, what each user should be able to do and what must
    /// be refused: no client certificate, a foreign or expired one, a wrong password, another mechanism, no TLS
    /// or an old one, rights that a user does not have, an application at a port of the control plane, anybody
    /// unknown at ZooKeeper. Then the client library sends one event of each type and reads it back; it is built
    /// when it is not there yet, which takes minutes the first time. What was not tried reads `not run`.
    ///
    /// Changes nothing of yours, and deletes at its end what it made for itself: a topic `verify-...` and its
    /// consumer groups, also those that an interrupted run left more than an hour ago. What stays are one event of each type, which the client
    /// library sent, and transactional ids `caracal-verify-...`, which Kafka forgets after
    /// `transactional.id.expiration.ms` (7 days unless set). Needs a running cluster.
    ///
    /// Examples:
    ///     cargo xtask verify
    ///     cargo xtask verify --name demo --skip-client --all
    #[command(verbatim_doc_comment, after_long_help = exit::HELP)]
    Verify(VerifyArgs),
    /// Make certificates, passwords and client files only; start nothing
    ///
    /// Makes the two certificate authorities, every certificate, every password, and the files of every
    /// client, for the cluster that `cluster up` would start. It needs neither Java nor Docker and starts
    /// nothing. What is there and fits is left alone; a certificate that was changed by hand or has expired is
    /// set aside and replaced. A certificate authority of your own is taken when it lies in the cluster's
    /// `pki` folder (`data-ca.pem` with `data-ca.key`) before. With --dry-run it prints what `cluster plan` says
    /// of these steps.
    ///
    /// An authority whose key may not come here signs requests: --request DIR writes one a certificate
    /// (`data-ca/client.producer.csr` ...), the private keys stay. --accept DIR takes what it signed
    /// (`data-ca/ca.pem`, `data-ca/client.producer.pem` ..., the same for `control-ca`, or one of the two), checks
    /// key, names, usages, validity and chain of each, and takes none when one does not fit. The next
    /// `cluster up` uses them.
    ///
    /// Examples:
    ///     cargo xtask credentials --name demo
    ///     cargo xtask credentials --request to-sign/
    ///     cargo xtask credentials --accept to-sign/ --dry-run
    #[command(verbatim_doc_comment, after_long_help = exit::HELP)]
    Credentials(CredentialsArgs),
    /// Operating what was made: health, users, topics, groups and so on.
    #[command(flatten)]
    Operate(OperateCommand),
}

/// What can be done with a cluster.
#[derive(Clone, Debug, Subcommand)]
#[non_exhaustive]
pub enum ClusterCommand {
    /// Make the cluster, or bring it back to its description; prove that it works
    ///
    /// Brings up 3 ZooKeeper nodes, 3 Kafka brokers and a schema registry with mutual TLS and SCRAM-SHA-512,
    /// users with least rights, topics and schemas; then proves it: every user logs in on every listener,
    /// nobody gets in without a certificate, and one Avro event goes through everything. With --metadata kraft
    /// three controllers take the place of ZooKeeper; with --profile minimal it is one node. With
    /// --runtime docker the nodes are containers, which go on when this command has ended.
    ///
    /// Changes: the cluster's directory (below `.caracal`, or CARACAL_STATE_DIR), processes of this machine or
    /// containers with their network and volumes, and, the first time, the cache of downloads. What is as described is left alone, so a second `up` is
    /// quick and one that was interrupted goes on where it stopped. Data and passwords are never replaced.
    /// With --dry-run nothing is touched, and it prints what `cluster plan` prints.
    ///
    /// Examples:
    ///     cargo xtask cluster up
    ///     cargo xtask cluster up --name demo              a second cluster, on free ports
    ///     cargo xtask cluster up --name k --metadata kraft
    ///     cargo xtask cluster up --name d --runtime docker --images local
    ///     cargo xtask cluster up --spec cluster.toml      a cluster of your own description
    #[command(verbatim_doc_comment, after_long_help = exit::HELP)]
    Up(UpArgs),
    /// Stop the cluster and give its ports back; with -v delete everything
    ///
    /// Stops the registry, the brokers and ZooKeeper (or the controllers), in this order, each within a deadline, and gives leased
    /// ports back. Data, logs, certificates, passwords and client files stay, and `cluster up` or
    /// `cluster start` brings all of it back (on other ports, maybe, unless the cluster is named `caracal`).
    ///
    /// With -v everything of the cluster is deleted, data included. That cannot be undone, so it asks for the
    /// cluster's name, or takes --yes. It also removes what an interrupted `up` has left. With --dry-run nothing is
    /// stopped or deleted, only told.
    ///
    /// Examples:
    ///     cargo xtask cluster down
    ///     cargo xtask cluster down --name demo -v --yes
    #[command(verbatim_doc_comment, after_long_help = exit::HELP)]
    Down(DownArgs),
    /// Start a cluster that was made before
    ///
    /// Does what `cluster up` does, with the description that the cluster was made from, and fails when there
    /// is no such cluster. Topics, users and data are as they were. With --dry-run it prints what `cluster plan`
    /// prints, and starts nothing.
    ///
    /// Example:
    ///     cargo xtask cluster start --name demo
    #[command(verbatim_doc_comment, after_long_help = exit::HELP)]
    Start(StartArgs),
    /// Stop the nodes; keep everything, ports included
    ///
    /// Stops the registry, the brokers and ZooKeeper, in this order. Nothing is deleted, and the ports stay
    /// leased, so `cluster start` brings the cluster back at the same addresses. Changes nothing else; with --dry-run
    /// nothing at all.
    ///
    /// Example:
    ///     cargo xtask cluster stop --name demo
    #[command(verbatim_doc_comment, after_long_help = exit::HELP)]
    Stop(StopArgs),
    /// Show every node: state, address, process, memory, certificate
    ///
    /// Changes nothing. CERT is the number of days until the first of a node's certificates expires. A node
    /// that runs although the description does not know it any more is shown as `unplanned`; `cluster down`
    /// ends it too.
    ///
    /// Example:
    ///     cargo xtask cluster ps --name demo
    #[command(verbatim_doc_comment, after_long_help = exit::HELP)]
    Ps(LookArgs),
    /// Show every cluster of this workspace
    ///
    /// Changes nothing. Lists the clusters in the state directory with their versions and how many of their
    /// nodes run.
    ///
    /// Example:
    ///     cargo xtask cluster list
    #[command(verbatim_doc_comment, after_long_help = exit::HELP)]
    List(ListArgs),
    /// End and remove clusters that tests have left behind
    ///
    /// Clusters of `testing::SecureCluster` end by themselves with the last test that has them. What is left all the
    /// same, after a loss of power or where nothing could wait for that, is removed here: processes, containers,
    /// files, leased ports. A cluster that a living test has is not touched, nor is any that `up` made. With
    /// --dry-run nothing is changed, only told.
    ///
    /// Examples:
    ///     cargo xtask cluster prune
    ///     cargo xtask cluster prune --dry-run
    #[command(verbatim_doc_comment, after_long_help = exit::HELP)]
    Prune(PruneArgs),
    /// Show what `up` would do, and what differs from what is
    ///
    /// Changes nothing. Looks at every step of `up` and says whether it is done, differs, or is missing; a step
    /// that stands on something which does not run is `waiting`. Rendered files that would change are shown as
    /// a line difference. No secret is shown: rendered files only name where secrets lie.
    ///
    /// Examples:
    ///     cargo xtask cluster plan --spec cluster.toml
    ///     cargo xtask cluster plan --exit-code            exits with 11 when anything differs
    #[command(verbatim_doc_comment, after_long_help = exit::HELP)]
    Plan(PlanArgs),
    /// Operating its nodes: logs, restarts, blows.
    #[command(flatten)]
    Nodes(NodesCommand),
}

/// Which cluster.
#[derive(Args, Clone, Debug, Default)]
#[non_exhaustive]
pub struct Target {
    /// The cluster's name [default: caracal]; only `caracal` uses the well-known ports
    #[arg(long, value_name = "NAME", add = complete::clusters())]
    pub name: Option<ClusterName>,
    /// Where clusters are kept [default: $CARACAL_STATE_DIR, else .caracal]
    #[arg(long, value_name = "DIR")]
    pub state_dir: Option<PathBuf>,
}

impl Target {
    /// The state root.
    ///
    /// # Errors
    /// When the current folder cannot be told.
    pub fn root(&self) -> Result<StateRoot, DirError> {
        match &self.state_dir {
            Some(path) => StateRoot::at(path),
            None => StateRoot::from_environment(),
        }
    }

    /// The same with the name that a description gives, for commands to paste.
    pub(super) fn described(&self, spec_file: Option<&Path>) -> Self {
        let named = || {
            let text = std::fs::read_to_string(spec_file?).ok()?;
            let name = ClusterSpec::parse(&text, "").ok()?.name;
            (name.as_str() != DEFAULT_CLUSTER).then_some(name)
        };
        Self { name: self.name.clone().or_else(named), state_dir: self.state_dir.clone() }
    }

    pub(super) fn selection(&self, spec_file: Option<PathBuf>) -> Result<Selection, DirError> {
        Ok(Selection { spec_file, ..Selection::named(self.root()?, self.name.clone()) })
    }
}

/// How it is shown.
#[derive(Args, Clone, Copy, Debug, Default)]
#[non_exhaustive]
pub struct Reporting {
    /// Print one JSON document instead of text
    #[arg(long)]
    pub json: bool,
    /// Colour the text; `auto` does on a terminal, unless NO_COLOR is set
    #[arg(long, value_name = "WHEN", value_enum, default_value_t)]
    pub color: ColorChoice,
}

/// What nodes do with start-up caches.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, ValueEnum)]
#[non_exhaustive]
pub enum StartCachesChoice {
    /// Use those that are there, and have the missing ones made in the background.
    #[default]
    Auto,
    /// Use those that are there.
    Use,
    /// Use none.
    Off,
}

/// When text is coloured.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, ValueEnum)]
#[non_exhaustive]
pub enum ColorChoice {
    /// On a terminal, unless `NO_COLOR` is set.
    #[default]
    Auto,
    /// Always.
    Always,
    /// Never.
    Never,
}

/// How a cluster keeps its metadata.
#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
#[non_exhaustive]
pub enum MetadataChoice {
    /// An ensemble of ZooKeeper nodes; Kafka 3 only.
    Zookeeper,
    /// Kafka's own quorum of controllers.
    Kraft,
}

/// How much of a cluster.
#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
#[non_exhaustive]
pub enum ProfileChoice {
    /// 3 brokers, 3 nodes for their metadata, a schema registry.
    Full,
    /// One secured KRaft node with one copy of everything, and no registry.
    Minimal,
}

/// Which schema registry.
#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
#[non_exhaustive]
pub enum RegistryChoice {
    /// Apicurio over Confluent's interface; anywhere.
    Apicurio,
    /// Confluent's own; in containers only.
    Confluent,
}

/// What kind of cluster, said by flags.
#[derive(Args, Clone, Debug, Default)]
#[non_exhaustive]
pub struct KindArgs {
    /// How the cluster keeps its metadata [default: zookeeper; with --profile minimal: kraft]
    #[arg(long, value_name = "MODE", value_enum)]
    pub metadata: Option<MetadataChoice>,
    /// How much of a cluster: the defaults of what the description does not say [default: full]
    #[arg(long, value_name = "PROFILE", value_enum)]
    pub profile: Option<ProfileChoice>,
    /// Which schema registry [default: apicurio; with --profile minimal: none]
    #[arg(long, value_name = "FLAVOR", value_enum)]
    pub registry: Option<RegistryChoice>,
    /// Kafka's version [default: the newest for its mode]
    #[arg(long, value_name = "VERSION")]
    pub kafka_version: Option<String>,
    /// Take a version with a known vulnerability, which is refused otherwise
    #[arg(long)]
    pub danger_vulnerable_version: bool,
}

impl KindArgs {
    pub(super) fn overrides(&self) -> Overrides {
        Overrides {
            metadata: self.metadata.map(|choice| match choice {
                MetadataChoice::Zookeeper => Metadata::Zookeeper,
                MetadataChoice::Kraft => Metadata::Kraft,
            }),
            profile: self.profile.map(|choice| match choice {
                ProfileChoice::Full => Profile::Full,
                ProfileChoice::Minimal => Profile::Minimal,
            }),
            registry: self.registry.map(|choice| match choice {
                RegistryChoice::Apicurio => RegistryFlavor::Apicurio,
                RegistryChoice::Confluent => RegistryFlavor::Confluent,
            }),
            kafka_version: self.kafka_version.clone(),
            danger_vulnerable_version: self.danger_vulnerable_version,
            ..Overrides::default()
        }
    }
}

/// Where nodes run.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, ValueEnum)]
#[non_exhaustive]
pub enum RuntimeChoice {
    /// The best one that this machine has; says which and why.
    #[default]
    Auto,
    /// Processes of this machine; needs Java.
    Native,
    /// Containers; needs an engine that answers, and images.
    Docker,
}

/// Where nodes run and what they run in, said by flags.
#[derive(Args, Clone, Debug, Default)]
#[non_exhaustive]
pub struct PlaceArgs {
    /// Where the nodes of a new cluster run; one that was made stays where it is
    #[arg(long, value_enum, default_value_t)]
    pub runtime: RuntimeChoice,
    /// Images of a cluster in containers: confluent, apache, local, local-apache, or the name of one [default: confluent]
    #[arg(long, value_name = "IMAGES")]
    pub images: Option<String>,
    /// Addresses of its network [default: 172.29.0.0/16 for caracal, else a free one]
    #[arg(long, value_name = "SUBNET")]
    pub subnet: Option<Subnet>,
    /// Which ports: the well-known ones, or free ones [default: guide for caracal, else auto]
    #[arg(long, value_name = "PORTS", value_enum)]
    pub ports: Option<PortsChoice>,
}

/// Which ports.
#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
#[non_exhaustive]
pub enum PortsChoice {
    /// 9093, 9095, 9097, 8081 and those beside them.
    Guide,
    /// Free ones, leased until `cluster down`.
    Auto,
}

impl PlaceArgs {
    /// The same overrides with what these say; the runtime is chosen by whoever knows the machine.
    pub(super) fn over(&self, overrides: Overrides) -> Overrides {
        Overrides {
            images: self.images.clone().map(ImageSet::from),
            subnet: self.subnet,
            ports: self.ports.map(|choice| match choice {
                PortsChoice::Guide => PortMode::Guide,
                PortsChoice::Auto => PortMode::Leased,
            }),
            ..overrides
        }
    }
}

/// Arguments of `cluster up`.
#[derive(Args, Clone, Debug, Default)]
#[non_exhaustive]
pub struct UpArgs {
    /// Which cluster.
    #[command(flatten)]
    pub target: Target,
    /// A description of the cluster; unset keys have the default's values
    #[arg(long, value_name = "FILE")]
    pub spec: Option<PathBuf>,
    /// What it says instead of the description.
    #[command(flatten)]
    pub kind: KindArgs,
    /// Where the nodes run.
    #[command(flatten)]
    pub place: PlaceArgs,
    /// What nodes do with start-up caches: use them and have missing ones made in the background, only use them, or neither
    #[arg(long, value_name = "USE", env = "CARACAL_START_CACHES", value_enum, default_value_t)]
    pub start_caches: StartCachesChoice,
    /// Only say what would be done; change nothing
    #[arg(long)]
    pub dry_run: bool,
    /// How it is shown.
    #[command(flatten)]
    pub reporting: Reporting,
}

/// Arguments of `cluster start`.
#[derive(Args, Clone, Debug, Default)]
#[non_exhaustive]
pub struct StartArgs {
    /// Which cluster.
    #[command(flatten)]
    pub target: Target,
    /// What nodes do with start-up caches: use them and have missing ones made in the background, only use them, or neither
    #[arg(long, value_name = "USE", env = "CARACAL_START_CACHES", value_enum, default_value_t)]
    pub start_caches: StartCachesChoice,
    /// Only say what would be done; change nothing
    #[arg(long)]
    pub dry_run: bool,
    /// How it is shown.
    #[command(flatten)]
    pub reporting: Reporting,
}

/// Arguments of `cluster stop`.
#[derive(Args, Clone, Debug, Default)]
#[non_exhaustive]
pub struct StopArgs {
    /// Which cluster.
    #[command(flatten)]
    pub target: Target,
    /// Only say what would be done; change nothing
    #[arg(long)]
    pub dry_run: bool,
    /// How it is shown.
    #[command(flatten)]
    pub reporting: Reporting,
}

/// Arguments of `cluster down`.
#[derive(Args, Clone, Debug, Default)]
#[non_exhaustive]
pub struct DownArgs {
    /// Which cluster.
    #[command(flatten)]
    pub target: Target,
    /// Delete everything of the cluster: topics' data, certificates, passwords, logs
    #[arg(short = 'v', long)]
    pub volumes: bool,
    /// Do not ask before deleting
    #[arg(short = 'y', long)]
    pub yes: bool,
    /// Only say what would be done; change nothing
    #[arg(long)]
    pub dry_run: bool,
    /// How it is shown.
    #[command(flatten)]
    pub reporting: Reporting,
}

/// Arguments of `cluster ps`.
#[derive(Args, Clone, Debug, Default)]
#[non_exhaustive]
pub struct LookArgs {
    /// Which cluster.
    #[command(flatten)]
    pub target: Target,
    /// How it is shown.
    #[command(flatten)]
    pub reporting: Reporting,
}

/// Arguments of `cluster list`.
#[derive(Args, Clone, Debug, Default)]
#[non_exhaustive]
pub struct ListArgs {
    /// Where clusters are kept [default: $CARACAL_STATE_DIR, else .caracal]
    #[arg(long, value_name = "DIR")]
    pub state_dir: Option<PathBuf>,
    /// How it is shown.
    #[command(flatten)]
    pub reporting: Reporting,
}

/// Arguments of `cluster plan`.
#[derive(Args, Clone, Debug, Default)]
#[non_exhaustive]
pub struct PlanArgs {
    /// Which cluster.
    #[command(flatten)]
    pub target: Target,
    /// A description to compare with what is
    #[arg(long, value_name = "FILE")]
    pub spec: Option<PathBuf>,
    /// What it says instead of the description.
    #[command(flatten)]
    pub kind: KindArgs,
    /// Where the nodes run.
    #[command(flatten)]
    pub place: PlaceArgs,
    /// Exit with 11 when anything differs
    #[arg(long)]
    pub exit_code: bool,
    /// Print every rendered file, whole
    #[arg(long)]
    pub files: bool,
    /// How it is shown.
    #[command(flatten)]
    pub reporting: Reporting,
}

/// Arguments of `credentials`.
#[derive(Args, Clone, Debug, Default)]
#[non_exhaustive]
pub struct CredentialsArgs {
    /// Which cluster.
    #[command(flatten)]
    pub target: Target,
    /// A description of the cluster; unset keys have the default's values
    #[arg(long, value_name = "FILE")]
    pub spec: Option<PathBuf>,
    /// What it says instead of the description.
    #[command(flatten)]
    pub kind: KindArgs,
    /// For an authority whose key may not come here: write what it has to sign into this folder
    #[arg(long, value_name = "DIR", conflicts_with = "accept")]
    pub request: Option<PathBuf>,
    /// Take what it signed from this folder
    #[arg(long, value_name = "DIR")]
    pub accept: Option<PathBuf>,
    /// Only say what would be done; change nothing
    #[arg(long)]
    pub dry_run: bool,
    /// How it is shown.
    #[command(flatten)]
    pub reporting: Reporting,
}

/// Arguments of `verify`.
#[derive(Args, Clone, Debug, Default)]
#[non_exhaustive]
pub struct VerifyArgs {
    /// Which cluster.
    #[command(flatten)]
    pub target: Target,
    /// Leave out the client library's round trips; the report says so
    #[arg(long)]
    pub skip_client: bool,
    /// Show every attempt, not only those that failed
    #[arg(long)]
    pub all: bool,
    /// How it is shown.
    #[command(flatten)]
    pub reporting: Reporting,
}
