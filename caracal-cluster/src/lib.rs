//! A secured Kafka cluster from one description: spec, plan, runtimes, administration, proof.

pub mod admin;
#[cfg(feature = "cli")]
pub mod cli;
pub mod credentials;
pub mod dir;
pub mod distribution;
pub mod lifecycle;
pub mod names;
pub mod plan;
pub mod ports;
pub mod probe;
pub mod properties;
pub mod registry;
pub mod runtime;
pub mod spec;
pub mod wait;
pub mod wire;
pub mod zookeeper;
