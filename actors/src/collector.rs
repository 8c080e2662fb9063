//! Drops, a little at a time, what the store keeps and nothing refers to any more, and what is older than it is to be kept.
//!
//! One look goes through all there is in small stretches, each a short transaction of its own with a pause behind it, so
//! that nobody waits for it. A look that fails is no harm: the next one begins anew.

use std::sync::Arc;
use std::time::Duration;

use crate::ports::StoreError;
use crate::ports::aging::{Aged, Aging};
use crate::runtime::Runtime;
use crate::settings::Retention;
use crate::supervision::{Behaviour, Ctx};

/// Rows of one stretch.
const STRETCH: usize = 500;
/// Between two stretches.
const PAUSE: Duration = Duration::from_millis(50);
const DAY_MS: i64 = 86_400_000;

/// The actor.
pub struct Collector {
    runtime: Arc<Runtime>,
    is_looking: bool,
}

/// What it is told.
pub enum CollectorMsg {
    /// It is time to look.
    Look,
    /// The look is over.
    Looked,
}

impl Behaviour for Collector {
    const KIND: &'static str = "collector";
    type Msg = CollectorMsg;
    type Args = Arc<Runtime>;

    fn start(runtime: &Self::Args, ctx: &mut Ctx<'_, Self>) -> Self {
        ctx.after(pause(runtime), CollectorMsg::Look);
        Self { runtime: runtime.clone(), is_looking: false }
    }

    fn handle(&mut self, msg: CollectorMsg, ctx: &mut Ctx<'_, Self>) {
        match msg {
            CollectorMsg::Look => {
                self.is_looking = true;
                let (runtime, me) = (self.runtime.clone(), ctx.me());
                self.runtime.io.spawn(async move {
                    if let Err(error) = look(&runtime).await {
                        tracing::warn!(%error, "what nothing refers to could not be collected; it is tried again");
                    }
                    // An actor that is gone by now looks again when it is back.
                    let _ = me.tell_urgent(CollectorMsg::Looked);
                });
            }
            CollectorMsg::Looked => {
                self.is_looking = false;
                ctx.after(pause(&self.runtime), CollectorMsg::Look);
            }
        }
    }

    fn state(&self) -> &'static str {
        if self.is_looking { "looking" } else { "waiting" }
    }
}

fn pause(runtime: &Runtime) -> Duration {
    Duration::from_millis(runtime.settings.collect_interval_ms)
}

async fn look(runtime: &Runtime) -> Result<(), StoreError> {
    let mut after = None;
    while let Some(end) = runtime.store.collect_blobs(after, STRETCH).await? {
        after = Some(end);
        tokio::time::sleep(PAUSE).await;
    }
    while runtime.store.collect_cached(runtime.now_ms(), STRETCH).await? == STRETCH {
        tokio::time::sleep(PAUSE).await;
    }
    drop_aged(runtime.store.as_ref(), &runtime.settings.retention, runtime.now_ms()).await.map(drop)
}

/// Drops what is older than it is to be kept, a little at a time; says how many rows of each kind went. What stays for
/// ever is left out.
pub async fn drop_aged(
    store: &(impl Aging + ?Sized),
    retention: &Retention,
    now_ms: i64,
) -> Result<Vec<(Aged, u64)>, StoreError> {
    let mut dropped = Vec::new();
    for what in Aged::ALL {
        let days = days(what, retention);
        if days == 0 {
            continue;
        }
        let before_ms = now_ms - i64::from(days) * DAY_MS;
        let mut rows = 0;
        loop {
            let stretch = store.drop_old(what, before_ms, STRETCH).await?;
            rows += stretch as u64;
            if stretch < STRETCH {
                break;
            }
            tokio::time::sleep(PAUSE).await;
        }
        dropped.push((what, rows));
    }
    Ok(dropped)
}

/// How many days rows of a kind stay; 0: for ever.
const fn days(what: Aged, retention: &Retention) -> u32 {
    match what {
        Aged::Metrics => retention.metrics_days,
        Aged::ArchivedNotifications => retention.archived_notifications_days,
        Aged::IdempotencyKeys => retention.idempotency_keys_days,
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;
    use crate::ports::BoxFuture;

    /// So many old metrics, and what was asked for.
    struct Old {
        metrics: Mutex<usize>,
        asked: Mutex<Vec<(Aged, i64)>>,
    }

    impl Aging for Old {
        fn drop_old(&self, what: Aged, before_ms: i64, limit: usize) -> BoxFuture<'_, Result<usize, StoreError>> {
            self.asked.lock().unwrap().push((what, before_ms));
            let mut metrics = self.metrics.lock().unwrap();
            let dropped = limit.min(*metrics);
            *metrics -= dropped;
            Box::pin(std::future::ready(Ok(dropped)))
        }
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_old_goes_in_stretches_and_what_has_no_days_stays() {
        let old = Old { metrics: Mutex::new(2 * STRETCH + 7), asked: Mutex::default() };
        let retention = Retention { metrics_days: 2, ..Retention::default() };
        let dropped = drop_aged(&old, &retention, 10 * DAY_MS).await.expect("it drops");
        assert_eq!(dropped, [(Aged::Metrics, 2 * STRETCH as u64 + 7)]);
        assert_eq!(*old.asked.lock().unwrap(), [(Aged::Metrics, 8 * DAY_MS); 3]);
        assert_eq!(drop_aged(&old, &Retention::default(), DAY_MS).await.expect("it drops"), []);
    }
}
