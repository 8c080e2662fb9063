//! The partition's statistics: added up from what it commits, written about once a second.
//!
//! Each write says up to which position of the partition's log it counts, so that after a crash exactly the rows behind
//! that position are counted from the log. Nothing is scanned but that tail.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;
use std::time::Duration;

use core314_domain::ids::TenantId;
use core314_domain::stats::{BUCKET_WIDTHS_MS, Stat, StatKey, bucket_start_ms};

use super::{PartitionMsg, QueuePartition};
use crate::commit_writer::{CommitResult, Reply};
use crate::ports::StoreError;
use crate::ports::store::{Outcome, RunWrite, StatisticsWrite, TailRow, Write};
use crate::supervision::Ctx;

/// What was counted and is not yet written.
#[derive(Debug, Default)]
pub struct Statistics {
    deltas: BTreeMap<StatKey, Stat>,
    /// A write is under way.
    writing: bool,
    /// The last position of the log that is counted.
    position: i64,
    /// The last position that was committed while the tail was still being read.
    missed: i64,
    /// The tail has been counted.
    ready: bool,
    armed: bool,
}

/// Rows of the tail that are read at once.
const TAIL_PAGE: usize = 1_000;

impl QueuePartition {
    /// Counts what a commit logged. `log_seq` is the position of its last row.
    pub(super) fn record_statistics(&mut self, write: &RunWrite, log_seq: Option<i64>, ctx: &mut Ctx<'_, Self>) {
        let Some(last) = log_seq else { return };
        if !self.statistics.ready {
            self.statistics.missed = self.statistics.missed.max(last);
            return;
        }
        let first = last + 1 - write.log.len() as i64;
        if first > self.statistics.position + 1 {
            // Rows were stored unseen, by a commit whose outcome was lost: the log has them.
            self.statistics.ready = false;
            self.statistics.missed = last;
            return self.read_statistics_tail(ctx);
        }
        for (seq, entry) in (first..).zip(&write.log) {
            if seq > self.statistics.position {
                let figures = (entry.is_final, entry.success(), entry.duration_ms);
                self.count(write.tenant, &entry.action_type, entry.completed_at_ms, figures);
            }
        }
        self.statistics.position = self.statistics.position.max(last);
        self.arm_statistics(ctx);
    }

    fn count(&mut self, tenant: TenantId, action_type: &str, at_ms: i64, figures: (bool, bool, Option<i64>)) {
        let (is_final, success, duration_ms) = figures;
        for bucket_width_ms in BUCKET_WIDTHS_MS {
            let key = StatKey {
                tenant,
                action_type: action_type.to_owned(),
                bucket_width_ms,
                bucket_start_ms: bucket_start_ms(at_ms, bucket_width_ms),
            };
            self.statistics.deltas.entry(key).or_default().record_attempt(is_final, success, duration_ms);
        }
    }

    fn arm_statistics(&mut self, ctx: &mut Ctx<'_, Self>) {
        if !self.statistics.armed && !self.statistics.deltas.is_empty() {
            self.statistics.armed = true;
            let interval = Duration::from_millis(self.runtime.settings.statistics_interval_ms);
            ctx.after(interval, PartitionMsg::FlushStatistics);
        }
    }

    /// Reads the log behind what is counted. The first read finds out what that is.
    pub(super) fn read_statistics_tail(&mut self, ctx: &mut Ctx<'_, Self>) {
        if self.shared.counting.load(Ordering::Acquire) {
            // A write of an earlier life is under way: what it covers is not known before its end.
            ctx.after(Duration::from_millis(50), PartitionMsg::FlushStatistics);
            return;
        }
        let (store, number) = (self.runtime.store.clone(), self.number);
        let after = (self.statistics.position > 0).then_some(self.statistics.position);
        let read = async move {
            let after = match after {
                Some(after) => after,
                None => store.statistics_position(number).await?,
            };
            Ok((after, store.log_tail(number, after, TAIL_PAGE).await?))
        };
        self.read(ctx, read, PartitionMsg::StatisticsTail);
    }

    /// A page of the tail was read.
    pub(super) fn statistics_tail(&mut self, result: Result<(i64, Vec<TailRow>), StoreError>, ctx: &mut Ctx<'_, Self>) {
        let (after, rows) = match result {
            Ok(read) => read,
            Err(error) => {
                tracing::warn!(partition = self.number, %error, "the log's tail could not be read; it is tried again");
                ctx.after(Duration::from_secs(1), PartitionMsg::FlushStatistics);
                return;
            }
        };
        self.statistics.position = self.statistics.position.max(after);
        let full = rows.len() == TAIL_PAGE;
        // Two reads of the tail may overlap: a row counts once.
        for row in rows {
            if row.seq <= self.statistics.position {
                continue;
            }
            self.count(row.tenant, &row.action_type, row.completed_at_ms, (row.is_final, row.success, row.duration_ms));
            self.statistics.position = row.seq;
        }
        if full || self.statistics.position < self.statistics.missed {
            return self.read_statistics_tail(ctx);
        }
        self.statistics.ready = true;
        self.arm_statistics(ctx);
    }

    /// Begins to write what was counted: the store adds it to what it has.
    pub(super) fn flush_statistics(&mut self, ctx: &mut Ctx<'_, Self>) {
        self.statistics.armed = false;
        if !self.statistics.ready {
            return self.read_statistics_tail(ctx);
        }
        if self.statistics.deltas.is_empty() || self.statistics.writing {
            return;
        }
        self.statistics.writing = true;
        let write = StatisticsWrite {
            partition: self.number,
            epoch: self.runtime.epoch,
            rows: std::mem::take(&mut self.statistics.deltas).into_iter().collect(),
            covered_seq: self.statistics.position,
        };
        let (me, life, shared) = (ctx.me(), self.life, self.shared.clone());
        self.shared.counting.store(true, Ordering::Release);
        let reply = Reply::new(&self.runtime.io, move |result| {
            shared.counting.store(false, Ordering::Release);
            // A partition that is gone counts the tail again when it starts.
            let what = Box::new(PartitionMsg::StatisticsWritten(result));
            let _ = me.tell_urgent(PartitionMsg::Read { life, what });
        });
        let writes = vec![Write::Statistics(Box::new(write))];
        let _ = self.writer.commit(self.number, writes, reply);
    }

    /// The write is over. Where it is not known to be stored, the store and the log are asked what is counted.
    pub(super) fn statistics_written(&mut self, result: &CommitResult, ctx: &mut Ctx<'_, Self>) {
        self.statistics.writing = false;
        if matches!(result.as_deref(), Ok([Outcome::Committed { .. }])) {
            return self.arm_statistics(ctx);
        }
        tracing::warn!(partition = self.number, ?result, "statistics may not have been written; they are counted anew");
        self.statistics = Statistics { missed: self.statistics.position, ..Statistics::default() };
        self.read_statistics_tail(ctx);
    }
}
