//! The integration tests: the real binary and its adapters, on both stores.

mod alertmanager;
mod crash;
mod exclusive;
mod executors;
mod sink;
mod store;
mod stream;
mod supervised;
mod support;
mod tamper;
mod views;
