//! The HTTP surface as clients see it, over a real engine and a store in memory.

mod flows;
mod hooks;
mod hostile;
mod notifications;
mod operations;
mod support;
mod surface;
mod triggers;
