//! What every answer must be, whatever was asked.

use std::time::Duration;

use reqwest::StatusCode;
use serde_json::Value;

use super::schema::misfit;
use super::shot::{Operation, Reply, Shot};
use super::world::Role;

/// An answer takes no longer, unless it waits for an action's result.
const PATIENCE: Duration = Duration::from_secs(5);
/// Waits for the result of the action, which may be held.
pub const WAITING: &str = "/functions/v1/execute-action";

const MEMBERS: [&str; 7] = ["type", "title", "status", "detail", "instance", "code", "request_id"];

/// Everything that is wrong with an answer.
pub fn faults(root: &Value, operation: &Operation, shot: &Shot, reply: &Reply) -> Vec<String> {
    let mut faults = Vec::new();
    let mut expect = |holds: bool, fault: String| {
        if !holds {
            faults.push(fault);
        }
    };
    let status = reply.status.as_u16();
    let is_same_method = shot.method == operation.method || (shot.method == "HEAD" && operation.method == "GET");
    let documented = operation.document["responses"].get(reply.status.as_str());
    let by_routing =
        (!shot.is_good && matches!(status, 404 | 405)) || (!is_same_method && (status == 204 || status == 405));
    expect(documented.is_some() || by_routing || !is_same_method, format!("{status} is not documented"));
    let is_excused = reply.status == StatusCode::SERVICE_UNAVAILABLE && header(reply, "retry-after").is_some();
    let is_readiness = operation.path == "/readyz" && status == 503;
    expect(!reply.status.is_server_error() || is_excused || is_readiness, format!("{status} is the server's fault"));
    expect(reply.took < PATIENCE || operation.path == WAITING, format!("took {:?}", reply.took));
    expect(header(reply, "x-request-id").is_some(), "no X-Request-Id".to_owned());
    let text = String::from_utf8_lossy(&reply.body);
    for role in Role::ALL.iter().filter(|role| role.user().is_some() && role.mark() != shot.role.mark()) {
        let may_see = shot.role == Role::Platform || !text.contains(role.mark());
        expect(may_see, format!("shows what is {}'s", role.mark()));
    }
    let is_foreign = shot.names_row_of.is_some_and(|mark| mark != shot.role.mark());
    let reached = is_foreign && shot.role != Role::Platform && reply.status.is_success() && shot.method != "OPTIONS";
    expect(!reached, "reaches a row of another tenant".to_owned());
    faults.extend(needed_headers(reply));
    faults.extend(wrong_access(operation, shot, reply));
    if shot.method != "HEAD" {
        faults.extend(if reply.status.is_success() || is_readiness {
            documented.filter(|_| is_same_method).and_then(|documented| wrong_body(root, documented, reply))
        } else {
            wrong_problem(root, reply)
        });
    }
    // What a delivery must be is its provider's affair: the description cannot say it.
    let is_delivery = shot.target.starts_with("/hooks/");
    if shot.is_good && !is_delivery && matches!(status, 400 | 405 | 408 | 413 | 415) {
        faults.push(format!("{status} for what the description asks for"));
    }
    faults
}

fn header<'a>(reply: &'a Reply, name: &str) -> Option<&'a str> {
    reply.headers.get(name).and_then(|value| value.to_str().ok())
}

/// A header that goes with the status, and is missing.
fn needed_headers(reply: &Reply) -> Option<String> {
    let name = match reply.status.as_u16() {
        401 => "www-authenticate",
        405 => "allow",
        429 => "retry-after",
        _ => return None,
    };
    header(reply, name).is_none().then(|| format!("{} without {name}", reply.status))
}

/// Whoever may not do it is told so, and never gets it done.
fn wrong_access(operation: &Operation, shot: &Shot, reply: &Reply) -> Option<String> {
    let needed = operation.needs()?;
    let suffices = match needed {
        "platform" => shot.role == Role::Platform,
        needed => shot.role.suffices(needed),
    };
    let is_asked = shot.method == operation.method;
    if suffices || !is_asked {
        return None;
    }
    let refusal = if shot.role == Role::Nobody { 401 } else { 403 };
    let is_refused = reply.status.as_u16() == refusal;
    let is_fine = if shot.is_good { is_refused } else { reply.status.is_client_error() };
    (!is_fine).then(|| format!("{:?} gets {} where {needed} is needed", shot.role, reply.status))
}

fn wrong_body(root: &Value, documented: &Value, reply: &Reply) -> Option<String> {
    let Some(content) = documented["content"].as_object() else {
        return (!reply.body.is_empty()).then(|| "a body where none is documented".to_owned());
    };
    let given = header(reply, "content-type").unwrap_or("");
    let essence = given.split(';').next().unwrap_or_default();
    let Some(media) = content.get(given).or_else(|| content.get(essence)) else {
        return Some(format!("{given} is not documented"));
    };
    if !essence.ends_with("json") {
        return std::str::from_utf8(&reply.body).is_err().then(|| "no text".to_owned());
    }
    match serde_json::from_slice(&reply.body) {
        Ok(body) => misfit(root, &media["schema"], &body, ""),
        Err(error) => Some(format!("no JSON: {error}")),
    }
}

fn wrong_problem(root: &Value, reply: &Reply) -> Option<String> {
    let given = header(reply, "content-type").unwrap_or("");
    if given != "application/problem+json" {
        return Some(format!("a problem as {given}"));
    }
    let body: Value = match serde_json::from_slice(&reply.body) {
        Ok(body) => body,
        Err(error) => return Some(format!("no JSON: {error}")),
    };
    let missing = MEMBERS.iter().find(|member| body.get(**member).is_none());
    let code = body["code"].as_str().unwrap_or_default();
    let is_whole = body["status"] == reply.status.as_u16()
        && body["request_id"].as_str() == header(reply, "x-request-id")
        && body["type"] == format!("/problems/{}", code.replace('_', "-"));
    match missing {
        Some(member) => Some(format!("a problem without {member}")),
        None if !is_whole => Some(format!("a problem that contradicts itself: {body}")),
        None => misfit(root, &root["components"]["schemas"]["Problem"], &body, ""),
    }
}
