//! `GET /api/v1/notifications`: the user's notifications, newest first.

use actix_web::{HttpRequest, HttpResponse};
use core314_actors::ports::notifications::NotificationFilter;

use core314_actors::ports::resource::Resource;
use core314_domain::words::{NotificationStatus, NotificationType, Severity};

use super::audience;
use crate::http::auth::Role;
use crate::http::openapi::Doc;
use crate::http::problem::Problem;
use crate::http::query::Query;
use crate::http::{Shared, page, resources};

pub fn doc() -> Doc {
    Doc::role("Lists the user's notifications, newest first.", Role::Viewer)
        .query::<NotificationStatus>("status", "Answered by an index where it is `unread`.")
        .query::<NotificationType>("type", "Looked for row by row.")
        .query::<Severity>("severity", "Looked for row by row.")
        .page()
        .ok_as("A page.", resources::page_schema(Resource::Notifications))
}

pub async fn handle(req: HttpRequest, state: Shared) -> Result<HttpResponse, Problem> {
    let audience = audience(&state, &req).await?;
    let mut query = Query::of(&req)?;
    let filter = NotificationFilter {
        status: query.optional("status"),
        kind: query.optional("type"),
        severity: query.optional("severity"),
    };
    let page = page::wanted(&mut query, &state.settings);
    query.finish()?;
    Ok(page::answer(state.notifications.list(audience, filter, page).await?))
}
