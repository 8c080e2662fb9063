//! Requests made from the served description, good and odd, at every endpoint and as everybody: each answer is as
//! documented, none is the server's fault, none tells of another tenant, and the server lives on.
//!
//! `CORE314_SEED` repeats a run, `CORE314_LONG=1` makes it long. The number of requests is fixed, so a seed gives the same
//! requests again; ids that the server makes differ, the kinds of them do not.

mod check;
mod generate;
mod mutate;
pub mod schema;
mod shot;
mod world;

use std::collections::{BTreeMap, BTreeSet};

use rand::SeedableRng;
use rand::rngs::StdRng;
use rand::seq::SliceRandom;

use crate::support::{Installation, Server, StoreKind, long, seed, tail};
use check::faults;
use generate::Source;
use shot::Operation;
use world::{Role, World};

/// Of every role at every operation: good requests, and odd ones.
const SHORT: (usize, usize) = (1, 2);
const LONG: (usize, usize) = (30, 120);

#[tokio::test(flavor = "multi_thread")]
async fn the_api_keeps_its_word_on_sqlite() {
    fuzz(StoreKind::Sqlite).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_api_keeps_its_word_on_postgresql() {
    fuzz(StoreKind::Postgres).await;
}

async fn fuzz(kind: StoreKind) {
    let installation = Installation::new(kind).await;
    let mut server = Server::start(&installation);
    let seed = seed();
    let mut rng = StdRng::seed_from_u64(seed);
    let world = World::furnish(&server).await;
    let root = server.get_platform("/api/openapi.json").await;
    let operations = Operation::all(&root);
    let (good, odd) = if long() { LONG } else { SHORT };
    let mut plan: Vec<(usize, Role, bool)> = Vec::new();
    for at in 0..operations.len() {
        for role in Role::ALL {
            plan.extend((0..good + odd).map(|n| (at, role, n < good)));
        }
    }
    plan.shuffle(&mut rng);
    let mut found = Found::default();
    for (at, role, is_good) in plan {
        let operation = &operations[at];
        let mut source = Source { root: &root, world: &world, role, rng: &mut rng };
        let shot = if is_good { source.good_shot(operation) } else { source.odd_shot(operation) };
        let faults = match shot.send(&server).await {
            Ok(reply) => {
                found.note(at, &reply);
                faults(&root, operation, &shot, &reply)
            }
            // Waiting for the result of an action that is held is what this endpoint is for.
            Err(fault) if operation.path == check::WAITING && fault.contains("TimedOut") => Vec::new(),
            Err(fault) => vec![fault],
        };
        for fault in faults {
            found.fault(operation, &fault, || shot.curl(&server.url));
        }
    }
    let log = installation.dir.path().join("server.log");
    assert!(!server.has_died(), "seed {seed}: the server has died\n{}", tail(&log));
    assert!(found.faults.is_empty(), "seed {seed}: {}", found.report());
    assert!(found.done.len() * 2 > operations.len(), "only {:?} ever succeeded", found.done);
    assert_panic_free(&log);
    let ready = server.http.get(format!("{}/readyz", server.url)).send().await.expect("the server answers");
    assert!(ready.status().is_success(), "seed {seed}: {}", ready.text().await.unwrap_or_default());
}

/// What was found out.
#[derive(Default)]
struct Found {
    /// By operation and fault: how often, and the first line to repeat it with.
    faults: BTreeMap<String, (usize, String)>,
    /// Operations that succeeded at least once.
    done: BTreeSet<usize>,
}

impl Found {
    fn note(&mut self, at: usize, reply: &shot::Reply) {
        if reply.status.is_success() {
            self.done.insert(at);
        }
    }

    fn fault(&mut self, operation: &Operation, fault: &str, line: impl FnOnce() -> String) {
        // What differs from answer to answer stands further behind.
        let kind: String = fault.chars().take(40).collect();
        let key = format!("{} {}: {kind}", operation.method, operation.path);
        self.faults.entry(key).or_insert_with(|| (0, format!("{fault}\n  {}", line()))).0 += 1;
    }

    fn report(&self) -> String {
        let each =
            self.faults.iter().take(40).map(|(fault, (times, line))| format!("\n{fault} ({times} times)\n  {line}"));
        format!("{} faults{}", self.faults.len(), each.collect::<String>())
    }
}

/// A panic that the supervision caught is a fault all the same.
fn assert_panic_free(log: &std::path::Path) {
    let text = std::fs::read_to_string(log).expect("the server has a log");
    let panics: Vec<&str> = text.lines().filter(|line| line.contains("panicked")).take(5).collect();
    assert!(panics.is_empty(), "{panics:#?}");
}
