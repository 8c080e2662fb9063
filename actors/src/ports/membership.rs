//! The nodes of an installation, and which of them has its partitions.
//!
//! A node has a lease for as long as its row says, by the store's own clock; the leases of its partitions are its own. It
//! renews that one row, which no commit locks. A row whose time has run out may be renewed as long as nobody has taken over:
//! who does crosses the row out first, in the transaction that takes the partitions, and a node that was crossed out never
//! comes back. Commits are fenced by the epoch of their partition alone, so that no clock matters to them.

use core314_domain::ids::RowId;

use super::{BoxFuture, StoreError};

/// A process that joins an installation.
#[derive(Debug, Clone)]
pub struct NewNode {
    pub id: RowId,
    /// What people call it; empty: nothing.
    pub name: String,
    pub version: String,
    pub environment: String,
    /// How long it lives without being renewed; absent: for as long as the process has the store to itself.
    pub lease_ms: Option<i64>,
    /// Those that have surely ended, and are waited for by nobody: earlier processes of the same place. Where another node
    /// lives they are left to it, as a place whose processes end again and again must keep nobody else from working.
    pub predecessors: Vec<RowId>,
}

/// A live node, as it is stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredNode {
    pub id: RowId,
    pub name: String,
    pub version: String,
    pub environment: String,
    pub started_at_ms: i64,
    /// When it was renewed last.
    pub seen_at_ms: i64,
    /// How many partitions it has.
    pub partitions: i64,
    /// Under which it has them; absent: it has none.
    pub epoch: Option<i64>,
}

/// Who has a partition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredLease {
    pub partition: u16,
    pub node: RowId,
    pub epoch: i64,
    pub taken_at_ms: i64,
    /// Absent where the node has left, or needs no renewal.
    pub expires_at_ms: Option<i64>,
}

/// What came of taking the partitions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Taking {
    /// The node has all of them.
    Taken { epoch: i64 },
    /// This live node has them.
    Held(RowId),
    /// The node itself was crossed out: it joins anew, or ends.
    Gone,
}

/// Joining, staying, taking over, leaving. Times are the store's.
pub trait Membership: Send + Sync {
    /// Makes this node the owner of every partition, with a new epoch, whoever had them; crosses out all other nodes. For who
    /// has the store to itself. Creates partitions that do not exist, and refuses to be told of fewer than there are. The epoch is greater than
    /// every one before it.
    fn take_partitions(&self, node: RowId, partitions: u16, now_ms: i64) -> BoxFuture<'_, Result<i64, StoreError>>;

    /// Adds a node. What is long gone is removed.
    fn join(&self, node: NewNode) -> BoxFuture<'_, Result<(), StoreError>>;

    /// Lengthens a node's lease to so long from now. False: it was crossed out, or somebody has the store alone by now.
    fn renew(&self, node: RowId, lease_ms: i64) -> BoxFuture<'_, Result<bool, StoreError>>;

    /// Takes every partition, unless a live node has one; lengthens the node's lease as well. Who has them all already is told so. Waits for what the former
    /// owner has under way in the store. For who shares the store: whoever had it to itself has ended by then. Refuses to be
    /// told of fewer than there are, whoever has them.
    fn take_free(&self, node: RowId, partitions: u16, lease_ms: i64) -> BoxFuture<'_, Result<Taking, StoreError>>;

    /// Crosses a node out: what it has is free at once.
    fn leave(&self, node: RowId) -> BoxFuture<'_, Result<(), StoreError>>;

    /// The live nodes, the oldest first.
    fn nodes(&self) -> BoxFuture<'_, Result<Vec<StoredNode>, StoreError>>;

    /// The partitions that there are, in order.
    fn leases(&self) -> BoxFuture<'_, Result<Vec<StoredLease>, StoreError>>;
}
