//! The timers of one actor: any number of them behind one `Sleep`, none of which costs anything until the first is set.
//!
//! actix would keep a future per timer and poll each of them at every message; here a message costs one comparison.

use std::{
    collections::BTreeMap,
    future::Future,
    pin::Pin,
    task::{Context, Poll},
};

use tokio::time::{Instant, Sleep, sleep_until};

/// Names a timer, to cancel it. A key of an earlier life names nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct TimerKey {
    due: Instant,
    number: u64,
}

pub(super) struct Timers<M> {
    queue: BTreeMap<TimerKey, M>,
    sleep: Pin<Box<Sleep>>,
}

impl<M> Timers<M> {
    pub(super) fn new(due: Instant) -> Self {
        Self { queue: BTreeMap::new(), sleep: Box::pin(sleep_until(due)) }
    }

    /// `number` must not repeat within the actor's time, across its restarts.
    pub(super) fn set(&mut self, due: Instant, number: u64, msg: M) -> TimerKey {
        let key = TimerKey { due, number };
        self.queue.insert(key, msg);
        key
    }

    /// False if it has fired, was cancelled or belongs to an earlier life.
    pub(super) fn cancel(&mut self, key: TimerKey) -> bool {
        self.queue.remove(&key).is_some()
    }

    /// The next message that is due; otherwise the task is woken when one is.
    pub(super) fn poll_due(&mut self, cx: &mut Context<'_>) -> Poll<M> {
        let Some(first) = self.queue.first_entry() else {
            return Poll::Pending;
        };
        let due = first.key().due;
        if due > Instant::now() {
            if self.sleep.deadline() != due {
                self.sleep.as_mut().reset(due);
            }
            std::task::ready!(self.sleep.as_mut().poll(cx));
        }
        Poll::Ready(first.remove())
    }
}
