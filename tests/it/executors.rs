//! Executors against real servers on this machine.

mod exchange;
mod notification;
mod outbound;
mod receiver;
mod server;
mod webhook;

use std::sync::Arc;
use std::time::Duration;

use core314::executors::{
    self, AiSettings, CommandSettings, ExecutorSettings, HttpSettings, OutboundSettings, Reach, RecordSettings,
    SyncSettings,
};
use core314::store::ForeignRecords;
use core314_actors::ports::executor::{Attempt, Executor, Performed, Target, Trial};
use core314_actors::ports::integration::Integration;
use core314_actors::ports::notifications::Inbox;
use core314_actors::testkit::memory_inbox::MemoryInbox;
use core314_actors::testkit::memory_people::MemoryPeople;
use core314_actors::testkit::memory_positions::MemoryPositions;
use core314_domain::document::FlowDocument;
use core314_domain::ids::{Owner, RowId, RunId, UserId};
use core314_domain::integration::Definition;
use core314_domain::log::Failure;
use core314_domain::plan::{FlowPlan, PlanLimits};
use core314_domain::run::Outcome;
use serde_json::{Value, json};
use uuid::Uuid;

/// Long enough for anything that happens on one machine.
const AMPLE: Duration = Duration::from_secs(20);
/// For what never answers.
const SHORT: Duration = Duration::from_millis(50);

/// Small limits, and loopback allowed, because the servers are there.
fn settings() -> ExecutorSettings {
    ExecutorSettings {
        http: HttpSettings {
            connect_timeout_ms: 5_000,
            max_redirects: 3,
            max_request_bytes: 10_000,
            max_response_bytes: 10_000,
            max_headers: 20,
            max_retry_after_ms: 3_600_000,
            idle_connections_per_host: 4,
            idle_timeout_ms: 30_000,
            max_pages: 10,
        },
        outbound: OutboundSettings {
            allow_loopback: true,
            allow_private: true,
            allowed_schemes: vec!["http".to_owned(), "https".to_owned()],
            allowed_hosts: vec![],
            denied_hosts: vec![],
            allowed_ports: vec![],
            denied_ports: vec![],
        },
        commands: CommandSettings {
            programs: vec!["ops/restart-host=/bin/true".to_owned()],
            tenants: vec!["*".to_owned()],
            allow_all_tenants: false,
            allowed_environment: vec!["TOKEN".to_owned()],
            pass_environment: vec![],
            directory: "/".to_owned(),
            max_running: 4,
            max_output_bytes: 10_000,
            max_input_bytes: 10_000,
        },
        ai: AiSettings {
            max_prompt_bytes: 10_000,
            max_tokens: 1_000,
            api_key: String::new(),
            base_url: String::new(),
            model: String::new(),
            tenants: vec![],
        },
        records: RecordSettings {
            sqlite: vec![],
            tables: vec![],
            queries: vec![],
            tenants: vec![],
            allow_all_tenants: false,
        },
        sync: SyncSettings {
            folders: vec!["drop=/srv/drop/{tenant}".to_owned()],
            tenants: vec!["*".to_owned()],
            allow_all_tenants: false,
            batch_rows: 1_000,
            batch_bytes: 1_000_000,
            max_row_bytes: 10_000,
            max_syncs_per_tenant: 10,
        },
    }
}

fn executor_with(settings: &ExecutorSettings, action_type: &str) -> Arc<dyn Executor> {
    executor_delivering(settings, action_type, Arc::new(MemoryInbox::default()))
}

fn executor_delivering(settings: &ExecutorSettings, action_type: &str, inbox: Arc<dyn Inbox>) -> Arc<dyn Executor> {
    // The first test of the process installs it; to the others its presence is as good.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let reach = Reach::people(Arc::new(MemoryPeople::default()));
    let positions = Arc::new(MemoryPositions::default());
    let all = executors::all(settings, inbox, Arc::new(ForeignRecords), reach, positions).expect("a client");
    all.into_iter().find(|executor| executor.action_type() == action_type).expect("a known action type")
}

fn executor(action_type: &str) -> Arc<dyn Executor> {
    executor_with(&settings(), action_type)
}

fn attempt(payload: Value, timeout: Duration) -> Attempt {
    let run = RunId::new(1_700_000_000_000, 42);
    Attempt {
        owner: Owner::new(UserId(Uuid::from_u128(7)), None),
        run,
        step: 0,
        execution: run.execution(0),
        key: None,
        attempt: 0,
        action_target: "target".into(),
        connection: None,
        source: None,
        payload: Arc::new(payload),
        secrets: Arc::default(),
        timeout,
    }
}

/// Performs an `api_call`.
async fn call(payload: Value) -> Performed {
    executor("api_call").execute(attempt(payload, AMPLE)).await
}

#[track_caller]
fn output(performed: &Performed) -> &Value {
    match &performed.outcome {
        Outcome::Completed(output) => output,
        other => panic!("not completed: {other:?}"),
    }
}

#[track_caller]
fn failure(performed: &Performed) -> &Failure {
    match &performed.outcome {
        Outcome::Failed(failure) => failure,
        other => panic!("not failed: {other:?}"),
    }
}

#[track_caller]
fn assert_failed(performed: &Performed, code: &str, retryable: bool) {
    let failure = failure(performed);
    assert_eq!((failure.code.as_str(), failure.retryable), (code, retryable), "{failure:?}");
}

/// Actions that go nowhere without an integration; in the page's examples it is called like its kind.
const NEED_INTEGRATIONS: [&str; 3] = ["create_task", "update_record", "ask_ai"];

fn integration(kind: &str) -> Integration {
    Integration {
        id: RowId::new(1_700_000_000_000, 7),
        owner: Owner::new(UserId(Uuid::from_u128(7)), None),
        name: kind.to_owned(),
        kind: kind.to_owned(),
        definition: Definition::default(),
        is_active: true,
        version: 1,
        created_at_ms: 0,
        updated_at_ms: 0,
    }
}

#[test]
fn the_documents_examples_are_flows_that_can_be_saved() {
    let all: Vec<Arc<dyn Executor>> = [
        "api_call",
        "trigger_webhook",
        "send_notification",
        "create_task",
        "update_record",
        "data_sync",
        "run_command",
        "ask_ai",
        "transform",
    ]
    .map(executor)
    .to_vec();
    let types: Vec<&str> = all.iter().map(|executor| executor.action_type()).collect();
    let page = include_str!("../../docs/actions.md");
    let (page, inside) = page.split_once("\n## delay and set_variable\n").expect("the section is there");
    let examples = |page: &'static str| -> Vec<&'static str> {
        page.split("```yaml\n").skip(1).map(|rest| rest.split("```").next().expect("split has a first")).collect()
    };
    // The runtime performs these by itself: there is no executor to ask.
    let own = FlowDocument::from_text(examples(inside)[0]).expect("a document");
    FlowPlan::compile(&own, &types, &PlanLimits::default()).expect("a flow");
    let examples = examples(page);
    assert_eq!(examples.len(), all.len(), "one example for each action");
    for (example, executor) in examples.iter().zip(&all) {
        let flow = FlowDocument::from_text(example).unwrap_or_else(|e| panic!("{e}\n{example}"));
        FlowPlan::compile(&flow, &types, &PlanLimits::default()).unwrap_or_else(|e| panic!("{e:?}\n{example}"));
        for (_, config) in flow.actions() {
            assert_eq!(config.action_type, executor.action_type());
            let word: &str = &config.action_target;
            let integration = NEED_INTEGRATIONS.contains(&executor.action_type()).then(|| integration(word));
            let target = Target { word, integration: integration.as_ref(), source: None };
            assert_eq!(executor.check(&target, &Value::clone(&config.action_payload)), [], "{example}");
        }
    }
}

#[test]
fn every_kind_of_integration_has_a_test_or_says_why_not() {
    let all =
        ["api_call", "trigger_webhook", "send_notification", "create_task", "update_record", "data_sync", "ask_ai"];
    let all = all.map(executor);
    let page = include_str!("../../docs/actions.md");
    let (_, table) = page.split_once("### Testing an integration\n").expect("the section is there");
    let (table, _) = table.split_once("\n### ").expect("another follows");
    for kind in all.iter().flat_map(|executor| executor.kinds()) {
        let found = integration(kind.word);
        let trials: Vec<Trial> = all.iter().filter_map(|executor| executor.trial(&found)).collect();
        assert_eq!(trials.len(), 1, "{} is tested in one way: {trials:?}", kind.word);
        assert!(
            table.contains(&format!("`{}`", kind.word)),
            "docs/actions.md does not say how {} is tested",
            kind.word
        );
    }
}

#[tokio::test]
async fn transform_answers_at_once() {
    let transform = executor("transform");
    let payload = json!({"values": {"a": [1, "x"]}});
    let performed = transform.execute(attempt(payload.clone(), AMPLE)).await;
    assert_eq!(*output(&performed), json!({"a": [1, "x"]}));
    assert_eq!(transform.immediate(&Arc::new(payload)), Some(performed.outcome));
    assert_eq!(performed.http, None);
}
