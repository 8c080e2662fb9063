//! One server a file of SQLite: the second is refused in words, and the first goes on. On PostgreSQL it stands by (`nodes.rs`).

use std::process::Stdio;

use super::support::{Installation, Server, StoreKind, free_port};

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_second_server_is_refused_on_sqlite() {
    let installation = Installation::new(StoreKind::Sqlite).await;
    let mut first = Server::start(&installation);
    let second = installation
        .command(&["serve"])
        .env("CORE314_LISTEN", format!("127.0.0.1:{}", free_port()))
        .env("CORE314__STORE__BUSY_TIMEOUT_MS", "200")
        .stdout(Stdio::null())
        .output()
        .expect("the binary runs");
    let printed = String::from_utf8_lossy(&second.stderr);
    assert_eq!(second.status.code(), Some(1), "{printed}");
    assert!(printed.contains("stop it first"), "{printed}");
    // On a busy machine the store may take longer to answer than the check waits.
    let started = std::time::Instant::now();
    let ready = || first.http.get(format!("{}/readyz", first.url)).send();
    while ready().await.expect("the first answers").status() != reqwest::StatusCode::OK {
        assert!(started.elapsed() < std::time::Duration::from_mins(1), "the first does not go on");
    }
    assert_eq!(first.terminate(), Some(0));
    let mut next = Server::start(&installation);
    assert_eq!(next.terminate(), Some(0), "its place is free at once");
}
