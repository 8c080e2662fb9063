//! The integration tests: the real binary and its adapters, on both stores.

mod alertmanager;
mod commands;
mod crash;
mod exclusive;
mod executors;
mod fuzz;
mod hostile;
mod notify;
mod providers;
mod scripted;
mod sink;
mod store;
mod supervised;
mod support;
mod tamper;
mod tls;
mod traces;
mod views;
