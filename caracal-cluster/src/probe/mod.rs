//! Probes: what a listener does when somebody is wrong.

pub mod tls;
