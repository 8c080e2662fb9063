//! What executors of HTTP share about integrations: where a request goes, and what proves it.

pub mod address;
pub mod auth;
pub mod consent;
pub mod http;
pub mod oauth;
pub mod sigv4;

pub use address::Address;
