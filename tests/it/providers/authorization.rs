//! An authorization server as OAuth 2.0 describes it: the authorization code (RFC 6749, 4.1) with PKCE by S256 (RFC 7636), a refresh
//! token (RFC 6749, 6), and a resource that takes its tokens (RFC 6750).
//!
//! A code is good once, for the redirect address and the verifier that it was asked with; so is a refresh token.

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use reqwest::Url;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::{Posted, Provider, Reply};

pub const CLIENT: &str = "core314-client";
pub const CLIENT_SECRET: &str = "planted-client-secret-0001";
/// Each refresh token is good once, and brings the next.
pub const REFRESH_TOKEN: &str = "planted-refresh-token";
const ACCESS_TOKEN: &str = "planted-access-token-0001";

pub fn start() -> Arc<Provider> {
    Provider::keep(keeper)
}

/// It keeps what it has given, null once used: `{code, challenge, redirect_uri}` and `{refresh_token}`; and whether it has doubted.
fn keeper(posted: &Posted, codes: &mut Vec<Value>) -> Reply {
    match (posted.method.as_str(), posted.path.as_str()) {
        ("GET", "/authorize") => authorize(posted, codes),
        ("POST", "/token") => token(posted, codes),
        ("GET", "/api/me") if posted.header("authorization") == format!("Bearer {ACCESS_TOKEN}") => {
            Reply::json(200, &json!({"name": "Ann"}))
        }
        ("GET", "/api/doubtful") => doubtful(codes),
        ("GET", "/api/me") => Reply::json(401, &json!({"error": "invalid_token"})),
        _ => Reply::json(404, &json!({"error": "not_found"})),
    }
}

/// A person who says yes, unless the scope is `nothing`.
fn authorize(posted: &Posted, codes: &mut Vec<Value>) -> Reply {
    let query = posted.query();
    let of = |name: &str| query.iter().find(|(known, _)| known == name).map_or("", |(_, value)| value.as_str());
    let Ok(mut back) = Url::parse(of("redirect_uri")) else { return Reply::text(400, "no redirect_uri") };
    let is_sound = of("response_type") == "code"
        && of("client_id") == CLIENT
        && of("code_challenge_method") == "S256"
        && of("code_challenge").len() == 43
        && !of("state").is_empty();
    if !is_sound {
        return Reply::text(400, "invalid_request");
    }
    if of("scope") == "nothing" {
        back.query_pairs_mut().append_pair("error", "access_denied").append_pair("state", of("state"));
        return Reply::redirect(back.into());
    }
    let code = format!("code-{}", codes.len());
    codes.push(json!({"code": code, "challenge": of("code_challenge"), "redirect_uri": of("redirect_uri")}));
    back.query_pairs_mut().append_pair("code", &code).append_pair("state", of("state"));
    Reply::redirect(back.into())
}

/// It takes no token at the first time, whichever it is.
fn doubtful(codes: &mut Vec<Value>) -> Reply {
    let doubted = json!("doubted");
    if codes.contains(&doubted) {
        return Reply::json(200, &json!({"name": "Ann"}));
    }
    codes.push(doubted);
    Reply::json(401, &json!({"error": "invalid_token"}))
}

fn next_token(codes: &mut Vec<Value>) -> Value {
    let token = json!(format!("{REFRESH_TOKEN}-{:04}", codes.len()));
    codes.push(json!({"refresh_token": token}));
    token
}

fn token(posted: &Posted, codes: &mut Vec<Value>) -> Reply {
    let body = String::from_utf8_lossy(&posted.body).into_owned();
    let form = Url::parse(&format!("http://form/?{body}")).expect("a form");
    let of = |name: &str| form.query_pairs().find(|(known, _)| known == name).map(|(_, value)| value.into_owned());
    let proof = format!("Basic {}", STANDARD.encode(format!("{CLIENT}:{CLIENT_SECRET}")));
    if posted.header("authorization") != proof {
        return Reply::json(401, &json!({"error": "invalid_client"}));
    }
    let invalid = || Reply::json(400, &json!({"error": "invalid_grant"}));
    let grant = match of("grant_type").as_deref() {
        Some("authorization_code") => {
            let Some(found) = codes.iter_mut().find(|kept| kept["code"] == json!(of("code"))) else { return invalid() };
            let kept = found.take();
            let challenge = URL_SAFE_NO_PAD.encode(Sha256::digest(of("code_verifier").unwrap_or_default()));
            if kept["challenge"] != json!(challenge) || kept["redirect_uri"] != json!(of("redirect_uri")) {
                return invalid();
            }
            json!({"refresh_token": next_token(codes)})
        }
        Some("refresh_token") => {
            let Some(kept) = codes.iter_mut().find(|kept| kept["refresh_token"] == json!(of("refresh_token"))) else {
                return invalid();
            };
            kept.take();
            json!({"refresh_token": next_token(codes)})
        }
        _ => return Reply::json(400, &json!({"error": "unsupported_grant_type"})),
    };
    let mut answer = json!({"access_token": ACCESS_TOKEN, "token_type": "Bearer", "expires_in": 3600});
    answer.as_object_mut().expect("an object").extend(grant.as_object().expect("an object").clone());
    Reply::json(200, &answer)
}
