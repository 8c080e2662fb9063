//! Flows as `orchestration_flows` shows them.

use core314_actors::ports::StoreError;
use core314_actors::ports::views::{FlowFilter, Page, Paged};

use super::reader::{Filter, Reader};
use super::statement::{Arg, Dialect};

/// A page of flows, newest first. A name is looked up; active flows of a trigger type have their own index.
pub(super) async fn list(reader: &mut Reader, filter: FlowFilter, page: Page) -> Result<Paged, StoreError> {
    let mut rest = Filter::default();
    let mut equal = Vec::new();
    let within = reader.is_tenant();
    let by_trigger = within && filter.flow_name.is_none() && filter.is_active == Some(true);
    match filter.trigger_type.map(|t| Arg::Text(t.as_str().to_owned())) {
        Some(trigger) if by_trigger => {
            equal.push(("trigger_type", trigger));
            let sqlite = reader.statement("").dialect == Dialect::Sqlite;
            rest.indexed = Some(if sqlite { "is_active = 1" } else { "is_active" });
        }
        trigger => {
            rest.hits.extend(trigger.map(|t| ("trigger_type", t)));
            rest.flags.extend(filter.is_active.map(|active| ("is_active", active)));
        }
    }
    if let Some(name) = filter.flow_name {
        // At most one flow of a tenant has it; the platform sees those of all tenants.
        let name = Arg::Text(name);
        if within { equal.push(("flow_name", name)) } else { rest.hits.push(("flow_name", name)) }
    }
    let keyset = reader.keyset("tenant_id", equal, "id", page.after);
    let keys = reader.keys("flows", &keyset, &rest, page.limit).await?;
    Ok(Paged { items: reader.by_keys("orchestration_flows", &keys.ids).await?, next: keys.next })
}
