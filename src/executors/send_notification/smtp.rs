//! E-mail by SMTP (RFC 5321), with STARTTLS (RFC 3207) or TLS from the start (RFC 8314), and AUTH PLAIN or LOGIN (RFC 4954).
//!
//! A `smtp://` endpoint must offer STARTTLS unless the integration says `tls: none`, and then it gets no password. The
//! outbound rules judge the host and the address that is connected to, as they do for HTTP. A 4xx may pass, a 5xx is
//! final. The Message-ID is made of the execution's id: a receiver that sees it twice can tell.

use std::net::SocketAddr;
use std::time::{Duration, SystemTime};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use core314_actors::ports::executor::{Attempt, Connection};
use core314_domain::integration::{Definition, Endpoint, Field, Kind};
use core314_domain::log::Failure;
use core314_domain::plan::Problem;
use lettre::message::header::{HeaderName, HeaderValue};
use lettre::message::{MultiPart, SinglePart};
use lettre::transport::smtp::authentication::{Credentials, Mechanism};
use lettre::transport::smtp::client::{AsyncSmtpConnection, TlsParameters};
use lettre::transport::smtp::commands::Noop;
use lettre::transport::smtp::extension::ClientId;
use lettre::transport::smtp::response::Response;
use lettre::{Message, transport::smtp::Error};
use reqwest::Url;
use serde_json::{Value, json};

use super::letter::{self, Letter};
use super::no_texts;
use crate::executors::client::HttpClient;
use crate::executors::failure::Code;
use crate::executors::redact::Redactor;

const PASSWORD: &str = "password";
const USERNAME: &str = "username";
/// Whether the connection is encrypted: `required` where nothing is said.
const TLS: &str = "tls";

/// The kind of its integrations.
pub const KIND: Kind = Kind {
    word: "smtp",
    about: "E-mail by a server of SMTP.",
    endpoint: Some(Endpoint { schemes: &["smtps", "smtp"], default: None }),
    credentials: &[Field::optional(PASSWORD, "with a username: its password")],
    settings: &[
        Field::required(letter::FROM, "the sender, as name@host or Name <name@host>"),
        Field::optional(USERNAME, "who signs in; nobody where nothing is said"),
        Field::optional(TLS, "of smtp://: required (default), or none for a relay that is trusted with plain text"),
        Field::optional("hello", "how this server names itself to the other; its address where nothing is said"),
    ],
    check,
};

fn check(definition: &Definition) -> Vec<Problem> {
    let mut found = no_texts(definition);
    found.extend(letter::sender_problem(definition));
    if let Some(Err(problem)) = definition.endpoint.as_deref().map(Server::read) {
        found.push(Problem::new("/endpoint", problem));
    }
    let (has_user, has_password) =
        (definition.settings.contains_key(USERNAME), definition.credentials.contains_key(PASSWORD));
    if has_user != has_password {
        found.push(Problem::new("/credentials/password", "username and password are given together, or neither is"));
    }
    match definition.text(TLS) {
        Some("none") if has_password => {
            found.push(Problem::new("/settings/tls", "must not be none where a password is sent"));
        }
        None | Some("required" | "none") => {}
        Some(other) => found.push(Problem::new("/settings/tls", format!("'{other}' is not one of: required, none"))),
    }
    found
}

/// Where a server is.
#[derive(Debug)]
struct Server {
    /// As HTTP would have it, which reads hosts as the outbound rules do.
    url: Url,
    scheme: &'static str,
    host: String,
    port: u16,
}

impl Server {
    fn read(endpoint: &str) -> Result<Self, String> {
        let (scheme, default) = if endpoint.starts_with("smtps://") { ("smtps", 465) } else { ("smtp", 587) };
        let rest = endpoint.split_once("://").map_or("", |(_, rest)| rest);
        let url = Url::parse(&format!("http://{rest}")).map_err(|error| format!("is no address: {error}"))?;
        if url.path() != "/" || url.query().is_some() {
            return Err("must end with the host or the port".to_owned());
        }
        // The port of HTTP is not shown when it is the default one.
        let port = if rest.trim_end_matches('/').ends_with(":80") { 80 } else { url.port().unwrap_or(default) };
        let host = url.host_str().unwrap_or_default().trim_matches(['[', ']']).to_owned();
        let mut url = url;
        let _ = url.set_port(Some(port));
        Ok(Self { url, scheme, host, port })
    }
}

/// Sends an attempt's e-mail.
pub async fn deliver(
    http: &HttpClient,
    attempt: &Attempt,
    redactor: &mut Redactor,
    letter: &Letter,
) -> Result<Value, Failure> {
    let message = message(letter, attempt)?;
    let response = answered(http, attempt, redactor, Some(&message)).await?;
    Ok(json!({
        "message_id": message_id(letter, attempt),
        "accepted": letter.recipients(),
        "response": response,
    }))
}

/// Signs in, and says NOOP instead of a message.
pub async fn probe(http: &HttpClient, attempt: &Attempt, redactor: &mut Redactor) -> Result<Value, Failure> {
    Ok(json!({"response": answered(http, attempt, redactor, None).await?}))
}

/// What the server says to a message, or to NOOP, within the attempt's time.
async fn answered(
    http: &HttpClient,
    attempt: &Attempt,
    redactor: &mut Redactor,
    message: Option<&Message>,
) -> Result<String, Failure> {
    let connection = attempt.connection.as_deref().expect("whoever calls has an integration");
    if let (Some(user), Some(password)) = (connection.text(USERNAME), connection.credential(PASSWORD)) {
        redactor.hide(&STANDARD.encode(format!("\0{user}\0{password}")));
    }
    // A little of the time is kept for the report.
    let within = attempt.timeout.saturating_sub((attempt.timeout / 50).min(Duration::from_millis(100)));
    let answer = tokio::time::timeout(within, exchange(http, connection, message)).await;
    let late = |_| Code::Timeout.failure(format!("no answer within {} ms", attempt.timeout.as_millis()));
    let answer = answer.map_err(late)??;
    let said: Vec<&str> = answer.message().collect();
    Ok(format!("{} {}", answer.code(), said.join(" ")))
}

async fn exchange(http: &HttpClient, connection: &Connection, message: Option<&Message>) -> Result<Response, Failure> {
    let endpoint = connection.endpoint.as_deref().unwrap_or_default();
    let server =
        Server::read(endpoint).map_err(|problem| Code::InvalidPayload.failure(format!("the endpoint {problem}")))?;
    let forbidden = |error: crate::executors::outbound::Forbidden| Code::ForbiddenAddress.failure(error.0);
    http.rules().check(server.scheme, &server.url).map_err(forbidden)?;
    let tls = TlsParameters::new_rustls(server.host.clone()).map_err(|error| failure(&error))?;
    let hello = connection.text("hello").map_or_else(ClientId::default, |name| ClientId::Domain(name.to_owned()));
    let mut smtp = connect(http, &server, &hello, &tls).await?;
    let outcome = converse(&mut smtp, &server, connection, (&hello, tls), message).await;
    // A connection that has failed may have no stream any more to say goodbye on.
    if outcome.is_ok() {
        // What was sent is sent: whether the other side heard the goodbye does not matter.
        let _ = smtp.quit().await;
    }
    outcome
}

/// Connects to the first of the allowed addresses that takes the connection.
async fn connect(
    http: &HttpClient,
    server: &Server,
    hello: &ClientId,
    tls: &TlsParameters,
) -> Result<AsyncSmtpConnection, Failure> {
    let mut failed = Code::Connect.failure(format!("'{}' has no address", server.host));
    let addresses = http.rules().addresses(&server.host, server.port).await?;
    for address in addresses {
        let address: SocketAddr = address;
        let tls = (server.scheme == "smtps").then(|| tls.clone());
        match AsyncSmtpConnection::connect_tokio1(address, Some(http.connect_timeout()), hello, tls, None).await {
            Ok(smtp) => return Ok(smtp),
            Err(error) => failed = failure(&error),
        }
    }
    Err(failed)
}

async fn converse(
    smtp: &mut AsyncSmtpConnection,
    server: &Server,
    connection: &Connection,
    (hello, tls): (&ClientId, TlsParameters),
    message: Option<&Message>,
) -> Result<Response, Failure> {
    if server.scheme == "smtp" && connection.text(TLS) != Some("none") {
        if !smtp.can_starttls() {
            let message = "the server offers no STARTTLS; the setting tls: none sends in plain text";
            return Err(Failure::fatal(Code::Tls.word(), message));
        }
        smtp.starttls(tls, hello).await.map_err(|error| failure(&error))?;
    }
    if let (Some(user), Some(password)) = (connection.text(USERNAME), connection.credential(PASSWORD)) {
        if !smtp.is_encrypted() {
            return Err(Failure::fatal(Code::Tls.word(), "a password is not sent over a connection in plain text"));
        }
        let credentials = Credentials::new(user.to_owned(), password.to_owned());
        smtp.auth(&[Mechanism::Plain, Mechanism::Login], &credentials).await.map_err(|error| failure(&error))?;
    }
    let answer = match message {
        Some(message) => smtp.send(message.envelope(), &message.formatted()).await,
        None => smtp.command(Noop).await,
    };
    answer.map_err(|error| failure(&error))
}

fn message_id(letter: &Letter, attempt: &Attempt) -> String {
    format!("<{}.core314@{}>", attempt.idempotency_key(), letter.from.email.domain())
}

/// The e-mail as it is sent: text, HTML, or both as alternatives.
fn message(letter: &Letter, attempt: &Attempt) -> Result<Message, Failure> {
    // Answering machines keep silent (RFC 3834).
    let automatic = HeaderName::new_from_ascii_str("Auto-Submitted");
    let mut builder = Message::builder()
        .from(letter.from.clone())
        .subject(&letter.subject)
        .date(SystemTime::now())
        .message_id(Some(message_id(letter, attempt)))
        .raw_header(HeaderValue::new(automatic, "auto-generated".to_owned()));
    for to in &letter.to {
        builder = builder.to(to.clone());
    }
    for cc in &letter.cc {
        builder = builder.cc(cc.clone());
    }
    for bcc in &letter.bcc {
        builder = builder.bcc(bcc.clone());
    }
    if let Some(reply_to) = &letter.reply_to {
        builder = builder.reply_to(reply_to.clone());
    }
    let built = match (&letter.text, &letter.html) {
        (Some(text), Some(html)) => builder.multipart(MultiPart::alternative_plain_html(text.clone(), html.clone())),
        (None, Some(html)) => builder.singlepart(SinglePart::html(html.clone())),
        (text, None) => builder.singlepart(SinglePart::plain(text.clone().unwrap_or_default())),
    };
    built.map_err(|error| Code::InvalidPayload.failure(error.to_string()))
}

/// What an error of the conversation means. An answer of the server is its own words.
fn failure(error: &Error) -> Failure {
    let mut causes = std::iter::successors(std::error::Error::source(error), |cause| match cause.downcast_ref() {
        // An I/O error names what it wraps by `get_ref`; its `source` is the source of that.
        Some(io) => std::io::Error::get_ref(io).map(|inner| inner as &(dyn std::error::Error + 'static)),
        None => cause.source(),
    });
    if let Some(tls) = causes.find_map(|cause| cause.downcast_ref::<rustls::Error>()) {
        let code = if matches!(tls, rustls::Error::InvalidCertificate(_)) { Code::Certificate } else { Code::Tls };
        return code.failure(tls.to_string());
    }
    let words = std::error::Error::source(error).map_or_else(|| error.to_string(), ToString::to_string);
    if let Some(status) = error.status() {
        let message = format!("{status} {words}");
        let refusal = if error.is_transient() { Failure::retryable } else { Failure::fatal };
        return refusal(Code::Refused.word(), message);
    }
    if error.is_timeout() {
        return Code::Timeout.failure(words);
    }
    if error.is_tls() {
        return Code::Tls.failure(words);
    }
    if error.is_client() {
        return Code::InvalidPayload.failure(words);
    }
    if error.is_response() { Code::Protocol.failure(words) } else { Code::Connect.failure(words) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_is_where_its_endpoint_says() {
        for (endpoint, host, port, scheme) in [
            ("smtp://mail.example.com", "mail.example.com", 587, "smtp"),
            ("smtps://mail.example.com/", "mail.example.com", 465, "smtps"),
            ("smtp://127.1:2525", "127.0.0.1", 2525, "smtp"),
            ("smtp://[::1]:80", "::1", 80, "smtp"),
        ] {
            let server = Server::read(endpoint).unwrap_or_else(|problem| panic!("{endpoint} {problem}"));
            assert_eq!((server.host.as_str(), server.port, server.scheme), (host, port, scheme), "{endpoint}");
        }
        for endpoint in ["smtp://", "smtp://h/inbox", "smtp://h:99999"] {
            assert!(Server::read(endpoint).is_err(), "{endpoint}");
        }
    }

    #[test]
    fn an_integration_says_how_it_is_opened() {
        let problems = |settings: Value, credentials: Value| -> Vec<String> {
            let mut settings = settings;
            settings["from"] = "Ops <ops@example.com>".into();
            let definition = json!({"endpoint": "smtp://h", "settings": settings, "credentials": credentials});
            let definition: Definition = serde_json::from_value(definition).expect("a definition");
            definition.problems(&KIND).into_iter().map(|p| format!("{}: {}", p.pointer, p.message)).collect()
        };
        assert_eq!(problems(json!({"username": "u"}), json!({"password": "secrets.P"})), [""; 0]);
        assert_eq!(problems(json!({"tls": "none"}), json!({})), [""; 0]);
        let together = "/credentials/password: username and password are given together, or neither is";
        assert_eq!(problems(json!({"username": "u"}), json!({})), [together]);
        assert_eq!(
            problems(json!({"username": "u", "tls": "none"}), json!({"password": "secrets.P"})),
            ["/settings/tls: must not be none where a password is sent"]
        );
        assert_eq!(
            problems(json!({"tls": "maybe"}), json!({})),
            ["/settings/tls: 'maybe' is not one of: required, none"]
        );
    }
}
