//! A server of our own for a test: the real binary, on a store of its own, talked to over HTTP.

use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::time::Duration;

use reqwest::{Client, Method, StatusCode};
use serde_json::{Value, json};
use sqlx::Connection;
use tempfile::TempDir;

/// A platform key that servers of tests know from the start.
pub const SERVICE_KEY: &str = "test-service-key-0123456789-0123456789-abcdef";
/// The secret that user tokens of tests are signed with.
pub const JWT_SECRET: &str = "test-jwt-secret-0123456789-0123456789-abcdef";
/// What secrets of tests are encrypted with.
pub const SECRET_KEY: &str = "test-secret-key-0123456789-0123456789-abcdef";
/// A user without an organization.
pub const USER: &str = "0190a000-0000-7000-8000-000000000007";

/// Limits of time on the store, in milliseconds. On a machine that is busy with other tests it may take longer to answer than
/// one of a server's own; a test that is about such a limit sets it, over these. It is less than the tests' clients wait, so that a store
/// that hangs is still told from a server that does.
const PATIENT: [&str; 3] =
    ["CORE314__HTTP__READY_TIMEOUT_MS", "CORE314__STORE__READ_LIMIT_MS", "CORE314__STORE__IDLE_LIMIT_MS"];

/// Which store a test runs on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StoreKind {
    Sqlite,
    Postgres,
}

/// Where an installation keeps its data: survives the server's death.
pub struct Installation {
    pub dir: TempDir,
    pub database_url: Option<String>,
}

impl Installation {
    /// An empty installation on this store.
    pub async fn new(kind: StoreKind) -> Self {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let database_url = match kind {
            StoreKind::Sqlite => None,
            StoreKind::Postgres => Some(fresh_database().await),
        };
        Self { dir, database_url }
    }

    /// A command of the binary on this installation.
    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_core314"));
        command
            .args(arguments)
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env("HOME", self.dir.path())
            .env("CORE314_DATA_DIR", self.data_dir())
            .env("CORE314_SERVICE_KEY", SERVICE_KEY)
            .env("CORE314_JWT_SECRET", JWT_SECRET)
            .env("CORE314_KEY", SERVICE_KEY)
            .env("CORE314_LOG", "info")
            .env("CORE314__EXECUTORS__OUTBOUND__ALLOW_LOOPBACK", "true")
            .envs(PATIENT.map(|key| (key, "20000")))
            .current_dir(self.dir.path());
        if let Some(url) = &self.database_url {
            command.env("CORE314_DATABASE_URL", url);
        }
        command
    }

    /// Where SQLite and keys live.
    pub fn data_dir(&self) -> PathBuf {
        self.dir.path().join("data")
    }

    /// The first column of a query, as text, read past the program.
    pub async fn rows(&self, query: &str) -> Vec<String> {
        let query = sqlx::AssertSqlSafe(query.to_owned());
        match &self.database_url {
            None => {
                let mut connection = sqlx::SqliteConnection::connect(&self.sqlite_url()).await.expect("the file opens");
                sqlx::query_scalar(query).fetch_all(&mut connection).await.expect("the query holds")
            }
            Some(url) => {
                let mut connection = sqlx::PgConnection::connect(url).await.expect("the database answers");
                sqlx::raw_sql("SET ROLE core314_service").execute(&mut connection).await.expect("the role is granted");
                sqlx::query_scalar(query).fetch_all(&mut connection).await.expect("the query holds")
            }
        }
    }

    /// Changes the database by hand, as its owner.
    pub async fn meddle(&self, statements: &str) {
        let statements = sqlx::AssertSqlSafe(statements.to_owned());
        match &self.database_url {
            None => {
                let mut connection = sqlx::SqliteConnection::connect(&self.sqlite_url()).await.expect("the file opens");
                sqlx::raw_sql(statements).execute(&mut connection).await.expect("the statements hold");
            }
            Some(url) => {
                let mut connection = sqlx::PgConnection::connect(url).await.expect("the database answers");
                sqlx::raw_sql(statements).execute(&mut connection).await.expect("the statements hold");
            }
        }
    }

    /// What the database says to a statement that it must refuse, on PostgreSQL both to the service and to the owner.
    pub async fn refusals(&self, statement: &str) -> Vec<String> {
        let statement = || sqlx::AssertSqlSafe(statement.to_owned());
        match &self.database_url {
            None => {
                let mut connection = sqlx::SqliteConnection::connect(&self.sqlite_url()).await.expect("the file opens");
                let refused = sqlx::raw_sql(statement()).execute(&mut connection).await;
                vec![refused.expect_err("the store refuses it").to_string()]
            }
            Some(url) => {
                let mut refusals = Vec::new();
                for role in ["SET ROLE core314_service", "RESET ROLE"] {
                    let mut connection = sqlx::PgConnection::connect(url).await.expect("the database answers");
                    sqlx::raw_sql(role).execute(&mut connection).await.expect("the role is granted");
                    let refused = sqlx::raw_sql(statement()).execute(&mut connection).await;
                    refusals.push(refused.expect_err("the store refuses it").to_string());
                }
                refusals
            }
        }
    }

    fn sqlite_url(&self) -> String {
        format!("sqlite:{}", self.data_dir().join("core314.db").display())
    }

    /// Runs a command to its end, and gives its exit code and what it printed.
    pub fn run(&self, arguments: &[&str]) -> (i32, String) {
        let output = self.command(arguments).output().expect("the binary runs");
        let text = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        (output.status.code().unwrap_or(-1), text)
    }
}

/// A database of a test's own. Fails loudly where there is no PostgreSQL.
pub async fn fresh_database() -> String {
    let base = std::env::var("CORE314_TEST_POSTGRES_URL")
        .expect("CORE314_TEST_POSTGRES_URL names no PostgreSQL: run `make test`, which starts a private one");
    fresh_database_on(&base).await
}

/// A database of a test's own, on the server to which this URL leads.
pub async fn fresh_database_on(base: &str) -> String {
    let name = format!("it_{}", uuid::Uuid::from_u128(rand::random()).simple());
    let mut connection = sqlx::PgConnection::connect(base).await.expect("the test's PostgreSQL answers");
    sqlx::raw_sql(sqlx::AssertSqlSafe(format!("CREATE DATABASE {name}")))
        .execute(&mut connection)
        .await
        .expect("a database can be created");
    let (prefix, _) = base.rsplit_once('/').expect("the URL ends with a database");
    format!("{prefix}/{name}")
}

/// A running server.
pub struct Server {
    child: Child,
    pub url: String,
    pub http: Client,
}

impl Server {
    /// Starts the binary and returns when it is ready.
    pub fn start(installation: &Installation) -> Self {
        Self::start_with(installation, &[]).expect("the server becomes ready")
    }

    /// Starts it with more of an environment. `None` when it dies before it is ready.
    pub fn start_with(installation: &Installation, environment: &[(&str, String)]) -> Option<Self> {
        Self::launch(installation, installation.command(&["serve"]), environment)
    }

    /// The same, by a shell that runs a command before it becomes the server.
    pub fn start_after(installation: &Installation, first: &str, environment: &[(&str, String)]) -> Option<Self> {
        let plain = installation.command(&["serve"]);
        let mut command = Command::new("sh");
        command.args(["-c", &format!("{first}; exec \"$0\" \"$@\"")]).arg(plain.get_program()).args(plain.get_args());
        command.env_clear().envs(plain.get_envs().filter_map(|(key, value)| Some((key, value?))));
        command.current_dir(installation.dir.path());
        Self::launch(installation, command, environment)
    }

    fn launch(installation: &Installation, mut command: Command, environment: &[(&str, String)]) -> Option<Self> {
        let port = free_port();
        command.env("CORE314_LISTEN", format!("127.0.0.1:{port}"));
        command.envs(environment.iter().map(|(k, v)| (*k, v.as_str())));
        let log = std::fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(installation.dir.path().join("server.log"))
            .expect("a log file");
        command.stdout(Stdio::null()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("the binary starts");
        let lines = child.stderr.take().expect("it is piped");
        if !ready(lines, log) {
            child.kill().ok();
            child.wait().expect("it can be waited for");
            return None;
        }
        drop(rustls::crypto::ring::default_provider().install_default());
        let http = Client::builder().timeout(Duration::from_secs(30)).build().expect("a client");
        Some(Self { child, url: format!("http://127.0.0.1:{port}"), http })
    }

    /// As SIGKILL does it.
    pub fn kill(&mut self) {
        self.child.kill().expect("it can be killed");
        self.child.wait().expect("it can be waited for");
    }

    /// Waits until it has died by itself. False if it lives on.
    pub fn has_died(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(Some(_)))
    }

    /// Waits for it to end by itself, and gives its exit code.
    pub fn wait(&mut self) -> Option<i32> {
        self.child.wait().expect("it can be waited for").code()
    }

    /// The number of its process.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Memory that it has resident, in bytes; `None` where the system has no proc(5), or it has ended.
    pub fn resident_bytes(&self) -> Option<u64> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.pid())).ok()?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
        Some(line.split_whitespace().next()?.parse::<u64>().ok()? * 1024)
    }

    /// Sends it a signal.
    pub fn signal(&self, signal: nix::sys::signal::Signal) {
        let pid = nix::unistd::Pid::from_raw(i32::try_from(self.child.id()).expect("a process id"));
        nix::sys::signal::kill(pid, signal).expect("it can be signalled");
    }

    /// Asks it to stop, and gives its exit code.
    pub fn terminate(&mut self) -> Option<i32> {
        self.signal(nix::sys::signal::Signal::SIGTERM);
        self.child.wait().expect("it can be waited for").code()
    }

    /// A request as the test's user, with the service key.
    pub async fn request(
        &self,
        method: Method,
        path: &str,
        body: Option<Value>,
    ) -> reqwest::Result<(StatusCode, Value)> {
        let mut request =
            self.http.request(method, format!("{}{path}", self.url)).bearer_auth(SERVICE_KEY).header("X-User-Id", USER);
        if let Some(body) = body {
            request = request.json(&body);
        }
        let response = request.send().await?;
        let status = response.status();
        let text = response.text().await?;
        Ok((status, serde_json::from_str(&text).unwrap_or(Value::String(text))))
    }

    /// A GET as the platform, for no user, that must succeed.
    pub async fn get_platform(&self, path: &str) -> Value {
        let request = self.http.get(format!("{}{path}", self.url)).bearer_auth(SERVICE_KEY);
        let response = request.send().await.expect("the server answers");
        assert_eq!(response.status(), StatusCode::OK, "GET {path}");
        response.json().await.expect("JSON")
    }

    /// A GET that must succeed.
    pub async fn get(&self, path: &str) -> Value {
        let (status, body) = self.request(Method::GET, path, None).await.expect("the server answers");
        assert_eq!(status, StatusCode::OK, "GET {path}: {body}");
        body
    }

    /// A GET as the platform that answers with text.
    pub async fn get_text(&self, path: &str) -> String {
        let request = self.http.get(format!("{}{path}", self.url)).bearer_auth(SERVICE_KEY);
        let response = request.send().await.expect("the server answers");
        assert_eq!(response.status(), StatusCode::OK, "GET {path}");
        response.text().await.expect("text")
    }

    /// A POST that must create something.
    pub async fn create(&self, path: &str, body: Value) -> Value {
        let (status, answer) = self.request(Method::POST, path, Some(body)).await.expect("the server answers");
        assert_eq!(status, StatusCode::CREATED, "POST {path}: {answer}");
        answer
    }

    /// All items of a list, over its pages.
    pub async fn all(&self, path: &str) -> Vec<Value> {
        let mut items = Vec::new();
        let mut cursor = String::new();
        loop {
            let separator = if path.contains('?') { '&' } else { '?' };
            let page = self.get(&format!("{path}{separator}limit=500{cursor}")).await;
            items.extend(page["items"].as_array().expect("a list has items").iter().cloned());
            match page["next_cursor"].as_str() {
                Some(next) => cursor = format!("&cursor={next}"),
                None => return items,
            }
        }
    }

    /// Saves a flow and a webhook for it; gives the webhook's path.
    pub async fn flow_with_webhook(&self, flow: Value) -> String {
        let saved = self.create("/api/v1/flows", flow).await;
        let webhook =
            self.create("/api/v1/webhooks", json!({"name": saved["flow_name"], "trigger_type": "webhook"})).await;
        let url = webhook["url"].as_str().expect("a webhook has a url");
        url[url.find("/hooks/").expect("its path")..].to_owned()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

/// Reads until the server says that it is ready, or what it waits for; keeps reading afterwards, so that it never blocks on its output.
fn ready(lines: impl std::io::Read + Send + 'static, mut log: std::fs::File) -> bool {
    let (send, receive) = mpsc::channel();
    std::thread::spawn(move || {
        for line in BufReader::new(lines).lines().map_while(Result::ok) {
            writeln!(log, "{line}").ok();
            if [" ready ", "the installation is paused", "on standby"].iter().any(|said| line.contains(said)) {
                send.send(()).ok();
            }
        }
    });
    receive.recv_timeout(Duration::from_mins(1)).is_ok()
}

/// A port that is free at the moment.
pub fn free_port() -> u16 {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    listener.local_addr().expect("it has an address").port()
}

/// A seed: of the environment, or fresh; printed, so that a failure can be repeated.
pub fn seed() -> u64 {
    let seed = std::env::var("CORE314_SEED").ok().and_then(|s| s.parse().ok()).unwrap_or_else(rand::random);
    println!("CORE314_SEED={seed}");
    seed
}

/// Whether the long form of a test is wanted.
pub fn long() -> bool {
    std::env::var("CORE314_LONG").is_ok_and(|v| v == "1")
}

/// The last lines of a server's log, for a failure's message.
pub fn tail(path: &Path) -> String {
    let text = std::fs::read_to_string(path).unwrap_or_default();
    let lines: Vec<&str> = text.lines().rev().take(30).collect();
    lines.into_iter().rev().collect::<Vec<_>>().join("\n")
}
