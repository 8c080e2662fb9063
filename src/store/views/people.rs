//! What people see of themselves.

use core314_actors::ports::views::Filter;

use super::reader::{Index, Reader, id_of};

/// The rows of a person have an index of their own.
pub(super) fn of_user(reader: &Reader, filter: &mut Filter, from: &'static str) -> Index {
    let user = id_of(filter.get("user_id")).filter(|_| reader.is_tenant());
    let Some(user) = user else { return Index::newest(from) };
    filter.take("user_id");
    Index { equal: vec![("user_id", user)], ..Index::newest(from) }
}
