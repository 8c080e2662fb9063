//! Schedules on a store in memory: real actors, a clock that jumps, commits whose answers are lost, engines that die.

use std::sync::Arc;
use std::time::{Duration, Instant};

use core314_actors::clock::{Clock, SystemClock, TestClock};
use core314_actors::engine::{Engine, FlowDraft, Parts, Place, SaveError};
use core314_actors::ports::Scope;
use core314_actors::ports::schedule::StoredSchedule;
use core314_actors::ports::store::{Store, StoredRun};
use core314_actors::settings::EngineSettings;
use core314_actors::testkit::memory_store::MemoryStore;
use core314_actors::testkit::memory_vault::MemoryVault;
use core314_actors::testkit::scripted_executor::ScriptedExecutor;
use core314_domain::document::FlowDocument;
use core314_domain::ids::{FlowId, Owner, RowId, UserId};
use core314_domain::schedule::NotFired;
use core314_domain::words::{RunStatus, TriggerType};
use serde_json::{Value, json};
use uuid::Uuid;

/// 2026-01-01T00:00:30Z.
const START_MS: i64 = 1_767_225_630_000;
const MINUTE: i64 = 60_000;

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

    fn start(&self, clock: Arc<dyn Clock>) -> Engine {
        let parts = Parts {
            settings: EngineSettings { partitions: 2, arbiters: 2, ..EngineSettings::default() },
            clock,
            store: self.store.clone(),
            catalog: self.store.clone(),
            executors: vec![Arc::new(self.executor.clone())],
            vault: Arc::new(MemoryVault),
            inbox: None,
            io: self.io.handle().clone(),
            feed: core314_actors::feed::Feed::new(self.io.handle().clone()),
            place: Place::Alone(RowId(Uuid::from_u128(1))),
            on_end: Arc::new(|reason| eprintln!("root failure: {reason}")),
        };
        self.io.block_on(Engine::start(parts)).expect("the engine starts")
    }

    /// An engine whose clock shows so many minutes and a half past the start.
    fn start_at(&self, minutes: i64) -> Engine {
        self.start(Arc::new(TestClock::at(START_MS + minutes * MINUTE)))
    }

    fn save(&self, engine: &Engine, config: &Value, more: &Value) -> Result<FlowId, SaveError> {
        let mut document = json!({"flow_name": "scheduled", "trigger_type": "schedule", "trigger_config": config,
            "flow_steps": [{"id": "a", "config": {"action_type": "scripted", "action_payload": {}}}]});
        document.as_object_mut().expect("an object").extend(more.as_object().cloned().unwrap_or_default());
        let document = FlowDocument::from_value(document).expect("a document");
        let draft = FlowDraft { owner: owner(), document, by: "user:7".to_owned() };
        Ok(self.io.block_on(engine.create_flow(draft))?.id)
    }

    fn row(&self, flow: FlowId) -> StoredSchedule {
        self.io.block_on(self.store.schedule(Scope::Platform, flow)).expect("reads").expect("it has a row")
    }

    /// The runs in the order of their instants.
    fn runs(&self) -> Vec<StoredRun> {
        let mut runs: Vec<StoredRun> = self.store.snapshot().runs.into_values().collect();
        runs.sort_by_key(|run| run.header.trigger_context["scheduled_for"].as_str().map(str::to_owned));
        runs
    }

    /// The instants that have runs.
    fn instants(&self) -> Vec<String> {
        let told = |run: &StoredRun| run.header.trigger_context["scheduled_for"].as_str().map(str::to_owned);
        self.runs().iter().filter_map(told).collect()
    }

    /// Waits, without sleeping, until it is so.
    fn until(&self, what: &str, is_so: impl Fn() -> bool) {
        let started = Instant::now();
        while !is_so() {
            assert!(started.elapsed() < Duration::from_secs(30), "in vain: {what}; {:?}", self.instants());
            std::thread::yield_now();
        }
    }

    fn stop(&self, engine: &Engine) {
        self.io.block_on(engine.stop());
    }
}

/// Minutes past midnight, as instants are told.
fn minutes(all: impl IntoIterator<Item = u32>) -> Vec<String> {
    all.into_iter().map(|minute| format!("2026-01-01T00:{minute:02}:00.000Z")).collect()
}

/// A flow that was saved half a minute past midnight, and an engine that starts again nine minutes later.
fn after_nine_minutes(config: &Value) -> (World, FlowId, Engine) {
    let world = World::new();
    let engine = world.start_at(0);
    let flow = world.save(&engine, config, &json!({})).expect("it is saved");
    assert_eq!(world.row(flow).standing.next_ms, Some(START_MS + MINUTE / 2));
    world.stop(&engine);
    let engine = world.start_at(9);
    (world, flow, engine)
}

#[test]
fn instants_that_passed_while_nobody_was_there_follow_the_policy() {
    let (world, flow, engine) = after_nine_minutes(&json!({"cron": "* * * * *", "missed": "all"}));
    world.until("all have runs", || world.row(flow).fired == 9);
    assert_eq!(world.instants(), minutes(1..=9));
    world.stop(&engine);

    let (world, flow, engine) = after_nine_minutes(&json!({"cron": "* * * * *"}));
    world.until("one has a run", || world.row(flow).fired == 1);
    assert_eq!(world.instants(), minutes([9]));
    let row = world.row(flow);
    assert_eq!(row.not_fired[NotFired::Missed as usize], 8);
    let run = world.runs().remove(0);
    let expected = json!({"scheduled_for": "2026-01-01T00:09:00.000Z", "fired_at": "2026-01-01T00:09:30.000Z",
        "schedule": "* * * * *", "missed": 8});
    assert_eq!(*run.header.trigger_context, expected);
    assert_eq!(
        (run.header.trigger_type, &*run.header.trigger_source),
        (TriggerType::Schedule, &*format!("schedule:{flow}"))
    );
    assert_eq!((row.last_run, row.standing.next_ms), (Some(run.header.id), Some(START_MS + 9 * MINUTE + MINUTE / 2)));
    world.stop(&engine);

    let (world, flow, engine) = after_nine_minutes(&json!({"cron": "* * * * *", "missed": "skip"}));
    world.until("they are passed over", || world.row(flow).not_fired[NotFired::Missed as usize] == 9);
    assert_eq!(world.instants(), minutes([]));
    world.stop(&engine);
}

#[test]
fn an_engine_whose_clock_is_behind_fires_nothing_again() {
    let (world, flow, engine) = after_nine_minutes(&json!({"cron": "* * * * *"}));
    world.until("one has a run", || world.row(flow).fired == 1);
    world.stop(&engine);
    let engine = world.start_at(3);
    // The actor has read its rows by the time it has seen to another flow.
    let other = json!({"flow_name": "other"});
    let other =
        world.save(&engine, &json!({"every": "1m", "start_at": "2026-01-01T00:03:31Z"}), &other).expect("saved");
    assert_eq!(world.row(other).standing.next_ms, Some(START_MS + 3 * MINUTE + 1_000));
    assert_eq!(world.row(flow).fired, 1);
    world.stop(&engine);
    let engine = world.start_at(11);
    world.until("it goes on", || world.row(flow).fired == 2);
    assert_eq!(world.instants().iter().filter(|instant| **instant == minutes([9])[0]).count(), 1);
    world.stop(&engine);
}

#[test]
fn a_schedule_of_seconds_loses_and_doubles_nothing_though_answers_are_lost() {
    let world = World::new();
    let engine = world.start(Arc::new(SystemClock::default()));
    let flow = world.save(&engine, &json!({"cron": "* * * * * *", "missed": "all"}), &json!({})).expect("saved");
    for round in 1..=3 {
        world.store.lose_before(1);
        world.until("it fires", || world.row(flow).fired >= 2 * round - 1);
        world.store.lose_after(1);
        world.until("it fires", || world.row(flow).fired >= 2 * round);
    }
    world.stop(&engine);
    let row = world.row(flow);
    let runs = world.runs();
    assert_eq!(runs.len() as i64, row.fired, "every firing has its run, and every run its firing");
    let instants: Vec<i64> = runs
        .iter()
        .map(|run| {
            let text = run.header.trigger_context["scheduled_for"].as_str().expect("a time");
            chrono::DateTime::parse_from_rfc3339(text).expect("a time").timestamp()
        })
        .collect();
    assert!(instants.windows(2).all(|pair| pair[1] == pair[0] + 1), "{instants:?}");
}

#[test]
fn a_flow_that_is_saved_while_the_rows_are_read_fires_in_time() {
    let world = World::new();
    let slow = world.store.slow_schedules.blocking_write();
    let engine = world.start(Arc::new(SystemClock::default()));
    let flow = world.save(&engine, &json!({"cron": "* * * * * *"}), &json!({})).expect("saved");
    // Its actor has read the row by the time it has read that of another flow.
    world.save(&engine, &json!({"cron": "0 0 1 1 *"}), &json!({"flow_name": "other"})).expect("saved");
    drop(slow);
    world.until("it fires", || world.row(flow).fired >= 1);
    world.stop(&engine);
}

#[test]
fn conditions_decide_on_the_instant_and_say_what_did_not_hold() {
    let world = World::new();
    let engine = world.start_at(0);
    let conditions = json!({"conditions": "trigger.missed > 100"});
    let flow = world.save(&engine, &json!({"cron": "* * * * *", "missed": "all"}), &conditions).expect("saved");
    world.stop(&engine);
    let engine = world.start_at(2);
    world.until("they are passed over", || world.row(flow).not_fired[NotFired::Conditions as usize] == 2);
    let (note, _) = world.row(flow).last_not_fired.expect("it is told");
    assert_eq!((note.reason, note.detail.as_deref()), (NotFired::Conditions, Some("trigger.missed > 100")));
    assert_eq!(world.instants(), minutes([]));
    world.stop(&engine);
}

/// A flow whose runs do not end by themselves, three of whose instants are due at once.
fn overlapping(overlap: &str) -> (World, FlowId, Engine) {
    let world = World::new();
    let engine = world.start_at(0);
    let hold = json!([{"id": "a", "config": {"action_type": "scripted", "action_payload": {"hold": true}}}]);
    let config = json!({"cron": "* * * * *", "missed": "all", "overlap": overlap});
    let flow = world.save(&engine, &config, &json!({"flow_steps": hold})).expect("saved");
    world.stop(&engine);
    let engine = world.start_at(3);
    (world, flow, engine)
}

#[test]
fn an_instant_is_skipped_while_an_earlier_run_goes_on() {
    let (world, flow, engine) = overlapping("skip");
    world.until("two are skipped", || world.row(flow).not_fired[NotFired::Overlap as usize] == 2);
    assert_eq!(world.instants(), minutes([1]));
    world.executor.let_go(1);
    world.stop(&engine);
}

#[test]
fn instants_queue_one_behind_the_other() {
    let (world, flow, engine) = overlapping("queue");
    for fired in 1..=3 {
        world.until("the next one fires", || world.row(flow).fired == fired);
        if fired < 3 {
            world.until("the one behind it waits", || world.row(flow).standing.is_waiting);
        }
        assert_eq!(world.runs().iter().filter(|run| !run.state.status.is_terminal()).count(), 1);
        world.executor.let_go(1);
    }
    assert_eq!(world.instants(), minutes(1..=3));
    assert_eq!(world.row(flow).not_fired, [0; 5], "what waited was not missed");
    world.stop(&engine);
}

#[test]
fn a_running_run_gives_way() {
    let (world, flow, engine) = overlapping("cancel_running");
    world.until("all fire", || world.row(flow).fired == 3);
    world.until("two have given way", || {
        world.runs().iter().filter(|run| run.state.status == RunStatus::Cancelled).count() == 2
    });
    assert_eq!(world.instants(), minutes(1..=3));
    world.executor.let_go(3);
    world.stop(&engine);
}

#[test]
fn a_flow_of_an_earlier_release_gets_its_row() {
    let world = World::new();
    let document = |name: &str, config: Value| {
        let step = json!({"id": "a", "config": {"action_type": "scripted"}});
        let document =
            json!({"flow_name": name, "trigger_type": "schedule", "trigger_config": config, "flow_steps": [step]});
        FlowDocument::from_value(document).expect("a document")
    };
    let (good, bad) = (FlowId(Uuid::from_u128(1)), FlowId(Uuid::from_u128(2)));
    world.store.add_flow(good, owner(), document("good", json!({"every": "1m"})));
    world.store.add_flow(bad, owner(), document("bad", json!({})));
    let engine = world.start_at(0);
    let rows = || world.store.snapshot().schedules.0;
    world.until("both have rows", || rows().len() == 2);
    assert_eq!(rows()[&good].standing.next_ms, Some(START_MS + MINUTE / 2));
    assert_eq!((rows()[&bad].standing.next_ms, rows()[&bad].due_ms), (None, None));
    world.stop(&engine);
}

#[test]
fn what_cannot_fire_is_not_saved() {
    let world = World::new();
    let engine = world.start_at(0);
    let refused = world.save(&engine, &json!({"cron": "0 0 30 2 *"}), &json!({})).expect_err("refused");
    let SaveError::Invalid(problems) = refused else { panic!("{refused}") };
    assert_eq!(problems[0].pointer, "/trigger_config/cron");
    assert!(problems[0].message.contains("never fires"), "{}", problems[0].message);
    world.stop(&engine);
}
