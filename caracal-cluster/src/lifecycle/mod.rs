//! What happens to a cluster over time: up, down, start, stop, and what differs.

pub mod cluster;
pub mod engine;
