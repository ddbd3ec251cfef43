//! caracal-cluster

pub mod distribution;
pub mod ports;
pub mod runtime;
pub mod wait;
