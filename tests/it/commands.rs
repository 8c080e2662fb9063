//! The commands that talk with a server: what each asks, what it makes of the answer, and its exit code.
//!
//! Answers that this release's server does not give yet come from a server that is scripted to the contract.

mod asks;
mod escalations;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use serde_json::{Value, json};

use crate::scripted::{Asked, Scripted};
use crate::support::{Installation, Server, StoreKind, USER};

const ID: &str = "0190a000-0000-7000-8000-0000000000aa";
const FLOW: &str =
    "flow_name: hello\ntrigger_type: manual\nflow_steps:\n  - {id: greet, config: {action_type: transform}}\n";

async fn installation() -> Installation {
    Installation::new(StoreKind::Sqlite).await
}

/// Runs a command against a server, for the test's user.
fn cli(installation: &Installation, url: &str, words: &[&str]) -> (i32, String) {
    let all: Vec<&str> = words.iter().copied().chain(["--server", url, "--user", USER]).collect();
    installation.run(&all)
}

/// Answers each path as a case wants it; flows are found by name.
fn answering(status: u16, answer: Value) -> Arc<Scripted> {
    Scripted::start(move |asked: &Asked| match asked.what.as_str() {
        what if what.starts_with("GET /api/v1/flows?flow_name=") => (200, json!({"items": [{"id": ID}]})),
        _ => (status, answer.clone()),
    })
}

#[tokio::test]
async fn answers_become_exit_codes_and_advice() {
    let installation = installation().await;
    let problem = |title: &str, detail: &str| json!({"title": title, "detail": detail});
    for (status, answer, exit, says) in [
        (400, problem("Bad", "no"), 1, "error: Bad: no"),
        (401, Value::Null, 4, "check --key or CORE314_KEY"),
        (403, problem("Forbidden", "needs admin"), 4, "somebody who may do this"),
        (404, problem("No", "there is no such run"), 3, "there is no such run"),
        (404, problem("No", "there is nothing at this path"), 3, "same version of core314"),
        (405, Value::Null, 1, "same version of core314"),
        (429, Value::Null, 1, "try again in a few seconds"),
        (302, Value::Null, 1, "the server answered 302"),
    ] {
        let server = answering(status, answer);
        let (code, text) = cli(&installation, &server.url, &["run", "show", ID]);
        assert_eq!(code, exit, "{status}: {text}");
        assert!(text.contains(says), "{status}: {text}");
    }
    assert_eq!(cli(&installation, "http://127.0.0.1:1", &["run", "show", ID]).0, 5);
    assert_eq!(cli(&installation, "ftp://x", &["run", "list"]).0, 2);
    assert_eq!(installation.run(&["run", "show", "no-uuid"]).0, 2);
}

#[tokio::test]
async fn a_list_is_read_page_by_page_as_far_as_it_was_asked_for() {
    let installation = installation().await;
    let server = Scripted::start(|_| (200, json!({"items": [{"id": "a"}, {"id": "b"}], "next_cursor": "more"})));
    let (code, text) = cli(&installation, &server.url, &["run", "list", "--limit", "5", "-o", "json"]);
    assert_eq!(code, 0, "{text}");
    let asked: Vec<String> = server.take().into_iter().map(|asked| asked.what).collect();
    assert_eq!(
        asked,
        ["GET /api/v1/runs?limit=5", "GET /api/v1/runs?limit=3&cursor=more", "GET /api/v1/runs?limit=1&cursor=more"]
    );
    let rows: Value = serde_json::from_str(&text).expect("JSON alone");
    assert_eq!(rows.as_array().map(Vec::len), Some(5));
}

#[tokio::test]
async fn whoever_names_things_does_not_steer_the_terminal() {
    let installation = installation().await;
    let evil = "a\u{1b}[2J\u{9b}31m\u{202e}b\nc";
    let server = answering(200, json!({"items": [{"id": ID, "flow_name": evil, "error": evil}]}));
    for form in ["table", "json", "yaml"] {
        let (code, text) = cli(&installation, &server.url, &["run", "list", "-o", form]);
        assert_eq!(code, 0, "{text}");
        let steers = |c: char| (c.is_control() && c != '\n') || c == '\u{9b}';
        assert!(!text.contains(steers), "{form}: {text:?}");
    }
    let refusing = answering(422, json!({"title": evil, "errors": [{"pointer": evil, "message": evil}]}));
    let (code, text) = cli(&installation, &refusing.url, &["run", "list"]);
    assert_eq!(code, 1);
    assert!(!text.contains(['\u{1b}', '\u{9b}', '\u{202e}']), "{text:?}");
}

#[tokio::test]
async fn who_asks_is_said_and_the_platform_is_nobody() {
    let installation = installation().await;
    let server = answering(200, json!({"items": [], "id": ID, "key": "k"}));
    let organization = "0190a000-0000-7000-8000-0000000000bb";
    cli(&installation, &server.url, &["run", "list", "--organization", organization]);
    let asked = server.take();
    assert_eq!((asked[0].user.as_deref(), asked[0].organization.as_deref()), (Some(USER), Some(organization)));
    let words = ["token", "create", "root", "--platform", "--server", &server.url];
    let (code, text) = installation.run(&words);
    assert_eq!(code, 0, "{text}");
    let asked = server.take();
    assert_eq!(asked[0].body, json!({"name": "root", "roles": ["admin"], "scope": "platform"}));
    assert_eq!(asked[0].user, None);
    let (code, text) = installation.run(&["actors", "restart", "core314/a b", "--server", &server.url]);
    assert_eq!(code, 0, "{text}");
    assert_eq!(server.take()[0].what, "POST /api/v1/actors/core314/a%20b/restart");
}

#[tokio::test]
async fn many_runs_are_started_a_thousand_at_a_time() {
    let installation = installation().await;
    let server = answering(202, json!({"items": []}));
    let lines: String = (0..2_500).flat_map(|n| ["{\"n\": ".to_owned(), n.to_string(), "}\n".to_owned()]).collect();
    std::fs::write(installation.dir.path().join("each.jsonl"), lines).expect("a file");
    let (code, text) = cli(&installation, &server.url, &["flow", "run", "hello", "--each", "each.jsonl"]);
    assert_eq!(code, 0, "{text}");
    let asked = server.take();
    let counts: Vec<usize> = asked.iter().map(|asked| asked.body["triggers"].as_array().map_or(0, Vec::len)).collect();
    assert_eq!(counts, [1_000, 1_000, 500]);
    assert_eq!(asked[0].what, "POST /api/v1/flows/hello/trigger/bulk");
    assert_eq!(asked[2].body["triggers"][499], json!({"trigger_context": {"n": 2_499}}));
}

#[tokio::test]
async fn a_wait_outlives_a_server_that_is_busy_for_a_moment() {
    let installation = installation().await;
    let looks = AtomicUsize::new(0);
    let server = Scripted::start(move |asked| match asked.what.as_str() {
        what if what.starts_with("POST ") => (202, json!({"id": ID, "run_status": "pending"})),
        _ => match looks.fetch_add(1, Ordering::Relaxed) {
            0 => (200, json!({"id": ID, "run_status": "running"})),
            1 => (503, json!({"status": 503, "title": "Busy"})),
            _ => (200, json!({"id": ID, "run_status": "failed", "duration_ms": 7, "error": "step 'x': broken"})),
        },
    });
    let (code, text) = cli(&installation, &server.url, &["flow", "run", "hello", "--wait", "60"]);
    assert_eq!(code, 1, "{text}");
    assert!(text.contains(" failed in 7 ms") && text.contains("error: the run is failed: step 'x': broken"), "{text}");
    let paused = answering(200, json!({"id": ID, "run_status": "paused"}));
    let (code, text) = cli(&installation, &paused.url, &["flow", "run", "hello", "--wait", "0"]);
    assert_eq!(code, 1, "{text}");
    assert!(text.contains("the run is paused after 0 s; it goes on"), "{text}");
}

#[tokio::test]
async fn a_single_action_is_shown_as_the_execution_of_its_run() {
    let installation = installation().await;
    let action = "0190a000-0000-7000-8000-0000000000bb";
    let server = Scripted::start(move |asked| match asked.what.as_str() {
        "POST /api/v1/executions" => (202, json!({"id": ID, "run_status": "running", "execution_queue_ids": [action]})),
        what if what == format!("GET /api/v1/executions/{action}") => {
            (200, json!({"id": action, "action_type": "api_call", "execution_status": "failed"}))
        }
        _ => (404, Value::Null),
    });
    let words = ["execution", "run", "api_call", "lb", "--payload", "{\"a\": 1}"];
    let (code, text) = cli(&installation, &server.url, &words);
    assert_eq!(code, 0, "{text}");
    assert!(text.contains("api_call") && text.contains(action) && !text.contains(ID), "{text}");
    let body = json!({"action_type": "api_call", "action_target": "lb", "action_payload": {"a": 1}});
    assert_eq!(server.take()[0].body, body);
    let (code, text) = cli(&installation, &server.url, &["execution", "run", "api_call", "--wait", "60"]);
    assert_eq!(code, 1, "{text}");
    assert!(text.contains("the execution is failed") && text.contains(&format!("--execution {action}")), "{text}");
}

#[tokio::test]
async fn runs_that_wait_as_a_whole_are_listed_and_decided_beside_executions() {
    let installation = installation().await;
    let step = "0190a000-0000-7000-8000-0000000000bb";
    let server = Scripted::start(move |asked| match asked.what.as_str() {
        what if what.starts_with("GET /api/v1/executions/pending-approvals") => {
            let run = json!({"id": ID, "run_status": "awaiting_approval", "flow_name": "reboot"});
            let execution = json!({"id": step, "execution_status": "awaiting_approval", "step_id": "wipe",
                "orchestration_flow_id": step, "flow_run_id": ID});
            (200, json!({"items": [run, execution], "next_cursor": null}))
        }
        what if what == format!("GET /api/v1/flows/{step}") => (200, json!({"flow_name": "decommission"})),
        what if what.starts_with(&format!("POST /api/v1/runs/{ID}/")) => {
            (200, json!({"id": ID, "run_status": "running", "flow_name": "reboot"}))
        }
        what if what.starts_with("POST /api/v1/runs/") => (404, json!({"title": "No", "detail": "no such run"})),
        _ => (404, json!({"title": "No", "detail": "no such execution"})),
    });
    let (code, text) = cli(&installation, &server.url, &["approvals"]);
    assert_eq!(code, 0, "{text}");
    let line = |word: &str| text.lines().find(|line| line.contains(word)).unwrap_or_default().to_owned();
    assert!(line("reboot").contains("  run  ") && line("reboot").matches(ID).count() == 2, "{text}");
    assert!(line("decommission").contains("  execution  ") && line("decommission").contains("wipe"), "{text}");
    server.take();
    for verb in ["approve", "reject"] {
        let (code, text) = cli(&installation, &server.url, &[verb, ID, "--notes", "seen"]);
        assert_eq!(code, 0, "{text}");
        assert!(text.contains("reboot"), "{text}");
        let asked: Vec<(String, Value)> = server.take().into_iter().map(|asked| (asked.what, asked.body)).collect();
        let of = |resource: &str| (format!("POST /api/v1/{resource}/{ID}/{verb}"), json!({"notes": "seen"}));
        assert_eq!(asked, [of("executions"), of("runs")]);
    }
    let (code, text) = cli(&installation, &server.url, &["approve", step]);
    assert_eq!(code, 3, "{text}");
    assert!(text.contains("no such execution") && text.contains("core314 approvals"), "{text}");
}

#[tokio::test]
async fn a_document_is_judged_by_the_server_after_its_shape() {
    let installation = installation().await;
    let write = |name: &str, text: &str| std::fs::write(installation.dir.path().join(name), text).expect("a file");
    write("good.yaml", FLOW);
    write("bad.yaml", "flow_name: x\n");
    let yes = answering(200, json!({"valid": true, "errors": [], "warnings": [{"message": "shadows"}]}));
    let (code, text) = cli(&installation, &yes.url, &["flow", "validate", "good.yaml"]);
    assert_eq!(code, 0, "{text}");
    assert!(text.contains("ok       good.yaml\n         warning: shadows"), "{text}");
    let (code, text) = cli(&installation, &yes.url, &["flow", "validate", "bad.yaml", "good.yaml"]);
    assert_eq!(code, 1, "{text}");
    assert!(text.contains("invalid  bad.yaml") && text.contains("1 of 2 documents would be refused"), "{text}");
    let errors = json!([{"pointer": "/flow_steps/0", "message": "wrong"}]);
    for (status, answer) in
        [(422, json!({"title": "Bad", "errors": errors})), (200, json!({"valid": false, "errors": errors}))]
    {
        let no = answering(status, answer);
        let (code, text) = cli(&installation, &no.url, &["flow", "validate", "good.yaml"]);
        assert_eq!(code, 1, "{text}");
        assert!(text.contains("invalid  good.yaml\n         4:5 /flow_steps/0: wrong"), "{text}");
    }
    assert_eq!(cli(&installation, "http://127.0.0.1:1", &["flow", "validate", "good.yaml"]).0, 5);
}

#[tokio::test]
async fn what_no_file_names_is_pruned_and_a_plan_says_so_first() {
    let installation = installation().await;
    std::fs::write(installation.dir.path().join("hello.yaml"), FLOW).expect("a file");
    let other = "0190a000-0000-7000-8000-0000000000cc";
    let server = Scripted::start(move |asked| match asked.what.as_str() {
        what if what.starts_with("GET /api/v1/flows?flow_name=") => (200, json!({"items": []})),
        what if what.starts_with("GET /api/v1/flows") => {
            let applied = json!({"applied_from": "old.yaml"});
            let old = json!({"id": other, "flow_name": "old", "flow_version": 4, "metadata": applied});
            let mine = json!({"id": ID, "flow_name": "made in the console", "metadata": {}});
            (200, json!({"items": [old, {"flow_name": "hello", "metadata": applied}, mine]}))
        }
        what if what.ends_with("run_status=running&limit=500") => {
            (200, json!({"items": [{"id": "r", "flow_version": 4}]}))
        }
        what if what.starts_with("GET ") => (200, json!({"items": []})),
        what if what.starts_with("POST ") => (201, json!({"id": ID, "flow_name": "hello", "flow_version": 1})),
        _ => (204, Value::Null),
    });
    let (code, text) = cli(&installation, &server.url, &["flow", "plan", "hello.yaml", "--prune"]);
    assert_eq!(code, 0, "{text}");
    assert!(text.contains("+ hello\n- old (version 4, 1 run under way stays on it)\n1 to create"), "{text}");
    let is_harmless = |what: &str| what.starts_with("GET ") || what == "POST /api/v1/flows/validate";
    assert!(server.take().iter().all(|asked| is_harmless(&asked.what)), "a plan changes nothing");
    let (code, text) = cli(&installation, &server.url, &["flow", "apply", "hello.yaml", "--prune"]);
    assert_eq!(code, 2, "{text}");
    assert!(text.contains("nobody is there to say yes to: delete 1 flows that no file names: old"), "{text}");
    server.take();
    let (code, text) = cli(&installation, &server.url, &["flow", "apply", "hello.yaml", "--prune", "--yes"]);
    assert_eq!(code, 0, "{text}");
    assert_eq!(text, "created hello (version 1)\ndeleted old (version 4)\n");
    let changes: Vec<String> =
        server.take().into_iter().map(|asked| asked.what).filter(|what| !what.starts_with("GET ")).collect();
    assert_eq!(changes, ["POST /api/v1/flows".to_owned(), format!("DELETE /api/v1/flows/{other}")]);
}

#[tokio::test]
async fn flows_are_exported_into_files_that_their_names_do_not_choose() {
    let installation = installation().await;
    let server = Scripted::start(|asked| match asked.what.as_str() {
        what if what.contains("/export") => (200, json!("flow_name: x\n")),
        _ => (200, json!({"items": [{"id": ID, "flow_name": "../../x"}, {"id": "b", "flow_name": "y"}]})),
    });
    let (code, text) = cli(&installation, &server.url, &["flow", "export", "--all", "--dir", "out"]);
    assert_eq!(code, 0, "{text}");
    let entries = std::fs::read_dir(installation.dir.path().join("out")).expect("the directory");
    let mut names: Vec<String> =
        entries.map(|entry| entry.expect("an entry").file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    assert_eq!(names, ["-..-x.yaml", "y.yaml"]);
    std::fs::write(installation.dir.path().join("out/y.yaml"), "mine").expect("a file");
    let (code, text) = cli(&installation, &server.url, &["flow", "export", "--all", "--dir", "out"]);
    assert_eq!(code, 1, "{text}");
    assert!(text.contains("unchanged out/-..-x.yaml") && text.contains("--force writes over it"), "{text}");
}

#[tokio::test]
async fn from_a_document_to_its_run_on_the_real_server() {
    let installation = installation().await;
    let server = Server::start(&installation);
    let cli = |words: &[&str]| cli(&installation, &server.url, words);
    let file = installation.dir.path().join("hello.yaml");
    std::fs::write(&file, FLOW).expect("a file");
    let (code, text) = cli(&["flow", "plan", "hello.yaml"]);
    assert_eq!((code, text.lines().next()), (0, Some("+ hello")), "{text}");
    assert_eq!(cli(&["flow", "apply", "hello.yaml"]), (0, "created hello (version 1)\n".to_owned()));
    std::fs::write(&file, format!("{FLOW}tags: [a]\n")).expect("a file");
    let (code, text) = cli(&["flow", "plan", "hello.yaml"]);
    assert_eq!(code, 0, "{text}");
    assert!(text.starts_with("~ hello (version 1)\n    /tags: "), "{text}");
    assert_eq!(cli(&["flow", "apply", "."]), (0, "updated hello (version 2)\n".to_owned()));
    assert_eq!(cli(&["flow", "apply", "."]), (0, "unchanged hello (version 2)\n".to_owned()));

    let (code, text) = cli(&["flow", "run", "hello", "--follow"]);
    assert_eq!(code, 0, "{text}");
    assert!(text.contains("  greet                 completed") && text.contains(" completed in "), "{text}");
    let (code, text) = cli(&["run", "list", "--flow", "hello", "-o", "json"]);
    assert_eq!(code, 0, "{text}");
    let runs: Value = serde_json::from_str(&text).expect("JSON alone");
    let id = runs[0]["id"].as_str().expect("an id");
    let (code, text) = cli(&["run", "show", id]);
    assert_eq!(code, 0, "{text}");
    let attempts = text.split("Attempts").nth(1).expect("attempts");
    assert!(attempts.contains("greet"), "the step's own name: {attempts}");
    assert_eq!(cli(&["log", "list", "--run", id]).0, 0);
    let (code, text) = cli(&["execution", "run", "transform", "--wait"]);
    assert_eq!(code, 0, "{text}");
    assert!(text.contains("transform  completed"), "{text}");
    std::fs::write(&file, format!("{FLOW}tags: [b]\n")).expect("a file");
    let (code, text) = cli(&["flow", "plan", "hello.yaml"]);
    assert_eq!(code, 0, "{text}");
    assert!(text.contains("\n    1 replayed: 1 as they went, 0 otherwise\n"), "{text}");
    assert!(!cli(&["flow", "plan", "hello.yaml", "--replay", "0"]).1.contains("replayed"));
    let replay = ["run", "replay", id, "--flow-version", "1"];
    assert_eq!(cli(&replay), (0, "all would be as it was: completed\n".to_owned()));
    let (code, text) = cli(&["run", "rerun", id, "--from", "greet", "-o", "json"]);
    assert_eq!(code, 0, "{text}");
    let (code, text) = cli(&["run", "rerun", id, "--from", "great"]);
    assert!(code == 1 && text.contains("did you mean `greet`?"), "{text}");
    assert_eq!(cli(&["log", "statistics"]).0, 0);
    assert_eq!(installation.run(&["actors", "--kind", "commit_writer", "--server", &server.url]).0, 0);
    assert_eq!(cli(&["flow", "run", "nobody"]).0, 3);
    assert_eq!(cli(&["flow", "run", "hello", "--key", "wrong"]).0, 4);
}

#[tokio::test]
async fn the_doctor_looks_with_a_server_and_without() {
    let installation = installation().await;
    let (code, text) = installation.run(&["log", "verify"]);
    assert_eq!(code, 1);
    assert!(text.contains("there is no database at ") && text.contains("--data-dir"), "{text}");
    let line = |text: &str, name: &str| {
        let found = text.lines().find(|line| line.get(9..).is_some_and(|line| line.starts_with(name)));
        found.unwrap_or_else(|| panic!("no line for {name}: {text}")).to_owned()
    };
    let (code, text) = installation.run(&["doctor", "--server", "http://127.0.0.1:1"]);
    assert_eq!(code, 1);
    assert!(
        line(&text, "store: ").starts_with("problem  store: the store cannot be opened: there is no data"),
        "{text}"
    );
    assert!(line(&text, "server: ").contains("core314 dev"), "{text}");
    assert!(line(&text, "key: ").starts_with("skipped"), "{text}");

    let mut server = Server::start(&installation);
    let (code, text) = installation.run(&["doctor", "--server", &server.url, "-o", "json"]);
    let json = text.split("\nerror:").next().unwrap_or_default();
    let checks: Value = serde_json::from_str(json).expect("JSON");
    let result = |name: &str| {
        let found = checks.as_array().and_then(|checks| checks.iter().find(|check| check["check"] == name));
        found.map(|check| check["result"].clone())
    };
    for name in ["store", "clock", "server", "key", "configuration"] {
        assert_eq!(result(name), Some(json!("ok")), "{text}");
    }
    // A server that runs as root says so itself; it is no problem that would make the command fail.
    let is_root = nix::unistd::geteuid().is_root();
    assert_eq!(result("user"), Some(json!(if is_root { "warning" } else { "ok" })), "{text}");
    let log = std::fs::read_to_string(installation.dir.path().join("server.log")).expect("a log");
    assert_eq!(log.contains("the server runs as root"), is_root, "{log}");
    // The secrets of tests say so.
    assert_eq!((code, result("secrets")), (1, Some(json!("problem"))), "{text}");
    let (_, text) = installation.run(&["doctor", "--server", &server.url, "--key", "wrong"]);
    assert!(line(&text, "key: ").starts_with("problem"), "{text}");

    assert_eq!(server.terminate(), Some(0));
    let (_, text) = installation.run(&["doctor", "--server", &server.url]);
    assert!(line(&text, "store: ").starts_with("ok       store: reachable, schema "), "{text}");
}

#[tokio::test]
async fn the_doctor_and_the_proof_read_postgresql_without_a_server() {
    let installation = Installation::new(StoreKind::Postgres).await;
    let (_, text) = installation.run(&["doctor", "--server", "http://127.0.0.1:1"]);
    assert!(text.contains("problem  store: "), "there is no table yet: {text}");
    assert_eq!(Server::start(&installation).terminate(), Some(0));
    let (_, text) = installation.run(&["doctor", "--server", "http://127.0.0.1:1"]);
    assert!(text.contains("ok       store: reachable, schema "), "{text}");
    assert_eq!(installation.run(&["log", "verify"]).0, 0);
}

#[tokio::test]
async fn who_closes_the_standard_error_gets_the_exit_code_all_the_same() {
    let installation = installation().await;
    let (reader, writer) = std::io::pipe().expect("a pipe");
    drop(reader);
    let mut doctor = installation.command(&["doctor", "--server", "http://127.0.0.1:1"]);
    let output = doctor.stderr(writer).output().expect("the binary runs");
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stdout).contains("problem  server: "));
}

#[tokio::test]
async fn a_configuration_is_written_once_and_says_what_comes_next() {
    let installation = installation().await;
    let path = installation.dir.path().join("own.toml").display().to_string();
    let (code, text) = installation.run(&["init", "--config", &path]);
    assert_eq!(code, 0, "{text}");
    assert!(text.contains(&format!("core314 serve --config {path}")), "{text}");
    let (code, text) = installation.run(&["init", "--config", &path]);
    assert_eq!(code, 1, "{text}");
    assert!(text.contains("is there already"), "{text}");
}

#[tokio::test]
async fn what_is_generated_goes_to_the_standard_output() {
    let installation = installation().await;
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let (code, text) = installation.run(&["completions", shell]);
        assert_eq!(code, 0);
        assert!(text.contains("dead-letters"), "{shell}");
    }
    let (code, text) = installation.run(&["man"]);
    assert_eq!(code, 0);
    assert!(text.contains(".TH core314 1"), "{}", text.lines().take(5).collect::<Vec<_>>().join("\n"));
    let (code, text) = installation.run(&["config", "show", "server", "--changed"]);
    assert_eq!((code, text.lines().count()), (0, 1), "only the headings: {text}");
    assert_eq!(installation.run(&["config", "show", "no.key"]).0, 3);
}
