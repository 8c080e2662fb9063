//! Drops, a little at a time, what the store keeps and nothing refers to any more, and what is older than it is to be kept.
//!
//! One look goes through all there is in small stretches, each a short transaction of its own with a pause behind it, so
//! that nobody waits for it. A look that fails is no harm: the next one begins anew.

use std::sync::Arc;
use std::time::Duration;

use crate::ports::StoreError;
use crate::ports::aging::Aged;
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
    for (what, days) in aging(&runtime.settings.retention) {
        let before_ms = runtime.now_ms() - i64::from(days) * DAY_MS;
        while runtime.store.drop_old(what, before_ms, STRETCH).await? == STRETCH {
            tokio::time::sleep(PAUSE).await;
        }
    }
    Ok(())
}

/// What does not stay for ever, and how many days it does stay.
fn aging(retention: &Retention) -> impl Iterator<Item = (Aged, u32)> + use<> {
    let of_each = [
        (Aged::Metrics, retention.metrics_days),
        (Aged::ArchivedNotifications, retention.archived_notifications_days),
        (Aged::IdempotencyKeys, retention.idempotency_keys_days),
    ];
    of_each.into_iter().filter(|(_, days)| *days > 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_has_no_days_stays_for_ever() {
        assert_eq!(aging(&Retention::default()).count(), 0);
        let some = Retention { metrics_days: 30, ..Retention::default() };
        assert_eq!(aging(&some).collect::<Vec<_>>(), [(Aged::Metrics, 30)]);
    }
}
