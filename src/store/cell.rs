//! Values on their way to and from both databases.
//!
//! Statements are written once. A [`Cell`] binds itself in either dialect; [`Rows`] hold many rows for one bulk
//! statement, which SQLite takes as `VALUES` and PostgreSQL as one array a column. A [`Row`] is read from left to right
//! by [`Fields`], in the order of the SELECT.

use std::borrow::Cow;

use core314_domain::chain::Hash;
use serde_json::Value;
use sqlx::postgres::{PgArguments, PgRow};
use sqlx::sqlite::{SqliteArguments, SqliteRow};
use sqlx::{Arguments, Decode, Postgres, Row as _, Sqlite};
use uuid::Uuid;

use super::failure::Failure;

/// One value to bind. The variant is the column's type, so that an absent value has one too.
#[derive(Debug, Clone)]
pub(super) enum Cell<'a> {
    Uuid(Option<Uuid>),
    Int(Option<i64>),
    Real(Option<f64>),
    Bool(Option<bool>),
    Text(Option<Cow<'a, str>>),
    /// JSON as text; only in bulk statements, where PostgreSQL casts it.
    Json(Option<Cow<'a, str>>),
    Hash(Hash),
    Bytes(Option<Cow<'a, [u8]>>),
}

impl From<Uuid> for Cell<'_> {
    fn from(id: Uuid) -> Self {
        Self::Uuid(Some(id))
    }
}
impl From<Option<Uuid>> for Cell<'_> {
    fn from(id: Option<Uuid>) -> Self {
        Self::Uuid(id)
    }
}
impl From<i64> for Cell<'_> {
    fn from(number: i64) -> Self {
        Self::Int(Some(number))
    }
}
impl From<Option<i64>> for Cell<'_> {
    fn from(number: Option<i64>) -> Self {
        Self::Int(number)
    }
}
impl From<f64> for Cell<'_> {
    fn from(number: f64) -> Self {
        Self::Real(Some(number))
    }
}
impl From<Option<f64>> for Cell<'_> {
    fn from(number: Option<f64>) -> Self {
        Self::Real(number)
    }
}
impl From<u16> for Cell<'_> {
    fn from(number: u16) -> Self {
        Self::Int(Some(number.into()))
    }
}
impl From<bool> for Cell<'_> {
    fn from(is: bool) -> Self {
        Self::Bool(Some(is))
    }
}
impl<'a> From<&'a str> for Cell<'a> {
    fn from(text: &'a str) -> Self {
        Self::Text(Some(Cow::Borrowed(text)))
    }
}
impl From<String> for Cell<'_> {
    fn from(text: String) -> Self {
        Self::Text(Some(Cow::Owned(text)))
    }
}
impl<'a> From<Option<&'a str>> for Cell<'a> {
    fn from(text: Option<&'a str>) -> Self {
        Self::Text(text.map(Cow::Borrowed))
    }
}
impl From<Hash> for Cell<'_> {
    fn from(hash: Hash) -> Self {
        Self::Hash(hash)
    }
}

/// SQLite takes at most 32,766 parameters a statement; our widest table has 41 columns.
const MOST_ROWS: usize = 512;

/// Many rows of the same columns, row after row.
#[derive(Debug)]
pub(super) struct Rows<'a> {
    width: usize,
    cells: Vec<Cell<'a>>,
}

impl<'a> Rows<'a> {
    pub fn new(width: usize) -> Self {
        Self { width, cells: Vec::new() }
    }

    pub fn push<const N: usize>(&mut self, row: [Cell<'a>; N]) {
        assert_eq!(N, self.width, "every row has the columns of its statement");
        self.cells.extend(row);
    }

    /// Adds a row whose columns are known when the program runs, and no sooner.
    pub fn extend(&mut self, row: Vec<Cell<'a>>) {
        assert_eq!(row.len(), self.width, "every row has the columns of its statement");
        self.cells.extend(row);
    }

    /// The same cells as rows of another width.
    #[cfg(test)]
    pub fn reshape(self, width: usize) -> Self {
        Self { width, ..self }
    }

    pub fn len(&self) -> usize {
        self.cells.len() / self.width
    }

    pub fn is_empty(&self) -> bool {
        self.cells.is_empty()
    }

    pub fn width(&self) -> usize {
        self.width
    }

    /// Some of the rows, for a statement that takes no more at once.
    pub fn sqlite_arguments(&self, from: usize, count: usize) -> Result<SqliteArguments, Failure> {
        sqlite_arguments(&self.cells[from * self.width..(from + count) * self.width])
    }

    /// Where each piece begins and how many rows it has: 512, 256, …, 1, so that few different statements need to be
    /// prepared.
    pub fn pieces(&self) -> impl Iterator<Item = (usize, usize)> + use<> {
        let (mut from, end) = (0, self.len());
        std::iter::from_fn(move || {
            let count = ((end - from + 1).next_power_of_two() / 2).min(MOST_ROWS);
            from += count;
            (count > 0).then_some((from - count, count))
        })
    }

    /// All rows, one array a column.
    pub fn postgres_arguments(&self) -> Result<PgArguments, Failure> {
        let mut arguments = PgArguments::default();
        self.bind_postgres(&mut arguments)?;
        Ok(arguments)
    }

    /// Adds all rows to the arguments of a statement, one array a column.
    pub fn bind_postgres(&self, arguments: &mut PgArguments) -> Result<(), Failure> {
        for column in 0..self.width {
            let cells = self.cells[column..].iter().step_by(self.width);
            add_array(arguments, cells).map_err(unbindable)?;
        }
        Ok(())
    }

    /// The parameters as PostgreSQL reads them: an array a column, the first of them with this number.
    pub fn postgres_parameters(&self, first: usize) -> String {
        let kinds = self.cells[..self.width].iter().map(|cell| match cell {
            Cell::Uuid(_) => "uuid[]",
            Cell::Int(_) => "bigint[]",
            Cell::Real(_) => "double precision[]",
            Cell::Bool(_) => "boolean[]",
            Cell::Text(_) => "text[]",
            Cell::Json(_) => "text[]::jsonb[]",
            Cell::Hash(_) | Cell::Bytes(_) => "bytea[]",
        });
        let parameters: Vec<String> = kinds.enumerate().map(|(i, kind)| format!("${}::{kind}", i + first)).collect();
        parameters.join(", ")
    }
}

fn unbindable(_: sqlx::error::BoxDynError) -> Failure {
    Failure::Refused("a value cannot be sent to the database".to_owned())
}

/// Binds single values, for SQLite.
pub(super) fn sqlite_arguments(cells: &[Cell<'_>]) -> Result<SqliteArguments, Failure> {
    let mut arguments = SqliteArguments::default();
    arguments.reserve(cells.len(), 0);
    for cell in cells {
        match cell {
            Cell::Uuid(id) => arguments.add(*id),
            Cell::Int(number) => arguments.add(*number),
            Cell::Real(number) => arguments.add(*number),
            Cell::Bool(is) => arguments.add(is.map(i64::from)),
            Cell::Text(text) | Cell::Json(text) => arguments.add(text.as_deref()),
            Cell::Hash(hash) => arguments.add(hash.as_slice()),
            Cell::Bytes(bytes) => arguments.add(bytes.as_deref()),
        }
        .map_err(unbindable)?;
    }
    Ok(arguments)
}

/// Binds single values, for PostgreSQL.
pub(super) fn postgres_arguments(cells: &[Cell<'_>]) -> Result<PgArguments, Failure> {
    let mut arguments = PgArguments::default();
    for cell in cells {
        match cell {
            Cell::Uuid(id) => arguments.add(*id),
            Cell::Int(number) => arguments.add(*number),
            Cell::Real(number) => arguments.add(*number),
            Cell::Bool(is) => arguments.add(*is),
            Cell::Text(text) | Cell::Json(text) => arguments.add(text.as_deref()),
            Cell::Hash(hash) => arguments.add(hash.as_slice()),
            Cell::Bytes(bytes) => arguments.add(bytes.as_deref()),
        }
        .map_err(unbindable)?;
    }
    Ok(arguments)
}

/// Binds a column's values as one array.
fn add_array<'c, 'a: 'c>(
    arguments: &mut PgArguments,
    mut cells: impl Iterator<Item = &'c Cell<'a>> + Clone,
) -> Result<(), sqlx::error::BoxDynError> {
    macro_rules! array {
        ($pattern:pat => $value:expr) => {
            arguments.add(
                cells
                    .map(|cell| match cell {
                        $pattern => $value,
                        other => unreachable!("a column has one type, and here came {other:?}"),
                    })
                    .collect::<Vec<_>>(),
            )
        };
    }
    match cells.clone().next() {
        None => unreachable!("a bulk statement has rows"),
        Some(Cell::Uuid(_)) => array!(Cell::Uuid(id) => *id),
        Some(Cell::Int(_)) => array!(Cell::Int(number) => *number),
        Some(Cell::Real(_)) => array!(Cell::Real(number) => *number),
        Some(Cell::Bool(_)) => array!(Cell::Bool(is) => *is),
        Some(Cell::Text(_)) => array!(Cell::Text(text) => text.as_deref()),
        Some(Cell::Json(_)) => array!(Cell::Json(text) => text.as_deref()),
        Some(Cell::Hash(_)) => {
            cells.by_ref();
            array!(Cell::Hash(hash) => hash.as_slice())
        }
        Some(Cell::Bytes(_)) => array!(Cell::Bytes(bytes) => bytes.as_deref()),
    }
}

/// A row that was read.
pub(super) enum Row {
    Sqlite(SqliteRow),
    Postgres(PgRow),
}

impl Row {
    /// Reads the columns from left to right.
    pub fn fields(&self) -> Fields<'_> {
        Fields { row: self, next: 0 }
    }
}

/// A row's columns, from left to right.
pub(super) struct Fields<'r> {
    row: &'r Row,
    next: usize,
}

impl<'r> Fields<'r> {
    /// The type of the column is the statement's business: neither database is asked to confirm it.
    fn take<T>(&mut self) -> Result<T, Failure>
    where
        T: Decode<'r, Sqlite> + Decode<'r, Postgres>,
    {
        let index = self.next;
        self.next += 1;
        Ok(match self.row {
            Row::Sqlite(row) => row.try_get_unchecked(index)?,
            Row::Postgres(row) => row.try_get_unchecked(index)?,
        })
    }

    pub fn uuid(&mut self) -> Result<Uuid, Failure> {
        self.take()
    }

    pub fn maybe_uuid(&mut self) -> Result<Option<Uuid>, Failure> {
        self.take()
    }

    pub fn int(&mut self) -> Result<i64, Failure> {
        self.take()
    }

    pub fn maybe_int(&mut self) -> Result<Option<i64>, Failure> {
        self.take()
    }

    /// A number that is smaller in the program than in the table.
    pub fn small<T: TryFrom<i64>>(&mut self) -> Result<T, Failure> {
        let number = self.int()?;
        T::try_from(number).map_err(|_| Failure::Corrupt(format!("the number {number} is out of its range")))
    }

    pub fn bool(&mut self) -> Result<bool, Failure> {
        self.take()
    }

    pub fn maybe_bool(&mut self) -> Result<Option<bool>, Failure> {
        self.take()
    }

    pub fn maybe_real(&mut self) -> Result<Option<f64>, Failure> {
        self.take()
    }

    pub fn text(&mut self) -> Result<String, Failure> {
        self.take()
    }

    pub fn maybe_text(&mut self) -> Result<Option<String>, Failure> {
        self.take()
    }

    /// A word of a closed set.
    pub fn word<W: std::str::FromStr<Err: std::fmt::Display>>(&mut self) -> Result<W, Failure> {
        self.text()?.parse().map_err(|e: W::Err| Failure::Corrupt(e.to_string()))
    }

    pub fn hash(&mut self) -> Result<Hash, Failure> {
        let bytes: &[u8] = self.take()?;
        Hash::try_from(bytes).map_err(|_| Failure::Corrupt("a digest does not have 32 bytes".to_owned()))
    }

    pub fn bytes(&mut self) -> Result<Vec<u8>, Failure> {
        self.take()
    }

    pub fn maybe_bytes(&mut self) -> Result<Option<Vec<u8>>, Failure> {
        self.take()
    }

    pub fn json(&mut self) -> Result<Value, Failure> {
        self.maybe_json()?.ok_or_else(|| Failure::Corrupt("a JSON column is empty".to_owned()))
    }

    pub fn maybe_json(&mut self) -> Result<Option<Value>, Failure> {
        match self.row {
            Row::Postgres(_) => {
                let json: Option<sqlx::types::Json<Value>> = self.take_postgres()?;
                Ok(json.map(|json| json.0))
            }
            Row::Sqlite(_) => self.maybe_text()?.map(|text| parse(&text)).transpose(),
        }
    }

    fn take_postgres<T: Decode<'r, Postgres>>(&mut self) -> Result<T, Failure> {
        let Row::Postgres(row) = self.row else { unreachable!("asked of a row of PostgreSQL only") };
        self.next += 1;
        Ok(row.try_get_unchecked(self.next - 1)?)
    }
}

/// Reads JSON that the store wrote.
pub(super) fn parse(text: &str) -> Result<Value, Failure> {
    serde_json::from_str(text).map_err(|e| Failure::Corrupt(format!("a JSON column cannot be read: {e}")))
}
