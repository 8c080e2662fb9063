//! `run_command`: runs a program of this machine, which the server's configuration must name.
//!
//! A flow names a target and a program, never a path, and gives arguments one by one: there is no shell between. The
//! program gets an environment of its own, made of nothing, and a process group of its own.
//!
//! Invariants:
//! - Nothing of the program's group outlives its attempt: when the program ends, when its time is over, and when the attempt
//!   is cancelled, the whole group is killed. What has left the group, and all of it where the server itself is killed, runs on.
//! - No more than the limits is kept of what it prints, and no secret of the attempt.
//! - A secret never stands among the arguments, which every user of the machine can see.

mod process;
mod settings;

use std::sync::Arc;
use std::time::{Duration, Instant};

use core314_actors::ports::BoxFuture;
use core314_actors::ports::executor::{Attempt, Executor, Performed, Target};
use core314_domain::Json;
use core314_domain::log::Failure;
use core314_domain::plan::Problem;
use serde_json::{Value, json};
use tokio::sync::Semaphore;

use super::client::{self, invalid};
use super::failure::Code;
use super::payload::{Reader, Reading, kind, scalar};
use super::redact::Redactor;
use process::{Ended, Order};
use settings::Programs;
pub use settings::{CommandSettings, ProgramsError};

const KEYS: [&str; 6] = ["program", "args", "env", "stdin", "expected_exit", "output"];
const MAX_ARGS: usize = 256;
/// Of all arguments together.
const MAX_ARGS_BYTES: usize = 65_536;
const MAX_NAME_CHARS: usize = 100;
/// What is kept of its last words where it fails.
const MAX_LAST_WORDS_CHARS: usize = 4_000;

/// Runs programs.
#[derive(Debug)]
pub struct RunCommand {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    programs: Programs,
    settings: CommandSettings,
    /// Programs that may run at once.
    places: Semaphore,
}

impl RunCommand {
    /// An executor for the programs that the configuration names.
    pub fn new(settings: CommandSettings) -> Result<Self, ProgramsError> {
        let programs = Programs::new(&settings)?;
        let places = Semaphore::new(settings.max_running);
        Ok(Self { shared: Arc::new(Shared { programs, settings, places }) })
    }
}

/// What a payload says.
#[derive(Debug, PartialEq)]
struct Wish {
    program: String,
    args: Vec<String>,
    env: Vec<(String, String)>,
    stdin: String,
    expected: Vec<i64>,
    is_json: bool,
}

impl Executor for RunCommand {
    fn action_type(&self) -> &'static str {
        "run_command"
    }

    fn check(&self, to: &Target<'_>, payload: &Value) -> Vec<Problem> {
        let shared = &self.shared;
        let wish = match read(payload, Reading::Document, &shared.settings) {
            Ok(wish) => wish,
            Err(problems) => return problems,
        };
        let Some(program) = wish.map(|wish| wish.program).filter(|program| !program.is_empty()) else {
            return Vec::new();
        };
        let found = shared.programs.path(to.word, &program);
        found.err().map(|message| Problem::new("/program", message)).into_iter().collect()
    }

    fn logged(&self, payload: &Json) -> Json {
        Redactor::new(payload).logged_payload()
    }

    fn execute(&self, attempt: Attempt) -> BoxFuture<'static, Performed> {
        let shared = self.shared.clone();
        Box::pin(async move {
            let redactor = Redactor::of(&attempt);
            let outcome = shared.perform(&attempt, &redactor).await;
            let outcome = outcome.map_err(|failure| Failure {
                details: failure.details.map(|details| redactor.result(details)),
                ..failure
            });
            client::performed(outcome, &redactor, None)
        })
    }
}

impl Shared {
    async fn perform(&self, attempt: &Attempt, redactor: &Redactor) -> Result<Value, Failure> {
        let wish = read(&attempt.payload, Reading::Rendered, &self.settings);
        let wish = wish.map_err(|problems| invalid(&problems))?.expect("a rendered payload without problems is a wish");
        if let Some(place) = wish.args.iter().position(|arg| attempt.secrets.redact(arg) != arg.as_str()) {
            return Err(invalid(&[Problem::new(format!("/args/{place}"), SECRET_ARGUMENT)]));
        }
        if !self.programs.may(attempt.owner.tenant) {
            let message = "executors.commands.tenants of this server's configuration does not name this tenant";
            return Err(Code::CommandRefused.failure(message));
        }
        let path = self.programs.path(&attempt.action_target, &wish.program);
        let path = path.map_err(|message| Code::CommandRefused.failure(message))?;
        let started = Instant::now();
        // A little of the time is kept for the report.
        let within = attempt.timeout.saturating_sub((attempt.timeout / 50).min(Duration::from_millis(100)));
        let late = |_| Code::Timeout.failure(format!("it did not end within {} ms", attempt.timeout.as_millis()));
        let ended = tokio::time::timeout(within, async {
            let _place = self.places.acquire().await.expect("it is never closed");
            let env = self.environment(attempt, wish.env);
            let limit = self.settings.max_output_bytes;
            let directory = &self.settings.directory;
            process::run(Order { path, args: &wish.args, env, stdin: wish.stdin.into_bytes(), directory, limit }).await
        });
        let ended = ended.await.map_err(late)?.map_err(|error| not_started(&wish.program, &error))?;
        let words = |bytes: &[u8]| redacted(bytes, redactor, self.settings.max_output_bytes);
        let (stdout, stderr) = (words(&ended.stdout), words(&ended.stderr));
        let is_cut = ended.is_cut || [&stdout, &stderr].iter().any(|text| text.1);
        let took_ms = started.elapsed().as_millis() as u64;
        judge(&ended, stdout.0, &stderr.0, is_cut, took_ms, (&wish.expected, wish.is_json))
    }

    /// What the configuration lets through of this server's own environment, what the payload gives, and who asks.
    fn environment(&self, attempt: &Attempt, given: Vec<(String, String)>) -> Vec<(String, String)> {
        let passed = self.settings.pass_environment.iter();
        let mut env: Vec<_> = passed.filter_map(|name| Some((name.clone(), std::env::var(name).ok()?))).collect();
        env.extend(given);
        env.push(("CORE314_EXECUTION_ID".to_owned(), attempt.execution.to_string()));
        env.extend(attempt.key.map(|key| ("CORE314_IDEMPOTENCY_KEY".to_owned(), key.to_string())));
        env.push(("CORE314_RUN_ID".to_owned(), attempt.run.to_string()));
        env.push(("CORE314_ATTEMPT".to_owned(), attempt.attempt.to_string()));
        env.push(("TRACEPARENT".to_owned(), attempt.trace().to_string()));
        env
    }
}

const SECRET_ARGUMENT: &str = "holds a secret: every user of the machine can see arguments; give it in env or stdin";

/// What was printed, without secrets, and whether it had to be cut. Secrets are taken out first, so that none is cut in two.
fn redacted(bytes: &[u8], redactor: &Redactor, most: usize) -> (String, bool) {
    let text = redactor.result(Value::String(String::from_utf8_lossy(bytes).replace('\0', "\u{fffd}")));
    let Value::String(mut text) = text else { return (String::new(), false) };
    // Where reading stopped, a secret may be cut in two.
    let unsafe_bytes = if bytes.len() >= most + process::MARGIN_BYTES { process::MARGIN_BYTES } else { 0 };
    let end = text.len().saturating_sub(unsafe_bytes).min(most);
    if end == text.len() {
        return (text, false);
    }
    text.truncate(text.floor_char_boundary(end));
    (text, true)
}

fn judge(
    ended: &Ended,
    stdout: String,
    stderr: &str,
    is_cut: bool,
    took_ms: u64,
    (expected, is_json): (&[i64], bool),
) -> Result<Value, Failure> {
    let code = ended.code.map(i64::from);
    if code.is_none_or(|code| !expected.contains(&code)) {
        let how = match (code, ended.signal) {
            (Some(code), _) => format!("it ended with exit code {code}"),
            (None, Some(signal)) => format!("it was ended by signal {signal}"),
            (None, None) => "nobody knows how it ended".to_owned(),
        };
        let last = |text: &str| {
            let skipped = text.chars().count().saturating_sub(MAX_LAST_WORDS_CHARS);
            text.chars().skip(skipped).collect::<String>()
        };
        let words = last(stderr);
        let words = words.trim().lines().next_back().unwrap_or_default();
        let message = if words.is_empty() { how } else { format!("{how}: {words}") };
        let details =
            json!({"exit_code": code, "signal": ended.signal, "stdout": last(&stdout), "stderr": last(stderr)});
        return Err(Failure { details: Some(details), ..Code::CommandFailed.failure(message) });
    }
    let stdout = if is_json {
        let unreadable =
            |error: serde_json::Error| Code::UnexpectedAnswer.failure(format!("stdout is no JSON: {error}"));
        let value: Value = serde_json::from_str(&stdout).map_err(unreadable)?;
        if core314_domain::json::too_deep(&value) {
            return Err(Code::UnexpectedAnswer.failure("stdout is JSON that nests too deep"));
        }
        core314_domain::json::without_nul(value)
    } else {
        Value::String(stdout)
    };
    Ok(json!({"exit_code": code, "stdout": stdout, "stderr": stderr, "truncated": is_cut, "duration_ms": took_ms}))
}

/// A program that is not there, or that this server may not run, is not there the next time either.
fn not_started(program: &str, error: &std::io::Error) -> Failure {
    let message = format!("'{program}' cannot be started: {error}");
    match error.kind() {
        std::io::ErrorKind::NotFound | std::io::ErrorKind::PermissionDenied => Code::CommandRefused.failure(message),
        _ => Code::CommandFailed.failure(message),
    }
}

/// Reads a payload; `None` when it is right as far as can be seen before it is rendered.
fn read(payload: &Value, reading: Reading, settings: &CommandSettings) -> Result<Option<Wish>, Vec<Problem>> {
    let mut reader = match Reader::new(payload, reading) {
        Ok(reader) => reader,
        Err(problems) if problems.is_empty() => return Ok(None),
        Err(problems) => return Err(problems),
    };
    reader.only(&KEYS);
    if !reader.has("program") {
        reader.problem(&["program"], "is required: a name that executors.commands.programs has");
    }
    let program = reader.said("program", MAX_NAME_CHARS).unwrap_or_default().to_owned();
    let args = read_args(&mut reader, reading);
    let env = read_env(&mut reader, settings);
    let stdin = reader.text("stdin").unwrap_or_default().to_owned();
    if stdin.len() > settings.max_input_bytes {
        let message = format!("has {} bytes, at most {} are given to a program", stdin.len(), settings.max_input_bytes);
        reader.problem(&["stdin"], message);
    }
    let expected = read_expected(&mut reader);
    let is_json = match reader.text("output") {
        None | Some("text") => false,
        Some("json") => true,
        Some(other) => {
            reader.problem(&["output"], format!("'{other}' is not one of: text, json"));
            false
        }
    };
    if !reader.problems.is_empty() {
        return Err(reader.problems);
    }
    Ok(Some(Wish { program, args, env, stdin, expected, is_json }))
}

fn read_args(reader: &mut Reader<'_>, reading: Reading) -> Vec<String> {
    if reading == Reading::Document
        && let Some(Value::Array(items)) = reader.get("args")
    {
        let named = |item: &Value| item.as_str().is_some_and(|text| text.contains("{{") && text.contains("secrets."));
        if let Some(place) = items.iter().position(named) {
            reader.problem(&["args", &place.to_string()], SECRET_ARGUMENT);
        }
    }
    let mut args = Vec::new();
    for (place, item) in reader.list("args", MAX_ARGS) {
        match scalar(item) {
            Some(text) if text.contains('\0') => {
                reader.problem(&["args", &place], "must not contain the NUL character");
            }
            Some(text) => args.push(text),
            None => {
                let message = format!("must be a text, a number or a boolean, is {}", kind(item));
                reader.problem(&["args", &place], message);
            }
        }
    }
    let bytes: usize = args.iter().map(String::len).sum();
    if bytes > MAX_ARGS_BYTES {
        reader.problem(&["args"], format!("have {bytes} bytes together, at most {MAX_ARGS_BYTES} are possible"));
    }
    args
}

fn read_env(reader: &mut Reader<'_>, settings: &CommandSettings) -> Vec<(String, String)> {
    let pairs = reader.pairs("env");
    let names: Vec<&str> = reader.object("env").into_iter().flat_map(|map| map.keys()).map(String::as_str).collect();
    for name in names {
        if !settings.allowed_environment.iter().any(|allowed| allowed == name) {
            let message =
                "is no variable that executors.commands.allowed_environment of this server's configuration names";
            reader.problem(&["env", name], message);
        }
    }
    let mut env: Vec<(String, String)> = Vec::new();
    for (name, value) in pairs {
        let problem = if value.contains('\0') {
            "must not contain the NUL character"
        } else if env.iter().any(|(given, _)| given == name) {
            "must be one value"
        } else {
            env.push((name.to_owned(), value));
            continue;
        };
        reader.problem(&["env", name], problem);
    }
    env
}

/// Exit codes that mean success: one or a list of them.
fn read_expected(reader: &mut Reader<'_>) -> Vec<i64> {
    let Some(value) = reader.get("expected_exit") else { return vec![0] };
    let items = value.as_array().map_or(std::slice::from_ref(value), Vec::as_slice);
    let codes: Option<Vec<i64>> =
        items.iter().map(|item| item.as_i64().filter(|code| (0..=255).contains(code))).collect();
    codes.filter(|codes| !codes.is_empty()).unwrap_or_else(|| {
        reader.problem(&["expected_exit"], "must be an exit code from 0 to 255, or a list of them");
        vec![0]
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings() -> CommandSettings {
        CommandSettings {
            programs: vec!["ops/greet=/bin/echo".to_owned()],
            tenants: vec!["*".to_owned()],
            allow_all_tenants: false,
            allowed_environment: vec!["TOKEN".to_owned()],
            pass_environment: vec![],
            directory: "/".to_owned(),
            max_running: 2,
            max_output_bytes: 1_000,
            max_input_bytes: 10,
        }
    }

    fn problems(target: &str, payload: &Value) -> Vec<String> {
        let executor = RunCommand::new(settings()).expect("good settings");
        let problems = executor.check(&Target::word(target), payload);
        problems.into_iter().map(|p| format!("{}: {}", p.pointer, p.message)).collect()
    }

    #[test]
    fn mistakes_are_found_in_the_document() {
        assert_eq!(
            problems("ops", &json!({"program": "greet", "args": ["a", 1, true], "env": {"TOKEN": "x"}})),
            [""; 0]
        );
        let not_named =
            "/program: 'ops/rm' is no program that executors.commands.programs of this server's configuration names";
        for (payload, expected) in [
            (json!({}), "/program: is required: a name that executors.commands.programs has"),
            (json!({"program": "rm"}), not_named),
            (json!({"program": "greet", "args": "-rf /"}), "/args: must be a list, is a text"),
            (json!({"program": "greet", "args": [{}]}), "/args/0: must be a text, a number or a boolean, is an object"),
            (json!({"program": "greet", "args": ["a\0b"]}), "/args/0: must not contain the NUL character"),
            (
                json!({"program": "greet", "args": ["a", "--key={{ secrets.KEY }}"]}),
                "/args/1: holds a secret: every user of the machine can see arguments; give it in env or stdin",
            ),
            (
                json!({"program": "greet", "env": {"LD_PRELOAD": "x"}}),
                "/env/LD_PRELOAD: is no variable that executors.commands.allowed_environment of this server's configuration names",
            ),
            (
                json!({"program": "greet", "stdin": "12345678901"}),
                "/stdin: has 11 bytes, at most 10 are given to a program",
            ),
            (
                json!({"program": "greet", "expected_exit": 256}),
                "/expected_exit: must be an exit code from 0 to 255, or a list of them",
            ),
            (json!({"program": "greet", "output": "xml"}), "/output: 'xml' is not one of: text, json"),
        ] {
            assert_eq!(problems("ops", &payload), [expected], "{payload}");
        }
        let unknown = problems("ops", &json!({"program": "greet", "shell": true}));
        assert!(unknown[0].starts_with("/shell: unknown key 'shell'"), "{unknown:?}");
        assert!(problems("other", &json!({"program": "greet"}))[0].contains("'other/greet' is no program"));
        assert_eq!(
            problems("ops", &json!({"program": "{{ trigger.program }}", "args": "{{ trigger.args }}"})),
            [""; 0]
        );
    }

    #[test]
    fn what_is_cut_holds_no_part_of_a_secret() {
        let redactor = Redactor::new(&Arc::new(json!({"env": {"API_TOKEN": "planted-secret-value"}})));
        let (text, is_cut) = redacted(b"0123456789 planted-secret-value and more", &redactor, 24);
        assert_eq!((text.as_str(), is_cut), ("0123456789 [redacted] an", true));
        assert_eq!(redacted("ää".as_bytes(), &redactor, 3), ("ä".to_owned(), true));
    }
}
