//! Webhook endpoints: who may call in, and what that starts.

pub mod create;
