//! A secured Kafka cluster from one description: spec, plan, runtimes, administration, proof.

pub mod credentials;
pub mod dir;
pub mod distribution;
pub mod names;
pub mod plan;
pub mod properties;
pub mod spec;
