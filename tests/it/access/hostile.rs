//! Forged, stale and odd credentials, as the real server sees them; and what comes of guessing.

use std::time::Duration;

use jsonwebtoken::{Algorithm, EncodingKey, Header, encode, get_current_timestamp};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use uuid::Uuid;

use super::callers::{Caller, ORGANIZATION, OWNER, token};
use crate::support::{Installation, JWT_SECRET, SERVICE_KEY, Server, StoreKind};

const FLOWS: &str = "/api/v1/flows";
const JWKS: &str = include_str!("../../keys/jwks.json");

/// A server of which guessing is not slowed down, with an issuer's keys beside its secret.
fn server(installation: &Installation) -> Server {
    let jwks = installation.dir.path().join("jwks.json");
    std::fs::write(&jwks, JWKS).expect("a file");
    let environment = [
        ("CORE314__AUTH__FAILED_ATTEMPTS_BURST", "100000".to_owned()),
        ("CORE314__AUTH__JWKS_FILE", jwks.display().to_string()),
        ("CORE314__AUTH__ISSUER", "https://id.example".to_owned()),
        ("CORE314__AUTH__AUDIENCE", "core314".to_owned()),
    ];
    Server::start_with(installation, &environment).expect("it becomes ready")
}

fn claims() -> Value {
    json!({"sub": OWNER, "org": ORGANIZATION, "role": "admin", "iss": "https://id.example", "aud": "core314",
           "exp": get_current_timestamp() + 600})
}

fn with(name: &str, value: Value) -> Value {
    let mut claims = claims();
    claims[name] = value;
    claims
}

fn rsa(claims: &Value, header: Header) -> String {
    let key = EncodingKey::from_rsa_der(include_bytes!("../../keys/rsa.der"));
    encode(&Header { kid: header.kid.or_else(|| Some("rsa".to_owned())), ..header }, claims, &key).expect("signs")
}

fn rs256() -> Header {
    Header::new(Algorithm::RS256)
}

fn tampered(token: &str) -> String {
    let (head, signature) = token.rsplit_once('.').expect("three parts");
    let first = if signature.starts_with('A') { "B" } else { "A" };
    format!("{head}.{first}{}", &signature[1..])
}

#[tokio::test]
async fn no_forged_or_stale_token_opens_anything() {
    let installation = Installation::new(StoreKind::Sqlite).await;
    let server = server(&installation);
    let good = rsa(&claims(), rs256());
    for good in [&good, &token(&claims())] {
        let (status, answer) = Caller::new("good", good).send(&server, Method::GET, FLOWS, None).await;
        assert_eq!(status, StatusCode::OK, "{answer}");
    }
    let hs256 = |secret: &[u8]| {
        let header = Header { kid: Some("rsa".to_owned()), ..Header::new(Algorithm::HS256) };
        encode(&header, &claims(), &EncodingKey::from_secret(secret)).expect("signs")
    };
    let body = good.split_once('.').expect("parts").1;
    let none = format!("eyJhbGciOiJub25lIn0.{body}");
    let unsigned = format!("eyJhbGciOiJub25lIn0.{}.", body.split_once('.').expect("parts").0);
    let nobody = Header { kid: Some("nobody".to_owned()), ..rs256() };
    let critical = Header { crit: Some(vec!["exp".to_owned()]), ..rs256() };
    let bad = [
        ("tampered", tampered(&good)),
        ("expired", rsa(&with("exp", json!(get_current_timestamp() - 3_600)), rs256())),
        ("no expiry", rsa(&with("exp", Value::Null), rs256())),
        ("nbf in the future", rsa(&with("nbf", json!(get_current_timestamp() + 3_600)), rs256())),
        ("alg none", none),
        ("alg none, unsigned", unsigned),
        ("signed with the public key", hs256(JWKS.as_bytes())),
        ("another algorithm", rsa(&claims(), Header::new(Algorithm::RS512))),
        ("another issuer", rsa(&with("iss", json!("https://forger.example")), rs256())),
        ("another audience", rsa(&with("aud", json!("elsewhere")), rs256())),
        ("no audience", token(&with("aud", Value::Null))),
        ("crit", rsa(&claims(), critical)),
        ("a key of nobody", rsa(&claims(), nobody)),
        ("the nil user", rsa(&with("sub", json!(Uuid::nil())), rs256())),
        ("the nil organization", rsa(&with("org", json!(Uuid::nil())), rs256())),
        ("huge", rsa(&with("note", json!("x".repeat(10_000))), rs256())),
        ("an unknown key", format!("c314_{}", "A".repeat(43))),
        ("a shortened key", SERVICE_KEY[1..].to_owned()),
        ("the secret itself", JWT_SECRET.to_owned()),
    ];
    for (what, bearer) in bad {
        let (status, answer) = Caller::new("forger", bearer.as_str()).send(&server, Method::GET, FLOWS, None).await;
        assert_eq!(status, StatusCode::UNAUTHORIZED, "{what}: {answer}");
        assert_eq!(answer["code"], "unauthenticated", "{what}: {answer}");
        assert!(!answer.to_string().contains(&bearer), "{what}: the answer repeats the token");
    }
    let (status, _) = Caller::new("good", &good).send(&server, Method::GET, FLOWS, None).await;
    assert_eq!(status, StatusCode::OK, "the server goes on");
}

#[tokio::test]
async fn headers_that_are_doubled_or_name_nobody_are_refused() {
    let installation = Installation::new(StoreKind::Sqlite).await;
    let server = server(&installation);
    let nil = Uuid::nil().to_string();
    let unprocessable = StatusCode::UNPROCESSABLE_ENTITY;
    let cases: [(&[(&str, &str)], StatusCode); 8] = [
        (&[("X-User-Id", OWNER)], StatusCode::OK),
        (&[("X-User-Id", OWNER), ("X-User-Id", OWNER)], unprocessable),
        (&[("X-User-Id", OWNER), ("X-Organization-Id", ORGANIZATION), ("X-Organization-Id", OWNER)], unprocessable),
        (&[("X-User-Id", &nil)], unprocessable),
        (&[("X-User-Id", OWNER), ("X-Organization-Id", &nil)], unprocessable),
        (&[("X-User-Id", "root")], unprocessable),
        (&[("X-Organization-Id", ORGANIZATION)], unprocessable),
        (&[("Authorization", "Bearer x")], StatusCode::UNAUTHORIZED),
    ];
    for (headers, expected) in cases {
        let request = server.http.get(format!("{}{FLOWS}", server.url)).bearer_auth(SERVICE_KEY);
        let request = headers.iter().fold(request, |request, (name, value)| request.header(*name, *value));
        let status = request.send().await.expect("an answer").status();
        assert_eq!(status, expected, "{headers:?}");
    }
}

#[tokio::test]
async fn guessing_is_slowed_down_and_good_credentials_never_wait() {
    let installation = Installation::new(StoreKind::Sqlite).await;
    let environment = [
        ("CORE314__AUTH__FAILED_ATTEMPTS_BURST", "5".to_owned()),
        ("CORE314__AUTH__FAILED_ATTEMPTS_PER_MINUTE", "1".to_owned()),
    ];
    let server = Server::start_with(&installation, &environment).expect("it becomes ready");
    let ask = async |caller: &Caller| {
        let answer = caller.request(&server, Method::GET, FLOWS).send().await.expect("an answer");
        let wait = answer.headers().get("retry-after").map(|value| value.to_str().expect("text").to_owned());
        (answer.status(), wait, answer.json::<Value>().await.expect("JSON")["code"].clone())
    };
    let guesser = Caller::new("guesser", format!("c314_{}", "B".repeat(43)));
    for _ in 0..5 {
        assert_eq!(ask(&guesser).await.0, StatusCode::UNAUTHORIZED);
    }
    for _ in 0..3 {
        let (status, wait, code) = ask(&guesser).await;
        assert_eq!((status, code), (StatusCode::TOO_MANY_REQUESTS, json!("rate_limited")));
        let seconds: u64 = wait.expect("Retry-After").parse().expect("seconds");
        assert!((1..=Duration::from_mins(1).as_secs()).contains(&seconds), "{seconds}");
    }
    for good in [Caller::owner(), Caller::platform()] {
        assert_eq!(ask(&good).await.0, StatusCode::OK, "{}: the same address", good.name);
    }
    let nobody = server.http.get(format!("{}{FLOWS}", server.url)).send().await.expect("an answer").status();
    assert_eq!(nobody, StatusCode::UNAUTHORIZED, "whoever tries nothing has not failed");
}

#[tokio::test]
async fn an_issuer_whose_keys_cannot_be_trusted_stops_the_start() {
    let installation = Installation::new(StoreKind::Sqlite).await;
    let empty = installation.dir.path().join("empty.json");
    std::fs::write(&empty, "{\"keys\": []}").expect("a file");
    let empty = empty.display().to_string();
    // A file that is not there may be there at the next start, and whoever supervises the server is told so.
    for (key, value, words, code) in [
        (
            "CORE314__AUTH__JWKS_FILE",
            "/nonexistent/jwks.json",
            "auth.jwks_file (environment variable CORE314__AUTH__JWKS_FILE): /nonexistent/jwks.json: ",
            1,
        ),
        ("CORE314__AUTH__JWKS_FILE", &empty, "it has no key for RS256", 2),
        ("CORE314__AUTH__JWKS_URL", "http://id.example/keys", "): must begin with https://", 2),
    ] {
        let mut command = installation.command(&["serve", "--listen", "127.0.0.1:0"]);
        command.env("CORE314__AUTH__ISSUER", "https://id.example").env("CORE314__AUTH__AUDIENCE", "core314");
        let output = command.env(key, value).output().expect("the binary runs");
        let told = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(code), "{told}");
        assert!(told.contains(words), "{told}");
    }
}
