//! Fakes for every port, and the conformance suites that every adapter runs.

mod memory_aging;
mod memory_answers;
mod memory_bulk;
mod memory_catalog;
mod memory_connections;
pub mod memory_events;
pub mod memory_inbox;
mod memory_keys;
mod memory_limits;
mod memory_nodes;
pub mod memory_people;
pub mod memory_positions;
mod memory_results;
mod memory_rollouts;
mod memory_run_states;
pub mod memory_schedules;
mod memory_settlements;
pub mod memory_signals;
pub mod memory_store;
pub mod memory_vault;
pub mod notification_suite;
pub mod scripted_executor;
pub mod store_suite;
pub mod sync_suite;
