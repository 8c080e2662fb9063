//! Which tables an installation has, by the catalogues of the databases themselves: no table can be forgotten here.
//!
//! What is ours is what the migrations make in an empty database in memory. Both ends must have all of that, column by
//! column; what else stands in a database is somebody else's and is left alone. The types are PostgreSQL's where it has
//! a part: SQLite tells a truth from a number, or JSON from a text, by nothing.
//!
//! Statements are made of names of the catalogue alone, quoted; values are parameters. The schema has neither foreign
//! keys nor sequences (tests hold that), so that tables go in any order and there is nothing beside their rows.

use std::collections::BTreeMap;

use crate::store::cell::{Cell, Row, parse};
use crate::store::connection::Connection;
use crate::store::failure::Failure;
use crate::store::{json, migrations, sqlite};

const OF_SQLITE: &str = "SELECT m.name, c.name, lower(c.type), c.pk FROM sqlite_master AS m \
    CROSS JOIN pragma_table_info(m.name) AS c WHERE m.type = 'table' AND substr(m.name, 1, 7) <> 'sqlite_' \
    AND m.name <> '_sqlx_migrations' ORDER BY m.name, c.cid";
const OF_POSTGRES: &str = "SELECT c.relname::text, a.attname::text, format_type(a.atttypid, NULL)::text, \
    coalesce(array_position(i.indkey::int2[], a.attnum) + 1, 0)::bigint FROM pg_class c \
    JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped \
    LEFT JOIN pg_index i ON i.indrelid = c.oid AND i.indisprimary \
    WHERE c.relnamespace = current_schema()::regnamespace AND c.relkind IN ('r', 'p') \
    AND c.relname <> '_sqlx_migrations' ORDER BY c.relname, a.attnum";

/// The one row about the installation itself. It is not copied but taken over at the end, with the mark.
pub(super) const CLUSTER: &str = "cluster";

/// What a column holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Uuid,
    Bytes,
    Int,
    Real,
    Bool,
    Text,
    Json,
}

impl Kind {
    /// By the word of either database.
    fn of(word: &str) -> Option<Self> {
        Some(match word {
            "uuid" => Self::Uuid,
            "bytea" | "blob" => Self::Bytes,
            "smallint" | "integer" | "bigint" => Self::Int,
            "double precision" | "real" => Self::Real,
            "boolean" => Self::Bool,
            "text" => Self::Text,
            "jsonb" => Self::Json,
            _ => return None,
        })
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Column {
    name: String,
    /// The word of its database.
    word: String,
    /// Its place in the primary key, from 1; 0: it is not in it.
    key: i64,
}

/// The tables of one database, by name.
type Schema = BTreeMap<String, Vec<Column>>;

/// A table that is copied.
#[derive(Debug)]
pub(super) struct Table {
    pub name: String,
    columns: Vec<(String, Kind)>,
    /// The places of its key's columns.
    key: Vec<usize>,
}

/// What a copy is about.
#[derive(Debug)]
pub(super) struct Tables {
    pub ours: Vec<Table>,
    /// The source's tables that are somebody else's.
    pub left_out: Vec<String>,
}

/// Compares both ends with what the migrations make. Both connections are in a transaction that reads.
pub(super) async fn tables(source: &mut Connection, target: &mut Connection) -> Result<Tables, Failure> {
    let reference = reference().await?;
    let (from, to) = (schema(source).await?, schema(target).await?);
    let typed = if source.is_postgres() { &from } else { &to };
    let mut ours = Vec::new();
    for (name, columns) in reference.iter().filter(|(name, _)| *name != CLUSTER) {
        for (end, found) in [("source", &from), ("destination", &to)] {
            let same = found.get(name).is_some_and(|found| names(found) == names(columns));
            if !same {
                return Err(Failure::Refused(format!("the {end}'s table {name} is not what the migrations made")));
            }
        }
        ours.push(Table::new(name, &typed[name])?);
    }
    let left_out = from.into_keys().filter(|name| !reference.contains_key(name)).collect();
    Ok(Tables { ours, left_out })
}

/// What the migrations make.
async fn reference() -> Result<Schema, Failure> {
    let mut connection = sqlite::in_memory().connect().await?;
    let migrated = connection.migrate(&migrations::sqlite()).await;
    migrated.map_err(|_| Failure::Refused("the migrations cannot be applied in memory".to_owned()))?;
    schema(&mut connection).await
}

async fn schema(connection: &mut Connection) -> Result<Schema, Failure> {
    let sql = if connection.is_postgres() { OF_POSTGRES } else { OF_SQLITE };
    let mut schema = Schema::new();
    for row in connection.fetch(sql, &[]).await? {
        let mut fields = row.fields();
        let table = fields.text()?;
        let column = Column { name: fields.text()?, word: fields.text()?, key: fields.int()? };
        schema.entry(table).or_default().push(column);
    }
    Ok(schema)
}

fn names(columns: &[Column]) -> Vec<&str> {
    let mut names: Vec<&str> = columns.iter().map(|column| column.name.as_str()).collect();
    names.sort_unstable();
    names
}

impl Table {
    fn new(name: &str, columns: &[Column]) -> Result<Self, Failure> {
        let mut key: Vec<(i64, usize)> = Vec::new();
        let mut kinds = Vec::new();
        for (place, column) in columns.iter().enumerate() {
            let kind = Kind::of(&column.word).ok_or_else(|| {
                Failure::Refused(format!("the column {name}.{} has a type that is not known", column.name))
            })?;
            kinds.push((column.name.clone(), kind));
            if column.key > 0 {
                key.push((column.key, place));
            }
        }
        key.sort_unstable();
        if key.is_empty() {
            return Err(Failure::Refused(format!("the table {name} has no primary key to page by")));
        }
        Ok(Self { name: name.to_owned(), columns: kinds, key: key.into_iter().map(|(_, place)| place).collect() })
    }

    /// How many columns it has.
    pub fn width(&self) -> usize {
        self.columns.len()
    }

    /// The table with its columns, to insert into.
    pub fn insertion(&self) -> String {
        let columns: Vec<String> = self.columns.iter().map(|(name, _)| quoted(name)).collect();
        format!("{} ({})", quoted(&self.name), columns.join(", "))
    }

    /// The next rows in the order of the key, behind the key that comes first among the parameters unless this is the
    /// first page. The last parameter is how many.
    pub fn page(&self, is_postgres: bool, is_first: bool) -> String {
        let column = |(name, kind): &(String, Kind)| match kind {
            Kind::Json if is_postgres => format!("CAST({} AS text)", quoted(name)),
            _ => quoted(name),
        };
        let columns: Vec<String> = self.columns.iter().map(column).collect();
        format!("SELECT {} FROM {}", columns.join(", "), self.next_rows(is_first))
    }

    /// How long the values of the same rows are, in bytes, those left out that are never long; absent: all are.
    pub fn lengths(&self, is_postgres: bool, is_first: bool) -> Option<String> {
        let long = self.columns.iter().filter(|(_, kind)| matches!(kind, Kind::Bytes | Kind::Text | Kind::Json));
        let length = |(name, kind): &(String, Kind)| match kind {
            Kind::Json if is_postgres => {
                format!("coalesce(CAST(octet_length(CAST({} AS text)) AS bigint), 0)", quoted(name))
            }
            _ => format!("coalesce(CAST(octet_length({}) AS bigint), 0)", quoted(name)),
        };
        let lengths: Vec<String> = long.map(length).collect();
        let sum = lengths.join(" + ");
        (!sum.is_empty()).then(|| format!("SELECT {sum} FROM {}", self.next_rows(is_first)))
    }

    /// The table, from where a page begins, in the order of its key.
    fn next_rows(&self, is_first: bool) -> String {
        let key: Vec<String> = self.key.iter().map(|place| quoted(&self.columns[*place].0)).collect();
        let key = key.join(", ");
        let parameters: Vec<String> = (1..=self.key.len()).map(|number| format!("${number}")).collect();
        let (behind, limit) = if is_first {
            (String::new(), 1)
        } else {
            (format!(" WHERE ({key}) > ({})", parameters.join(", ")), self.key.len() + 1)
        };
        format!("{}{behind} ORDER BY {key} LIMIT ${limit}", quoted(&self.name))
    }

    /// A row of a page. JSON is written anew, in the form that both databases give back.
    pub fn read(&self, row: &Row) -> Result<Vec<Cell<'static>>, Failure> {
        let mut fields = row.fields();
        let mut cells = Vec::with_capacity(self.columns.len());
        for (_, kind) in &self.columns {
            cells.push(match kind {
                Kind::Uuid => Cell::Uuid(fields.maybe_uuid()?),
                Kind::Bytes => Cell::Bytes(fields.maybe_bytes()?.map(Into::into)),
                Kind::Int => Cell::Int(fields.maybe_int()?),
                // SQLite keeps no sign of zero.
                Kind::Real => Cell::Real(fields.maybe_real()?.map(|number| number + 0.0)),
                Kind::Bool => Cell::Bool(fields.maybe_bool()?),
                Kind::Text => Cell::Text(fields.maybe_text()?.map(Into::into)),
                Kind::Json => {
                    let text = fields.maybe_text()?;
                    let value = text.as_deref().map(parse).transpose()?;
                    Cell::Json(value.map(|value| json::text_of(&value).into()))
                }
            });
        }
        Ok(cells)
    }

    /// The key of a row.
    pub fn key_of(&self, cells: &[Cell<'static>]) -> Vec<Cell<'static>> {
        self.key.iter().map(|place| cells[*place].clone()).collect()
    }

    /// The same failure with the table's name.
    pub fn named(&self, failure: Failure) -> Failure {
        let name = &self.name;
        match failure {
            Failure::Refused(message) => Failure::Refused(format!("{name}: {message}")),
            Failure::Corrupt(message) => Failure::Corrupt(format!("{name}: {message}")),
            Failure::Unavailable(message) => Failure::Unavailable(format!("{name}: {message}")),
            Failure::Violation(violation) => Failure::Refused(format!("{name}: {}", violation.message)),
            Failure::Stale => Failure::Stale,
        }
    }
}

/// A name of the catalogue in a statement.
pub(super) fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_schema_has_what_is_needed_to_be_copied() {
        let schema = reference().await.expect("the migrations apply");
        assert!(schema.len() > 40 && schema.contains_key("log") && schema.contains_key(CLUSTER), "{schema:?}");
        for (name, columns) in schema.iter().filter(|(name, _)| *name != CLUSTER) {
            Table::new(name, columns).unwrap_or_else(|failure| panic!("{name} cannot be copied: {failure:?}"));
        }
        let mut connection = sqlite::in_memory().connect().await.expect("it connects");
        connection.migrate(&migrations::sqlite()).await.expect("it migrates");
        for (what, sql) in [
            (
                "a foreign key",
                "SELECT m.name FROM sqlite_master AS m CROSS JOIN pragma_foreign_key_list(m.name) WHERE m.type = 'table'",
            ),
            ("a sequence", "SELECT name FROM sqlite_master WHERE name = 'sqlite_sequence'"),
        ] {
            let found = connection.fetch(sql, &[]).await.expect("it reads");
            assert!(found.is_empty(), "{what}: the copy must mind the order of tables, or carry it over");
        }
    }

    #[test]
    fn pages_follow_the_key_and_names_are_quoted() {
        let column = |name: &str, word: &str, key| Column { name: name.to_owned(), word: word.to_owned(), key };
        let columns = [column("b", "bigint", 2), column("a\"", "uuid", 1), column("j", "jsonb", 0)];
        let table = Table::new("t", &columns).expect("known types");
        assert_eq!(table.insertion(), r#""t" ("b", "a""", "j")"#);
        assert_eq!(table.page(false, true), r#"SELECT "b", "a""", "j" FROM "t" ORDER BY "a""", "b" LIMIT $1"#);
        assert_eq!(
            table.page(true, false),
            r#"SELECT "b", "a""", CAST("j" AS text) FROM "t" WHERE ("a""", "b") > ($1, $2) ORDER BY "a""", "b" LIMIT $3"#
        );
        assert_eq!(
            table.lengths(true, true).expect("JSON may be long"),
            r#"SELECT coalesce(CAST(octet_length(CAST("j" AS text)) AS bigint), 0) FROM "t" ORDER BY "a""", "b" LIMIT $1"#
        );
        let narrow = Table::new("t", &[column("a", "uuid", 1)]).expect("known types");
        assert_eq!(narrow.lengths(true, true), None, "nothing of it is long");
        assert!(Table::new("t", &[column("a", "uuid", 0)]).is_err(), "nothing to page by");
        assert!(Table::new("t", &[column("a", "money", 1)]).is_err(), "an unknown type");
    }
}
