//! A page on loopback that shows the cluster live: nodes, partitions, topics, groups, certificates, last `verify`.
//!
//! [`snapshot`] is what the page shows, as a value; [`serve`] hands it out. The page is three files inside this
//! program and asks nobody else for anything.

mod server;
pub mod snapshot;

pub use self::server::{Dashboard, serve};
