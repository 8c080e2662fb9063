//! A server, a receiver, and clients that ask as somebody.

use std::sync::Arc;
use std::time::{Duration, Instant};

use jsonwebtoken::{EncodingKey, Header, encode, get_current_timestamp};
use reqwest::header::HeaderMap;
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::sink::Sink;
use crate::support::{Installation, JWT_SECRET, SERVICE_KEY, Server, StoreKind};

/// Longer than any story takes; a story that does not go on ends here, and says where it stood.
const PATIENCE: Duration = Duration::from_secs(90);

pub struct Bed {
    pub installation: Installation,
    pub server: Server,
    pub sink: Arc<Sink>,
}

/// How a client proves who it is.
#[derive(Debug, Clone, Copy)]
enum Credential {
    ServiceKey,
    UserToken,
}

/// Somebody who asks.
pub struct Client<'b> {
    server: &'b Server,
    credential: Credential,
    pub user: Uuid,
}

/// What came back.
#[derive(Debug)]
pub struct Answer {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub body: Value,
}

impl Answer {
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
    }
}

impl Bed {
    pub async fn start(kind: StoreKind) -> Self {
        Self::start_with(kind, &[]).await
    }

    pub async fn start_with(kind: StoreKind, environment: &[(&str, String)]) -> Self {
        let installation = Installation::new(kind).await;
        let server = Server::start_with(&installation, environment).expect("the server becomes ready");
        Self { installation, server, sink: Sink::start() }
    }

    /// The server dies, and another one takes up what it leaves.
    pub fn restart(&mut self) {
        self.server.kill();
        self.server = Server::start_with(&self.installation, &[]).expect("the server becomes ready");
    }

    fn client(&self, credential: Credential, number: u128) -> Client<'_> {
        let user = Uuid::from_u128(0x0190_a000_0000_7000_8000_0000_0000_0100 + number);
        Client { server: &self.server, credential, user }
    }

    /// Two users: one for whom a service key acts, one with a token.
    pub fn clients(&self) -> [Client<'_>; 2] {
        [self.client(Credential::ServiceKey, 1), self.client(Credential::UserToken, 2)]
    }

    /// Users that nothing belongs to, one of each kind.
    pub fn strangers(&self) -> [Client<'_>; 2] {
        [self.client(Credential::ServiceKey, 3), self.client(Credential::UserToken, 4)]
    }

    /// A step that posts to the receiver.
    pub fn call(&self, id: &str) -> Value {
        let payload =
            json!({"method": "POST", "url": format!("{}/{id}", self.sink.url), "json": {"host": "{{ trigger.host }}"}});
        json!({"id": id, "config": {"action_type": "api_call", "action_target": "receiver", "action_payload": payload}})
    }

    /// A flow of such steps, one after the other, each tried twice.
    pub fn flow(&self, name: &str, steps: &[&str]) -> Value {
        let steps: Vec<Value> = steps.iter().map(|id| self.call(id)).collect();
        json!({"flow_name": name, "trigger_type": "manual", "flow_steps": steps,
            "retry_policy": {"max_attempts": 2, "backoff_seconds": 0.05, "jitter": "none"}})
    }
}

impl<'b> Client<'b> {
    /// A user for whom a service key acts, at whatever server.
    pub fn of(server: &'b Server, user: Uuid) -> Self {
        Self { server, credential: Credential::ServiceKey, user }
    }
}

impl Client<'_> {
    fn request(&self, method: Method, url: String) -> reqwest::RequestBuilder {
        let request = self.server.http.request(method, url);
        match self.credential {
            Credential::ServiceKey => request.bearer_auth(SERVICE_KEY).header("X-User-Id", self.user.to_string()),
            Credential::UserToken => request.bearer_auth(self.token()),
        }
    }

    /// A POST whose answer may be lost with the server.
    pub async fn lost(&self, path: &str) {
        let sent = self.request(Method::POST, format!("{}{path}", self.server.url)).json(&json!({})).send().await;
        drop(sent);
    }

    /// A POST of a body of this type.
    pub async fn post_as(&self, path: &str, media_type: &str, body: String) -> Answer {
        self.post_raw(path, &[("content-type", media_type)], body).await
    }

    /// A POST of this body with these headers, to a path or a whole URL.
    pub async fn post_raw(&self, target: &str, headers: &[(&str, &str)], body: String) -> Answer {
        let is_path = target.starts_with('/');
        let url = if is_path { format!("{}{target}", self.server.url) } else { target.to_owned() };
        let request = self.request(Method::POST, url);
        let request = headers.iter().fold(request, |request, (name, value)| request.header(*name, *value));
        answer(request.body(body)).await
    }

    pub async fn ask(&self, method: Method, path: &str, body: Option<&Value>, headers: &[(&str, &str)]) -> Answer {
        let mut request = self.request(method, format!("{}{path}", self.server.url));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        if let Some(body) = body {
            request = request.json(body);
        }
        answer(request).await
    }

    fn token(&self) -> String {
        let claims = json!({"sub": self.user, "exp": get_current_timestamp() + 600});
        encode(&Header::default(), &claims, &EncodingKey::from_secret(JWT_SECRET.as_bytes())).expect("a token")
    }

    /// A GET that must succeed.
    pub async fn get(&self, path: &str) -> Value {
        let answer = self.ask(Method::GET, path, None, &[]).await;
        assert_eq!(answer.status, StatusCode::OK, "GET {path}: {}", answer.body);
        answer.body
    }

    /// The items of a list's first page.
    pub async fn items(&self, path: &str) -> Vec<Value> {
        self.get(path).await["items"].as_array().expect("a list has items").clone()
    }

    /// A POST that must be answered so.
    pub async fn post(&self, path: &str, body: Value, status: u16) -> Value {
        let answer = self.ask(Method::POST, path, Some(&body), &[]).await;
        assert_eq!(answer.status.as_u16(), status, "POST {path}: {}", answer.body);
        answer.body
    }

    /// Saves a flow, and gives its id.
    pub async fn save(&self, flow: &Value) -> String {
        let saved = self.post("/api/v1/flows", flow.clone(), 201).await;
        saved["id"].as_str().expect("an id").to_owned()
    }

    /// Starts a run, and gives what was accepted.
    pub async fn start(&self, flow: &str) -> Started {
        let body = json!({"trigger_context": {"host": "web-1"}});
        Started(self.post(&format!("/api/v1/flows/{flow}/trigger"), body, 202).await)
    }

    /// Reads a row until it is as it should be.
    pub async fn until(&self, path: &str, is_so: impl Fn(&Value) -> bool) -> Value {
        let started = Instant::now();
        loop {
            let row = self.get(path).await;
            if is_so(&row) {
                return row;
            }
            assert!(started.elapsed() < PATIENCE, "{path} stays {row:#}");
        }
    }

    /// Reads an execution until it has this status.
    pub async fn execution(&self, id: &str, status: &str) -> Value {
        self.until(&format!("/api/v1/executions/{id}"), |row| row["execution_status"] == status).await
    }

    /// Reads a run until it has this status.
    pub async fn run(&self, id: &str, status: &str) -> Value {
        self.until(&format!("/api/v1/runs/{id}"), |row| row["run_status"] == status).await
    }
}

async fn answer(request: reqwest::RequestBuilder) -> Answer {
    let response = request.send().await.expect("the server answers");
    let (status, headers) = (response.status(), response.headers().clone());
    let text = response.text().await.expect("a text");
    Answer { status, headers, body: serde_json::from_str(&text).unwrap_or(Value::String(text)) }
}

/// A run as it was accepted.
pub struct Started(pub Value);

impl Started {
    pub fn id(&self) -> &str {
        self.0["id"].as_str().expect("a run has an id")
    }

    /// The id of its execution at this place.
    pub fn execution(&self, place: usize) -> &str {
        self.0["execution_queue_ids"][place].as_str().expect("a run has executions")
    }
}

/// Some columns of a row, or what pointers lead to in it, in the order of their names.
pub fn pick(row: &Value, columns: &str) -> Value {
    let value = |column: &str| row.get(column).or_else(|| row.pointer(column));
    columns.split_whitespace().map(|column| value(column).cloned().unwrap_or_default()).collect()
}
