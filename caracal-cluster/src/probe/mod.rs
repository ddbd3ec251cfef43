//! Probes: what a listener does when somebody is wrong.

pub mod client;
pub mod look;
pub mod matrix;
pub mod tls;
