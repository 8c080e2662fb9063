//! TLS of the real binary: a renewed certificate is shown without a restart, by itself and on SIGHUP; a bad one is not.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use reqwest::{Client, StatusCode, Version};

use serde_json::{Value, json};

use super::support::{Installation, SERVICE_KEY, Server, StoreKind, USER, tail};

/// The files of an installation's certificate.
struct Files {
    certificate: PathBuf,
    key: PathBuf,
}

impl Files {
    fn of(installation: &Installation) -> Self {
        let dir = installation.dir.path();
        Self { certificate: dir.join("tls.crt"), key: dir.join("tls.key") }
    }

    /// Writes a fresh pair, and gives clients that trust it alone: one for any protocol, one for HTTP/1.1.
    fn renew(&self) -> Trusting {
        let made = rcgen::generate_simple_self_signed(["localhost".to_owned(), "127.0.0.1".to_owned()]).expect("names");
        std::fs::write(&self.key, made.signing_key.serialize_pem()).expect("a key file");
        std::fs::write(&self.certificate, made.cert.pem()).expect("a certificate file");
        Trusting(made.cert.pem())
    }

    fn environment(&self, reload_seconds: u32) -> [(&'static str, String); 3] {
        let text = |path: &Path| path.display().to_string();
        [
            ("CORE314__HTTP__TLS__CERTIFICATE", text(&self.certificate)),
            ("CORE314__HTTP__TLS__KEY", text(&self.key)),
            ("CORE314__HTTP__TLS__RELOAD_SECONDS", reload_seconds.to_string()),
        ]
    }
}

/// Who trusts one certificate and no other.
struct Trusting(String);

impl Trusting {
    /// On a connection of its own, because an open one keeps the certificate that it began with.
    async fn get(&self, server: &Server, only_http1: bool) -> reqwest::Result<reqwest::Response> {
        let root = reqwest::Certificate::from_pem(self.0.as_bytes()).expect("PEM");
        let builder = Client::builder().tls_certs_only([root]).timeout(Duration::from_secs(10));
        let client = if only_http1 { builder.http1_only() } else { builder }.build().expect("a client");
        client.get(format!("{}/healthz", server.url.replace("http://", "https://"))).send().await
    }

    /// Saves a webhook over HTTP/2, and gives its URL.
    async fn webhook_url(&self, server: &Server) -> String {
        let root = reqwest::Certificate::from_pem(self.0.as_bytes()).expect("PEM");
        let client = Client::builder().tls_certs_only([root]).build().expect("a client");
        let request = client.post(format!("{}/api/v1/webhooks", server.url.replace("http://", "https://")));
        let request = request.bearer_auth(SERVICE_KEY).header("X-User-Id", USER);
        let answer = request.json(&json!({"name": "h", "trigger_type": "webhook"})).send().await.expect("an answer");
        assert_eq!((answer.status(), answer.version()), (StatusCode::CREATED, Version::HTTP_2));
        let saved: Value = answer.json().await.expect("JSON");
        saved["url"].as_str().expect("a URL").to_owned()
    }

    async fn until_trusted(&self, server: &Server, installation: &Installation) {
        let started = Instant::now();
        while self.get(server, false).await.is_err() {
            let log = || tail(&installation.dir.path().join("server.log"));
            assert!(started.elapsed() < Duration::from_secs(20), "the new certificate is not shown: {}", log());
        }
    }
}

fn until_logged(installation: &Installation, words: &str) {
    let started = Instant::now();
    let log = installation.dir.path().join("server.log");
    while !std::fs::read_to_string(&log).is_ok_and(|text| text.contains(words)) {
        assert!(started.elapsed() < Duration::from_secs(20), "'{words}' is not in the log: {}", tail(&log));
        std::thread::yield_now();
    }
}

#[tokio::test]
async fn a_renewed_certificate_needs_no_restart_and_a_broken_one_does_no_harm() {
    let installation = Installation::new(StoreKind::Sqlite).await;
    let files = Files::of(&installation);
    let first = files.renew();
    let server = Server::start_with(&installation, &files.environment(1)).expect("it becomes ready");

    let answer = first.get(&server, false).await.expect("trusted");
    assert_eq!((answer.status(), answer.version()), (StatusCode::OK, Version::HTTP_2));
    assert_eq!(answer.headers()["strict-transport-security"], "max-age=31536000");
    assert_eq!(first.get(&server, true).await.expect("trusted").version(), Version::HTTP_11);
    assert!(server.http.get(format!("{}/healthz", server.url)).send().await.is_err(), "nothing in the clear");

    let url = first.webhook_url(&server).await;
    assert!(url.starts_with(&server.url.replace("http://", "https://")), "{url} is where the server was reached");

    let second = files.renew();
    second.until_trusted(&server, &installation).await;
    assert!(first.get(&server, false).await.is_err(), "the old certificate is no longer shown");

    std::fs::write(&files.certificate, "-----BEGIN CERTIFICATE-----\nbroken").expect("a file");
    until_logged(&installation, "the old one stays in use");
    assert_eq!(second.get(&server, false).await.expect("still served").status(), StatusCode::OK);
    std::fs::remove_file(&files.key).expect("it was there");
    until_logged(&installation, "tls.key cannot be read");
    assert_eq!(second.get(&server, false).await.expect("still served").status(), StatusCode::OK);

    let third = files.renew();
    third.until_trusted(&server, &installation).await;
}

#[tokio::test]
async fn a_hangup_reloads_what_can_be_and_names_what_cannot() {
    let installation = Installation::new(StoreKind::Sqlite).await;
    let files = Files::of(&installation);
    files.renew();
    let config = installation.dir.path().join("core314.toml");
    std::fs::write(&config, "[engine]\npage_size = 100\n").expect("a file");
    let mut environment = files.environment(3_600).to_vec();
    environment.push(("CORE314_CONFIG", config.display().to_string()));
    let server = Server::start_with(&installation, &environment).expect("it becomes ready");

    let second = files.renew();
    std::fs::write(&config, "[engine]\npage_size = 200\n").expect("a file");
    server.signal(Signal::SIGHUP);
    second.until_trusted(&server, &installation).await;
    until_logged(&installation, "needs a restart to take effect");
    until_logged(&installation, "engine.page_size");

    std::fs::write(&config, "[engine]\npage_size = 0\n").expect("a file");
    server.signal(Signal::SIGHUP);
    until_logged(&installation, "nothing of the configuration was reloaded");
    assert_eq!(second.get(&server, false).await.expect("still served").status(), StatusCode::OK);
}

#[tokio::test]
async fn a_certificate_that_is_no_good_stops_the_start() {
    let installation = Installation::new(StoreKind::Sqlite).await;
    let files = Files::of(&installation);
    let serve = |environment: &[(&str, String)], code: i32| {
        let output = installation
            .command(&["serve", "--listen", "127.0.0.1:0"])
            .envs(environment.iter().map(|(k, v)| (*k, v.as_str())))
            .output()
            .expect("the binary runs");
        assert_eq!(output.status.code(), Some(code), "{output:?}");
        String::from_utf8_lossy(&output.stderr).into_owned()
    };
    // The files may come a moment later: whoever starts servers tries again. What contradicts itself stays so.
    let said = serve(&files.environment(1), 1);
    assert!(said.contains("http.tls.certificate (environment") && said.contains("tls.crt cannot be read"), "{said}");
    let said = serve(&files.environment(1)[..1], 2);
    assert!(said.contains("http.tls.certificate and http.tls.key go together"), "{said}");
}
