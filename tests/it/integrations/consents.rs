//! OAuth 2.0's authorization code by the real binary: a person consents, and the service is asked with what that brings.

use reqwest::{Method, StatusCode, Url};
use serde_json::{Value, json};

use super::{done, refused, run, secret, start, step};
use crate::providers::authorization::{self, CLIENT, CLIENT_SECRET, REFRESH_TOKEN};
use crate::support::{SECRET_KEY, Server, StoreKind, USER};

fn integration(name: &str, url: &str, scope: &str) -> Value {
    json!({"name": name, "kind": "http", "endpoint": format!("{url}/api"),
        "credentials": {"client_secret": "secrets.CLIENT", "refresh_token": "secrets.BROUGHT"},
        "settings": {"auth": "oauth2", "authorization_url": format!("{url}/authorize?access_type=offline"),
            "token_url": format!("{url}/token"), "client_id": CLIENT, "scope": scope}})
}

/// What a browser gets there, and where it ends.
async fn visit(url: &str) -> (StatusCode, String, Url) {
    let answer = reqwest::Client::new().get(url).send().await.expect("an answer");
    let (status, end) = (answer.status(), answer.url().clone());
    (status, answer.text().await.expect("a text"), end)
}

async fn a_person_consents(kind: StoreKind) {
    let (installation, mut server) = start(kind).await;
    let first = server.url.clone();
    let service = authorization::start();
    secret(&server, "CLIENT", CLIENT_SECRET).await;
    what_is_refused(&server, &service.url).await;
    done(&server, Method::POST, "/api/v1/integrations", integration("mine", &service.url, "read")).await;
    done(&server, Method::POST, "/api/v1/integrations", integration("denied", &service.url, "nothing")).await;
    let me = |id: &str| step(id, "api_call", "mine", json!({"path": "me", "extract": {"name": "/name"}}));
    let log = run(&server, "before", vec![me("before")], json!({})).await;
    assert_eq!(log[0]["execution_error_code"], "secret_unusable", "{}", log[0]);
    let words = ["integration", "consent", "mine", "-o", "json", "--server", &server.url, "--user", USER];
    let (code, said) = installation.run(&words);
    assert_eq!(code, 0, "{said}");
    let begun: Value = serde_json::from_str(&said).expect("JSON");
    assert_eq!(begun["redirect_uri"], format!("{}/api/v1/oauth/callback", server.url));
    let (status, page, end) = visit(begun["url"].as_str().expect("a URL")).await;
    assert_eq!(status, StatusCode::OK, "{page}");
    assert!(page.contains("<h1>Connected</h1>") && end.path() == "/api/v1/oauth/callback", "{end}");
    // Whoever has seen the URL gets a code of their own there, and nothing by it.
    let (status, said, _) = visit(begun["url"].as_str().expect("a URL")).await;
    assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY, "a state is good once: {said}");
    assert!(said.contains("begin the consent again"), "{said}");
    let log = run(&server, "after", vec![me("after")], json!({})).await;
    assert_eq!(log[0]["execution_result"]["values"], json!({"name": "Ann"}), "{}", log[0]);
    // A new process has no token: it refreshes with what the one before was given in exchange.
    assert_eq!(server.terminate(), Some(0));
    let environment = [("CORE314_SECRET_KEY", SECRET_KEY.to_owned())];
    let server = Server::start_with(&installation, &environment).expect("the server becomes ready");
    // Where the token of that exchange is refused, the attempt asks with what it brought: the one before is spent.
    let doubted = step("doubted", "api_call", "mine", json!({"path": "doubtful", "extract": {"name": "/name"}}));
    let log = run(&server, "later", vec![doubted, me("later"), me("again")], json!({})).await;
    for row in &log {
        assert_eq!(row["execution_result"]["values"], json!({"name": "Ann"}), "{row}");
    }
    let end = end.as_str().replace(&first, &server.url).parse().expect("a URL");
    what_comes_back_wrongly(&server, end).await;
    nothing_is_shown(&installation.dir.path().join("server.log"), &server).await;
}

async fn what_is_refused(server: &Server, url: &str) {
    let mut body = integration("no", url, "read");
    body["credentials"] = json!({"client_secret": "secrets.CLIENT"});
    let expected = StatusCode::UNPROCESSABLE_ENTITY;
    let says = refused(server, Method::POST, "/api/v1/integrations", body.clone(), expected).await;
    assert!(says.contains("/credentials/refresh_token"), "{says}");
    body["settings"].as_object_mut().expect("an object").remove("authorization_url");
    body["name"] = "machine".into();
    done(server, Method::POST, "/api/v1/integrations", body).await;
    let path = "/api/v1/integrations/machine/consent";
    let says = refused(server, Method::POST, path, json!({}), StatusCode::CONFLICT).await;
    assert!(says.contains("authorization_url"), "{says}");
}

/// A state that was used, one that was altered or belongs elsewhere, and a person who says no.
async fn what_comes_back_wrongly(server: &Server, end: Url) {
    let (status, said, _) = visit(end.as_str()).await;
    assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY, "a state is good once: {said}");
    assert!(said.contains("begin the consent again"), "{said}");
    let begun = done(server, Method::POST, "/api/v1/integrations/mine/consent", json!({})).await;
    let begun: Url = begun["url"].as_str().expect("a URL").parse().expect("a URL");
    let fresh = begun.query_pairs().find(|(name, _)| name == "state").expect("a state").1.into_owned();
    let code = end.query_pairs().find(|(name, _)| name == "code").expect("a code").1.into_owned();
    let (status, said, _) = visit(&format!("{}/api/v1/oauth/callback?code={code}&state={fresh}", server.url)).await;
    assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY, "a code is good once: {said}");
    assert!(said.contains("invalid_grant"), "{said}");
    // Unaltered it would say what the service says of the code.
    let mut altered = fresh.clone().into_bytes();
    let at = altered.len() / 2;
    altered[at] = if altered[at] == b'A' { b'B' } else { b'A' };
    for state in [String::from_utf8(altered).expect("ASCII"), String::new(), "v1.00000000.AAAA".to_owned()] {
        let (status, said, _) = visit(&format!("{}/api/v1/oauth/callback?code=x&state={state}", server.url)).await;
        assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY, "{said}");
        assert!(said.contains("begin the consent again"), "{said}");
    }
    let denied = done(server, Method::POST, "/api/v1/integrations/denied/consent", json!({})).await;
    let (status, said, _) = visit(denied["url"].as_str().expect("a URL")).await;
    assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY, "{said}");
    assert!(said.contains("access_denied"), "{said}");
    // It belongs to what is gone.
    done(server, Method::DELETE, "/api/v1/integrations/mine", Value::Null).await;
    let (status, said, _) = visit(&format!("{}/api/v1/oauth/callback?code=x&state={fresh}", server.url)).await;
    assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY, "{said}");
    assert!(said.contains("begin the consent again"), "{said}");
}

async fn nothing_is_shown(log: &std::path::Path, server: &Server) {
    let audit = server.get("/api/v1/audit-log?limit=200").await.to_string();
    assert!(audit.contains("BROUGHT"), "the secret is in the audit log, by its name");
    let shown = [
        server.get("/api/v1/execution-log?limit=500").await.to_string(),
        server.get("/api/v1/secrets").await.to_string(),
        server.get("/api/v1/integrations").await.to_string(),
        std::fs::read_to_string(log).expect("a log"),
        audit,
    ];
    for text in shown {
        assert!(!text.contains("planted") && !text.contains(REFRESH_TOKEN), "{text}");
    }
}

#[tokio::test]
async fn a_person_consents_on_sqlite() {
    a_person_consents(StoreKind::Sqlite).await;
}

#[tokio::test]
async fn a_person_consents_on_postgres() {
    a_person_consents(StoreKind::Postgres).await;
}
