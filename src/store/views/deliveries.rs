//! Deliveries as `webhook_deliveries` shows them: runs that the webhook started, and the rows of its other deliveries,
//! by the one order of their ids.

use core314_actors::ports::views::Filter;
use core314_actors::ports::{Scope, StoreError};
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
        let Some(tenant) = self.tenant(reader).await? else {
            return Ok(Keys { ids: Vec::new(), next: None });
        };
        let of = |column, value| vec![("tenant_id", Arg::Id(tenant)), (column, value)];
        let runs = "SELECT id FROM runs WHERE webhook IS NOT NULL AND ";
        let source = Arg::Text(format!("webhook:{}", self.0));
        let started = page(reader, runs, of("trigger_source", source), after, limit + 1).await?;
        let others = "SELECT id FROM deliveries WHERE ";
        let others = page(reader, others, of("webhook_id", Arg::Id(self.0)), after, limit + 1).await?;
        // Of either there may be as many as the page takes; what one page leaves out is found by the next.
        let mut ids = [started, others].concat();
        ids.sort_unstable_by(|one, other| other.cmp(one));
        let more = ids.len() > limit;
        ids.truncate(limit);
        Ok(Keys { next: ids.last().copied().filter(|_| more), ids })
    }

    /// Whose rows they can be: the scope's, or for the platform those of the webhook's tenant.
    async fn tenant(&self, reader: &mut Reader) -> Result<Option<Uuid>, StoreError> {
        if let Scope::Tenant(own) = reader.scope() {
            return Ok(Some(own.0));
        }
        let mut statement = reader.statement("SELECT tenant_id FROM webhooks WHERE id = ");
        statement.bind(Arg::Id(self.0));
        Ok(reader.rows::<(Uuid,)>(statement).await?.pop().map(|(tenant,)| tenant))
    }
}

/// Ids of one of the two tables, newest first.
async fn page(
    reader: &mut Reader,
    select: &str,
    equal: Vec<(&'static str, Arg)>,
    after: Option<Uuid>,
    limit: usize,
) -> Result<Vec<Uuid>, StoreError> {
    let keyset = Keyset { equal, id: "id", before: after.unwrap_or(Uuid::max()) };
    let mut statement = reader.statement(select);
    statement.push_keyset(&keyset).push_order(&keyset, limit);
    Ok(reader.rows::<(Uuid,)>(statement).await?.into_iter().map(|(id,)| id).collect())
}
