//! Statistics of a window, from the stored buckets.
//!
//! Whole hours inside the window come from the long buckets, its edges from the short ones. Every attempt stands in
//! both widths, so that the two kinds of ranges must not overlap.

use std::collections::BTreeMap;

use core314_actors::ports::views::StatisticsView;
use core314_actors::ports::{Scope, StoreError};
use core314_domain::stats::{BUCKET_WIDTHS_MS, Sketch, Stat, bucket_start_ms};

use super::reader::Reader;
use super::statement::Arg;

const SHORT_MS: i64 = BUCKET_WIDTHS_MS[0];
const LONG_MS: i64 = BUCKET_WIDTHS_MS[1];

/// A range of buckets of one width: starts from `from_ms` on, below `to_ms`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(clippy::struct_field_names, reason = "the unit comes last in a name")]
struct Range {
    width_ms: i64,
    from_ms: i64,
    to_ms: i64,
}

type Row = (i64, String, i64, i64, i64, i64, i64, String);

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
    let width_ms = if interval_ms % LONG_MS == 0 { LONG_MS } else { SHORT_MS };
    let from_ms = bucket_start_ms(since_ms, width_ms);
    let to_ms = bucket_start_ms(now_ms, width_ms) + width_ms;
    let mut found: BTreeMap<i64, Stat> = BTreeMap::new();
    for row in rows(reader, Range { width_ms, from_ms, to_ms }).await? {
        let start_ms = row.0 - row.0.rem_euclid(interval_ms);
        found.entry(start_ms).or_default().merge(&stat(row)?.1);
    }
    Ok(found.into_iter().collect())
}

/// The ranges that make up a window: its whole hours and what is left at its edges.
fn ranges(since_ms: i64, now_ms: i64) -> Vec<Range> {
    let end_ms = bucket_start_ms(now_ms, SHORT_MS) + SHORT_MS;
    let first_hour_ms = bucket_start_ms(since_ms + LONG_MS - 1, LONG_MS);
    let last_hour_ms = bucket_start_ms(end_ms, LONG_MS);
    let short = |from_ms, to_ms| Range { width_ms: SHORT_MS, from_ms, to_ms };
    let all = if first_hour_ms >= last_hour_ms {
        vec![short(since_ms, end_ms)]
    } else {
        let hours = Range { width_ms: LONG_MS, from_ms: first_hour_ms, to_ms: last_hour_ms };
        vec![short(since_ms, first_hour_ms), hours, short(last_hour_ms, end_ms)]
    };
    all.into_iter().filter(|range| range.from_ms < range.to_ms).collect()
}

async fn rows(reader: &mut Reader, range: Range) -> Result<Vec<Row>, StoreError> {
    let columns = "bucket_start_ms, action_type, executions, successful, failed, attempts, duration_sum_ms, sketch";
    let bounds = [range.width_ms, range.from_ms, range.to_ms].map(Arg::Int);
    let [width, from, to] = bounds;
    let Scope::Tenant(tenant) = reader.scope() else {
        return of_all_tenants(reader, columns, width, from, to).await;
    };
    let mut statement = reader.statement(&format!("SELECT {columns} FROM statistics WHERE tenant_id = "));
    statement.bind(Arg::Id(tenant.0)).push(" AND bucket_width_ms = ").bind(width);
    statement.push(" AND bucket_start_ms >= ").bind(from).push(" AND bucket_start_ms < ").bind(to);
    reader.rows(statement).await
}

/// The primary key begins with the tenant: the tenants are found by leaping over each one's rows, then each one's
/// range is read.
async fn of_all_tenants(
    reader: &mut Reader,
    columns: &str,
    width: Arg,
    from: Arg,
    to: Arg,
) -> Result<Vec<Row>, StoreError> {
    let mut statement = reader.statement(
        "WITH RECURSIVE tenants (id) AS (SELECT (SELECT tenant_id FROM statistics ORDER BY tenant_id LIMIT 1) \
         UNION ALL SELECT (SELECT tenant_id FROM statistics WHERE tenant_id > tenants.id ORDER BY tenant_id LIMIT 1) \
         FROM tenants WHERE tenants.id IS NOT NULL) SELECT ",
    );
    statement.push(columns).push(" FROM tenants JOIN statistics ON tenant_id = tenants.id WHERE bucket_width_ms = ");
    statement.bind(width).push(" AND bucket_start_ms >= ").bind(from).push(" AND bucket_start_ms < ").bind(to);
    reader.rows(statement).await
}

fn stat(row: Row) -> Result<(String, Stat), StoreError> {
    let (_, action_type, executions, successful, failed, attempts, duration_sum_ms, sketch) = row;
    let sketch: Sketch =
        serde_json::from_str(&sketch).map_err(|e| StoreError::Corrupt(format!("a sketch of {action_type}: {e}")))?;
    Ok((action_type, Stat { executions, successful, failed, attempts, duration_sum_ms, sketch }))
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE_MS: i64 = 60_000;

    #[test]
    fn ranges_cover_the_window_once() {
        for since in (0..150).map(|n| n * 5 * MINUTE_MS) {
            for now in (0..400).map(|n| since + n * 7 * MINUTE_MS) {
                let ranges = ranges(since, now);
                assert_eq!(ranges.first().map(|r| r.from_ms), Some(since));
                assert!(ranges.windows(2).all(|two| two[0].to_ms == two[1].from_ms), "{ranges:?}");
                assert!(ranges.last().is_some_and(|r| r.to_ms > now && r.to_ms <= now + SHORT_MS), "{ranges:?}");
                assert!(ranges.iter().all(|r| r.from_ms % r.width_ms == 0 && r.to_ms % r.width_ms == 0));
            }
        }
    }

    #[test]
    fn whole_hours_use_the_long_buckets() {
        let ranges = ranges(55 * MINUTE_MS, 195 * MINUTE_MS);
        let widths: Vec<i64> = ranges.iter().map(|r| r.width_ms).collect();
        assert_eq!(widths, [SHORT_MS, LONG_MS, SHORT_MS]);
        assert_eq!(ranges[1], Range { width_ms: LONG_MS, from_ms: LONG_MS, to_ms: 3 * LONG_MS });
    }
}
