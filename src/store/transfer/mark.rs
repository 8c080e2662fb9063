//! What an installation says of itself: that a copy into it was not finished, and that it is paused.
//!
//! Both stand in the one row of `cluster`. The first mark is set before anything is copied and goes with the commit that
//! makes the destination an installation; as long as it is there nobody starts on it.

use core314_actors::ports::StoreError;
use uuid::Uuid;

use crate::store::cell::Cell;
use crate::store::connection::Connection;
use crate::store::failure::Failure;

const READ: &str = "SELECT minimum_version, installation_id, unfinished_since_ms, paused_at_ms, paused_by FROM cluster";
const BEGIN: &str = "UPDATE cluster SET unfinished_since_ms = $1";
const FINISH: &str = "UPDATE cluster SET minimum_version = $1, installation_id = $2, paused_at_ms = $3, paused_by = $4, \
    unfinished_since_ms = NULL";

/// The copy has no nodes: those of the source go on there.
const NO_NODES: &str = "UPDATE nodes SET left_at_ms = seen_at_ms WHERE left_at_ms IS NULL";

/// The row about the installation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::store) struct Installation {
    minimum_version: i64,
    id: Uuid,
    /// Since when something is being copied into it.
    pub unfinished_since_ms: Option<i64>,
    pub paused: Option<Paused>,
}

/// Since when an installation is paused, and by what.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Paused {
    pub at_ms: i64,
    pub by: String,
}

/// Reads the row, in the transaction that the connection is in.
pub(in crate::store) async fn read(connection: &mut Connection) -> Result<Installation, Failure> {
    let rows = connection.fetch(READ, &[]).await?;
    let absent = || Failure::Refused("there is no installation in the database".to_owned());
    let mut fields = rows.first().ok_or_else(absent)?.fields();
    let (minimum_version, id, unfinished_since_ms) = (fields.int()?, fields.uuid()?, fields.maybe_int()?);
    let (at_ms, by) = (fields.maybe_int()?, fields.maybe_text()?);
    let paused = at_ms.map(|at_ms| Paused { at_ms, by: by.unwrap_or_default() });
    Ok(Installation { minimum_version, id, unfinished_since_ms, paused })
}

/// Refuses a database into which a copy was begun and not finished.
pub(in crate::store) async fn refuse_unfinished(connection: &mut Connection) -> Result<(), StoreError> {
    connection.begin_read().await?;
    let installation = read(connection).await?;
    connection.commit().await?;
    match installation.unfinished_since_ms {
        None => Ok(()),
        Some(_) => Err(StoreError::Refused(
            "a copy into this database was begun and not finished, so it is no whole installation: copy into it again \
             with the same command and `--restart`, or use another database"
                .to_owned(),
        )),
    }
}

/// Says that something is being copied into the database.
pub(super) async fn begin(connection: &mut Connection, now_ms: i64) -> Result<(), Failure> {
    connection.begin_write().await?;
    connection.fetch(BEGIN, &[now_ms.into()]).await?;
    connection.commit().await
}

/// Makes the database the installation that was copied into it.
pub(super) async fn finish(
    connection: &mut Connection,
    of: &Installation,
    paused: Option<&Paused>,
) -> Result<(), Failure> {
    let cells = [
        of.minimum_version.into(),
        of.id.into(),
        Cell::Int(paused.map(|paused| paused.at_ms)),
        Cell::Text(paused.map(|paused| paused.by.as_str().into())),
    ];
    connection.begin_write().await?;
    connection.fetch(FINISH, &cells).await?;
    connection.fetch(NO_NODES, &[]).await?;
    connection.commit().await
}
