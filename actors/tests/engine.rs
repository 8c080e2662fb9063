//! The reactive core on a store in memory: real actors, real threads, scripted executors, lost connections and crashes.

use std::sync::Arc;
use std::time::{Duration, Instant};

use core314_actors::clock::SystemClock;
use core314_actors::engine::{DecisionDraft, Engine, FlowDraft, Parts, Place, SaveError, VerdictDraft};
use core314_actors::feed::{Feed, Limits, Subscription};
use core314_actors::ingress::{IdempotencyRequest, Target, Trigger, TriggerError, Triggered};
use core314_actors::membership::{ClusterSettings, Member};
use core314_actors::ports::Scope;
use core314_actors::ports::membership::Membership;
use core314_actors::settings::EngineSettings;
use core314_actors::testkit::memory_store::{MemoryStore, Rows};
use core314_actors::testkit::memory_vault::MemoryVault;
use core314_actors::testkit::scripted_executor::ScriptedExecutor;
use core314_domain::document::FlowDocument;
use core314_domain::ids::{FlowId, Owner, RowId, RunId, UserId};
use core314_domain::words::{RunStatus, TriggerType};
use serde_json::{Value, json};
use uuid::Uuid;

struct World {
    /// Arbiters are opened on a thread of a system.
    _system: actix_rt::SystemRunner,
    io: tokio::runtime::Runtime,
    store: Arc<MemoryStore>,
    executor: ScriptedExecutor,
}

fn owner() -> Owner {
    Owner::new(UserId(Uuid::from_u128(7)), None)
}

impl World {
    fn new() -> Self {
        let io = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("threads");
        Self { _system: actix_rt::System::new(), io, store: Arc::default(), executor: ScriptedExecutor::default() }
    }

    fn start_with(&self, settings: EngineSettings) -> Engine {
        self.start_at(settings, Place::Alone(RowId(Uuid::from_u128(1))))
    }

    fn start_at(&self, settings: EngineSettings, place: Place) -> Engine {
        let parts = Parts {
            settings,
            clock: Arc::new(SystemClock::default()),
            store: self.store.clone(),
            catalog: self.store.clone(),
            executors: vec![Arc::new(self.executor.clone())],
            vault: Arc::new(MemoryVault),
            inbox: None,
            feed: Feed::new(self.io.handle().clone()),
            io: self.io.handle().clone(),
            place,
            on_end: Arc::new(|reason| eprintln!("root failure: {reason}")),
        };
        self.io.block_on(Engine::start(parts)).expect("the engine starts")
    }

    fn start(&self) -> Engine {
        self.start_with(EngineSettings { partitions: 2, arbiters: 2, ..EngineSettings::default() })
    }

    fn flow(&self, id: u128, mode: &str, payloads: &[Value]) -> FlowId {
        let steps: Vec<Value> = payloads
            .iter()
            .enumerate()
            .map(|(i, p)| json!({"id": format!("s{i}"), "config": {"action_type": "scripted", "action_payload": p}}))
            .collect();
        let document = json!({
            "flow_name": format!("flow-{id}"), "trigger_type": "manual", "execution_mode": mode, "flow_steps": steps,
            "retry_policy": {"max_attempts": 3, "backoff_seconds": 0.001},
        });
        let id = FlowId(Uuid::from_u128(id));
        self.store.add_flow(id, owner(), FlowDocument::from_value(document).expect("a flow"));
        id
    }

    /// A flow that carries out the decisions for which its conditions hold.
    fn deciding(&self, id: u128, conditions: &str) -> FlowId {
        self.finding(id, &json!({"trigger_type": "decision_approved", "conditions": conditions}))
    }

    /// A flow that triggers find.
    fn finding(&self, id: u128, how: &Value) -> FlowId {
        let step = json!({"id": "s", "config": {"action_type": "scripted", "action_payload": {}}});
        let mut document = how.clone();
        document["flow_name"] = json!(format!("flow-{id}"));
        document["flow_steps"] = json!([step]);
        let id = FlowId(Uuid::from_u128(id));
        self.store.add_flow(id, owner(), FlowDocument::from_value(document).expect("a flow"));
        id
    }

    /// The flows that an approved decision of this source starts, and the clauses of those that it does not.
    fn approve(&self, engine: &Engine, source: &str) -> (Vec<FlowId>, Vec<String>) {
        let draft = DecisionDraft {
            owner: owner(),
            source: source.to_owned(),
            title: "Do it".to_owned(),
            summary: None,
            confidence: None,
            risk: None,
            payload: json!({}),
            idempotency: None,
            by: "user:7".to_owned(),
        };
        let id = self.io.block_on(engine.take_decision(draft)).expect("taken");
        let draft = VerdictDraft { owner: owner(), id, is_yes: true, notes: None, by: "user:7".to_owned() };
        let started = self.io.block_on(engine.judge_decision(draft)).expect("approved").expect("at once");
        let runs = started.runs.iter().map(|run| run.flow_id).collect();
        (runs, started.why_not.into_iter().map(|why_not| why_not.clause).collect())
    }

    fn trigger(&self, engine: &Engine, flow: FlowId, key: Option<(&str, u8)>) -> Result<Triggered, TriggerError> {
        self.send(engine, Target::Flow(flow), TriggerType::Manual, key)
    }

    fn send(
        &self,
        engine: &Engine,
        target: Target,
        trigger_type: TriggerType,
        key: Option<(&str, u8)>,
    ) -> Result<Triggered, TriggerError> {
        let trigger = Trigger {
            owner: owner(),
            target,
            trigger_type,
            source: "manual".into(),
            context: Arc::new(json!({"n": 1})),
            webhook: Arc::default(),
            triggered_by: "user:7".into(),
            decision_event_id: None,
            recommendation_id: None,
            parent_run_id: None,
            run_key: None,
            idempotency: key.map(|(key, hash)| IdempotencyRequest { key: key.to_owned(), body_hash: [hash; 32] }),
        };
        self.io.block_on(engine.trigger(trigger))
    }

    fn accept(&self, engine: &Engine, flow: FlowId) -> RunId {
        match self.trigger(engine, flow, None).expect("accepted") {
            Triggered::Accepted(accepted) => accepted.run,
            other => panic!("not accepted: {other:?}"),
        }
    }

    /// Waits, without sleeping, until what the store holds satisfies.
    fn until(&self, what: &str, satisfied: impl Fn(&Rows) -> bool) -> Rows {
        let started = Instant::now();
        loop {
            let rows = self.store.snapshot();
            if satisfied(&rows) {
                return rows;
            }
            assert!(started.elapsed() < Duration::from_secs(20), "in vain: {what}; runs: {:?}", statuses(&rows));
            std::thread::yield_now();
        }
    }

    fn stop(&self, engine: &Engine) {
        self.io.block_on(engine.stop());
    }
}

fn statuses(rows: &Rows) -> Vec<(RunStatus, String)> {
    rows.runs.values().map(|r| (r.state.status, r.state.state.clone())).collect()
}

fn all_ended(rows: &Rows) -> bool {
    rows.runs.values().all(|r| r.state.status.is_terminal())
}

/// Every attempt of every run is logged once, and runs that completed have a final row for each step.
fn assert_log_is_whole(rows: &Rows) {
    let mut keys: Vec<_> = rows.log.iter().map(|(run, _, _, _, e)| (*run, e.step, e.attempt)).collect();
    let count = keys.len();
    keys.sort_unstable();
    keys.dedup();
    assert_eq!(keys.len(), count, "an attempt is logged twice");
}

#[test]
fn three_steps_run_in_order_and_are_logged() {
    let world = World::new();
    let flow = world.flow(1, "sequential", &[json!({}), json!({"from": "{{ steps.s0.output.done }}"}), json!({})]);
    let engine = world.start();
    let run = world.accept(&engine, flow);
    let rows = world.until("the run ends", all_ended);
    assert_eq!(rows.runs[&run].state.status, RunStatus::Completed);
    let steps: Vec<u32> = rows.log.iter().map(|(_, _, _, _, e)| e.step).collect();
    assert_eq!(steps, [0, 1, 2]);
    assert_eq!(*rows.log[1].4.payload, json!({"from": {}}));
    world.stop(&engine);
}

#[test]
fn retries_failures_and_panics_of_executors_end_as_they_should() {
    let world = World::new();
    let retried = world.flow(1, "sequential", &[json!({"fail_first": 2})]);
    let failed = world.flow(2, "sequential", &[json!({"fail": true}), json!({})]);
    let panicked = world.flow(3, "parallel", &[json!({"panic": true}), json!({})]);
    let engine = world.start();
    let runs = [retried, failed, panicked].map(|flow| world.accept(&engine, flow));
    let rows = world.until("the runs end", all_ended);
    let status = |n: usize| rows.runs[&runs[n]].state.status;
    assert_eq!([status(0), status(1), status(2)], [RunStatus::Completed, RunStatus::Failed, RunStatus::Failed]);
    assert_eq!(rows.log.iter().filter(|row| row.0 == runs[0]).count(), 3);
    assert_eq!(rows.log.iter().filter(|row| row.0 == runs[1]).count(), 1, "the second step never starts");
    assert_eq!(rows.log.iter().filter(|row| row.0 == runs[2]).count(), 4, "three panics are three attempts");
    assert_log_is_whole(&rows);
    world.stop(&engine);
}

#[test]
fn a_lost_connection_loses_and_doubles_nothing() {
    let world = World::new();
    let flow = world.flow(1, "sequential", &[json!({}), json!({}), json!({})]);
    let engine = world.start();
    for round in 0..20 {
        if round % 2 == 0 {
            world.store.lose_before(1);
        } else {
            world.store.lose_after(1);
        }
        world.accept(&engine, flow);
    }
    let rows = world.until("the runs end", all_ended);
    assert_eq!(rows.runs.len(), 20);
    assert_eq!(rows.log.len(), 60);
    assert_log_is_whole(&rows);
    assert!(rows.runs.values().all(|r| r.state.status == RunStatus::Completed), "{:?}", statuses(&rows));
    world.stop(&engine);
}

#[test]
fn a_key_whose_commit_was_lost_still_starts_its_run() {
    let world = World::new();
    let flow = world.flow(1, "sequential", &[json!({}), json!({})]);
    let engine = world.start();
    world.store.lose_after(1);
    let first = world.trigger(&engine, flow, Some(("k", 1))).expect("accepted");
    assert!(matches!(first, Triggered::Accepted(_)), "{first:?}");
    let rows = world.until("the run ends", all_ended);
    assert_eq!((rows.runs.len(), rows.log.len()), (1, 2));
    assert!(rows.log.iter().all(|row| row.4.success()), "nothing was of unknown outcome");
    world.stop(&engine);
}

#[test]
fn an_idempotency_key_starts_one_run() {
    let world = World::new();
    let flow = world.flow(1, "sequential", &[json!({})]);
    let engine = world.start();
    let first = world.trigger(&engine, flow, Some(("k", 1))).expect("accepted");
    let again = world.trigger(&engine, flow, Some(("k", 1))).expect("repeated");
    let (Triggered::Accepted(first), Triggered::Repeated(again)) = (first, again) else { panic!("not so") };
    assert_eq!(first, again);
    let other = world.trigger(&engine, flow, Some(("k", 2)));
    assert!(matches!(other, Err(TriggerError::KeyReused)), "{other:?}");
    assert_eq!(world.until("the run ends", all_ended).runs.len(), 1);
    world.stop(&engine);
}

#[test]
fn a_flow_whose_conditions_cannot_be_evaluated_keeps_no_older_one_from_starting() {
    let world = World::new();
    let wanted = world.deciding(1, "trigger.source == 'planner'");
    // The newer one is asked first, and the member is not there.
    world.deciding(2, "trigger.payload.region == 'eu'");
    let engine = world.start();
    assert_eq!(world.approve(&engine, "planner"), (vec![wanted], Vec::new()));
    let (runs, clauses) = world.approve(&engine, "other");
    assert_eq!((runs.len(), clauses.len()), (0, 2), "{clauses:?}");
    assert!(clauses[0].starts_with("it cannot be evaluated: "), "whoever approves is told why: {clauses:?}");
    assert_eq!(clauses[1], "trigger.source == 'planner'");
    assert_eq!(world.until("the run ends", all_ended).runs.len(), 1);
    world.stop(&engine);
}

#[test]
fn a_webhook_that_looks_for_flows_finds_those_that_name_it_as_their_own() {
    let world = World::new();
    let own = world.finding(1, &json!({"trigger_type": "webhook", "trigger_config": {"webhook": "alerts"}}));
    let engine = world.start();
    let send = |target| world.send(&engine, target, TriggerType::Webhook, None).expect("taken");
    for target in [Target::Delivered("other".into()), Target::Matching] {
        let Triggered::NoMatch(why_not) = send(target) else { panic!("it was started by another") };
        assert_eq!(why_not[0].clause, "trigger_config.webhook: alerts");
    }
    let Triggered::Accepted(run) = send(Target::Delivered("alerts".into())) else { panic!("it was not started") };
    assert_eq!(run.flow_id, own);
    assert_eq!(world.until("the run ends", all_ended).runs.len(), 1);
    world.stop(&engine);
}

#[test]
fn a_backlog_beyond_slots_and_memory_drains_in_full() {
    let world = World::new();
    let flow = world.flow(1, "parallel", &[json!({}), json!({}), json!({})]);
    let small = EngineSettings {
        partitions: 2,
        arbiters: 1,
        slots_per_partition: 2,
        resident_runs_per_partition: 8,
        page_size: 4,
        ..EngineSettings::default()
    };
    let engine = world.start_with(small);
    for _ in 0..100 {
        world.accept(&engine, flow);
    }
    let rows = world.until("the backlog drains", all_ended);
    assert_eq!(rows.log.len(), 300);
    assert_log_is_whole(&rows);
    world.stop(&engine);
}

#[test]
fn an_engine_that_died_is_taken_up_by_the_next() {
    let world = World::new();
    let flow = world.flow(1, "sequential", &[json!({"hold": true}), json!({})]);
    let first = world.start();
    let run = world.accept(&first, flow);
    world.until("the attempt is under way", |_| !world.executor.asked().is_empty());
    // The next one takes the partitions: whatever the first still does is fenced.
    let second = world.start();
    world.executor.let_go(10);
    let rows = world.until("the run ends", all_ended);
    assert_eq!(rows.runs[&run].state.status, RunStatus::Completed);
    let codes: Vec<Option<String>> =
        rows.log.iter().map(|(_, _, _, _, e)| e.failure.as_ref().map(|f| f.code.clone())).collect();
    assert_eq!(codes, [Some("outcome_unknown".to_owned()), None, None]);
    let executions: Vec<_> = world.executor.asked().iter().filter(|(e, _)| *e == run.execution(0)).copied().collect();
    assert_eq!(executions.len(), 2, "the same execution, so the same key, twice: {executions:?}");
    world.stop(&second);
}

#[test]
fn no_attempt_is_begun_while_the_lease_is_spent() {
    // With one thread a task has come as far as it can when another one has its turn.
    let io = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().expect("a thread");
    let world = World { io, ..World::new() };
    let flow = world.flow(1, "sequential", &[json!({})]);
    let (store, node) = (world.store.clone(), RowId(Uuid::from_u128(1)));
    let cluster = ClusterSettings { lease_ms: 3_600_000, node_name: String::new() };
    let joining = Member::join(store.clone(), world.io.handle().clone(), node, &cluster, "test", Vec::new());
    let member = world.io.block_on(joining).expect("it joins");
    // It has the partitions, and no lease that was renewed.
    let epoch = world.io.block_on(store.take_partitions(node, 2, 0)).expect("it takes them");
    let settings = EngineSettings { partitions: 2, arbiters: 2, ..EngineSettings::default() };
    let engine = world.start_at(settings, Place::Taken(member.seat(epoch)));
    world.accept(&engine, flow);
    let under_way = || engine.runtime().meters.actions().iter().map(|action| action.under_way).sum::<u64>();
    world.until("the attempt waits", |_| under_way() == 1);
    world.io.block_on(world.io.spawn(async {})).expect("another task has its turn");
    assert!(world.executor.asked().is_empty(), "nothing is sent");
    member.stay(Arc::new(|end| eprintln!("the node ends: {end}")));
    world.until("the lease is renewed, and the run ends", all_ended);
    world.stop(&engine);
}

#[test]
fn stopping_lets_attempts_under_way_end() {
    let world = World::new();
    let flow = world.flow(1, "sequential", &[json!({"hold": true}), json!({})]);
    let engine = world.start();
    let run = world.accept(&engine, flow);
    world.until("the attempt is under way", |_| !world.executor.asked().is_empty());
    let stopped = world.io.spawn({
        let engine = engine.clone();
        async move { engine.stop().await }
    });
    let partition = format!("partition-{:02}", world.store.snapshot().runs[&run].header.partition);
    let draining = || engine.actors().iter().any(|a| a.path.ends_with(&partition) && a.state == "draining");
    while !draining() {
        std::thread::yield_now();
    }
    world.executor.let_go(1);
    world.io.block_on(stopped).expect("it stops");
    let rows = world.store.snapshot();
    assert_eq!(rows.log.len(), 1, "the attempt under way is logged, and the next has not started");
    let next = world.start();
    let rows = world.until("the run ends", all_ended);
    assert_eq!(rows.runs[&run].state.status, RunStatus::Completed);
    world.stop(&next);
}

#[test]
fn statistics_follow_and_survive_a_restart() {
    let world = World::new();
    let flow = world.flow(1, "sequential", &[json!({}), json!({"fail_first": 1})]);
    let settings =
        EngineSettings { partitions: 2, arbiters: 1, statistics_interval_ms: 5, ..EngineSettings::default() };
    let total = |rows: &Rows| -> (i64, i64) {
        let hourly = rows.statistics.iter().filter(|(key, _)| key.bucket_width_ms == 3_600_000);
        hourly.fold((0, 0), |(e, a), (_, s)| (e + s.executions, a + s.attempts))
    };
    let first = world.start_with(settings.clone());
    for _ in 0..10 {
        world.accept(&first, flow);
    }
    world.until("the first runs are counted", |rows| total(rows) == (20, 30));
    world.stop(&first);
    let second = world.start_with(settings);
    for _ in 0..10 {
        world.accept(&second, flow);
    }
    world.until("all runs are counted once", |rows| total(rows) == (40, 60));
    world.stop(&second);
}

/// Listens to runs and restarts as the platform does.
fn listen(world: &World, engine: &Engine) -> Subscription {
    let limits = Limits { clients: 1, clients_per_tenant: 1 };
    let topics = "runs,actors".parse().expect("known topics");
    let mut subscription = engine.feed().subscribe(Scope::Platform, topics, None, limits).expect("let in");
    next_block(world, &mut subscription);
    subscription
}

fn next_block(world: &World, subscription: &mut Subscription) -> String {
    let next = async { tokio::time::timeout(Duration::from_secs(20), subscription.next()).await };
    let block = world.io.block_on(next).expect("something comes").expect("the stream goes on");
    String::from_utf8(block.to_vec()).expect("text")
}

#[test]
fn the_feed_tells_of_commits_whose_outcome_was_lost() {
    let world = World::new();
    let flow = world.flow(1, "sequential", &[json!({}), json!({})]);
    let engine = world.start();
    let mut feed = listen(&world, &engine);
    let mut untold = std::collections::BTreeSet::new();
    for round in 0..20 {
        world.store.lose_after(1 + round % 3);
        untold.insert(world.accept(&engine, flow).to_string());
    }
    world.until("the runs end", all_ended);
    while !untold.is_empty() {
        let block = next_block(&world, &mut feed);
        let data = block.lines().find_map(|line| line.strip_prefix("data: ")).expect("an event");
        let data: Value = serde_json::from_str(data).expect("JSON");
        for change in data["changes"].as_array().expect("no reset was needed") {
            if change["run_status"] == "completed" {
                untold.remove(change["id"].as_str().expect("an id"));
            }
        }
    }
    world.stop(&engine);
}

#[test]
fn a_partition_that_was_restarted_makes_listeners_start_anew() {
    let world = World::new();
    let flow = world.flow(1, "sequential", &[json!({})]);
    let engine = world.start();
    let mut feed = listen(&world, &engine);
    let run = world.accept(&engine, flow);
    while !next_block(&world, &mut feed).contains("completed") {}
    engine.restart_actor("core314/partitions/partition-00").expect("there is such an actor");
    // What was not sent when the new life began, such as the word of the restart itself, is part of what is read anew.
    while !next_block(&world, &mut feed).contains("event: reset\n") {}
    let later = world.accept(&engine, flow);
    let mut block = String::new();
    while !(block.contains(&later.to_string()) && block.contains("completed")) {
        block = next_block(&world, &mut feed);
        assert!(!block.contains(&run.to_string()), "{block}");
    }
    world.stop(&engine);
}

#[test]
fn a_flow_that_would_be_refused_today_can_be_stopped_and_let_go_on() {
    let world = World::new();
    let step = json!({"id": "w", "type": "wait", "config": {"until": "tomorrow at nine"}});
    let document = json!({"flow_name": "old", "trigger_type": "manual", "is_active": true, "flow_steps": [step]});
    let document = FlowDocument::from_value(document).expect("a flow");
    let id = FlowId(Uuid::from_u128(1));
    world.store.add_flow(id, owner(), document.clone());
    let engine = world.start();
    let save = |version: i64, document: FlowDocument| {
        let draft = FlowDraft { owner: owner(), document, by: "user:7".to_owned() };
        world.io.block_on(engine.update_flow(id, version, draft))
    };
    for (version, is_active) in [(1, false), (2, true)] {
        let saved = save(version, FlowDocument { is_active, ..document.clone() }).expect("saved");
        assert_eq!((saved.version, saved.document.is_active), (version + 1, is_active));
    }
    let renamed = FlowDocument { flow_name: "new".to_owned(), is_active: false, ..document };
    assert!(matches!(save(3, renamed), Err(SaveError::Invalid(_))), "what else changes is checked");
    world.stop(&engine);
}
