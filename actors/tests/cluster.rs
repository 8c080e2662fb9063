//! The reactive core of several nodes over one store, in one deterministic process: real engines, each on a runtime of its
//! own whose time stands still unless the world lets it pass.
//!
//! A seed says what happens: flows and who triggers them, how long messages take, which process dies, stops, stands still
//! beyond its lease and wakes, is cut off, and which commits and answers are lost. A witness keeps an account of every
//! commit and every effect, and checks the numbered invariants after each.
//!
//! - `CORE314_LONG=1` runs 10,000 seeds, `CORE314_SEEDS=n` that many.
//! - `CORE314_SEED=x` runs this one and prints its history. Each failure prints its seed.
//!
//! The same seed gives the same history, to the last commit. How someone could get this wrong: to read the machine's clock, to
//! draw ids that the seed does not know, to let the order of a hash map decide, to use a second thread; see
//! `a_seed_repeats_its_history`.

#[path = "cluster/database.rs"]
mod database;
#[path = "cluster/flows.rs"]
mod flows;
#[path = "cluster/node.rs"]
mod node;
#[path = "cluster/people.rs"]
mod people;
#[path = "../domain/tests/simulation/rng.rs"]
mod rng;
#[path = "cluster/timetable.rs"]
mod timetable;
#[path = "cluster/wire.rs"]
mod wire;
#[path = "cluster/witness.rs"]
mod witness;
#[path = "cluster/workshop.rs"]
mod workshop;
#[path = "cluster/world.rs"]
mod world;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, Ordering};

use database::Mutant;
use world::World;

/// Without being asked for more.
const SEEDS: u64 = 400;
const LONG_SEEDS: u64 = 10_000;
/// A mutant that is not found by so many is not found.
const MUTANT_SEEDS: u64 = 1_000;

/// Of a simulation: its history, and what was wrong.
struct Simulated {
    history: Vec<String>,
    violation: Option<String>,
}

fn simulate(seed: u64, mutant: Option<Mutant>) -> Simulated {
    let mut world = World::new(seed, mutant);
    let run = catch_unwind(AssertUnwindSafe(|| world.run()));
    let history = std::mem::take(&mut world.db.witness().history);
    let violation = match run {
        Ok(check) => check.err(),
        Err(panic) => {
            // The processes of the world are as they were: another thread is not to find them so.
            std::mem::forget(world);
            Some(panic.downcast_ref::<String>().cloned().unwrap_or_else(|| "a panic, see above".to_owned()))
        }
    };
    Simulated { history, violation }
}

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| text.parse().unwrap_or_else(|_| panic!("{name} is a number")))
}

/// Fails with the last of what happened.
fn fail(seed: u64, simulated: &Simulated) -> ! {
    let shown = simulated.history.len().saturating_sub(80);
    let history = simulated.history[shown..].join("\n");
    let violation = simulated.violation.as_deref().unwrap_or_default();
    panic!("{history}\nCORE314_SEED={seed} (of {} lines the last): {violation}", simulated.history.len());
}

#[test]
fn what_was_promised_is_kept_whatever_happens_to_the_nodes() {
    if let Some(seed) = number("CORE314_SEED") {
        let simulated = simulate(seed, None);
        println!("{}", simulated.history.join("\n"));
        if simulated.violation.is_some() {
            fail(seed, &simulated);
        }
        return;
    }
    let is_long = std::env::var_os("CORE314_LONG").is_some();
    let seeds = number("CORE314_SEEDS").unwrap_or(if is_long { LONG_SEEDS } else { SEEDS });
    let (next, workers) = (AtomicU64::new(0), std::thread::available_parallelism().map_or(1, usize::from));
    let work = || {
        loop {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= seeds {
                return None;
            }
            let simulated = simulate(seed, None);
            if simulated.violation.is_some() {
                next.store(seeds, Ordering::Relaxed);
                return Some((seed, simulated));
            }
        }
    };
    let failures: Vec<_> = std::thread::scope(|scope| {
        let workers: Vec<_> = (0..workers).map(|_| scope.spawn(work)).collect();
        workers.into_iter().filter_map(|worker| worker.join().expect("it catches panics")).collect()
    });
    if let Some((seed, simulated)) = failures.into_iter().min_by_key(|(seed, _)| *seed) {
        fail(seed, &simulated);
    }
    println!("{seeds} seeds");
}

#[test]
fn a_seed_repeats_its_history() {
    for seed in 0..20 {
        let (first, again) = (simulate(seed, None), simulate(seed, None));
        let same = first.history.iter().zip(&again.history).take_while(|(a, b)| a == b).count();
        assert!(first.history.len() > 10, "seed {seed}: something happens");
        assert!(
            first.history == again.history,
            "seed {seed}, after {same} lines: {:?} and {:?}",
            first.history.get(same),
            again.history.get(same)
        );
    }
}

/// Seeds that have found something once, each with what it was.
const FOUND: &[(u64, &str)] = &[
    (2, "a schedule behind the horizon of timers was left alone until its row was read again, a minute later"),
    (367, "a commit's answer was lost, and its run was told once more that an attempt under way had no known outcome"),
];

#[test]
fn what_a_seed_has_found_once_stays_mended() {
    for (seed, what) in FOUND {
        let simulated = simulate(*seed, None);
        assert!(simulated.violation.is_none(), "CORE314_SEED={seed} ({what}): {:?}", simulated.violation);
    }
}

/// A simulation that finds nothing proves nothing: these are to be found.
fn find(mutant: Mutant) {
    for seed in 0..MUTANT_SEEDS {
        if let Some(violation) = simulate(seed, Some(mutant)).violation {
            assert!(simulate(seed, None).violation.is_none(), "seed {seed} finds something without a mutant");
            println!("{mutant:?} is found by seed {seed}: {violation}");
            return;
        }
    }
    panic!("{mutant:?} is not found by {MUTANT_SEEDS} seeds");
}

#[test]
fn a_broken_fence_is_found() {
    find(Mutant::BrokenFence);
}

#[test]
fn a_dropped_version_check_is_found() {
    find(Mutant::DroppedVersionCheck);
}

#[test]
fn a_lost_timer_is_found() {
    find(Mutant::LostTimer);
}
