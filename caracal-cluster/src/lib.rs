//! A secured Kafka cluster from one description: spec, plan, runtime, administration, proof.
//!
//! ```text
//! ClusterSpec ──plan()──► ClusterPlan ──► lifecycle::engine ──► runtime::native   processes here
//!  (cluster.toml;          (pure value,    (flat list of          (start, stop,
//!   its default is          nothing left    named steps:           observe, explain)
//!   the guide's)            to decide)      observe, apply)
//! ```
//!
//! * [`spec`] is what a person asks for; [`plan()`](plan::plan) decides everything else, without I/O.
//! * [`lifecycle`] carries a plan out, step by step, so that a second run changes nothing and a killed one
//!   converges; [`runtime`] runs the nodes, [`distribution`] brings what they are made of.
//! * [`credentials`] makes authorities, certificates, passwords and every user's client files.
//! * [`ops`] operates what was made: logs, restarts, health, users, topics, groups, certificates.
//! * `testing` (a feature) starts a cluster for an integration test, and ends it whatever becomes of the test.
//! * [`wire`] is one authenticated connection to one broker; [`admin`], [`probe`] and [`zookeeper`] stand
//!   on it or beside it. No JVM is started to administer anything.
//!
//! **Architecture invariant:** nothing here depends on librdkafka; whoever runs `cargo xtask` does not
//! compile OpenSSL.
//!
//! ```
//! use caracal_cluster::plan::{self, PlanInputs, check};
//! use caracal_cluster::spec::ClusterSpec;
//!
//! let spec = ClusterSpec::default();
//! let plan = plan::plan(&spec, &PlanInputs {
//!     placement: plan::Placement::Processes,
//!     directory: "/srv/caracal".into(),
//!     kafka_jars: vec!["/opt/kafka/libs/kafka_2.13-3.9.2.jar".into()],
//!     registry_home: "/opt/apicurio".into(),
//!     registry_version: "3.3.3".into(),
//!     ports: plan::guide_ports(&spec),
//!     additions: plan::Additions::default(),
//!     metrics_agent: String::new(),
//! })?;
//! assert_eq!(plan.nodes.len(), 7);
//! assert_eq!(plan.endpoints.bootstrap, ["localhost:9093", "localhost:9095", "localhost:9097"]);
//! assert!(check::check(&plan).iter().all(|note| note.severity < check::Severity::Error));
//! # Ok::<(), plan::PlanError>(())
//! ```

pub mod admin;
#[cfg(feature = "cli")]
pub mod cli;
pub mod credentials;
pub mod dir;
pub mod distribution;
pub mod export;
pub mod kraft;
pub mod lifecycle;
pub mod names;
pub mod ops;
pub mod plan;
pub mod ports;
pub mod probe;
pub mod properties;
pub mod registry;
pub mod runtime;
pub mod spec;
#[cfg(feature = "testing")]
pub mod testing;
pub mod wait;
pub mod wire;
pub mod zookeeper;
