//! Deliveries as `webhook_deliveries` shows them: runs that the webhook started, and the rows of its other deliveries,
//! by the one order of their ids.

use core314_actors::ports::StoreError;
use core314_actors::ports::views::Filter;
use uuid::Uuid;

use super::list::Source;
use super::reader::{Index, Keys, Reader, uuid_of};
use super::statement::Arg;

/// The deliveries of one webhook.
pub(super) struct OfWebhook(Uuid);

/// What leads to the deliveries that a filter asks for. They are always a webhook's: the API has no other list.
pub(super) fn source(filter: &mut Filter) -> Source {
    let webhook = uuid_of(filter.get("webhook_id"));
    filter.take("webhook_id");
    webhook.map_or(Source::Nothing, |webhook| Source::Deliveries(OfWebhook(webhook)))
}

impl OfWebhook {
    pub async fn keys(&self, reader: &mut Reader, after: Option<Uuid>, limit: usize) -> Result<Keys, StoreError> {
        let started = Index {
            equal: vec![("trigger_source", Arg::Text(format!("webhook:{}", self.0)))],
            condition: Some("webhook IS NOT NULL"),
            ..Index::newest("runs")
        };
        let others = Index { equal: vec![("webhook_id", Arg::Id(self.0))], ..Index::newest("deliveries") };
        // Of either there may be as many as the page takes; what one page leaves out is found by the next.
        let (started, others) = (reader.keys(&started, after, limit).await?, reader.keys(&others, after, limit).await?);
        let more = started.next.is_some() || others.next.is_some();
        let mut ids = [started.ids, others.ids].concat();
        ids.sort_unstable_by(|one, other| other.cmp(one));
        let more = more || ids.len() > limit;
        ids.truncate(limit);
        Ok(Keys { next: ids.last().copied().filter(|_| more), ids })
    }
}
