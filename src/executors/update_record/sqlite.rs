//! Files of SQLite on this machine: which, and which of their tables and columns, the server's configuration alone says
//! (section `[executors.records]`), because a tenant must not reach into the machine.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use core314_domain::ids::TenantId;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::rows::{QUERIES, TABLES};
use crate::executors::tenants::Tenants;

/// What the configuration says about databases of this machine.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RecordSettings {
    /// Each as `NAME=PATH`.
    pub sqlite: Vec<String>,
    /// Each as `NAME/TABLE=COLUMN COLUMN …`.
    pub tables: Vec<String>,
    /// Each as `NAME/QUERY=SELECT …`.
    pub queries: Vec<String>,
    /// Ids of tenants that may change rows of them; `*` for all.
    pub tenants: Vec<String>,
    /// Whether `*` is meant. Asked at the start of a server for production, before there are executors.
    pub allow_all_tenants: bool,
}

/// What the configuration says cannot be: stop the start and say so.
#[derive(Debug, thiserror::Error)]
#[error("executors.records.{key}: '{entry}' {problem}")]
pub struct RecordsError {
    key: &'static str,
    entry: String,
    problem: &'static str,
}

/// The databases by their names, each with what of it there is for flows.
#[derive(Debug)]
pub struct Databases {
    known: BTreeMap<String, (PathBuf, Map<String, Value>)>,
    tenants: Tenants,
}

impl Databases {
    pub fn new(settings: &RecordSettings) -> Result<Self, RecordsError> {
        let mut known = BTreeMap::new();
        for entry in &settings.sqlite {
            let wrong = |problem| RecordsError { key: "sqlite", entry: entry.clone(), problem };
            let (name, path) = entry.split_once('=').ok_or_else(|| wrong("must be NAME=PATH"))?;
            if name.is_empty() || name.contains('/') || !Path::new(path).is_absolute() {
                return Err(wrong("must be NAME=PATH: a name without `/`, and a path that begins with it"));
            }
            let none = Map::from_iter([TABLES, QUERIES].map(|list| (list.to_owned(), json!({}))));
            known.insert(name.to_owned(), (PathBuf::from(path), none));
        }
        for entry in &settings.tables {
            let wrong = |problem| RecordsError { key: "tables", entry: entry.clone(), problem };
            let parts = entry.split_once('=').and_then(|(name, columns)| Some((name.split_once('/')?, columns)));
            let ((name, table), columns) = parts.ok_or_else(|| wrong("must be NAME/TABLE=COLUMN COLUMN …"))?;
            let (_, of) = known.get_mut(name).ok_or_else(|| wrong("names no database of executors.records.sqlite"))?;
            let columns: Vec<&str> = columns.split_whitespace().collect();
            if columns.is_empty() || table.is_empty() {
                return Err(wrong("must name a table and its columns"));
            }
            of[TABLES][table] = json!(columns);
        }
        for entry in &settings.queries {
            let wrong = |problem| RecordsError { key: "queries", entry: entry.clone(), problem };
            let parts = entry.split_once('=').and_then(|(name, sql)| Some((name.split_once('/')?, sql.trim())));
            let ((name, query), sql) = parts.ok_or_else(|| wrong("must be NAME/QUERY=SELECT …"))?;
            let (_, of) = known.get_mut(name).ok_or_else(|| wrong("names no database of executors.records.sqlite"))?;
            if query.is_empty() || sql.is_empty() {
                return Err(wrong("must name a query and say what it selects"));
            }
            of[QUERIES][query] = json!(sql);
        }
        let wrong = |entry| RecordsError { key: "tenants", entry, problem: "is neither `*` nor an id" };
        let tenants = Tenants::new(&settings.tenants).map_err(wrong)?;
        Ok(Self { known, tenants })
    }

    /// The file of a database, and what of it there is for flows.
    pub fn get(&self, name: &str) -> Option<(&Path, &Map<String, Value>)> {
        self.known.get(name).map(|(path, of)| (path.as_path(), of))
    }

    /// Whether this tenant may change rows of them.
    pub fn may(&self, tenant: TenantId) -> bool {
        self.tenants.has(tenant)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn databases(sqlite: &[&str], tables: &[&str]) -> Result<Databases, String> {
        let texts = |list: &[&str]| list.iter().map(|text| (*text).to_owned()).collect();
        let settings = RecordSettings {
            sqlite: texts(sqlite),
            tables: texts(tables),
            queries: texts(&[]),
            tenants: texts(&["*"]),
            allow_all_tenants: false,
        };
        Databases::new(&settings).map_err(|error| error.to_string())
    }

    #[test]
    fn databases_and_their_tables_are_named() {
        let found =
            databases(&["stock=/var/lib/stock.db"], &["stock/items=id count", "stock/places=id"]).expect("good");
        let (path, of) = found.get("stock").expect("it is named");
        assert_eq!(path, Path::new("/var/lib/stock.db"));
        assert_eq!(of[TABLES], json!({"items": ["id", "count"], "places": ["id"]}));
        assert!(found.get("other").is_none());
        for (sqlite, tables, problem) in [
            ("stock", "", "must be NAME=PATH"),
            ("stock=stock.db", "", "a path that begins with it"),
            ("stock=/s.db", "other/items=id", "names no database"),
            ("stock=/s.db", "stock=id", "must be NAME/TABLE"),
            ("stock=/s.db", "stock/items= ", "must name a table and its columns"),
        ] {
            let tables: Vec<&str> = if tables.is_empty() { vec![] } else { vec![tables] };
            let said = databases(&[sqlite], &tables).map(drop).expect_err(sqlite);
            assert!(said.contains(problem), "{said}");
        }
    }
}
