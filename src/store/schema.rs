//! Which schema a database has, for those who look at it from outside.

use core314_actors::ports::{Scope, StoreError};

use super::{SqlStore, migrations};

const SCHEMA_VERSION: &str = "SELECT schema_version FROM cluster";

/// The schema of a database, beside the one that this release brings.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SchemaState {
    /// The number of the newest migration that was applied; 0 before the first start has ended.
    pub applied: i64,
    /// The number of the newest migration that this release has.
    pub known: i64,
}

impl SqlStore {
    /// Reads the schema's version. A database without our tables is refused by the read.
    pub async fn schema(&self) -> Result<SchemaState, StoreError> {
        let rows = self.read(Scope::Platform).await?.fetch(SCHEMA_VERSION, &[]).await?;
        let applied = rows.first().map(|row| row.fields().int()).transpose()?.unwrap_or_default();
        Ok(SchemaState { applied, known: migrations::LATEST })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::StoreOptions;

    #[tokio::test]
    async fn a_store_that_was_opened_has_every_migration_and_one_that_is_not_there_says_so() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let url = format!("sqlite:{}", dir.path().join("core314.db").display());
        let looking = StoreOptions { read_only: true, ..StoreOptions::default() };
        let error = SqlStore::open(&url, looking.clone()).await.err().expect("there is no file").to_string();
        assert!(error.contains("there is no database at") && error.contains("core314.db"), "{error}");
        drop(SqlStore::open(&url, StoreOptions::default()).await.expect("it opens"));
        let store = SqlStore::open(&url, looking).await.expect("it opens for reading");
        let known = migrations::LATEST;
        assert_eq!(store.schema().await.expect("it reads"), SchemaState { applied: known, known });
    }
}
