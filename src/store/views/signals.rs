//! Decisions and recommendations by their status, memories by their subject, metrics by their name.

use core314_actors::ports::views::Filter;

use super::reader::{Index, Reader, id_of, text_of};

/// The index for a filter on the status.
pub(super) fn by_status(reader: &Reader, filter: &mut Filter, table: &'static str) -> Index {
    by_text(reader, filter, table, "status")
}

/// The index for a filter on the name of the metric.
pub(super) fn by_name(reader: &Reader, filter: &mut Filter) -> Index {
    by_text(reader, filter, "metrics", "metric_name")
}

fn by_text(reader: &Reader, filter: &mut Filter, table: &'static str, column: &'static str) -> Index {
    match text_of(filter.get(column)).filter(|_| reader.is_tenant()) {
        Some(text) => {
            filter.take(column);
            Index { equal: vec![(column, text)], ..Index::newest(table) }
        }
        None => Index::newest(table),
    }
}

/// The index for a filter on what was tried.
pub(super) fn by_subject(reader: &Reader, filter: &mut Filter) -> Index {
    match id_of(filter.get("subject_id")).filter(|_| reader.is_tenant()) {
        Some(subject) => {
            filter.take("subject_id");
            Index { equal: vec![("subject_id", subject)], ..Index::newest("memories") }
        }
        None => Index::newest("memories"),
    }
}
