//! One table's rows: from one database into another, and what they come to.
//!
//! Pages follow the primary key, and the next one begins behind the last key of the one before, so that a page costs what
//! it holds and no more. Before a page is read its rows are measured, and it ends where they come to [`PAGE_BYTES`]: memory
//! holds no more than that, or one row. How many are measured follows from how large the last ones were, so that large ones
//! are not measured again and again. Each page is a transaction of its own at the destination.
//!
//! What a table comes to is the number of its rows and the sum of their digests. A sum, because the two databases sort
//! texts in orders of their own and each is read in its own; a row that is missing, altered or there twice changes it.

use core314_domain::hex::hex;
use sha2::{Digest, Sha256};

use super::catalogue::Table;
use crate::store::cell::{Cell, Rows};
use crate::store::connection::Connection;
use crate::store::failure::Failure;

/// What the rows of a page come to in memory at most, in bytes, unless it is a single one.
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
    /// How many rows the next page has at most.
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
        let is_first = self.after.is_none();
        let mut cells = self.after.take().unwrap_or_default();
        cells.push((self.size as i64).into());
        let mut count = self.size;
        if let Some(sql) = table.lengths(connection.is_postgres(), is_first) {
            let mut lengths: Vec<usize> = Vec::new();
            for row in connection.fetch_made(sql, &cells).await? {
                lengths.push(row.fields().small()?);
            }
            count = fitting(&lengths, table.width() * size_of::<Cell<'_>>());
            cells.pop();
            cells.push((count as i64).into());
        }
        if count == 0 {
            self.is_over = true;
            return Ok(None);
        }
        let found = connection.fetch_made(table.page(connection.is_postgres(), is_first), &cells).await?;
        let mut rows = Vec::with_capacity(found.len());
        for row in &found {
            rows.push(table.read(row)?);
        }
        self.is_over = rows.len() < count;
        let Some(last) = rows.last() else { return Ok(None) };
        self.after = Some(table.key_of(last));
        let bytes: usize = rows.iter().flatten().map(size).sum();
        self.size = next_size(self.size, bytes / rows.len());
        Ok(Some(rows))
    }
}

/// How many of the first rows of these lengths a page takes: one at least, where there is one.
fn fitting(lengths: &[usize], beside: usize) -> usize {
    let mut sum = 0;
    let fitting = lengths.iter().take_while(|length| {
        sum += **length + beside;
        sum <= PAGE_BYTES
    });
    lengths.len().min(fitting.count().max(1))
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
    use crate::store::transfer::catalogue;
    use crate::store::{migrations, sqlite};

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

    #[test]
    fn a_page_ends_before_it_is_too_large() {
        assert_eq!(fitting(&[], 10), 0);
        assert_eq!(fitting(&[5, 5, 5], 10), 3);
        assert_eq!(fitting(&[5, PAGE_BYTES, 5], 10), 1);
        assert_eq!(fitting(&[PAGE_BYTES / 2 - 10, PAGE_BYTES / 2 - 10, 0], 10), 2);
        assert_eq!(fitting(&[2 * PAGE_BYTES, 5], 10), 1, "a single row may be larger than a page");
    }

    #[tokio::test]
    async fn large_rows_behind_small_ones_make_no_large_page() {
        let mut ends = Vec::new();
        for _ in 0..2 {
            let mut connection = sqlite::in_memory().connect().await.expect("it connects");
            connection.migrate(&migrations::sqlite()).await.expect("it migrates");
            ends.push(connection);
        }
        let [source, target] = ends.as_mut_slice() else { panic!("there are two") };
        let rows = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 640) \
            INSERT INTO idempotency_keys (tenant_id, key, body_hash, answer, expires_at_ms) \
            SELECT zeroblob(16), printf('%04d', i), zeroblob(32), \
            CASE WHEN i <= 600 THEN '{}' ELSE '\"' || hex(zeroblob(50000)) || '\"' END, i FROM n";
        source.run(rows).await.expect("rows");
        let tables = catalogue::tables(source, target).await.expect("both have them").ours;
        let table = tables.iter().find(|table| table.name == "idempotency_keys").expect("it is one of them");
        let (mut pages, mut count) = (Pages::default(), 0);
        while let Some(rows) = pages.next(source, table).await.expect("it reads") {
            let bytes: usize = rows.iter().flatten().map(size).sum();
            assert!(bytes <= PAGE_BYTES, "{} rows of {bytes} bytes", rows.len());
            count += rows.len();
        }
        assert_eq!(count, 640);
    }
}
