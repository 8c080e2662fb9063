//! Events by their status or their rule.

use core314_actors::ports::views::Filter;

use super::reader::{Index, Reader, id_of, text_of};

/// The index for a filter on the status, else on the rule.
pub(super) fn index(reader: &Reader, filter: &mut Filter) -> Index {
    if let Some(status) = text_of(filter.get("status")).filter(|_| reader.is_tenant()) {
        filter.take("status");
        return Index { equal: vec![("status", status)], ..Index::newest("escalations") };
    }
    match id_of(filter.get("escalation_rule_id")).filter(|_| reader.is_tenant()) {
        Some(rule) => {
            filter.take("escalation_rule_id");
            Index { equal: vec![("rule_id", rule)], ..Index::newest("escalations") }
        }
        None => Index::newest("escalations"),
    }
}
