//! Wake-ups. Every one is a row; memory holds those of the next minutes, and one timer for the soonest.

use std::collections::{BTreeSet, HashMap};
use std::time::Duration;

use core314_domain::ids::RunId;
use core314_domain::run::Command;

use super::runs::Ask;
use super::{PartitionMsg, QueuePartition};
use crate::ports::StoreError;
use crate::ports::store::Store;
use crate::supervision::{Ctx, TimerKey};

/// The wake-ups in memory.
#[derive(Debug, Default)]
pub struct Timers {
    by_time: BTreeSet<(i64, RunId)>,
    of_run: HashMap<RunId, i64>,
    /// Wake-ups after this are in the store alone.
    horizon_ms: i64,
    /// When more are to be read.
    refresh_at_ms: i64,
    /// When the soonest armed tick comes.
    armed: Option<(i64, TimerKey)>,
}

impl Timers {
    fn set(&mut self, run: RunId, at_ms: Option<i64>) {
        if let Some(old) = self.of_run.remove(&run) {
            self.by_time.remove(&(old, run));
        }
        if let Some(at_ms) = at_ms.filter(|at| *at <= self.horizon_ms) {
            self.of_run.insert(run, at_ms);
            self.by_time.insert((at_ms, run));
        }
    }

    fn pop_due(&mut self, now_ms: i64) -> Option<RunId> {
        let (at_ms, run) = self.by_time.first().copied()?;
        if at_ms > now_ms {
            return None;
        }
        self.by_time.pop_first();
        self.of_run.remove(&run);
        Some(run)
    }

    fn next_ms(&self) -> i64 {
        self.by_time.first().map_or(self.refresh_at_ms, |(at_ms, _)| self.refresh_at_ms.min(*at_ms))
    }
}

/// The wake-ups up to a time.
pub struct WakePage {
    until_ms: i64,
    due: Vec<(i64, RunId)>,
}

/// More wake-ups than this are not held: the rest is read when these are over.
const MOST: usize = 100_000;

impl QueuePartition {
    /// A run's next wake-up, as stored.
    pub(super) fn set_timer(&mut self, run: RunId, at_ms: Option<i64>, ctx: &mut Ctx<'_, Self>) {
        self.timers.set(run, at_ms);
        if at_ms.is_some() {
            self.arm(ctx);
        }
    }

    /// Sees to it that a tick comes when the next thing is due.
    pub(super) fn arm(&mut self, ctx: &mut Ctx<'_, Self>) {
        let next_ms = self.timers.next_ms();
        // A node that stops starts nothing more: the passing of time changes nothing for it.
        let others = [self.limits.next_due_ms(), self.held.next_due_ms()].into_iter().flatten();
        let next_ms = others.filter(|_| !self.draining).fold(next_ms, i64::min);
        if self.timers.armed.as_ref().is_none_or(|(armed, _)| next_ms < *armed) {
            self.disarm(ctx);
            let delay_ms = (next_ms - self.runtime.now_ms()).max(0) as u64;
            let key = ctx.after(Duration::from_millis(delay_ms), PartitionMsg::Tick);
            self.timers.armed = Some((next_ms, key));
        }
    }

    fn disarm(&mut self, ctx: &mut Ctx<'_, Self>) {
        if let Some((_, key)) = self.timers.armed.take() {
            ctx.cancel(key);
        }
    }

    /// Wakes what is due.
    pub(super) fn tick(&mut self, ctx: &mut Ctx<'_, Self>) {
        self.disarm(ctx);
        self.paging.resume();
        let now_ms = self.runtime.now_ms();
        while let Some(run) = self.timers.pop_due(now_ms) {
            self.deliver(run, Ask::quiet(Command::Wake));
        }
        self.start_admitted();
        self.held.tick(now_ms);
        if now_ms >= self.timers.refresh_at_ms {
            self.read_timers(ctx);
        }
        self.arm(ctx);
    }

    /// Reads the wake-ups of the next minutes.
    pub(super) fn read_timers(&mut self, ctx: &mut Ctx<'_, Self>) {
        let horizon_ms = self.runtime.settings.timer_horizon_ms;
        let until_ms = self.runtime.now_ms() + horizon_ms;
        // From now on commits keep their own wake-ups; those stored before are being read.
        self.timers.horizon_ms = until_ms;
        self.timers.refresh_at_ms = until_ms - horizon_ms / 10;
        let (store, number, page) = (self.runtime.store.clone(), self.number, self.runtime.settings.page_size);
        self.read(ctx, async move { wake_ups(store.as_ref(), number, until_ms, page).await }, PartitionMsg::WakePage);
    }

    /// Wake-ups were read.
    pub(super) fn wake_page(&mut self, result: Result<WakePage, StoreError>, ctx: &mut Ctx<'_, Self>) {
        match result {
            Ok(page) => {
                self.timers.refresh_at_ms = self.timers.refresh_at_ms.min(page.until_ms);
                for (at_ms, run) in page.due {
                    // What a commit has set since is newer. A timer that is out of date costs a wake-up that decides nothing.
                    if !self.timers.of_run.contains_key(&run) {
                        self.timers.set(run, Some(at_ms));
                    }
                }
            }
            Err(error) => {
                self.timers.refresh_at_ms = self.runtime.now_ms() + 1_000;
                self.store_away(&error, ctx);
            }
        }
        self.arm(ctx);
    }
}

async fn wake_ups(store: &dyn Store, partition: u16, until_ms: i64, page: usize) -> Result<WakePage, StoreError> {
    let mut due: Vec<(i64, RunId)> = Vec::new();
    loop {
        let more = store.wake_page(partition, until_ms, due.last().copied(), page).await?;
        let last = more.len() < page;
        due.extend(more);
        if last {
            return Ok(WakePage { until_ms, due });
        }
        if due.len() >= MOST {
            let until_ms = due.last().map_or(until_ms, |(at_ms, _)| *at_ms);
            return Ok(WakePage { until_ms, due });
        }
    }
}
