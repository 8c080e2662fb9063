//! What one attempt left behind: the row that the immutable execution log gets.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::Json;
use crate::ids::StepNo;
use crate::words::ExecutionStatus;

/// One attempt, ended. Written once, with the change of its execution, and never altered.
#[derive(Debug, Clone, PartialEq)]
pub struct LogEntry {
    pub step: StepNo,
    /// From 0.
    pub attempt: u32,
    pub action_type: Arc<str>,
    pub action_target: Arc<str>,
    /// As it was sent, with secrets redacted.
    pub payload: Json,
    pub status: ExecutionStatus,
    /// Whether this attempt ended its execution: the one that statistics count.
    pub is_final: bool,
    pub result: Option<Json>,
    pub failure: Option<Failure>,
    pub started_at_ms: i64,
    pub completed_at_ms: i64,
    /// By the monotonic clock; absent where the end was not seen.
    pub duration_ms: Option<i64>,
    /// From when the execution could have started to when it did.
    pub queue_wait_ms: i64,
    pub http: Option<HttpFigures>,
}

/// Why an attempt failed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Failure {
    /// A stable word, such as `timeout` or `http_status`.
    pub code: String,
    /// The other side's own words where it had any, sanitized.
    pub message: String,
    pub retryable: bool,
    /// The other side's wish, from now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_after_ms: Option<i64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub details: Option<Value>,
}

impl Failure {
    /// A failure that another attempt would not mend.
    pub fn fatal(code: &str, message: impl Into<String>) -> Self {
        Self { code: code.to_owned(), message: message.into(), retryable: false, retry_after_ms: None, details: None }
    }

    /// A failure that another attempt may mend.
    pub fn retryable(code: &str, message: impl Into<String>) -> Self {
        Self { retryable: true, ..Self::fatal(code, message) }
    }
}

/// What an HTTP exchange measured.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct HttpFigures {
    pub method: String,
    /// Scheme, host, port and path, without query and credentials.
    pub endpoint: String,
    pub status_code: Option<u16>,
    /// To the end of the response's body.
    pub response_time_ms: Option<i64>,
    pub request_bytes: Option<i64>,
    pub response_bytes: Option<i64>,
}

impl LogEntry {
    /// Whether a person should look at it: nobody knows what the attempt did.
    pub fn requires_review(&self) -> bool {
        self.failure.as_ref().is_some_and(|f| f.code == OUTCOME_UNKNOWN)
    }

    /// Whether the attempt did what it should.
    pub fn success(&self) -> bool {
        self.status == ExecutionStatus::Completed
    }
}

/// The code of an attempt that was under way when its node died.
pub const OUTCOME_UNKNOWN: &str = "outcome_unknown";
