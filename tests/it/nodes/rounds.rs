//! Rounds of faults: three servers over one PostgreSQL under load, of which the one that works is killed, stopped, cut off or has
//! its clock set, or whose database is restarted, again and again. After each round everything must hold (`faults::checks`), and
//! what was stopped or cut off has committed nothing when it wakes.
//!
//! One round in the short form, with a short lease; a hundred with the lease that servers have in the long one.

use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use super::TAKEOVER;
use super::cluster::{Cluster, Means, SERVERS};
use crate::faults::checks::{all_holds, fingerprint};
use crate::faults::database::PostgresServer;
use crate::faults::figures::{Figures, percentile};
use crate::faults::rounds;
use crate::support::{fresh_database, fresh_database_on, long, seed, tail};

#[derive(Clone, Copy, PartialEq)]
enum Fault {
    Kill,
    Stop,
    Cut,
    /// The clock of the server that works jumps, and then it is killed: the next one's clock is another.
    Clock,
}

impl Fault {
    fn means(self) -> Means {
        match self {
            Self::Kill | Self::Stop => Means::Plain,
            Self::Cut => Means::Wires,
            Self::Clock => Means::Clocks,
        }
    }

    fn figures(self) -> Figures {
        match self {
            Self::Kill => Figures::new("10-kill", "A node is killed (SIGKILL)"),
            Self::Stop => Figures::new("11-stop", "A node is stopped beyond its lease (SIGSTOP) and wakes (SIGCONT)"),
            Self::Cut => {
                Figures::new("12-cut", "A node is cut off from the database beyond its lease, and connected again")
            }
            Self::Clock => {
                Figures::new("14-clock", "Clocks of nodes differ by up to a minute and jump; a node is killed")
            }
        }
    }
}

/// Triggers of a round.
fn some(random: &mut StdRng) -> u64 {
    random.random_range(12..40)
}

async fn rounds_of(fault: Fault) {
    let seed = seed();
    let mut random = StdRng::seed_from_u64(seed);
    let mut cluster = Cluster::new(&fresh_database().await, fault.means(), &mut random).await;
    let (rounds, mut times) = (rounds(1), Vec::new());
    for round in 1..=rounds {
        let took = round_of(fault, &mut cluster, &mut random).await;
        println!("round {round} of {rounds}: another server accepts after {} ms", took.as_millis());
        times.push(took);
    }
    close(fault.figures(), seed, &cluster, ("from the fault to the first trigger that another node accepts", &times));
}

/// One fault, and what must hold after it. Gives the time from it to the first trigger that another server has accepted.
async fn round_of(fault: Fault, cluster: &mut Cluster, random: &mut StdRng) -> Duration {
    cluster.revive(random);
    let victim = cluster.working().await;
    let count = some(random);
    let mut burst = cluster.load.burst(count);
    burst.until_accepted(random.random_range(1..count / 2)).await;
    if fault == Fault::Clock {
        cluster.jump(victim, random);
        burst.until_accepted(random.random_range(count / 2..count)).await;
    }
    let struck = Instant::now();
    match fault {
        Fault::Kill | Fault::Clock => cluster.servers[victim].kill(),
        Fault::Stop => cluster.servers[victim].signal(Signal::SIGSTOP),
        Fault::Cut => cluster.wires[victim].cut(),
    }
    cluster.accepts(Some(victim)).await;
    let took = struck.elapsed();
    burst.end().await;
    all_holds(cluster.observer(), &cluster.load, &cluster.sink).await;
    cluster.count_unasked(victim);
    if matches!(fault, Fault::Stop | Fault::Cut) {
        wakes_and_commits_nothing(fault, cluster, victim).await;
    }
    took
}

/// Lets a server go on from which another one has taken over. Nothing is under way elsewhere.
async fn wakes_and_commits_nothing(fault: Fault, cluster: &mut Cluster, victim: usize) {
    let before = fingerprint(cluster.observer()).await;
    match fault {
        Fault::Stop => cluster.servers[victim].signal(Signal::SIGCONT),
        // What it had sent when it was cut off arrives late, too.
        _ => cluster.wires[victim].mend(),
    }
    cluster.leaves(victim).await;
    let said = tail(&cluster.site.machines[victim].dir.path().join("server.log"));
    assert!(said.contains("another node has taken"), "{}", cluster.site.logs());
    assert_eq!(fingerprint(cluster.observer()).await, before, "the server that woke has committed something");
}

/// Reports, and holds the time that a takeover may take.
fn close(mut figures: Figures, seed: u64, cluster: &Cluster, (what, times): (&str, &[Duration])) {
    figures.say(format!(
        "{} rounds over {SERVERS} servers with a lease of {} ms, seed {seed}",
        times.len(),
        Cluster::lease_ms()
    ));
    figures.say(format!("{} triggers, all accepted, each with one run that completed", cluster.load.sent()));
    figures.say(format!(
        "refused meanwhile with `Retry-After`, also by who stands by, by status: {:?}",
        cluster.load.refused()
    ));
    figures.say(format!("servers that ended though nothing was done to them: {}", cluster.unasked));
    times.iter().for_each(|time| figures.took(what, *time));
    figures.close();
    let allowed = if long() { TAKEOVER } else { TAKEOVER + cluster.to_start };
    assert!(percentile(times, 99) < allowed, "p99 is {:?}, allowed are {allowed:?}", percentile(times, 99));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn nodes_that_are_killed_again_and_again_lose_and_double_nothing() {
    rounds_of(Fault::Kill).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn nodes_that_are_stopped_again_and_again_commit_nothing_when_they_wake() {
    rounds_of(Fault::Stop).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn nodes_that_are_cut_off_again_and_again_commit_nothing_when_they_are_back() {
    rounds_of(Fault::Cut).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn nodes_whose_clocks_differ_and_jump_lose_and_double_nothing() {
    rounds_of(Fault::Clock).await;
}

/// It may be any server that works afterwards.
#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_database_that_restarts_under_load_loses_and_doubles_nothing() {
    let seed = seed();
    let mut random = StdRng::seed_from_u64(seed);
    let database = PostgresServer::start();
    let url = fresh_database_on(&database.url).await;
    let mut cluster = Cluster::new(&url, Means::Plain, &mut random).await;
    let (rounds, mut times) = (rounds(2), Vec::new());
    for round in 1..=rounds {
        cluster.revive(&mut random);
        cluster.working().await;
        let count = some(&mut random);
        let mut burst = cluster.load.burst(count);
        burst.until_accepted(random.random_range(1..count / 2)).await;
        let struck = Instant::now();
        // As if its machine had lost power, and in order.
        database.restart(round % 2 == 1);
        cluster.accepts(None).await;
        times.push(struck.elapsed());
        println!("round {round} of {rounds}: a server accepts after {} ms", struck.elapsed().as_millis());
        burst.end().await;
        all_holds(cluster.observer(), &cluster.load, &cluster.sink).await;
        cluster.count_unasked(SERVERS);
    }
    let figures =
        Figures::new("13-postgres", "PostgreSQL restarts, by turns at once (`-m immediate`) and in order (`-m fast`)");
    close(figures, seed, &cluster, ("from the begin of the restart to the first trigger that is accepted", &times));
}
