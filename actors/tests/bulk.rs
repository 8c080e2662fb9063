//! Bulk jobs on real actors: paced, stopped by themselves, and gone on with after a crash without telling a run twice.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use core314_actors::clock::SystemClock;
use core314_actors::engine::{Engine, Parts, Place};
use core314_actors::feed::Feed;
use core314_actors::ingress::{Target, Trigger, Triggered};
use core314_actors::ports::executor::{self, Attempt, Executor, Performed};
use core314_actors::ports::{BoxFuture, Scope};
use core314_actors::settings::EngineSettings;
use core314_actors::testkit::memory_store::MemoryStore;
use core314_actors::testkit::memory_vault::MemoryVault;
use core314_domain::bulk::{BulkJob, BulkPlan, BulkStatus, BulkVerb, Progress, Ramp};
use core314_domain::document::FlowDocument;
use core314_domain::ids::{FlowId, Owner, RowId, RunId, UserId};
use core314_domain::log::Failure;
use core314_domain::plan::Problem;
use core314_domain::run::Outcome;
use core314_domain::words::{RunStatus, TriggerType};
use serde_json::{Value, json};
use uuid::Uuid;

/// A target that fails while it is down, and notes when it was asked.
#[derive(Clone, Default)]
struct TargetSystem {
    is_up: Arc<AtomicBool>,
    asked: Arc<Mutex<Vec<(RunId, Instant)>>>,
}

impl Executor for TargetSystem {
    fn action_type(&self) -> &'static str {
        "target"
    }

    fn check(&self, _: &executor::Target<'_>, _: &Value) -> Vec<Problem> {
        Vec::new()
    }

    fn execute(&self, attempt: Attempt) -> BoxFuture<'static, Performed> {
        self.asked.lock().expect("no test thread panics with it").push((attempt.run, Instant::now()));
        let is_up = self.is_up.load(Ordering::SeqCst);
        Box::pin(async move {
            let failed = || Outcome::Failed(Failure::fatal("down", "the target is down"));
            let outcome = if is_up { Outcome::Completed(Arc::new(json!({}))) } else { failed() };
            Performed { outcome, logged_payload: attempt.payload, http: None }
        })
    }
}

struct World {
    /// Arbiters are opened on a thread of a system.
    _system: actix_rt::SystemRunner,
    io: tokio::runtime::Runtime,
    store: Arc<MemoryStore>,
    target: TargetSystem,
}

fn owner() -> Owner {
    Owner::new(UserId(Uuid::from_u128(7)), None)
}

impl World {
    fn new() -> Self {
        let io = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("threads");
        let world =
            Self { _system: actix_rt::System::new(), io, store: Arc::default(), target: TargetSystem::default() };
        let document = json!({
            "flow_name": "flow", "trigger_type": "manual", "retry_policy": {"max_attempts": 1},
            "flow_steps": [{"id": "a", "config": {"action_type": "target"}}],
        });
        world.store.add_flow(FlowId(Uuid::from_u128(1)), owner(), FlowDocument::from_value(document).expect("a flow"));
        world
    }

    fn start(&self) -> Engine {
        let parts = Parts {
            settings: EngineSettings { partitions: 2, arbiters: 2, ..EngineSettings::default() },
            clock: Arc::new(SystemClock::default()),
            store: self.store.clone(),
            catalog: self.store.clone(),
            executors: vec![Arc::new(self.target.clone())],
            vault: Arc::new(MemoryVault),
            inbox: None,
            io: self.io.handle().clone(),
            feed: Feed::new(self.io.handle().clone()),
            place: Place::Alone(RowId(Uuid::from_u128(1))),
            on_end: Arc::new(|reason| eprintln!("root failure: {reason}")),
        };
        let engine = self.io.block_on(Engine::start(parts)).expect("the engine starts");
        engine.drive_bulk(self.store.clone()).expect("the driver starts");
        engine
    }

    /// So many runs that have failed.
    fn failed(&self, engine: &Engine, count: usize) -> Vec<RunId> {
        let trigger = Trigger {
            owner: owner(),
            target: Target::Flow(FlowId(Uuid::from_u128(1))),
            trigger_type: TriggerType::Manual,
            source: "manual".into(),
            context: Arc::new(json!({})),
            webhook: Arc::default(),
            triggered_by: "user:7".into(),
            decision_event_id: None,
            recommendation_id: None,
            parent_run_id: None,
            run_key: None,
            idempotency: None,
        };
        let answers = self.io.block_on(engine.trigger_all(vec![trigger; count])).expect("there is room");
        let runs = answers.into_iter().map(|answer| match answer.expect("accepted") {
            Triggered::Accepted(accepted) => accepted.run,
            other => panic!("not accepted: {other:?}"),
        });
        let runs = runs.collect();
        Self::until("all have failed", || {
            self.store.snapshot().runs.values().all(|run| run.state.status == RunStatus::Failed)
        });
        self.target.asked.lock().expect("no test thread panics with it").clear();
        runs
    }

    fn job(&self, engine: &Engine, runs: &[RunId], canary: u32, ramp: Ramp) -> RowId {
        let plan = BulkPlan {
            verb: BulkVerb::Retry,
            from_step: None,
            version: None,
            canary,
            ramp,
            stop_above_error_rate: 0.2,
            minimum_sample: 10,
            by: "user:7".to_owned(),
            total: runs.len() as u32,
        };
        let job = BulkJob {
            id: RowId::new(engine.now_ms(), rand::random()),
            owner: owner(),
            status: BulkStatus::Running,
            plan,
            progress: Progress::default(),
            version: 1,
            created_at_ms: engine.now_ms(),
            updated_at_ms: engine.now_ms(),
        };
        self.io.block_on(engine.create_bulk(job, runs.to_vec(), None)).expect("it is made").id
    }

    fn read(&self, engine: &Engine, id: RowId) -> BulkJob {
        self.io.block_on(engine.bulk_job(Scope::Platform, id)).expect("it is there")
    }

    /// Waits, without sleeping, until something holds.
    fn until(what: &str, mut holds: impl FnMut() -> bool) {
        let started = Instant::now();
        while !holds() {
            assert!(started.elapsed() < Duration::from_mins(1), "in vain: {what}");
            std::thread::yield_now();
        }
    }

    /// How often each run was asked for again.
    fn asked(&self) -> BTreeMap<RunId, usize> {
        let mut asked = BTreeMap::new();
        self.target
            .asked
            .lock()
            .expect("no test thread panics with it")
            .iter()
            .for_each(|(run, _)| *asked.entry(*run).or_default() += 1);
        asked
    }
}

#[test]
fn failed_runs_are_retried_no_faster_than_the_target_allows() {
    let world = World::new();
    let engine = world.start();
    let runs = world.failed(&engine, 200);
    world.target.is_up.store(true, Ordering::SeqCst);
    let ramp = Ramp { per_second: 20, max_per_second: Some(40), double_every_seconds: 1 };
    let job = world.job(&engine, &runs, 5, ramp);
    World::until("the job is over", || world.read(&engine, job).status.is_over());
    let done = world.read(&engine, job);
    assert_eq!((done.status, done.progress.succeeded), (BulkStatus::Finished, 200), "{done:?}");
    assert!(world.asked().values().all(|times| *times == 1), "no run twice");
    let asked = world.target.asked.lock().expect("no test thread panics with it");
    let in_second =
        |from: Instant| asked.iter().filter(|(_, at)| *at >= from && *at < from + Duration::from_secs(1)).count();
    let most = asked.iter().map(|(_, at)| in_second(*at)).max().unwrap_or(0);
    assert!(most <= 50, "{most} in one second at a target that allows 50");
    drop(asked);
    world.io.block_on(engine.stop());
}

#[test]
fn a_job_stops_by_itself_when_the_target_is_still_down() {
    let world = World::new();
    let engine = world.start();
    let runs = world.failed(&engine, 200);
    let job =
        world.job(&engine, &runs, 12, Ramp { per_second: 1_000, ..Ramp { max_per_second: None, ..Ramp::default() } });
    World::until("the job is over", || world.read(&engine, job).status.is_over());
    let stopped = world.read(&engine, job);
    assert_eq!(stopped.status, BulkStatus::Stopped, "{stopped:?}");
    assert_eq!(world.asked().len(), 12, "the canary saved the others");
    assert!(stopped.progress.reason.is_some());
    world.io.block_on(engine.stop());
}

#[test]
fn a_job_goes_on_after_a_crash_and_tells_no_run_twice() {
    let world = World::new();
    let engine = world.start();
    let runs = world.failed(&engine, 300);
    world.target.is_up.store(true, Ordering::SeqCst);
    let job = world.job(&engine, &runs, 0, Ramp { per_second: 200, max_per_second: None, double_every_seconds: 1 });
    let done = |count: u32| move |job: &BulkJob| job.progress.done >= count;
    World::until("some are done", || done(60)(&world.read(&engine, job)));
    engine.restart_actor("core314/bulk").expect("there is such an actor");
    World::until("more are done", || done(120)(&world.read(&engine, job)));
    // A pause holds, and lets go.
    world.io.block_on(engine.change_bulk(Scope::Platform, job, BulkStatus::Paused)).expect("it is paused");
    assert_eq!(world.read(&engine, job).status, BulkStatus::Paused);
    // The process goes; what it had noted as about to be told is found out by the next.
    world.io.block_on(engine.stop());
    let next = world.start();
    assert_eq!(world.read(&next, job).status, BulkStatus::Paused);
    world.io.block_on(next.change_bulk(Scope::Platform, job, BulkStatus::Running)).expect("it goes on");
    World::until("the job is over", || world.read(&next, job).status.is_over());
    let over = world.read(&next, job);
    assert_eq!(
        (over.status, over.progress.succeeded, over.progress.refused),
        (BulkStatus::Finished, 300, 0),
        "{over:?}"
    );
    let asked = world.asked();
    assert_eq!(asked.len(), 300);
    let twice: Vec<_> = asked.iter().filter(|(_, times)| **times != 1).collect();
    assert!(twice.is_empty(), "told twice: {twice:?}");
    let reopened: u64 =
        world.store.snapshot().audit.iter().filter(|entry| entry.event.as_str() == "run_retried").count() as u64;
    assert_eq!(reopened, 300, "each was taken up again once");
    world.io.block_on(next.stop());
}
