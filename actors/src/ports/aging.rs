//! What is kept for a time and no longer.

use super::{BoxFuture, StoreError};

/// Rows that go when they are old enough. No run depends on them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Aged {
    /// Values of metrics, since they were written.
    Metrics,
    /// Notifications, since their user archived them.
    ArchivedNotifications,
    /// Idempotency keys, since they expired.
    IdempotencyKeys,
}

impl Aged {
    /// Every kind, in the order in which they go.
    pub const ALL: [Self; 3] = [Self::Metrics, Self::ArchivedNotifications, Self::IdempotencyKeys];

    /// The contract's name of the table.
    pub const fn table(self) -> &'static str {
        match self {
            Self::Metrics => "metrics_data",
            Self::ArchivedNotifications => "notifications",
            Self::IdempotencyKeys => "idempotency_keys",
        }
    }
}

/// A store whose rows age.
pub trait Aging: Send + Sync + 'static {
    /// Drops at most so many of those that were as old as that before this time, the oldest first; says how many.
    fn drop_old(&self, what: Aged, before_ms: i64, limit: usize) -> BoxFuture<'_, Result<usize, StoreError>>;
}
