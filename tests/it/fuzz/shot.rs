//! One request of the fuzzer: how it is made, sent, and written down so that a person can repeat it.

use std::fmt::Write as _;
use std::time::{Duration, Instant};

use rand::Rng;
use rand::seq::IndexedRandom;
use reqwest::header::{HeaderMap, HeaderValue};
use reqwest::{Method, StatusCode};
use serde_json::Value;

use super::generate::Source;
use super::mutate::{ODD_HEADERS, ODD_WORDS};
use super::world::Role;
use crate::support::Server;

/// No answer by then is a fault of its own.
const MOST: Duration = Duration::from_secs(10);

/// An operation of the description.
pub struct Operation {
    pub method: String,
    pub path: String,
    pub document: Value,
}

impl Operation {
    /// All that the description has.
    pub fn all(root: &Value) -> Vec<Self> {
        let paths = root["paths"].as_object().expect("paths");
        let each = paths.iter().flat_map(|(path, operations)| {
            operations.as_object().expect("operations").iter().map(move |(method, document)| Self {
                method: method.to_ascii_uppercase(),
                path: path.clone(),
                document: document.clone(),
            })
        });
        each.collect()
    }

    fn parameters(&self, place: &str) -> Vec<&Value> {
        let all = self.document["parameters"].as_array().expect("parameters");
        all.iter().filter(|parameter| parameter["in"] == place).collect()
    }

    /// The role that is needed, by the description's words; `None` where anybody may come.
    pub fn needs(&self) -> Option<&str> {
        let is_open = self.document["security"].as_array().is_some_and(Vec::is_empty);
        let words = self.document["description"].as_str().unwrap_or("");
        let role = words.split('`').nth(1).unwrap_or("platform");
        (!is_open).then_some(role)
    }
}

/// A request.
pub struct Shot {
    pub role: Role,
    pub method: String,
    /// Path and query, as they go over the wire.
    pub target: String,
    pub headers: Vec<(String, Vec<u8>)>,
    pub body: Option<Vec<u8>>,
    /// Whether all of it is as the description asks for.
    pub is_good: bool,
    /// The mark of the tenant whose row the path names.
    pub names_row_of: Option<&'static str>,
}

/// What came back.
pub struct Reply {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub body: Vec<u8>,
    pub took: Duration,
}

/// The text as a path or a query holds it.
fn encoded(text: &str) -> String {
    text.bytes().fold(String::new(), |mut out, byte| {
        if byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte) {
            out.push(char::from(byte));
        } else {
            write!(out, "%{byte:02X}").expect("a String takes everything");
        }
        out
    })
}

impl Source<'_> {
    /// A request as the description asks for.
    pub fn good_shot(&mut self, operation: &Operation) -> Shot {
        let mut shot = Shot {
            role: self.role,
            method: operation.method.clone(),
            target: operation.path.clone(),
            headers: self.role.headers(),
            body: None,
            is_good: true,
            names_row_of: None,
        };
        for parameter in operation.parameters("path") {
            let name = parameter["name"].as_str().expect("a name");
            let (value, mark) = self.path_value(operation, name);
            shot.names_row_of = shot.names_row_of.or(mark);
            shot.target = shot.target.replace(&format!("{{{name}}}"), &encoded(&value));
        }
        let mut query = Vec::new();
        for parameter in operation.parameters("query") {
            let name = parameter["name"].as_str().expect("a name");
            // Cursors come from answers alone: what a schema can say of them does not make one.
            if name != "cursor" && self.rng.random_bool(0.15) {
                let value = self.value(&parameter["schema"], "", 0);
                let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
                query.push(format!("{name}={}", encoded(&text)));
            }
        }
        if !query.is_empty() {
            shot.target = format!("{}?{}", shot.target, query.join("&"));
        }
        for parameter in operation.parameters("header") {
            let name = parameter["name"].as_str().expect("a name");
            if let Some(value) = self.header_value(name).filter(|_| self.rng.random_bool(0.3)) {
                shot.headers.push((name.to_owned(), value.into_bytes()));
            }
        }
        if let Some((media_type, body)) = self.good_body(operation) {
            let is_yaml = media_type.ends_with("yaml");
            let text = if is_yaml { serde_norway::to_string(&body).expect("YAML") } else { body.to_string() };
            shot.headers.push(("Content-Type".to_owned(), media_type.into_bytes()));
            shot.body = Some(text.into_bytes());
        }
        shot
    }

    /// A request with something wrong in it.
    pub fn odd_shot(&mut self, operation: &Operation) -> Shot {
        let mut shot = self.good_shot(operation);
        shot.is_good = false;
        let good = self.good_body(operation);
        match (self.rng.random_range(0..10), good) {
            (0..6, Some((media_type, good))) => {
                let (body, media_type) = self.hostile_body(&good, &media_type);
                shot.headers.retain(|(name, _)| name != "Content-Type");
                shot.headers.push(("Content-Type".to_owned(), media_type.into_bytes()));
                shot.body = Some(body);
            }
            (6, _) => self.odd_header(operation, &mut shot),
            (7, _) => {
                const METHODS: [&str; 6] = ["HEAD", "OPTIONS", "PUT", "TRACE", "DELETE", "X-ODD"];
                shot.method = self.one(&METHODS).to_owned();
            }
            (8, _) if operation.path.contains('{') => {
                let mut path = operation.path.clone();
                for parameter in operation.parameters("path") {
                    let name = parameter["name"].as_str().expect("a name");
                    path = path.replace(&format!("{{{name}}}"), ODD_WORDS.choose(self.rng).expect("some"));
                }
                shot.target = path;
                shot.names_row_of = None;
            }
            _ => {
                let known = operation.parameters("query");
                let names: Vec<String> = known.iter().filter_map(|p| Some(p["name"].as_str()?.to_owned())).collect();
                let path = shot.target.split('?').next().unwrap_or_default();
                shot.target = format!("{path}?{}", self.odd_query(&names));
            }
        }
        shot
    }

    fn odd_header(&mut self, operation: &Operation, shot: &mut Shot) {
        let known = operation.parameters("header");
        let mut names: Vec<&str> = known.iter().filter_map(|parameter| parameter["name"].as_str()).collect();
        names.extend(["Content-Encoding", "X-Request-Id", "traceparent", "Accept", "Origin", "webhook-id"]);
        let name = self.one(&names).to_owned();
        let value = (*ODD_HEADERS.choose(self.rng).expect("some")).to_vec();
        if self.rng.random_bool(0.5) {
            shot.headers.retain(|(known, _)| *known != name);
        }
        shot.headers.push((name, value));
    }

    fn good_body(&mut self, operation: &Operation) -> Option<(String, Value)> {
        let content = operation.document["requestBody"]["content"].as_object()?;
        let names: Vec<&String> = content.keys().collect();
        let media_type = (*names.choose(self.rng)?).clone();
        let body = self.value(&content[&media_type]["schema"], "", 0);
        Some((media_type, body))
    }

    /// A value of a path, and the mark of the tenant whose row it names.
    fn path_value(&mut self, operation: &Operation, name: &str) -> (String, Option<&'static str>) {
        let world = self.world;
        match name {
            "webhook_id" => (world.webhooks.choose(self.rng).expect("there are some").0.clone(), None),
            // Secrets are a tenant's own: only its people know them.
            "secret" => {
                let own = world.webhooks.iter().find(|(_, _, mark)| *mark == self.role.mark());
                (own.map_or_else(|| "wrong".to_owned(), |(_, secret, _)| secret.clone()), None)
            }
            "path" => (world.actors.choose(self.rng).expect("there are some").clone(), None),
            "slug" => (self.one(&["busy", "not-found", "none"]).to_owned(), None),
            _ => {
                let kind = operation.path.split('/').nth(3).unwrap_or_default().to_owned();
                let id = self.id(&kind);
                let mark = world.known.iter().find(|known| known.id == id).map(|known| known.mark);
                (id, mark)
            }
        }
    }

    fn header_value(&mut self, name: &str) -> Option<String> {
        match name {
            "Idempotency-Key" => Some(format!("{}-{}", self.role.mark(), self.rng.random_range(0..50))),
            "Prefer" => Some(self.one(&["wait=1", "wait=0, respond-async", "return=minimal"]).to_owned()),
            "If-Match" => Some(self.one(&["\"1\"", "*", "\"7\""]).to_owned()),
            _ => None,
        }
    }
}

impl Shot {
    /// Sends it. An error says how the server failed to answer.
    pub async fn send(&self, server: &Server) -> Result<Reply, String> {
        let method = Method::from_bytes(self.method.as_bytes()).expect("a method is a token");
        let mut request = server.http.request(method, format!("{}{}", server.url, self.target));
        for (name, value) in &self.headers {
            if let Ok(value) = HeaderValue::from_bytes(value) {
                request = request.header(name, value);
            }
        }
        if let Some(body) = &self.body {
            request = request.body(body.clone());
        }
        request = request.timeout(MOST);
        let started = Instant::now();
        let answer = request.send().await.map_err(|error| format!("no answer: {error:?}"))?;
        let (status, headers) = (answer.status(), answer.headers().clone());
        let is_endless =
            headers.get("content-type").is_some_and(|media| media.as_bytes().starts_with(b"text/event-stream"));
        if is_endless {
            return Ok(Reply { status, headers, body: Vec::new(), took: started.elapsed() });
        }
        let body = answer.bytes().await.map_err(|error| format!("half an answer: {error:?}"))?.to_vec();
        Ok(Reply { status, headers, body, took: started.elapsed() })
    }

    /// The same as a line for a shell.
    pub fn curl(&self, url: &str) -> String {
        let mut line =
            format!("curl -i --path-as-is -X {} {}", self.method, quoted(format!("{url}{}", self.target).as_bytes()));
        for (name, value) in &self.headers {
            let header = [name.as_bytes(), b": ", value].concat();
            write!(line, " -H {}", quoted(&header)).expect("a String takes everything");
        }
        if let Some(body) = &self.body {
            write!(line, " --data-binary {}", quoted(body)).expect("a String takes everything");
        }
        line
    }
}

/// The bytes as bash reads them; a long middle is left out.
fn quoted(bytes: &[u8]) -> String {
    const MOST: usize = 4_000;
    let shown = &bytes[..bytes.len().min(MOST)];
    let text: String = shown.iter().flat_map(|byte| std::ascii::escape_default(*byte)).map(char::from).collect();
    let rest = bytes.len() - shown.len();
    let note = if rest > 0 { format!(" # and {rest} bytes more") } else { String::new() };
    format!("$'{text}'{note}")
}
