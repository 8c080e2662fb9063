//! The API's client: one request, one answer or one failure that says what to do next.
//!
//! Without a server and a key it goes to the socket in the data directory, where a server of the same user lets it in.

use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use reqwest::header::{DATE, IF_MATCH};
use reqwest::{Method, RequestBuilder, StatusCode, Url};
use serde_json::Value;

use super::Global;
use super::outcome::{Exit, Failure};
use crate::config::local::{DevFile, socket_path};

const DEFAULT_SERVER: &str = "http://127.0.0.1:3140";
/// What stands in requests over the socket; nobody resolves it.
const SOCKET_SERVER: &str = "http://localhost";
/// A server answers any request of the command line within seconds; a silent one is unreachable.
const PATIENCE: Duration = Duration::from_secs(30);
/// No answer is larger: a page has some megabytes.
const MOST_BYTES: usize = 64 << 20;
/// A filter that scans may answer with empty pages and a cursor; a server that never ends is left.
const MOST_EMPTY_PAGES: usize = 1_000;

const OLDER: &str = "the server does not know this yet: run the same version of core314 on both sides";

/// A server, and who asks it.
#[derive(Debug)]
pub struct Client {
    http: reqwest::Client,
    base: Url,
    key: Option<String>,
    user: Option<uuid::Uuid>,
    organization: Option<uuid::Uuid>,
    /// The user that was named, not the one that `core314 dev` made.
    named_user: Option<uuid::Uuid>,
}

/// A server's answer to a question about itself.
#[derive(Debug)]
pub struct Probe {
    pub is_success: bool,
    /// The `Date` header (RFC 9110, 6.6.1).
    pub date: Option<String>,
    pub body: Value,
}

/// Whom to ask, and as whom.
#[derive(PartialEq, Eq)]
struct Target {
    server: String,
    key: Option<String>,
    user: Option<uuid::Uuid>,
    /// Where to connect, in place of the server's address.
    socket: Option<PathBuf>,
}

impl Client {
    /// The client that flags, environment and the credentials of `core314 dev` describe.
    pub fn new(global: &Global) -> Result<Self, Failure> {
        let config = global.load()?;
        let data_dir = config.data_dir();
        let target = Target::of(global, read_dev_file(&data_dir)?, live_socket(&data_dir));
        let wrong = |why: String| Failure::new(Exit::Usage, format!("--server '{}' {why}", target.server));
        let base = Url::parse(&target.server).map_err(|error| wrong(format!("is no URL: {error}")))?;
        if !matches!(base.scheme(), "http" | "https") {
            return Err(wrong("must begin with http:// or https://".to_owned()));
        }
        // A proxy of the environment is meant for other machines, and would see the key.
        let is_here = matches!(base.host_str(), Some("localhost" | "127.0.0.1" | "[::1]"));
        let builder = reqwest::Client::builder().timeout(PATIENCE).redirect(reqwest::redirect::Policy::none());
        let builder = if is_here { builder.no_proxy() } else { builder };
        let builder = match target.socket {
            Some(path) => builder.unix_socket(path),
            None => builder,
        };
        let http = builder.build().map_err(|error| anyhow::anyhow!("the HTTP client cannot be made: {error}"))?;
        let Target { key, user, .. } = target;
        Ok(Self { http, base, key, user, organization: global.organization, named_user: global.user })
    }

    /// The same for what belongs to the platform: a service key then names no user, unless one was named.
    #[must_use]
    pub fn for_platform(self) -> Self {
        Self { user: self.named_user, ..self }
    }

    /// Where requests go.
    pub fn server(&self) -> &str {
        self.base.as_str().trim_end_matches('/')
    }

    /// Whether requests carry a key.
    pub fn has_key(&self) -> bool {
        self.key.is_some()
    }

    /// Reads.
    pub async fn get(&self, path: &[&str], query: &[(&str, String)]) -> Result<Value, Failure> {
        self.send(self.request(Method::GET, path).query(query)).await
    }

    /// Starts or makes something.
    pub async fn post(&self, path: &[&str], body: &Value) -> Result<Value, Failure> {
        self.send(self.request(Method::POST, path).json(body)).await
    }

    /// Changes something, unless it has changed since this version was read.
    pub async fn patch(&self, path: &[&str], version: i64, body: &Value) -> Result<Value, Failure> {
        self.send(self.request(Method::PATCH, path).header(IF_MATCH, format!("\"v{version}\"")).json(body)).await
    }

    /// Removes something.
    pub async fn delete(&self, path: &[&str]) -> Result<Value, Failure> {
        self.send(self.request(Method::DELETE, path)).await
    }

    /// Reads a document that is not JSON.
    pub async fn text(&self, path: &[&str], query: &[(&str, String)]) -> Result<String, Failure> {
        let (status, bytes) = self.answer(self.request(Method::GET, path).query(query)).await?;
        if !status.is_success() {
            return Err(self.refusal(status, &serde_json::from_slice(&bytes).unwrap_or_default()));
        }
        String::from_utf8(bytes).map_err(|_| Failure::new(Exit::Failed, "the server's answer is not UTF-8"))
    }

    /// Asks the server about itself, without a key.
    pub async fn probe(&self, path: &str) -> Result<Probe, Failure> {
        let mut url = self.base.clone();
        url.path_segments_mut().expect("http and https URLs have a path").pop_if_empty().push(path);
        let response = self.http.get(url).send().await.map_err(|error| self.unreachable(&error))?;
        let is_success = response.status().is_success();
        let date = response.headers().get(DATE).and_then(|date| date.to_str().ok()).map(str::to_owned);
        let body = serde_json::from_slice(&self.body(response).await?).unwrap_or_default();
        Ok(Probe { is_success, date, body })
    }

    /// Reads items of a list, page by page, up to a number.
    pub async fn list(&self, path: &[&str], query: &[(&str, String)], most: usize) -> Result<Vec<Value>, Failure> {
        let mut items = Vec::new();
        let mut cursor: Option<String> = None;
        let mut empty_pages = 0;
        while items.len() < most {
            let mut query = query.to_vec();
            query.push(("limit", (most - items.len()).min(500).to_string()));
            query.extend(cursor.take().map(|cursor| ("cursor", cursor)));
            let mut page = self.get(path, &query).await?;
            let Value::Array(rows) = page["items"].take() else {
                return Err(Failure::new(Exit::Failed, "the server's answer has no items: is it a Core314 server?"));
            };
            let before = items.len();
            items.extend(rows);
            empty_pages = if items.len() == before { empty_pages + 1 } else { 0 };
            cursor = page["next_cursor"].as_str().map(str::to_owned);
            if cursor.is_none() || empty_pages > MOST_EMPTY_PAGES {
                break;
            }
        }
        items.truncate(most);
        Ok(items)
    }

    fn request(&self, method: Method, path: &[&str]) -> RequestBuilder {
        let mut url = self.base.clone();
        url.path_segments_mut()
            .expect("http and https URLs have a path")
            .pop_if_empty()
            .extend(["api", "v1"])
            .extend(path);
        let mut request = self.http.request(method, url);
        if let Some(key) = &self.key {
            request = request.bearer_auth(key);
        }
        if let Some(user) = self.user {
            request = request.header("X-User-Id", user.to_string());
        }
        if let Some(organization) = self.organization {
            request = request.header("X-Organization-Id", organization.to_string());
        }
        request
    }

    async fn send(&self, request: RequestBuilder) -> Result<Value, Failure> {
        let (status, bytes) = self.answer(request).await?;
        let body: Value = serde_json::from_slice(&bytes).unwrap_or_default();
        if status.is_success() { Ok(body) } else { Err(self.refusal(status, &body)) }
    }

    async fn answer(&self, request: RequestBuilder) -> Result<(StatusCode, Vec<u8>), Failure> {
        let response = request.send().await.map_err(|error| self.unreachable(&error))?;
        Ok((response.status(), self.body(response).await?))
    }

    async fn body(&self, mut response: reqwest::Response) -> Result<Vec<u8>, Failure> {
        let mut bytes = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(|error| self.unreachable(&error))? {
            if bytes.len() + chunk.len() > MOST_BYTES {
                return Err(Failure::new(Exit::Failed, format!("the answer has more than {MOST_BYTES} bytes"))
                    .hint("ask for fewer rows with --limit"));
            }
            bytes.extend_from_slice(&chunk);
        }
        Ok(bytes)
    }

    fn unreachable(&self, error: &reqwest::Error) -> Failure {
        let mut why: &dyn std::error::Error = error;
        while let Some(cause) = why.source() {
            why = cause;
        }
        Failure::new(Exit::Unreachable, format!("{} cannot be reached: {why}", self.base))
            .hint("start it with `core314 dev` or `core314 serve`, or name another with --server or CORE314_SERVER")
    }

    /// What an error answer means for whoever asked.
    fn refusal(&self, status: StatusCode, problem: &Value) -> Failure {
        let words = [&problem["title"], &problem["detail"]];
        let words: Vec<&str> = words.iter().filter_map(|word| word.as_str()).filter(|word| !word.is_empty()).collect();
        let mut message = if words.is_empty() { format!("the server answered {status}") } else { words.join(": ") };
        for error in problem["errors"].as_array().into_iter().flatten() {
            let place = ["pointer", "parameter", "header"].iter().find_map(|kind| error[*kind].as_str());
            let wrong = error["message"].as_str().unwrap_or_default();
            // The detail repeats the first one.
            if !message.contains(wrong) {
                message = format!("{message}\n  {}: {wrong}", place.unwrap_or_default());
            }
            for line in error["excerpt"].as_str().unwrap_or_default().lines() {
                message = format!("{message}\n    | {line}");
            }
        }
        let (exit, hint) = match status {
            StatusCode::UNAUTHORIZED if self.key.is_none() => {
                (Exit::NotAllowed, Some("give a service key or user token with --key or CORE314_KEY"))
            }
            StatusCode::UNAUTHORIZED => {
                (Exit::NotAllowed, Some("the key is not one of this server: check --key or CORE314_KEY"))
            }
            StatusCode::FORBIDDEN => (Exit::NotAllowed, Some("use the key of somebody who may do this")),
            StatusCode::NOT_FOUND if message.contains("nothing at this path") => (Exit::NotFound, Some(OLDER)),
            StatusCode::NOT_FOUND => {
                (Exit::NotFound, Some("the `list` command beside this one shows what this user has here"))
            }
            StatusCode::METHOD_NOT_ALLOWED => (Exit::Failed, Some(OLDER)),
            StatusCode::PRECONDITION_FAILED => {
                (Exit::Failed, Some("it was changed in the meantime: run the command again"))
            }
            StatusCode::SERVICE_UNAVAILABLE | StatusCode::TOO_MANY_REQUESTS => {
                (Exit::Failed, Some("try again in a few seconds"))
            }
            _ => (Exit::Failed, None),
        };
        let is_without_user = message.contains("X-User-Id");
        let hint = if is_without_user { Some("name the user it acts for with --user or CORE314_USER") } else { hint };
        Failure { exit, message, hint: hint.map(str::to_owned), problem: problem.clone() }
    }
}

impl Target {
    /// A key that `core314 dev` made is sent to its own server and to no other. The socket is for whoever names neither
    /// server nor key.
    fn of(global: &Global, dev: Option<DevFile>, socket: Option<PathBuf>) -> Self {
        if global.server.is_none()
            && global.key.is_none()
            && let Some(path) = socket
        {
            let user = global.user.or(dev.map(|dev| dev.user_id));
            return Self { server: SOCKET_SERVER.to_owned(), key: None, user, socket: Some(path) };
        }
        let server = global.server.clone().or_else(|| dev.as_ref().map(|dev| dev.server.clone()));
        let server = server.filter(|server| !server.is_empty()).unwrap_or_else(|| DEFAULT_SERVER.to_owned());
        let server = server.trim_end_matches('/').to_owned();
        match dev.filter(|dev| global.key.is_none() && dev.server == server) {
            Some(dev) => Self { server, key: Some(dev.key), user: global.user.or(Some(dev.user_id)), socket: None },
            None => Self { server, key: global.key.clone(), user: global.user, socket: None },
        }
    }
}

/// The socket in the data directory, if somebody listens on it.
fn live_socket(data_dir: &Path) -> Option<PathBuf> {
    let path = socket_path(data_dir);
    UnixStream::connect(&path).is_ok().then_some(path)
}

fn read_dev_file(data_dir: &Path) -> Result<Option<DevFile>, Failure> {
    Ok(DevFile::read(data_dir)?)
}

/// Runs a command that talks with a server.
pub fn block_on<T>(work: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(work)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::print::Output;
    use serde_json::json;

    fn global(server: Option<&str>, key: Option<&str>) -> Global {
        Global {
            output: Output::Json,
            server: server.map(str::to_owned),
            key: key.map(str::to_owned),
            user: None,
            organization: None,
            config: None,
            data_dir: None,
            database_url: None,
        }
    }

    fn dev(server: &str) -> DevFile {
        DevFile { server: server.to_owned(), ..DevFile::fresh() }
    }

    #[test]
    fn the_development_key_goes_to_its_own_server_alone() {
        let file = dev("http://127.0.0.1:4000");
        let found = Target::of(&global(None, None), Some(file.clone()), None);
        let key = Some(file.key.clone());
        assert!(found == Target { server: file.server.clone(), key, user: Some(file.user_id), socket: None });
        let found = Target::of(&global(Some("http://127.0.0.1:4000/"), None), Some(file.clone()), None);
        assert_eq!(found.key.as_ref(), Some(&file.key));
        let elsewhere = Target::of(&global(Some("https://example.org"), None), Some(file.clone()), None);
        assert!(elsewhere == Target { server: "https://example.org".to_owned(), key: None, user: None, socket: None });
        let own_key = Target::of(&global(None, Some("mine")), Some(file), None);
        assert_eq!((own_key.key.as_deref(), own_key.user), (Some("mine"), None));
        assert_eq!(Target::of(&global(None, None), None, None).server, DEFAULT_SERVER);
        assert_eq!(Target::of(&global(None, None), Some(dev("")), None).server, DEFAULT_SERVER);
    }

    #[test]
    fn the_socket_is_for_whoever_names_neither_server_nor_key() {
        let (file, path) = (dev("http://127.0.0.1:4000"), PathBuf::from("/d/core314.sock"));
        let found = Target::of(&global(None, None), Some(file.clone()), Some(path.clone()));
        assert!(found.socket.as_ref() == Some(&path) && found.key.is_none() && found.user == Some(file.user_id));
        for (server, key) in [(Some("https://example.org"), None), (None, Some("mine"))] {
            assert!(Target::of(&global(server, key), None, Some(path.clone())).socket.is_none());
        }
    }

    #[test]
    fn a_socket_that_nobody_listens_on_is_none() {
        let dir = tempfile::tempdir().expect("a directory");
        assert_eq!(live_socket(dir.path()), None);
        let listener = std::os::unix::net::UnixListener::bind(socket_path(dir.path())).expect("it is free");
        assert_eq!(live_socket(dir.path()), Some(socket_path(dir.path())));
        drop(listener);
        assert_eq!(live_socket(dir.path()), None, "its server has died");
    }

    fn client() -> Client {
        // The default provider may have been installed by another test of this process.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let base = Url::parse("http://127.0.0.1:1/prefix/").expect("a URL");
        let http = reqwest::Client::new();
        Client { http, base, key: None, user: None, organization: None, named_user: None }
    }

    #[test]
    fn paths_are_escaped_below_the_servers_own() {
        let request = client().request(Method::POST, &["flows", "a/b c", "trigger"]).build().expect("a request");
        assert_eq!(request.url().as_str(), "http://127.0.0.1:1/prefix/api/v1/flows/a%2Fb%20c/trigger");
    }

    #[test]
    fn what_belongs_to_the_platform_is_asked_for_nobody() {
        let headers = |client: &Client| {
            let request = client.request(Method::GET, &["actors"]).build().expect("a request");
            ["X-User-Id", "X-Organization-Id"].map(|name| request.headers().contains_key(name))
        };
        let made = Client { user: Some(uuid::Uuid::from_u128(1)), ..client() };
        assert_eq!(headers(&made), [true, false]);
        assert_eq!(headers(&made.for_platform()), [false, false]);
        let named = Some(uuid::Uuid::from_u128(2));
        let named = Client { user: named, named_user: named, organization: named, ..client() };
        assert_eq!(headers(&named.for_platform()), [true, true]);
    }

    #[test]
    fn refusals_become_exit_codes_with_a_hint() {
        let refusal =
            |status: u16, problem: Value| client().refusal(StatusCode::from_u16(status).expect("a status"), &problem);
        let problem = json!({"title": "The flow document has problems", "detail": "1 problem",
            "errors": [{"pointer": "/flow_name", "message": "is required"}]});
        let failure = refusal(422, problem);
        assert_eq!(failure.exit, Exit::Failed);
        assert_eq!(failure.message, "The flow document has problems: 1 problem\n  /flow_name: is required");
        for (status, exit) in
            [(401, Exit::NotAllowed), (403, Exit::NotAllowed), (404, Exit::NotFound), (500, Exit::Failed)]
        {
            assert_eq!(refusal(status, Value::Null).exit, exit);
        }
        assert!(refusal(401, Value::Null).hint.is_some_and(|hint| hint.contains("CORE314_KEY")));
        assert!(refusal(503, Value::Null).hint.is_some_and(|hint| hint.contains("try again")));
        let no_user = json!({"title": "x", "errors": [{"header": "X-User-Id", "message": "is required"}]});
        assert!(refusal(422, no_user).hint.is_some_and(|hint| hint.contains("--user")));
    }

    #[test]
    fn a_server_that_is_not_there_is_unreachable() {
        // Bound and closed again: nobody listens there.
        let port = std::net::TcpListener::bind("127.0.0.1:0").and_then(|l| l.local_addr()).expect("a free port").port();
        let mut client = client();
        client.base = Url::parse(&format!("http://127.0.0.1:{port}")).expect("a URL");
        let failure = block_on(client.get(&["runs"], &[])).expect_err("nobody");
        assert_eq!(failure.exit, Exit::Unreachable);
        assert!(failure.hint.is_some_and(|hint| hint.contains("core314 dev")));
    }
}
