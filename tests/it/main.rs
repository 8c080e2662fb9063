//! The integration tests: the real binary and its adapters, on both stores.

mod access;
mod alertmanager;
mod commands;
mod crash;
mod documents;
mod escalation;
mod exclusive;
mod executors;
mod fuzz;
mod hostile;
mod integrations;
mod notify;
mod orchestration;
mod providers;
mod schedules;
mod scripted;
mod sink;
mod store;
mod stream;
mod supervised;
mod support;
mod tamper;
mod tls;
mod traces;
mod views;
mod webhooks;
