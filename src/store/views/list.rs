//! Pages of any resource: which index leads through it, and what is left to look for row by row.
//!
//! A filter takes out what its index answers; rows that the index leads to are then compared with the rest as the API
//! shows them, so that every column can be asked for and both stores agree. The database passes over those that it can
//! tell apart itself, because to read a row costs ten times as much. How many rows a page looks at is bounded.

use core314_actors::ports::StoreError;
use core314_actors::ports::resource::Resource;
use core314_actors::ports::views::{Filter, Page, Paged};
use serde_json::Value;
use uuid::Uuid;

use super::deliveries::OfWebhook;
use super::executions::Walk;
use super::log::OfRun;
use super::reader::{Index, Keys, Reader, SCAN_ROWS, uuid_of};
use super::{deliveries, escalations, executions, flows, log, notifications, people, runs, signals};

/// The most rows that are compared at once. A page begins with as many as it shows, because most may agree.
const MOST_ROWS: usize = 1_000;
/// The fewest that are worth a look.
const FEWEST_ROWS: usize = 10;
/// The most executions that a page looks at for a filter without an index. Each is put together from its run, its flow and
/// its attempts, which costs several times as much as to read a row.
const SCAN_EXECUTIONS: usize = 200;

/// What leads through a resource.
pub(super) enum Source {
    Index(Index),
    Executions(Walk),
    LogOfRun(OfRun),
    Deliveries(OfWebhook),
    /// The filter contradicts itself.
    Nothing,
}

impl Source {
    fn of(reader: &Reader, resource: Resource, filter: &mut Filter) -> Self {
        match resource {
            Resource::Flows => Self::Index(flows::index(reader, filter)),
            Resource::Runs => Self::Index(runs::index(reader, filter)),
            Resource::Executions => executions::walk(filter),
            Resource::Log => log::source(reader, filter),
            Resource::Webhooks => Self::Index(Index::newest("webhooks")),
            Resource::Deliveries => deliveries::source(filter),
            Resource::Audit => Self::Index(Index::newest("audit")),
            Resource::Notifications => Self::Index(notifications::index(reader, filter)),
            Resource::DeadLetters => Self::Index(Index::newest("dead_letters")),
            Resource::Phases => Self::Index(runs::phases(reader, filter)),
            Resource::Tokens => Self::Index(Index::newest("keys")),
            Resource::Integrations => Self::Index(Index::newest("connections")),
            Resource::Secrets => Self::Index(Index::newest("sealed_secrets")),
            Resource::Decisions => Self::Index(signals::by_status(reader, filter, "decisions")),
            Resource::Recommendations => Self::Index(signals::by_status(reader, filter, "recommendations")),
            Resource::Memory => Self::Index(signals::by_subject(reader, filter)),
            Resource::EscalationRules => Self::Index(Index::newest("rules")),
            Resource::EscalationEvents => Self::Index(escalations::index(reader, filter)),
            Resource::Outbox => Self::Index(Index::newest("outbox")),
            Resource::OnCall => Self::Index(Index::newest("rotations")),
            Resource::OnCallOverrides => Self::Index(Index::newest("stand_ins")),
            Resource::Silences => Self::Index(Index::newest("quiet_times")),
            Resource::Organizations => Self::Index(Index::newest("firms")),
            Resource::Users => Self::Index(Index::newest("members")),
            Resource::ContactMethods => Self::Index(people::of_user(reader, filter, "contacts")),
            Resource::Preferences => Self::Index(people::of_user(reader, filter, "habits")),
            Resource::Metrics => Self::Index(signals::by_name(reader, filter)),
        }
    }

    async fn keys(&self, reader: &mut Reader, after: Option<Uuid>, limit: usize) -> Result<Keys, StoreError> {
        match self {
            Self::Index(index) => reader.keys(index, after, limit).await,
            Self::Executions(walk) => walk.keys(reader, after, limit).await,
            Self::LogOfRun(of) => of.keys(reader, after, limit).await,
            Self::Deliveries(of) => of.keys(reader, after, limit).await,
            Self::Nothing => Ok(Keys { ids: Vec::new(), next: None }),
        }
    }

    async fn rows(
        &self,
        reader: &mut Reader,
        resource: Resource,
        ids: &[Uuid],
        filter: &Filter,
    ) -> Result<Vec<Value>, StoreError> {
        match self {
            Self::Executions(_) => executions::rows(reader, ids, filter).await,
            _ => reader.by_keys(resource, ids, filter).await,
        }
    }
}

/// A page, newest first.
pub(super) async fn page(
    reader: &mut Reader,
    resource: Resource,
    mut filter: Filter,
    page: Page,
) -> Result<Paged, StoreError> {
    let source = Source::of(reader, resource, &mut filter);
    if filter.is_empty() {
        let keys = source.keys(reader, page.after, page.limit).await?;
        return Ok(Paged { items: source.rows(reader, resource, &keys.ids, &filter).await?, next: keys.next });
    }
    let most = if resource == Resource::Executions { SCAN_EXECUTIONS } else { SCAN_ROWS };
    let (mut items, mut after, mut seen, mut chunk) = (Vec::new(), page.after, 0, page.limit);
    loop {
        let wanted = chunk.min(most - seen);
        let keys = source.keys(reader, after, wanted).await?;
        let before = items.len();
        seen += keys.ids.len();
        for row in source.rows(reader, resource, &keys.ids, &filter).await? {
            if !filter.holds(&row) {
                continue;
            }
            let id = uuid_of(row.get("id"));
            items.push(row);
            if items.len() == page.limit {
                let more = id != keys.ids.last().copied() || keys.next.is_some();
                return Ok(Paged { next: id.filter(|_| more), items });
            }
        }
        after = keys.next;
        // A walk that found fewer has looked at as much as it may.
        if after.is_none() || seen >= most || keys.ids.len() < wanted {
            return Ok(Paged { items, next: after });
        }
        let found = if items.len() > before { items.len() } else { 0 };
        chunk = next_chunk(chunk, page.limit - items.len(), seen, found);
    }
}

/// How many rows are compared next: half as many again as hold what is missing, if as many agree as have so far; twice as
/// many as before at most, and as soon as none has agreed.
fn next_chunk(chunk: usize, missing: usize, seen: usize, found: usize) -> usize {
    let most = (2 * chunk).min(MOST_ROWS);
    let wanted = (missing * seen * 3).checked_div(2 * found).unwrap_or(most);
    wanted.max(FEWEST_ROWS).min(most)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_that_lacks_a_few_rows_looks_at_a_few_more() {
        // Nearly all agree, a third, and none.
        assert_eq!(next_chunk(50, 3, 50, 47), FEWEST_ROWS);
        assert_eq!(next_chunk(50, 34, 50, 16), 100);
        assert_eq!(next_chunk(100, 9, 150, 41), 49);
        assert_eq!(next_chunk(50, 50, 50, 0), 100);
        assert_eq!(next_chunk(MOST_ROWS, 50, 600, 0), MOST_ROWS);
        assert_eq!(next_chunk(1, 1, 1, 0), 2, "a page of one");
    }
}
