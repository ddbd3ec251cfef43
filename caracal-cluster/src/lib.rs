//! A secured Kafka cluster from one description: spec, plan, runtimes, administration, proof.

pub mod names;
pub mod plan;
