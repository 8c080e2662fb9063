//! `POST /api/v1/secrets/rotate-key`: encrypts the next batch of all tenants' secrets with the key of now. The caller comes
//! back with `next` until there is none; who was interrupted begins again.

use std::str::FromStr;

use actix_web::{HttpRequest, HttpResponse, web};
use core314_actors::engine::RotationPlace;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::http::openapi::{Access, Doc};
use crate::http::problem::Problem;
use crate::http::{Shared, body, input};

/// Where to go on.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "RotationStep")]
struct Input {
    /// What the step before answered; absent: from the beginning.
    next: Option<String>,
}

#[derive(Serialize, JsonSchema)]
#[schemars(rename = "RotationProgress")]
struct View {
    /// Secrets that were encrypted with the key of now.
    resealed: usize,
    /// Secrets that neither the key of now nor the one before opens; the log names them.
    unreadable: usize,
    /// Where the next step goes on; null: that was the last.
    next: Option<String>,
}

pub fn doc() -> Doc {
    Doc::new("Encrypts the next batch of all secrets with the key of now.", Access::Platform)
        .optional_body::<Input>()
        .ok::<View>("What this step has done.")
}

pub async fn handle(req: HttpRequest, payload: web::Payload, state: Shared) -> Result<HttpResponse, Problem> {
    let credential = state.keys.identify(&req).await?;
    credential.platform_only(req.headers())?;
    let (_, value) = body::read_json_or_nothing(&req, payload, &state.settings).await?;
    let input: Input = input::read(value)?;
    let caller = credential.act(req.headers(), None)?;
    let from = input.next.as_deref().map_or(Ok(RotationPlace::Secrets(None)), place)?;
    let done = state.engine.rotate_batch(from, caller.by).await?;
    Ok(HttpResponse::Ok().json(View {
        resealed: done.resealed,
        unreadable: done.unreadable,
        next: done.next.map(shown),
    }))
}

fn shown(place: RotationPlace) -> String {
    let (list, after) = match place {
        RotationPlace::Secrets(after) => ("secrets", after),
        RotationPlace::Webhooks(after) => ("webhooks", after),
    };
    format!("{list}:{}", after.map(|id| id.to_string()).unwrap_or_default())
}

fn place(text: &str) -> Result<RotationPlace, Problem> {
    let wrong = || Problem::field("next", "must be what the step before answered");
    let (list, after) = text.split_once(':').ok_or_else(wrong)?;
    let after = if after.is_empty() { None } else { Some(Uuid::from_str(after).map_err(|_| wrong())?) };
    match list {
        "secrets" => Ok(RotationPlace::Secrets(after)),
        "webhooks" => Ok(RotationPlace::Webhooks(after)),
        _ => Err(wrong()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_reads_back() {
        for at in [
            RotationPlace::Secrets(None),
            RotationPlace::Secrets(Some(Uuid::from_u128(7))),
            RotationPlace::Webhooks(Some(Uuid::from_u128(8))),
        ] {
            assert_eq!(place(&shown(at)), Ok(at));
        }
        for text in ["", "secrets", "secrets:x", "flows:"] {
            assert!(place(text).is_err(), "{text}");
        }
    }
}
