//! The steps of `up`, one file a concern; the engine calls them through [`super::ClusterWorld`].

pub(super) mod broker_state;
pub(super) mod distribution;
pub(super) mod files;
pub(crate) mod format;
pub(super) mod images;
pub(super) mod later_users;
pub(super) mod nodes;
pub(crate) mod preflight;
pub(super) mod proof;
pub(super) mod quorum;
pub(super) mod registry;
mod restart;
pub(super) mod session;
pub(super) mod users;
