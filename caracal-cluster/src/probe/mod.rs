//! Probes: what a listener does when somebody is wrong.

pub mod client;
pub mod matrix;
pub mod tls;
