//! Everybody who may knock at a server: users by token, programs by key.

use jsonwebtoken::{Algorithm, EncodingKey, Header, encode, get_current_timestamp};
use reqwest::{Method, RequestBuilder, StatusCode};
use serde_json::{Value, json};

use crate::support::{JWT_SECRET, SERVICE_KEY, Server};

/// Owns what the tests try to reach, as admin of an organization.
pub const OWNER: &str = "0190a000-0000-7000-8000-0000000000a1";
pub const ORGANIZATION: &str = "0190a000-0000-7000-8000-0000000000f1";
/// Admin of a tenant of their own.
pub const STRANGER: &str = "0190a000-0000-7000-8000-0000000000b2";

/// Credentials, and the headers that go with them.
#[derive(Debug, Clone)]
pub struct Caller {
    pub name: &'static str,
    pub bearer: String,
    pub headers: Vec<(&'static str, String)>,
}

impl Caller {
    pub fn new(name: &'static str, bearer: impl Into<String>) -> Self {
        Self { name, bearer: bearer.into(), headers: Vec::new() }
    }

    pub fn with(mut self, header: &'static str, value: impl Into<String>) -> Self {
        self.headers.push((header, value.into()));
        self
    }

    /// The organization's owner.
    pub fn owner() -> Self {
        Self::member("owner", OWNER, "admin")
    }

    /// A member of the organization.
    pub fn member(name: &'static str, user: &str, role: &str) -> Self {
        Self::new(name, token(&json!({"sub": user, "org": ORGANIZATION, "role": role})))
    }

    /// The platform key that names no user.
    pub fn platform() -> Self {
        Self::new("platform", SERVICE_KEY)
    }

    /// The same stranger by each way in.
    pub async fn strangers(server: &Server) -> [Self; 3] {
        let by_token = Self::new("a stranger's token", token(&json!({"sub": STRANGER})));
        let made =
            by_token.send(server, Method::POST, "/api/v1/tokens", Some(json!({"name": "k", "roles": ["admin"]})));
        let (status, made) = made.await;
        assert_eq!(status, StatusCode::CREATED, "{made}");
        let by_key = Self::new("a stranger's key", made["key"].as_str().expect("a key"));
        [by_token, by_key, Self::new("a platform key for a stranger", SERVICE_KEY).with("X-User-Id", STRANGER)]
    }

    pub fn request(&self, server: &Server, method: Method, path: &str) -> RequestBuilder {
        let request = server.http.request(method, format!("{}{path}", server.url)).bearer_auth(&self.bearer);
        self.headers.iter().fold(request, |request, (name, value)| request.header(*name, value))
    }

    /// Sends a request; an answer without JSON is its text.
    pub async fn send(&self, server: &Server, method: Method, path: &str, body: Option<Value>) -> (StatusCode, Value) {
        let request = self.request(server, method, path);
        let request = body.into_iter().fold(request, |request, body| request.json(&body));
        let answer = request.send().await.expect("the server answers");
        let status = answer.status();
        let text = answer.text().await.expect("a body");
        (status, serde_json::from_str(&text).unwrap_or(Value::String(text)))
    }

    /// The items of a list that fits on a page.
    pub async fn list(&self, server: &Server, path: &str) -> Vec<Value> {
        let (status, page) = self.send(server, Method::GET, &format!("{path}?limit=500"), None).await;
        assert_eq!(status, StatusCode::OK, "{} GET {path}: {page}", self.name);
        assert_eq!(page["next_cursor"], Value::Null, "{path} fits on a page");
        page["items"].as_array().expect("a list has items").clone()
    }
}

/// A user token with these claims, valid for ten minutes.
pub fn token(claims: &Value) -> String {
    let mut claims = claims.clone();
    if claims.get("exp").is_none() {
        claims["exp"] = json!(get_current_timestamp() + 600);
    }
    encode(&Header::new(Algorithm::HS256), &claims, &EncodingKey::from_secret(JWT_SECRET.as_bytes())).expect("signs")
}
