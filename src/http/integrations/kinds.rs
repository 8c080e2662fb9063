//! `GET /api/v1/integrations/kinds`: what integrations can connect to, and what each needs.

use actix_web::{HttpRequest, HttpResponse};
use core314_domain::integration::{Field, Kind};
use schemars::JsonSchema;
use serde::Serialize;

use crate::http::Shared;
use crate::http::auth::Role;
use crate::http::openapi::Doc;
use crate::http::problem::Problem;

#[derive(Serialize, JsonSchema)]
#[schemars(rename = "IntegrationKinds")]
struct View {
    items: Vec<KindView>,
}

#[derive(Serialize, JsonSchema)]
#[schemars(rename = "IntegrationKind")]
struct KindView {
    kind: &'static str,
    about: &'static str,
    /// `required`, `none`, or the address that is used where none is given.
    endpoint: &'static str,
    credentials: Vec<FieldView>,
    settings: Vec<FieldView>,
}

#[derive(Serialize, JsonSchema)]
#[schemars(rename = "IntegrationField")]
struct FieldView {
    name: &'static str,
    about: &'static str,
    is_required: bool,
}

impl From<&Kind> for KindView {
    fn from(kind: &Kind) -> Self {
        let view = |field: &Field| FieldView { name: field.name, about: field.about, is_required: field.is_required };
        Self {
            kind: kind.word,
            about: kind.about,
            endpoint: kind.endpoint.map_or("none", |of| of.default.unwrap_or("required")),
            credentials: kind.credentials.iter().map(view).collect(),
            settings: kind.settings.iter().map(view).collect(),
        }
    }
}

pub fn doc() -> Doc {
    Doc::role("Lists what integrations can connect to, and what each kind needs.", Role::Viewer)
        .ok::<View>("The kinds, by their words.")
}

pub async fn handle(req: HttpRequest, state: Shared) -> Result<HttpResponse, Problem> {
    state.keys.identify(&req).await?.read(req.headers())?;
    let items = state.engine.kinds().into_iter().map(KindView::from).collect();
    Ok(HttpResponse::Ok().json(View { items }))
}
