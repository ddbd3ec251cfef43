//! What runs the nodes of a plan: processes of this machine, or containers.

pub mod process;
