//! `GET /healthz`: the process lives and answers. It asks nobody, so a slow store never gets a live process killed.

use actix_web::HttpResponse;
use schemars::JsonSchema;
use serde::Serialize;

use crate::http::openapi::{Access, Doc};

#[derive(Serialize, JsonSchema)]
#[schemars(rename = "Health")]
struct View {
    status: &'static str,
}

pub fn doc() -> Doc {
    Doc::new("Whether the process lives.", Access::Open).ok::<View>("It does.")
}

pub async fn handle() -> HttpResponse {
    HttpResponse::Ok().json(View { status: "alive" })
}
