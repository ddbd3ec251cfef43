//! What happens to a cluster over time: up, down, start, stop, and what differs.

pub mod access;
pub mod cluster;
pub mod commands;
pub mod down;
pub mod engine;
mod error;
mod explained;
mod single;
pub mod start_caches;
pub(crate) mod steps;
mod world;

pub use self::access::Access;
pub use self::cluster::{Cluster, ClusterError, Described};
pub use self::error::{StepError, chain};
pub use self::world::ClusterWorld;
