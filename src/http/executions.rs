//! Entries of the execution queue.

pub mod list;
pub mod show;
