//! One read, in one snapshot, within a scope.
//!
//! The scope is in every statement. On PostgreSQL the transaction also takes the role of the scope, so that row-level
//! security would stop a statement that forgot it. There pages must come from an index in its order: a young database
//! expects few rows, and would gather and sort all of a tenant's, so that plans which gather or sort are switched off
//! beside those that the session does without.

use std::collections::HashMap;

use core314_actors::ports::resource::Resource;
use core314_actors::ports::views::Filter;
use core314_actors::ports::{Scope, StoreError};
use serde_json::Value;
use sqlx::postgres::{PgArguments, PgRow};
use sqlx::sqlite::{SqliteArguments, SqliteRow};
use sqlx::{Arguments, AssertSqlSafe, FromRow, Row};
use uuid::Uuid;

use super::shape;
use super::statement::{Arg, Dialect, Keyset, Statement};
use crate::store::SqlStore;
use crate::store::connection::Connection;
use crate::store::failure::Failure;

/// The most rows that a page looks at for a filter without an index: what can be read in half the time that a page may take.
pub(super) const SCAN_ROWS: usize = 600;

/// A read under way. Dropping it ends the read.
pub(super) struct Reader {
    scope: Scope,
    pub(super) on: Connection,
    /// What was asked, for the tests of plans.
    #[cfg(test)]
    pub(super) asked: Vec<Statement>,
}

/// A page's ids and where the next one starts.
pub(super) struct Keys {
    pub ids: Vec<Uuid>,
    pub next: Option<Uuid>,
}

impl Reader {
    /// Begins a read.
    pub async fn begin(store: &SqlStore, scope: Scope) -> Result<Self, StoreError> {
        let mut on = store.read(scope).await?;
        if on.is_postgres() {
            on.run("SET LOCAL enable_bitmapscan = off; SET LOCAL enable_sort = off").await?;
        }
        Ok(Self {
            scope,
            on,
            #[cfg(test)]
            asked: Vec::new(),
        })
    }

    pub fn scope(&self) -> Scope {
        self.scope
    }

    pub fn is_tenant(&self) -> bool {
        matches!(self.scope, Scope::Tenant(_))
    }

    /// A statement for this read's database.
    pub fn statement(&self, sql: &str) -> Statement {
        let dialect = if self.on.is_postgres() { Dialect::Postgres } else { Dialect::Sqlite };
        Statement::new(dialect, sql)
    }

    /// The keyset of a list: the scope's tenant first, then `more`, behind `before`.
    pub fn keyset(
        &self,
        tenant: &'static str,
        more: Vec<(&'static str, Arg)>,
        id: &'static str,
        before: Option<Uuid>,
    ) -> Keyset {
        let scope = match self.scope {
            Scope::Tenant(own) => Some((tenant, Arg::Id(own.0))),
            Scope::Platform => None,
        };
        Keyset { equal: scope.into_iter().chain(more).collect(), id, before: before.unwrap_or(Uuid::max()) }
    }

    /// Appends the scope's tenant as one more condition.
    pub fn push_tenant(&self, statement: &mut Statement, column: &str) {
        if let Scope::Tenant(tenant) = self.scope {
            statement.push(" AND ").push(column).push(" = ").bind(Arg::Id(tenant.0));
        }
    }

    /// The rows of a statement, as tuples.
    pub async fn rows<T>(&mut self, statement: Statement) -> Result<Vec<T>, StoreError>
    where
        T: for<'r> FromRow<'r, SqliteRow> + for<'r> FromRow<'r, PgRow> + Send + Unpin,
    {
        #[cfg(test)]
        self.asked.push(statement.clone());
        let found = match &mut self.on {
            Connection::Sqlite(link) => {
                let args = sqlite_arguments(statement.args)?;
                sqlx::query_as_with(AssertSqlSafe(statement.sql), args).fetch_all(&mut ***link).await
            }
            Connection::Postgres(link) => {
                let args = postgres_arguments(statement.args)?;
                sqlx::query_as_with(AssertSqlSafe(statement.sql), args).fetch_all(&mut ***link).await
            }
        };
        found.map_err(failed)
    }

    /// A page of ids, in the order of the index.
    pub async fn keys(&mut self, index: &Index, after: Option<Uuid>, limit: usize) -> Result<Keys, StoreError> {
        let keyset = self.keyset(index.tenant, index.equal.clone(), index.id, after);
        let mut statement = self.statement("SELECT ");
        statement.push(index.id).push(" FROM ").push(index.from).push(" WHERE ");
        if index.is_unique {
            return self.only(statement, &keyset).await;
        }
        statement.push_keyset(&keyset);
        if let Some(condition) = index.condition {
            statement.push(" AND ").push(condition);
        }
        statement.push_order(&keyset, limit + 1);
        let mut ids: Vec<Uuid> = self.rows::<(Uuid,)>(statement).await?.into_iter().map(|(id,)| id).collect();
        let more = ids.len() > limit;
        ids.truncate(limit);
        Ok(Keys { next: ids.last().copied().filter(|_| more), ids })
    }

    /// The page of the one row that a unique index has. With an order to keep, PostgreSQL might prefer the list's index.
    async fn only(&mut self, mut statement: Statement, keyset: &Keyset) -> Result<Keys, StoreError> {
        statement.push_equal(&keyset.equal);
        let mut ids: Vec<Uuid> = self.rows::<(Uuid,)>(statement).await?.into_iter().map(|(id,)| id).collect();
        ids.retain(|id| *id < keyset.before);
        Ok(Keys { ids, next: None })
    }

    /// The condition of a partial index on a column of truth, as the index states it.
    pub fn truth(&self, column: &'static str, is: bool) -> &'static str {
        match (self.on.is_postgres(), column, is) {
            (true, "is_active", true) => "is_active",
            (false, "is_active", true) => "is_active = 1",
            (true, "success", false) => "NOT success",
            (false, "success", false) => "success = 0",
            _ => unreachable!("there is no index on {column} being {is}"),
        }
    }

    /// The contract's rows of a resource, by their stored ids, in the order of these. Rows that the database already
    /// finds to differ from the filter are left out.
    pub async fn by_keys(
        &mut self,
        resource: Resource,
        ids: &[Uuid],
        filter: &Filter,
    ) -> Result<Vec<Value>, StoreError> {
        if ids.is_empty() {
            return Ok(Vec::new());
        }
        let more = |statement: &mut Statement| push_filter(statement, resource, filter);
        let statement = self.select(resource, ids, more);
        let mut items = self.objects(statement).await?;
        let places: HashMap<String, usize> = ids.iter().enumerate().map(|(no, id)| (id.to_string(), no)).collect();
        items.sort_by_cached_key(|item| item["id"].as_str().and_then(|id| places.get(id).copied()));
        Ok(items)
    }

    /// One row of a resource by its stored id.
    pub async fn by_key(&mut self, resource: Resource, id: Uuid) -> Result<Option<Value>, StoreError> {
        Ok(self.by_keys(resource, &[id], &Filter::default()).await?.pop())
    }

    /// The view that gives a resource's rows: on SQLite the widest have one of the program's own, which gives ids and times
    /// as they are stored, because to write them as text in SQL takes about as long as to find the row.
    fn view(&self, resource: Resource) -> &'static str {
        match resource {
            Resource::Executions if !self.on.is_postgres() => "execution_rows",
            Resource::Log if !self.on.is_postgres() => "log_rows",
            _ => resource.view(),
        }
    }

    /// `SELECT` of a view's objects within the scope by their keys, of which no two are the same; `more` appends what else
    /// they must agree with.
    ///
    /// PostgreSQL looks for each of several keys by itself, behind a fence: it knows then that a unique index has one row.
    /// Given all of them as one array it may walk all rows of a tenant, while it has no figures of a young table.
    pub fn select(&self, resource: Resource, keys: &[Uuid], more: impl FnOnce(&mut Statement)) -> Statement {
        let (mut statement, key, end) = match (self.on.is_postgres(), keys) {
            (false, _) => (self.statement("SELECT v.*"), None, ""),
            (true, [_]) => (self.statement("SELECT to_json(v)::text"), None, ""),
            (true, _) => {
                let mut statement = self.statement("SELECT to_json(v)::text FROM unnest(");
                statement.bind(Arg::Ids(keys.to_vec())).push("::uuid[]) AS k (id) CROSS JOIN LATERAL (SELECT *");
                (statement, Some("k.id"), " OFFSET 0) v")
            }
        };
        statement.push(" FROM ").push(self.view(resource)).push(" v WHERE ");
        if let Scope::Tenant(tenant) = self.scope {
            statement.push("v.tenant_key = ").bind(Arg::Id(tenant.0)).push(" AND ");
        }
        match key {
            Some(key) => statement.push("v.row_key = ").push(key),
            None => statement.push_one_of("v.row_key", keys),
        };
        more(&mut statement);
        statement.push(end);
        statement
    }

    /// The objects of a statement of [`Self::select`].
    pub async fn objects(&mut self, statement: Statement) -> Result<Vec<Value>, StoreError> {
        #[cfg(test)]
        self.asked.push(statement.clone());
        match &mut self.on {
            Connection::Sqlite(link) => {
                let args = sqlite_arguments(statement.args)?;
                let query = sqlx::query_with(AssertSqlSafe(statement.sql), args);
                let rows = query.fetch_all(&mut ***link).await.map_err(failed)?;
                rows.iter().map(shape::from_sqlite).collect()
            }
            Connection::Postgres(link) => {
                let args = postgres_arguments(statement.args)?;
                let query = sqlx::query_with(AssertSqlSafe(statement.sql), args);
                let rows = query.fetch_all(&mut ***link).await.map_err(failed)?;
                let texts = rows.iter().map(|row| row.try_get::<String, _>(0).map_err(failed));
                texts.map(|text| shape::from_postgres(&text?)).collect()
            }
        }
    }
}

/// The index that leads through a list.
#[derive(Debug, Clone)]
pub(super) struct Index {
    pub from: &'static str,
    /// The column of the tenant, the index's first.
    pub tenant: &'static str,
    /// The next columns, and what they must equal.
    pub equal: Vec<(&'static str, Arg)>,
    /// The column of the id, the index's last.
    pub id: &'static str,
    /// The condition of a partial index.
    pub condition: Option<&'static str>,
    /// Whether no two rows agree in the tenant and the next columns.
    pub is_unique: bool,
}

impl Index {
    /// All rows of a table, newest first.
    pub const fn newest(from: &'static str) -> Self {
        Self { from, tenant: "tenant_id", equal: Vec::new(), id: "id", condition: None, is_unique: false }
    }
}

/// Appends what the database can compare of a filter: it passes over a row sooner than anybody could read it.
pub(super) fn push_filter(statement: &mut Statement, resource: Resource, filter: &Filter) {
    for (name, value) in filter.columns() {
        if let Some(column) = resource.column(name) {
            statement.push_shown(column, value);
        }
    }
}

/// A filter's text.
pub(super) fn text_of(value: Option<&Value>) -> Option<Arg> {
    value.and_then(Value::as_str).map(|text| Arg::Text(text.to_owned()))
}

/// A filter's id.
pub(super) fn id_of(value: Option<&Value>) -> Option<Arg> {
    uuid_of(value).map(Arg::Id)
}

/// A filter's id, unbound.
pub(super) fn uuid_of(value: Option<&Value>) -> Option<Uuid> {
    value.and_then(Value::as_str).and_then(|text| text.parse().ok())
}

fn sqlite_arguments(args: Vec<Arg>) -> Result<SqliteArguments, StoreError> {
    let mut bound = SqliteArguments::default();
    for arg in args {
        match arg {
            Arg::Id(id) => bound.add(id),
            Arg::Text(text) => bound.add(text),
            Arg::Int(number) => bound.add(number),
            Arg::Ids(_) => unreachable!("only PostgreSQL is given arrays"),
        }
        .map_err(|e| unbindable(&e))?;
    }
    Ok(bound)
}

fn postgres_arguments(args: Vec<Arg>) -> Result<PgArguments, StoreError> {
    let mut bound = PgArguments::default();
    for arg in args {
        match arg {
            Arg::Id(id) => bound.add(id),
            Arg::Text(text) => bound.add(text),
            Arg::Int(number) => bound.add(number),
            Arg::Ids(ids) => bound.add(ids),
        }
        .map_err(|e| unbindable(&e))?;
    }
    Ok(bound)
}

fn unbindable(error: &dyn std::fmt::Display) -> StoreError {
    StoreError::Refused(format!("a value cannot be asked for: {error}"))
}

/// What a failed read means. Statements here bring no values that a table could refuse: a value that the database
/// refuses (SQLSTATE class 22; on SQLite JSON that it cannot read, for which it has no code) is a stored one.
fn failed(error: sqlx::Error) -> StoreError {
    let damaged = error.as_database_error().is_some_and(|e| {
        e.message() == "malformed JSON" || e.code().is_some_and(|code| code.len() == 5 && code.starts_with("22"))
    });
    if damaged {
        return StoreError::Corrupt("a stored value cannot be read by the views".to_owned());
    }
    Failure::from(error).into()
}
