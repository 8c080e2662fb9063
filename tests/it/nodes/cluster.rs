//! Three servers over one PostgreSQL that live through many faults, and what a supervisor does for them: whoever has ended is
//! started again, and stands by.

use std::sync::Arc;
use std::time::{Duration, Instant};

use rand::Rng;
use rand::rngs::StdRng;

use super::wire::Wire;
use super::{PATIENCE, Site, is_ready};
use crate::faults::load::Load;
use crate::faults::looks;
use crate::sink::Sink;
use crate::support::{Installation, Server, long};

pub const SERVERS: usize = 3;
/// In the short form nobody waits for the lease that servers have.
const SHORT_LEASE_MS: u32 = 3_000;
/// By how much the clocks of two servers may differ from the machine's. What one has put off by its own clock another begins as
/// much later, so that it bounds how long runs take, too.
const SKEW_MS: i64 = 30_000;

/// What the servers of a cluster have that others do not.
#[derive(Clone, Copy, PartialEq)]
pub enum Means {
    Plain,
    /// A way to the database that can be cut.
    Wires,
    /// A clock of their own.
    Clocks,
}

pub struct Cluster {
    pub site: Site,
    pub servers: Vec<Server>,
    pub load: Arc<Load>,
    pub sink: Arc<Sink>,
    /// How long all servers took to start: an engine starts when one takes over, too.
    pub to_start: Duration,
    /// Servers that have ended though nothing was done to them.
    pub unasked: u32,
    /// Sorted as the servers; empty without [`Means::Wires`].
    pub wires: Vec<Wire>,
    means: Means,
}

impl Cluster {
    /// Starts the servers over this database.
    pub async fn new(database_url: &str, means: Means, random: &mut StdRng) -> Self {
        let (mut site, sink) = (Site::over(database_url, SERVERS + 1), Sink::start());
        let mut wires = Vec::new();
        if means == Means::Wires {
            for machine in &mut site.machines[..SERVERS] {
                let wire = Wire::to(database_url).await;
                machine.database_url = Some(wire.url.clone());
                wires.push(wire);
            }
        }
        let began = Instant::now();
        let servers: Vec<Server> = (0..SERVERS).map(|at| start(&site, means, at, random)).collect();
        let to_start = began.elapsed();
        let load = Load::new(&servers[0], &sink).await;
        Self { site, servers, load, sink, to_start, unasked: 0, wires, means }
    }

    /// The machine that has no server.
    pub fn observer(&self) -> &Installation {
        self.site.observer()
    }

    /// What the lease of its servers is.
    pub fn lease_ms() -> u32 {
        if long() { 10_000 } else { SHORT_LEASE_MS }
    }

    /// Starts again who has ended.
    pub fn revive(&mut self, random: &mut StdRng) {
        for at in 0..SERVERS {
            if self.servers[at].has_died() {
                self.servers[at] = start(&self.site, self.means, at, random);
            }
        }
        self.load.send_to(self.others(None));
    }

    /// Counts who has ended by itself: a lease can run out on a machine that has no time for its servers.
    pub fn count_unasked(&mut self, but: usize) {
        for at in (0..SERVERS).filter(|at| *at != but) {
            if self.servers[at].has_died() {
                assert_eq!(self.servers[at].wait(), Some(75), "{}", self.site.logs());
                self.unasked += 1;
            }
        }
    }

    /// The server that works.
    pub async fn working(&self) -> usize {
        let (began, mut looks) = (Instant::now(), looks());
        loop {
            looks.tick().await;
            for (at, server) in self.servers.iter().enumerate() {
                if is_ready(server).await {
                    return at;
                }
            }
            assert!(began.elapsed() < PATIENCE, "none works\n{}", self.site.logs());
        }
    }

    /// Returns when a server but this one has accepted a trigger that nobody had got before.
    pub async fn accepts(&self, but: Option<usize>) {
        self.load.send_to(self.others(but));
        self.load.send_one().await;
    }

    /// Waits until a server has ended by itself, because another one has taken over from it.
    pub async fn leaves(&mut self, at: usize) {
        let (began, mut looks) = (Instant::now(), looks());
        while !self.servers[at].has_died() {
            looks.tick().await;
            assert!(began.elapsed() < PATIENCE, "it does not leave\n{}", self.site.logs());
        }
        assert_eq!(self.servers[at].wait(), Some(75), "{}", self.site.logs());
    }

    /// Sets the clock of a server that works, forward or back.
    pub fn jump(&self, at: usize, random: &mut StdRng) {
        set_clock(&self.site.machines[at], random.random_range(-SKEW_MS..SKEW_MS));
    }

    fn others(&self, but: Option<usize>) -> Vec<String> {
        let others = self.servers.iter().enumerate().filter(|(at, _)| Some(*at) != but);
        others.map(|(_, server)| server.url.clone()).collect()
    }
}

fn start(site: &Site, means: Means, at: usize, random: &mut StdRng) -> Server {
    let machine = &site.machines[at];
    let mut environment = vec![("CORE314__CLUSTER__LEASE_MS", Cluster::lease_ms().to_string())];
    if means == Means::Clocks {
        set_clock(machine, random.random_range(-SKEW_MS..SKEW_MS));
        environment.push(("CORE314_CLOCK_OFFSET", clock_of(machine).display().to_string()));
    }
    site.start_with(at, &environment)
}

fn clock_of(machine: &Installation) -> std::path::PathBuf {
    machine.dir.path().join("clock")
}

/// At once: whoever reads it finds the old number or the new one.
fn set_clock(machine: &Installation, offset_ms: i64) {
    let (file, new) = (clock_of(machine), machine.dir.path().join("clock.new"));
    std::fs::write(&new, offset_ms.to_string()).expect("the clock can be written");
    std::fs::rename(&new, &file).expect("the clock can be set");
}
