//! Drops, a little at a time, what the store keeps and nothing refers to any more.
//!
//! One look goes through all there is in small stretches, each a short transaction of its own with a pause behind it, so
//! that nobody waits for it. A look that fails is no harm: the next one begins anew.

use std::sync::Arc;
use std::time::Duration;

use crate::ports::StoreError;
use crate::runtime::Runtime;
use crate::supervision::{Behaviour, Ctx};

/// Rows of one stretch.
const STRETCH: usize = 500;
/// Between two stretches.
const PAUSE: Duration = Duration::from_millis(50);

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
    Ok(())
}
