//! Persisted words: closed sets that stand in tables, documents and answers. Extended, never renamed.

/// Declares an enum whose variants are persisted words.
#[macro_export]
macro_rules! words {
    ($($(#[$doc:meta])* $name:ident { $($variant:ident = $word:literal),* $(,)? })*) => {$(
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[derive(serde::Serialize, serde::Deserialize, schemars::JsonSchema)]
        pub enum $name { $(#[serde(rename = $word)] $variant),* }

        impl $name {
            /// Every member, in the order of declaration.
            pub const ALL: &'static [Self] = &[$(Self::$variant),*];

            /// Their words, in the same order.
            pub const WORDS: &'static [&'static str] = &[$($word),*];

            /// The word as it is stored and shown.
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $word),* }
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(self.as_str())
            }
        }

        impl std::str::FromStr for $name {
            type Err = $crate::words::UnknownWord;
            fn from_str(word: &str) -> Result<Self, $crate::words::UnknownWord> {
                Self::ALL.iter().copied().find(|w| w.as_str() == word).ok_or_else(|| $crate::words::UnknownWord {
                    word: word.chars().take(60).collect(),
                    known: Self::ALL.iter().map(|w| w.as_str()).collect::<Vec<_>>().join(", "),
                })
            }
        }
    )*};
}
pub use crate::words;

/// A word that its set does not have. The message lists the set.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("'{word}' is not one of: {known}")]
pub struct UnknownWord {
    pub word: String,
    pub known: String,
}

words! {
    /// The state of a run, as `flow_runs.run_status` shows it.
    RunStatus {
        Pending = "pending", AwaitingApproval = "awaiting_approval", Running = "running", Paused = "paused",
        Compensating = "compensating", Completed = "completed", Failed = "failed", RolledBack = "rolled_back",
        Cancelled = "cancelled", TimedOut = "timed_out",
    }
    /// The state of an execution, as `execution_queue.execution_status` shows it.
    ExecutionStatus {
        Pending = "pending", Blocked = "blocked", AwaitingApproval = "awaiting_approval", InProgress = "in_progress",
        Retrying = "retrying", Completed = "completed", Failed = "failed", Cancelled = "cancelled",
        Expired = "expired", Skipped = "skipped",
    }
    /// The decision of a person on an execution or a run.
    ApprovalStatus {
        NotRequired = "not_required", Pending = "pending", Approved = "approved", Rejected = "rejected",
        Expired = "expired",
    }
    /// How soon an execution matters.
    Urgency { Low = "low", Medium = "medium", High = "high", Critical = "critical" }
    /// How a flow's steps depend on each other.
    ExecutionMode { Sequential = "sequential", Parallel = "parallel", Mixed = "mixed" }
    /// What starts a flow.
    TriggerType {
        Webhook = "webhook", Schedule = "schedule", Manual = "manual", DecisionApproved = "decision_approved",
        RecommendationCreated = "recommendation_created", ThresholdExceeded = "threshold_exceeded",
        AnomalyDetected = "anomaly_detected", Escalation = "escalation", Event = "event",
        FlowFinished = "flow_finished",
    }
    /// What a flow does when one of its steps has failed for good.
    OnErrorAction { Stop = "stop", Continue = "continue", Fallback = "fallback", Rollback = "rollback", Pause = "pause" }
    /// What a step does when it has failed for good.
    OnError {
        Fail = "fail", Continue = "continue", Fallback = "fallback", Compensate = "compensate", Pause = "pause",
    }
    /// What a step does.
    StepType {
        Action = "action", Approval = "approval", Branch = "branch", ForEach = "for_each", While = "while",
        Parallel = "parallel", SubFlow = "sub_flow", Wait = "wait", Transform = "transform", Set = "set",
        Raise = "raise", Stop = "stop",
    }
    /// What an approval does when nobody has decided in time.
    OnApprovalTimeout { Reject = "reject", Approve = "approve", Fail = "fail", Escalate = "escalate" }
    /// What a wait does when what it waits for has not come in time.
    OnWaitTimeout { Fail = "fail", Continue = "continue" }
    /// What a loop does when one of its items has failed.
    OnLoopError { Stop = "stop", Continue = "continue" }
    /// How a `stop` step ends its run.
    StopStatus { Completed = "completed", Failed = "failed", Cancelled = "cancelled" }
    /// What a run does after it has rolled back.
    RollbackThen { Stop = "stop", Retry = "retry" }
    /// A transition of a phase, as `workflow_phase_logs.status` shows it.
    PhaseStatus { Started = "started", Completed = "completed", Failed = "failed", RolledBack = "rolled_back" }
    /// What became of a webhook's delivery, as `webhook_deliveries.delivery_status` shows it.
    DeliveryStatus { Accepted = "accepted", NoMatch = "no_match", Duplicate = "duplicate", Failed = "failed" }
    /// What becomes of an attempt that was under way when its node died.
    OnUnknownOutcome { Retry = "retry", Verify = "verify", Park = "park" }
    /// What a notification is about.
    NotificationType { Alert = "alert", Notify = "notify", Info = "info", Warning = "warning", Error = "error" }
    /// What has become of a notification in its user's inbox.
    NotificationStatus { Unread = "unread", Read = "read", Archived = "archived" }
    /// How much something matters.
    Severity { Low = "low", Medium = "medium", High = "high", Critical = "critical" }
    /// What somebody may do in a tenant. Each role may do what those before it may: a viewer reads, an operator also
    /// triggers and decides, an admin also writes definitions and makes keys.
    Role { Viewer = "viewer", Operator = "operator", Admin = "admin" }
    /// How far a service key reaches: over its own tenant, or over all of them.
    KeyScope { Tenant = "tenant", Platform = "platform" }
    /// What has become of a decision of an engine outside. It is executed once a run of it has completed.
    DecisionStatus { Pending = "pending", Approved = "approved", Rejected = "rejected", Executed = "executed" }
    /// What has become of a recommendation. It is executed once its action has completed.
    RecommendationStatus { New = "new", Accepted = "accepted", Executed = "executed", Dismissed = "dismissed" }
    /// How a metric is to be read.
    MetricType { Counter = "counter", Gauge = "gauge", Histogram = "histogram" }
    /// What has happened that starts flows, durably.
    OccurrenceKind {
        FlowFinished = "flow_finished", DecisionApproved = "decision_approved",
        RecommendationCreated = "recommendation_created", RecommendationAccepted = "recommendation_accepted",
        ThresholdExceeded = "threshold_exceeded", Failure = "failure", Fallback = "fallback", BadEnd = "bad_end",
        PhaseMoved = "phase_moved", EscalationOpened = "escalation_opened", ApprovalRequested = "approval_requested",
    }
}

impl NotificationType {
    /// The severity of a notification that names none.
    pub const fn default_severity(self) -> Severity {
        match self {
            Self::Alert | Self::Error => Severity::High,
            Self::Warning => Severity::Medium,
            Self::Notify | Self::Info => Severity::Low,
        }
    }
}

#[expect(clippy::derivable_impls, reason = "the macro that declares the words derives no default")]
impl Default for RunStatus {
    fn default() -> Self {
        Self::Pending
    }
}

impl RunStatus {
    /// Whether the run has ended; an ended run never changes again.
    pub const fn is_terminal(self) -> bool {
        match self {
            Self::Completed | Self::Failed | Self::RolledBack | Self::Cancelled | Self::TimedOut => true,
            Self::Pending | Self::AwaitingApproval | Self::Running | Self::Paused | Self::Compensating => false,
        }
    }
}

impl ExecutionStatus {
    /// Whether the execution has ended.
    pub const fn is_terminal(self) -> bool {
        match self {
            Self::Completed | Self::Failed | Self::Cancelled | Self::Expired | Self::Skipped => true,
            Self::Pending | Self::Blocked | Self::AwaitingApproval | Self::InProgress | Self::Retrying => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_reads_back_and_an_unknown_one_names_the_set() {
        for status in RunStatus::ALL {
            assert_eq!(status.as_str().parse::<RunStatus>(), Ok(*status));
        }
        let error = "speedy".parse::<Urgency>().expect_err("not a word");
        assert_eq!(error.to_string(), "'speedy' is not one of: low, medium, high, critical");
    }
}
