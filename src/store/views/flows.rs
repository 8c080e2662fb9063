//! Flows as `orchestration_flows` shows them: a name is looked up, active flows of a trigger type have their own index.

use core314_actors::ports::views::Filter;
use serde_json::Value;

use super::reader::{Index, Reader, text_of};

/// The index for a filter. The platform sees the flows of all tenants, in no other order than their ids'.
pub(super) fn index(reader: &Reader, filter: &mut Filter) -> Index {
    if reader.is_tenant() {
        if let Some(name) = text_of(filter.get("flow_name")) {
            filter.take("flow_name");
            return Index { equal: vec![("flow_name", name)], is_unique: true, ..Index::newest("flows") };
        }
        if filter.get("is_active") == Some(&Value::Bool(true))
            && let Some(trigger) = text_of(filter.get("trigger_type"))
        {
            filter.take("is_active");
            filter.take("trigger_type");
            let condition = Some(reader.truth("is_active", true));
            return Index { equal: vec![("trigger_type", trigger)], condition, ..Index::newest("flows") };
        }
    }
    Index::newest("flows")
}
