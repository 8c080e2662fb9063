//! Dead letters: work that was set aside because it kills whoever handles it.

pub mod settle;
