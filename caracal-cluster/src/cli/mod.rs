//! The command tree that `cargo xtask` and the `caracal` binary share.
//!
//! Here are arguments and rendering only; what a command does is [`crate::lifecycle::commands`]. Every
//! command that reports takes `--json` and then prints one document (shapes in [`json`]); its exit code
//! is one of [`exit`]'s.
//!
//! ```
//! use caracal_cluster::cli::Command;
//! use clap::{CommandFactory as _, Parser};
//!
//! #[derive(Parser)]
//! struct Cli {
//!     #[command(subcommand)]
//!     command: Command,
//! }
//! Cli::command().debug_assert();
//! assert!(Cli::try_parse_from(["cli", "cluster", "up", "--name", "mine"]).is_ok());
//! ```

mod args;
pub mod cache;
pub mod complete;
pub mod exit;
pub mod json;
pub mod ops;
mod output;
mod place;
mod prune;
pub mod reference;
mod run;
mod signal;
mod summary;
mod tables;
mod ticks;
pub mod verify;

pub use self::args::{
    ClusterCommand, ColorChoice, Command, CredentialsArgs, DownArgs, KindArgs, ListArgs, LookArgs,
    MetadataChoice, PlaceArgs, PlanArgs, PortsChoice, ProfileChoice, RegistryChoice, Reporting,
    RuntimeChoice, StartArgs, StartCachesChoice, StopArgs, Target, UpArgs, VerifyArgs,
};
pub use self::prune::{PruneArgs, PruneReport};
pub use self::run::run;

#[cfg(test)]
mod tests;
