//! Syncs: how far each `data_sync` of a tenant has come.

pub mod list;
pub mod reset;
