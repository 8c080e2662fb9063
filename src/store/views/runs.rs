//! Runs as `flow_runs` shows them.

use core314_actors::ports::StoreError;
use core314_actors::ports::views::{Page, Paged, RunFilter};

use super::reader::{Filter, Reader};
use super::statement::Arg;

/// A page of runs, newest first. Status and flow have an index each; together, the flow's runs are looked at.
pub(super) async fn list(reader: &mut Reader, filter: RunFilter, page: Page) -> Result<Paged, StoreError> {
    let status = filter.run_status.map(|s| Arg::Text(s.as_str().to_owned()));
    let flow = filter.flow.map(|f| Arg::Id(f.0));
    let platform = !reader.is_tenant();
    let mut rest = Filter::default();
    let (from, tenant, equal, id) = match (status, flow) {
        (Some(status), None) if !platform => ("run_state", "tenant_id", vec![("run_status", status)], "run_id"),
        (None, Some(flow)) if !platform => ("runs", "tenant_id", vec![("flow_id", flow)], "id"),
        (Some(status), flow) => {
            rest.hits.push(("s.run_status", status));
            let equal = match flow {
                Some(flow) if platform => {
                    rest.hits.push(("r.flow_id", flow));
                    Vec::new()
                }
                flow => flow.into_iter().map(|flow| ("r.flow_id", flow)).collect(),
            };
            ("runs r JOIN run_state s ON s.run_id = r.id", "r.tenant_id", equal, "r.id")
        }
        (None, flow) => {
            rest.hits.extend(flow.map(|flow| ("flow_id", flow)));
            ("runs", "tenant_id", Vec::new(), "id")
        }
    };
    let keyset = reader.keyset(tenant, equal, id, page.after);
    let keys = reader.keys(from, &keyset, &rest, page.limit).await?;
    Ok(Paged { items: reader.by_keys("flow_runs", &keys.ids).await?, next: keys.next })
}
