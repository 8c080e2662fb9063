//! Reading the append-only tables back, to prove them.

use super::{BoxFuture, StoreError};

/// Verifies the hash chains of the append-only tables.
pub trait Ledger: Send + Sync + 'static {
    /// Walks every chain from its first row to its last, recomputing each hash and each checkpoint's root.
    fn verify(&self) -> BoxFuture<'_, Result<LedgerReport, StoreError>>;
}

/// What a verification found.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Serialize)]
pub struct LedgerReport {
    pub rows: u64,
    pub checkpoints: u64,
    pub partitions: u64,
    /// Empty when everything holds. At most a hundred are listed.
    pub findings: Vec<Finding>,
}

/// A place where a chain does not hold.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Finding {
    pub table: &'static str,
    pub partition: u16,
    /// The number of the row in its chain, where it is known.
    pub seq: i64,
    /// The row's id, where there is a row.
    pub id: Option<String>,
    pub message: String,
}
