//! A small ZooKeeper client over mutual TLS: what bootstrapping a cluster needs, and nothing else.
//!
//! Users must be in ZooKeeper before the first broker starts, and a JVM tool for that costs seconds each.
//! The protocol is ZooKeeper 3.8's: frames of a four-byte length, inside them records in *jute* encoding
//! ([`jute`]), a connect record first, then requests with a header of `int xid; int type` and answers with
//! `int xid; long zxid; int err`. [`users`] writes SCRAM credentials with the very ACLs that Kafka itself
//! would choose; [`admin_words`] asks a server for its mode.
//!
//! A session lives as long as its [`ZooKeeper`]; there is no background ping, so whoever pauses longer than
//! [`ZooKeeper::session_timeout`] must connect anew.

pub mod admin_words;
pub mod client;
pub mod error;
pub mod jute;
pub mod users;

pub use admin_words::{ServerMode, ServerStatus};
pub use client::{Acl, CreateMode, Permissions, Stat, ZooKeeper};
pub use error::{ZkCode, ZkError};
