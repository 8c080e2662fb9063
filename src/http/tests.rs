//! The HTTP surface as clients see it, over a real engine and a store in memory.

mod edge;
mod flows;
mod hooks;
mod hostile;
mod operations;
mod support;
mod surface;
mod triggers;
