//! What no HTTP client library would send: bodies that never end, garbage between requests, heads without bound, and
//! connections that say nothing. The real server answers or hangs up in its time, and goes on for everybody else.

use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::support::{Installation, SERVICE_KEY, Server, StoreKind, USER};

/// How long anything here may take: far longer than the server's own times.
const PATIENCE: Duration = Duration::from_secs(20);
const MAX_BODY_BYTES: usize = 65_536;

fn start(installation: &Installation) -> Server {
    let short = [
        ("CORE314__HTTP__HEADER_TIMEOUT_MS", "1000".to_owned()),
        ("CORE314__HTTP__BODY_TIMEOUT_MS", "500".to_owned()),
        ("CORE314__HTTP__MAX_BODY_BYTES", MAX_BODY_BYTES.to_string()),
        ("CORE314__HTTP__WORKERS", "1".to_owned()),
    ];
    Server::start_with(installation, &short).expect("the server becomes ready")
}

async fn connect(server: &Server) -> TcpStream {
    let address = server.url.strip_prefix("http://").expect("an address");
    TcpStream::connect(address).await.expect("the server accepts")
}

/// The head of a request that starts a flow, with more headers.
fn head(more: &str) -> String {
    format!(
        "POST /api/v1/flows/x/trigger HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {SERVICE_KEY}\r\nX-User-Id: {USER}\r\n\
         Content-Type: application/json\r\n{more}\r\n"
    )
}

/// All that the server says until it hangs up; what was said before a reset counts.
async fn until_closed(stream: &mut TcpStream) -> String {
    let mut said = Vec::new();
    let mut part = [0; 4_096];
    let reading = async {
        while let Ok(count @ 1..) = stream.read(&mut part).await {
            said.extend_from_slice(&part[..count]);
        }
    };
    timeout(PATIENCE, reading).await.expect("the server hangs up in time");
    String::from_utf8_lossy(&said).into_owned()
}

/// What the server says until these words have come.
async fn until(stream: &mut (impl AsyncRead + Unpin), words: &str) -> String {
    let mut said = Vec::new();
    let mut part = [0; 4_096];
    let reading = async {
        while !String::from_utf8_lossy(&said).contains(words) {
            let count = stream.read(&mut part).await.expect("the connection holds");
            assert!(count > 0, "it ends without '{words}': {}", String::from_utf8_lossy(&said));
            said.extend_from_slice(&part[..count]);
        }
    };
    timeout(PATIENCE, reading).await.unwrap_or_else(|_| panic!("'{words}' does not come"));
    String::from_utf8_lossy(&said).into_owned()
}

async fn assert_alive(server: &Server) {
    let answer = timeout(PATIENCE, server.http.get(format!("{}/healthz", server.url)).send()).await;
    assert!(answer.expect("in time").expect("an answer").status().is_success());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_that_does_not_come_gets_408_and_one_without_end_413() {
    let installation = Installation::new(StoreKind::Sqlite).await;
    let server = start(&installation);
    for (framing, sent) in [("Content-Length: 100\r\n", "{"), ("Transfer-Encoding: chunked\r\n", "1\r\n{\r\n")] {
        let mut slow = connect(&server).await;
        slow.write_all((head(framing) + sent).as_bytes()).await.expect("it can be sent");
        let answer = until(&mut slow, "request_id").await;
        assert!(answer.starts_with("HTTP/1.1 408") && answer.contains("request_timeout"), "{answer}");
    }
    let mut endless = connect(&server).await;
    endless.write_all(head("Transfer-Encoding: chunked\r\n").as_bytes()).await.expect("it can be sent");
    let chunk = format!("1000\r\n{}\r\n", "x".repeat(0x1000));
    let (mut from, mut to) = endless.split();
    let sending = async {
        while to.write_all(chunk.as_bytes()).await.is_ok() {}
        std::future::pending::<()>().await;
    };
    let answer = tokio::select! { answer = until(&mut from, "request_id") => answer, () = sending => unreachable!() };
    assert!(answer.starts_with("HTTP/1.1 413"), "{answer}");
    assert_alive(&server).await;
    let mut declared = connect(&server).await;
    declared.write_all(head("Content-Length: 18446744073709551615\r\n").as_bytes()).await.expect("it can be sent");
    let answer = until(&mut declared, "\r\n\r\n").await;
    assert!(answer.starts_with("HTTP/1.1 413") || answer.starts_with("HTTP/1.1 400"), "{answer}");
}

#[tokio::test(flavor = "multi_thread")]
async fn garbage_after_a_request_ends_the_connection_and_nothing_else() {
    let installation = Installation::new(StoreKind::Sqlite).await;
    let server = start(&installation);
    let good = "GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n";
    for garbage in [
        "\x16\x03\x01\x02\x00\x01\x00\x01\r\n\r\n",
        "GET\r\n\r\n",
        "GET / HTTP/9.9\r\nHost: x\r\n\r\n",
        "GET / HTTP/1.1\r\nHost x\r\n\r\n",
        "POST /healthz HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nabcdef",
        "POST /healthz HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n",
        "POST /healthz HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x7f\x7f\x7f\x7f\x7f\x7f\x7f\x7f\x7f",
    ] {
        let mut stream = connect(&server).await;
        stream.write_all(format!("{good}{good}{garbage}").as_bytes()).await.expect("it can be sent");
        stream.shutdown().await.expect("it can be half closed");
        let said = until_closed(&mut stream).await;
        assert_eq!(said.matches("HTTP/1.1 200").count(), 2, "{garbage:?}: {said}");
        assert!(!said.contains("HTTP/1.1 5"), "{garbage:?}: {said}");
    }
    assert_alive(&server).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_head_is_bounded_in_size_in_number_and_in_time() {
    let installation = Installation::new(StoreKind::Sqlite).await;
    let server = start(&installation);
    let many = "X-Many: a\r\n".repeat(20_000);
    let long = format!("X-Long: {}\r\n", "a".repeat(4 << 20));
    let path = format!("GET /{} HTTP/1.1\r\nHost: x\r\n\r\n", "a".repeat(4 << 20));
    for bomb in [head(&many), head(&long), path] {
        let mut stream = connect(&server).await;
        // The server may hang up before it has read all.
        let (mut from, mut to) = stream.split();
        let mut said = Vec::new();
        let (_, _) = tokio::join!(
            async { timeout(PATIENCE, to.write_all(bomb.as_bytes())).await.expect("the server takes or refuses it") },
            async { timeout(PATIENCE, from.read_to_end(&mut said)).await.expect("the server hangs up") },
        );
        let said = String::from_utf8_lossy(&said);
        assert!(!said.contains("HTTP/1.1 2") && !said.contains("HTTP/1.1 5"), "{said}");
        assert_alive(&server).await;
    }
    let mut slow = connect(&server).await;
    slow.write_all(b"GET / HTTP/1.1\r\nHost: x\r\nX-Slow: ").await.expect("it can be sent");
    let said = until_closed(&mut slow).await;
    assert!(said.is_empty() || said.starts_with("HTTP/1.1 408"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_that_say_nothing_keep_nobody_out() {
    const MANY: usize = 400;
    let installation = Installation::new(StoreKind::Sqlite).await;
    let server = start(&installation);
    let mut silent = Vec::with_capacity(MANY);
    for at in 0..MANY {
        let mut stream = connect(&server).await;
        if at % 2 == 0 {
            stream.write_all(b"POST /api/v1/fl").await.expect("it can be sent");
        }
        silent.push(stream);
    }
    assert_alive(&server).await;
    for stream in &mut silent {
        until_closed(stream).await;
    }
    assert_alive(&server).await;
}
