//! Views as people may see them: payloads that were not sent yet show no secrets either.
//!
//! What an attempt sent is redacted by its executor before it is logged. Until then an execution shows the payload of
//! its flow's document, and the outbox that of its rule, which a query cannot redact: that is done here, by the same
//! executor, on the way out.
//!
//! Invariant: redaction of what is redacted already changes nothing, so that no row need say where its payload is from.

use std::collections::BTreeMap;
use std::sync::Arc;

use core314_domain::ids::{RunId, TenantId};
use core314_domain::stats::Stat;
use serde_json::Value;
use uuid::Uuid;

use crate::ports::executor::Executor;
use crate::ports::resource::Resource;
use crate::ports::views::{Filter, Page, Paged, StatisticsView, Views};
use crate::ports::{BoxFuture, Scope, StoreError};

/// Executors by their action types.
pub type Executors = BTreeMap<&'static str, Arc<dyn Executor>>;

/// Views whose executions show no secrets.
pub struct ShownViews<V> {
    views: Arc<V>,
    executors: Executors,
}

impl<V: Views> ShownViews<V> {
    /// These views, redacted by these executors.
    pub fn new(views: Arc<V>, executors: Executors) -> Self {
        Self { views, executors }
    }

    fn redact(&self, resource: Resource, row: &mut Value) {
        let (action_type, column) = match resource {
            Resource::Executions => (row["action_type"].as_str(), "action_payload"),
            // What an escalation is about to send or do, by the executor that will perform it.
            Resource::Outbox if row["kind"] == "notify" => (Some("send_notification"), "payload"),
            Resource::Outbox if row["channel"] == "create_ticket" => (Some("create_task"), "payload"),
            Resource::Outbox => (row["channel"].as_str(), "payload"),
            _ => return,
        };
        if let Some(executor) = action_type.and_then(|word| self.executors.get(word)) {
            let payload = Arc::new(row[column].take());
            row[column] = Value::clone(&executor.logged(&payload));
        }
    }
}

impl<V: Views> Views for ShownViews<V> {
    fn list(
        &self,
        scope: Scope,
        resource: Resource,
        filter: Filter,
        page: Page,
    ) -> BoxFuture<'_, Result<Paged, StoreError>> {
        Box::pin(async move {
            let mut paged = self.views.list(scope, resource, filter, page).await?;
            paged.items.iter_mut().for_each(|row| self.redact(resource, row));
            Ok(paged)
        })
    }

    fn one(&self, scope: Scope, resource: Resource, id: Uuid) -> BoxFuture<'_, Result<Option<Value>, StoreError>> {
        Box::pin(async move {
            let mut row = self.views.one(scope, resource, id).await?;
            row.iter_mut().for_each(|row| self.redact(resource, row));
            Ok(row)
        })
    }

    fn statistics(
        &self,
        scope: Scope,
        since_ms: i64,
        now_ms: i64,
    ) -> BoxFuture<'_, Result<StatisticsView, StoreError>> {
        self.views.statistics(scope, since_ms, now_ms)
    }

    fn timeline(
        &self,
        scope: Scope,
        since_ms: i64,
        now_ms: i64,
        interval_ms: i64,
    ) -> BoxFuture<'_, Result<Vec<(i64, Stat)>, StoreError>> {
        self.views.timeline(scope, since_ms, now_ms, interval_ms)
    }

    fn deeds(&self, tenant: TenantId, run: RunId, limit: usize) -> BoxFuture<'_, Result<Vec<Value>, StoreError>> {
        self.views.deeds(tenant, run, limit)
    }

    fn slowest(&self, scope: Scope, since_ms: i64, limit: usize) -> BoxFuture<'_, Result<Vec<Value>, StoreError>> {
        self.views.slowest(scope, since_ms, limit)
    }
}

#[cfg(test)]
mod tests {
    use core314_domain::Json;
    use core314_domain::plan::Problem;
    use serde_json::json;

    use super::*;
    use crate::ports::executor::{Attempt, Performed, Target};

    /// Rows of every resource, with a secret.
    struct Rows;

    fn row() -> Value {
        json!({"action_type": "hush", "action_payload": {"token": "s3cret", "n": 1}})
    }

    impl Views for Rows {
        fn list(&self, _: Scope, _: Resource, _: Filter, _: Page) -> BoxFuture<'_, Result<Paged, StoreError>> {
            let unknown = json!({"action_type": "unknown", "action_payload": null});
            Box::pin(async { Ok(Paged { items: vec![row(), unknown], next: None }) })
        }

        fn one(&self, _: Scope, _: Resource, id: Uuid) -> BoxFuture<'_, Result<Option<Value>, StoreError>> {
            Box::pin(async move { Ok((!id.is_nil()).then(row)) })
        }

        fn statistics(&self, _: Scope, since_ms: i64, _: i64) -> BoxFuture<'_, Result<StatisticsView, StoreError>> {
            Box::pin(async move { Ok(StatisticsView { since_ms, by_action_type: Vec::new() }) })
        }

        fn timeline(&self, _: Scope, _: i64, _: i64, _: i64) -> BoxFuture<'_, Result<Vec<(i64, Stat)>, StoreError>> {
            Box::pin(async { Ok(Vec::new()) })
        }

        fn deeds(&self, _: TenantId, _: RunId, _: usize) -> BoxFuture<'_, Result<Vec<Value>, StoreError>> {
            Box::pin(async { Ok(vec![row()]) })
        }

        fn slowest(&self, _: Scope, _: i64, _: usize) -> BoxFuture<'_, Result<Vec<Value>, StoreError>> {
            Box::pin(async { Ok(vec![row()]) })
        }
    }

    struct Hush;

    impl Executor for Hush {
        fn action_type(&self) -> &'static str {
            "hush"
        }

        fn check(&self, _: &Target<'_>, _: &Value) -> Vec<Problem> {
            Vec::new()
        }

        fn execute(&self, _: Attempt) -> BoxFuture<'static, Performed> {
            unreachable!("nothing is performed here")
        }

        fn logged(&self, payload: &Json) -> Json {
            let mut shown = Value::clone(payload);
            shown["token"] = json!("[redacted]");
            shown.into()
        }
    }

    #[tokio::test]
    async fn executions_are_redacted_and_nothing_else_is() {
        let views = ShownViews::new(Arc::new(Rows), BTreeMap::from([("hush", Arc::new(Hush) as Arc<dyn Executor>)]));
        let page = Page { limit: 9, after: None };
        let list = views.list(Scope::Platform, Resource::Executions, Filter::default(), page).await.expect("a page");
        assert_eq!(list.items[0]["action_payload"], json!({"token": "[redacted]", "n": 1}));
        assert_eq!(list.items[1]["action_payload"], json!(null), "of an action that no executor knows");
        let one = views.one(Scope::Platform, Resource::Executions, Uuid::max()).await.expect("an answer");
        assert_eq!(one.expect("a row")["action_payload"]["token"], "[redacted]");
        let nobodys = views.one(Scope::Platform, Resource::Executions, Uuid::nil()).await.expect("an answer");
        assert_eq!(nobodys, None);
        let logged = views.one(Scope::Platform, Resource::Log, Uuid::max()).await.expect("an answer");
        assert_eq!(logged, Some(row()), "the log was redacted when it was written");
    }
}
