//! `api_call`: any HTTP request.
//!
//! The same reading of the payload serves the check of a document and the attempt, so that what was accepted can be
//! sent, except for what only rendering brings to light. Each page of an answer in pages is a request of its own, which is
//! authenticated anew.

mod body;
mod extract;
mod operation;
mod paging;

use std::borrow::Cow;
use std::sync::Arc;
use std::time::{Duration, Instant};

use core314_actors::ports::BoxFuture;
use core314_actors::ports::consent::Consents;
use core314_actors::ports::executor::{Attempt, Executor, Performed, Target, Trial};
use core314_actors::ports::integration::Integration;
use core314_domain::Json;
use core314_domain::integration::Kind;
use core314_domain::log::{Failure, HttpFigures};
use core314_domain::plan::Problem;
use reqwest::Method;
use reqwest::header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use serde_json::{Value, json};

use super::client::{Call, Download, HttpClient, Statuses, invalid, performed};
use super::connect::oauth::{self, Tokens};
use super::connect::{Address, auth, http};
use super::failure::Code;
use super::payload::{Reader, Reading, kind};
use super::redact::Redactor;
use extract::Wanted;
use paging::Page;
pub use paging::{Paging, Place};

const KEYS: [&str; 12] = [
    "method",
    "url",
    "path",
    "headers",
    "query",
    "json",
    "form",
    "multipart",
    "body",
    "expected_status",
    "paging",
    "extract",
];
/// The header by which the other side can tell a repetition (draft-ietf-httpapi-idempotency-key-header).
pub const IDEMPOTENCY_KEY: &str = "idempotency-key";
/// The header by which the other side can put its own part into the run's trace (W3C Trace Context).
pub const TRACEPARENT: &str = "traceparent";
/// Headers that belong to the connection. `Host` is among them because the outbound rules judge the host of the URL.
const CONNECTION_HEADERS: [&str; 9] = [
    "connection",
    "content-length",
    "host",
    "keep-alive",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

/// Sends HTTP requests.
#[derive(Debug)]
pub struct ApiCall {
    http: Arc<HttpClient>,
    tokens: Arc<Tokens>,
}

impl ApiCall {
    /// An executor that shares a client, and the tokens that services give it.
    pub fn new(http: Arc<HttpClient>, tokens: Arc<Tokens>) -> Self {
        Self { http, tokens }
    }
}

impl Executor for ApiCall {
    fn action_type(&self) -> &'static str {
        "api_call"
    }

    fn kinds(&self) -> &'static [&'static Kind] {
        &[&http::KIND, &operation::KIND]
    }

    fn consents(&self) -> Option<&dyn Consents> {
        Some(self.http.as_ref())
    }

    /// What `test_path` names, or the endpoint itself, is asked for.
    fn trial(&self, integration: &Integration) -> Option<Trial> {
        let path = integration.definition.text("test_path").unwrap_or_default();
        self.kinds()
            .iter()
            .any(|kind| kind.word == integration.kind)
            .then(|| Trial::Action(json!({"path": path, "expected_status": ["2xx", "3xx"]})))
    }

    fn check(&self, target: &Target<'_>, payload: &Value) -> Vec<Problem> {
        let custom = target.integration.filter(|found| found.kind == operation::KIND.word);
        let settings = custom.map(|found| &found.definition.settings);
        let payload = match operation::expand(payload, Reading::Document, settings) {
            Ok(None) if payload.get("operation").is_some() => return Vec::new(),
            Ok(expanded) => expanded.map_or(Cow::Borrowed(payload), Cow::Owned),
            Err(problems) => return problems,
        };
        let most_pages = Some(self.http.bounds().max_pages);
        read(&payload, Reading::Document, Address::of_target(target), most_pages).err().unwrap_or_default()
    }

    fn logged(&self, payload: &Json) -> Json {
        Redactor::new(payload).logged_payload()
    }

    fn execute(&self, attempt: Attempt) -> BoxFuture<'static, Performed> {
        let (http, tokens) = (self.http.clone(), self.tokens.clone());
        Box::pin(async move {
            let connection = attempt.connection.as_deref();
            let address = Address::of_endpoint(connection);
            let mut redactor = Redactor::of(&attempt);
            let mut figures = None;
            let custom = connection.filter(|found| found.kind.word == operation::KIND.word);
            let asked = operation::expand(&attempt.payload, Reading::Rendered, custom.map(|found| &found.settings));
            let asked = asked.and_then(|expanded| {
                let payload = expanded.as_ref().unwrap_or(&attempt.payload);
                read(payload, Reading::Rendered, address, Some(http.bounds().max_pages))
            });
            let outcome = match asked {
                Err(problems) => Err(invalid(&problems)),
                Ok(request) => {
                    let mut request = request.expect("a rendered payload without problems has a URL");
                    mark(&mut request.call, &attempt);
                    let mut caller = Caller::new((&http, &tokens), &attempt, &mut redactor, &mut figures);
                    caller.perform(request).await
                }
            };
            performed(outcome, &redactor, figures)
        })
    }
}

/// What each attempt sends beside what its payload says.
pub fn mark(call: &mut Call, attempt: &Attempt) {
    let key = HeaderValue::from_str(&attempt.idempotency_key()).expect("an id is visible ASCII");
    call.headers.entry(IDEMPOTENCY_KEY).or_insert(key);
    call.headers.entry(TRACEPARENT).or_insert(trace_of(attempt));
}

/// A call that only reads, in the trace of the attempt's run.
pub fn traced(call: &Call, attempt: &Attempt) -> Call {
    let mut call = call.clone();
    call.headers.entry(TRACEPARENT).or_insert(trace_of(attempt));
    call
}

/// The attempt's place in the trace of its run, as a header says it.
pub fn trace_of(attempt: &Attempt) -> HeaderValue {
    HeaderValue::from_str(&attempt.trace().to_string()).expect("digits are visible ASCII")
}

/// A payload that was read.
#[derive(Debug)]
pub struct Asked {
    pub call: Call,
    pub paging: Option<Paging>,
    wanted: Wanted,
}

/// A page, and where the next one is.
pub struct Turned {
    /// What came, without the items.
    output: Value,
    pub items: Vec<Value>,
    pub next: Option<Place>,
}

/// What an exchange gives.
enum Answered {
    Whole(Value),
    Open(Box<Download>),
}

/// Sends the requests of one attempt.
pub struct Caller<'a> {
    http: &'a HttpClient,
    tokens: &'a Tokens,
    attempt: &'a Attempt,
    redactor: &'a mut Redactor,
    figures: &'a mut Option<HttpFigures>,
    ends_at: Instant,
    /// Nothing has been sent yet: the whole time of the attempt is left.
    is_first: bool,
}

impl<'a> Caller<'a> {
    /// With the integration that the attempt has as its `connection`.
    pub fn new(
        (http, tokens): (&'a HttpClient, &'a Tokens),
        attempt: &'a Attempt,
        redactor: &'a mut Redactor,
        figures: &'a mut Option<HttpFigures>,
    ) -> Self {
        let ends_at = Instant::now() + attempt.timeout;
        Self { http, tokens, attempt, redactor, figures, ends_at, is_first: true }
    }

    async fn perform(&mut self, asked: Asked) -> Result<Value, Failure> {
        let output = match &asked.paging {
            None => self.send(asked.call).await?,
            Some(paging) => self.pages(&asked.call, paging).await?,
        };
        extract::apply(&asked.wanted, output)
    }

    /// Page after page, as one output. All of them together have the size and the time of one answer.
    async fn pages(&mut self, call: &Call, paging: &Paging) -> Result<Value, Failure> {
        let most_bytes = self.http.bounds().max_response_bytes as i64;
        let (mut place, mut all, mut sum) = (paging.first(&call.url), Vec::new(), Figures::default());
        loop {
            let turned = self.turn(call, paging, &place).await;
            sum.add(self.figures.as_mut());
            let Turned { mut output, items, next } = turned?;
            if sum.response_bytes > most_bytes {
                return Err(Code::ResponseTooLarge.failure(format!("the pages have more than {most_bytes} bytes")));
            }
            all.extend(items);
            let pages = place.pages + 1;
            match next {
                Some(next) if pages < paging.max_pages => place = next,
                next => {
                    output["body"] = Value::Array(all);
                    output["pages"] = json!(pages);
                    output["next"] = json!(next.map(|place| place.url.to_string()));
                    return Ok(output);
                }
            }
        }
    }

    /// The page at a place.
    pub async fn turn(&mut self, call: &Call, paging: &Paging, place: &Place) -> Result<Turned, Failure> {
        let endpoint = self.attempt.connection.as_ref().and_then(|connection| connection.endpoint.clone());
        let mut output = self.send(Call { url: place.url.clone(), ..call.clone() }).await?;
        // What leads on may stand beside the items: it is read before they are taken out.
        let page = output.clone();
        let items = paging.take_items(&mut output)?;
        let page = Page { url: &place.url, headers: &page["headers"], body: &page["body"] };
        let so_far = (place.pages + 1, place.items + items.len() as u64);
        let next = paging.next(&page, endpoint.as_deref(), (so_far.0, so_far.1 as usize, items.len()))?;
        let next = next.map(|url| Place { url, pages: so_far.0, items: so_far.1 });
        Ok(Turned { output, items, next })
    }

    /// One request and its answer.
    pub async fn send(&mut self, call: Call) -> Result<Value, Failure> {
        match self.answered(call, false).await? {
            Answered::Whole(output) => Ok(output),
            Answered::Open(_) => Err(Code::Protocol.failure("the answer was not read")),
        }
    }

    /// One request, whose answer's body is read as it comes.
    pub async fn open(&mut self, call: Call) -> Result<Download, Failure> {
        match self.answered(call, true).await? {
            Answered::Open(download) => Ok(*download),
            Answered::Whole(_) => Err(Code::Protocol.failure("the answer was read whole")),
        }
    }

    /// One request, with the integration's proof. A token that is refused is got anew, once.
    async fn answered(&mut self, call: Call, is_open: bool) -> Result<Answered, Failure> {
        let Some(connection) = self.attempt.connection.as_deref() else { return self.exchange(call, is_open).await };
        if !oauth::is_way_of(connection) {
            let mut call = call;
            auth::sign(&mut call, connection, self.redactor)
                .map_err(|message| Code::InvalidPayload.failure(message))?;
            return self.exchange(call, is_open).await;
        }
        let token = self.token(None).await?;
        let outcome = self.with_token(call.clone(), &token, is_open).await;
        if !oauth::is_refusal(&outcome) {
            return outcome;
        }
        let token = self.token(Some(&token)).await?;
        self.with_token(call, &token, is_open).await
    }

    async fn token(&mut self, refused: Option<&str>) -> Result<String, Failure> {
        let attempt = self.attempt;
        let connection = attempt.connection.as_deref().expect("only an integration has tokens");
        let left = self.left();
        let token = self.tokens.of(self.http, attempt.owner.tenant, connection, refused, left);
        let late = |_| Code::Timeout.failure("no token within the attempt's time");
        let token = tokio::time::timeout(left, token).await.map_err(late)??;
        self.redactor.hide(&token);
        Ok(token)
    }

    async fn with_token(&mut self, mut call: Call, token: &str, is_open: bool) -> Result<Answered, Failure> {
        auth::bearer(&mut call, token).map_err(|message| Code::UnexpectedAnswer.failure(message))?;
        self.exchange(call, is_open).await
    }

    async fn exchange(&mut self, call: Call, is_open: bool) -> Result<Answered, Failure> {
        let left = self.left();
        if is_open {
            let download = self.http.open(call, left, self.redactor, self.figures).await?;
            return Ok(Answered::Open(Box::new(download)));
        }
        self.http.fetch(call, left, self.redactor, self.figures).await.map(Answered::Whole)
    }

    fn left(&mut self) -> Duration {
        if std::mem::replace(&mut self.is_first, false) {
            return self.attempt.timeout;
        }
        self.ends_at.saturating_duration_since(Instant::now())
    }
}

/// Sums over the pages of an attempt.
#[derive(Default)]
struct Figures {
    request_bytes: i64,
    response_bytes: i64,
    response_time_ms: i64,
}

impl Figures {
    /// Adds those of the last exchange, which then have the sums.
    fn add(&mut self, last: Option<&mut HttpFigures>) {
        let Some(last) = last else { return };
        for (sum, figure) in [
            (&mut self.request_bytes, &mut last.request_bytes),
            (&mut self.response_bytes, &mut last.response_bytes),
            (&mut self.response_time_ms, &mut last.response_time_ms),
        ] {
            *sum += figure.unwrap_or_default();
            if figure.is_some() {
                *figure = Some(*sum);
            }
        }
    }
}

/// Reads a payload; `None` when it is right as far as can be seen before it is rendered.
pub fn read(
    payload: &Value,
    reading: Reading,
    address: Address<'_>,
    most_pages: Option<u64>,
) -> Result<Option<Asked>, Vec<Problem>> {
    let mut reader = match Reader::new(payload, reading) {
        Ok(reader) => reader,
        Err(problems) if problems.is_empty() => return Ok(None),
        Err(problems) => return Err(problems),
    };
    reader.only(&KEYS);
    let method = read_method(&mut reader);
    let mut url = http::read_target(address, &mut reader, reading);
    let query = reader.pairs("query");
    if let Some(url) = url.as_mut().filter(|_| !query.is_empty()) {
        url.query_pairs_mut().extend_pairs(query);
    }
    let mut headers = read_headers(&mut reader, &[]);
    let (body, content_type) = body::read(&mut reader);
    if let Some(content_type) = content_type {
        let value = HeaderValue::from_str(&content_type).expect("it is visible ASCII");
        headers.entry(CONTENT_TYPE).or_insert(value);
    }
    let expected = read_expected(&mut reader);
    let paging = Paging::read(&mut reader, reading, most_pages);
    let wanted = extract::read(&mut reader);
    if !reader.problems.is_empty() {
        return Err(reader.problems);
    }
    let call = |url| Call { method, url, headers, body, expected, follow_redirects: true };
    Ok(url.map(|url| Asked { call: call(url), paging, wanted }))
}

fn read_method(reader: &mut Reader<'_>) -> Method {
    let Some(text) = reader.text("method") else {
        return Method::GET;
    };
    match Method::from_bytes(text.to_ascii_uppercase().as_bytes()) {
        Ok(Method::CONNECT) => reader.problem(&["method"], "CONNECT opens a tunnel, which is no action"),
        Ok(method) => return method,
        Err(_) => reader.problem(&["method"], format!("'{text}' is no HTTP method")),
    }
    Method::GET
}

/// Headers that can be sent; each that cannot, or that the executor sets itself, is a problem.
pub fn read_headers(reader: &mut Reader<'_>, own: &[&str]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for (name, value) in reader.pairs("headers") {
        let problem = match (HeaderName::from_bytes(name.as_bytes()), HeaderValue::from_bytes(value.as_bytes())) {
            (Ok(name), _) if CONNECTION_HEADERS.contains(&name.as_str()) => "is set by the connection itself",
            (Ok(name), _) if own.contains(&name.as_str()) => "is set by the delivery itself",
            (Ok(name), Ok(value)) => match headers.try_append(name, value) {
                Ok(_) => continue,
                Err(_) => "is one header too many",
            },
            (Err(_), _) => "is no name of a header",
            // The value may be a secret, so it is not repeated.
            (_, Err(_)) => "has a value that no header can have: a line break or another control character",
        };
        reader.problem(&["headers", name], problem);
    }
    headers
}

/// Statuses that mean success: one or a list of `204`, `"204"`, `"2xx"`.
fn read_expected(reader: &mut Reader<'_>) -> Vec<Statuses> {
    let Some(value) = reader.get("expected_status") else {
        return vec![Statuses::SUCCESS];
    };
    let items = value.as_array().map_or(std::slice::from_ref(value), Vec::as_slice);
    if items.is_empty() {
        reader.problem(&["expected_status"], "must name at least one status");
    }
    let mut expected = Vec::new();
    for item in items.iter().filter(|item| !reader.is_open(item)).collect::<Vec<_>>() {
        if let Some(statuses) = statuses(item) {
            expected.push(statuses);
        } else {
            let message = format!("must be a status from 200 to 599 or a class such as \"2xx\", is {}", shown(item));
            reader.problem(&["expected_status"], message);
        }
    }
    expected
}

/// Statuses below 200 are never final answers.
fn statuses(item: &Value) -> Option<Statuses> {
    let text = match item {
        Value::String(text) => text.trim().to_ascii_lowercase(),
        other => other.as_u64()?.to_string(),
    };
    match text.strip_suffix("xx") {
        Some(digit) => digit.parse().ok().filter(|digit| (2..=5).contains(digit)).map(Statuses::Class),
        None => text.parse().ok().filter(|code| (200..=599).contains(code)).map(Statuses::One),
    }
}

fn shown(value: &Value) -> String {
    match value {
        Value::Number(_) | Value::String(_) => value.to_string(),
        other => kind(other).to_owned(),
    }
}

#[cfg(test)]
mod tests;
