#![doc = include_str!("../README.md")]

pub mod events;
pub mod profile;
pub mod schema;
