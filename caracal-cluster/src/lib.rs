//! A secured Kafka cluster from one description: spec, plan, runtimes, administration, proof.

pub mod admin;
pub mod names;
pub mod plan;
pub mod probe;
pub mod wire;
pub mod zookeeper;
