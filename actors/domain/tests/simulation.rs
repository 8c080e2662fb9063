//! Runs under every misfortune: a simulation in memory, repeatable by its seeds.
//!
//! A world drives one run with a partition, a store, executors and people, keeps what would be persisted apart from what
//! would be lost, and checks the numbered invariants after every commit. Each shape of workflow meets each fault at each
//! place; random flows meet random faults; and deliberate mistakes show that the checks can fail.
//!
//! `CORE314_SEEDS` multiplies the number of seeds. A failure prints its seed and what happened.

#[path = "simulation/account.rs"]
mod account;
#[path = "simulation/checks.rs"]
mod checks;
#[path = "simulation/disturb.rs"]
mod disturb;
#[path = "simulation/effects.rs"]
mod effects;
#[path = "simulation/every_kind.rs"]
mod every_kind;
#[path = "simulation/kinds.rs"]
mod kinds;
#[path = "simulation/last.rs"]
mod last;
#[path = "simulation/mutants.rs"]
mod mutants;
#[path = "simulation/nested.rs"]
mod nested;
#[path = "simulation/outside.rs"]
mod outside;
#[path = "simulation/random.rs"]
mod random;
#[path = "simulation/rng.rs"]
mod rng;
#[path = "simulation/script.rs"]
mod script;
#[path = "simulation/shapes.rs"]
mod shapes;
#[path = "simulation/store.rs"]
mod store;
#[path = "simulation/world.rs"]
mod world;

use core314_domain::ids::StepNo;
use core314_domain::run::Place;
use core314_domain::run::step::StepStatus;
use core314_domain::words::{OnError, OnErrorAction, RunStatus};
use rng::Rng;
use script::{Crash, Fate, Mistake, Moment, People, Script, Victim};
use shapes::Shape;
use world::World;

/// How a run ended, and its steps.
#[derive(Debug, Clone, PartialEq)]
struct End {
    status: RunStatus,
    steps: Vec<StepStatus>,
    error: String,
    commits: u64,
    started: Vec<StepNo>,
    /// Those that took another back.
    undos: Vec<StepNo>,
    rollbacks: usize,
    undone: usize,
}

impl End {
    /// What must not depend on faults that were overcome: how the run ended, and the steps of its flow. An attempt that was
    /// cut off may have to be taken back, which makes an execution more.
    fn same_as(&self, other: &Self) -> bool {
        (self.status, &self.steps) == (other.status, &other.steps)
    }
}

/// Simulates, or fails with all that happened.
fn simulate(shape: &Shape, script: &Script, seed: u64) -> End {
    let mut world = World::new(shape, script.clone(), seed);
    if let Err(violation) = world.run() {
        let mut again = World::new(shape, script.clone(), seed);
        again.trace = Some(Vec::new());
        let repeated = again.run();
        let trace = again.trace.unwrap_or_default().join("\n");
        panic!(
            "{trace}\n'{}', seed {seed}, {script:?}: {violation} (again: {repeated:?})\n{:#?}",
            shape.name, shape.plan
        );
    }
    let run = world.store.load(shape).expect("it was loaded at its end");
    let started: Vec<StepNo> = world.started.iter().filter(|(_, attempt)| *attempt == 0).map(|(no, _)| *no).collect();
    let is_undo = |no: &StepNo| matches!(run.state.place(&run.plan, *no), Some(Place::Undo { .. }));
    End {
        status: run.state.status,
        steps: run.state.steps.iter().map(|step| step.status).collect(),
        error: run.state.error.clone().unwrap_or_default(),
        commits: world.commits,
        undos: started.iter().copied().filter(is_undo).collect(),
        started,
        rollbacks: world.store.account.rollbacks,
        undone: world.store.account.undone,
    }
}

fn seeds(times: u64) -> std::ops::Range<u64> {
    let factor = std::env::var("CORE314_SEEDS").ok().map_or(1, |s| s.parse().expect("CORE314_SEEDS is a number"));
    0..times * factor
}

fn steps(shape: &Shape) -> std::ops::Range<StepNo> {
    0..shape.plan.steps.len() as StepNo
}

fn with_fate(step: StepNo, fate: Fate) -> Script {
    Script { fates: [(step, fate)].into(), ..Script::calm() }
}

#[test]
fn every_shape_ends_in_every_order() {
    for shape in shapes::all() {
        let first = simulate(&shape, &Script::calm(), 0);
        for seed in seeds(15) {
            let slots = 1 + (seed % 4) as usize;
            let end = simulate(&shape, &Script { slots, ..Script::calm() }, seed);
            assert!(shape.timed || end.same_as(&first), "'{}', seed {seed}: {end:?}, was {first:?}", shape.name);
        }
    }
}

#[test]
fn every_step_fails_in_turn_and_recovers() {
    let fates = [
        Fate::FailFirst { attempts: 1, retryable: true, retry_after_ms: None },
        Fate::FailFirst { attempts: 2, retryable: true, retry_after_ms: Some(7_000) },
        Fate::LoseResponse,
    ];
    for shape in shapes::all() {
        for (no, seed) in steps(&shape).flat_map(|no| seeds(3).map(move |seed| (no, seed))) {
            let healthy = simulate(&shape, &Script::calm(), seed);
            for fate in fates {
                let end = simulate(&shape, &with_fate(no, fate), seed);
                assert!(
                    shape.timed || end.same_as(&healthy),
                    "'{}' step {no} {fate:?} seed {seed}: {end:?}",
                    shape.name
                );
            }
        }
    }
}

#[test]
fn every_step_fails_in_turn_for_good() {
    let final_fates = [
        Fate::FailFirst { attempts: 1, retryable: false, retry_after_ms: None },
        Fate::FailFirst { attempts: 1_000, retryable: true, retry_after_ms: None },
    ];
    for shape in shapes::all() {
        for (no, fate) in steps(&shape).flat_map(|no| final_fates.map(|fate| (no, fate))) {
            for seed in seeds(3) {
                let end = simulate(&shape, &with_fate(no, fate), seed);
                let at = format!("'{}' step {no} {fate:?} seed {seed}: {end:?}", shape.name);
                if shape.timed || !end.started.contains(&no) {
                    continue;
                }
                let fails = shape.plan.steps[no as usize].on_error == OnError::Fail;
                assert_eq!(end.steps[no as usize], StepStatus::Failed, "{at}");
                assert_eq!(end.status == RunStatus::Failed, fails, "{at}");
                let never = |n: &StepNo| !end.started.contains(n);
                let needs_all =
                    |n: &StepNo| shape.plan.steps[*n as usize].needed == shape.plan.steps[*n as usize].inputs.len();
                let dependents = || shape.plan.steps[no as usize].dependents.iter().filter(|n| needs_all(n));
                assert!(!fails || dependents().all(never), "{at}");
            }
        }
    }
}

#[test]
fn every_step_is_repeated_in_turn() {
    for shape in shapes::all() {
        for (no, seed) in steps(&shape).flat_map(|no| seeds(3).map(move |seed| (no, seed))) {
            let once = simulate(&shape, &Script::calm(), seed);
            let script = Script { repeat: Some(no), ..Script::calm() };
            let twice = simulate(&shape, &script, seed);
            assert!(shape.timed || twice.same_as(&once), "'{}' step {no} seed {seed}", shape.name);
            let fate = Fate::FailFirst { attempts: 1, retryable: true, retry_after_ms: Some(0) };
            simulate(&shape, &Script { repeat: Some(no), ..with_fate(no, fate) }, seed);
        }
    }
}

#[test]
fn a_crash_at_every_commit_changes_nothing_but_time() {
    let mut crashes = 0;
    for shape in shapes::all() {
        for seed in seeds(2) {
            let healthy = simulate(&shape, &Script::calm(), seed);
            for commit in 0..healthy.commits {
                for victim in [Victim::Actor, Victim::Partition, Victim::Process] {
                    for moment in [Moment::Before, Moment::After] {
                        let crash = Some(Crash { commit, victim, moment });
                        let end = simulate(&shape, &Script { crash, ..Script::calm() }, seed);
                        crashes += 1;
                        assert!(
                            shape.timed || end.same_as(&healthy),
                            "'{}' {crash:?} seed {seed}: {end:?}",
                            shape.name
                        );
                    }
                }
            }
        }
    }
    assert!(crashes > 1_000, "{crashes}");
}

#[test]
fn a_cancel_at_every_commit_reaches_whatever_runs() {
    for shape in shapes::all() {
        let healthy = simulate(&shape, &Script::calm(), 0);
        for commit in 1..healthy.commits {
            let cancel = Script { cancel_after: Some(commit), ..Script::calm() };
            // Attempts end only if they are told to, although whoever is to tell them dies.
            let hang = Script { other_fates: Fate::Hang, cancel_after: Some(1), ..Script::calm() };
            for victim in [Victim::Actor, Victim::Partition, Victim::Process] {
                for moment in [Moment::Before, Moment::After] {
                    let crash = Some(Crash { commit, victim, moment });
                    simulate(&shape, &Script { crash, ..cancel.clone() }, commit);
                }
                let crash = Some(Crash { commit: 1, victim, moment: Moment::After });
                let end = simulate(&shape, &Script { crash, ..hang.clone() }, commit);
                assert!(shape.timed || end.status == RunStatus::Cancelled, "'{}' {crash:?}: {end:?}", shape.name);
            }
        }
    }
}

#[test]
fn every_approval_is_refused_in_turn() {
    for shape in shapes::all() {
        let asked = steps(&shape).filter(|no| shape.plan.steps[*no as usize].requires_approval).map(Some);
        for step in asked.chain(shape.plan.requires_approval.then_some(None)) {
            for seed in seeds(5) {
                let end = simulate(&shape, &Script { people: People::Reject(step), ..Script::calm() }, seed);
                let Some(no) = step else {
                    assert_eq!(end.status, RunStatus::Cancelled, "'{}'", shape.name);
                    assert!(end.started.is_empty(), "'{}'", shape.name);
                    continue;
                };
                let stopped = shape.timed || shape.plan.on_error_action == OnErrorAction::Stop;
                assert!(stopped && !end.started.contains(&no), "'{}' step {no} seed {seed}: {end:?}", shape.name);
                assert_eq!(end.status, RunStatus::Failed, "'{}' step {no} seed {seed}", shape.name);
            }
        }
    }
}

#[test]
fn a_deadline_ends_what_hangs_and_what_waits() {
    for shape in shapes::all().iter().filter(|s| s.plan.deadline_ms.is_some()) {
        for (no, seed) in steps(shape).flat_map(|no| seeds(10).map(move |seed| (no, seed))) {
            let end = simulate(shape, &with_fate(no, Fate::Hang), seed);
            assert_eq!(end.status, RunStatus::TimedOut, "'{}' step {no} seed {seed}", shape.name);
        }
    }
}

#[test]
fn random_flows_survive_random_misfortunes() {
    let mut ends = std::collections::BTreeMap::new();
    for seed in seeds(1_500) {
        let mut rng = Rng(seed ^ 0x5eed_0000);
        let shape = random::shape(&mut rng);
        let people = rng.pick(&[People::Random, People::Random, People::Approve, People::Silent]);
        let script = Script {
            slots: 1 + rng.below(4),
            other_fates: rng.pick(&[Fate::Random, Fate::Random, Fate::Complete]),
            people,
            disturbances: rng.below(14),
            retries: rng.below(3),
            ..Script::calm()
        };
        let end = simulate(&shape, &script, seed);
        *ends.entry(end.status.as_str()).or_insert(0) += 1;
    }
    // The seeds reach every end, or they show nothing.
    for status in [
        RunStatus::Completed,
        RunStatus::Failed,
        RunStatus::Cancelled,
        RunStatus::TimedOut,
        RunStatus::AwaitingApproval,
    ] {
        assert!(ends.get(status.as_str()).is_some_and(|n| *n >= 10), "{status}: {ends:?}");
    }
}

#[test]
fn every_shape_survives_random_misfortunes() {
    for shape in shapes::all() {
        for seed in seeds(40) {
            let script = Script {
                slots: 1 + (seed % 3) as usize,
                other_fates: Fate::Random,
                people: People::Random,
                disturbances: 8,
                ..Script::calm()
            };
            simulate(&shape, &script, seed);
        }
    }
}

#[test]
fn the_simulation_finds_mistakes() {
    let expected = [
        (Mistake::ActBeforeCommit, "before the run is stored"),
        (Mistake::TwoCommits, "invariant 2"),
        (Mistake::LoseLogRow, "invariant 2"),
        (Mistake::ForgetWakeUp, "invariant 8"),
        (Mistake::ForgetQueueKey, "invariant 8"),
        (Mistake::LoseEntry, "nothing will ever happen"),
        (Mistake::ForgetRows, "invariant 2"),
        (Mistake::ActTwice, "takes place twice"),
        (Mistake::RecoverNothing, "nothing will ever happen"),
        (Mistake::OverGrant, "more slots are used"),
    ];
    for (mistake, words) in expected {
        let mut found = Vec::new();
        for seed in 0..60 {
            let shape = random::shape(&mut Rng(seed));
            let script = Script {
                slots: 1,
                people: People::Random,
                disturbances: (seed % 4) as usize,
                mistake: Some(mistake),
                ..Script::calm()
            };
            found.extend(World::new(&shape, script, seed).run().err());
        }
        assert!(found.iter().any(|f| f.contains(words)), "{mistake:?} was not found: {found:#?}");
    }
}
