//! The nodes of the runtime and the partitions that they hold, for those who run the platform.

pub mod list;
pub mod partitions;
