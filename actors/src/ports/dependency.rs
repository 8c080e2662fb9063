//! What is asked about a rule that another one depends on.

use core314_domain::ids::RowId;

/// A rule whose open event holds those of another one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Holder {
    pub name: String,
    /// Only an event holds that began before this time and id; `None`: whichever is open.
    pub before: Option<(i64, RowId)>,
}
