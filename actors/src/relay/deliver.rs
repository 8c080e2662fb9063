//! Telling waiting runs of the events that came for them.

use core314_domain::run::Command;
use futures_util::StreamExt;

use super::{AT_ONCE, PAGE, Starter};
use crate::commit_writer::commit_one;
use crate::engine::TellError;
use crate::failpoint;
use crate::flow_run::Remark;
use crate::ports::event::{DeliveryPlace, EventDelivery};
use crate::ports::signal::SignalWrite;
use crate::ports::store::Write;

impl Starter {
    /// Tells every run that an event came for. True if something is left that may be told later.
    pub(super) async fn deliver(&self) -> bool {
        let (mut after, mut is_left): (Option<DeliveryPlace>, bool) = (None, false);
        loop {
            let page = match self.runtime.store.event_deliveries(after, PAGE).await {
                Ok(page) => page,
                Err(error) => {
                    tracing::warn!(%error, "the events that runs wait for could not be read");
                    return true;
                }
            };
            after = page.last().map(EventDelivery::place);
            let is_last = page.len() < PAGE;
            let told = futures_util::stream::iter(by_run(page)).map(|of_run| self.tell_run(of_run));
            // Every one is tried: a run that cannot be told just now keeps no other from hearing.
            is_left |= !told.buffer_unordered(AT_ONCE).fold(true, async |all, is_done| all && is_done).await;
            if is_last {
                return is_left;
            }
        }
    }

    /// Tells one run of its events, in their order; whether all of them are settled.
    async fn tell_run(&self, deliveries: Vec<EventDelivery>) -> bool {
        for delivery in deliveries {
            let (place, run, step) = (delivery.place(), delivery.run, delivery.step);
            failpoint::hit("event.before");
            let command = Command::Event { step, id: delivery.event, event: delivery.content };
            match self.ingress.tell(delivery.partition, run, command, Remark::default()).await {
                // A run that is gone, or refuses, is never told anything else.
                Ok(()) | Err(TellError::NotFound | TellError::Refused(_)) => {}
                Err(error) => {
                    tracing::debug!(%run, step, event = %place.0, %error, "a run is told of an event later");
                    return false;
                }
            }
            failpoint::hit("event.told");
            let write = Write::Signal(Box::new(SignalWrite::EventTold(place)));
            if let Err(error) = commit_one(&self.writer, &self.runtime.io, write, || {}).await {
                tracing::debug!(%run, step, event = %place.0, %error, "that a run was told of an event is noted later");
                return false;
            }
        }
        true
    }
}

/// The deliveries of each run together: they come in the order of their events.
fn by_run(page: Vec<EventDelivery>) -> Vec<Vec<EventDelivery>> {
    let mut order = std::collections::BTreeMap::new();
    let mut runs: Vec<Vec<EventDelivery>> = Vec::new();
    for delivery in page {
        let at = *order.entry(delivery.run).or_insert(runs.len());
        if at == runs.len() {
            runs.push(Vec::new());
        }
        runs[at].push(delivery);
    }
    runs
}
