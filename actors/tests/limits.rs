//! Limits of flows on real actors: places that never overshoot whatever dies, rates by a clock that the test sets, and what
//! becomes of runs that find their limit full.

#[path = "limits/gathering.rs"]
mod gathering;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use core314_actors::clock::{Clock, SystemClock, TestClock};
use core314_actors::engine::{Engine, Parts, Place};
use core314_actors::fairness::ActionLimits;
use core314_actors::feed::Feed;
use core314_actors::flow_run::Remark;
use core314_actors::ingress::{IdempotencyRequest, Target, Trigger, TriggerError, Triggered};
use core314_actors::ports::executor::{self, Attempt, Executor, Performed};
use core314_actors::ports::{BoxFuture, Scope};
use core314_actors::settings::EngineSettings;
use core314_actors::testkit::memory_store::{MemoryStore, Rows};
use core314_actors::testkit::memory_vault::MemoryVault;
use core314_domain::document::FlowDocument;
use core314_domain::ids::{FlowId, Owner, RowId, RunId, UserId};
use core314_domain::log::Failure;
use core314_domain::plan::Problem;
use core314_domain::run::{Command, Outcome, Waiting};
use core314_domain::words::{RunStatus, TriggerType};
use serde_json::{Value, json};
use tokio::sync::Semaphore;
use uuid::Uuid;

/// Counts who is at it at once, by the key in the payload; holds those that are to be held, fails those that are to fail.
#[derive(Clone)]
struct Turnstile {
    at_once: Arc<Mutex<BTreeMap<String, (usize, usize)>>>,
    begun: Arc<AtomicUsize>,
    ended: Arc<AtomicUsize>,
    gate: Arc<Semaphore>,
}

impl Turnstile {
    fn new() -> Self {
        let gate = Arc::new(Semaphore::new(0));
        Self { at_once: Arc::default(), begun: Arc::default(), ended: Arc::default(), gate }
    }

    fn most(&self) -> BTreeMap<String, usize> {
        self.at_once
            .lock()
            .expect("no test thread panics with it")
            .iter()
            .map(|(key, (_, most))| (key.clone(), *most))
            .collect()
    }
}

impl Executor for Turnstile {
    fn action_type(&self) -> &'static str {
        "turnstile"
    }

    fn check(&self, _: &executor::Target<'_>, _: &Value) -> Vec<Problem> {
        Vec::new()
    }

    fn execute(&self, attempt: Attempt) -> BoxFuture<'static, Performed> {
        let own = self.clone();
        Box::pin(async move {
            let payload = attempt.payload.clone();
            let key = payload["key"].to_string();
            {
                let mut at_once = own.at_once.lock().expect("no test thread panics with it");
                let (now, most) = at_once.entry(key.clone()).or_default();
                *now += 1;
                *most = (*now).max(*most);
            }
            own.begun.fetch_add(1, Ordering::SeqCst);
            if payload["hold"] == json!(true) {
                own.gate.acquire().await.expect("the gate is never closed").forget();
            } else {
                tokio::task::yield_now().await;
            }
            own.at_once.lock().expect("no test thread panics with it").get_mut(&key).expect("it is in there").0 -= 1;
            own.ended.fetch_add(1, Ordering::SeqCst);
            let outcome = if payload["fail"] == json!(true) {
                Outcome::Failed(Failure::fatal("scripted", "told to fail"))
            } else {
                Outcome::Completed(Arc::new(json!({})))
            };
            Performed { outcome, logged_payload: payload, http: None }
        })
    }
}

struct World {
    /// Arbiters are opened on a thread of a system.
    _system: actix_rt::SystemRunner,
    io: tokio::runtime::Runtime,
    store: Arc<MemoryStore>,
    turnstile: Turnstile,
    clock: Arc<dyn Clock>,
}

fn owner() -> Owner {
    Owner::new(UserId(Uuid::from_u128(7)), None)
}

impl World {
    fn new(clock: Arc<dyn Clock>) -> Self {
        let io = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("threads");
        Self { _system: actix_rt::System::new(), io, store: Arc::default(), turnstile: Turnstile::new(), clock }
    }

    fn start(&self) -> Engine {
        self.start_with(EngineSettings { partitions: 4, arbiters: 2, ..EngineSettings::default() })
    }

    fn start_with(&self, settings: EngineSettings) -> Engine {
        let parts = Parts {
            settings,
            clock: self.clock.clone(),
            store: self.store.clone(),
            catalog: self.store.clone(),
            executors: vec![Arc::new(self.turnstile.clone())],
            vault: Arc::new(MemoryVault),
            inbox: None,
            io: self.io.handle().clone(),
            feed: Feed::new(self.io.handle().clone()),
            place: Place::Alone(RowId(Uuid::from_u128(1))),
            on_end: Arc::new(|reason| eprintln!("root failure: {reason}")),
        };
        self.io.block_on(Engine::start(parts)).expect("the engine starts")
    }

    fn flow(&self, id: u128, limits: &Value, payload: &Value) -> FlowId {
        let mut payload = payload.clone();
        payload["key"] = json!("{{ trigger.key }}");
        let document = json!({
            "flow_name": format!("flow-{id}"), "trigger_type": "manual", "limits": limits,
            "flow_steps": [{"id": "a", "config": {"action_type": "turnstile", "action_payload": payload}}],
            "retry_policy": {"max_attempts": 3, "backoff_seconds": 0.001},
        });
        let id = FlowId(Uuid::from_u128(id));
        self.store.add_flow(id, owner(), FlowDocument::from_value(document).expect("a flow"));
        id
    }

    fn trigger(&self, engine: &Engine, flow: FlowId, key: &str) -> Result<RunId, TriggerError> {
        match self.io.block_on(engine.trigger(trigger(flow, key)))? {
            Triggered::Accepted(accepted) => Ok(accepted.run),
            other => panic!("not accepted: {other:?}"),
        }
    }

    /// Waits, without sleeping, until something holds.
    fn until<T>(what: &str, mut found: impl FnMut() -> Option<T>) -> T {
        let started = Instant::now();
        loop {
            if let Some(found) = found() {
                return found;
            }
            assert!(started.elapsed() < Duration::from_mins(2), "in vain: {what}");
            std::thread::yield_now();
        }
    }

    fn status(&self, run: RunId) -> RunStatus {
        self.store.snapshot().runs[&run].state.status
    }

    fn until_status(&self, run: RunId, status: RunStatus) {
        Self::until(&format!("{run} is {status}"), || (self.status(run) == status).then_some(()));
    }

    fn tell(&self, engine: &Engine, run: RunId, command: Command) {
        self.io.block_on(engine.tell(Scope::Platform, run, command, Remark::default())).expect("it is told");
    }

    fn stop(&self, engine: &Engine) {
        self.io.block_on(engine.stop());
    }
}

fn trigger(flow: FlowId, key: &str) -> Trigger {
    Trigger {
        owner: owner(),
        target: Target::Flow(flow),
        trigger_type: TriggerType::Manual,
        source: "manual".into(),
        context: Arc::new(json!({"key": key})),
        webhook: Arc::default(),
        triggered_by: "user:7".into(),
        decision_event_id: None,
        recommendation_id: None,
        parent_run_id: None,
        run_key: None,
        idempotency: None,
    }
}

fn all_ended(rows: &Rows) -> bool {
    rows.runs.values().all(|run| run.state.status.is_terminal())
}

#[test]
fn ten_thousand_runs_at_three_by_key_never_overshoot_though_partitions_die_and_commits_are_lost() {
    const RUNS: usize = 10_000;
    let world = World::new(Arc::new(SystemClock::default()));
    let flow = world.flow(1, &json!({"concurrency": {"key": "trigger.key", "max": 3}}), &json!({}));
    let engine = world.start();
    let named = |n: usize| {
        let idempotency = Some(IdempotencyRequest { key: format!("run-{n}"), body_hash: [0; 32] });
        Trigger { idempotency, ..trigger(flow, &format!("host-{}", n % 5)) }
    };
    let triggers: Vec<Trigger> = (0..RUNS).map(named).collect();
    for (round, batch) in triggers.chunks(500).enumerate() {
        // A partition that is being restarted takes nothing: what it did not take is sent again, under its key.
        let mut open = batch.to_vec();
        World::until("the batch is taken", || {
            let answers = world.io.block_on(engine.trigger_all(open.clone())).ok()?;
            let taken = answers.iter().map(Result::is_ok);
            open = open.drain(..).zip(taken).filter(|(_, taken)| !taken).map(|(trigger, _)| trigger).collect();
            open.is_empty().then_some(())
        });
        engine
            .restart_actor(&format!("core314/partitions/partition-{:02}", round % 4))
            .expect("there is such an actor");
        if round % 2 == 0 {
            world.store.lose_before(1);
        } else {
            world.store.lose_after(1);
        }
    }
    let mut seen = 0;
    World::until("all runs have gone through", || {
        let ended = world.turnstile.ended.load(Ordering::SeqCst);
        if ended / 500 > seen {
            seen = ended / 500;
            engine.restart_actor(&format!("core314/partitions/partition-{:02}", seen % 4)).expect("it is there");
        }
        (ended >= RUNS).then_some(())
    });
    let rows = World::until("all runs have ended", || Some(world.store.snapshot()).filter(all_ended));
    assert_eq!(rows.runs.len(), RUNS);
    assert!(rows.limited.is_empty(), "no claim is left behind: {:?}", rows.limited);
    let most = world.turnstile.most();
    assert_eq!(most.len(), 5);
    assert!(most.values().all(|most| *most <= 3), "never a fourth: {most:?}");
    // An action here takes no time, so that three of a key are seen at once by chance, now and then.
    assert!(most.values().any(|most| *most == 3), "three at once: {most:?}");
    world.stop(&engine);
}

#[test]
fn actions_at_once_never_overshoot_though_outcomes_of_commits_are_lost() {
    let world = World::new(Arc::new(SystemClock::default()));
    let flow = world.flow(1, &json!({"concurrency": {"max": 1_000}}), &json!({}));
    let action_limits = ActionLimits { per_tenant_concurrent: 2, ..ActionLimits::default() };
    let engine =
        world.start_with(EngineSettings { partitions: 4, arbiters: 2, action_limits, ..EngineSettings::default() });
    for round in 0..200 {
        world.store.lose_after(round % 4);
        world.trigger(&engine, flow, "all").expect("accepted");
    }
    World::until("all runs have ended", || Some(world.store.snapshot()).filter(all_ended));
    let most = world.turnstile.most();
    assert!(most.values().all(|most| *most <= 2), "two at once and never a third: {most:?}");
    world.stop(&engine);
}

#[test]
fn a_run_that_waits_says_for_what_and_survives_a_restart_of_the_node() {
    let world = World::new(Arc::new(SystemClock::default()));
    let flow = world.flow(1, &json!({"concurrency": {"key": "trigger.key", "max": 1}}), &json!({"hold": true}));
    let engine = world.start();
    let first = world.trigger(&engine, flow, "web-1").expect("accepted");
    let second = world.trigger(&engine, flow, "web-1").expect("accepted");
    let other = world.trigger(&engine, flow, "web-2").expect("accepted");
    world.until_status(other, RunStatus::Running);
    world.until_status(first, RunStatus::Running);
    let (status, reasons) = world.io.block_on(engine.why(Scope::Platform, second)).expect("it is there");
    assert_eq!((status, reasons[0].code), (RunStatus::Pending, Waiting::Limit));
    assert_eq!(reasons[0].held_by, [first.to_string()]);
    assert!(reasons[0].message.contains("key 'web-1'"), "{}", reasons[0].message);

    // The node goes and another comes: who waited still waits, who held still holds.
    let next = world.start();
    World::until("both that hold are tried again", || {
        (world.turnstile.begun.load(Ordering::SeqCst) >= 4).then_some(())
    });
    assert_eq!(world.status(second), RunStatus::Pending);
    world.tell(&next, first, Command::Cancel { reason: "enough".to_owned() });
    world.until_status(second, RunStatus::Running);
    world.turnstile.gate.add_permits(10);
    world.until_status(second, RunStatus::Completed);
    world.stop(&next);
}

#[test]
fn a_full_limit_skips_the_new_run_or_cancels_the_old_one() {
    let world = World::new(Arc::new(SystemClock::default()));
    let limit = |strategy: &str| json!({"concurrency": {"max": 1, "strategy": strategy}});
    let skip = world.flow(1, &limit("skip"), &json!({"hold": true}));
    let replace = world.flow(2, &limit("cancel_running"), &json!({"hold": true}));
    let engine = world.start();
    let first = world.trigger(&engine, skip, "a").expect("accepted");
    let refused = world.trigger(&engine, skip, "a").expect_err("the limit is full");
    assert!(matches!(&refused, TriggerError::Skipped { holders, .. } if holders == &[first]), "{refused:?}");
    assert_eq!(world.store.snapshot().runs.len(), 1, "nothing is stored of it");

    let old = world.trigger(&engine, replace, "a").expect("accepted");
    world.until_status(old, RunStatus::Running);
    let new = world.trigger(&engine, replace, "a").expect("accepted");
    world.until_status(old, RunStatus::Cancelled);
    world.until_status(new, RunStatus::Running);
    world.turnstile.gate.add_permits(10);
    world.until_status(new, RunStatus::Completed);
    world.stop(&engine);
}

#[test]
fn a_run_that_is_taken_up_again_needs_a_place_like_any_other() {
    let world = World::new(Arc::new(SystemClock::default()));
    let limits = json!({"concurrency": {"max": 1}});
    let failing = world.flow(1, &limits, &json!({"hold": true, "fail": "{{ trigger.key == 'bad' }}"}));
    let engine = world.start();
    let failed = world.trigger(&engine, failing, "bad").expect("accepted");
    world.turnstile.gate.add_permits(1);
    world.until_status(failed, RunStatus::Failed);
    let holder = world.trigger(&engine, failing, "good").expect("accepted");
    world.until_status(holder, RunStatus::Running);
    World::until("both have begun", || (world.turnstile.begun.load(Ordering::SeqCst) == 2).then_some(()));
    world.tell(&engine, failed, Command::Retry { step: None });
    assert_eq!(world.status(failed), RunStatus::Pending, "it waits for the place that the other run has");
    world.turnstile.gate.add_permits(1);
    world.until_status(holder, RunStatus::Completed);
    World::until("it goes on", || (world.turnstile.begun.load(Ordering::SeqCst) == 3).then_some(()));
    world.turnstile.gate.add_permits(1);
    world.until_status(failed, RunStatus::Failed);
    assert_eq!(world.turnstile.most().values().copied().max(), Some(1));
    assert!(world.store.snapshot().limited.is_empty());
    world.stop(&engine);
}

#[test]
fn a_run_that_is_paused_in_line_gives_its_place_to_the_next_and_lines_up_again_once_it_is_resumed() {
    let world = World::new(Arc::new(SystemClock::default()));
    let flow = world.flow(1, &json!({"concurrency": {"max": 1}}), &json!({"hold": true}));
    let engine = world.start();
    let begun =
        |count| World::until("it has begun", || (world.turnstile.begun.load(Ordering::SeqCst) == count).then_some(()));
    let runs: Vec<RunId> = (0..3).map(|_| world.trigger(&engine, flow, "a").expect("accepted")).collect();
    begun(1);
    world.tell(&engine, runs[1], Command::Pause { by: "user:7".into() });
    assert_eq!(world.status(runs[1]), RunStatus::Paused);
    let limited = |run| world.store.snapshot().limited.contains_key(&run);
    assert_eq!(runs.iter().map(|run| limited(*run)).collect::<Vec<_>>(), [true, false, true]);
    world.turnstile.gate.add_permits(1);
    world.until_status(runs[0], RunStatus::Completed);
    begun(2);
    assert_eq!(world.status(runs[1]), RunStatus::Paused, "the one behind it goes first");

    // The node goes and another comes: it knows who is in line, and who is not.
    let next = world.start();
    begun(3);
    world.tell(&next, runs[1], Command::Resume);
    assert_eq!(world.status(runs[1]), RunStatus::Pending, "the place is the other one's");
    assert!(limited(runs[1]));
    world.turnstile.gate.add_permits(10);
    world.until_status(runs[2], RunStatus::Completed);
    world.until_status(runs[1], RunStatus::Completed);
    World::until("no claim is left", || world.store.snapshot().limited.is_empty().then_some(()));
    world.stop(&next);
}

#[test]
fn a_rate_holds_by_the_clock_and_across_a_restart() {
    let clock = Arc::new(TestClock::at(1_000_000));
    let world = World::new(clock.clone());
    let flow = world.flow(1, &json!({"rate": {"max": 1, "per_seconds": 60, "burst": 2}}), &json!({}));
    let engine = world.start();
    let runs: Vec<RunId> = (0..4)
        .map(|_| {
            clock.advance(1);
            world.trigger(&engine, flow, "a").expect("accepted")
        })
        .collect();
    let ended = |rows: &Rows| rows.runs.values().filter(|run| run.state.status == RunStatus::Completed).count();
    World::until("the burst goes at once", || (ended(&world.store.snapshot()) == 2).then_some(()));
    let (_, reasons) = world.io.block_on(engine.why(Scope::Platform, runs[2])).expect("it is there");
    assert_eq!((reasons[0].code, reasons[0].wakes_at_ms), (Waiting::Limit, Some(1_060_001)));
    world.stop(&engine);
    // What the bucket held is stored: the next node knows that it is empty.
    clock.advance(59_900);
    let next = world.start();
    let (_, reasons) = world.io.block_on(next.why(Scope::Platform, runs[3])).expect("it is there");
    assert_eq!((reasons[0].code, reasons[0].wakes_at_ms), (Waiting::Limit, Some(1_120_001)));
    assert_eq!(ended(&world.store.snapshot()), 2);
    world.stop(&next);
    clock.advance(100);
    let last = world.start();
    World::until("one more may go", || (ended(&world.store.snapshot()) == 3).then_some(()));
    assert_eq!(world.status(runs[3]), RunStatus::Pending);
    world.stop(&last);
}

#[test]
fn the_first_of_a_key_has_its_turn_though_memory_is_full() {
    const CROWD: usize = 40;
    let world = World::new(Arc::new(SystemClock::default()));
    let flow = world.flow(1, &json!({"fairness": {"key": "trigger.key"}}), &json!({"hold": true}));
    let narrow = EngineSettings {
        partitions: 1,
        arbiters: 1,
        slots_per_partition: 1,
        resident_runs_per_partition: 8,
        page_size: 4,
        ..EngineSettings::default()
    };
    let engine = world.start_with(narrow);
    for _ in 0..CROWD {
        world.trigger(&engine, flow, "crowd").expect("it is taken");
    }
    let other = world.trigger(&engine, flow, "other").expect("it is taken");
    // The one that has the slot, the next of the crowd, and the other one.
    world.turnstile.gate.add_permits(3);
    world.until_status(other, RunStatus::Completed);
    world.turnstile.gate.add_permits(CROWD);
    World::until("the crowd ends", || all_ended(&world.store.snapshot()).then_some(()));
    world.stop(&engine);
}
