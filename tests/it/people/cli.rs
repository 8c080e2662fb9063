//! `core314 user`, `contact` and `preference` against the real server.

use super::{GROUP, Town, code_in};
use crate::support::StoreKind;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn people_are_looked_after_by_the_command_line() {
    let town = Town::start(StoreKind::Sqlite).await;
    let me = town.client(2).0.user.to_string();
    let run = |words: &[&str], exit: i32| {
        let server = ["--server", town.bed.server.url.as_str(), "--user", &me, "--organization", GROUP];
        let all: Vec<&str> = words.iter().copied().chain(server).collect();
        let (code, text) = town.bed.installation.run(&all);
        assert_eq!(code, exit, "{words:?}: {text}");
        text
    };
    run(&["user", "add", "ada@example.com", "Ada", "--role", "admin", "--id", &me], 0);
    assert!(run(&["user", "add", "ada@example.com", "Other"], 1).contains("another one"));
    assert!(run(&["user", "list"], 0).contains(&me));
    assert!(run(&["user", "change", &me, "--name", "Ada L."], 0).contains("Ada L."));
    assert!(run(&["user", "show", &me], 0).contains("ada@example.com"));
    assert_eq!(run(&["contact", "add", "fax", "1"], 2).lines().next().map(|line| line.contains("fax")), Some(true));
    let added = run(&["contact", "add", "email", "ada@example.com", "-o", "json"], 0);
    let added: serde_json::Value = serde_json::from_str(&added).expect("JSON");
    let id = added["id"].as_str().expect("an id");
    let code = code_in(&town.mail(0).await.header("Subject").expect("a subject"));
    assert!(run(&["contact", "verify", id, "1234"], 1).contains("not the code"));
    assert!(run(&["contact", "verify", id, &code], 0).contains("true"));
    assert!(run(&["contact", "send-code", id], 1).contains("verified already"));
    assert!(run(&["contact", "list"], 0).contains("ada@example.com"));
    assert!(run(&["preference", "show"], 0).contains("set none"));
    let file = town.bed.installation.dir.path().join("mine.yaml");
    let path = file.to_str().expect("a path");
    std::fs::write(&file, "time_zone: Europe/Berlin\nquiet_hours:\n  - {hours: '22:00-07:00'}\n")
        .expect("it is written");
    assert!(run(&["preference", "set", path], 0).contains("Europe/Berlin"));
    std::fs::write(&file, "time_zone: Nowhere\n").expect("it is written");
    assert!(run(&["preference", "set", path], 1).contains("no time zone"));
    assert!(run(&["preference", "show"], 0).contains("22:00-07:00"));
    run(&["contact", "remove", id], 0);
    run(&["user", "remove", &me], 0);
    run(&["user", "show", &me], 3);
}
