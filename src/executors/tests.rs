//! Names that change their minds: what was judged is what is connected to, by whichever way an action goes.

use std::collections::{BTreeMap, VecDeque};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use core314_actors::ports::BoxFuture;
use core314_actors::ports::executor::{Attempt, Connection, Performed};
use core314_actors::ports::integration::Integration;
use core314_actors::ports::people::ContactMethod;
use core314_actors::ports::records::{Change, Place, PutWish, RecordError, RowQuery, RowStream, Table, Updated};
use core314_actors::testkit::memory_inbox::MemoryInbox;
use core314_actors::testkit::memory_people::MemoryPeople;
use core314_actors::testkit::memory_positions::MemoryPositions;
use core314_domain::ids::{Owner, RowId, RunId, UserId};
use core314_domain::people::{CodeState, ContactKind};
use core314_domain::run::Outcome;
use core314_domain::secret::Secrets;
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use uuid::Uuid;

use super::*;
use crate::config::{Config, Inputs};
use crate::executors::outbound::Names;

/// Where the service is.
const HERE: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
/// Where a name leads once it has changed its mind.
const METADATA: IpAddr = IpAddr::V4(Ipv4Addr::new(169, 254, 169, 254));
/// A name that stays what it is, and one that does not.
const STEADY: &str = "steady.test";
const TURNING: &str = "turning.test";

/// Says of the turning name what it was told to say, one after the other; the last answer stays.
#[derive(Debug, Default)]
struct Turncoat {
    says: Mutex<VecDeque<Vec<IpAddr>>>,
    asked: Mutex<usize>,
}

/// The row of the webhook by which somebody is reached.
fn contact_row() -> RowId {
    RowId::new(1_700_000_000_000, 7)
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Turncoat {
    fn will_say(&self, answers: &[&[IpAddr]]) {
        *locked(&self.says) = answers.iter().map(|answer| answer.to_vec()).collect();
        *locked(&self.asked) = 0;
    }

    /// How often it was asked since it was told what to say.
    fn asked(&self) -> usize {
        *locked(&self.asked)
    }
}

impl Names for Turncoat {
    fn lookup<'a>(&'a self, host: &'a str, port: u16) -> BoxFuture<'a, std::io::Result<Vec<SocketAddr>>> {
        let answer = if host == STEADY {
            vec![HERE]
        } else {
            *locked(&self.asked) += 1;
            let mut says = locked(&self.says);
            let is_last = says.len() == 1;
            let answer = says.pop_front().unwrap_or_default();
            if is_last {
                says.push_front(answer.clone());
            }
            answer
        };
        Box::pin(async move { Ok(answer.into_iter().map(|ip| SocketAddr::new(ip, port)).collect()) })
    }
}

/// A service on loopback that answers one request a connection, and knows by which name it was asked.
struct Service {
    port: u16,
    hosts: Arc<Mutex<Vec<String>>>,
    task: tokio::task::JoinHandle<()>,
}

impl Service {
    async fn start() -> Self {
        let listener = TcpListener::bind((HERE, 0)).await.expect("a free port");
        let port = listener.local_addr().expect("bound").port();
        let hosts = Arc::new(Mutex::new(Vec::new()));
        let heard = hosts.clone();
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                // Whoever hangs up in the middle of it was not heard.
                let _ = answer(stream, port, &heard).await;
            }
        });
        Self { port, hosts, task }
    }

    /// By which names it was asked since the last time.
    fn heard(&self) -> Vec<String> {
        std::mem::take(&mut *locked(&self.hosts))
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn answer(stream: TcpStream, port: u16, heard: &Mutex<Vec<String>>) -> std::io::Result<()> {
    let mut stream = BufReader::new(stream);
    let mut request = String::new();
    while !request.ends_with("\r\n\r\n") {
        if stream.read_line(&mut request).await? == 0 {
            return Ok(());
        }
    }
    let header = |name: &str| {
        let mut lines = request.lines().filter_map(|line| line.split_once(": "));
        lines.find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value.to_owned())
    };
    let length = header("content-length").and_then(|text| text.parse().ok()).unwrap_or_default();
    let mut body = vec![0_u8; length];
    stream.read_exact(&mut body).await?;
    let host = header("host").unwrap_or_default();
    locked(heard).push(host.split(':').next().unwrap_or_default().to_owned());
    // A token that is about to end is not used twice.
    let (more, body) = match request.split(' ').nth(1).unwrap_or_default() {
        "/token" => {
            (String::new(), json!({"access_token": "planted-access-token", "token_type": "Bearer", "expires_in": 1}))
        }
        "/pages" => (String::new(), json!({"data": [1], "next": "/pages?page=2"})),
        "/pages?page=2" => (String::new(), json!({"data": [2], "next": null})),
        "/away" => (format!("location: http://{TURNING}:{port}/rows\r\n"), json!([])),
        _ => (String::new(), json!([{"id": 1}])),
    };
    let status = if more.is_empty() { "200 OK" } else { "302 Found" };
    let body = body.to_string();
    let text = format!(
        "HTTP/1.1 {status}\r\n{more}content-type: application/json\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}",
        body.len()
    );
    stream.write_all(text.as_bytes()).await?;
    stream.shutdown().await
}

/// Databases that nobody may come to.
struct NoRecords;

const UNREACHED: &str = "the address is judged before the database is spoken to";

impl Records for NoRecords {
    fn update(&self, _: Place, _: Change) -> BoxFuture<'_, Result<Updated, RecordError>> {
        panic!("{UNREACHED}")
    }

    fn ping(&self, _: Place, _: Duration, _: Arc<Secrets>) -> BoxFuture<'_, Result<(), RecordError>> {
        panic!("{UNREACHED}")
    }

    fn read(&self, _: Place, _: RowQuery) -> BoxFuture<'_, Result<RowStream, RecordError>> {
        panic!("{UNREACHED}")
    }

    fn open(&self, _: Place, _: PutWish) -> BoxFuture<'_, Result<Box<dyn Table>, RecordError>> {
        panic!("{UNREACHED}")
    }
}

/// Executors whose names are known by a turncoat.
struct Bed {
    names: Arc<Turncoat>,
    service: Service,
    all: Vec<Arc<dyn Executor>>,
    /// Of whom one is reached by a webhook at the turning name.
    owner: Owner,
    attempts: Mutex<u64>,
}

impl Bed {
    async fn start(allow_loopback: bool) -> Self {
        // The first test of the process installs it; to the others its presence is as good.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let config = Config::load(&Inputs::default()).expect("the defaults hold");
        let mut settings: ExecutorSettings = config.section("executors").expect("a section");
        settings.outbound.allow_loopback = allow_loopback;
        let (names, service) = (Arc::new(Turncoat::default()), Service::start().await);
        let http = HttpClient::knowing(settings.http.clone(), settings.outbound.clone(), names.clone());
        let owner = Owner::new(UserId(Uuid::from_u128(7)), None);
        let people = MemoryPeople::default();
        people.reach(ContactMethod {
            id: contact_row(),
            owner,
            kind: ContactKind::Webhook,
            address: format!("http://{TURNING}:{}/hook", service.port),
            integration: None,
            verified_ms: Some(1),
            code: CodeState::default(),
            version: 1,
        });
        let all = through(
            Arc::new(http.expect("a client")),
            &settings,
            Arc::new(MemoryInbox::default()),
            Arc::new(NoRecords),
            Reach::people(Arc::new(people)),
            Arc::new(MemoryPositions::default()),
        );
        Self { names, service, all: all.expect("executors"), owner, attempts: Mutex::new(0) }
    }

    /// Performs a way anew.
    async fn go(&self, way: &Way) -> Performed {
        let is_it = |executor: &&Arc<dyn Executor>| executor.action_type() == way.action;
        let executor = self.all.iter().find(is_it).expect("a known action type");
        let random = {
            let mut attempts = locked(&self.attempts);
            *attempts += 1;
            *attempts
        };
        let run = RunId::new(1_700_000_000_000, random.into());
        let connection = way.integration.as_ref().map(|(kind, definition)| {
            Arc::new(connection(executor.as_ref(), self.owner, kind, &self.placed(definition)))
        });
        let mut payload = self.placed(&way.payload);
        if way.action == "data_sync" {
            // One that has a name of its own begins at the beginning.
            payload["name"] = format!("rows-{random}").into();
        }
        let attempt = Attempt {
            owner: self.owner,
            run,
            step: 0,
            execution: run.execution(0),
            attempt: 0,
            key: None,
            action_target: way.target.into(),
            connection,
            source: None,
            payload: Arc::new(payload),
            secrets: Arc::default(),
            timeout: Duration::from_secs(20),
        };
        executor.execute(attempt).await
    }

    /// With the service's port.
    fn placed(&self, value: &Value) -> Value {
        let text = value.to_string().replace("PORT", &self.service.port.to_string());
        serde_json::from_str(&text).expect("it was JSON")
    }
}

fn connection(executor: &dyn Executor, owner: Owner, kind: &str, definition: &Value) -> Connection {
    let kind = executor.kinds().iter().copied().find(|known| known.word == kind).expect("a known kind");
    let integration = Integration {
        id: RowId::new(1_700_000_000_000, 8),
        owner,
        name: "service".to_owned(),
        kind: kind.word.to_owned(),
        definition: serde_json::from_value(definition.clone()).expect("a definition"),
        is_active: true,
        version: 1,
        created_at_ms: 0,
        updated_at_ms: 0,
    };
    let credentials = BTreeMap::from([("client_secret".to_owned(), "planted-client-secret".to_owned())]);
    let connection = Connection::new(&integration, kind, credentials);
    if integration.definition.backup_endpoint.is_some() { connection.at_backup(&integration) } else { connection }
}

/// A way to the turning name.
struct Way {
    name: &'static str,
    action: &'static str,
    target: &'static str,
    /// Its kind and definition.
    integration: Option<(&'static str, Value)>,
    payload: Value,
    /// Whether the service understands what comes.
    is_understood: bool,
}

impl Way {
    fn new(name: &'static str, action: &'static str, payload: Value) -> Self {
        Self { name, action, target: "", integration: None, payload, is_understood: true }
    }

    fn by(self, kind: &'static str, definition: Value) -> Self {
        Self { target: "service", integration: Some((kind, definition)), ..self }
    }
}

fn ways() -> Vec<Way> {
    let turning = |path: &str| format!("http://{TURNING}:PORT/{path}");
    let steady = |path: &str| format!("http://{STEADY}:PORT/{path}");
    let sync = |source: String, destination: String| json!({"name": "rows", "source": {"http": {"url": source}}, "destination": {"http": {"url": destination}}});
    let oauth = json!({"endpoint": steady(""), "settings": {"auth": "oauth2", "token_url": turning("token"), "client_id": "robot"},
        "credentials": {"client_secret": "secrets.CLIENT"}});
    let paging = json!({"by": "next_url", "items": "/data", "next": "/next"});
    let told = json!({"contact_method_id": contact_row().to_string(), "contact_kind": "webhook", "title": "Down", "message": "web-1"});
    let letter = json!({"to": "ann@example.com", "text": "x"});
    let change = json!({"table": "customers", "where": {"id": 1}, "values": {"name": "x"}});
    let mail =
        json!({"endpoint": format!("smtp://{TURNING}:PORT"), "settings": {"from": "ops@example.com", "tls": "none"}});
    let database = json!({"endpoint": format!("postgres://{TURNING}:PORT/crm"),
        "settings": {"username": "robot", "tls": "none", "tables": {"customers": ["id", "name"]}}});
    vec![
        Way::new("a url", "api_call", json!({"url": turning("rows")})),
        Way::new("a redirect", "api_call", json!({"url": steady("away")})),
        Way::new("pages", "api_call", json!({"url": turning("pages"), "paging": paging})),
        Way::new("an endpoint", "api_call", json!({"path": "rows"})).by("http", json!({"endpoint": turning("")})),
        Way::new("a backup", "api_call", json!({"path": "rows"}))
            .by("http", json!({"endpoint": steady(""), "backup_endpoint": turning("")})),
        Way::new("a token", "api_call", json!({"path": "rows"})).by("http", oauth),
        Way::new("a source", "data_sync", sync(turning("rows"), steady("put"))),
        Way::new("a destination", "data_sync", sync(steady("rows"), turning("put"))),
        Way::new("a webhook", "trigger_webhook", json!({"url": turning("hook"), "payload": {"a": 1}})),
        Way { target: "webhook", ..Way::new("a contact method", "send_notification", told) },
        Way { is_understood: false, ..Way::new("a letter", "send_notification", letter).by("smtp", mail) },
        Way { is_understood: false, ..Way::new("a row", "update_record", change).by("postgres", database) },
    ]
}

#[track_caller]
fn assert_refused(way: &Way, performed: &Performed, words: &str) {
    let Outcome::Failed(failure) = &performed.outcome else { panic!("{}: {:?}", way.name, performed.outcome) };
    assert_eq!(failure.code.as_str(), "forbidden_address", "{}: {failure:?}", way.name);
    assert!(failure.message.contains(words) && !failure.retryable, "{}: {failure:?}", way.name);
}

#[tokio::test]
async fn a_name_that_turns_to_a_forbidden_address_is_not_followed_there_by_any_way() {
    let bed = Bed::start(true).await;
    for way in ways() {
        if way.is_understood {
            bed.names.will_say(&[&[HERE]]);
            let performed = bed.go(&way).await;
            let is_done = matches!(performed.outcome, Outcome::Completed(_));
            assert!(is_done, "{}, while the name is good: {:?}", way.name, performed.outcome);
            let heard = bed.service.heard();
            assert!(heard.iter().any(|host| host == TURNING), "{}: {heard:?}", way.name);
            let connections = heard.iter().filter(|host| *host == TURNING).count();
            assert_eq!(bed.names.asked(), connections, "{}: asked once for each connection", way.name);
        }
        bed.names.will_say(&[&[METADATA]]);
        assert_refused(&way, &bed.go(&way).await, "address 169.254.169.254 is not allowed");
        let heard = bed.service.heard();
        assert!(bed.names.asked() > 0 && heard.iter().all(|host| host == STEADY), "{}: {heard:?}", way.name);
    }
}

#[tokio::test]
async fn a_name_that_turns_to_this_machine_is_not_followed_there_by_any_way() {
    let bed = Bed::start(false).await;
    bed.names.will_say(&[&[HERE]]);
    for way in ways() {
        assert_refused(&way, &bed.go(&way).await, "executors.outbound.allow_loopback");
    }
    assert_eq!(bed.service.heard(), [""; 0]);
}

/// The name is good when it is first asked for, and leads elsewhere the next moment.
#[tokio::test]
async fn a_name_that_turns_between_two_questions_gains_nothing() {
    let bed = Bed::start(true).await;
    let one = Way::new("a url", "api_call", json!({"url": format!("http://{TURNING}:PORT/rows")}));
    bed.names.will_say(&[&[HERE], &[METADATA]]);
    let performed = bed.go(&one).await;
    assert!(matches!(performed.outcome, Outcome::Completed(_)), "{:?}", performed.outcome);
    assert_eq!(bed.names.asked(), 1, "what was judged is what was connected to: the second answer was never asked for");
    assert_refused(&one, &bed.go(&one).await, "169.254.169.254");
    assert_eq!(bed.service.heard(), [TURNING]);

    let paging = json!({"by": "next_url", "items": "/data", "next": "/next"});
    let pages = Way::new("pages", "api_call", json!({"url": format!("http://{TURNING}:PORT/pages"), "paging": paging}));
    bed.names.will_say(&[&[HERE], &[METADATA]]);
    assert_refused(&pages, &bed.go(&pages).await, "169.254.169.254");
    assert_eq!(bed.service.heard(), [TURNING], "the second page is not asked for");

    // Of several addresses the allowed ones are tried, and no other.
    bed.names.will_say(&[&[METADATA, HERE]]);
    let performed = bed.go(&one).await;
    assert!(matches!(performed.outcome, Outcome::Completed(_)), "{:?}", performed.outcome);
}
