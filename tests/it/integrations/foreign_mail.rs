//! E-mail to an SMTP server that is not ours (`aiosmtpd`), by STARTTLS and by TLS from the start: what it takes, as another
//! parser reads it, and what it refuses.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::time::Duration;

use reqwest::Method;
use serde_json::{Value, json};

use super::{done, run, secret, step};
use crate::support::{Installation, SECRET_KEY, Server, StoreKind};

/// As they stand in the script.
const USER: &str = "robot";
const PASSWORD: &str = "planted-smtp-password-0002";
const NOBODY: &str = "nobody@example.com";
const MOST_BYTES: usize = 20_000;

struct Aiosmtpd {
    child: Child,
    port: u64,
    taken: mpsc::Receiver<Value>,
}

impl Aiosmtpd {
    fn start(manner: &str, certificate: &Path, key: &Path) -> Self {
        let python = std::env::var("CORE314_TEST_AIOSMTPD")
            .expect("CORE314_TEST_AIOSMTPD names no Python with aiosmtpd: run `make test`, which provides one");
        let mut child = Command::new(python)
            .arg(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/it/providers/foreign_smtp.py"))
            .arg(manner)
            .args([certificate, key])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("Python starts");
        let lines = BufReader::new(child.stdout.take().expect("it is piped"));
        let (tell, taken) = mpsc::channel();
        std::thread::spawn(move || {
            for line in lines.lines().map_while(Result::ok) {
                // The test may have seen enough.
                tell.send(serde_json::from_str(&line).expect("a line of JSON")).ok();
            }
        });
        let mut server = Self { child, port: 0, taken };
        server.port = server.next()["port"].as_u64().expect("a port");
        server
    }

    /// The next that it says.
    fn next(&self) -> Value {
        self.taken.recv_timeout(Duration::from_mins(1)).expect("it says something")
    }
}

impl Drop for Aiosmtpd {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

/// The e-mail as its readers get it.
fn assert_taken(server: &Aiosmtpd, row: &Value) {
    let result = &row["execution_result"];
    assert_eq!(row["execution_status"], "completed", "{row}");
    assert_eq!((&result["accepted"], &result["response"]), (&json!(3), &json!("250 2.0.0 taken")), "{row}");
    let mail = server.next();
    assert_eq!(mail["to"], json!(["ann@example.com", "bob@example.com", "eve@example.com"]), "{mail}");
    assert_eq!(mail["header_to"], "Änn <ann@example.com>, bob@example.com", "{mail}");
    assert_eq!(
        (&mail["from"], &mail["user"], &mail["is_encrypted"]),
        (&json!("ops@example.com"), &json!(USER), &json!(true)),
        "{mail}"
    );
    assert_eq!((&mail["subject"], &mail["message_id"]), (&json!("web-1 – down"), &result["message_id"]), "{mail}");
    let text = mail["text"].as_str().expect("a text").replace("\r\n", "\n");
    assert_eq!(text.trim_end(), ".first\n..second, größer", "{mail}");
    assert_eq!(mail["html"].as_str().map(str::trim_end), Some("<p>Größe</p>"), "{mail}");
    assert_eq!(mail["defects"], json!([]), "{mail}");
}

async fn integrations(server: &Server, ports: [u64; 2]) {
    secret(server, "MAIL", PASSWORD).await;
    secret(server, "WRONG", "planted-wrong-password").await;
    let [starttls, tls] = ports;
    for (name, endpoint, password) in [
        ("start", format!("smtp://localhost:{starttls}"), Some("secrets.MAIL")),
        ("tls", format!("smtps://localhost:{tls}"), Some("secrets.MAIL")),
        ("start-wrong", format!("smtp://localhost:{starttls}"), Some("secrets.WRONG")),
        ("tls-wrong", format!("smtps://localhost:{tls}"), Some("secrets.WRONG")),
        ("nobody", format!("smtp://localhost:{starttls}"), None),
        ("too-early", format!("smtps://127.0.0.1:{starttls}"), Some("secrets.MAIL")),
    ] {
        let mut body =
            json!({"name": name, "kind": "smtp", "endpoint": endpoint, "settings": {"from": "Ops <ops@example.com>"}});
        if let Some(password) = password {
            body["settings"]["username"] = USER.into();
            body["credentials"] = json!({"password": password});
        }
        done(server, Method::POST, "/api/v1/integrations", body).await;
    }
}

#[tokio::test]
async fn mail_goes_to_a_server_that_is_not_ours() {
    let installation = Installation::new(StoreKind::Sqlite).await;
    let folder = installation.dir.path();
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).expect("a certificate");
    let (certificate, key) = (folder.join("mail.pem"), folder.join("mail.key"));
    std::fs::write(&certificate, made.cert.pem()).expect("a file");
    std::fs::write(&key, made.signing_key.serialize_pem()).expect("a file");
    let servers = ["starttls", "tls"].map(|manner| Aiosmtpd::start(manner, &certificate, &key));
    let environment =
        [("CORE314_SECRET_KEY", SECRET_KEY.to_owned()), ("SSL_CERT_FILE", certificate.display().to_string())];
    let server = Server::start_with(&installation, &environment).expect("the server becomes ready");
    integrations(&server, servers.each_ref().map(|server| server.port)).await;

    let letter = json!({"to": ["Änn <ann@example.com>", "bob@example.com"], "bcc": "eve@example.com",
        "subject": "{{ trigger.host }} – down", "text": ".first\n..second, größer\n", "html": "<p>Größe</p>"});
    let plain = json!({"to": "ann@example.com", "text": "x"});
    let unknown = json!({"to": ["ann@example.com", NOBODY], "text": "x"});
    let line = "A line like many others, of which there are more than enough.\n";
    let large = json!({"to": "ann@example.com", "text": line.repeat(MOST_BYTES / line.len() + 1)});
    let send = |id: &str, target: &str, payload: &Value| step(id, "send_notification", target, payload.clone());
    let steps = vec![
        send("start", "start", &letter),
        send("tls", "tls", &letter),
        send("start_wrong", "start-wrong", &plain),
        send("tls_wrong", "tls-wrong", &plain),
        send("unsigned", "nobody", &plain),
        send("start_unknown", "start", &unknown),
        send("tls_unknown", "tls", &unknown),
        send("start_large", "start", &large),
        send("tls_large", "tls", &large),
        send("too_early", "too-early", &plain),
        send("after_all", "start", &plain),
    ];
    let log = run(&server, "mail", steps, json!({"host": "web-1"})).await;
    assert_eq!(log.len(), 11, "{log:?}");
    for (place, server) in servers.iter().enumerate() {
        assert_taken(server, &log[place]);
    }
    for (place, code, words) in [
        (2, "refused", "535 5.7.8"),
        (3, "refused", "535 5.7.8"),
        (4, "refused", "530 5.7.0"),
        (5, "refused", "550 5.1.1"),
        (6, "refused", "550 5.1.1"),
        (7, "refused", "552"),
        (8, "refused", "552"),
        // Who speaks TLS to a server that is not there yet is not understood.
        (9, "tls", ""),
    ] {
        let row = &log[place];
        assert_eq!(row["execution_error_code"], code, "{row}");
        assert!(row["execution_error"].as_str().is_some_and(|error| error.contains(words)), "{words}: {row}");
    }
    // What was refused was taken from nobody: the next that came is the last.
    assert_eq!(log[10]["execution_status"], "completed", "{}", log[10]);
    assert_eq!(servers[0].next()["text"].as_str().map(str::trim_end), Some("x"));
    for server in &servers {
        assert!(server.taken.try_recv().is_err());
    }
    let shown = server.get("/api/v1/execution-log?limit=500").await.to_string();
    assert!(!shown.contains("planted"), "{shown}");
}
