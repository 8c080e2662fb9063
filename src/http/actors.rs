//! The live supervision tree, for those who run the platform.

pub mod list;
pub mod restart;
