//! The function endpoints: the engine behind the request and response shapes of the platform that this system continues.
//!
//! Unknown fields of a request are ignored here. The envelope adds `success: false` and `error` to problems.

pub mod core_notifications_gateway;
pub mod escalation_handler;
pub mod execute_action;
pub mod orchestrator_engine;
