//! `GET /api/v1/nodes`: the live nodes of this installation: the one that has the partitions, and those on standby.

use actix_web::{HttpRequest, HttpResponse};
use core314_actors::ports::membership::StoredNode;
use core314_domain::ids::RowId;
use schemars::JsonSchema;
use serde::Serialize;

use crate::http::Shared;
use crate::http::flows::rfc3339;
use crate::http::openapi::{Access, Doc};
use crate::http::page::ListView;
use crate::http::problem::Problem;

/// What a node does.
#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(rename = "NodeState")]
enum NodeState {
    /// It has partitions.
    Active,
    /// It takes over when who has them leaves or dies.
    Standby,
}

/// A node.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "Node")]
struct View {
    id: RowId,
    /// `cluster.node_name`, where it has one.
    name: Option<String>,
    version: String,
    state: NodeState,
    /// Greater than that of every earlier owner of its partitions; null: it has none.
    epoch: Option<i64>,
    started_at: Option<String>,
    /// When its lease was renewed last; on SQLite when it started.
    seen_at: Option<String>,
    partitions: i64,
    environment: String,
}

impl From<StoredNode> for View {
    fn from(node: StoredNode) -> Self {
        Self {
            id: node.id,
            name: Some(node.name).filter(|name| !name.is_empty()),
            version: node.version,
            state: if node.partitions > 0 { NodeState::Active } else { NodeState::Standby },
            epoch: node.epoch,
            started_at: rfc3339(node.started_at_ms),
            seen_at: rfc3339(node.seen_at_ms),
            partitions: node.partitions,
            environment: node.environment,
        }
    }
}

pub fn doc() -> Doc {
    Doc::new("Lists the live nodes of the runtime.", Access::Platform).ok::<ListView<View>>("The nodes.")
}

pub async fn handle(req: HttpRequest, state: Shared) -> Result<HttpResponse, Problem> {
    state.keys.identify(&req).await?.platform_only(req.headers())?;
    let nodes = state.engine.runtime().store.nodes().await?;
    let items: Vec<View> = nodes.into_iter().map(View::from).collect();
    Ok(HttpResponse::Ok().json(ListView { items, next_cursor: None }))
}
