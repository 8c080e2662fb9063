//! `run_command` by the real binary: what a program gets, what is kept of it, and that nothing of it stays behind.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Instant;

use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use super::{done, refused, run, secret, start_with, step};
use crate::support::{Installation, SECRET_KEY, Server, StoreKind, USER};

const SECRET: &str = "planted-program-secret-0001";
/// Programs by their names, as scripts. `$1` of most is a folder to leave traces in.
const SCRIPTS: [(&str, &str); 9] = [
    ("show", "printf '%s|' \"$@\"; echo; env | sort; echo \"read: $(cat)\"; echo \"$TOKEN\" >&2"),
    ("fail", "echo 'no disk left' >&2; exit 3"),
    ("die", "kill -TERM $$; sleep 300"),
    ("hang", "sleep 300 & echo $! > \"$1/child\"; echo $$ > \"$1/leader\"; sleep 300"),
    ("leave", "sleep 300 & echo $! > \"$1/left\"; echo done"),
    ("flood", "head -c 3000000 /dev/zero | tr '\\0' x; echo end >&2"),
    ("json", "echo '{\"free\": 7}'"),
    (
        "once",
        "echo \"$CORE314_EXECUTION_ID $CORE314_ATTEMPT\" >> \"$1/attempts\"; echo $$ > \"$1/pid\"; test \"$CORE314_ATTEMPT\" != 0 || sleep 300",
    ),
    ("deaf", "exit 0"),
];

/// The scripts in a folder, and the configuration that allows them.
fn programs(installation: &Installation) -> Vec<(&'static str, String)> {
    let folder = installation.dir.path().join("programs");
    std::fs::create_dir(&folder).expect("a folder");
    let mut list = vec!["ops/gone=/no/such/program".to_owned()];
    for (name, script) in SCRIPTS {
        let path = folder.join(name);
        std::fs::write(&path, format!("#!/bin/sh\n{script}\n")).expect("a script");
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).expect("it may be run");
        list.push(format!("ops/{name}={}", path.display()));
    }
    vec![
        ("CORE314_SECRET_KEY", SECRET_KEY.to_owned()),
        ("CORE314__EXECUTORS__COMMANDS__PROGRAMS", list.join(",")),
        ("CORE314__EXECUTORS__COMMANDS__TENANTS", USER.to_owned()),
        ("CORE314__EXECUTORS__COMMANDS__ALLOWED_ENVIRONMENT", "TOKEN,COLOUR".to_owned()),
        ("CORE314__EXECUTORS__COMMANDS__MAX_OUTPUT_BYTES", "20000".to_owned()),
    ]
}

fn command(id: &str, payload: &Value) -> Value {
    step(id, "run_command", "ops", payload.clone())
}

/// What a program has written, once it has.
fn written(path: &Path) -> String {
    let started = Instant::now();
    loop {
        if let Ok(text) = std::fs::read_to_string(path)
            && text.ends_with('\n')
        {
            return text.trim().to_owned();
        }
        assert!(started.elapsed().as_secs() < 60, "nothing is written to {}", path.display());
        std::thread::yield_now();
    }
}

/// Waits until a process is no more, or has only not been waited for.
fn is_gone(pid: &str) {
    let stat = PathBuf::from(format!("/proc/{pid}/stat"));
    let started = Instant::now();
    while std::fs::read_to_string(&stat).is_ok_and(|text| !text.contains(") Z ")) {
        assert!(started.elapsed().as_secs() < 30, "process {pid} is still there");
        std::thread::yield_now();
    }
}

async fn what_a_program_gets(kind: StoreKind) {
    let installation = Installation::new(kind).await;
    let environment = programs(&installation);
    let server = Server::start_with(&installation, &environment).expect("the server becomes ready");
    secret(&server, "PROGRAM", SECRET).await;
    let folder = installation.dir.path().display().to_string();
    let show = json!({"program": "show", "args": ["a b", "$(id)", "{{ trigger.host }}", 7],
        "env": {"TOKEN": "{{ secrets.PROGRAM }}", "COLOUR": "red"}, "stdin": "pin {{ secrets.PROGRAM }}"});
    let steps = vec![
        command("show", &show),
        command("fail", &json!({"program": "fail"})),
        command("fine", &json!({"program": "fail", "expected_exit": [0, 3]})),
        command("die", &json!({"program": "die"})),
        command("leave", &json!({"program": "leave", "args": [folder]})),
        command("flood", &json!({"program": "flood"})),
        command("json", &json!({"program": "json", "output": "json"})),
        command("text", &json!({"program": "leave", "args": [folder], "output": "json"})),
        command("deaf", &json!({"program": "deaf", "stdin": "x".repeat(500_000)})),
        command("gone", &json!({"program": "gone"})),
        command("late", &json!({"program": "{{ trigger.program }}"})),
    ];
    let log = run(&server, "programs", steps, json!({"host": "web-1; reboot", "program": "rm"})).await;
    let result = |step: usize| &log[step]["execution_result"];
    let stdout = result(0)["stdout"].as_str().unwrap_or_else(|| panic!("{}", log[0]));
    let lines: Vec<&str> = stdout.lines().collect();
    assert_eq!(lines[0], "a b|$(id)|web-1; reboot|7|", "{stdout}");
    let of_program = |line: &&&str| !["PWD=", "SHLVL=", "_=", "OLDPWD="].iter().any(|own| line.starts_with(own));
    let names: Vec<&str> =
        lines[1..lines.len() - 1].iter().filter(of_program).filter_map(|l| l.split('=').next()).collect();
    let expected = ["COLOUR", "CORE314_ATTEMPT", "CORE314_EXECUTION_ID", "CORE314_RUN_ID", "TOKEN", "TRACEPARENT"];
    assert_eq!(names, expected, "an environment made of nothing: {stdout}");
    assert!(stdout.contains("TOKEN=[redacted]") && stdout.contains("read: pin [redacted]"), "{stdout}");
    assert_eq!(result(0)["stderr"], "[redacted]\n");
    assert_eq!((&result(0)["exit_code"], &result(0)["truncated"]), (&json!(0), &json!(false)));
    for (step, code, words) in [
        (1, "command_failed", "it ended with exit code 3: no disk left"),
        (3, "command_failed", "it was ended by signal 15"),
        (7, "unexpected_answer", "stdout is no JSON"),
        (9, "command_refused", "'gone' cannot be started"),
        (10, "command_refused", "'ops/rm' is no program"),
    ] {
        assert_eq!(log[step]["execution_error_code"], code, "{}", log[step]);
        assert!(log[step]["execution_error"].as_str().is_some_and(|error| error.starts_with(words)), "{}", log[step]);
    }
    let details = &log[1]["execution_error_details"];
    assert_eq!((&details["exit_code"], &details["stderr"]), (&json!(3), &json!("no disk left\n")), "{}", log[1]);
    assert_eq!(result(2)["exit_code"], 3);
    assert_eq!(result(4)["stdout"], "done\n");
    is_gone(&written(&installation.dir.path().join("left")));
    assert_eq!(result(5)["stdout"].as_str().map(str::len), Some(20_000));
    assert_eq!((&result(5)["truncated"], &result(5)["stderr"]), (&json!(true), &json!("end\n")));
    assert_eq!(result(6)["stdout"], json!({"free": 7}));
    assert_eq!(log[8]["execution_status"], "completed", "{}", log[8]);
    let shown = server.get("/api/v1/execution-log?limit=100").await.to_string();
    assert!(!shown.contains("planted"), "{shown}");
    what_is_refused(&server).await;
    nothing_stays(&server, &installation).await;
}

async fn what_is_refused(server: &Server) {
    for (target, payload, words) in [
        ("ops", json!({"program": "rm"}), "'ops/rm' is no program"),
        ("ops", json!({"program": "/bin/sh"}), "is no program"),
        ("", json!({"program": "show"}), "'/show' is no program"),
        (
            "ops",
            json!({"program": "show", "args": ["{{ secrets.PROGRAM }}"]}),
            "every user of the machine can see arguments",
        ),
        ("ops", json!({"program": "show", "env": {"LD_PRELOAD": "/tmp/x.so"}}), "allowed_environment"),
    ] {
        let steps = [step("a", "run_command", target, payload)];
        let flow = json!({"flow_name": "no", "trigger_type": "manual", "flow_steps": steps});
        let says = refused(server, Method::POST, "/api/v1/flows", flow, StatusCode::UNPROCESSABLE_ENTITY).await;
        assert!(says.contains(words), "{words}: {says}");
    }
}

/// Neither after the time is over, nor after the run was cancelled.
async fn nothing_stays(server: &Server, installation: &Installation) {
    let traces = |name: &str| {
        let folder = installation.dir.path().join(name);
        std::fs::create_dir(&folder).expect("a folder");
        folder
    };
    let folder = traces("late");
    let mut hang = command("hang", &json!({"program": "hang", "args": [folder.display().to_string()]}));
    hang["timeout_seconds"] = 1.into();
    let log = run(server, "late", vec![hang], json!({})).await;
    assert_eq!(log[0]["execution_error_code"], "timeout", "{}", log[0]);
    for name in ["leader", "child"] {
        is_gone(&written(&folder.join(name)));
    }
    let folder = traces("cancelled");
    let hang = command("hang", &json!({"program": "hang", "args": [folder.display().to_string()]}));
    let flow = json!({"flow_name": "cancelled", "trigger_type": "manual", "flow_steps": [hang]});
    done(server, Method::POST, "/api/v1/flows", flow).await;
    let accepted = done(server, Method::POST, "/api/v1/flows/cancelled/trigger", json!({})).await;
    let (leader, child) = (written(&folder.join("leader")), written(&folder.join("child")));
    let path = format!("/api/v1/runs/{}/cancel", accepted["id"].as_str().expect("a run"));
    done(server, Method::POST, &path, json!({})).await;
    is_gone(&leader);
    is_gone(&child);
}

/// The server dies in the middle: nobody knows what the program did, and it is run again under the same name.
async fn again_after_a_crash(kind: StoreKind) {
    let installation = Installation::new(kind).await;
    let environment = programs(&installation);
    let mut server = Server::start_with(&installation, &environment).expect("the server becomes ready");
    let folder = installation.dir.path().display().to_string();
    let mut once = command("once", &json!({"program": "once", "args": [folder]}));
    once["retry"] = json!({"max_attempts": 2, "backoff_seconds": 0.01});
    let flow = json!({"flow_name": "once", "trigger_type": "manual", "flow_steps": [once]});
    done(&server, Method::POST, "/api/v1/flows", flow).await;
    let accepted = done(&server, Method::POST, "/api/v1/flows/once/trigger", json!({})).await;
    let pid = written(&installation.dir.path().join("pid"));
    server.kill();
    let left = nix::unistd::Pid::from_raw(pid.parse().expect("a process id"));
    nix::sys::signal::killpg(left, nix::sys::signal::Signal::SIGKILL).expect("a killed server leaves it running");
    let server = Server::start_with(&installation, &environment).expect("the server becomes ready");
    let path = format!("/api/v1/runs/{}", accepted["id"].as_str().expect("a run"));
    let started = Instant::now();
    while server.get(&path).await["completed_at"].is_null() {
        assert!(started.elapsed().as_secs() < 60, "the run does not end");
    }
    assert_eq!(server.get(&path).await["run_status"], "completed");
    let attempts = std::fs::read_to_string(installation.dir.path().join("attempts")).expect("two lines");
    let lines: Vec<(&str, &str)> = attempts.lines().filter_map(|line| line.split_once(' ')).collect();
    assert_eq!(lines.iter().map(|line| line.1).collect::<Vec<_>>(), ["0", "1"]);
    assert_eq!(lines[0].0, lines[1].0, "the same key in all attempts");
    let log = server.all("/api/v1/execution-log").await;
    assert!(log.iter().any(|row| row["execution_error_code"] == "outcome_unknown"), "{log:?}");
}

async fn off_unless_named(kind: StoreKind) {
    let (_installation, server) = start_with(kind, &[]).await;
    let flow =
        json!({"flow_name": "no", "trigger_type": "manual", "flow_steps": [command("a", &json!({"program": "show"}))]});
    let says = refused(&server, Method::POST, "/api/v1/flows", flow, StatusCode::UNPROCESSABLE_ENTITY).await;
    assert!(says.contains("this server runs no programs"), "{says}");
    drop(server);
    let installation = Installation::new(kind).await;
    let mut environment = programs(&installation);
    // What comes last counts.
    environment.push(("CORE314__EXECUTORS__COMMANDS__TENANTS", "0190a000-0000-7000-8000-0000000000ff".to_owned()));
    let server = Server::start_with(&installation, &environment).expect("the server becomes ready");
    let log = run(&server, "stranger", vec![command("a", &json!({"program": "json"}))], json!({})).await;
    assert_eq!(log[0]["execution_error_code"], "command_refused", "{}", log[0]);
    let bad = [
        ("CORE314__EXECUTORS__COMMANDS__PROGRAMS", "ops/sh=bin/sh".to_owned()),
        ("CORE314__EXECUTORS__COMMANDS__TENANTS", USER.to_owned()),
    ];
    let other = Installation::new(StoreKind::Sqlite).await;
    assert!(Server::start_with(&other, &bad).is_none(), "a path that is not whole keeps the server from starting");
    let said = std::fs::read_to_string(other.dir.path().join("server.log")).expect("a log");
    assert!(said.contains("executors.commands.programs: 'ops/sh=bin/sh' must end with a path"), "{said}");
}

#[tokio::test]
async fn programs_run_within_their_bounds_on_sqlite() {
    what_a_program_gets(StoreKind::Sqlite).await;
}

#[tokio::test]
async fn programs_run_within_their_bounds_on_postgres() {
    what_a_program_gets(StoreKind::Postgres).await;
}

#[tokio::test]
async fn a_program_is_run_again_after_a_crash_on_sqlite() {
    again_after_a_crash(StoreKind::Sqlite).await;
}

#[tokio::test]
async fn a_program_is_run_again_after_a_crash_on_postgres() {
    again_after_a_crash(StoreKind::Postgres).await;
}

#[tokio::test]
async fn programs_are_off_unless_they_are_named_on_sqlite() {
    off_unless_named(StoreKind::Sqlite).await;
}

#[tokio::test]
async fn programs_are_off_unless_they_are_named_on_postgres() {
    off_unless_named(StoreKind::Postgres).await;
}
