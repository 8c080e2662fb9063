//! Statistics of a window, from the stored buckets.
//!
//! Whole days inside the window come from the longest buckets, whole hours beside them from the middle ones, its edges
//! from the shortest. Every attempt stands in all widths, so that ranges must not overlap.

use std::collections::BTreeMap;

use core314_actors::ports::views::StatisticsView;
use core314_actors::ports::{Scope, StoreError};
use core314_domain::ids::Owner;
use core314_domain::stats::{BUCKET_WIDTHS_MS, Sketch, Stat, bucket_start_ms};

use super::reader::Reader;
use super::statement::{Arg, Statement};

const SHORT_MS: i64 = BUCKET_WIDTHS_MS[0];

/// A range of buckets of one width: starts from `from_ms` on, below `to_ms`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(clippy::struct_field_names, reason = "the unit comes last in a name")]
struct Range {
    width_ms: i64,
    from_ms: i64,
    to_ms: i64,
}

type Row = (i64, String, i64, i64, i64, i64, i64, String);
type Bucket = (i64, i64, i64, i64, i64, i64, String);

/// Sums what is stored since a time, which is rounded down to a short bucket's start.
pub(super) async fn since(reader: &mut Reader, since_ms: i64, now_ms: i64) -> Result<StatisticsView, StoreError> {
    let since_ms = bucket_start_ms(since_ms, SHORT_MS);
    let mut found: BTreeMap<String, Stat> = BTreeMap::new();
    for range in ranges(since_ms, now_ms) {
        for row in rows(reader, range).await? {
            let (action_type, stat) = stat(row)?;
            found.entry(action_type).or_default().merge(&stat);
        }
    }
    Ok(StatisticsView { since_ms, by_action_type: found.into_iter().collect() })
}

/// The figures of a window, cut into intervals of a multiple of the short buckets.
pub(super) async fn timeline(
    reader: &mut Reader,
    since_ms: i64,
    now_ms: i64,
    interval_ms: i64,
) -> Result<Vec<(i64, Stat)>, StoreError> {
    let fits = |width_ms: &&i64| interval_ms % **width_ms == 0;
    let width_ms = BUCKET_WIDTHS_MS.iter().rfind(fits).copied().unwrap_or(SHORT_MS);
    let from_ms = bucket_start_ms(since_ms, width_ms);
    let to_ms = bucket_start_ms(now_ms, width_ms) + width_ms;
    let mut found: BTreeMap<i64, Stat> = BTreeMap::new();
    let mut add = |start_ms: i64, stat: &Stat| {
        found.entry(start_ms - start_ms.rem_euclid(interval_ms)).or_default().merge(stat);
    };
    let range = Range { width_ms, from_ms, to_ms };
    for bucket in buckets(reader, range).await? {
        let (start_ms, stat) = of_bucket(bucket)?;
        add(start_ms, &stat);
    }
    Ok(found.into_iter().collect())
}

/// The ranges that make up a window: whole buckets of the longest width, and on both sides what is left, in shorter ones.
fn ranges(since_ms: i64, now_ms: i64) -> Vec<Range> {
    let mut ranges = Vec::new();
    let (mut from_ms, mut to_ms) = (since_ms, bucket_start_ms(now_ms, SHORT_MS) + SHORT_MS);
    for (no, width_ms) in BUCKET_WIDTHS_MS.iter().copied().enumerate() {
        let (first_ms, last_ms) = match BUCKET_WIDTHS_MS.get(no + 1) {
            Some(next_ms) => (bucket_start_ms(from_ms + next_ms - 1, *next_ms), bucket_start_ms(to_ms, *next_ms)),
            // Nothing is longer: the rest.
            None => (to_ms, to_ms),
        };
        if first_ms >= last_ms {
            ranges.push(Range { width_ms, from_ms, to_ms });
            break;
        }
        ranges.push(Range { width_ms, from_ms, to_ms: first_ms });
        ranges.push(Range { width_ms, from_ms: last_ms, to_ms });
        (from_ms, to_ms) = (first_ms, last_ms);
    }
    ranges.retain(|range| range.from_ms < range.to_ms);
    ranges.sort_unstable_by_key(|range| range.from_ms);
    ranges
}

/// The rows of a range, each of an action type and a partition.
async fn rows(reader: &mut Reader, range: Range) -> Result<Vec<Row>, StoreError> {
    let columns = "bucket_start_ms, action_type, executions, successful, failed, attempts, duration_sum_ms, sketch";
    let statement = select(reader, columns, range);
    reader.rows(statement).await
}

/// One row for each bucket: the figures summed up, the sketches as a list. To sum in the database costs less than to fetch
/// a row for each action type and partition.
async fn buckets(reader: &mut Reader, range: Range) -> Result<Vec<Bucket>, StoreError> {
    // PostgreSQL sums big integers as decimal numbers, digit by digit. Floats are as exact: no count reaches 2^53.
    let sum = |column: &str| format!("CAST(sum(CAST({column} AS double precision)) AS bigint), ");
    let figures: String =
        ["executions", "successful", "failed", "attempts", "duration_sum_ms"].into_iter().map(sum).collect();
    let columns = format!("bucket_start_ms, {figures}'[' || string_agg(CAST(sketch AS text), ',') || ']'");
    let mut statement = select(reader, &columns, range);
    statement.push(" GROUP BY bucket_start_ms");
    reader.rows(statement).await
}

/// `SELECT` of a range of the scope's buckets. The platform's own count what all tenants did.
fn select(reader: &Reader, columns: &str, range: Range) -> Statement {
    let tenant = match reader.scope() {
        Scope::Tenant(tenant) => tenant,
        Scope::Platform => Owner::platform().tenant,
    };
    let mut statement = reader.statement("SELECT ");
    statement.push(columns).push(" FROM statistics WHERE tenant_id = ").bind(Arg::Id(tenant.0));
    statement.push(" AND bucket_width_ms = ").bind(Arg::Int(range.width_ms));
    statement.push(" AND bucket_start_ms >= ").bind(Arg::Int(range.from_ms));
    statement.push(" AND bucket_start_ms < ").bind(Arg::Int(range.to_ms));
    statement
}

/// The start of a bucket and its figures.
fn of_bucket(bucket: Bucket) -> Result<(i64, Stat), StoreError> {
    let (start_ms, executions, successful, failed, attempts, duration_sum_ms, sketches) = bucket;
    let sketch =
        Sketch::stored(&sketches).map_err(|e| StoreError::Corrupt(format!("the sketches of a bucket: {e}")))?;
    Ok((start_ms, Stat { executions, successful, failed, attempts, duration_sum_ms, sketch }))
}

fn stat(row: Row) -> Result<(String, Stat), StoreError> {
    let (_, action_type, executions, successful, failed, attempts, duration_sum_ms, sketch) = row;
    let sketch = Sketch::stored(&sketch).map_err(|e| StoreError::Corrupt(format!("a sketch of {action_type}: {e}")))?;
    Ok((action_type, Stat { executions, successful, failed, attempts, duration_sum_ms, sketch }))
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE_MS: i64 = 60_000;

    #[test]
    fn ranges_cover_the_window_once() {
        for since in (0..150).map(|n| n * 5 * MINUTE_MS) {
            for now in (0..400).map(|n| since + n * n * MINUTE_MS / 10) {
                let ranges = ranges(since, now);
                assert_eq!(ranges.first().map(|r| r.from_ms), Some(since));
                assert!(ranges.windows(2).all(|two| two[0].to_ms == two[1].from_ms), "{ranges:?}");
                assert!(ranges.last().is_some_and(|r| r.to_ms > now && r.to_ms <= now + SHORT_MS), "{ranges:?}");
                assert!(ranges.iter().all(|r| r.from_ms % r.width_ms == 0 && r.to_ms % r.width_ms == 0));
            }
        }
    }

    #[test]
    fn whole_hours_and_days_use_the_longer_buckets() {
        let [short, hour, day] = BUCKET_WIDTHS_MS;
        let widths = |ranges: &[Range]| ranges.iter().map(|r| r.width_ms).collect::<Vec<_>>();
        let hours = ranges(55 * MINUTE_MS, 195 * MINUTE_MS);
        assert_eq!(widths(&hours), [short, hour, short]);
        assert_eq!(hours[1], Range { width_ms: hour, from_ms: hour, to_ms: 3 * hour });
        let days = ranges(day - 65 * MINUTE_MS, 3 * day + 65 * MINUTE_MS);
        assert_eq!(widths(&days), [short, hour, day, hour, short]);
        assert_eq!(days[2], Range { width_ms: day, from_ms: day, to_ms: 3 * day });
        // The end of a month, read in the middle of an hour and a day.
        let month = ranges(55 * MINUTE_MS + 3 * hour, 55 * MINUTE_MS + 3 * hour + 30 * day);
        let buckets: i64 = month.iter().map(|r| (r.to_ms - r.from_ms) / r.width_ms).sum();
        assert!(buckets < 100, "{buckets} buckets: {month:?}");
    }
}
