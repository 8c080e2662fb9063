//! Pages for people: what this is, what there is, and what a problem means.

pub mod front;
pub mod index;
pub mod problem;
