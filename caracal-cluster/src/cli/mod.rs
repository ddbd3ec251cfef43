//! The command tree that `cargo xtask` and the `caracal` binary share.

pub mod cluster;
pub mod verify;
