//! One table's rows: from one database into another, and what they come to.
//!
//! Pages follow the primary key, and the next one begins behind the last key of the one before, so that a page costs what
//! it holds and no more. How many rows it has follows from how large the last ones were: memory holds about a page of
//! [`PAGE_BYTES`], whatever the size of the table. Each page is a transaction of its own at the destination.
//!
//! What a table comes to is the number of its rows and the sum of their digests. A sum, because the two databases sort
//! texts in orders of their own and each is read in its own; a row that is missing, altered or there twice changes it.

use core314_domain::hex::hex;
use sha2::{Digest, Sha256};

use super::catalogue::Table;
use crate::store::cell::{Cell, Rows};
use crate::store::connection::Connection;
use crate::store::failure::Failure;

/// What the rows of a page should come to in memory, in bytes.
const PAGE_BYTES: usize = 1 << 20;
/// Rows of a page at most.
const MOST_ROWS: usize = 512;

/// What a table comes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Tally {
    pub rows: u64,
    sum: [u64; 4],
}

impl Tally {
    fn add(&mut self, cells: &[Cell<'_>]) {
        self.rows += 1;
        for (part, bytes) in self.sum.iter_mut().zip(digest(cells).chunks_exact(8)) {
            let bytes = bytes.try_into().expect("chunks of eight bytes");
            *part = part.wrapping_add(u64::from_be_bytes(bytes));
        }
    }

    /// The sum of the digests, in hexadecimal.
    pub fn digest(&self) -> String {
        self.sum.iter().map(|part| hex(&part.to_be_bytes())).collect()
    }
}

/// Copies all rows, and says after each page how many there are by now.
pub(super) async fn copy(
    source: &mut Connection,
    target: &mut Connection,
    table: &Table,
    say: &(dyn Fn(u64) + Sync),
) -> Result<Tally, Failure> {
    let (mut pages, mut tally) = (Pages::default(), Tally::default());
    while let Some(rows) = pages.next(source, table).await? {
        let mut copied = Rows::new(table.width());
        for cells in rows {
            tally.add(&cells);
            copied.extend(cells);
        }
        target.begin_write().await?;
        target.insert(&table.insertion(), &copied).await?;
        target.commit().await?;
        say(tally.rows);
    }
    Ok(tally)
}

/// Reads all rows again, in the transaction that the connection is in.
pub(super) async fn tally(
    connection: &mut Connection,
    table: &Table,
    say: &(dyn Fn(u64) + Sync),
) -> Result<Tally, Failure> {
    let (mut pages, mut tally) = (Pages::default(), Tally::default());
    while let Some(rows) = pages.next(connection, table).await? {
        rows.iter().for_each(|cells| tally.add(cells));
        say(tally.rows);
    }
    Ok(tally)
}

/// Where reading a table has come to.
struct Pages {
    /// The key of the last row that was read.
    after: Option<Vec<Cell<'static>>>,
    /// How many rows the next page has.
    size: usize,
    is_over: bool,
}

impl Default for Pages {
    /// Nobody knows how large the rows of a table are before the first one was seen.
    fn default() -> Self {
        Self { after: None, size: 1, is_over: false }
    }
}

impl Pages {
    async fn next(
        &mut self,
        connection: &mut Connection,
        table: &Table,
    ) -> Result<Option<Vec<Vec<Cell<'static>>>>, Failure> {
        if self.is_over {
            return Ok(None);
        }
        let sql = table.page(connection.is_postgres(), self.after.is_none());
        let mut cells = self.after.take().unwrap_or_default();
        cells.push((self.size as i64).into());
        let found = connection.fetch_made(sql, &cells).await?;
        let mut rows = Vec::with_capacity(found.len());
        for row in &found {
            rows.push(table.read(row)?);
        }
        self.is_over = rows.len() < self.size;
        let Some(last) = rows.last() else { return Ok(None) };
        self.after = Some(table.key_of(last));
        let bytes: usize = rows.iter().flatten().map(size).sum();
        self.size = next_size(self.size, bytes / rows.len());
        Ok(Some(rows))
    }
}

/// No more than twice as many as before: rows behind may be larger than those that were seen.
fn next_size(size: usize, row_bytes: usize) -> usize {
    (PAGE_BYTES / row_bytes.max(1)).clamp(1, MOST_ROWS).min(2 * size)
}

/// About what a value takes in memory, in bytes.
fn size(cell: &Cell<'_>) -> usize {
    let beside = match cell {
        Cell::Text(text) | Cell::Json(text) => text.as_ref().map_or(0, |text| text.len()),
        Cell::Bytes(bytes) => bytes.as_ref().map_or(0, |bytes| bytes.len()),
        Cell::Uuid(_) | Cell::Int(_) | Cell::Real(_) | Cell::Bool(_) | Cell::Hash(_) => 0,
    };
    size_of::<Cell<'_>>() + beside
}

/// The digest of a row: whether each value is there, how long it is, and the value.
fn digest(cells: &[Cell<'_>]) -> [u8; 32] {
    let mut hasher = Sha256::new();
    let mut put = |bytes: Option<&[u8]>| match bytes {
        None => hasher.update([0]),
        Some(bytes) => {
            hasher.update([1]);
            hasher.update((bytes.len() as u64).to_be_bytes());
            hasher.update(bytes);
        }
    };
    for cell in cells {
        match cell {
            Cell::Uuid(id) => put(id.as_ref().map(|id| id.as_bytes().as_slice())),
            Cell::Int(number) => put(number.map(i64::to_be_bytes).as_ref().map(<[u8; 8]>::as_slice)),
            Cell::Real(number) => put(number.map(f64::to_be_bytes).as_ref().map(<[u8; 8]>::as_slice)),
            // SQLite alone knows a truth as a number.
            Cell::Bool(is) => put(is.map(|is| i64::from(is).to_be_bytes()).as_ref().map(<[u8; 8]>::as_slice)),
            Cell::Text(text) | Cell::Json(text) => put(text.as_deref().map(str::as_bytes)),
            Cell::Hash(hash) => put(Some(hash.as_slice())),
            Cell::Bytes(bytes) => put(bytes.as_deref()),
        }
    }
    hasher.finalize().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tally(rows: &[&[Cell<'_>; 2]]) -> Tally {
        let mut tally = Tally::default();
        rows.iter().for_each(|row| tally.add(*row));
        tally
    }

    #[test]
    fn a_tally_knows_every_row_and_no_order() {
        let (a, b): ([Cell<'_>; 2], [Cell<'_>; 2]) = ([1_i64.into(), "x".into()], [2_i64.into(), "y".into()]);
        assert_eq!(tally(&[&a, &b]), tally(&[&b, &a]), "databases sort texts as they please");
        for other in [vec![&a], vec![&a, &a], vec![&a, &b, &b], vec![]] {
            assert_ne!(tally(&[&a, &b]).digest(), tally(&other).digest());
        }
        assert_eq!(tally(&[&a]).digest().len(), 64);
    }

    #[test]
    fn values_that_look_alike_are_told_apart() {
        let absent = [Cell::Text(None), "".into()];
        let empty = ["".into(), Cell::Text(None)];
        assert_ne!(digest(&absent), digest(&empty));
        assert_ne!(digest(&["ab".into(), "c".into()]), digest(&["a".into(), "bc".into()]));
    }

    #[test]
    fn pages_shrink_with_their_rows_and_grow_slowly() {
        assert_eq!(next_size(1, 200), 2);
        assert_eq!(next_size(512, 200), 512);
        assert_eq!(next_size(512, 100_000), 10);
        assert_eq!(next_size(64, 50 << 20), 1, "a single row may be larger than a page");
    }
}
