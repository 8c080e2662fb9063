//! The HTTP client that executors share: one exchange within bounds, and a verdict.
//!
//! Redirects are followed here and not by the HTTP library, because every hop is judged by the outbound rules, and
//! secrets stay with the origin they were meant for. Cookies are not kept and proxies are not used: an attempt depends
//! on its payload alone.
//!
//! Invariants: an exchange ends within the attempt's time; no more than the limits is ever read or sent; no error
//! message holds a secret of the payload.

mod answer;
mod error;
mod retry_after;

use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use core314_actors::ports::consent::TokenKeeper;
use core314_actors::ports::executor::{Attempt, Performed};
use core314_domain::log::{Failure, HttpFigures};
use core314_domain::plan::Problem;
use core314_domain::run::Outcome;
use reqwest::header::{
    CONTENT_LENGTH, CONTENT_TYPE, ETAG, HeaderMap, HeaderName, HeaderValue, LAST_MODIFIED, LOCATION, TRANSFER_ENCODING,
};
use reqwest::{Client, Method, Request, Response, StatusCode, Url};
use serde::Deserialize;
use serde_json::Value;

use super::failure::Code;
use super::outbound::{CheckedResolver, Names, OutboundRules, OutboundSettings, SystemNames};
use super::redact::{self, Redactor};
use answer::Answer;

/// Bounds of an HTTP exchange: section `[executors.http]`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HttpSettings {
    /// A connection that takes longer to make is given up, in milliseconds.
    pub connect_timeout_ms: u64,
    /// How many redirects are followed, one after the other.
    pub max_redirects: usize,
    /// Larger request bodies are not sent, in bytes.
    pub max_request_bytes: usize,
    /// Larger response bodies are not read, in bytes.
    pub max_response_bytes: usize,
    /// More headers are neither sent nor read.
    pub max_headers: usize,
    /// A longer wish of the other side to be left alone is shortened to this, in milliseconds.
    pub max_retry_after_ms: i64,
    /// Connections kept open for one host while they are idle.
    pub idle_connections_per_host: usize,
    /// An idle connection is closed after this long, in milliseconds.
    pub idle_timeout_ms: u64,
    /// Pages that one attempt may ask for, where its payload wants several.
    pub max_pages: u64,
}

/// The client cannot be made: stop the start and say so.
#[derive(Debug, thiserror::Error)]
#[error(
    "the HTTP client cannot be made: {0} (are certificate authorities installed? SSL_CERT_FILE names a file of them)"
)]
pub struct ClientError(String);

/// A request that is ready to be sent.
#[derive(Debug, Clone)]
pub struct Call {
    pub method: Method,
    pub url: Url,
    pub headers: HeaderMap,
    pub body: Vec<u8>,
    /// Statuses that mean success.
    pub expected: Vec<Statuses>,
    pub follow_redirects: bool,
}

/// A status, or a class of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Statuses {
    One(u16),
    /// The first digit.
    Class(u16),
}

impl Statuses {
    /// All that mean success in HTTP.
    pub const SUCCESS: Self = Self::Class(2);

    fn contains(self, status: StatusCode) -> bool {
        match self {
            Self::One(code) => code == status.as_u16(),
            Self::Class(digit) => digit == status.as_u16() / 100,
        }
    }
}

/// An answer whose body is read as it comes.
#[derive(Debug)]
pub struct Download {
    response: Response,
}

impl Download {
    /// The next piece; `None` at the end.
    pub async fn chunk(&mut self) -> Result<Option<Vec<u8>>, Failure> {
        let chunk = self.response.chunk().await.map_err(|e| error::failure(&e))?;
        Ok(chunk.map(|bytes| bytes.to_vec()))
    }

    /// What tells this content from another at the same place, where the other side says it: ETag or Last-Modified.
    pub fn identity(&self) -> Option<String> {
        let header = |name| self.response.headers().get(name).and_then(|value| value.to_str().ok());
        header(ETAG).or_else(|| header(LAST_MODIFIED)).map(str::to_owned)
    }
}

/// Sends requests within bounds and outbound rules.
#[derive(Debug)]
pub struct HttpClient {
    client: Client,
    rules: Arc<OutboundRules>,
    settings: HttpSettings,
    /// Who keeps tokens that services replace; absent until the engine runs.
    keeper: Keeper,
}

/// Set once. Debugging it shows nothing.
#[derive(Default)]
struct Keeper(OnceLock<Arc<dyn TokenKeeper>>);

impl std::fmt::Debug for Keeper {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Keeper")
    }
}

impl HttpClient {
    /// A client. The process must have installed its TLS provider.
    pub fn new(http: HttpSettings, outbound: OutboundSettings) -> Result<Self, ClientError> {
        Self::knowing(http, outbound, Arc::new(SystemNames))
    }

    /// The same, where somebody else than the system knows the addresses of names.
    pub fn knowing(http: HttpSettings, outbound: OutboundSettings, names: Arc<dyn Names>) -> Result<Self, ClientError> {
        let rules = Arc::new(OutboundRules::new(outbound, names));
        let client = Client::builder()
            .user_agent(concat!("core314/", env!("CARGO_PKG_VERSION")))
            .redirect(reqwest::redirect::Policy::none())
            .retry(reqwest::retry::never())
            .no_proxy()
            .dns_resolver(CheckedResolver(rules.clone()))
            .connect_timeout(Duration::from_millis(http.connect_timeout_ms))
            .pool_max_idle_per_host(http.idle_connections_per_host)
            .pool_idle_timeout(Duration::from_millis(http.idle_timeout_ms))
            .http1_max_headers(http.max_headers)
            .build()
            .map_err(|e| ClientError(error::deepest(&e)))?;
        Ok(Self { client, rules, settings: http, keeper: Keeper::default() })
    }

    /// The bounds that it keeps.
    pub const fn bounds(&self) -> &HttpSettings {
        &self.settings
    }

    /// Who keeps tokens that services replace.
    pub fn keeper(&self) -> Option<&dyn TokenKeeper> {
        self.keeper.0.get().map(AsRef::as_ref)
    }

    /// The same from now on; whoever was set first stays.
    pub fn set_keeper(&self, keeper: Arc<dyn TokenKeeper>) {
        self.keeper.0.get_or_init(|| keeper);
    }

    /// Where actions may connect to, for other protocols.
    pub fn rules(&self) -> &OutboundRules {
        &self.rules
    }

    /// How long a connection may take to be made.
    pub fn connect_timeout(&self) -> Duration {
        Duration::from_millis(self.settings.connect_timeout_ms)
    }

    /// Performs an attempt whose request was read from its payload, or could not be.
    pub async fn perform(&self, attempt: &Attempt, call: Result<Call, Vec<Problem>>) -> Performed {
        self.perform_with(attempt, call, &Redactor::of(attempt), Ok).await
    }

    /// The same with a redactor of the caller's, and where an expected status is not yet a success: `judge` gets the
    /// output and says what it means.
    pub async fn perform_with(
        &self,
        attempt: &Attempt,
        call: Result<Call, Vec<Problem>>,
        redactor: &Redactor,
        judge: fn(Value) -> Result<Value, Failure>,
    ) -> Performed {
        let mut http = None;
        let outcome = match call {
            Err(problems) => Err(invalid(&problems)),
            Ok(call) => self.fetch(call, attempt.timeout, redactor, &mut http).await.and_then(judge),
        };
        performed(outcome, redactor, http)
    }

    /// One exchange within a time; its figures are there whatever comes of it.
    pub async fn fetch(
        &self,
        call: Call,
        timeout: Duration,
        redactor: &Redactor,
        http: &mut Option<HttpFigures>,
    ) -> Result<Value, Failure> {
        let figures = http.insert(HttpFigures {
            method: call.method.to_string(),
            endpoint: endpoint(&call.url, redactor),
            request_bytes: Some(call.body.len() as i64),
            ..HttpFigures::default()
        });
        // A little of the time is kept for the report, so that a late attempt is reported with its figures from here,
        // and not cut off by whoever started it.
        let reserve = (timeout / 50).min(Duration::from_millis(100));
        match tokio::time::timeout(timeout.saturating_sub(reserve), self.exchange(call, figures)).await {
            Ok(result) => result,
            Err(_) => Err(Code::Timeout.failure(format!("no answer within {} ms", timeout.as_millis()))),
        }
    }

    /// The same where the answer is too large to be had whole: its body is read as it comes, by whoever asks.
    pub async fn open(
        &self,
        call: Call,
        timeout: Duration,
        redactor: &Redactor,
        http: &mut Option<HttpFigures>,
    ) -> Result<Download, Failure> {
        let figures = http.insert(HttpFigures {
            method: call.method.to_string(),
            endpoint: endpoint(&call.url, redactor),
            request_bytes: Some(call.body.len() as i64),
            ..HttpFigures::default()
        });
        let opened = async {
            let (response, is_success) = self.sent(call, figures).await?;
            if is_success { Ok(Download { response }) } else { Err(self.unexpected(&self.read(response).await?)) }
        };
        let late = |_| Code::Timeout.failure(format!("no answer within {} ms", timeout.as_millis()));
        tokio::time::timeout(timeout, opened).await.map_err(late)?
    }

    /// Sends the request, follows redirects, and judges the answer.
    async fn exchange(&self, call: Call, figures: &mut HttpFigures) -> Result<Value, Failure> {
        let started = Instant::now();
        let (response, is_success) = self.sent(call, figures).await?;
        let answer = self.read(response).await?;
        figures.response_bytes = Some(answer.body.len() as i64);
        figures.response_time_ms = Some(started.elapsed().as_millis() as i64);
        if is_success { Ok(answer.output()) } else { Err(self.unexpected(&answer)) }
    }

    /// Sends the request and follows redirects; gives the answer's head, and whether its status is expected.
    async fn sent(&self, call: Call, figures: &mut HttpFigures) -> Result<(Response, bool), Failure> {
        self.check_size(&call)?;
        let Call { method, url, headers, body, expected, follow_redirects } = call;
        let is_expected = |status| expected.iter().any(|statuses| statuses.contains(status));
        // The builder turns credentials in the URL into a header, which a redirect then drops like any other.
        let builder = self.client.request(method, url).headers(headers);
        let builder = if body.is_empty() { builder } else { builder.body(body) };
        let mut request = builder.build().map_err(|e| Code::InvalidPayload.failure(error::deepest(&e)))?;
        let mut hops = 0;
        loop {
            self.rules.check_url(request.url()).map_err(|e| Code::ForbiddenAddress.failure(e.0))?;
            let again = request.try_clone().expect("a body in memory can be sent twice");
            let response = self.client.execute(request).await.map_err(|e| error::failure(&e))?;
            let status = response.status();
            figures.status_code = Some(status.as_u16());
            if !(follow_redirects && is_redirect(status) && !is_expected(status)) {
                return Ok((response, is_expected(status)));
            }
            hops += 1;
            if hops > self.settings.max_redirects {
                let message = format!("more than {} redirects", self.settings.max_redirects);
                return Err(Code::Redirect.failure(message));
            }
            request = follow(again, &response)?;
        }
    }

    fn check_size(&self, call: &Call) -> Result<(), Failure> {
        let (bytes, most) = (call.body.len(), self.settings.max_request_bytes);
        if bytes > most {
            let message = format!("the body has {bytes} bytes, at most {most} are sent");
            return Err(Code::InvalidPayload.failure(message));
        }
        let (count, most) = (call.headers.len(), self.settings.max_headers);
        if count > most {
            return Err(Code::InvalidPayload.failure(format!("there are {count} headers, at most {most} are sent")));
        }
        Ok(())
    }

    /// Reads a body to its end or to the limit, whichever comes first.
    async fn read(&self, mut response: Response) -> Result<Answer, Failure> {
        let most = self.settings.max_response_bytes;
        let too_large = || Code::ResponseTooLarge.failure(format!("the response has more than {most} bytes"));
        let declared = response.content_length().unwrap_or_default();
        if declared > most as u64 {
            return Err(too_large());
        }
        let mut body = Vec::with_capacity(declared as usize);
        while let Some(chunk) = response.chunk().await.map_err(|e| error::failure(&e))? {
            if body.len() + chunk.len() > most {
                return Err(too_large());
            }
            body.extend_from_slice(&chunk);
        }
        Ok(Answer { status: response.status(), headers: std::mem::take(response.headers_mut()), body })
    }

    fn unexpected(&self, answer: &Answer) -> Failure {
        answer.failure(chrono::Utc::now(), self.settings.max_retry_after_ms)
    }
}

/// What came of an attempt, as it is reported: without its secrets.
pub fn performed(outcome: Result<Value, Failure>, redactor: &Redactor, http: Option<HttpFigures>) -> Performed {
    let outcome = match outcome {
        Ok(output) => Outcome::Completed(Arc::new(redactor.result(output))),
        Err(failure) => Outcome::Failed(Failure {
            message: redactor.message(&failure.message, answer::MAX_MESSAGE_CHARS),
            ..failure
        }),
    };
    Performed { outcome, logged_payload: redactor.logged_payload(), http }
}

/// Why a payload cannot be sent.
pub fn invalid(problems: &[Problem]) -> Failure {
    let list: Vec<String> = problems.iter().map(|p| format!("{}: {}", p.pointer, p.message)).collect();
    Code::InvalidPayload.failure(list.join("; "))
}

/// Scheme, host, port and path: without credentials, query and fragment, which may hold secrets. Of an address that is a
/// secret the host stays.
fn endpoint(url: &Url, redactor: &Redactor) -> String {
    let path = redactor.message(url.path(), answer::MAX_MESSAGE_CHARS);
    redactor.message(&format!("{}{path}", url.origin().ascii_serialization()), answer::MAX_MESSAGE_CHARS)
}

fn is_redirect(status: StatusCode) -> bool {
    matches!(status.as_u16(), 301 | 302 | 303 | 307 | 308)
}

/// The request that a redirect asks for. Another origin gets no header that names a secret, and a POST becomes a GET as
/// in browsers.
fn follow(mut request: Request, response: &Response) -> Result<Request, Failure> {
    let unusable = |why: &str| Code::Redirect.failure(format!("{}: {why}", response.status()));
    let location = response.headers().get(LOCATION).and_then(|value| value.to_str().ok());
    let location = location.ok_or_else(|| unusable("no Location header"))?;
    let mut next = request.url().join(location).map_err(|e| unusable(&format!("Location is no URL: {e}")))?;
    // Credentials that the other side chose are not ours to send. This fails only where there is no host: then the
    // outbound rules refuse it.
    let _ = next.set_username("").and_then(|()| next.set_password(None));
    if request.url().scheme() == "https" && next.scheme() != "https" {
        return Err(unusable("from https to another scheme"));
    }
    if next.origin() != request.url().origin() {
        let headers = request.headers_mut();
        let is_secret = |(name, value): (&HeaderName, &HeaderValue)| {
            (redact::is_secret_name(name.as_str()) || value.is_sensitive()).then(|| name.clone())
        };
        let secret: Vec<_> = headers.iter().filter_map(is_secret).collect();
        for name in secret {
            headers.remove(name);
        }
    }
    let becomes_get = match response.status().as_u16() {
        301 | 302 => *request.method() == Method::POST,
        303 => *request.method() != Method::HEAD,
        _ => false,
    };
    if becomes_get {
        *request.method_mut() = Method::GET;
        *request.body_mut() = None;
        for name in [CONTENT_TYPE, CONTENT_LENGTH, TRANSFER_ENCODING] {
            request.headers_mut().remove(name);
        }
    }
    *request.url_mut() = next;
    Ok(request)
}
