//! What a handler that changes something needs of its request: who acts, for whom, and what they sent.
//!
//! The body may name the user for whom a service key acts (`user_id`), whatever else it holds.

use actix_web::{HttpRequest, web};
use core314_actors::flow_run::Remark;
use core314_actors::ingress::IdempotencyRequest;
use core314_domain::ids::{Owner, UserId};
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::auth::{Caller, Role};
use super::problem::Problem;
use super::{State, body, idempotency, input};

/// A request that changes something.
pub struct Asked<T> {
    pub caller: Caller,
    /// Who owns what is written.
    pub owner: Owner,
    pub input: T,
    /// The caller's own name for the request.
    pub idempotency: Option<IdempotencyRequest>,
}

impl<T> Asked<T> {
    /// Who acts, for logs and the audit.
    pub fn remark(&self) -> Remark {
        Remark { by: Some(self.caller.by.as_str().into()), ..Remark::default() }
    }
}

/// Reads a request of somebody with at least this role. A body that is left out is an empty object.
pub async fn read<T: DeserializeOwned>(
    req: &HttpRequest,
    payload: web::Payload,
    state: &State,
    role: Role,
) -> Result<Asked<T>, Problem> {
    let credential = state.keys.identify(req).await?;
    credential.allows(role)?;
    let (bytes, mut value) = body::read_json_or_nothing(req, payload, &state.settings).await?;
    let user = take_user(&mut value)?;
    let caller = credential.act(req.headers(), user)?;
    let owner = caller.owner()?;
    let idempotency = idempotency::of_request(req, &bytes)?;
    Ok(Asked { caller, owner, input: input::read(value)?, idempotency })
}

/// Takes `user_id` out of a body.
pub fn take_user(body: &mut Value) -> Result<Option<UserId>, Problem> {
    let user = body.as_object_mut().and_then(|fields| fields.remove("user_id")).filter(|user| !user.is_null());
    user.map(|user| serde_json::from_value(user).map_err(|error| Problem::field("user_id", error.to_string())))
        .transpose()
}

/// A body without fields.
#[derive(serde::Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "Nothing")]
pub struct Nothing {}
