//! `GET /api/openapi.json`: the API's own description, made from the table that the server is built from.

use std::sync::LazyLock;

use actix_web::HttpResponse;
use serde_json::{Map, Value};

use crate::http::openapi::{Access, Doc};

/// The description as it is served and committed.
pub static DESCRIPTION: LazyLock<String> = LazyLock::new(|| {
    let description = crate::http::routes().description();
    serde_json::to_string_pretty(&description).expect("a description has text keys") + "\n"
});

pub fn doc() -> Doc {
    Doc::new("The description of this API: OpenAPI 3.1.", Access::Open).ok::<Map<String, Value>>("The description.")
}

pub async fn handle() -> HttpResponse {
    HttpResponse::Ok().content_type("application/json").body(DESCRIPTION.as_str())
}
