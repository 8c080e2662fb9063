//! `GET /api/v1/notifications`: the user's notifications, newest first.

use actix_web::{HttpRequest, HttpResponse};
use core314_actors::ports::notifications::NotificationFilter;

use super::audience;
use crate::http::problem::Problem;
use crate::http::query::Query;
use crate::http::{Shared, page};

pub async fn handle(req: HttpRequest, state: Shared) -> Result<HttpResponse, Problem> {
    let audience = audience(&state, req.headers())?;
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
