//! Runs as `flow_runs` shows them: status and flow have an index each.

use core314_actors::ports::views::Filter;

use super::reader::{Index, Reader, id_of, text_of};

/// The index for a filter of transitions of phases.
pub(super) fn phases(reader: &Reader, filter: &mut Filter) -> Index {
    if reader.is_tenant()
        && let Some(run) = id_of(filter.get("workflow_id"))
    {
        filter.take("workflow_id");
        return Index { equal: vec![("run_id", run)], ..Index::newest("phase_moves") };
    }
    Index::newest("phase_moves")
}

/// The index for a filter.
pub(super) fn index(reader: &Reader, filter: &mut Filter) -> Index {
    if reader.is_tenant() {
        if let Some(flow) = id_of(filter.get("orchestration_flow_id")) {
            filter.take("orchestration_flow_id");
            return Index { equal: vec![("flow_id", flow)], ..Index::newest("runs") };
        }
        if let Some(key) = text_of(filter.get("run_key")) {
            filter.take("run_key");
            let condition = Some("run_key IS NOT NULL");
            return Index { equal: vec![("run_key", key)], condition, ..Index::newest("runs") };
        }
        if let Some(status) = text_of(filter.get("run_status")) {
            filter.take("run_status");
            return Index { equal: vec![("run_status", status)], id: "run_id", ..Index::newest("run_state") };
        }
    }
    Index::newest("runs")
}
