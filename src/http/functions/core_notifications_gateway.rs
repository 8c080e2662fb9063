//! `POST /functions/v1/core_notifications_gateway`: puts a notification into a user's inbox, and answers its id.

use actix_web::{HttpRequest, HttpResponse, web};
use core314_domain::ids::{NotificationId, RowId};
use core314_domain::words::{NotificationType, Severity};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::http::Shared;
use crate::http::ask::{self, Asked};
use crate::http::auth::Role;
use crate::http::notifications::send::{self, Draft, Sent};
use crate::http::openapi::Doc;
use crate::http::problem::Problem;

/// What is to be told. Other fields are ignored.
#[derive(Deserialize, JsonSchema)]
#[schemars(rename = "NotificationsGatewayRequest")]
struct Input {
    rule_id: Option<RowId>,
    #[serde(rename = "type")]
    kind: NotificationType,
    title: String,
    message: String,
    severity: Option<Severity>,
    action_url: Option<String>,
    metadata: Option<Map<String, Value>>,
}

#[derive(Serialize, JsonSchema)]
#[schemars(rename = "NotificationsGatewayAnswer")]
struct View {
    success: bool,
    /// Null where it has not been delivered.
    notification_id: Option<NotificationId>,
    /// Why it has not.
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
}

pub fn doc() -> Doc {
    Doc::role("Puts a notification into a user's inbox.", Role::Operator)
        .body::<Input>()
        .idempotent()
        .ok::<View>("Its id.")
}

pub async fn handle(req: HttpRequest, payload: web::Payload, state: Shared) -> Result<HttpResponse, Problem> {
    let Asked { caller, owner, input, idempotency } = ask::read::<Input>(&req, payload, &state, Role::Operator).await?;
    let Input { rule_id, kind, title, message, severity, action_url, metadata } = input;
    let input = Draft { kind, title, message, severity, action_url, metadata, rule_id };
    let sent = send::send(&state, Asked { caller, owner, input, idempotency }).await?;
    Ok(HttpResponse::Ok().json(match sent {
        Sent::Delivered(id) => View { success: true, notification_id: Some(id), error: None },
        Sent::Failed(why) => View { success: false, notification_id: None, error: Some(why) },
        Sent::Open(run) => {
            let error =
                format!("it is durable, and not delivered yet: GET /api/v1/runs/{} shows how it goes on", run.run);
            View { success: true, notification_id: None, error: Some(error) }
        }
    }))
}
