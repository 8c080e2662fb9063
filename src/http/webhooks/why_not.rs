//! `GET /api/v1/webhooks/{id}/deliveries/{delivery}/why-not`: why a delivery started nothing of its own.

use actix_web::{HttpRequest, HttpResponse, web};
use core314_domain::words::DeliveryStatus;
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::Value;

use super::{deliveries, find};
use crate::http::Shared;
use crate::http::auth::Role;
use crate::http::openapi::Doc;
use crate::http::problem::Problem;

/// Why a delivery started nothing.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "WhyNotStarted")]
struct View {
    delivery_status: String,
    /// In words.
    detail: String,
    /// For each flow that was asked: `flow_id`, `flow_name`, and the `clause` of its conditions that does not hold.
    why_not: Value,
    /// The run that it, or its first copy, started.
    run_ids: Value,
}

pub fn doc() -> Doc {
    Doc::role(
        "Says why a delivery started nothing: for each flow that was asked, the clause that failed.",
        Role::Viewer,
    )
    .ok::<View>("The reasons.")
}

pub async fn handle(
    req: HttpRequest,
    path: web::Path<(String, String)>,
    state: Shared,
) -> Result<HttpResponse, Problem> {
    let scope = state.keys.identify(&req).await?.read(req.headers())?;
    let (webhook, delivery) = path.into_inner();
    let webhook = find(&state, scope, &webhook).await?;
    let row = deliveries::one(&state, &webhook, &delivery).await?;
    Ok(HttpResponse::Ok().json(view(&row)))
}

fn view(row: &Value) -> View {
    let status = row["delivery_status"].as_str().unwrap_or_default();
    let asked = row["why_not"].as_array().map_or(0, Vec::len);
    let detail = match status.parse() {
        Ok(DeliveryStatus::Accepted) => "it started a run".to_owned(),
        Ok(DeliveryStatus::Duplicate) => "it was delivered before, and its first copy started a run".to_owned(),
        Ok(DeliveryStatus::NoMatch) if asked == 0 => {
            "the tenant had no active flow of the webhook's trigger".to_owned()
        }
        Ok(DeliveryStatus::NoMatch) => format!("the conditions of none of the {asked} flows that were asked held"),
        Ok(DeliveryStatus::Failed) | Err(_) => row["error"].as_str().unwrap_or("it failed").to_owned(),
    };
    let copy = |name: &str| row[name].clone();
    View { delivery_status: status.to_owned(), detail, why_not: copy("why_not"), run_ids: copy("run_ids") }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn each_status_has_its_reason() {
        let detail = |row: Value| view(&row).detail;
        assert!(detail(json!({"delivery_status": "no_match", "why_not": []})).contains("no active flow"));
        assert!(detail(json!({"delivery_status": "no_match", "why_not": [{}, {}]})).contains("2 flows"));
        assert_eq!(detail(json!({"delivery_status": "failed", "error": "broken"})), "broken");
        assert!(detail(json!({"delivery_status": "duplicate"})).contains("before"));
    }
}
