//! The integration tests: the real binary and its adapters, on both stores.

mod alertmanager;
mod crash;
mod executors;
mod sink;
mod supervised;
mod support;
mod tamper;
mod views;
