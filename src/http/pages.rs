//! Pages for people and their tools: what this is, what there is, and what a problem means.

pub mod docs;
pub mod flow_schema;
pub mod front;
pub mod index;
pub mod openapi;
pub mod problem;
