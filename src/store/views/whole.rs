//! The values that a row only refers to. Lists show references, so that a page stays small; a row that is asked for alone
//! is shown whole.

use core314_actors::ports::StoreError;
use serde_json::Value;
use uuid::Uuid;

use super::reader::Reader;
use crate::store::blobs::Reference;

/// The columns that may hold a reference.
const COLUMNS: [&str; 3] = ["execution_result", "action_payload", "output"];

/// Puts the values in that a row refers to. Where one is gone the reference stays.
pub(super) async fn whole(reader: &mut Reader, mut row: Value) -> Result<Value, StoreError> {
    let references: Vec<(&str, Reference)> =
        COLUMNS.into_iter().filter_map(|column| Some((column, Reference::of(row.get(column)?)?))).collect();
    if references.is_empty() {
        return Ok(row);
    }
    let ids: Vec<Uuid> = references.iter().map(|(_, reference)| reference.id).collect();
    let mut statement = reader.statement("SELECT id, content FROM blobs WHERE ");
    statement.push_one_of("id", &ids);
    reader.push_tenant(&mut statement, "tenant_id");
    let contents: Vec<(Uuid, Vec<u8>)> = reader.rows(statement).await?;
    for (column, reference) in references {
        if let Some((_, content)) = contents.iter().find(|(id, _)| *id == reference.id) {
            row[column] = reference.read(content)?;
        }
    }
    Ok(row)
}
