//! The generic suite over every type of step: fail each, repeat each, crash at every commit, lose every response; the
//! same where a run takes back what it did; and random flows of all of them.

use std::collections::BTreeMap;
use std::panic::AssertUnwindSafe;

use core314_domain::ids::StepNo;
use core314_domain::words::RunStatus;

use super::rng::Rng;
use super::script::{Crash, Fate, Mistake, Moment, People, Script, Victim, Way};
use super::shapes::Shape;
use super::world::World;
use super::{End, kinds, nested, seeds, simulate, with_fate};

const FOR_NOW: Fate = Fate::FailFirst { attempts: 1, retryable: true, retry_after_ms: None };
const FOR_GOOD: Fate = Fate::FailFirst { attempts: 1_000, retryable: false, retry_after_ms: None };

/// Whether nothing is left out, however long it takes.
fn is_long() -> bool {
    std::env::var("CORE314_SEEDS").is_ok()
}

/// Every execution that a healthy run starts, of every shape.
fn each_started(shapes: &[Shape], mut test: impl FnMut(&Shape, &End, StepNo)) {
    for shape in shapes {
        let healthy = simulate(shape, &Script::calm(), 0);
        for no in healthy.started.clone() {
            test(shape, &healthy, no);
        }
    }
}

#[test]
fn every_kind_ends_in_every_order() {
    for shape in kinds::all().iter().chain(&kinds::rolling_back()) {
        let first = simulate(shape, &Script::calm(), 0);
        for seed in seeds(6) {
            let slots = 1 + (seed % 4) as usize;
            let script = Script { slots, answers_late: seed % 2 == 1, is_held: seed % 3 == 2, ..Script::calm() };
            let end = simulate(shape, &script, seed);
            assert!(shape.timed || end.same_as(&first), "'{}', seed {seed}: {end:?}, was {first:?}", shape.name);
        }
    }
}

#[test]
fn every_execution_of_every_kind_fails_in_turn_and_recovers() {
    each_started(&kinds::all(), |shape, healthy, no| {
        for (fate, seed) in [FOR_NOW, Fate::LoseResponse].into_iter().flat_map(|fate| [(fate, 0), (fate, 1)]) {
            let end = simulate(shape, &with_fate(no, fate), seed);
            assert!(shape.timed || end.same_as(healthy), "'{}' {no} {fate:?} seed {seed}: {end:?}", shape.name);
        }
    });
}

#[test]
fn every_execution_of_every_kind_is_repeated_in_turn() {
    each_started(&kinds::all(), |shape, healthy, no| {
        for fate in [Fate::Complete, FOR_NOW, FOR_GOOD] {
            let script = Script { repeat: Some(no), ..with_fate(no, fate) };
            let end = simulate(shape, &script, 0);
            let recovers = fate != FOR_GOOD && !shape.timed;
            assert!(!recovers || end.same_as(healthy), "'{}' {no} {fate:?}: {end:?}", shape.name);
        }
    });
}

#[test]
fn every_execution_of_every_kind_fails_for_good_in_turn() {
    let mut ends = BTreeMap::new();
    each_started(&kinds::all(), |shape, _, no| {
        for retries in [0, 2] {
            let end = simulate(shape, &Script { retries, ..with_fate(no, FOR_GOOD) }, u64::from(no));
            *ends.entry(end.status.as_str()).or_insert(0) += 1;
        }
    });
    assert!(ends[RunStatus::Failed.as_str()] > 50, "{ends:?}");
}

/// Crashes at commits of a script, before and after, of whatever can die; and whether that must change nothing. Every commit,
/// or every `stride`th from the seed on: the long form (`CORE314_SEEDS`) leaves none out.
fn crash_everywhere(shape: &Shape, script: &Script, seed: u64, stride: usize, changes_nothing: bool) -> usize {
    let healthy = simulate(shape, script, seed);
    let mut crashes = 0;
    let stride = if is_long() { 1 } else { stride };
    let first = seed % stride as u64;
    for commit in (first..healthy.commits).step_by(stride) {
        for victim in [Victim::Actor, Victim::Partition, Victim::Process] {
            // An actor that dies before its commit leaves that under way: nothing differs.
            let moments: &[Moment] =
                if victim == Victim::Actor { &[Moment::After] } else { &[Moment::Before, Moment::After] };
            for moment in moments.iter().copied() {
                let crash = Some(Crash { commit, victim, moment });
                let end = simulate(shape, &Script { crash, ..script.clone() }, seed);
                crashes += 1;
                assert!(
                    shape.timed || !changes_nothing || end.same_as(&healthy),
                    "'{}' {crash:?} {script:?} seed {seed}: {end:?}, was {healthy:?}",
                    shape.name
                );
            }
        }
    }
    crashes
}

#[test]
fn a_crash_at_every_commit_of_every_kind_changes_nothing_but_time() {
    let crashes: usize = kinds::all().iter().map(|shape| crash_everywhere(shape, &Script::calm(), 1, 1, true)).sum();
    assert!(crashes > 1_000, "{crashes}");
}

#[test]
fn a_cancel_at_every_commit_of_every_kind_reaches_whatever_runs() {
    for shape in kinds::all().iter().chain(&kinds::rolling_back()) {
        let healthy = simulate(shape, &Script::calm(), 0);
        for commit in 1..healthy.commits {
            for victim in [Victim::Actor, Victim::Process] {
                let crash = Some(Crash { commit, victim, moment: Moment::After });
                simulate(shape, &Script { crash, cancel_after: Some(commit), ..Script::calm() }, commit);
            }
        }
    }
}

/// Each step of each flow that can go back fails for good: the flow goes back, whatever dies meanwhile.
#[test]
fn a_rollback_survives_a_crash_at_every_commit() {
    let (mut crashes, mut ends) = (0, BTreeMap::new());
    each_started(&kinds::rolling_back(), |shape, _, no| {
        let script = with_fate(no, FOR_GOOD);
        *ends.entry(simulate(shape, &script, 0).status.as_str()).or_insert(0) += 1;
        crashes += crash_everywhere(shape, &script, u64::from(no), 16, true);
    });
    assert!(crashes > 200, "{crashes}");
    assert!(ends["rolled_back"] > 30 && ends["failed"] > 5, "{ends:?}");
}

/// Where a step fails only at first, a flow that tries again ends well.
#[test]
fn a_phase_that_is_tried_again_ends_well() {
    let mut ended_well = 0;
    each_started(&kinds::rolling_back(), |shape, _, no| {
        let fate = Fate::FailFirst { attempts: 1, retryable: false, retry_after_ms: None };
        let end = simulate(shape, &with_fate(no, fate), 2);
        if shape.name.ends_with("again") {
            let is_first = shape.plan.steps[0].phase.is_some() && end.status == RunStatus::Failed;
            assert!(end.status == RunStatus::Completed || is_first, "'{}' {no}: {end:?}", shape.name);
            ended_well += usize::from(end.status == RunStatus::Completed);
        }
    });
    assert!(ended_well > 20, "{ended_well}");
}

/// Every undo fails in turn for good: the run parks, and each of the three ways ends it.
#[test]
fn every_undo_fails_in_turn_and_is_settled() {
    let mut settled = 0;
    each_started(&kinds::rolling_back(), |shape, _, no| {
        let plain = simulate(shape, &with_fate(no, FOR_GOOD), 0);
        let undos = if plain.status == RunStatus::RolledBack { plain.undos.clone() } else { Vec::new() };
        // Of many a few, each time others: the long form leaves none out.
        let stride = if is_long() { 1 } else { undos.len().div_ceil(2).max(1) };
        for undo in undos.iter().copied().skip(no as usize % stride).step_by(stride) {
            let fails = |ways: &[Way], fate| Script {
                fates: [(no, FOR_GOOD), (undo, fate)].into(),
                ways: ways.to_vec(),
                ..Script::calm()
            };
            let parked = simulate(shape, &fails(&[], FOR_GOOD), 0);
            assert_eq!(parked.status, RunStatus::Failed, "'{}' {no}, undo {undo}: {parked:?}", shape.name);
            assert!(parked.error.contains("compensation_failed"), "'{}' {no}: {parked:?}", shape.name);
            let once = Fate::FailFirst { attempts: 1, retryable: false, retry_after_ms: None };
            for (way, fate) in [(Way::Retry, once), (Way::Skip, FOR_GOOD), (Way::Done, FOR_GOOD)] {
                let end = simulate(shape, &fails(&[way], fate), 0);
                assert_eq!(end.status, RunStatus::RolledBack, "'{}' {no}, undo {undo} {way:?}: {end:?}", shape.name);
                settled += 1;
            }
        }
        // A cut-off attempt may be one undo more, and then another one fails.
        if let Some(undo) = undos.first() {
            let script = Script {
                fates: [(no, FOR_GOOD), (*undo, FOR_GOOD)].into(),
                ways: vec![Way::Retry, Way::Done, Way::Done],
                ..Script::calm()
            };
            crash_everywhere(shape, &script, u64::from(no), 24, false);
        }
    });
    assert!(settled > 50, "{settled}");
}

fn misfortunes(rng: &mut Rng) -> Script {
    let people = rng.pick(&[People::Random, People::Random, People::Approve, People::Silent]);
    let ways = (0..rng.below(4)).map(|_| rng.pick(&[Way::Retry, Way::Skip, Way::Done])).collect();
    Script {
        slots: 1 + rng.below(4),
        other_fates: rng.pick(&[Fate::Random, Fate::Random, Fate::Complete]),
        people,
        disturbances: rng.below(14),
        retries: rng.below(3),
        ways,
        answers_late: rng.chance(400),
        is_held: rng.chance(150),
        ..Script::calm()
    }
}

#[test]
fn random_flows_of_every_kind_survive_random_misfortunes() {
    let (mut ends, mut rollbacks, mut undone) = (BTreeMap::new(), 0, 0);
    for seed in seeds(1_000) {
        let mut rng = Rng(seed ^ 0x0ff5_e700);
        let shape = nested::shape(&mut rng);
        let end = simulate(&shape, &misfortunes(&mut rng), seed);
        *ends.entry(end.status.as_str()).or_insert(0) += 1;
        rollbacks += end.rollbacks;
        undone += end.undone;
    }
    // The seeds reach every end, or they show nothing.
    for status in ["completed", "failed", "cancelled", "timed_out", "rolled_back", "awaiting_approval"] {
        assert!(ends.get(status).is_some_and(|n| *n >= 10), "{status}: {ends:?}");
    }
    assert!(rollbacks > 50 && undone > 50, "{rollbacks} rollbacks, {undone} undos");
}

#[test]
fn every_kind_survives_random_misfortunes() {
    for shape in kinds::all().iter().chain(&kinds::rolling_back()) {
        for seed in seeds(15) {
            simulate(shape, &misfortunes(&mut Rng(seed)), seed);
        }
    }
}

#[test]
fn the_simulation_finds_mistakes_of_the_run() {
    let expected = [
        (Mistake::UndoForwards, "would be undone before"),
        (Mistake::UndoTooLittle, "took effect or may have"),
        (Mistake::UndoTooMuch, "took effect or may have"),
        (Mistake::StartTooEarly, "invariant 3"),
        (Mistake::LoseRound, "invariant 8"),
        (Mistake::LosePhase, " after Some((1, Completed))"),
        (Mistake::LoseSignal, "was lost"),
    ];
    for (mistake, words) in expected {
        let mut found = Vec::new();
        for seed in 0..150 {
            let mut rng = Rng(seed);
            let shape = nested::shape(&mut rng);
            let script = Script { mistake: Some(mistake), ..misfortunes(&mut rng) };
            let outcome = std::panic::catch_unwind(AssertUnwindSafe(|| World::new(&shape, script, seed).run()));
            found.extend(outcome.unwrap_or_else(|_| Err("the run's own assertion".to_owned())).err());
        }
        assert!(found.iter().any(|f| f.contains(words)), "{mistake:?} was not found: {found:#?}");
    }
}
