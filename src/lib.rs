//! Core314: a self-hosted automation runtime that heals itself.
//!
//! The shell around the reactive core. `cli` reads what was asked for, `config` what is in force, and `app` puts the
//! adapters (`store`, `http`, `executors`, `telemetry`) and the engine together. A library only so that the integration
//! tests reach the adapters; the product is the binary.

pub mod ack;
pub mod app;
pub mod bench;
pub mod cli;
mod codes;
pub mod config;
pub mod demo;
pub mod executors;
pub mod gallery;
pub mod http;
pub mod receiver;
mod signed;
pub mod store;
pub mod telemetry;
pub mod vault;
