//! Deliveries as `webhook_deliveries` shows them: runs that the webhook started, and the rows of its other deliveries,
//! by the one order of their ids.

use core314_actors::ports::StoreError;
use core314_actors::ports::views::Filter;
use uuid::Uuid;

use super::list::Source;
use super::reader::{Keys, Reader, uuid_of};
use super::statement::{Arg, Keyset};

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
        let source = Arg::Text(format!("webhook:{}", self.0));
        let runs = "SELECT id FROM runs WHERE webhook IS NOT NULL AND ";
        let started = page(reader, runs, ("trigger_source", source), after, limit + 1).await?;
        let others = "SELECT id FROM deliveries WHERE ";
        let others = page(reader, others, ("webhook_id", Arg::Id(self.0)), after, limit + 1).await?;
        // Of either there may be as many as the page takes; what one page leaves out is found by the next.
        let mut ids = [started, others].concat();
        ids.sort_unstable_by(|one, other| other.cmp(one));
        let more = ids.len() > limit;
        ids.truncate(limit);
        Ok(Keys { next: ids.last().copied().filter(|_| more), ids })
    }
}

/// Ids of one of the two tables, newest first. Its index begins with the webhook, whose tenant is one more condition.
async fn page(
    reader: &mut Reader,
    select: &str,
    of: (&'static str, Arg),
    after: Option<Uuid>,
    limit: usize,
) -> Result<Vec<Uuid>, StoreError> {
    let keyset = Keyset { equal: vec![of], id: "id", before: after.unwrap_or(Uuid::max()) };
    let mut statement = reader.statement(select);
    statement.push_keyset(&keyset);
    reader.push_tenant(&mut statement, "tenant_id");
    statement.push_order(&keyset, limit);
    Ok(reader.rows::<(Uuid,)>(statement).await?.into_iter().map(|(id,)| id).collect())
}
