//! `GET /api/v1/nodes`: the nodes of this installation. There is one, until several can share a database.

use actix_web::{HttpRequest, HttpResponse};
use core314_domain::ids::{RowId, uuid_ms};
use schemars::JsonSchema;
use serde::Serialize;

use crate::http::Shared;
use crate::http::flows::rfc3339;
use crate::http::openapi::{Access, Doc};
use crate::http::page::ListView;
use crate::http::problem::Problem;

/// A node.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "Node")]
struct View {
    id: RowId,
    version: &'static str,
    /// Greater than that of every earlier owner of its partitions.
    epoch: i64,
    started_at: Option<String>,
    partitions: usize,
    environment: String,
}

pub fn doc() -> Doc {
    Doc::new("Lists the nodes of the runtime.", Access::Platform).ok::<ListView<View>>("The nodes.")
}

pub async fn handle(req: HttpRequest, state: Shared) -> Result<HttpResponse, Problem> {
    state.keys.identify(&req).await?.platform_only(req.headers())?;
    let runtime = state.engine.runtime();
    let node = View {
        id: runtime.node,
        version: env!("CARGO_PKG_VERSION"),
        epoch: runtime.epoch,
        // The id was made at the start.
        started_at: rfc3339(uuid_ms(runtime.node.0)),
        partitions: state.engine.partitions().len(),
        environment: runtime.environment.to_string(),
    };
    Ok(HttpResponse::Ok().json(ListView { items: vec![node], next_cursor: None }))
}
