//! `PATCH /api/v1/notifications/{id}`: marks a notification as read, or archives it, as `/read` and `/archive` do.

use actix_web::{HttpRequest, HttpResponse, web};
use core314_actors::ports::notifications::Mark;
use core314_actors::ports::resource::Resource;
use core314_domain::words::NotificationStatus;
use schemars::JsonSchema;
use serde::Deserialize;

use super::set;
use crate::http::ask::{self, Asked};
use crate::http::auth::Role;
use crate::http::openapi::Doc;
use crate::http::problem::Problem;
use crate::http::{Shared, resources};

/// What its user has done with it.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "NotificationMark")]
struct Input {
    /// `read` or `archived`.
    status: NotificationStatus,
}

pub fn doc() -> Doc {
    Doc::role("Marks a notification as read, or archives it.", Role::Viewer)
        .body::<Input>()
        .ok_as("The notification as it is now.", resources::row_schema(Resource::Notifications))
}

pub async fn handle(
    req: HttpRequest,
    payload: web::Payload,
    id: web::Path<String>,
    state: Shared,
) -> Result<HttpResponse, Problem> {
    let asked: Asked<Input> = ask::read(&req, payload, &state, Role::Viewer).await?;
    let mark = match asked.input.status {
        NotificationStatus::Read => Mark::Read,
        NotificationStatus::Archived => Mark::Archived,
        NotificationStatus::Unread => {
            return Err(Problem::field("status", "must be read or archived: a mark never goes back"));
        }
    };
    set(&state, asked.owner.into(), &id, mark).await
}
