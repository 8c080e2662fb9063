//! Statements that are put together from fixed texts and bound values, and the keyset that a page continues by.
//!
//! A keyset is equalities of an index's leading columns and a bound on its last, on both stores. That PostgreSQL follows
//! the index, and not the primary key with the tenant as a filter, is because it keeps no statistics of tenants (ADR 011).

use core314_actors::ports::resource::{Column, Kind};
use serde_json::Value;
use uuid::Uuid;

/// Which database a statement is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Dialect {
    Sqlite,
    Postgres,
}

/// A bound value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Arg {
    Id(Uuid),
    Text(String),
    Int(i64),
    /// Only on PostgreSQL, which takes them as one array.
    Ids(Vec<Uuid>),
}

/// A statement in the making. Its text comes from this program alone; what callers give is bound.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Statement {
    pub dialect: Dialect,
    pub sql: String,
    pub args: Vec<Arg>,
}

impl Statement {
    pub fn new(dialect: Dialect, sql: &str) -> Self {
        Self { dialect, sql: sql.to_owned(), args: Vec::new() }
    }

    pub fn push(&mut self, sql: &str) -> &mut Self {
        self.sql.push_str(sql);
        self
    }

    /// Appends a placeholder for the value.
    pub fn bind(&mut self, arg: Arg) -> &mut Self {
        self.args.push(arg);
        let place = format!("${}", self.args.len());
        self.push(&place)
    }

    /// Appends placeholders for the values, with commas between them.
    pub fn bind_all(&mut self, args: impl IntoIterator<Item = Arg>) -> &mut Self {
        for (i, arg) in args.into_iter().enumerate() {
            if i > 0 {
                self.push(", ");
            }
            self.bind(arg);
        }
        self
    }

    /// Appends that a column is one of these ids. PostgreSQL gets one array, so that every number of ids is the same
    /// statement, planned once; but for one id it gets that, because it knows then that a unique index has one row, and
    /// without figures of a young table it may walk all rows of a tenant for an array.
    pub fn push_one_of(&mut self, column: &str, ids: &[Uuid]) -> &mut Self {
        match (self.dialect, ids) {
            (Dialect::Postgres, [id]) => self.push(column).push(" = ").bind(Arg::Id(*id)),
            (Dialect::Postgres, _) => self.push(column).push(" = ANY(").bind(Arg::Ids(ids.to_vec())).push(")"),
            (Dialect::Sqlite, _) => self.push_in(column, ids.iter().copied().map(Arg::Id).collect()),
        }
    }

    /// Appends that a column is one of these values. The last one is repeated up to a power of two, so that all numbers of
    /// values are a few statements: to prepare one for a wide view takes SQLite about as long as to find a page with it.
    pub fn push_in(&mut self, column: &str, mut args: Vec<Arg>) -> &mut Self {
        if let Some(last) = args.last().cloned() {
            args.resize(args.len().next_power_of_two(), last);
        }
        self.push(column).push(" IN (").bind_all(args).push(")")
    }

    /// Appends that a column of a view equals what the API shows, where both databases compare as the API does. Other
    /// kinds are left to whoever compares the row.
    pub fn push_shown(&mut self, column: &Column, value: &Value) -> &mut Self {
        let arg = match (column.kind, value) {
            (Kind::Id, Value::String(text)) => return self.push_id(column, text),
            (Kind::Text | Kind::Word(_), Value::String(text)) => Some(Arg::Text(text.clone())),
            (Kind::Integer, Value::Number(number)) => number.as_i64().map(Arg::Int),
            (Kind::Boolean, Value::Bool(is)) => {
                return self.push(if *is { " AND v." } else { " AND NOT v." }).push(column.name);
            }
            _ => None,
        };
        match arg {
            // SQLite gives a number out of a document's JSON where the API shows its text, and finds the two different.
            Some(arg) if column.kind == Kind::Text && self.dialect == Dialect::Sqlite => {
                self.push(" AND CAST(v.").push(column.name).push(" AS TEXT) = ").bind(arg)
            }
            Some(arg) => self.push(" AND v.").push(column.name).push(" = ").bind(arg),
            None => self,
        }
    }

    /// Appends that a column shows this id. On SQLite a view gives an id as text, or as it is stored.
    fn push_id(&mut self, column: &Column, text: &str) -> &mut Self {
        let id = text.parse().ok().map(Arg::Id);
        match (self.dialect, id) {
            (Dialect::Postgres, Some(id)) => self.push(" AND v.").push(column.name).push(" = ").bind(id),
            (Dialect::Postgres, None) => self,
            (Dialect::Sqlite, id) => {
                let args = std::iter::once(Arg::Text(text.to_owned())).chain(id);
                self.push(" AND v.").push(column.name).push(" IN (").bind_all(args).push(")")
            }
        }
    }

    /// Appends that columns equal their values.
    pub fn push_equal(&mut self, equal: &[(&'static str, Arg)]) -> &mut Self {
        for (no, (name, value)) in equal.iter().enumerate() {
            self.push(if no > 0 { " AND " } else { "" }).push(name).push(" = ").bind(value.clone());
        }
        self
    }

    /// Appends the bound of a page: the rows behind the keyset's position.
    pub fn push_keyset(&mut self, keyset: &Keyset) -> &mut Self {
        self.push_equal(&keyset.equal).push(if keyset.equal.is_empty() { "" } else { " AND " });
        self.push(keyset.id).push(" < ").bind(Arg::Id(keyset.before))
    }

    /// Appends the keyset's order, newest first, and a limit. The limit is not bound, so that the planner knows it.
    pub fn push_order(&mut self, keyset: &Keyset, limit: usize) -> &mut Self {
        self.push(&format!(" ORDER BY {} DESC LIMIT {limit}", keyset.id))
    }
}

/// Where a page starts: rows that agree in the leading columns of an index, behind an id.
#[derive(Debug, Clone)]
pub(super) struct Keyset {
    /// The leading columns and what they must equal.
    pub equal: Vec<(&'static str, Arg)>,
    /// The column of the id, the index's last.
    pub id: &'static str,
    /// Only smaller ids.
    pub before: Uuid,
}

#[cfg(test)]
mod tests {
    use core314_actors::ports::resource::Resource;

    use super::*;

    fn page(equal: Vec<(&'static str, Arg)>) -> (String, usize) {
        let keyset = Keyset { equal, id: "id", before: Uuid::max() };
        let mut statement = Statement::new(Dialect::Postgres, "SELECT id FROM runs WHERE ");
        statement.push_keyset(&keyset).push_order(&keyset, 50);
        (statement.sql, statement.args.len())
    }

    #[test]
    fn a_page_is_bounded_by_its_index_s_columns() {
        let sql = "SELECT id FROM runs WHERE tenant_id = $1 AND id < $2 ORDER BY id DESC LIMIT 50";
        assert_eq!(page(vec![("tenant_id", Arg::Id(Uuid::nil()))]), (sql.to_owned(), 2));
    }

    #[test]
    fn without_leading_columns_it_goes_by_id() {
        assert_eq!(page(Vec::new()), ("SELECT id FROM runs WHERE id < $1 ORDER BY id DESC LIMIT 50".to_owned(), 1));
    }

    #[test]
    fn an_id_is_the_database_s_to_look_for_in_each_form_that_it_has() {
        let id = Uuid::from_u128(9);
        let column = Resource::Log.column("flow_run_id").expect("a column");
        for (dialect, sql, args) in [
            (Dialect::Postgres, " AND v.flow_run_id = $1", vec![Arg::Id(id)]),
            (Dialect::Sqlite, " AND v.flow_run_id IN ($1, $2)", vec![Arg::Text(id.to_string()), Arg::Id(id)]),
        ] {
            let mut statement = Statement::new(dialect, "");
            statement.push_shown(column, &id.to_string().into());
            assert_eq!((statement.sql.as_str(), statement.args), (sql, args));
        }
    }

    #[test]
    fn sqlite_has_one_statement_for_many_numbers_of_ids() {
        let of = |count: u128| {
            let mut statement = Statement::new(Dialect::Sqlite, "");
            statement.push_one_of("v.row_key", &(1..=count).map(Uuid::from_u128).collect::<Vec<_>>());
            statement
        };
        assert_eq!(of(3).sql, "v.row_key IN ($1, $2, $3, $4)");
        assert_eq!(of(3).args, [1, 2, 3, 3].map(|n| Arg::Id(Uuid::from_u128(n))));
        assert_eq!((of(4).sql, of(1).sql.as_str()), (of(3).sql, "v.row_key IN ($1)"));
        assert_eq!(of(0).sql, "v.row_key IN ()");
    }
}
